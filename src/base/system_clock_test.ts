// The clock of a running process, on real time but in milliseconds.
import { assert, assertEquals } from "@std/assert";
import { SystemClock } from "./system_clock.ts";

function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

Deno.test("after() is never early and calls once, in order of time", async () => {
  const clock = new SystemClock();
  const called: { readonly delayMs: number; readonly dueMs: number }[] = [];
  const early: number[] = [];
  for (const delayMs of [30, 5, 17, 0]) {
    // A machine that stops between two of these calls moves the later ones; their order follows.
    const dueMs = clock.nowMs() + delayMs;
    clock.after(delayMs, () => {
      called.push({ delayMs, dueMs });
      if (clock.nowMs() < dueMs) early.push(delayMs);
    });
  }
  assertEquals(clock.waiting, 4);
  assertEquals(called, []);
  await pass(60);
  while (clock.waiting > 0) await pass(5);
  assertEquals(called.map(({ delayMs }) => delayMs).sort((a, b) => a - b), [0, 5, 17, 30]);
  for (let i = 1; i < called.length; i++) {
    // Two that are due within one step of the clock count as one moment.
    assert(called[i]!.dueMs > called[i - 1]!.dueMs - 5, JSON.stringify(called));
  }
  assertEquals(early, []);
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

Deno.test("after(0) is the next turn, not the clock's next step", async () => {
  const clock = new SystemClock();
  let ahead = 0;
  for (let attempt = 0; attempt < 40; attempt++) {
    const order: number[] = [];
    await new Promise<void>((resolve) => {
      const called = (delayMs: number) => {
        if (order.push(delayMs) === 2) resolve();
      };
      clock.after(1, () => called(1));
      clock.after(0, () => called(0));
    });
    if (order[0] === 0) ahead++;
  }
  // With steps for both it would be one in four; a machine may stop between two of these calls.
  assert(ahead > 30, `${ahead} of 40`);
});
