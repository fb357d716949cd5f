// Tests of chi_squared.ts.
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { chiSquared } from "./chi_squared.ts";

Deno.test("chiSquared() is 0 for counts as expected and grows with the difference", () => {
  assertEquals(chiSquared([100, 200, 700], [1, 2, 7]).statistic, 0);
  assertAlmostEquals(chiSquared([110, 190], [1, 1]).statistic, 40 ** 2 / 150 * 2, 1e-9);
});

Deno.test("chiSquared() knows the limit that one of 1,000 honest runs exceeds", () => {
  // Tables: 10.83 with 1 degree of freedom, 27.88 with 9.
  assertAlmostEquals(chiSquared([1, 1], [1, 1]).limit, 10.83, 0.4);
  assertAlmostEquals(chiSquared(Array(10).fill(1), Array(10).fill(1)).limit, 27.88, 0.4);
});

Deno.test("chiSquared() forbids what has no weight", () => {
  assertEquals(chiSquared([5, 0], [1, 0]).statistic, 0);
  assertEquals(chiSquared([5, 1], [1, 0]).statistic, Infinity);
});
