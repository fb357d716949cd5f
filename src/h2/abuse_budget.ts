// How many faults a peer may cause before its connection ends: a bucket that leaks.

/** Faults forgiven before the connection ends (design §5). */
export const STREAM_ERRORS_MAX = 1024;

/** Faults forgotten per minute. */
export const STREAM_ERRORS_FORGIVEN_PER_MINUTE = 100;

export class AbuseBudget {
  #level = 0;
  #sinceMs = 0;

  /** Counts a fault at `nowMs` (monotonic); false when the budget is spent. */
  charge(nowMs: number): boolean {
    const forgiven = (nowMs - this.#sinceMs) * STREAM_ERRORS_FORGIVEN_PER_MINUTE / 60_000;
    this.#level = Math.max(0, this.#level - forgiven) + 1;
    this.#sinceMs = nowMs;
    return this.#level <= STREAM_ERRORS_MAX;
  }
}
