// Integers with an N-bit prefix (RFC 7541 §5.1), as written. Reading them is BlockReader's.
import { assert } from "../../base/assert.ts";

/**
 * The largest integer we read or write. Indices, lengths and table sizes stay far below it; a peer that sends
 * more is told COMPRESSION_ERROR.
 */
export const HPACK_INTEGER_MAX = 2 ** 31 - 1;

/** Octets after the prefix that {@link HPACK_INTEGER_MAX} can need; more are refused, be they zeros. */
export const HPACK_CONTINUATION_OCTETS_MAX = 5;

/**
 * Writes `value` at `offset` of `target`.
 * @param pattern The bits of the first octet above the prefix; those of the prefix are 0.
 * @param prefixBits 4 to 7.
 * @returns The offset after it.
 */
export function writeInteger(
  target: Uint8Array,
  offset: number,
  pattern: number,
  prefixBits: number,
  value: number,
): number {
  assert(value >= 0 && value <= HPACK_INTEGER_MAX, "Integer outside what a peer can be told");
  const prefixMax = (1 << prefixBits) - 1;
  if (value < prefixMax) {
    target[offset] = pattern | value;
    return offset + 1;
  }
  target[offset++] = pattern | prefixMax;
  let rest = value - prefixMax;
  while (rest >= 0x80) {
    target[offset++] = 0x80 | rest & 0x7f;
    rest >>>= 7;
  }
  target[offset] = rest;
  return offset + 1;
}
