// The fields sent lately on this connection, newest first (RFC 7541 §2.3.2, §4): a ring, evicted by size.
import { assert } from "../../base/assert.ts";

/** What an entry counts beyond its octets (RFC 7541 §4.1). */
export const FIELD_OVERHEAD_BYTES = 32;

/** SETTINGS_HEADER_TABLE_SIZE of a side that said nothing (RFC 9113 §6.5.2). */
export const DEFAULT_TABLE_BYTES = 4096;

const RING_ENTRIES_AT_FIRST = 16;

/** Octets of a field as tables and header list limits count them. */
export function fieldBytes(name: string, value: string): number {
  return name.length + value.length + FIELD_OVERHEAD_BYTES;
}

/**
 * Entries have a sequence number, from 0 in order of insertion; it stays while indices shift. The ring grows with
 * the entries held, which the size bounds: `bytesMax / 32`.
 */
export class DynamicTable {
  #names: string[] = new Array(RING_ENTRIES_AT_FIRST).fill("");
  #values: string[] = new Array(RING_ENTRIES_AT_FIRST).fill("");
  #mask = RING_ENTRIES_AT_FIRST - 1;
  #inserted = 0;
  #evicted = 0;
  #bytes = 0;
  #bytesMax: number;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Entries held. */
  get length(): number {
    return this.#inserted - this.#evicted;
  }

  /** Their size (RFC 7541 §4.1). */
  get bytes(): number {
    return this.#bytes;
  }

  /** Size that the entries may have now (RFC 7541 §4.2). */
  get bytesMax(): number {
    return this.#bytesMax;
  }

  /** Sequence number of the next entry. */
  get inserted(): number {
    return this.#inserted;
  }

  /** @param position 0, the newest, to `length - 1`. */
  nameAt(position: number): string {
    assert(position >= 0 && position < this.length, "No such entry");
    return this.#names[(this.#inserted - 1 - position) & this.#mask]!;
  }

  /** @param position 0, the newest, to `length - 1`. */
  valueAt(position: number): string {
    assert(position >= 0 && position < this.length, "No such entry");
    return this.#values[(this.#inserted - 1 - position) & this.#mask]!;
  }

  /** Evicts from the oldest end what is above the new size (RFC 7541 §4.3). */
  resize(bytesMax: number): void {
    this.#bytesMax = bytesMax;
    while (this.#bytes > bytesMax) this.#evictOldest();
  }

  /**
   * Adds the newest entry, evicting for its room (RFC 7541 §4.4). A field above the table's whole size empties it
   * and is not kept.
   */
  insert(name: string, value: string): void {
    const bytes = fieldBytes(name, value);
    while (this.length > 0 && this.#bytes + bytes > this.#bytesMax) this.#evictOldest();
    if (bytes > this.#bytesMax) return;
    if (this.length > this.#mask) this.#growRing();
    const slot = this.#inserted & this.#mask;
    this.#names[slot] = name;
    this.#values[slot] = value;
    this.#inserted++;
    this.#bytes += bytes;
  }

  /** For a subclass that keeps an index: this entry is gone. */
  protected onEvicted(_name: string, _value: string): void {}

  #evictOldest(): void {
    const slot = this.#evicted & this.#mask;
    const name = this.#names[slot]!;
    const value = this.#values[slot]!;
    this.#names[slot] = "";
    this.#values[slot] = "";
    this.#evicted++;
    this.#bytes -= fieldBytes(name, value);
    this.onEvicted(name, value);
  }

  #growRing(): void {
    const entries = (this.#mask + 1) * 2;
    const names: string[] = new Array(entries).fill("");
    const values: string[] = new Array(entries).fill("");
    for (let sequence = this.#evicted; sequence < this.#inserted; sequence++) {
      names[sequence & (entries - 1)] = this.#names[sequence & this.#mask]!;
      values[sequence & (entries - 1)] = this.#values[sequence & this.#mask]!;
    }
    this.#names = names;
    this.#values = values;
    this.#mask = entries - 1;
  }
}
