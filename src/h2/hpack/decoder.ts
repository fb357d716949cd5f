// Header blocks from the peer → header fields (RFC 7541 §6), one decoder per connection.
import { assert } from "../../base/assert.ts";

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

export class HpackDecoder {
  /** @param options.tableBytesMax The SETTINGS_HEADER_TABLE_SIZE we advertised; 4,096 where we sent none. */
  constructor(options: { readonly tableBytesMax: number }) {
    assert(options.tableBytesMax >= 0, "A table has no negative size");
  }

  /**
   * The peer acknowledged another SETTINGS_HEADER_TABLE_SIZE of ours. When it is below the table's size, the next
   * block must begin with a size update (RFC 7541 §4.2).
   */
  setTableBytesMax(_bytes: number): void {}

  /**
   * Decodes one whole header block: octets `start` (inclusive) to `end` (exclusive) of `block`, which are only
   * read and not kept. The block of a stream that is refused must be decoded too.
   * @throws {HpackError} when it is malformed; the decoder must not be used again.
   */
  decode(_block: Uint8Array, _start: number, _end: number, _sink: HpackSink): void {
    assert(false, "Not there yet");
  }
}
