import { assertEquals } from "@std/assert";
import { judgeGoals, median, type Sample, tableLines } from "./report.ts";

function samples(values: Readonly<Record<string, readonly number[]>>): Sample[] {
  return Object.entries(values).flatMap(([arm, some]) =>
    some.map((value) => ({ arm, measure: "rate", value }))
  );
}

Deno.test.each([
  { name: "is null of nothing", values: [], expected: null },
  { name: "is the middle of an odd count", values: [9, 1, 4], expected: 4 },
  { name: "is between the middles of an even count", values: [8, 2, 4, 1], expected: 3 },
])("median() $name", ({ values, expected }) => {
  assertEquals(median(values), expected);
});

const GOAL = { name: "faster", measure: "rate", arm: "ours", against: "base", atLeast: 1.6 };

Deno.test.each([
  { name: "meets a ratio it reaches exactly", ours: [16], base: [10], met: true },
  { name: "misses a ratio just under", ours: [15.9], base: [10], met: false },
  { name: "judges medians, not the best run", ours: [99, 1, 1], base: [1], met: false },
  { name: "misses what was not measured", ours: [], base: [10], met: false },
])("judgeGoals() $name", ({ ours, base, met }) => {
  assertEquals(judgeGoals(samples({ ours, base }), [GOAL]).map((each) => each.met), [met]);
});

Deno.test("judgeGoals() takes the median itself where there is nothing to compare with", () => {
  const goal = { name: "few", measure: "rate", arm: "ours", against: null, atMost: 2 };
  const [verdict] = judgeGoals(samples({ ours: [2] }), [goal]);
  assertEquals([verdict!.value, verdict!.met], [2, true]);
});

Deno.test("tableLines() puts the ratio to the first arm behind each other arm", () => {
  const options = { measures: [{ name: "rate", unit: "Gb/s", digits: 1 }], arms: ["base", "ours"] };
  assertEquals(tableLines(samples({ base: [2], ours: [5] }), options), [
    "measure  unit  base  ours  ratio",
    "rate     Gb/s   2.0   5.0  2.50x",
  ]);
});
