import { assertEquals } from "@std/assert";
import {
  afterStream,
  BACKOFF_MAX_MS,
  FIRST_RECONNECT,
  JITTER_SHARE,
  ROUTINE_WAIT_MS,
  SHORT_STREAMS_MAX,
  STEADY_STREAM_MS,
} from "./reconnect.ts";
import type { Termination } from "./settings.ts";

/** The waits after streams that ended so, each after `livedMs`. */
function waits(reasons: readonly Termination[], { livedMs = 0, jitter = 0 } = {}): number[] {
  let reconnect = FIRST_RECONNECT;
  return reasons.map((reason) => {
    const { sleepMs, next } = afterStream(reconnect, { reason, livedMs, jitter });
    reconnect = next;
    return sleepMs;
  });
}

function times<Item>(count: number, item: Item): Item[] {
  return new Array(count).fill(item);
}

Deno.test("afterStream() doubles from 20 ms to 15 s while the server is down", () => {
  const expected = [20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 15000, 15000];
  assertEquals(waits(times(12, "ConnectionError")), expected);
  assertEquals(waits(times(12, "Error")), expected);
});

Deno.test("afterStream() waits 10 ms after a routine end, and starts over", () => {
  assertEquals(waits(["Error", "Error", "Reconnect", "Error"]), [20, 40, 10, 20]);
  assertEquals(waits(["Error", "Error", "Complete", "ConnectionError"]), [20, 40, 10, 20]);
});

Deno.test("afterStream() does not start over because a stream lived long", () => {
  assertEquals(waits(["Error", "Error", "Error"], { livedMs: 3_600_000 }), [20, 40, 80]);
});

Deno.test("afterStream() takes SHORT_STREAMS_MAX routine ends for what they seem", () => {
  for (const reason of ["Complete", "Reconnect"] as const) {
    const all = waits(times(SHORT_STREAMS_MAX + 3, reason));
    assertEquals(all.slice(0, SHORT_STREAMS_MAX), times(SHORT_STREAMS_MAX, ROUTINE_WAIT_MS));
    assertEquals(all.slice(SHORT_STREAMS_MAX), [20, 40, 80]);
    assertEquals(waits(times(SHORT_STREAMS_MAX + 50, reason)).at(-1), BACKOFF_MAX_MS);
  }
});

Deno.test("afterStream() trusts a server again after one steady stream", () => {
  let reconnect = { backoffMs: 10, shortStreams: SHORT_STREAMS_MAX + 5 };
  const end = { reason: "Complete", jitter: 0 } as const;
  reconnect = afterStream(reconnect, { ...end, livedMs: STEADY_STREAM_MS }).next;
  assertEquals(afterStream(reconnect, { ...end, livedMs: 0 }).sleepMs, ROUTINE_WAIT_MS);
});

Deno.test("afterStream() takes jitter off back-offs, never off what they grow from", () => {
  assertEquals(
    waits(times(3, "Error"), { jitter: 1 }),
    [20, 40, 80].map((ms) => ms * JITTER_SHARE),
  );
  assertEquals(waits(["Complete", "Reconnect"], { jitter: 1 }), [10, 10]);
});
