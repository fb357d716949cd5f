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

const INITIALIZE_SYMBOLS = {
  OPENSSL_init_crypto: { parameters: ["u64", "pointer"], result: "i32" },
} as const;

/** `OPENSSL_INIT_NO_LOAD_CONFIG` */
const NO_CONFIGURATION = 0x80n;

/** Both libraries, open until disposed of: by then whoever needs them has opened them too. */
export interface CheckedLibraries extends LibraryVersion, Disposable {}

/**
 * Opens both libraries, libcrypto first (so that libssl finds this one, wherever it lies), makes sure that they are one
 * OpenSSL 3, and keeps the library from reading configuration files of the system: what it does is what we tell it.
 * At start only, with unscoped ffi.
 * @throws {NativeStartError}
 */
export function checkLibraries({ libssl, libcrypto }: LibraryPaths): CheckedLibraries {
  using opened = new DisposableStack();
  const crypto = openLibrary(libcrypto, VERSION_SYMBOLS);
  opened.defer(() => crypto.close());
  const version = versionOf(crypto);
  if (version.number < OPENSSL_3 || version.number >= OPENSSL_4) {
    throw new NativeStartError(
      `Cannot use ${libcrypto}: it is ${version.text}, need OpenSSL 3.0 or newer of major version 3`,
    );
  }
  const initialize = openLibrary(libcrypto, INITIALIZE_SYMBOLS);
  opened.defer(() => initialize.close());
  if (initialize.symbols.OPENSSL_init_crypto(NO_CONFIGURATION, null) !== 1) {
    throw new NativeStartError(`Cannot use ${libcrypto}: ${version.text} does not initialize`);
  }
  // A symbol asked of libssl is also looked for in what it needs: this is its own libcrypto's version.
  const ssl = openLibrary(libssl, VERSION_SYMBOLS);
  opened.defer(() => ssl.close());
  const other = versionOf(ssl);
  if (other.number !== version.number) {
    throw new NativeStartError(
      `Cannot use ${libssl}: it belongs to ${other.text}, and ${libcrypto} is ${version.text}`,
    );
  }
  const held = opened.move();
  return { ...version, [Symbol.dispose]: () => held.dispose() };
}

function versionOf(library: Deno.DynamicLibrary<typeof VERSION_SYMBOLS>): LibraryVersion {
  const line = library.symbols.OpenSSL_version(0);
  assert(line !== null, "A version without text");
  const text = Deno.UnsafePointerView.getCString(line);
  const number = Number(library.symbols.OpenSSL_version_num());
  return { number, text, version: text.split(" ")[1] ?? text };
}
