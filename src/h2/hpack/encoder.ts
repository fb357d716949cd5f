// Our header fields → header blocks (RFC 7541 §6), one encoder per connection.
import { assert } from "../../base/assert.ts";
import type { HeaderList } from "../types.ts";
import { DEFAULT_TABLE_BYTES, fieldBytes } from "./dynamic_table.ts";
import { EncoderTable } from "./encoder_table.ts";
import { huffmanBytes, writeHuffman } from "./huffman.ts";
import { HPACK_INTEGER_MAX, writeInteger } from "./integer.ts";
import { STATIC_ENTRIES, STATIC_NAMES, STATIC_VALUES } from "./static_table.ts";

/**
 * The largest dynamic table we use, however much the peer offers, in octets as RFC 7541 §4.1 counts. A tunnel's
 * headers repeat or are unique; more memory would hold only more of the unique ones.
 */
export const HPACK_ENCODER_TABLE_BYTES_MAX = DEFAULT_TABLE_BYTES;

/** First octet of a literal (RFC 7541 §6.2) and the bits of its name index. */
const INCREMENTAL = 0x40;
const INCREMENTAL_PREFIX_BITS = 6;
const NOT_INDEXED = 0x00;
const NEVER_INDEXED = 0x10;
const NOT_INDEXED_PREFIX_BITS = 4;

/** An integer with its prefix octet; a table size update is one. */
const INTEGER_BYTES_MAX = 6;

/** How fields of a name are sent when no table has them whole. */
const LITERAL_FORMS: ReadonlyMap<string, number> = new Map([
  // Credentials: no hop after us may put them in a table (RFC 7541 §7.1.3).
  ["authorization", NEVER_INDEXED],
  ["cookie", NEVER_INDEXED],
  ["proxy-authorization", NEVER_INDEXED],
  ["set-cookie", NEVER_INDEXED],
  // Another value for each connection: in the table they would only push out what repeats.
  ["traceparent", NOT_INDEXED],
  ["forwarded", NOT_INDEXED],
  ["content-length", NOT_INDEXED],
  ["date", NOT_INDEXED],
]);

/** What the static table has of a name. */
interface StaticName {
  readonly index: number;
  readonly byValue: ReadonlyMap<string, number>;
}

const STATIC_BY_NAME: ReadonlyMap<string, StaticName> = staticByName();

function staticByName(): Map<string, StaticName> {
  const names = new Map<string, { index: number; byValue: Map<string, number> }>();
  for (let index = 1; index <= STATIC_ENTRIES; index++) {
    let name = names.get(STATIC_NAMES[index]!);
    if (name === undefined) {
      name = { index, byValue: new Map() };
      names.set(STATIC_NAMES[index]!, name);
    }
    name.byValue.set(STATIC_VALUES[index]!, index);
  }
  return names;
}

/** Octets that {@link HpackEncoder.encode} needs at most for `headers`, pending table size updates included. */
export function maxEncodedBytes(headers: HeaderList): number {
  let bytes = 2 * INTEGER_BYTES_MAX;
  for (let i = 0; i < headers.length; i++) {
    const { name, value } = headers[i]!;
    bytes += 1 + 2 * INTEGER_BYTES_MAX + name.length + value.length;
  }
  return bytes;
}

export class HpackEncoder {
  readonly #table = new EncoderTable(DEFAULT_TABLE_BYTES);
  /** Sizes that the next block begins with: the smallest since the last one, then the present one. */
  #smallestTableBytes = DEFAULT_TABLE_BYTES;
  #tableBytes = DEFAULT_TABLE_BYTES;

  /** Size of the dynamic table now. */
  get tableBytes(): number {
    return this.#table.bytes;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE, each time it changes; applies from the next block on. */
  setPeerTableBytes(bytes: number): void {
    assert(bytes >= 0, "A table has no negative size");
    this.#tableBytes = Math.min(bytes, HPACK_ENCODER_TABLE_BYTES_MAX);
    this.#smallestTableBytes = Math.min(this.#smallestTableBytes, this.#tableBytes);
  }

  /**
   * Writes one whole header block into `target` at `offset`, where {@link maxEncodedBytes} octets must be free.
   * Names must be lower case; names and values have one character per octet (Latin-1).
   * Every block must reach the peer, in the order of the calls: the dynamic tables are a shared state.
   * @returns The offset after the block.
   */
  encode(headers: HeaderList, target: Uint8Array, offset: number): number {
    offset = this.#writeSizeUpdates(target, offset);
    for (let i = 0; i < headers.length; i++) {
      const { name, value } = headers[i]!;
      offset = this.#writeField(name, value, target, offset);
    }
    assert(offset <= target.length, "Caller made room for the block");
    return offset;
  }

  /** RFC 7541 §4.2: the peer must see the smallest size as well, for what it evicts on the way. */
  #writeSizeUpdates(target: Uint8Array, offset: number): number {
    if (this.#smallestTableBytes < this.#table.bytesMax) {
      this.#table.resize(this.#smallestTableBytes);
      offset = writeInteger(target, offset, 0x20, 5, this.#smallestTableBytes);
    }
    if (this.#tableBytes !== this.#table.bytesMax) {
      this.#table.resize(this.#tableBytes);
      offset = writeInteger(target, offset, 0x20, 5, this.#tableBytes);
    }
    this.#smallestTableBytes = this.#tableBytes;
    return offset;
  }

  #writeField(name: string, value: string, target: Uint8Array, offset: number): number {
    const known = STATIC_BY_NAME.get(name);
    let form = LITERAL_FORMS.get(name) ?? INCREMENTAL;
    if (form !== NEVER_INDEXED) {
      const index = known?.byValue.get(value) ?? this.#table.indexOf(name, value);
      if (index !== 0) return writeInteger(target, offset, 0x80, 7, index);
    }
    // A field that would push out half of the table costs the others more than it can save.
    if (form === INCREMENTAL && fieldBytes(name, value) * 2 > this.#table.bytesMax) {
      form = NOT_INDEXED;
    }
    const prefixBits = form === INCREMENTAL ? INCREMENTAL_PREFIX_BITS : NOT_INDEXED_PREFIX_BITS;
    const nameIndex = known?.index ?? this.#table.indexOfName(name);
    offset = writeInteger(target, offset, form, prefixBits, nameIndex);
    if (nameIndex === 0) offset = writeString(target, offset, name);
    offset = writeString(target, offset, value);
    if (form === INCREMENTAL) this.#table.insert(name, value);
    return offset;
  }
}

/** RFC 7541 §5.2; as octets unless Huffman code is shorter. */
function writeString(target: Uint8Array, offset: number, text: string): number {
  assert(text.length <= HPACK_INTEGER_MAX, "A string that no peer could read");
  const bytes = huffmanBytes(text);
  if (bytes < text.length) {
    return writeHuffman(target, writeInteger(target, offset, 0x80, 7, bytes), text);
  }
  offset = writeInteger(target, offset, 0, 7, text.length);
  for (let i = 0; i < text.length; i++) target[offset + i] = text.charCodeAt(i);
  return offset + text.length;
}
