import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { LoopStats } from "./loop_stats.ts";

Deno.test("LoopStats.turnQuantileUs() is the exact quantile, rounded up by a quarter at most", () => {
  const times = fc.array(fc.oneof(fc.nat(20), fc.nat(3000), fc.nat(2 ** 24 - 1)), { minLength: 1 });
  fc.assert(fc.property(times, fc.constantFrom(0, 0.5, 0.99, 1), (turnsUs, share) => {
    const stats = new LoopStats(0);
    for (const us of turnsUs) stats.recordTurn(us);
    const sorted = turnsUs.toSorted((a, b) => a - b);
    const exact = sorted[Math.max(1, Math.ceil(sorted.length * share)) - 1]!;
    const given = stats.turnQuantileUs(share);
    assert(given >= exact && given <= exact * 1.25 + 1, `${given} for ${exact}`);
    assertEquals([stats.turnMaxUs, stats.turnQuantileUs(1)], [sorted.at(-1), sorted.at(-1)]);
  }));
});

Deno.test("LoopStats puts turns beyond its range into the last bucket, and keeps the longest exact", () => {
  const stats = new LoopStats(0);
  stats.recordTurn(2 ** 40);
  stats.recordTurn(0.25);
  assertEquals(stats.turnMaxUs, 2 ** 40);
  assertEquals(stats.turnQuantileUs(0.5), 1);
  assertEquals(stats.turnQuantileUs(1), 2 ** 24);
});

Deno.test("LoopStats.reset() begins a new span", () => {
  const stats = new LoopStats(1000);
  stats.wakes = 10;
  stats.recordTurn(50);
  assertEquals([stats.wakesPerSecond(1000), stats.wakesPerSecond(6000)], [0, 2]);
  assertEquals(stats.spanMs(6000), 5000);
  stats.reset(6000);
  assertEquals([stats.turns, stats.wakes, stats.turnQuantileUs(0.99), stats.turnMaxUs], [
    0,
    0,
    0,
    0,
  ]);
  assertEquals(stats.spanMs(7000), 1000);
});
