// What followers of a file need of it: whether it changed, and its bytes, but not too many.
import { ProxyError } from "./base/errors.ts";

/** A file written so lately may be written again within the same tick of its clock, in milliseconds. */
export const YOUNG_MS = 2_000;

/** What is at a file's place cannot be taken for it. */
export class NoFileError extends ProxyError {
  readonly code = "NO_FILE";

  constructor(path: string, why = "it is no file") {
    super(`${path}: ${why}`);
  }
}

/** Changes whenever the file does, as far as its directory knows. */
export function markOf({ dev, ino, size, mtime, ctime }: Deno.FileInfo): string {
  return [dev, ino, size, mtime?.getTime(), ctime?.getTime()].join(" ");
}

/**
 * Null: larger than `bytesMax`. Opening a pipe would wait for whoever writes into it, and with it the end of the process.
 * @throws {NoFileError} for a pipe, a socket or a device.
 */
export async function readBounded(
  path: string,
  bytesMax: number,
): Promise<Uint8Array<ArrayBuffer> | null> {
  if (!isReadable(await Deno.stat(path))) throw new NoFileError(path);
  using file = await Deno.open(path);
  const { size } = await file.stat();
  if (size > bytesMax) return null;
  const bytes = new Uint8Array(size + 1);
  let filled = 0;
  while (filled < bytes.length) {
    const count = await file.read(bytes.subarray(filled));
    if (count === null) break;
    filled += count;
  }
  return filled > bytesMax ? null : bytes.subarray(0, filled);
}

/**
 * Of files whose size nobody has to know beforehand.
 * @throws {NoFileError} as {@link readBounded} does, and for one larger than `bytesMax`.
 */
export async function readWhole(path: string, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
  const info = await Deno.stat(path);
  if (!isReadable(info)) throw new NoFileError(path);
  if (info.isFile && info.size > bytesMax) {
    throw new NoFileError(path, `${info.size} bytes, limit is ${bytesMax}`);
  }
  return await Deno.readFile(path);
}

/** What answers at once; a folder does, by an error. */
function isReadable({ isFile, isDirectory }: Deno.FileInfo): boolean {
  return isFile || isDirectory;
}
