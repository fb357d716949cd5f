// preciseWallClock() against clocks that tick, drift and jump.
import { assertEquals } from "@std/assert";
import { preciseWallClock } from "./wall_clock.ts";

Deno.test("preciseWallClock() adds the fraction of the finer clock", () => {
  let fineMs = 500;
  const wallMs = preciseWallClock(() => 1_000 + Math.floor(fineMs - 500), () => fineMs);
  assertEquals(wallMs(), 1_000);
  fineMs = 500.25;
  assertEquals(wallMs(), 1_000.25);
  fineMs = 507.5;
  assertEquals(wallMs(), 1_007.5);
});

Deno.test("preciseWallClock() follows the system's clock when that jumps", () => {
  let dateMs = 1_000;
  const wallMs = preciseWallClock(() => dateMs, () => 0);
  dateMs = 9_000;
  assertEquals(wallMs(), 9_000);
  dateMs = 3_000;
  assertEquals(wallMs(), 3_000.999);
});

Deno.test("preciseWallClock() stays within the millisecond of the system's clock", () => {
  const wallMs = preciseWallClock();
  for (let round = 0; round < 10_000; round++) {
    const before = Date.now();
    const now = wallMs();
    assertEquals(now >= before && now < Date.now() + 1, true);
  }
});
