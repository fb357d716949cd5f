import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "./assert.ts";
import { BACKOFF_MAX_MS, backoffMs } from "./backoff.ts";

Deno.test("backoffMs() doubles from 20 ms to 15 s", () => {
  const waits = Array.from({ length: 12 }, (_, index) => backoffMs(index + 1, 0));
  assertEquals(waits, [20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 15000, 15000]);
});

Deno.test("backoffMs() stays at its maximum for any count", () => {
  assertEquals(backoffMs(Number.MAX_SAFE_INTEGER, 0), BACKOFF_MAX_MS);
});

Deno.test.each([
  { jitter: 0, expected: 80 },
  { jitter: 0.25, expected: 60 },
  { jitter: 1, expected: 0 },
])("backoffMs() takes off a share of $jitter", ({ jitter, expected }) => {
  assertEquals(backoffMs(3, jitter), expected);
});

Deno.test.each([{ attempt: 0, jitter: 0 }, { attempt: 1, jitter: -0.1 }, {
  attempt: 1,
  jitter: 1.1,
}])(
  "backoffMs() refuses attempt $attempt with jitter $jitter",
  ({ attempt, jitter }) => {
    assertThrows(() => backoffMs(attempt, jitter), AssertionFailure);
  },
);
