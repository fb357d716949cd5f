// How long the event loop was held, and by whom: wall time, and the processor time of this thread without the watcher's own.

/** Between two looks. */
const LOOK_EVERY_MS = 2;

/** Looks at the clock as often as the loop lets it. */
export class PauseMeter {
  /** Longest time between two looks, in milliseconds. */
  wallMaxMs = 0;
  /** Longest processor time of this thread between two looks, less what `own` took: what the subject took. */
  workMaxMs = 0;
  readonly #onPause: (workMs: number) => void;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #lookedMs = performance.now();
  #workedMs = threadMs();
  #ownMs = 0;

  /** @param onPause Told of each new maximum. */
  constructor(onPause: (workMs: number) => void = () => {}) {
    this.#onPause = onPause;
    this.#wait();
  }

  /** Runs something whose time is not the subject's. */
  own<Value>(run: () => Value): Value {
    const began = threadMs();
    try {
      return run();
    } finally {
      this.#ownMs += threadMs() - began;
    }
  }

  /** Begins anew; gives what was found so far. */
  reset(): { readonly wallMs: number; readonly workMs: number } {
    const found = { wallMs: this.wallMaxMs, workMs: this.workMaxMs };
    this.wallMaxMs = 0;
    this.workMaxMs = 0;
    return found;
  }

  stop(): void {
    clearTimeout(this.#timer ?? undefined);
  }

  #wait(): void {
    this.#timer = setTimeout(() => this.#look(), LOOK_EVERY_MS);
  }

  #look(): void {
    const nowMs = performance.now();
    const workedMs = threadMs();
    const workMs = workedMs - this.#workedMs - this.#ownMs;
    this.wallMaxMs = Math.max(this.wallMaxMs, nowMs - this.#lookedMs - LOOK_EVERY_MS);
    if (workMs > this.workMaxMs) {
      this.workMaxMs = workMs;
      this.#onPause(workMs);
    }
    this.#lookedMs = nowMs;
    this.#workedMs = workedMs;
    this.#ownMs = 0;
    this.#wait();
  }
}

/** Processor time of the thread that asks, in milliseconds: what others do on the machine does not count. */
function threadMs(): number {
  return Number(Deno.readTextFileSync("/proc/thread-self/schedstat").split(" ")[0]) / 1e6;
}
