// The loop of a data plane: one epoll instance, its timers and its tasks, on one thread (design §3.3).
import { assert } from "../../base/assert.ts";
import type { Clock, Task, Timer } from "../../base/clock.ts";
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLET,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  platformOf,
} from "./constants.ts";
import { EINTR, neededAtStart, netErrorOf } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { LoopStats } from "./loop_stats.ts";
import { nativeBytes } from "./native_bytes.ts";
import { TimerWheel } from "./timer_wheel.ts";
import type { LiveObjects, Loop, Watcher } from "./types.ts";

/** Descriptors reported per turn at most; what else is ready is reported in the next. */
export const TURN_EVENTS_MAX = 256;

/**
 * Tasks of {@link Clock.soon} run per turn at most. The rest keep their order and run in the next turn, which does
 * not wait: tasks that breed tasks for ever slow the descriptors down but do not shut them out.
 */
export const TURN_TASKS_MAX = 10_000;

/** A wait that epoll takes as one number: 2^31 − 1 ms. */
const WAIT_MAX_MS = 0x7fff_ffff;

const WATCHED = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

export interface NativeLoopOptions {
  /** The calls of this thread. */
  readonly libc: Libc;
  /** Counts `epoll` and `watch`. */
  readonly objects: LiveObjects;
  /**
   * Told what a timer or task threw, and what a watcher's `onFault` threw. What it throws itself ends the turn: who
   * cannot even report a bug must not go on.
   */
  readonly onBug: (thrown: unknown) => void;
  /**
   * Looks at the descriptors again and again for this many microseconds before it sleeps, where the last sleep was
   * shorter than that. Default 0: sleeps at once (see README for what was measured).
   */
  readonly spinUs?: number;
  /** Milliseconds from an arbitrary start, never going back; for tests. Default `performance.now`. */
  readonly nowMs?: () => number;
}

/**
 * {@link Loop} on epoll. A turn: wait; hand out events; run due timers, tasks of `nextTurn`, tasks of `soon`, each
 * list as it stood, then what those added to `soon`. Whatever throws is caught there, and the turn goes on.
 *
 * Belongs to the thread that made it and never leaves it: there, errno is read.
 */
export class NativeLoop implements Loop {
  readonly clock: Clock;
  readonly stats: LoopStats;
  readonly #libc: Libc;
  readonly #objects: LiveObjects;
  readonly #onBug: (thrown: unknown) => void;
  readonly #spinMs: number;
  readonly #liveNowMs: () => number;
  readonly #wheel: TimerWheel;
  #epoll: number;

  /** By descriptor. A number of use beside each tells an event of an earlier socket with the same number. */
  readonly #watchers: (Watcher | null)[] = [];
  readonly #uses: number[] = [];
  #lastUse = 0;

  readonly #eventWords: number;
  readonly #dataWord: number;
  readonly #eventBytes: Uint8Array<ArrayBuffer>;
  readonly #events: Int32Array;
  readonly #controlBytes: Uint8Array<ArrayBuffer>;
  readonly #control: Int32Array;

  #tasks: Task[] = [];
  #tasksHead = 0;
  #next = new Set<Task>();
  #current = new Set<Task>();
  #inTurn = false;
  #turnMs = 0;
  #sleptMs = Infinity;
  #stopped = false;

  /** @throws {NativeStartError} where epoll is refused. */
  constructor(options: NativeLoopOptions) {
    const { epollEventBytes, epollDataOffset } = platformOf(Deno.build.arch);
    this.#libc = options.libc;
    this.#objects = options.objects;
    this.#spinMs = (options.spinUs ?? 0) / 1000;
    this.#liveNowMs = options.nowMs ?? (() => performance.now());
    this.#onBug = (thrown) => {
      this.stats.bugs++;
      options.onBug(thrown);
    };
    this.#eventWords = epollEventBytes / 4;
    this.#dataWord = epollDataOffset / 4;
    this.#eventBytes = nativeBytes(epollEventBytes * TURN_EVENTS_MAX);
    this.#events = new Int32Array(this.#eventBytes.buffer);
    this.#controlBytes = nativeBytes(epollEventBytes);
    this.#control = new Int32Array(this.#controlBytes.buffer);
    const nowMs = this.#liveNowMs();
    this.stats = new LoopStats(nowMs);
    this.#wheel = new TimerWheel({ onBug: this.#onBug, nowMs });
    this.clock = new LoopClock(this, this.#wheel, this.#liveNowMs);
    this.#epoll = neededAtStart("epoll_create1", options.libc.epollCreate());
    this.#objects.made("epoll");
  }

  /** The time of the turn that runs, else the time now. */
  get nowMs(): number {
    return this.#inTurn ? this.#turnMs : this.#liveNowMs();
  }

  /** Timers set and not run yet. */
  get timersWaiting(): number {
    return this.#wheel.waiting;
  }

  watch(fd: number, watcher: Watcher): void {
    assert(this.#epoll >= 0, "The loop is closed");
    assert((this.#watchers[fd] ?? null) === null, "The descriptor is watched already");
    const use = this.#lastUse + 1 & 0x7fff_ffff;
    this.#control[0] = WATCHED;
    this.#control[this.#dataWord] = fd;
    this.#control[this.#dataWord + 1] = use;
    const result = this.#libc.epollControl(this.#epoll, EPOLL_CTL_ADD, fd, this.#controlBytes);
    if (result < 0) throw netErrorOf(-result);
    this.#lastUse = use;
    // No holes: an array with holes is slower to read.
    while (this.#watchers.length <= fd) {
      this.#watchers.push(null);
      this.#uses.push(0);
    }
    this.#watchers[fd] = watcher;
    this.#uses[fd] = use;
    this.#objects.made("watch");
  }

  unwatch(fd: number): void {
    if ((this.#watchers[fd] ?? null) === null) return;
    this.#watchers[fd] = null;
    this.#libc.epollControl(this.#epoll, EPOLL_CTL_DEL, fd, this.#controlBytes);
    this.#objects.freed("watch");
  }

  nextTurn(task: Task): void {
    if (!this.#current.has(task)) this.#next.add(task);
  }

  turn(timeoutMs: number): void {
    assert(!this.#inTurn, "A turn cannot run inside a turn");
    assert(this.#epoll >= 0, "The loop is closed");
    const count = this.#wait(timeoutMs);
    const startMs = this.#liveNowMs();
    this.#turnMs = startMs;
    this.#inTurn = true;
    try {
      this.#wheel.collect(startMs);
      this.#takeNext(); // Before the events: what they put off waits for the next turn.
      this.#dispatch(count);
      const timers = this.#wheel.runDue();
      this.stats.timers += timers;
      const tasks = this.#runNext() + this.#runTasks();
      this.stats.tasks += tasks;
      if (count + timers + tasks > 0) {
        this.stats.recordTurn((this.#liveNowMs() - startMs) * 1000);
      }
    } finally {
      this.#inTurn = false;
    }
  }

  /** Turns until {@link stop}. */
  run(): void {
    this.#stopped = false;
    while (!this.#stopped) this.turn(-1);
  }

  /** Ends {@link run} after the turn that is under way. */
  stop(): void {
    this.#stopped = true;
  }

  /** Frees the epoll instance. What is still watched stays counted as `watch`. Idempotent. */
  close(): void {
    if (this.#epoll < 0) return;
    assert(!this.#inTurn, "A loop cannot be closed inside its turn");
    this.#libc.close(this.#epoll);
    this.#epoll = -1;
    this.#objects.freed("epoll");
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** For the clock only. */
  soon(task: Task): void {
    this.#tasks.push(task);
  }

  /** Events ready after at most `timeoutMs`. */
  #wait(timeoutMs: number): number {
    const waitMs = this.#waitMs(timeoutMs);
    if (waitMs === 0) return this.#poll(0);
    const fromMs = this.#liveNowMs();
    if (this.#sleptMs < this.#spinMs) {
      const count = this.#spin(fromMs, waitMs);
      if (count > 0) return count;
    }
    const count = this.#poll(waitMs);
    this.stats.wakes++;
    this.#sleptMs = this.#spinMs > 0 ? this.#liveNowMs() - fromMs : Infinity;
    return count;
  }

  /** Whole milliseconds, rounded up; −1 for no end. */
  #waitMs(timeoutMs: number): number {
    if (timeoutMs === 0 || this.#next.size > 0 || this.#tasksHead < this.#tasks.length) return 0;
    if (this.#wheel.waiting === 0 && timeoutMs < 0) return -1;
    const timerMs = this.#wheel.untilNextMs(this.#liveNowMs());
    const limitMs = timeoutMs < 0 ? WAIT_MAX_MS : timeoutMs;
    return Math.min(Math.ceil(timerMs), limitMs, WAIT_MAX_MS);
  }

  #spin(fromMs: number, waitMs: number): number {
    const endMs = fromMs + (waitMs < 0 ? this.#spinMs : Math.min(this.#spinMs, waitMs));
    this.stats.spins++;
    do {
      const count = this.#poll(0);
      if (count > 0) {
        this.stats.spinHits++;
        return count;
      }
    } while (this.#liveNowMs() < endMs);
    return 0;
  }

  #poll(timeoutMs: number): number {
    const count = this.#libc.epollWait(
      this.#epoll,
      this.#eventBytes,
      TURN_EVENTS_MAX,
      timeoutMs,
    );
    if (count >= 0) return count;
    // A signal: the next turn computes what is left to wait.
    if (count === -EINTR) return 0;
    throw netErrorOf(-count);
  }

  #dispatch(count: number): void {
    this.stats.events += count;
    for (let index = 0; index < count; index++) {
      const at = index * this.#eventWords;
      const fd = this.#events[at + this.#dataWord]!;
      const watcher = this.#watchers[fd] ?? null;
      // Unwatched by an earlier event of this turn, perhaps watched anew with the same number.
      if (watcher === null || this.#uses[fd] !== this.#events[at + this.#dataWord + 1]) continue;
      try {
        watcher.onReady(this.#events[at]!);
      } catch (thrown) {
        this.stats.bugs++;
        this.#reportFault(watcher, thrown);
      }
    }
  }

  #reportFault(watcher: Watcher, thrown: unknown): void {
    try {
      watcher.onFault(thrown);
    } catch (again) {
      this.#onBug(again);
    }
  }

  #takeNext(): void {
    const left = this.#current;
    for (const task of left) this.#next.add(task); // Of a turn that ended early.
    if (this.#next.size === 0) return;
    this.#current = this.#next;
    // A new one: a set that lives on would keep what it held (`base/roster.ts`).
    this.#next = new Set();
  }

  #runNext(): number {
    const tasks = this.#current;
    let ran = 0;
    for (const task of tasks) {
      tasks.delete(task);
      ran++;
      this.#runTask(task);
    }
    return ran;
  }

  #runTasks(): number {
    let ran = 0;
    while (this.#tasksHead < this.#tasks.length && ran < TURN_TASKS_MAX) {
      ran++;
      this.#runTask(this.#tasks[this.#tasksHead++]!);
    }
    if (this.#tasksHead === this.#tasks.length) {
      this.#tasks.length = 0;
    } else {
      this.#tasks = this.#tasks.slice(this.#tasksHead);
    }
    this.#tasksHead = 0;
    return ran;
  }

  #runTask(task: Task): void {
    try {
      task.runTask();
    } catch (thrown) {
      this.#onBug(thrown);
    }
  }
}

/** The loop's {@link Clock}. */
class LoopClock implements Clock {
  readonly #loop: NativeLoop;
  readonly #wheel: TimerWheel;
  readonly #liveNowMs: () => number;

  constructor(loop: NativeLoop, wheel: TimerWheel, liveNowMs: () => number) {
    this.#loop = loop;
    this.#wheel = wheel;
    this.#liveNowMs = liveNowMs;
  }

  /** The time at which the turn began, read once per turn; outside of turns the time now. */
  nowMs(): number {
    return this.#loop.nowMs;
  }

  wallMs(): number {
    return Date.now();
  }

  /** Counts from now, not from the turn's beginning: a timer set at the end of a long turn is not early. */
  after(delayMs: number, callback: () => void): Timer {
    return this.#wheel.after(this.#liveNowMs(), delayMs, callback);
  }

  soon(task: Task): void {
    this.#loop.soon(task);
  }
}
