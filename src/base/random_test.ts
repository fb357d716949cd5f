import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { type Random, randomBelow, randomPoint, SeededRandom, SystemRandom } from "./random.ts";

function draws(random: Random, count: number): number[] {
  return Array.from({ length: count }, () => random.uint32());
}

Deno.test("SeededRandom repeats for a seed and differs between seeds", () => {
  assertEquals(draws(new SeededRandom(42), 1000), draws(new SeededRandom(42), 1000));
  assertNotEquals(draws(new SeededRandom(42), 4), draws(new SeededRandom(43), 4));
});

Deno.test.each([
  { name: "0", seed: 0 },
  { name: "the constant it is mixed with", seed: 0x9e3779b9 },
  { name: "the largest", seed: 0xffff_ffff },
])("SeededRandom works for seed $name", ({ seed }) => {
  const seen = new Set(draws(new SeededRandom(seed), 1000));
  assert(seen.size > 990, `only ${seen.size} different numbers`);
});

Deno.test("SystemRandom gives 32-bit numbers past the end of its pool", () => {
  const numbers = draws(new SystemRandom(), 1000);
  assert(numbers.every((number) => Number.isInteger(number) && number >= 0 && number < 2 ** 32));
  assert(new Set(numbers).size > 990);
});

Deno.test("randomBelow() reaches every value and never its bound", () => {
  const random = new SeededRandom(1);
  const counts = new Array<number>(6).fill(0);
  for (let draw = 0; draw < 6000; draw++) counts[randomBelow(random, 6)]!++;
  assert(counts.every((count) => count > 850 && count < 1150), counts.join());
});

Deno.test.each([
  { draw: 0, below: 10, expected: 0 },
  { draw: 0xffff_ffff, below: 10, expected: 9 },
  { draw: 0xffff_ffff, below: 1, expected: 0 },
  { draw: 0xffff_ffff, below: 2 ** 32, expected: 0xffff_ffff },
])("randomBelow() maps draw $draw below $below to $expected", ({ draw, below, expected }) => {
  assertEquals(randomBelow({ uint32: () => draw }, below), expected);
});

Deno.test.each([
  { draw: 0, below: 2.5, expected: 0 },
  { draw: 2 ** 31, below: 2.5, expected: 1.25 },
  { draw: 0xffff_ffff, below: 2.5, expected: 2.5 - 2.5 / 2 ** 32 },
])("randomPoint() maps draw $draw below $below to $expected", ({ draw, below, expected }) => {
  assertEquals(randomPoint({ uint32: () => draw }, below), expected);
});
