// The Huffman code of RFC 7541 §5.2 and Appendix B: octets ↔ bits.
import { assert } from "../../base/assert.ts";

/** "End of string": never sent whole, its first bits pad the last octet. */
const EOS = 256;

/** Bits of the code of each octet, then of EOS (RFC 7541 Appendix B). */
// deno-fmt-ignore
const CODE_BITS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];

const SYMBOL_BITS = Uint8Array.from(CODE_BITS);
const SYMBOL_CODES = canonicalCodes(CODE_BITS);

/**
 * The codes that belong to `bits`. The code is canonical: sorted by (length, octet), each code is the one before
 * plus one, moved left where the length grows. Hence the lengths say everything.
 */
function canonicalCodes(bits: readonly number[]): Uint32Array {
  const codes = new Uint32Array(bits.length);
  const order = bits.map((_, symbol) => symbol).sort((a, b) => bits[a]! - bits[b]! || a - b);
  let next = 0;
  let length = 0;
  for (const symbol of order) {
    next <<= bits[symbol]! - length;
    length = bits[symbol]!;
    codes[symbol] = next++;
  }
  assert(next === 2 ** length, "The code is complete: EOS is all ones");
  return codes;
}

/** An entry of the decode table: symbol in bits 0–7, next state in 8–15, and: */
const EMITS = 1 << 16;
/** The string may end here: what is pending is at most 7 bits, all ones. */
const ACCEPTS = 1 << 17;
/** EOS was seen. */
const FAILS = 1 << 18;

/**
 * `[state << 4 | nibble]`: what four more bits do. A state is an inner node of the code tree, 256 of them; no
 * code is shorter than 5 bits, so a nibble completes at most one symbol. 16 KiB: stays in the first-level cache.
 */
const DECODE_TABLE = buildDecodeTable();

function buildDecodeTable(): Uint32Array {
  // Inner nodes as pairs of children: an inner node's number, or -1 - symbol.
  const children: [zero: number, one: number][] = [[0, 0]];
  const accepting = new Set([0]);
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = SYMBOL_BITS[symbol]! - 1; bit >= 0; bit--) {
      const side = (SYMBOL_CODES[symbol]! >>> bit & 1) as 0 | 1;
      const inner = children[node]!;
      if (bit === 0) {
        inner[side] = -1 - symbol;
      } else {
        if (inner[side] === 0) inner[side] = children.push([0, 0]) - 1;
        node = inner[side];
        if (symbol === EOS && SYMBOL_BITS[EOS]! - bit <= 7) accepting.add(node);
      }
    }
  }
  assert(children.length === 256, "256 inner nodes fit in the 8 bits of a state");
  const table = new Uint32Array(children.length << 4);
  for (let state = 0; state < children.length; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = state;
      let entry = 0;
      for (let bit = 3; bit >= 0; bit--) {
        node = children[node]![nibble >>> bit & 1]!;
        if (node < 0) {
          const symbol = -1 - node;
          entry |= symbol === EOS ? FAILS : EMITS | symbol;
          node = 0;
        }
      }
      table[state << 4 | nibble] = entry | node << 8 | (accepting.has(node) ? ACCEPTS : 0);
    }
  }
  return table;
}

/** Octets that `text` (one character per octet) takes in this code. */
export function huffmanBytes(text: string): number {
  let bits = 0;
  let seen = 0;
  for (let i = 0; i < text.length; i++) {
    const octet = text.charCodeAt(i);
    seen |= octet;
    bits += SYMBOL_BITS[octet & 0xff]!;
  }
  assert(seen <= 0xff, "A header is made of octets, one per character");
  return (bits + 7) >>> 3;
}

/**
 * Writes `text` at `offset` of `target`, {@link huffmanBytes} octets.
 * @returns The offset after it.
 */
export function writeHuffman(target: Uint8Array, offset: number, text: string): number {
  let pending = 0; // The last `pendingBits` bits not yet written, fewer than 8.
  let pendingBits = 0;
  for (let i = 0; i < text.length; i++) {
    const octet = text.charCodeAt(i);
    let code = SYMBOL_CODES[octet]!;
    let bits = SYMBOL_BITS[octet]!;
    if (bits > 24) { // In two steps, so that pending and new bits fit in 31.
      bits -= 16;
      pending = pending << bits | code >>> 16;
      pendingBits += bits;
      while (pendingBits >= 8) target[offset++] = pending >>> (pendingBits -= 8);
      pending &= (1 << pendingBits) - 1;
      code &= 0xffff;
      bits = 16;
    }
    pending = pending << bits | code;
    pendingBits += bits;
    while (pendingBits >= 8) target[offset++] = pending >>> (pendingBits -= 8);
    pending &= (1 << pendingBits) - 1;
  }
  if (pendingBits > 0) {
    target[offset++] = pending << (8 - pendingBits) | 0xff >>> pendingBits;
  }
  return offset;
}

/** Octets that `encodedBytes` octets of code can mean at most: no code is shorter than 5 bits. */
export function huffmanDecodedBytesMax(encodedBytes: number): number {
  return Math.floor(encodedBytes * 8 / 5);
}

/**
 * Decodes `source` from `start` to `end` (exclusive) into `target` from 0, where
 * {@link huffmanDecodedBytesMax} octets must be free.
 * @returns The number of octets, or -1: EOS inside, or padding that is not the first 0 to 7 bits of EOS
 * (RFC 7541 §5.2).
 */
export function readHuffman(
  source: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
): number {
  let written = 0;
  let entry = ACCEPTS;
  let seen = 0;
  for (let i = start; i < end; i++) {
    const octet = source[i]!;
    entry = DECODE_TABLE[(entry >>> 4) & 0xff0 | octet >>> 4]!;
    if ((entry & EMITS) !== 0) target[written++] = entry;
    seen |= entry;
    entry = DECODE_TABLE[(entry >>> 4) & 0xff0 | octet & 0xf]!;
    if ((entry & EMITS) !== 0) target[written++] = entry;
    seen |= entry;
  }
  return (seen & FAILS) === 0 && (entry & ACCEPTS) !== 0 ? written : -1;
}
