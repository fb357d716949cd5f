// How long an event loop did not turn: the lateness of a timer that is always due.

/** The runtime's shortest. */
const EVERY_MS = 1;

export interface Pauses {
  /** How often it turned. */
  readonly count: number;
  /** In milliseconds, as all of them: beyond the timer's own. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Watches the loop it was made in until it is stopped; does not keep the process. */
export class PauseWatch implements Disposable {
  readonly #timer: ReturnType<typeof setInterval>;
  #last = performance.now();
  #pausesMs: number[] = [];

  constructor() {
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.#pausesMs.push(Math.max(0, now - this.#last - EVERY_MS));
      this.#last = now;
    }, EVERY_MS);
    Deno.unrefTimer(this.#timer);
  }

  /** What there was since the last call. */
  take(): Pauses {
    const sorted = Float64Array.from(this.#pausesMs).sort();
    this.#pausesMs = [];
    const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? NaN;
    return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
