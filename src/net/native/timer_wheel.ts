// A timer wheel: setting and cancelling cost the same whether ten timers wait or a hundred thousand.
import { assert } from "../../base/assert.ts";
import type { Timer } from "../../base/clock.ts";

/** Timers run in one turn at most; what is due beyond that runs in the next, after a look at the descriptors. */
export const TURN_TIMERS_MAX = 1024;

/**
 * One ring of slots per class of delay: a timer is never early and late by less than its ring's step. Long waits
 * share few slots, so that a loop with only those sleeps (twice a second at most).
 */
export const WHEEL_RINGS: readonly WheelRing[] = [
  { delayMaxMs: 1_000, stepMs: 1, slots: 1024 },
  { delayMaxMs: 10_000, stepMs: 32, slots: 512 },
  { delayMaxMs: Infinity, stepMs: 512, slots: 1024 },
];

export interface WheelRing {
  /** Delays up to this (inclusive) belong here, unless an earlier ring takes them. */
  readonly delayMaxMs: number;
  readonly stepMs: number;
  /** A power of two and a multiple of 32. A timer further ahead than one revolution stays for another. */
  readonly slots: number;
}

/** A place in a circular list: a timer, or the head of the list itself. */
class Link {
  previous: Link = this;
  next: Link = this;

  insertBefore(place: Link): void {
    this.previous = place.previous;
    this.next = place;
    place.previous.next = this;
    place.previous = this;
  }

  unlink(): void {
    this.previous.next = this.next;
    this.next.previous = this.previous;
    this.previous = this;
    this.next = this;
  }
}

/** Head of a slot's list, or of the list of what is due (then without a ring). */
class ListHead extends Link {
  readonly ring: Ring | null;
  readonly slot: number;

  constructor(ring: Ring | null, slot: number) {
    super();
    this.ring = ring;
    this.slot = slot;
  }
}

class WheelTimer extends Link implements Timer {
  /** In steps of its ring, counted from time 0. */
  readonly dueTick: number;
  callback: (() => void) | null;
  readonly #wheel: TimerWheel;

  constructor(wheel: TimerWheel, dueTick: number, callback: () => void) {
    super();
    this.#wheel = wheel;
    this.dueTick = dueTick;
    this.callback = callback;
  }

  cancel(): void {
    if (this.callback === null) return;
    this.callback = null;
    this.#wheel.forget(this);
  }
}

class Ring {
  readonly stepMs: number;
  readonly delayMaxMs: number;
  readonly #mask: number;
  readonly #lists: ListHead[] = [];
  /** One bit per slot that holds a timer. */
  readonly #occupied: Int32Array;
  /** Everything due at or before this tick has been taken out. */
  #tick: number;
  /** The first tick whose slot is occupied; 0 when it has to be looked for. */
  #next = Infinity;

  constructor({ stepMs, delayMaxMs, slots }: WheelRing, nowMs: number) {
    assert((slots & slots - 1) === 0 && slots >= 32, "Slots are a power of two, at least 32");
    this.stepMs = stepMs;
    this.delayMaxMs = delayMaxMs;
    this.#mask = slots - 1;
    this.#occupied = new Int32Array(slots / 32);
    this.#tick = Math.floor(nowMs / stepMs);
    for (let slot = 0; slot < slots; slot++) this.#lists.push(new ListHead(this, slot));
  }

  /** The first tick at or after `dueMs` that has not been taken out yet. */
  tickFor(dueMs: number): number {
    return Math.max(Math.ceil(dueMs / this.stepMs), this.#tick + 1);
  }

  put(timer: WheelTimer): void {
    const slot = timer.dueTick & this.#mask;
    timer.insertBefore(this.#lists[slot]!);
    this.#occupied[slot >> 5]! |= 1 << (slot & 31);
    // A timer beyond one revolution shows in its slot's bit earlier than it is due.
    const shownTick = this.#tick + 1 + (slot - this.#tick - 1 & this.#mask);
    if (shownTick < this.#next) this.#next = shownTick;
  }

  markEmpty(slot: number): void {
    this.#occupied[slot >> 5]! &= ~(1 << (slot & 31));
    if ((this.#next & this.#mask) === slot) this.#next = 0;
  }

  /** Not later than the earliest timer; earlier only where that is more than a revolution ahead. Infinity for none. */
  nextMs(): number {
    const tick = this.#nextTick();
    return tick === Infinity ? Infinity : tick * this.stepMs;
  }

  /** Moves every timer due by `nowMs` to `due`, earliest first. */
  takeDue(nowMs: number, due: ListHead): void {
    const nowTick = Math.floor(nowMs / this.stepMs);
    if (nowTick <= this.#tick) return;
    for (let tick = this.#nextTick(); tick <= nowTick; tick = this.#nextTick()) {
      this.#takeSlot(tick, due);
      this.#tick = tick;
      this.#next = 0;
    }
    this.#tick = nowTick;
  }

  #takeSlot(tick: number, due: ListHead): void {
    const list = this.#lists[tick & this.#mask]!;
    let link = list.next;
    while (link !== list) {
      const timer = link as WheelTimer;
      link = link.next;
      if (timer.dueTick > tick) continue; // For a later revolution.
      timer.unlink();
      timer.insertBefore(due);
    }
    if (list.next === list) this.markEmpty(list.slot);
  }

  #nextTick(): number {
    if (this.#next === 0) this.#next = this.#findNext();
    return this.#next;
  }

  #findNext(): number {
    const words = this.#occupied;
    const start = this.#tick + 1 & this.#mask;
    const firstWord = start >> 5;
    // The first word counts from `start` on, and once more at the end for what lies before.
    let bits = words[firstWord]! & -1 << (start & 31);
    for (let offset = 0; offset <= words.length; offset++) {
      const word = firstWord + offset & words.length - 1;
      if (offset > 0) bits = words[word]!;
      if (bits === 0) continue;
      const slot = word * 32 + (31 - Math.clz32(bits & -bits));
      return this.#tick + 1 + (slot - start & this.#mask);
    }
    return Infinity;
  }
}

/**
 * Timers of one loop. Time is an argument, in milliseconds, and never goes back. Timers that fall into the same step
 * of a ring run in the order they were set.
 */
export class TimerWheel {
  readonly #rings: readonly Ring[];
  readonly #due = new ListHead(null, 0);
  readonly #onBug: (thrown: unknown) => void;
  #waiting = 0;

  /** @param options.onBug Told what a callback threw; the others still run. `nowMs` is the time to start from. */
  constructor(options: {
    readonly onBug: (thrown: unknown) => void;
    readonly nowMs: number;
    readonly rings?: readonly WheelRing[];
  }) {
    this.#onBug = options.onBug;
    this.#rings = (options.rings ?? WHEEL_RINGS).map((ring) => new Ring(ring, options.nowMs));
  }

  /** Timers set and neither run nor cancelled. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Sets a timer; it is never among what was collected already.
   * @param delayMs Finite and not negative.
   */
  after(nowMs: number, delayMs: number, callback: () => void): Timer {
    assert(delayMs >= 0 && delayMs < Infinity, "A delay is a number of milliseconds");
    let index = 0;
    while (delayMs > this.#rings[index]!.delayMaxMs) index++;
    const ring = this.#rings[index]!;
    const timer = new WheelTimer(this, ring.tickFor(nowMs + delayMs), callback);
    ring.put(timer);
    this.#waiting++;
    return timer;
  }

  /** Milliseconds until something may be due: 0 when it is, Infinity when nothing waits. */
  untilNextMs(nowMs: number): number {
    if (this.#due.next !== this.#due) return 0;
    if (this.#waiting === 0) return Infinity;
    let nextMs = Infinity;
    for (const ring of this.#rings) nextMs = Math.min(nextMs, ring.nextMs());
    return Math.max(0, nextMs - nowMs);
  }

  /** Takes out what is due by `nowMs`, to be run by {@link runDue}; it can still be cancelled. */
  collect(nowMs: number): void {
    for (const ring of this.#rings) ring.takeDue(nowMs, this.#due);
  }

  /** Runs what was collected, at most {@link TURN_TIMERS_MAX} timers; says how many. The rest stays for the next call. */
  runDue(): number {
    const due = this.#due;
    let ran = 0;
    while (due.next !== due && ran < TURN_TIMERS_MAX) {
      const timer = due.next as WheelTimer;
      const callback = timer.callback!;
      timer.callback = null;
      timer.unlink();
      this.#waiting--;
      ran++;
      try {
        callback();
      } catch (thrown) {
        this.#onBug(thrown);
      }
    }
    return ran;
  }

  /** For {@link Timer.cancel} only. */
  forget(timer: WheelTimer): void {
    this.#waiting--;
    const alone = timer.previous === timer.next ? timer.next : null;
    timer.unlink();
    if (alone instanceof ListHead && alone.ring !== null) alone.ring.markEmpty(alone.slot);
  }
}
