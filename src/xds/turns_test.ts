import { assertEquals } from "@std/assert";
import { VirtualClock } from "../base/virtual_clock.ts";
import { sleep, SLICE_MS, Slices } from "./turns.ts";

Deno.test("Slices are over after SLICE_MS, and begin again after a pause", async () => {
  const clock = new VirtualClock();
  const slices = new Slices(clock);
  clock.advance(SLICE_MS - 1);
  assertEquals(slices.isOver, false);
  clock.advance(1);
  assertEquals(slices.isOver, true);
  const paused = slices.pause();
  clock.runUntilIdle();
  await paused;
  assertEquals(slices.isOver, false);
});

Deno.test("sleep() ends after its time, or with the signal, and leaves no timer", async () => {
  const clock = new VirtualClock();
  const abort = new AbortController();
  const whole = sleep(clock, 100, abort.signal);
  clock.advance(100);
  await whole;
  const cut = sleep(clock, 100, abort.signal);
  abort.abort();
  await cut;
  await sleep(clock, 100, abort.signal);
  assertEquals([clock.pendingTimers, clock.nowMs()], [0, 100]);
});
