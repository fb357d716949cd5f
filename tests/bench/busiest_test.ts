import { assert, assertEquals } from "@std/assert";
import { busiest, describeBusy, parseStat, processTimes } from "./busiest.ts";

Deno.test.each([
  {
    name: "adds user and kernel time",
    text: "7 (deno) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 1 0 9 9 9",
    expected: { command: "deno", seconds: 2 },
  },
  {
    name: "takes a command with parentheses and blanks",
    text: "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 100 0 0 0 20 0 1 0 9 9 9",
    expected: { command: "a) b (c", seconds: 1 },
  },
  { name: "is null of anything else", text: "nothing", expected: null },
])("parseStat() $name", ({ text, expected }) => {
  assertEquals(parseStat(text), expected);
});

function times(entries: readonly (readonly [number, string, number])[]) {
  return new Map(entries.map(([pid, command, seconds]) => [pid, { command, seconds }]));
}

Deno.test("busiest() sorts by what was used meanwhile, and leaves the idle out", () => {
  const before = times([[1, "old", 90], [2, "proxy", 1], [3, "load", 1]]);
  const after = times([[1, "old", 90], [2, "proxy", 2], [3, "load", 3], [4, "new", 0.5]]);
  assertEquals(busiest(before, after, { seconds: 2, countMax: 9 }), [
    { pid: 3, command: "load", percent: 100 },
    { pid: 2, command: "proxy", percent: 50 },
    { pid: 4, command: "new", percent: 25 },
  ]);
  assertEquals(busiest(before, after, { seconds: 2, countMax: 1 }).length, 1);
});

Deno.test("describeBusy() tells the measured chain from everybody else", () => {
  const busy = [
    { pid: 3, command: "rustc", percent: 90.4 },
    { pid: 2, command: "deno", percent: 50 },
  ];
  assertEquals(describeBusy(busy, new Map([[2, "inbound"]])), "inbound 50%; others: rustc 90%");
  assertEquals(describeBusy(busy.slice(1), new Map([[2, "inbound"]])), "inbound 50%");
});

Deno.test("processTimes() holds this process, with time that grows", () => {
  const before = processTimes().get(Deno.pid);
  const start = performance.now();
  while (performance.now() - start < 60);
  const after = processTimes().get(Deno.pid);
  assert(before !== undefined && after !== undefined && after.seconds > before.seconds);
});
