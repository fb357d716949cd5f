// Looks into folders through libc: the data-plane isolate has ffi and no permission to read files.
import { NetError } from "../../base/errors.ts";
import { O_CLOEXEC, O_RDONLY } from "./constants.ts";
import { ENOTDIR, netErrorOf } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { LIBC_NAME } from "./libc_symbols.ts";
import { openLibrary } from "./open_library.ts";
import { nativeBytes } from "./native_bytes.ts";

/** What the search for libraries asks of the file system. */
export interface LibraryFolders {
  /** Whether `path` can be opened for reading. */
  isReadable(path: string): boolean;
  /** The names in a folder but `.` and `..`, or why they cannot be read, as the end of a sentence. */
  list(folder: string): readonly string[] | string;
  /** The first `bytesMax` octets of a file, or why it cannot be read, as the end of a sentence. */
  read(path: string, bytesMax: number): Uint8Array | string;
}

/** Octets of records fetched by one getdents64 call. */
const RECORD_BYTES = 32_768;

const GETDENTS = {
  getdents64: { parameters: ["i32", "buffer", "u32"], result: "i32" },
} as const;

/** Where a `struct linux_dirent64` has its own length, and where its name begins (getdents(2)). */
const LENGTH_OFFSET = 16;
const NAME_OFFSET = 19;

/** errno(3) in an operator's words. */
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "it does not exist",
  ENOTDIR: "it is no folder",
  EISDIR: "it is a folder",
  EACCES: "permission denied",
};

/** Folders as the process sees them. At start only: each listing opens a binding, which needs ffi. */
export function libcFolders(libc: Libc): LibraryFolders {
  return {
    isReadable(path) {
      const fd = libc.open(path, O_RDONLY | O_CLOEXEC);
      if (fd < 0) return false;
      libc.close(fd);
      return true;
    },
    list(folder) {
      const fd = libc.open(folder, O_RDONLY | O_CLOEXEC);
      if (fd < 0) return reason(netErrorOf(-fd));
      try {
        return namesOf(fd);
      } finally {
        libc.close(fd);
      }
    },
    read(path, bytesMax) {
      try {
        return libc.readFile(path, bytesMax);
      } catch (thrown) {
        if (thrown instanceof NetError) return reason(thrown);
        throw thrown;
      }
    },
  };
}

function namesOf(fd: number): readonly string[] | string {
  const library = openLibrary(LIBC_NAME, GETDENTS);
  using opened = new DisposableStack();
  opened.defer(() => library.close());
  const records = nativeBytes(RECORD_BYTES);
  const names: string[] = [];
  for (;;) {
    const length = library.symbols.getdents64(fd, records, RECORD_BYTES);
    // Of an open descriptor to read, the call fails for no other reason.
    if (length < 0) return reason(netErrorOf(ENOTDIR));
    if (length === 0) return names.filter((name) => name !== "." && name !== "..");
    names.push(...namesIn(records.subarray(0, length)));
  }
}

function namesIn(records: Uint8Array): string[] {
  const view = new DataView(records.buffer, records.byteOffset, records.length);
  const names: string[] = [];
  for (let at = 0; at < records.length;) {
    const length = view.getUint16(at + LENGTH_OFFSET, true);
    const name = records.subarray(at + NAME_OFFSET, at + length);
    names.push(new TextDecoder().decode(name.subarray(0, name.indexOf(0))));
    at += length;
  }
  return names;
}

function reason({ code, message }: NetError): string {
  return REASONS[code] ?? message;
}
