import { assertEquals } from "@std/assert";
import { VirtualClock } from "../../base/virtual_clock.ts";
import { type EndsTurn, TurnEnd } from "./turn_end.ts";

/** Notes its turn's end, does `then`, and notes faults. */
function ending(name: string, log: string[], then: () => void = () => {}): EndsTurn {
  return {
    endTurn() {
      log.push(name);
      then();
    },
    onFault: (thrown) => void log.push(`${name}: ${thrown}`),
  };
}

Deno.test("TurnEnd runs all in order, as one task", () => {
  const clock = new VirtualClock();
  const log: string[] = [];
  const turnEnd = new TurnEnd(clock);
  for (const name of ["a", "b", "c"]) turnEnd.add(ending(name, log));
  assertEquals(log, []);
  clock.runUntilIdle();
  assertEquals(log, ["a", "b", "c"]);
  turnEnd.add(ending("d", log));
  clock.runUntilIdle();
  assertEquals(log, ["a", "b", "c", "d"]);
});

Deno.test("TurnEnd hears who asks while it runs, in the same turn", () => {
  const clock = new VirtualClock();
  const log: string[] = [];
  const turnEnd = new TurnEnd(clock);
  turnEnd.add(ending("a", log, () => turnEnd.add(ending("b", log))));
  turnEnd.runTask();
  assertEquals(log, ["a", "b"]);
});

Deno.test("TurnEnd gives what one throws to that one, and goes on", () => {
  const clock = new VirtualClock();
  const log: string[] = [];
  const turnEnd = new TurnEnd(clock);
  turnEnd.add(ending("a", log, () => {
    throw new Error("a bug");
  }));
  turnEnd.add(ending("b", log));
  clock.runUntilIdle();
  assertEquals(log, ["a", "a: Error: a bug", "b"]);
});
