// What followers of a file need of it: whether it changed, and its bytes, but not too many.
import type { Clock } from "./base/clock.ts";
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

/**
 * What a look found: `unchanged` since it was last read; `settling`: changed, and the next look tells whether all of it is
 * written; else what it holds now. The mark differs between any two changes, as far as the directory knows.
 */
export type FileLook =
  | "unchanged"
  | "settling"
  | { readonly kind: "noFile"; readonly mark: string }
  | { readonly kind: "tooLarge"; readonly mark: string }
  | { readonly kind: "read"; readonly mark: string; readonly bytes: Uint8Array<ArrayBuffer> };

/** A file that is read whenever it has changed and stands still. */
export class StillFile {
  readonly #path: string;
  readonly #clock: Pick<Clock, "wallMs">;
  readonly #bytesMax: number;
  /** The file as the last look saw it, and as it was when it was read; null: not (to be trusted). */
  #seen: string | null = null;
  #read: string | null = null;

  constructor(path: string, clock: Pick<Clock, "wallMs">, bytesMax: number) {
    this.#path = path;
    this.#clock = clock;
    this.#bytesMax = bytesMax;
  }

  /**
   * @param options.filesOnly Whatever is no file is told as such; else it is tried.
   * @throws What the file system says; {@link forget} then.
   */
  async look(options: { readonly filesOnly?: boolean } = {}): Promise<FileLook> {
    const before = await Deno.stat(this.#path);
    const mark = markOf(before);
    if (mark === this.#read) return "unchanged";
    if (mark !== this.#seen) {
      this.#seen = mark;
      return "settling";
    }
    if (options.filesOnly === true && !before.isFile) return { kind: "noFile", mark };
    const bytes = await readBounded(this.#path, this.#bytesMax);
    const after = markOf(await Deno.stat(this.#path));
    if (after !== mark) {
      this.#seen = after;
      return "settling";
    }
    const isYoung = this.#clock.wallMs() - (before.mtime?.getTime() ?? 0) < YOUNG_MS;
    this.#read = isYoung ? null : mark;
    return bytes === null ? { kind: "tooLarge", mark } : { kind: "read", mark, bytes };
  }

  /** What was seen counts no longer: the next look begins anew. */
  forget(): void {
    this.#seen = null;
    this.#read = null;
  }
}

function markOf({ dev, ino, size, mtime, ctime }: Deno.FileInfo): string {
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
