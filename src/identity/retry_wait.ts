// How long to wait after the CA failed an identity (spec/identity-and-inpod §3.3). Pure.
import { assert } from "../base/assert.ts";

/** Nominal wait after the first failure; each further one waits twice as long. */
export const RETRY_FIRST_MS = 1000;
/** The longest nominal wait. */
export const RETRY_WAIT_MAX_MS = 150_000;
/** The share of a wait that jitter adds or takes off at most. */
export const RETRY_JITTER_SHARE = 0.2;
/** So long after the first failure, every wait is {@link RETRY_WAIT_MAX_MS} and without jitter. */
export const RETRY_STEADY_MS = 15 * 60_000;

/** Failures in a row. */
export interface Retry {
  /** 1 or more. */
  readonly failures: number;
  /** When the first of them happened, by the clock that never jumps. */
  readonly sinceMs: number;
}

/** One failure more. */
export function nextRetry(before: Retry | null, nowMs: number): Retry {
  return before === null
    ? { failures: 1, sinceMs: nowMs }
    : { failures: before.failures + 1, sinceMs: before.sinceMs };
}

/** Whole milliseconds. @param draw 0 to less than 1: 0 is the shortest wait that jitter allows, 0.5 the nominal one. */
export function retryWaitMs(retry: Retry, nowMs: number, draw: number): number {
  assert(retry.failures >= 1, "Who has not failed does not wait");
  if (nowMs - retry.sinceMs >= RETRY_STEADY_MS) return RETRY_WAIT_MAX_MS;
  // 2^8 s is above the limit already; bounding the exponent keeps large counts finite.
  const nominalMs = Math.min(
    RETRY_WAIT_MAX_MS,
    RETRY_FIRST_MS * 2 ** Math.min(retry.failures - 1, 8),
  );
  return Math.round(nominalMs * (1 + RETRY_JITTER_SHARE * (2 * draw - 1)));
}
