// A clock that moves only when told, and the turns of a loop that has no I/O: simulation and unit tests.
import { assert, AssertionFailure } from "./assert.ts";
import type { Clock, Task, Timer } from "./clock.ts";

/** Tasks that one turn may run: far above honest work, so reaching it means tasks that feed themselves. */
export const TURN_TASKS_MAX = 100_000;

/** Turns without time passing: reaching it means timers of 0 ms that feed themselves. */
export const INSTANT_TURNS_MAX = 1_000_000;

/** Where `wallMs` starts unless told otherwise: 2026-01-01T00:00:00Z, in epoch milliseconds. */
export const VIRTUAL_WALL_START_MS = 1_767_225_600_000;

/** A timer's place in the heap; -1 once it ran or was cancelled. */
class VirtualTimer implements Timer {
  readonly dueMs: number;
  readonly sequence: number;
  readonly callback: () => void;
  readonly #clock: VirtualClock;
  heapIndex = -1;

  constructor(dueMs: number, sequence: number, callback: () => void, clock: VirtualClock) {
    this.dueMs = dueMs;
    this.sequence = sequence;
    this.callback = callback;
    this.#clock = clock;
  }

  cancel(): void {
    this.#clock.cancelTimer(this);
  }
}

/**
 * Time and turns under the test's hand. Everything runs inside the caller's call, in an order that depends on
 * nothing but the calls made: timers by due time, then by age; tasks by age. A turn is one due timer (or
 * several, see `timersPerTurn`), then tasks until there are none, like a loop that handles what is ready and
 * then its deferred work. Not re-entrant.
 */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #wallStartMs: number;
  #sequence = 0;
  readonly #heap: VirtualTimer[] = [];
  readonly #tasks: Task[] = [];
  #tasksHead = 0;
  #inTurn = false;
  /**
   * Due timers handled before the turn's tasks, 1 or more. 1 runs tasks after each callback; more is a loop that
   * hands out a batch of ready events first. Code must not depend on it, so simulations vary it.
   */
  timersPerTurn = 1;

  /** @param options.wallStartMs What `wallMs()` says at time 0, epoch milliseconds. */
  constructor(options?: { readonly wallStartMs?: number }) {
    this.#wallStartMs = options?.wallStartMs ?? VIRTUAL_WALL_START_MS;
  }

  /** Timers that have neither run nor been cancelled: 0 when nothing leaks. */
  get pendingTimers(): number {
    return this.#heap.length;
  }

  /** Tasks waiting for the end of the turn. */
  get pendingTasks(): number {
    return this.#tasks.length - this.#tasksHead;
  }

  /** When the next timer is due, in `nowMs` terms; Infinity when there is none. */
  get nextTimerMs(): number {
    return this.#heap.length === 0 ? Infinity : this.#heap[0]!.dueMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallStartMs + this.#nowMs;
  }

  /** Makes the wall clock jump by `deltaMs`, which may be negative, as an operator would; timers do not notice. */
  jumpWall(deltaMs: number): void {
    this.#wallStartMs += deltaMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    assert(delayMs >= 0, "A delay cannot be negative or NaN");
    const timer = new VirtualTimer(this.#nowMs + delayMs, this.#sequence++, callback, this);
    timer.heapIndex = this.#heap.length;
    this.#heap.push(timer);
    this.#siftUp(timer);
    return timer;
  }

  soon(task: Task): void {
    this.#tasks.push(task);
  }

  /**
   * Runs one turn at the present time. Returns false, having done nothing, when no timer is due and no task waits.
   * @throws {AssertionFailure} after {@link TURN_TASKS_MAX} tasks; and whatever a callback throws.
   */
  runTurn(): boolean {
    assert(!this.#inTurn, "A turn cannot run inside a turn");
    if (this.pendingTasks === 0 && this.nextTimerMs > this.#nowMs) return false;
    this.#inTurn = true;
    try {
      // Timers that a callback adds wait for the next turn, even when due at once (`after(0)`).
      const newest = this.#sequence;
      for (let ran = 0; ran < this.timersPerTurn; ran++) {
        const first = this.#heap[0];
        if (first === undefined || first.dueMs > this.#nowMs || first.sequence >= newest) break;
        this.cancelTimer(first);
        first.callback();
      }
      this.#runTasks();
    } finally {
      this.#inTurn = false;
    }
    return true;
  }

  /** Runs turns until nothing is left to do at the present time; says how many. Time does not move. */
  runUntilIdle(): number {
    let turns = 0;
    while (this.runTurn()) {
      if (++turns > INSTANT_TURNS_MAX) {
        throw new AssertionFailure(`Still busy after ${INSTANT_TURNS_MAX} turns at one instant`);
      }
    }
    return turns;
  }

  /** Lets `deltaMs` pass, running what falls due on the way, each at its own time. */
  advance(deltaMs: number): void {
    assert(deltaMs >= 0, "Time never goes back");
    const endMs = this.#nowMs + deltaMs;
    this.runUntilIdle();
    while (this.nextTimerMs <= endMs) {
      this.#nowMs = Math.max(this.#nowMs, this.nextTimerMs);
      this.runUntilIdle();
    }
    this.#nowMs = endMs;
  }

  /** Jumps to the next timer and runs what is due there; false when there is none before `limitMs`. */
  advanceToNext(limitMs: number = Infinity): boolean {
    this.runUntilIdle();
    if (this.nextTimerMs > limitMs || this.nextTimerMs === Infinity) return false;
    this.#nowMs = Math.max(this.#nowMs, this.nextTimerMs);
    this.runUntilIdle();
    return true;
  }

  /** For {@link Timer.cancel} only. */
  cancelTimer(timer: VirtualTimer): void {
    const hole = timer.heapIndex;
    if (hole < 0) return;
    timer.heapIndex = -1;
    const last = this.#heap.pop()!;
    if (last === timer) return;
    this.#heap[hole] = last;
    last.heapIndex = hole;
    this.#siftUp(last);
    this.#siftDown(last);
  }

  #runTasks(): void {
    for (let ran = 0; this.#tasksHead < this.#tasks.length; ran++) {
      if (ran === TURN_TASKS_MAX) {
        throw new AssertionFailure(`A turn has run ${TURN_TASKS_MAX} tasks and more are waiting`);
      }
      this.#tasks[this.#tasksHead++]!.runTask();
    }
    this.#tasks.length = 0;
    this.#tasksHead = 0;
  }

  #siftUp(timer: VirtualTimer): void {
    const heap = this.#heap;
    while (timer.heapIndex > 0) {
      const parent = heap[(timer.heapIndex - 1) >> 1]!;
      if (isBefore(parent, timer)) return;
      this.#swap(parent, timer);
    }
  }

  #siftDown(timer: VirtualTimer): void {
    const heap = this.#heap;
    for (;;) {
      const left = heap[timer.heapIndex * 2 + 1];
      const right = heap[timer.heapIndex * 2 + 2];
      if (left === undefined) return;
      const child = right !== undefined && isBefore(right, left) ? right : left;
      if (isBefore(timer, child)) return;
      this.#swap(timer, child);
    }
  }

  #swap(upper: VirtualTimer, lower: VirtualTimer): void {
    const index = upper.heapIndex;
    upper.heapIndex = lower.heapIndex;
    lower.heapIndex = index;
    this.#heap[upper.heapIndex] = upper;
    this.#heap[lower.heapIndex] = lower;
  }
}

function isBefore(a: VirtualTimer, b: VirtualTimer): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.sequence < b.sequence);
}
