// Long work in short turns, and waiting, for what may use promises.
import type { Clock } from "../base/clock.ts";

/** Work between two turns of the loop, in milliseconds; what runs between two looks at the clock comes on top. */
export const SLICE_MS = 5;

/** Measures one piece of work after the other: `if (slices.isOver) await slices.pause()`. */
export class Slices {
  readonly #clock: Clock;
  #startedMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedMs = clock.nowMs();
  }

  get isOver(): boolean {
    return this.#clock.nowMs() - this.#startedMs >= SLICE_MS;
  }

  /** Lets the loop do what waits. */
  async pause(): Promise<void> {
    await new Promise<void>((resolve) => this.#clock.after(0, resolve));
    this.#startedMs = this.#clock.nowMs();
  }
}

/** Resolves after `delayMs`, or as soon as `signal` aborts. */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const woken = () => {
      timer.cancel();
      resolve();
    };
    const timer = clock.after(delayMs, () => {
      signal.removeEventListener("abort", woken);
      resolve();
    });
    signal.addEventListener("abort", woken, { once: true });
  });
}
