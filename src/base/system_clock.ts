// The clock of a running process: one runtime timer for all that waits, one queue for the end of the turn.
import type { Clock, Task, Timer } from "./clock.ts";

/** Delays up to this are kept to {@link FINE_STEP_MS}, longer ones to {@link COARSE_STEP_MS}. */
const FINE_DELAY_MAX_MS = 1000;
const FINE_STEP_MS = 4;
const COARSE_STEP_MS = 32;
/** Later than the moment for which timers are being called, so that they cannot go on for ever in one turn. */
const NEXT_TURN_MS = 1e-3;

class PendingTimer implements Timer {
  readonly slot: Slot;
  callback: (() => void) | null;
  readonly #clock: SystemClock;

  constructor(clock: SystemClock, slot: Slot, callback: () => void) {
    this.#clock = clock;
    this.slot = slot;
    this.callback = callback;
  }

  cancel(): void {
    if (this.callback === null) return;
    this.callback = null;
    this.#clock.forget(this);
  }
}

/** Everything that is due at one moment. */
interface Slot {
  readonly dueMs: number;
  readonly timers: Set<PendingTimer>;
}

/**
 * {@link Clock} on `performance.now`, `Date.now` and `setTimeout`. Timers that fall into the same few
 * milliseconds share a slot; the runtime knows one timer, for the earliest slot, and none while nothing
 * waits. A timer is never early; it is late by up to 4 ms (delays up to a second; none for no delay at all) or
 * 32 ms, and what the loop adds.
 */
export class SystemClock implements Clock {
  readonly #onBug: (error: unknown) => void;
  readonly #slots = new Map<number, Slot>();
  /** Due times of the slots as a binary heap; slots emptied by `cancel` stay until they are due. */
  readonly #heap: number[] = [];
  #waiting = 0;
  #wakeUp: ReturnType<typeof setTimeout> | null = null;
  #wakeUpMs = Infinity;
  #tasks: Task[] = [];
  #scheduled = false;
  readonly #fire = () => this.#runDue();
  readonly #drain = () => this.#runTasks();

  /**
   * @param options.onBug Told what a callback or task threw; the others still run. By default the
   * runtime's own way with uncaught errors, which ends the process.
   */
  constructor(options: { readonly onBug?: (error: unknown) => void } = {}) {
    this.#onBug = options.onBug ?? reportError;
  }

  /** Timers pending: 0 when nothing waits. */
  get waiting(): number {
    return this.#waiting;
  }

  nowMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  after(delayMs: number, callback: () => void): Timer {
    const dueMs = dueAfter(this.nowMs(), delayMs);
    let slot = this.#slots.get(dueMs);
    if (slot === undefined) {
      slot = { dueMs, timers: new Set() };
      this.#slots.set(dueMs, slot);
      heapPush(this.#heap, dueMs);
    }
    const timer = new PendingTimer(this, slot, callback);
    slot.timers.add(timer);
    this.#waiting++;
    this.#arm();
    return timer;
  }

  soon(task: Task): void {
    this.#tasks.push(task);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(this.#drain);
  }

  /** For `cancel` of a timer only. */
  forget(timer: PendingTimer): void {
    if (!timer.slot.timers.delete(timer)) return;
    if (--this.#waiting > 0) return;
    this.#slots.clear();
    this.#heap.length = 0;
    this.#disarm();
  }

  #arm(): void {
    const dueMs = this.#heap[0];
    if (dueMs === undefined || dueMs >= this.#wakeUpMs) return;
    this.#disarm();
    this.#wakeUpMs = dueMs;
    this.#wakeUp = setTimeout(this.#fire, Math.max(0, Math.ceil(dueMs - this.nowMs())));
  }

  #disarm(): void {
    if (this.#wakeUp !== null) clearTimeout(this.#wakeUp);
    this.#wakeUp = null;
    this.#wakeUpMs = Infinity;
  }

  #runDue(): void {
    this.#wakeUp = null;
    this.#wakeUpMs = Infinity;
    const nowMs = this.nowMs();
    while (this.#heap.length > 0 && this.#heap[0]! <= nowMs) {
      const dueMs = heapPop(this.#heap);
      const slot = this.#slots.get(dueMs)!;
      this.#slots.delete(dueMs);
      for (const timer of slot.timers) {
        const callback = timer.callback;
        if (callback === null) continue;
        timer.callback = null;
        slot.timers.delete(timer);
        this.#waiting--;
        try {
          callback();
        } catch (error) {
          this.#onBug(error);
        }
      }
    }
    if (this.#waiting === 0) {
      this.#slots.clear();
      this.#heap.length = 0;
    }
    this.#arm();
  }

  #runTasks(): void {
    const tasks = this.#tasks;
    for (let i = 0; i < tasks.length; i++) {
      try {
        tasks[i]!.runTask();
      } catch (error) {
        this.#onBug(error);
      }
    }
    tasks.length = 0;
    this.#scheduled = false;
  }
}

/** No delay at all is the next turn: work that only lets others have theirs would else wait for as long as it runs. */
function dueAfter(nowMs: number, delayMs: number): number {
  if (delayMs <= 0) return nowMs + NEXT_TURN_MS;
  const step = delayMs <= FINE_DELAY_MAX_MS ? FINE_STEP_MS : COARSE_STEP_MS;
  return Math.ceil((nowMs + delayMs) / step) * step;
}

function heapPush(heap: number[], value: number): void {
  let at = heap.length;
  heap.push(value);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent]! <= value) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = value;
}

function heapPop(heap: number[]): number {
  const top = heap[0]!;
  const last = heap.pop()!;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= last) break;
    heap[at] = heap[child]!;
    at = child;
  }
  if (heap.length > 0) heap[at] = last;
  return top;
}
