// Time and turns as an argument, so that a test replays an hour of flapping in a millisecond.

/** A pending call. Cancelling twice, or after it ran, does nothing. */
export interface Timer {
  cancel(): void;
}

/** Something to run at the end of the current turn. An object, so that scheduling allocates nothing. */
export interface Task {
  runTask(): void;
}

/**
 * The data plane's view of time (design §3.6). One per data plane; nothing below the data-plane seam
 * uses another source of time or a promise.
 */
export interface Clock {
  /** Milliseconds from an arbitrary start; never goes back. */
  nowMs(): number;
  /** Milliseconds since 1970-01-01 UTC; may jump. For certificates and log lines only. */
  wallMs(): number;
  /** Calls `callback` once, `delayMs` (≥ 0) from now, never before this call returns. */
  after(delayMs: number, callback: () => void): Timer;
  /**
   * Runs `task` before the loop waits for I/O again, after the callback that is running now. Tasks
   * run in the order given; a task that schedules another runs it in the same turn.
   */
  soon(task: Task): void;
}
