// Copying a range of bytes, cheap for few bytes and for many.

/** Below this many octets a plain loop is quicker than making a view for `set()`. */
const LOOP_BYTES_MAX = 48;

/** Copies `source[start, end)` to `target` at `offset`. The arrays must not share memory. */
export function copyBytes(
  source: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  offset: number,
): void {
  if (end - start <= LOOP_BYTES_MAX) {
    for (let i = start; i < end; i++) target[offset++] = source[i]!;
  } else if (start === 0 && end === source.length) {
    target.set(source, offset);
  } else {
    target.set(source.subarray(start, end), offset);
  }
}
