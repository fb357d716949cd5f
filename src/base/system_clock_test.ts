// The clock of a running process, on real time but in milliseconds.
import { assert, assertEquals } from "@std/assert";
import { SystemClock } from "./system_clock.ts";

function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

Deno.test("after() is never early and calls once, in order of time", async () => {
  const clock = new SystemClock();
  const calls: string[] = [];
  const begin = clock.nowMs();
  const early: number[] = [];
  for (const delayMs of [30, 5, 17, 0]) {
    clock.after(delayMs, () => {
      calls.push(String(delayMs));
      if (clock.nowMs() - begin < delayMs) early.push(delayMs);
    });
  }
  assertEquals(clock.waiting, 4);
  assertEquals(calls, []);
  await pass(60);
  assertEquals(calls, ["0", "5", "17", "30"]);
  assertEquals([early, clock.waiting], [[], 0]);
});

Deno.test("cancel() is final, twice over and after the call", async () => {
  const clock = new SystemClock();
  const calls: string[] = [];
  const never = clock.after(5, () => calls.push("never"));
  const once = clock.after(5, () => calls.push("once"));
  const sibling = clock.after(5, () => {
    calls.push("sibling");
    late.cancel();
  });
  const late = clock.after(5, () => calls.push("late"));
  never.cancel();
  never.cancel();
  await pass(25);
  once.cancel();
  sibling.cancel();
  assertEquals(calls, ["once", "sibling"]);
  assertEquals(clock.waiting, 0);
});

Deno.test("a clock whose timers are all cancelled keeps nothing running", () => {
  const clock = new SystemClock();
  const timers = Array.from({ length: 1000 }, (_, at) => clock.after(at * 10, () => {}));
  for (const timer of timers) timer.cancel();
  assertEquals(clock.waiting, 0); // The test's sanitizer would see a runtime timer.
});

Deno.test("after() inside a callback works, also for 0", async () => {
  const clock = new SystemClock();
  let left = 3;
  await new Promise<void>((resolve) => {
    const again = () => --left === 0 ? resolve() : void clock.after(0, again);
    clock.after(0, again);
  });
  assertEquals(left, 0);
});

Deno.test("soon() runs in order, in the same turn, also what a task adds", async () => {
  const clock = new SystemClock();
  const calls: number[] = [];
  clock.soon({
    runTask() {
      calls.push(1);
      clock.soon({ runTask: () => void calls.push(3) });
    },
  });
  clock.soon({ runTask: () => void calls.push(2) });
  const turn = setTimeout(() => calls.push(9), 0);
  assertEquals(calls, []);
  await pass(5);
  clearTimeout(turn);
  assertEquals(calls.slice(0, 3), [1, 2, 3]);
});

Deno.test("what one callback or task throws stops no other", async () => {
  const bugs: string[] = [];
  const clock = new SystemClock({ onBug: (error) => void bugs.push(String(error)) });
  const calls: string[] = [];
  const broken = () => {
    throw new Error("a bug");
  };
  clock.soon({ runTask: broken });
  clock.soon({ runTask: () => void calls.push("task") });
  clock.after(1, broken);
  clock.after(1, () => calls.push("timer"));
  await pass(20);
  assertEquals(calls, ["task", "timer"]);
  assertEquals(bugs, ["Error: a bug", "Error: a bug"]);
});

Deno.test("nowMs() goes on, wallMs() is the time of day", async () => {
  const clock = new SystemClock();
  const before = clock.nowMs();
  await pass(2);
  assert(clock.nowMs() > before);
  assert(Math.abs(clock.wallMs() - Date.now()) < 1000);
});
