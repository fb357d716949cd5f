// Silence is told apart from idleness, and from our own being busy.
import { assertEquals } from "@std/assert";
import { VirtualClock } from "../base/virtual_clock.ts";
import { Heartbeat, PING_EVERY_MS, SILENCE_GRACE_MS, SILENCE_MS_MAX } from "./heartbeat.ts";

function scene(): {
  clock: VirtualClock;
  counts: { pings: number; deaths: number };
  beat: Heartbeat;
} {
  const clock = new VirtualClock();
  const counts = { pings: 0, deaths: 0 };
  const beat = new Heartbeat({
    clock,
    ping: () => counts.pings++,
    onSilent: () => counts.deaths++,
  });
  return { clock, counts, beat };
}

Deno.test("Heartbeat asks every PING_EVERY_MS, less than twice per second", () => {
  const { clock, counts, beat } = scene();
  for (let round = 1; round <= 10; round++) {
    clock.advance(PING_EVERY_MS);
    beat.heard();
    assertEquals(counts, { pings: round, deaths: 0 });
  }
  beat.stop();
  assertEquals(clock.pendingTimers, 0);
  assertEquals(PING_EVERY_MS >= 500, true);
});

Deno.test("SILENCE_MS_MAX of silence is death, told once", () => {
  const { clock, counts, beat } = scene();
  clock.advance(1000);
  beat.heard();
  clock.advance(SILENCE_MS_MAX + SILENCE_GRACE_MS - 1);
  assertEquals(counts.deaths, 0);
  clock.advance(1);
  assertEquals(counts.deaths, 1);
  clock.advance(60_000);
  assertEquals(counts.deaths, 1);
  assertEquals(clock.pendingTimers, 0);
});

Deno.test("what had arrived while we were busy is read before the verdict", () => {
  const { clock, counts, beat } = scene();
  clock.advance(SILENCE_MS_MAX + SILENCE_GRACE_MS - 1);
  beat.heard();
  clock.advance(1);
  assertEquals(counts.deaths, 0);
  clock.advance(SILENCE_MS_MAX - 2);
  assertEquals(counts.deaths, 0);
  clock.advance(1 + SILENCE_GRACE_MS);
  assertEquals(counts.deaths, 1);
});
