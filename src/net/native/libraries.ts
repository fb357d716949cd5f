// Finds the two libraries of OpenSSL 3 that the native network uses, and makes sure that they fit.
import { assert } from "../../base/assert.ts";
import type { LibraryFolders } from "./library_folders.ts";
import { openLibrary } from "./open_library.ts";
import { NativeStartError } from "./start_error.ts";

/** Paths of two libraries that belong together. */
export interface LibraryPaths {
  readonly libssl: string;
  readonly libcrypto: string;
}

/** What a libcrypto says about itself. */
export interface LibraryVersion {
  /** `OpenSSL_version_num()`: 0xMNN00PP0 (major, minor, patch). */
  readonly number: number;
  /** Such as `3.0.19`. */
  readonly version: string;
  /** The whole line, such as `OpenSSL 3.0.19 27 Jan 2026`. */
  readonly text: string;
}

/** Where Debian, Red Hat and Arch keep shared libraries, in this order. */
const SYSTEM_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  x86_64: ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"],
  aarch64: ["/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"],
};

const OPENSSL_3 = 0x30000000;
const OPENSSL_4 = 0x40000000;

/**
 * The paths of libssl and libcrypto, always of one folder.
 * @param options.openSslLibDir `OPENSSL_LIB_DIR`: a folder in which one file matches `libssl*.so.3` and one
 * `libcrypto*.so.3`; null: the first of the system's that has both.
 * @param options.arch As `Deno.build.arch` names it.
 * @throws {NativeStartError} where there is none, or a choice.
 */
export function findLibraries(
  { openSslLibDir, arch, folders }: {
    readonly openSslLibDir: string | null;
    readonly arch: string;
    readonly folders: LibraryFolders;
  },
): LibraryPaths {
  return openSslLibDir === null
    ? findInSystem(arch, folders)
    : findInFolder(openSslLibDir.replace(/(?<=.)\/+$/, ""), folders);
}

function findInSystem(arch: string, folders: LibraryFolders): LibraryPaths {
  const candidates = SYSTEM_FOLDERS[arch] ?? [];
  for (const folder of candidates) {
    const paths = { libssl: `${folder}/libssl.so.3`, libcrypto: `${folder}/libcrypto.so.3` };
    if (folders.isReadable(paths.libssl) && folders.isReadable(paths.libcrypto)) return paths;
  }
  throw new NativeStartError(
    `Cannot find OpenSSL 3: no folder of ${
      candidates.join(", ")
    } has libssl.so.3 and libcrypto.so.3; install it or set OPENSSL_LIB_DIR`,
  );
}

function findInFolder(folder: string, folders: LibraryFolders): LibraryPaths {
  if (!folder.startsWith("/")) {
    throw new NativeStartError(`Cannot use OPENSSL_LIB_DIR=${folder}: it must begin with "/"`);
  }
  const listing = folders.list(folder);
  if (typeof listing === "string") {
    throw new NativeStartError(`Cannot read the folder OPENSSL_LIB_DIR=${folder}: ${listing}`);
  }
  return {
    libssl: `${folder}/${onlyMatch(listing, "libssl", folder)}`,
    libcrypto: `${folder}/${onlyMatch(listing, "libcrypto", folder)}`,
  };
}

function onlyMatch(names: readonly string[], stem: string, folder: string): string {
  const matches = names.filter((name) => name.startsWith(stem) && name.endsWith(".so.3")).sort();
  if (matches.length === 1) return matches[0]!;
  const seen = matches.length === 0 ? "none does" : `${matches.join(" and ")} do`;
  throw new NativeStartError(
    `Cannot choose a library in OPENSSL_LIB_DIR=${folder}: exactly one file must match ${stem}*.so.3, ${seen}`,
  );
}

const VERSION_SYMBOLS = {
  OpenSSL_version_num: { parameters: [], result: "u64" },
  OpenSSL_version: { parameters: ["i32"], result: "pointer" },
} as const;

/**
 * Looks at both libraries and makes sure that they are one OpenSSL 3. At start only, with unscoped ffi; nothing of them is
 * initialized, and what was opened is closed again.
 * @throws {NativeStartError}
 */
export function checkLibraries({ libssl, libcrypto }: LibraryPaths): LibraryVersion {
  using opened = new DisposableStack();
  const crypto = openLibrary(libcrypto, VERSION_SYMBOLS);
  opened.defer(() => crypto.close());
  const version = versionOf(crypto);
  const line = crypto.symbols.OpenSSL_version(0);
  if (version.number < OPENSSL_3 || version.number >= OPENSSL_4) {
    throw new NativeStartError(
      `Cannot use ${libcrypto}: it is ${version.text}, need OpenSSL 3.0 or newer of major version 3`,
    );
  }
  // Opened while libcrypto is, so that it finds this one, wherever it lies. A symbol asked of it is also looked for in
  // what it needs, and the text lies in libcrypto: this is the one it works with.
  const ssl = openLibrary(libssl, VERSION_SYMBOLS);
  opened.defer(() => ssl.close());
  if (!Deno.UnsafePointer.equals(ssl.symbols.OpenSSL_version(0), line)) {
    throw new NativeStartError(
      `Cannot use ${libssl}: it needs another libcrypto (${
        versionOf(ssl).text
      }) than ${libcrypto} (${version.text})`,
    );
  }
  return version;
}

function versionOf(library: Deno.DynamicLibrary<typeof VERSION_SYMBOLS>): LibraryVersion {
  const line = library.symbols.OpenSSL_version(0);
  assert(line !== null, "A version without text");
  const text = Deno.UnsafePointerView.getCString(line);
  const number = Number(library.symbols.OpenSSL_version_num());
  return { number, text, version: text.split(" ")[1] ?? text };
}
