import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "./assert.ts";
import type { Task } from "./clock.ts";
import { randomBelow, SeededRandom } from "./random.ts";
import {
  INSTANT_TURNS_MAX,
  TURN_TASKS_MAX,
  VIRTUAL_WALL_START_MS,
  VirtualClock,
} from "./virtual_clock.ts";

/** A task that notes its name. */
function noting(notes: string[], name: string): Task {
  return { runTask: () => void notes.push(name) };
}

/** A task that schedules itself until it has run `times` times. */
class Repeating implements Task {
  ran = 0;
  constructor(readonly clock: VirtualClock, readonly times: number) {}
  runTask(): void {
    if (++this.ran < this.times) this.clock.soon(this);
  }
}

Deno.test("VirtualClock runs nothing until told", () => {
  const clock = new VirtualClock();
  const notes: string[] = [];
  clock.after(0, () => notes.push("timer"));
  clock.soon(noting(notes, "task"));
  assertEquals(notes, []);
  assertEquals([clock.pendingTimers, clock.pendingTasks], [1, 1]);
  clock.runUntilIdle();
  assertEquals(notes, ["timer", "task"]);
  assertEquals([clock.pendingTimers, clock.pendingTasks], [0, 0]);
});

Deno.test("VirtualClock runs timers by due time, then by age, each at its own time", () => {
  const clock = new VirtualClock();
  const notes: string[] = [];
  for (const [delayMs, name] of [[20, "c"], [10, "a"], [10, "b"], [30, "d"]] as const) {
    clock.after(delayMs, () => notes.push(`${name}@${clock.nowMs()}`));
  }
  clock.advance(29);
  assertEquals(notes, ["a@10", "b@10", "c@20"]);
  clock.advance(1);
  assertEquals(notes.at(-1), "d@30");
});

Deno.test("VirtualClock runs a timer added by a timer when it falls due inside the same advance", () => {
  const clock = new VirtualClock();
  const at: number[] = [];
  clock.after(5, () => clock.after(5, () => at.push(clock.nowMs())));
  clock.advance(10);
  assertEquals(at, [10]);
});

Deno.test("VirtualClock.runTurn() leaves a 0 ms timer of this turn to the next one", () => {
  const clock = new VirtualClock();
  const notes: string[] = [];
  clock.timersPerTurn = 100;
  clock.after(0, () => {
    notes.push("first");
    clock.after(0, () => notes.push("second"));
  });
  assertEquals(clock.runTurn(), true);
  assertEquals(notes, ["first"]);
  assertEquals(clock.runTurn(), true);
  assertEquals(notes, ["first", "second"]);
  assertEquals(clock.runTurn(), false);
});

Deno.test("VirtualClock.soon() runs tasks in order, those of tasks in the same turn", () => {
  const clock = new VirtualClock();
  const notes: string[] = [];
  clock.soon({
    runTask() {
      notes.push("a");
      clock.soon(noting(notes, "c"));
    },
  });
  clock.soon(noting(notes, "b"));
  assertEquals(clock.runTurn(), true);
  assertEquals(notes, ["a", "b", "c"]);
});

Deno.test.each([
  { timersPerTurn: 1, expected: ["t1", "task1", "t2", "task2"] },
  { timersPerTurn: 2, expected: ["t1", "t2", "task1", "task2"] },
])("VirtualClock runs tasks after $timersPerTurn due timers", ({ timersPerTurn, expected }) => {
  const clock = new VirtualClock();
  const notes: string[] = [];
  clock.timersPerTurn = timersPerTurn;
  for (const n of [1, 2]) {
    clock.after(0, () => {
      notes.push(`t${n}`);
      clock.soon(noting(notes, `task${n}`));
    });
  }
  clock.runUntilIdle();
  assertEquals(notes, expected);
});

Deno.test.each([
  { name: "just under", times: TURN_TASKS_MAX - 1 },
  { name: "at", times: TURN_TASKS_MAX },
])("VirtualClock runs $name TURN_TASKS_MAX tasks in a turn", ({ times }) => {
  const clock = new VirtualClock();
  const task = new Repeating(clock, times);
  clock.soon(task);
  clock.runTurn();
  assertEquals(task.ran, times);
});

Deno.test("VirtualClock fails on tasks that feed themselves for ever", () => {
  const clock = new VirtualClock();
  clock.soon(new Repeating(clock, TURN_TASKS_MAX + 1));
  assertThrows(() => clock.runTurn(), AssertionFailure, "100000 tasks");
});

/** Sets a timer of 0 ms that sets the next one, `times` in all. */
function chainTimers(clock: VirtualClock, times: number): void {
  if (times > 0) clock.after(0, () => chainTimers(clock, times - 1));
}

Deno.test.each([
  { name: "just under", times: INSTANT_TURNS_MAX - 1 },
  { name: "at", times: INSTANT_TURNS_MAX },
])("VirtualClock.runUntilIdle() takes $name INSTANT_TURNS_MAX turns", ({ times }) => {
  const clock = new VirtualClock();
  chainTimers(clock, times);
  assertEquals(clock.runUntilIdle(), times);
});

Deno.test("VirtualClock.runUntilIdle() fails on 0 ms timers that feed themselves for ever", () => {
  const clock = new VirtualClock();
  chainTimers(clock, INSTANT_TURNS_MAX + 1);
  assertThrows(() => clock.runUntilIdle(), AssertionFailure, "at one instant");
});

Deno.test("VirtualClock.cancel() forgets the timer at once and may be repeated", () => {
  const clock = new VirtualClock();
  const notes: string[] = [];
  const kept = clock.after(1, () => notes.push("kept"));
  const gone = clock.after(1, () => notes.push("gone"));
  gone.cancel();
  gone.cancel();
  assertEquals(clock.pendingTimers, 1);
  clock.advance(1);
  kept.cancel();
  assertEquals(notes, ["kept"]);
});

Deno.test("VirtualClock agrees with a sorted list over random timers and cancels", () => {
  const random = new SeededRandom(7);
  for (let round = 0; round < 50; round++) {
    const clock = new VirtualClock();
    const expected: { due: number; id: number }[] = [];
    const ran: number[] = [];
    for (let id = 0; id < 100; id++) {
      const due = randomBelow(random, 40);
      const timer = clock.after(due, () => ran.push(id));
      if (randomBelow(random, 3) === 0) timer.cancel();
      else expected.push({ due, id });
    }
    expected.sort((a, b) => a.due - b.due || a.id - b.id);
    clock.advance(40);
    assertEquals(ran, expected.map(({ id }) => id));
  }
});

Deno.test("VirtualClock.advanceToNext() jumps, and stops at its limit", () => {
  const clock = new VirtualClock();
  clock.after(3_600_000, () => {});
  assertEquals(clock.advanceToNext(3_599_999), false);
  assertEquals(clock.advanceToNext(), true);
  assertEquals(clock.nowMs(), 3_600_000);
  assertEquals(clock.advanceToNext(), false);
});

Deno.test("VirtualClock.wallMs() follows time and may jump", () => {
  const clock = new VirtualClock();
  clock.advance(5);
  assertEquals(clock.wallMs(), VIRTUAL_WALL_START_MS + 5);
  clock.jumpWall(-10);
  assertEquals(clock.wallMs(), VIRTUAL_WALL_START_MS - 5);
  assertEquals(clock.nowMs(), 5);
});

Deno.test("VirtualClock refuses a turn inside a turn", () => {
  const clock = new VirtualClock();
  clock.soon({ runTask: () => void clock.runTurn() });
  assertThrows(() => clock.runTurn(), AssertionFailure, "inside a turn");
});
