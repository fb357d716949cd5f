// Waits between attempts at the CA.
import { assert, assertEquals } from "@std/assert";
import { randomPoint, SeededRandom } from "../base/random.ts";
import {
  nextRetry,
  type Retry,
  RETRY_JITTER_SHARE,
  RETRY_STEADY_MS,
  RETRY_WAIT_MAX_MS,
  retryWaitMs,
} from "./retry_wait.ts";

const NOMINAL_S = [1, 2, 4, 8, 16, 32, 64, 128, 150, 150, 150];

/** The waits of failures in a row, all at the same moment. */
function waits(count: number, draw: () => number): number[] {
  let retry: Retry | null = null;
  return Array.from({ length: count }, () => {
    retry = nextRetry(retry, 0);
    return retryWaitMs(retry, 0, draw());
  });
}

Deno.test("retryWaitMs() doubles from 1 s to 150 s", () => {
  assertEquals(waits(NOMINAL_S.length, () => 0.5), NOMINAL_S.map((seconds) => seconds * 1000));
});

Deno.test("retryWaitMs() jitters by a fifth either way, and no further", () => {
  const random = new SeededRandom(7);
  for (let run = 0; run < 100; run++) {
    waits(NOMINAL_S.length, () => randomPoint(random, 1)).forEach((waitMs, at) => {
      assert(Math.abs(waitMs / (NOMINAL_S[at]! * 1000) - 1) <= RETRY_JITTER_SHARE, `${waitMs}`);
    });
  }
  assertEquals(waits(1, () => 0), [800]);
  assertEquals(waits(1, () => 1), [1200]);
});

Deno.test.each([
  { when: "just under", sinceFirstMs: RETRY_STEADY_MS - 1, expected: RETRY_WAIT_MAX_MS * 0.8 },
  { when: "at", sinceFirstMs: RETRY_STEADY_MS, expected: RETRY_WAIT_MAX_MS },
  { when: "just over", sinceFirstMs: RETRY_STEADY_MS + 1, expected: RETRY_WAIT_MAX_MS },
])("retryWaitMs() $when RETRY_STEADY_MS after the first failure", ({ sinceFirstMs, expected }) => {
  assertEquals(retryWaitMs({ failures: 30, sinceMs: 5 }, 5 + sinceFirstMs, 0), expected);
});
