// Strings out of messages: checked to be UTF-8, flat, and those that repeat only once in memory.
import { Buffer } from "node:buffer";

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Makes a string of `this[start..end)`, a byte a character. Published types leave it out; Node has had it since 2010. */
const asciiText = (Buffer.prototype as unknown as {
  latin1Slice(this: Uint8Array, start: number, end: number): string;
}).latin1Slice;

/** Up to here ASCII is read without the decoder, whose call costs more than the characters. */
const SHORT_BYTES = 256;

/**
 * Reads `bytes[start..end)` as UTF-8. The string is flat: protobufjs's own reader joins short ones from pieces of eight
 * characters, and each piece would stay in memory with the string.
 * @throws {TypeError} if it is not UTF-8.
 */
export function readText(bytes: Uint8Array, start: number, end: number): string {
  if (end - start > SHORT_BYTES) return strictUtf8.decode(bytes.subarray(start, end));
  for (let at = start; at < end; at++) {
    if (bytes[at]! > 127) return strictUtf8.decode(bytes.subarray(start, end));
  }
  // A quarter of what String.fromCharCode() takes, and no view of the bytes for each string.
  return asciiText.call(bytes, start, end);
}

/** Strings that {@link TextCache} remembers; the last one that fell into a place stays there. */
export const CACHED_TEXTS_MAX = 8_192;

/** Longer strings seldom repeat. */
export const CACHED_TEXT_BYTES_MAX = 96;

/**
 * Gives the same string for the same bytes while it remembers them: of 10,000 workloads most strings (namespace, node,
 * cluster, service account) are one of a few, and neither their memory nor the work of making them again is paid for.
 * A table of fixed size without chains: at most CACHED_TEXTS_MAX × CACHED_TEXT_BYTES_MAX characters stay, whatever comes.
 */
export class TextCache {
  readonly #texts: string[] = new Array(CACHED_TEXTS_MAX).fill("");

  /**
   * Reads `bytes[start..end)` as UTF-8, see {@link readText}.
   * @throws {TypeError} if it is not UTF-8.
   */
  read(bytes: Uint8Array, start: number, end: number): string {
    const length = end - start;
    if (length === 0) return "";
    if (length > CACHED_TEXT_BYTES_MAX) return readText(bytes, start, end);
    let hash = length;
    let any = 0;
    for (let at = start; at < end; at++) {
      const byte = bytes[at]!;
      any |= byte;
      hash = Math.imul(hash ^ byte, 0x01000193);
    }
    if (any > 127) return readText(bytes, start, end);
    const place = (hash ^ hash >>> 15) & (CACHED_TEXTS_MAX - 1);
    const known = this.#texts[place]!;
    if (known.length === length && isSame(known, bytes, start)) return known;
    return this.#texts[place] = readText(bytes, start, end);
  }
}

function isSame(text: string, bytes: Uint8Array, start: number): boolean {
  for (let at = 0; at < text.length; at++) {
    if (text.charCodeAt(at) !== bytes[start + at]) return false;
  }
  return true;
}
