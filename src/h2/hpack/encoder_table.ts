// The encoder's dynamic table: the same entries as the peer's, found by name and value.
import { DynamicTable } from "./dynamic_table.ts";
import { STATIC_ENTRIES } from "./static_table.ts";

/** The entries of one name. */
interface NameEntries {
  /** Sequence number by value. The encoder never inserts a field that is present, so each is there once. */
  readonly sequences: Map<string, number>;
  newest: number;
}

/** Bounded by the table itself: what is evicted leaves the index too. */
export class EncoderTable extends DynamicTable {
  readonly #byName = new Map<string, NameEntries>();

  /** Index of the whole field as RFC 7541 §2.3.3 counts, or 0. */
  indexOf(name: string, value: string): number {
    const sequence = this.#byName.get(name)?.sequences.get(value);
    return sequence === undefined ? 0 : this.#toIndex(sequence);
  }

  /** Index of the newest field of that name, or 0. */
  indexOfName(name: string): number {
    const entries = this.#byName.get(name);
    return entries === undefined ? 0 : this.#toIndex(entries.newest);
  }

  override insert(name: string, value: string): void {
    const sequence = this.inserted;
    super.insert(name, value);
    if (this.inserted === sequence) return; // Larger than the table.
    let entries = this.#byName.get(name);
    if (entries === undefined) {
      entries = { sequences: new Map(), newest: sequence };
      this.#byName.set(name, entries);
    }
    entries.sequences.set(value, sequence);
    entries.newest = sequence;
  }

  protected override onEvicted(name: string, value: string): void {
    const entries = this.#byName.get(name)!;
    entries.sequences.delete(value);
    if (entries.sequences.size === 0) this.#byName.delete(name);
  }

  #toIndex(sequence: number): number {
    return STATIC_ENTRIES + this.inserted - sequence;
  }
}
