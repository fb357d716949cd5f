// Our header fields → header blocks (RFC 7541 §6), one encoder per connection.
import { assert } from "../../base/assert.ts";
import type { HeaderList } from "../types.ts";

/** Octets that {@link HpackEncoder.encode} needs at most for `headers`, pending table size updates included. */
export function maxEncodedBytes(_headers: HeaderList): number {
  return 0;
}

export class HpackEncoder {
  /** The peer's SETTINGS_HEADER_TABLE_SIZE, each time it changes; applies from the next block on. */
  setPeerTableBytes(_bytes: number): void {}

  /**
   * Writes one whole header block into `target` at `offset`, where {@link maxEncodedBytes} octets must be free.
   * Names must be lower case; names and values have one character per octet (Latin-1).
   * Every block must reach the peer, in the order of the calls: the dynamic tables are a shared state.
   * @returns The offset after the block.
   */
  encode(_headers: HeaderList, _target: Uint8Array, _offset: number): number {
    assert(false, "Not there yet");
  }
}
