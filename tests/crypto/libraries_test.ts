// Libraries that are not what their names say, made by gcc, and what an operator reads about each.
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  checkLibraries,
  findLibraries,
  type LibraryPaths,
} from "../../src/net/native/libraries.ts";
import { libcFolders } from "../../src/net/native/library_folders.ts";
import { Libc } from "../../src/net/native/libc.ts";
import { CountedObjects } from "../../src/net/native/live_objects.ts";
import { OpenSsl } from "../../src/net/native/openssl.ts";
import { NativeStartError } from "../../src/net/native/start_error.ts";
import { refusal } from "./handshake.ts";
import { findTool, run } from "./tools.ts";

/** A folder that goes when the test ends. */
class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async create(): Promise<Folder> {
    return new Folder(await Deno.makeTempDir());
  }

  /** A shared library of this C text, which needs `needed` of the same folder, by its name. */
  async library(name: string, text: string, needed?: string): Promise<string> {
    const source = `${this.path}/${name}.c`;
    await Deno.writeTextFile(source, text);
    const needs = needed === undefined ? [] : ["-L.", `-l:${needed}`, "-Wl,--no-as-needed"];
    const args = ["-shared", "-fPIC", "-o", name, ...needs.slice(2), source, ...needs.slice(0, 2)];
    await run(await findTool("gcc"), [...args, `-Wl,-soname,${name}`], this.path);
    await Deno.remove(source);
    return `${this.path}/${name}`;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.path, { recursive: true });
  }
}

/** A libcrypto that knows nothing but its version. */
function version(number: string, text: string): string {
  return `unsigned long OpenSSL_version_num(void) { return ${number}; }
const char *OpenSSL_version(int what) { return "${text}"; }`;
}

const SOME_LIBSSL = "int SSL_library(void) { return 1; }";

function systemLibraries(): LibraryPaths {
  using libc = Libc.open();
  const folders = libcFolders(libc);
  return findLibraries({ openSslLibDir: null, arch: Deno.build.arch, folders });
}

function check(paths: LibraryPaths): string {
  return assertThrows(() => checkLibraries(paths), NativeStartError).message;
}

Deno.test.each([
  { number: "0x1010117fL", text: "OpenSSL 1.1.1w  11 Sep 2023" },
  { number: "0x20000000L", text: "LibreSSL 3.8.2" },
  { number: "0x40000030L", text: "OpenSSL 4.0.3 29 Sep 2026" },
])("a proxy does not start with $text", async ({ number, text }) => {
  await using folder = await Folder.create();
  const libcrypto = await folder.library("libcrypto.so.3", version(number, text));
  await folder.library("libssl.so.3", SOME_LIBSSL, "libcrypto.so.3");
  assertEquals(
    await refusal({ openSslLibDir: folder.path }),
    `Cannot use ${libcrypto}: it is ${text}, need OpenSSL 3.0 or newer of major version 3`,
  );
});

Deno.test("a proxy does not start with a text file in the place of a library", async () => {
  await using folder = await Folder.create();
  await Deno.writeTextFile(`${folder.path}/libssl.so.3`, "text, ".repeat(20));
  await Deno.writeTextFile(`${folder.path}/libcrypto.so.3`, "text, ".repeat(20));
  const libcrypto = `${folder.path}/libcrypto.so.3`;
  assertEquals(
    await refusal({ openSslLibDir: folder.path }),
    `Cannot open ${libcrypto}: invalid ELF header`,
  );
});

Deno.test("a proxy does not start with an empty folder, nor with two of a kind", async () => {
  await using folder = await Folder.create();
  const sentence = `Cannot choose a library in OPENSSL_LIB_DIR=${folder.path}: ` +
    "exactly one file must match libssl*.so.3, ";
  assertEquals(await refusal({ openSslLibDir: folder.path }), `${sentence}none does`);
  for (const name of ["libssl-a.so.3", "libssl-b.so.3", "libcrypto-a.so.3"]) {
    await Deno.writeTextFile(`${folder.path}/${name}`, "");
  }
  assertEquals(
    await refusal({ openSslLibDir: folder.path }),
    `${sentence}libssl-a.so.3 and libssl-b.so.3 do`,
  );
});

Deno.test("a library that needs another one which is missing is refused by its name", async () => {
  await using folder = await Folder.create();
  await folder.library("libabsent.so.3", SOME_LIBSSL);
  const libcrypto = await folder.library(
    "libcrypto.so.3",
    version("0x30000000L", "OpenSSL 3.0.0"),
    "libabsent.so.3",
  );
  await Deno.remove(`${folder.path}/libabsent.so.3`);
  const sentence = check({ libcrypto, libssl: systemLibraries().libssl });
  assert(sentence.startsWith(`Cannot open ${libcrypto}: `), sentence);
  assert(sentence.includes("libabsent.so.3"), sentence);
  assertEquals(sentence.includes("\n"), false);
});

Deno.test("a libssl finds the libcrypto of its folder, whatever that is called", async () => {
  await using folder = await Folder.create();
  const text = "OpenSSL 3.0.99 1 Jan 2026";
  const [crypto, ssl] = ["libcrypto-0123abcd.so.3", "libssl-4567cdef.so.3"];
  await folder.library(crypto, version("0x30000630L", text));
  // As in a Python wheel, but without even a path to look in.
  await folder.library(ssl, SOME_LIBSSL, crypto);
  using libc = Libc.open();
  const paths = findLibraries({
    openSslLibDir: folder.path,
    arch: Deno.build.arch,
    folders: libcFolders(libc),
  });
  assertEquals(checkLibraries(paths), { number: 0x30000630, text, version: "3.0.99" });
});

Deno.test("a libssl of another libcrypto is refused, though both are OpenSSL 3", async () => {
  await using folder = await Folder.create();
  const text = "OpenSSL 3.0.98 1 Jan 2026";
  const libcrypto = await folder.library("libcrypto-1.so.3", version("0x30000620L", text));
  const { libssl } = systemLibraries();
  const sentence = check({ libssl, libcrypto });
  assert(
    /^Cannot use \S+: it needs another libcrypto \(OpenSSL 3\.[^)]+\) than \S+ \(OpenSSL 3\.0\.98/
      .test(sentence),
    sentence,
  );
});

Deno.test("a library that lacks a symbol is refused by the symbol's name", async () => {
  await using folder = await Folder.create();
  const text = "OpenSSL 3.0.97 1 Jan 2026";
  await folder.library("libcrypto-2.so.3", version("0x30000610L", text));
  await folder.library("libssl-2.so.3", SOME_LIBSSL, "libcrypto-2.so.3");
  const sentence = await refusal({ openSslLibDir: folder.path });
  assert(/^Cannot use \S+\/libcrypto-2\.so\.3: it lacks the symbol \w+$/.test(sentence), sentence);
  // And where only libssl does.
  const libssl = await folder.library("libssl-3.so.3", SOME_LIBSSL);
  const { libcrypto } = systemLibraries();
  const { message } = assertThrows(
    () => OpenSsl.open({ libssl, libcrypto }, new CountedObjects()),
    NativeStartError,
  );
  assert(/^Cannot use \S+\/libssl-3\.so\.3: it lacks the symbol \w+$/.test(message), message);
});
