// Header blocks in tests: written as hex, decoded into a plain list.
import { HpackDecoder } from "../../src/h2/hpack/decoder.ts";
import { type HpackEncoder, maxEncodedBytes } from "../../src/h2/hpack/encoder.ts";
import type { HeaderField, HeaderList } from "../../src/h2/types.ts";

/** Octets from hexadecimal digits; white space is ignored. */
export function octets(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.replace(/\s/g, "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export function hexOf(bytes: Uint8Array): string {
  return [...bytes].map((octet) => octet.toString(16).padStart(2, "0")).join("");
}

/** Fields from "name: value" lines. */
export function fields(...lines: readonly string[]): HeaderField[] {
  return lines.map((line) => {
    const colon = line.indexOf(": ", 1);
    return { name: line.slice(0, colon), value: line.slice(colon + 2) };
  });
}

/** A decoder as a connection has it at its start. */
export function decoderOf(tableBytesMax = 4096): HpackDecoder {
  return new HpackDecoder({ tableBytesMax });
}

/** All fields of a block. */
export function decodeAll(decoder: HpackDecoder, block: Uint8Array): HeaderField[] {
  const found: HeaderField[] = [];
  decoder.decode(block, 0, block.length, {
    onHeader: (name, value) => void found.push({ name, value }),
  });
  return found;
}

/** One block, of exactly its own length. */
export function encodeAll(encoder: HpackEncoder, headers: HeaderList): Uint8Array<ArrayBuffer> {
  const target = new Uint8Array(maxEncodedBytes(headers));
  return target.slice(0, encoder.encode(headers, target, 0));
}
