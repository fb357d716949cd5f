// Reads the integers and strings of one header block (RFC 7541 §5).
import { Buffer } from "node:buffer";
import { HpackError } from "./errors.ts";
import { huffmanDecodedBytesMax, readHuffman } from "./huffman.ts";
import { HPACK_CONTINUATION_OCTETS_MAX, HPACK_INTEGER_MAX } from "./integer.ts";

/** Strings up to this size pass through memory that is kept; longer ones get their own, once. */
const SCRATCH_BYTES = 8192;

/** Shared by all readers: no string is under way between two calls. */
const SCRATCH = Buffer.alloc(SCRATCH_BYTES);

const NOTHING = new Uint8Array(0);

/** A position in a block that somebody lends for the time of {@link HpackDecoder.decode}. */
export class BlockReader {
  #source: Uint8Array = NOTHING;
  #offset = 0;
  #end = 0;

  open(source: Uint8Array, start: number, end: number): void {
    this.#source = source;
    this.#offset = start;
    this.#end = end;
  }

  /** Forgets the block. */
  close(): void {
    this.#source = NOTHING;
    this.#offset = this.#end = 0;
  }

  get atEnd(): boolean {
    return this.#offset >= this.#end;
  }

  /** The octet that comes next; the block must not be at its end. */
  peek(): number {
    return this.#source[this.#offset]!;
  }

  /**
   * Reads an integer with a prefix of `prefixBits` bits, the bits above it being ignored.
   * @throws {HpackError} if the block ends first or a limit of integer.ts is passed.
   */
  readInteger(prefixBits: number): number {
    const prefixMax = (1 << prefixBits) - 1;
    let value = this.#source[this.#offset++]! & prefixMax;
    if (value < prefixMax) return value;
    let scale = 1; // A double: the last octet reaches above 32 bits.
    for (let octets = 0; octets < HPACK_CONTINUATION_OCTETS_MAX; octets++) {
      if (this.#offset >= this.#end) {
        throw new HpackError("Cannot read integer: header block ends inside it");
      }
      const octet = this.#source[this.#offset++]!;
      value += (octet & 0x7f) * scale;
      if (octet < 0x80) {
        if (value <= HPACK_INTEGER_MAX) return value;
        throw new HpackError(
          `Cannot accept integer: value is ${value}, limit is ${HPACK_INTEGER_MAX}`,
        );
      }
      scale *= 0x80;
    }
    throw new HpackError(
      `Cannot accept integer: it goes on after ${HPACK_CONTINUATION_OCTETS_MAX} octets`,
    );
  }

  /**
   * Reads a string literal (RFC 7541 §5.2), one character per octet.
   * @throws {HpackError} if it passes the end of the block or its Huffman code is wrong.
   */
  readString(): string {
    if (this.atEnd) throw new HpackError("Cannot read string: header block ends before it");
    const huffman = this.peek() >= 0x80;
    const bytes = this.readInteger(7);
    const start = this.#offset;
    if (bytes > this.#end - start) {
      throw new HpackError(
        `Cannot read string: it has ${bytes} octets, header block has ${this.#end - start} left`,
      );
    }
    this.#offset += bytes;
    return huffman ? this.#fromHuffman(start) : this.#fromOctets(start);
  }

  #fromOctets(start: number): string {
    const bytes = this.#offset - start;
    if (bytes > SCRATCH_BYTES) {
      return Buffer.from(this.#source.buffer, this.#source.byteOffset + start, bytes)
        .toString("latin1");
    }
    for (let i = 0; i < bytes; i++) SCRATCH[i] = this.#source[start + i]!;
    return SCRATCH.toString("latin1", 0, bytes);
  }

  #fromHuffman(start: number): string {
    const bytesMax = huffmanDecodedBytesMax(this.#offset - start);
    const target = bytesMax <= SCRATCH_BYTES ? SCRATCH : Buffer.alloc(bytesMax);
    const bytes = readHuffman(this.#source, start, this.#offset, target);
    if (bytes < 0) throw new HpackError("Cannot read string: EOS or wrong padding in Huffman code");
    return target.toString("latin1", 0, bytes);
  }
}
