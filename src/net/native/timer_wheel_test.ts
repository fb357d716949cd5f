import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AssertionFailure } from "../../base/assert.ts";
import type { Timer } from "../../base/clock.ts";
import { TimerWheel, TURN_TIMERS_MAX, WHEEL_RINGS, type WheelRing } from "./timer_wheel.ts";

/** What a script does to a wheel: time passes, or a timer is set or cancelled. */
type Step =
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "set"; readonly delayMs: number }
  | { readonly kind: "cancel"; readonly timer: number };

/** Three small rings, so that a short script wraps each of them. */
const SMALL_RINGS: readonly WheelRing[] = [
  { delayMaxMs: 30, stepMs: 1, slots: 32 },
  { delayMaxMs: 200, stepMs: 8, slots: 32 },
  { delayMaxMs: Infinity, stepMs: 64, slots: 32 },
];

function fail(thrown: unknown): void {
  throw thrown;
}

/** A wheel whose time a test moves; `ran` has the names of the timers that ran, in order. */
function wheelAt(startMs: number, rings: readonly WheelRing[] = WHEEL_RINGS) {
  const wheel = new TimerWheel({ onBug: fail, nowMs: startMs, rings });
  const ran: string[] = [];
  let nowMs = startMs;
  return {
    wheel,
    ran,
    get nowMs() {
      return nowMs;
    },
    set(name: string, delayMs: number): Timer {
      return wheel.after(nowMs, delayMs, () => ran.push(name));
    },
    pass(ms: number): void {
      nowMs += ms;
      wheel.collect(nowMs);
      wheel.runDue();
    },
  };
}

function stepOf(rings: readonly WheelRing[], delayMs: number): number {
  return rings.find(({ delayMaxMs }) => delayMs <= delayMaxMs)!.stepMs;
}

const delays = fc.oneof(
  fc.integer({ min: 0, max: 40 }),
  fc.integer({ min: 0, max: 10_000 }),
  fc.double({ min: 0, max: 300, noNaN: true }),
);
const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("pass" as const), ms: delays }),
  fc.record({ kind: fc.constant("set" as const), delayMs: delays }),
  fc.record({ kind: fc.constant("cancel" as const), timer: fc.nat(50) }),
);

/** Runs a script on a wheel and on the obvious model: a list of timers, each with the earliest and latest time. */
function compare(script: readonly Step[], startMs: number, rings: readonly WheelRing[]): void {
  const made: { timer: Timer; fromMs: number; untilMs: number; state: string }[] = [];
  const wheel = new TimerWheel({ onBug: fail, nowMs: startMs, rings });
  let nowMs = startMs;
  for (const step of script) {
    if (step.kind === "set") {
      const fromMs = nowMs + step.delayMs;
      const entry = {
        fromMs,
        // A timer that is due in the step that was collected last runs in the one after it.
        untilMs: Math.max(fromMs, nowMs) + stepOf(rings, step.delayMs),
        state: "waits",
        timer: wheel.after(nowMs, step.delayMs, () => {
          assertEquals(entry.state, "waits");
          assert(nowMs >= entry.fromMs, `early: ${nowMs} before ${entry.fromMs}`);
          entry.state = "ran";
        }),
      };
      made.push(entry);
    } else if (step.kind === "cancel") {
      const entry = made[step.timer];
      entry?.timer.cancel();
      if (entry?.state === "waits") entry.state = "cancelled";
    } else {
      nowMs += step.ms;
      wheel.collect(nowMs);
      wheel.runDue();
    }
    for (const { state, untilMs } of step.kind === "pass" ? made : []) {
      assert(state !== "waits" || nowMs < untilMs, `late: still waits at ${nowMs}, ${untilMs}`);
    }
    const waiting = made.filter(({ state }) => state === "waits");
    assertEquals(wheel.waiting, waiting.length);
    const untilMs = Math.min(...waiting.map((entry) => entry.untilMs)) - nowMs;
    assert(wheel.untilNextMs(nowMs) <= untilMs, "A sleep this long would be too long");
  }
}

Deno.test("TimerWheel agrees with a list of timers: never early, late by less than a step", () => {
  const start = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1e7, noNaN: true }));
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 80 }), start, (script, startMs) => {
      compare(script, startMs, SMALL_RINGS);
      compare(script, startMs, WHEEL_RINGS);
    }),
    { numRuns: 300 },
  );
});

Deno.test.each([
  { delayMs: 1_000, stepMs: 1 },
  { delayMs: 1_001, stepMs: 32 },
  { delayMs: 10_000, stepMs: 32 },
  { delayMs: 10_001, stepMs: 512 },
  { delayMs: 86_400_000, stepMs: 512 },
])("TimerWheel keeps a delay of $delayMs ms to $stepMs ms", ({ delayMs, stepMs }) => {
  const { ran, set, pass, wheel, nowMs } = wheelAt(123.4);
  set("a", delayMs);
  pass(delayMs - 0.001);
  assertEquals(ran, []);
  const untilMs = wheel.untilNextMs(nowMs + delayMs - 0.001);
  assert(untilMs <= stepMs, `${untilMs}`);
  pass(stepMs);
  assertEquals(ran, ["a"]);
});

Deno.test("TimerWheel runs timers of one step in the order they were set", () => {
  const { ran, set, pass } = wheelAt(0);
  for (const name of ["a", "b", "c"]) set(name, 5);
  set("earlier", 4);
  pass(6);
  assertEquals(ran, ["earlier", "a", "b", "c"]);
});

Deno.test("TimerWheel does not run a timer that a timer set, even one of 0 ms, before time passes", () => {
  const { wheel, ran, pass, set } = wheelAt(1000);
  const again = () => {
    ran.push("again");
    wheel.after(1010, 0, again);
  };
  wheel.after(1000, 10, again);
  set("other", 10);
  pass(10);
  assertEquals(ran, ["again", "other"]);
  pass(1);
  assertEquals(ran, ["again", "other", "again"]);
});

Deno.test("TimerWheel lets a timer cancel one that is due with it, and itself in vain", () => {
  const { wheel, ran, set, pass } = wheelAt(0);
  const first = wheel.after(0, 5, () => {
    first.cancel();
    second.cancel();
    second.cancel();
    ran.push("first");
  });
  const second = set("second", 5);
  set("third", 5);
  pass(10);
  assertEquals(ran, ["first", "third"]);
  assertEquals(wheel.waiting, 0);
});

Deno.test("TimerWheel goes on after a timer that throws", () => {
  const bugs: unknown[] = [];
  const wheel = new TimerWheel({ onBug: (thrown) => bugs.push(thrown), nowMs: 0 });
  const bug = new Error("as planned");
  let ran = 0;
  wheel.after(0, 1, () => {
    throw bug;
  });
  wheel.after(0, 1, () => ran++);
  wheel.collect(2);
  assertEquals(wheel.runDue(), 2);
  assertEquals([bugs, ran], [[bug], 1]);
});

Deno.test.each([
  { name: "one fewer", timers: TURN_TIMERS_MAX - 1, first: TURN_TIMERS_MAX - 1 },
  { name: "as many", timers: TURN_TIMERS_MAX, first: TURN_TIMERS_MAX },
  { name: "one more", timers: TURN_TIMERS_MAX + 1, first: TURN_TIMERS_MAX },
])("TimerWheel runs TURN_TIMERS_MAX timers at once: $name", ({ timers, first }) => {
  const { wheel, ran, set } = wheelAt(0);
  for (let index = 0; index < timers; index++) set(String(index), 5);
  wheel.collect(5);
  assertEquals(wheel.runDue(), first);
  assertEquals(wheel.untilNextMs(5), first < timers ? 0 : Infinity);
  assertEquals(wheel.runDue(), timers - first);
  assertEquals(ran, Array.from({ length: timers }, (_, index) => String(index)));
});

Deno.test("TimerWheel with a hundred thousand long timers asks for two wakes a second at most", () => {
  const { wheel } = wheelAt(0);
  let ran = 0;
  for (let index = 0; index < 100_000; index++) {
    wheel.after(index / 1000, 10_001 + index * 2.9, () => ran++);
  }
  let wakes = 0;
  let nowMs = 100;
  while (nowMs < 60_000) {
    nowMs += Math.ceil(wheel.untilNextMs(nowMs));
    wheel.collect(nowMs);
    while (wheel.untilNextMs(nowMs) === 0) wheel.runDue();
    wakes++;
  }
  assert(ran > 15_000, `${ran} timers ran`);
  assert(wakes <= 2 * 50, `${wakes} wakes in the 50 s in which timers were due`);
});

Deno.test("TimerWheel that everybody left asks for no wake at all", () => {
  const { wheel, set } = wheelAt(0);
  const timers = [5, 5, 700, 5_000, 60_000].map((delayMs) => set("never", delayMs));
  for (const timer of timers) timer.cancel();
  assertEquals(wheel.untilNextMs(0), Infinity);
  set("later", 700);
  assertEquals(wheel.untilNextMs(0), 700);
});

Deno.test("TimerWheel sleeps for a timer alone as long as it may after an hour without any", () => {
  const { wheel, ran, set, pass } = wheelAt(0);
  pass(3_600_000.5);
  set("a", 20);
  assertEquals(wheel.untilNextMs(3_600_000.5), 20.5);
  pass(21);
  assertEquals(ran, ["a"]);
});

Deno.test.each([
  { name: "negative", delayMs: -1 },
  { name: "not a number", delayMs: NaN },
  { name: "endless", delayMs: Infinity },
])(
  "TimerWheel takes no delay that is $name",
  ({ delayMs }) => {
    assertThrows(() => wheelAt(0).set("never", delayMs), AssertionFailure, "milliseconds");
  },
);
