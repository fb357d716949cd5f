// Header blocks from the peer → header fields (RFC 7541 §3, §6), one decoder per connection.
import { assert } from "../../base/assert.ts";
import { BlockReader } from "./block_reader.ts";
import { DynamicTable, fieldBytes } from "./dynamic_table.ts";
import { HpackError } from "./errors.ts";
import { STATIC_ENTRIES, STATIC_NAMES, STATIC_VALUES } from "./static_table.ts";

/** What a header block contains, one call per field in the block's order. */
export interface HpackSink {
  /**
   * @param name One character per octet (Latin-1), as sent: neither case nor characters were checked.
   * @param value Likewise. Both may be strings of the dynamic table, shared, so a field costs no copy.
   * @param bytes Size as in SETTINGS_MAX_HEADER_LIST_SIZE: octets of name and value, plus 32.
   *
   * May throw its own error to stop; then the decoder is out of step with its peer and the connection has to end.
   */
  onHeader(name: string, value: string, bytes: number): void;
}

/** No smaller table has to be confirmed by the peer. */
const NOTHING_OWED = -1;

/**
 * Time and memory are bounded by the octets of the block: an octet of it makes at most one call of the sink, and
 * strings have at most 8/5 of its size. How many fields are worth keeping is the sink's decision.
 */
export class HpackDecoder {
  readonly #table: DynamicTable;
  readonly #reader = new BlockReader();
  #tableBytesMax: number;
  /** The peer's next block begins with a size update to at most this. */
  #owedTableBytes = NOTHING_OWED;

  /**
   * @param options.tableBytesMax The SETTINGS_HEADER_TABLE_SIZE in force from the first block on: 4,096 unless the
   * peer knows another one beforehand.
   */
  constructor(options: { readonly tableBytesMax: number }) {
    assert(options.tableBytesMax >= 0, "A table has no negative size");
    this.#tableBytesMax = options.tableBytesMax;
    this.#table = new DynamicTable(options.tableBytesMax);
  }

  /** Size of the dynamic table now: at most the one we advertised. */
  get tableBytes(): number {
    return this.#table.bytes;
  }

  /**
   * The peer acknowledged another SETTINGS_HEADER_TABLE_SIZE of ours. When it is below the table's size, the next
   * block must begin with a size update (RFC 7541 §4.2).
   */
  setTableBytesMax(bytes: number): void {
    assert(bytes >= 0, "A table has no negative size");
    this.#tableBytesMax = bytes;
    const limit = this.#owedTableBytes === NOTHING_OWED
      ? this.#table.bytesMax
      : this.#owedTableBytes;
    if (bytes < limit) this.#owedTableBytes = bytes;
  }

  /**
   * Decodes one whole header block: octets `start` (inclusive) to `end` (exclusive) of `block`, which are only
   * read and not kept. The block of a stream that is refused must be decoded too.
   * @throws {HpackError} when it is malformed; the decoder must not be used again.
   */
  decode(block: Uint8Array, start: number, end: number, sink: HpackSink): void {
    assert(start >= 0 && start <= end && end <= block.length, "A block lies within its memory");
    const reader = this.#reader;
    reader.open(block, start, end);
    try {
      while (!reader.atEnd && (reader.peek() & 0xe0) === 0x20) this.#readSizeUpdate();
      if (this.#owedTableBytes !== NOTHING_OWED && !reader.atEnd) {
        throw new HpackError(
          `Cannot accept header block: no table size update to ${this.#owedTableBytes} or less at its start`,
        );
      }
      while (!reader.atEnd) this.#readField(sink);
    } finally {
      reader.close();
    }
  }

  #readSizeUpdate(): void {
    const bytes = this.#reader.readInteger(5);
    const limit = this.#owedTableBytes === NOTHING_OWED
      ? this.#tableBytesMax
      : this.#owedTableBytes;
    if (bytes > limit) {
      throw new HpackError(`Cannot accept table size update: size is ${bytes}, limit is ${limit}`);
    }
    this.#owedTableBytes = NOTHING_OWED;
    this.#table.resize(bytes);
  }

  #readField(sink: HpackSink): void {
    const octet = this.#reader.peek();
    let name: string;
    let value: string;
    if (octet >= 0x80) { // §6.1: indexed field
      const index = this.#reader.readInteger(7);
      name = this.#nameOf(index);
      value = index <= STATIC_ENTRIES
        ? STATIC_VALUES[index]!
        : this.#table.valueAt(index - STATIC_ENTRIES - 1);
    } else if (octet >= 0x40) { // §6.2.1: literal with incremental indexing
      name = this.#readName(6);
      value = this.#reader.readString();
      this.#table.insert(name, value);
    } else if (octet < 0x20) { // §6.2.2, §6.2.3: literal without indexing, or never indexed
      name = this.#readName(4);
      value = this.#reader.readString();
    } else { // §4.2
      throw new HpackError("Cannot accept table size update: it follows a header field");
    }
    sink.onHeader(name, value, fieldBytes(name, value));
  }

  #readName(prefixBits: number): string {
    const index = this.#reader.readInteger(prefixBits);
    return index === 0 ? this.#reader.readString() : this.#nameOf(index);
  }

  #nameOf(index: number): string {
    if (index === 0) throw new HpackError("Cannot find header field: index is 0");
    if (index <= STATIC_ENTRIES) return STATIC_NAMES[index]!;
    const position = index - STATIC_ENTRIES - 1;
    if (position >= this.#table.length) {
      throw new HpackError(
        `Cannot find header field: index is ${index}, tables end at ${
          STATIC_ENTRIES + this.#table.length
        }`,
      );
    }
    return this.#table.nameAt(position);
  }
}
