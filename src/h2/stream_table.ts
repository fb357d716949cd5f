// The streams of a connection by their id: a table of our own, since `Map` is not for such churn (`base/roster.ts`).

/** Slots of an empty table; a power of two. */
const SLOTS_MIN = 16;
/** Odd; spreads ids, which are odd as well and mostly consecutive. */
const SPREAD = 0x9e37_79b1;

/** Open addressing, at most half full; what leaves is closed up behind, so that nothing remains of it. */
export class StreamTable<Stream extends { readonly id: number }> {
  #slots: (Stream | null)[] = emptySlots(SLOTS_MIN);
  #shift = 32 - Math.log2(SLOTS_MIN);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Stream | null {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let slot = this.#home(id);; slot = slot + 1 & mask) {
      const stream = slots[slot]!;
      if (stream === null || stream.id === id) return stream;
    }
  }

  /** To be called once per id. */
  add(stream: Stream): void {
    if ((this.#size + 1) * 2 > this.#slots.length) this.#resize(this.#slots.length * 2);
    this.#put(stream);
    this.#size++;
  }

  /** False where there is none with its id. */
  delete(id: number): boolean {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hole = this.#home(id);
    for (;; hole = hole + 1 & mask) {
      const stream = slots[hole]!;
      if (stream === null) return false;
      if (stream.id === id) break;
    }
    for (let slot = hole + 1 & mask;; slot = slot + 1 & mask) {
      const stream = slots[slot]!;
      if (stream === null) break;
      // It may move up unless that is before the slot where it is looked for first.
      if ((slot - this.#home(stream.id) & mask) < (slot - hole & mask)) continue;
      slots[hole] = stream;
      hole = slot;
    }
    slots[hole] = null;
    this.#size--;
    if (this.#size === 0 && slots.length > SLOTS_MIN) this.#resize(SLOTS_MIN);
    return true;
  }

  clear(): void {
    this.#size = 0;
    this.#slots = emptySlots(SLOTS_MIN);
    this.#shift = 32 - Math.log2(SLOTS_MIN);
  }

  /** Those that are there now, the lowest id first. */
  streams(): Stream[] {
    const streams = this.#slots.filter((stream) => stream !== null);
    return streams.sort((a, b) => a.id - b.id);
  }

  #home(id: number): number {
    return Math.imul(id, SPREAD) >>> this.#shift;
  }

  #put(stream: Stream): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = this.#home(stream.id);
    while (slots[slot] !== null) slot = slot + 1 & mask;
    slots[slot] = stream;
  }

  #resize(count: number): void {
    const before = this.#slots;
    this.#slots = emptySlots(count);
    this.#shift = 32 - Math.log2(count);
    for (const stream of before) if (stream !== null) this.#put(stream);
  }
}

function emptySlots<Stream>(count: number): (Stream | null)[] {
  return new Array<Stream | null>(count).fill(null);
}
