// What followers of a file need of it: whether it changed, and its bytes, but not too many.

/** A file written so lately may be written again within the same tick of its clock, in milliseconds. */
export const YOUNG_MS = 2_000;

/** Changes whenever the file does, as far as its directory knows. */
export function markOf({ dev, ino, size, mtime, ctime }: Deno.FileInfo): string {
  return [dev, ino, size, mtime?.getTime(), ctime?.getTime()].join(" ");
}

/** Null: larger than `bytesMax`. */
export async function readBounded(
  path: string,
  bytesMax: number,
): Promise<Uint8Array<ArrayBuffer> | null> {
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
