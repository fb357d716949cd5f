// Lines to stdout in batches: nothing waits for the reader of our log until 10,000 lines do.
import type { Clock, Timer } from "../base/clock.ts";

/** Lines held while the reader is slow; the writer of the next one waits (spec/config-and-observability §7). */
export const LINES_BUFFERED_MAX = 10_000;

/** Lines of one batch: what is written within this time goes out in one system call. */
export const BATCH_MS = 10;

/** How long {@link LineWriter.close} waits for a reader that takes nothing (spec §4.4 step 7). */
export const CLOSE_WAIT_MS = 1_000;

/** Time for a thread to begin the write it was given; measured, 0.05 ms is usual. */
const BATCH_BEGINS_MS = 2;
const NEVER_NOTIFIED = new Int32Array(new SharedArrayBuffer(4));

/** Where bytes go; `Deno.stdout` is one. May take fewer than offered, as write(2) does. */
export interface LineTarget {
  /** @returns How many bytes were taken. The bytes are lent until it settles. */
  write(bytes: Uint8Array): Promise<number>;
  /** The same, blocking; also waits for a `write` in progress to end, even with no bytes of its own. */
  writeSync(bytes: Uint8Array): number;
}

/** The runtime's timers; a waiting batch keeps the process alive until it is written. */
const RUNTIME_TIMERS: Pick<Clock, "after"> = {
  after(delayMs, callback) {
    const id = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(id) };
  },
};

/**
 * Collects lines and writes them in order, none twice. A line is lost only if the target refuses it
 * (stdout closed, disk full); that is counted, never thrown, and the next batch is tried again.
 */
export class LineWriter {
  readonly #target: LineTarget;
  readonly #timers: Pick<Clock, "after">;
  readonly #encoder = new TextEncoder();
  #lines: string[] = [];
  /** Lines of the batch that the target is taking now; 0 when none is. */
  #linesInFlight = 0;
  #inFlight: Promise<void> | null = null;
  #timer: Timer | null = null;
  #linesLost = 0;
  /** {@link close} has waited for the reader in vain: nobody waits for it again. */
  #givenUp = false;

  constructor(target: LineTarget, timers: Pick<Clock, "after"> = RUNTIME_TIMERS) {
    this.#target = target;
    this.#timers = timers;
  }

  /** Lines held: not yet taken by the target. Never above {@link LINES_BUFFERED_MAX}. */
  get linesBuffered(): number {
    return this.#lines.length + this.#linesInFlight;
  }

  /** Lines that the target refused. */
  get linesLost(): number {
    return this.#linesLost;
  }

  /** Takes one line, newline included. Returns at once unless the buffer is full; then all of it is written first. */
  write(line: string): void {
    this.#lines.push(line);
    if (this.linesBuffered > LINES_BUFFERED_MAX) this.flushSync();
    else if (this.#timer === null && this.#inFlight === null) this.#startTimer();
  }

  /**
   * Writes all that is held before it returns, however long the reader takes. For the last moments. Where
   * {@link close} gave the reader up, what is held is lost instead.
   */
  flushSync(): void {
    this.#stopTimer();
    const lines = this.#takeLines();
    if (this.#givenUp) {
      this.#linesLost += lines.length;
      return;
    }
    if (lines.length === 0 && this.#inFlight === null) return;
    try {
      if (this.#inFlight !== null) {
        // A batch was given to another thread: let it begin, so that it is first, then wait for its end.
        Atomics.wait(NEVER_NOTIFIED, 0, 0, BATCH_BEGINS_MS);
        this.#target.writeSync(new Uint8Array());
      }
      let rest = this.#encode(lines);
      while (rest.length > 0) rest = rest.subarray(takenOf(rest, this.#target.writeSync(rest)));
    } catch {
      this.#linesLost += lines.length; // The target is gone or full: there is no other place to say so.
    }
  }

  /** Writes all that is held; settles when the target took it, or after {@link CLOSE_WAIT_MS}. */
  async close(): Promise<void> {
    this.#stopTimer();
    const { promise: deadline, resolve } = Promise.withResolvers<void>();
    const timer = this.#timers.after(CLOSE_WAIT_MS, () => {
      this.#givenUp = true;
      resolve();
    });
    await Promise.race([this.#drain(), deadline]);
    timer.cancel();
    this.#stopTimer();
    this.#linesLost += this.#takeLines().length; // Only where the deadline won.
  }

  async #drain(): Promise<void> {
    while (this.linesBuffered > 0) {
      if (this.#inFlight === null) this.#startBatch();
      await this.#inFlight;
    }
  }

  #startTimer(): void {
    this.#timer = this.#timers.after(BATCH_MS, () => {
      this.#timer = null;
      this.#startBatch();
    });
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #startBatch(): void {
    this.#stopTimer();
    const lines = this.#takeLines();
    this.#linesInFlight = lines.length;
    this.#inFlight = this.#writeBatch(lines).finally(() => {
      this.#inFlight = null;
      this.#linesInFlight = 0;
      if (this.#lines.length > 0 && this.#timer === null) this.#startTimer();
    });
  }

  async #writeBatch(lines: readonly string[]): Promise<void> {
    try {
      let rest = this.#encode(lines);
      while (rest.length > 0) rest = rest.subarray(takenOf(rest, await this.#target.write(rest)));
    } catch {
      this.#linesLost += lines.length; // As in flushSync().
    }
  }

  #takeLines(): readonly string[] {
    const lines = this.#lines;
    this.#lines = [];
    return lines;
  }

  #encode(lines: readonly string[]): Uint8Array {
    return this.#encoder.encode(lines.join(""));
  }
}

/** A target that takes nothing would be asked for ever. */
function takenOf(rest: Uint8Array, taken: number): number {
  if (taken <= 0 || taken > rest.length) throw new RangeError(`Target took ${taken} bytes`);
  return taken;
}
