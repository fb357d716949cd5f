import { assert, assertEquals, assertThrows } from "@std/assert";
import { Libc } from "./libc.ts";
import { LIBC_PATHS } from "./libc_symbols.ts";
import { checkLibraries, findLibraries, type LibraryPaths } from "./libraries.ts";
import { libcFolders, type LibraryFolders } from "./library_folders.ts";
import { openLibrary } from "./open_library.ts";
import { NativeStartError } from "./start_error.ts";

/** A file system of these files. */
function folders(files: readonly string[]): LibraryFolders {
  return {
    isReadable: (path) => files.includes(path),
    list: (folder) =>
      files.filter((path) => path.startsWith(`${folder}/`))
        .map((path) => path.slice(folder.length + 1)),
    read: () => "it does not exist",
  };
}

/** The real file system, through libc. */
function inRealFolders<Result>(run: (folders: LibraryFolders) => Result): Result {
  using libc = Libc.open();
  return run(libcFolders(libc));
}

/** The libraries of this machine. */
function systemLibraries(): LibraryPaths {
  return inRealFolders((folders) =>
    findLibraries({ openSslLibDir: null, arch: Deno.build.arch, folders })
  );
}

/** A folder of symbolic links: name → target. */
function linkFolder(links: Readonly<Record<string, string>>): string {
  const folder = Deno.makeTempDirSync();
  for (const [name, target] of Object.entries(links)) Deno.symlinkSync(target, `${folder}/${name}`);
  return folder;
}

const SOME_LIBRARY = LIBC_PATHS.find((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
})!;

Deno.test.each([
  { system: "Debian", arch: "x86_64", folder: "/usr/lib/x86_64-linux-gnu" },
  { system: "Debian", arch: "aarch64", folder: "/usr/lib/aarch64-linux-gnu" },
  { system: "Red Hat", arch: "x86_64", folder: "/usr/lib64" },
  { system: "Red Hat", arch: "aarch64", folder: "/usr/lib64" },
  { system: "Arch", arch: "x86_64", folder: "/usr/lib" },
])("findLibraries() knows $folder of $system on $arch", ({ arch, folder }) => {
  const paths = { libssl: `${folder}/libssl.so.3`, libcrypto: `${folder}/libcrypto.so.3` };
  const found = findLibraries({
    openSslLibDir: null,
    arch,
    folders: folders(Object.values(paths)),
  });
  assertEquals(found, paths);
});

Deno.test("findLibraries() takes both libraries of one folder, never one of each", () => {
  const found = findLibraries({
    openSslLibDir: null,
    arch: "x86_64",
    folders: folders([
      "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
      "/usr/lib64/libssl.so.3",
      "/usr/lib64/libcrypto.so.3",
    ]),
  });
  assertEquals(found.libcrypto, "/usr/lib64/libcrypto.so.3");
});

Deno.test("findLibraries() says where it looked", () => {
  assertThrows(
    () => findLibraries({ openSslLibDir: null, arch: "aarch64", folders: folders([]) }),
    NativeStartError,
    "Cannot find OpenSSL 3: no folder of /usr/lib/aarch64-linux-gnu, /usr/lib64, /usr/lib has libssl.so.3 and libcrypto.so.3; install it or set OPENSSL_LIB_DIR",
  );
});

Deno.test.each([
  { name: "plain names", ssl: "libssl.so.3", crypto: "libcrypto.so.3" },
  { name: "names with a hash", ssl: "libssl-6a9b88ec.so.3", crypto: "libcrypto-3a0647ea.so.3" },
])("findLibraries() takes the one match of a folder: $name", ({ ssl, crypto }) => {
  const others = ["libssl.so", "libssl3.so", "libssl.so.3.5.9", "libcrypto.so.1.1", "xlibssl.so.3"];
  const found = findLibraries({
    openSslLibDir: "/opt/lib//",
    arch: "x86_64",
    folders: folders([ssl, crypto, ...others].map((name) => `/opt/lib/${name}`)),
  });
  assertEquals(found, { libssl: `/opt/lib/${ssl}`, libcrypto: `/opt/lib/${crypto}` });
});

Deno.test.each([
  { files: [], what: "libssl*.so.3, none does" },
  { files: ["libssl.so.3"], what: "libcrypto*.so.3, none does" },
  {
    files: ["libssl.so.3", "libssl-1.so.3", "libcrypto.so.3"],
    what: "libssl*.so.3, libssl-1.so.3 and libssl.so.3 do",
  },
  {
    files: ["libssl.so.3", "libcrypto-a.so.3", "libcrypto-b.so.3"],
    what: "libcrypto*.so.3, libcrypto-a.so.3 and libcrypto-b.so.3 do",
  },
])("findLibraries() refuses a folder where $what", ({ files, what }) => {
  const paths = files.map((name) => `/opt/lib/${name}`);
  assertThrows(
    () => findLibraries({ openSslLibDir: "/opt/lib", arch: "x86_64", folders: folders(paths) }),
    NativeStartError,
    `Cannot choose a library in OPENSSL_LIB_DIR=/opt/lib: exactly one file must match ${what}`,
  );
});

Deno.test.each([
  { path: "lib", sentence: 'Cannot use OPENSSL_LIB_DIR=lib: it must begin with "/"' },
  {
    path: "/etc/no such folder",
    sentence: "Cannot read the folder OPENSSL_LIB_DIR=/etc/no such folder: it does not exist",
  },
  {
    path: "/etc/passwd",
    sentence: "Cannot read the folder OPENSSL_LIB_DIR=/etc/passwd: it is no folder",
  },
])("findLibraries() refuses OPENSSL_LIB_DIR=$path", ({ path, sentence }) => {
  assertThrows(
    () =>
      inRealFolders((folders) => findLibraries({ openSslLibDir: path, arch: "x86_64", folders })),
    NativeStartError,
    sentence,
  );
});

Deno.test("libcFolders() lists a folder of more names than one call fetches", () => {
  const folder = Deno.makeTempDirSync();
  try {
    const names = Array.from({ length: 1_000 }, (_, n) => `${n}`.padStart(60, "-"));
    for (const name of names) Deno.writeTextFileSync(`${folder}/${name}`, "");
    const listed = inRealFolders((folders) => folders.list(folder));
    assertEquals([...listed].sort(), names.sort());
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("checkLibraries() tells the version of this machine's OpenSSL 3", () => {
  const { number, version, text } = checkLibraries(systemLibraries());
  assertEquals(number >>> 28, 3);
  assert(text.startsWith(`OpenSSL ${version} `), text);
  assertEquals(
    version.split(".").map(Number),
    [number >>> 28, number >>> 20 & 0xff, number >>> 4 & 0xff],
  );
});

Deno.test("checkLibraries() finds libcrypto for a libssl that lies elsewhere", () => {
  const folder = linkFolder({
    "libssl.so.3": systemLibraries().libssl,
    "libcrypto-0.so.3": systemLibraries().libcrypto,
  });
  try {
    const paths = inRealFolders((folders) =>
      findLibraries({ openSslLibDir: folder, arch: Deno.build.arch, folders })
    );
    assertEquals(checkLibraries(paths).number, checkLibraries(systemLibraries()).number);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("checkLibraries() refuses a library without the symbols of OpenSSL", () => {
  const folder = linkFolder({ "libssl.so.3": SOME_LIBRARY, "libcrypto.so.3": SOME_LIBRARY });
  try {
    const other = { libssl: `${folder}/libssl.so.3`, libcrypto: `${folder}/libcrypto.so.3` };
    for (const paths of [other, { ...systemLibraries(), libssl: other.libssl }]) {
      const { message } = assertThrows(() => checkLibraries(paths), NativeStartError);
      const lacking = paths === other ? other.libcrypto : other.libssl;
      assert(message.startsWith(`Cannot use ${lacking}: it lacks the symbol OpenSSL_version`));
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("openLibrary() says in one sentence that a file is missing, or no library", () => {
  const file = Deno.makeTempFileSync({ suffix: ".so.3" });
  try {
    Deno.writeTextFileSync(
      file,
      "This is a text file, and it is longer than an ELF header would be.\n",
    );
    for (const path of [file, "/nonexistent/libssl.so.3"]) {
      const { message } = assertThrows(() => openLibrary(path, {}), NativeStartError);
      const reason = path === file ? "invalid ELF header" : "No such file or directory";
      assert(message.startsWith(`Cannot open ${path}: `), message);
      assert(message.includes(reason), message);
      assertEquals(message.includes("\n"), false, message);
    }
  } finally {
    Deno.removeSync(file);
  }
});

Deno.test("openLibrary() names a missing grant", async () => {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      `data:application/typescript,${encodeURIComponent(OPENER)}`,
    ],
    env: { NO_COLOR: "1" },
  }).output();
  assertEquals(
    new TextDecoder().decode(stdout),
    "Cannot open /lib/libssl.so.3: the process has no grant for it; run with --allow-ffi\n",
  );
});

const OPENER = `
import { openLibrary } from "${new URL("open_library.ts", import.meta.url)}";
try {
  openLibrary("/lib/libssl.so.3", {});
} catch (error) {
  console.log(error.message);
}`;
