// How long to wait before trying again. Pure: the caller counts attempts and draws the jitter.
import { assert } from "./assert.ts";

/** Wait after the first failure, in milliseconds (spec/config-and-observability, back-off figures). */
export const BACKOFF_FIRST_MS = 20;

/** Longest wait, in milliseconds. */
export const BACKOFF_MAX_MS = 15_000;

/**
 * Milliseconds to wait after `attempt` failures in a row (1 or more): 20, 40, 80 … 15,000.
 * @param jitter Share of the wait to take off, 0 (none, as the original proxy does) to 1; drawn by the caller so
 *   that many clients do not return together.
 */
export function backoffMs(attempt: number, jitter: number): number {
  assert(attempt >= 1, "The first attempt is 1");
  assert(jitter >= 0 && jitter <= 1, "Jitter is a share");
  // 2^10 × 20 ms is above the limit already; bounding the exponent keeps large counts finite.
  const wholeMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt - 1, 10));
  return wholeMs * (1 - jitter);
}
