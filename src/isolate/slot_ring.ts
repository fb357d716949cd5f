// Values sent once and named by a number afterwards: a ring that both sides of a border overwrite in the same order.
import { assert } from "../base/assert.ts";
import { MessageError } from "./errors.ts";

/**
 * The sender's half. A value gets a slot when it is first used; the next newcomer takes the slot after it, whoever
 * had that. So memory is bounded on both sides, and nobody has to say when a value is no longer needed.
 *
 * A value whose slot would be taken soon is sent again instead of being named: otherwise newcomers of the same
 * message could overwrite it between the naming and the reading.
 */
export class SlotSender<Key> {
  readonly #keys: (Key | undefined)[];
  readonly #slotOf = new Map<Key, number>();
  readonly #newcomersMax: number;
  #next = 0;

  /** @param options.newcomersMax How many values one message names at most; less than half of `slots`. */
  constructor(options: { readonly slots: number; readonly newcomersMax: number }) {
    assert(options.newcomersMax * 2 < options.slots, "Most slots must be safe to name");
    this.#keys = new Array(options.slots).fill(undefined);
    this.#newcomersMax = options.newcomersMax;
  }

  /** The slot of a value that the reader knows, or -1: then it has to be defined, in the slot {@link add} gives. */
  find(key: Key): number {
    const slot = this.#slotOf.get(key);
    if (slot === undefined) return -1;
    const slots = this.#keys.length;
    return (slot - this.#next + slots) % slots < this.#newcomersMax ? -1 : slot;
  }

  /** Takes the next slot for `key`. */
  add(key: Key): number {
    const slot = this.#next;
    this.#next = slot + 1 === this.#keys.length ? 0 : slot + 1;
    const old = this.#keys[slot];
    // A value that was sent again has a younger slot by now.
    if (old !== undefined && this.#slotOf.get(old) === slot) this.#slotOf.delete(old);
    this.#keys[slot] = key;
    this.#slotOf.set(key, slot);
    return slot;
  }
}

/** The reader's half. */
export class SlotReader<Value> {
  readonly #values: (Value | undefined)[];

  constructor(slots: number) {
    this.#values = new Array(slots).fill(undefined);
  }

  /** @throws {MessageError} for a slot outside the ring. */
  define(slot: number, value: Value): void {
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.#values.length) {
      throw new MessageError(`Cannot define slot ${slot}: there are ${this.#values.length}`);
    }
    this.#values[slot] = value;
  }

  /** @throws {MessageError} for a slot that was never defined. */
  get(slot: number): Value {
    const value = this.#values[slot];
    if (value === undefined) throw new MessageError(`Slot ${slot} was never defined`);
    return value;
  }
}
