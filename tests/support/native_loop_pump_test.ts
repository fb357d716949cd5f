import { assert, assertEquals } from "@std/assert";
import type { Task } from "../../src/base/clock.ts";
import { IDLE_TURNS_MAX, LoopPump, type PumpedLoop } from "./native_loop_pump.ts";

/** A loop that only counts its turns; `busy` of them claim to have worked. */
class CountingLoop implements PumpedLoop {
  readonly clock = undefined as never;
  readonly stats = { turns: 0 };
  turnsTaken = 0;
  busy = 0;

  watch(): void {}
  unwatch(): void {}
  nextTurn(_task: Task): void {}

  turn(timeoutMs: number): void {
    assertEquals(timeoutMs, 0);
    this.turnsTaken++;
    if (this.busy > 0) {
      this.busy--;
      this.stats.turns++;
    }
  }
}

function eventually(condition: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => condition() ? resolve() : void setTimeout(look, 0);
    look();
  });
}

Deno.test("LoopPump turns the loop between the runtime's own events", async () => {
  const loop = new CountingLoop();
  loop.busy = Infinity;
  using _pump = new LoopPump(loop);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert(loop.turnsTaken > 50, `${loop.turnsTaken} turns in 5 ms`);
});

Deno.test("LoopPump rests between turns once IDLE_TURNS_MAX of them had no work", async () => {
  const loop = new CountingLoop();
  using _pump = new LoopPump(loop);
  await eventually(() => loop.turnsTaken >= IDLE_TURNS_MAX);
  const before = loop.turnsTaken;
  await new Promise((resolve) => setTimeout(resolve, 20));
  const idle = loop.turnsTaken - before;
  assert(idle >= 1 && idle <= 25, `${idle} turns in 20 ms of rest`);
  loop.busy = 1000;
  await eventually(() => loop.busy === 0);
});

Deno.test("LoopPump leaves nothing behind, and no turn after it was disposed of", async () => {
  const loop = new CountingLoop();
  const pump = new LoopPump(loop);
  await eventually(() => loop.turnsTaken >= IDLE_TURNS_MAX + 2);
  pump[Symbol.dispose]();
  pump[Symbol.dispose]();
  const before = loop.turnsTaken;
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(loop.turnsTaken, before);
});

Deno.test("LoopPump can be disposed of inside a turn", async () => {
  const loop = new CountingLoop();
  const pump = new LoopPump(loop);
  loop.turn = () => {
    loop.turnsTaken++;
    pump[Symbol.dispose]();
  };
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(loop.turnsTaken, 1);
});
