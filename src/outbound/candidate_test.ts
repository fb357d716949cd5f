import { assert, assertEquals } from "@std/assert";
import { SeededRandom } from "../base/random.ts";
import type { Candidate } from "../seam/route.ts";
import { drawCandidate } from "./candidate.ts";

Deno.test.each([
  { weights: [1, 0], expected: [1000, 0] },
  { weights: [0, 1], expected: [0, 1000] },
  { weights: [75, 25], expected: [750, 250] },
  { weights: [0.3, 0.1], expected: [750, 250] },
  { weights: [1 / 3, 1 / 3, 1 / 3], expected: [333, 333, 333] },
  { weights: [37.5 / 2, 12.5 / 2, 50 / 3, 100 / 3], expected: [250, 83, 222, 444] },
])("drawCandidate() draws in proportion to $weights", ({ weights, expected }) => {
  const random = new SeededRandom(3);
  const candidates = weights.map(candidateOf);
  const drawn = candidates.map(() => 0);
  for (let round = 0; round < 1000; round++) {
    drawn[candidates.indexOf(drawCandidate(candidates, random))]!++;
  }
  drawn.forEach((count, index) => assert(Math.abs(count - expected[index]!) < 50));
});

Deno.test("drawCandidate() draws by weight as a chi-square test sees it, fractions among them", () => {
  const random = new SeededRandom(11);
  const weights = [0.75 * 1 / 3, 0.75 * 2 / 3, 0.25, 1.5, 2.25];
  const total = weights.reduce((sum, weight) => sum + weight);
  const candidates = weights.map(candidateOf);
  const rounds = 20_000;
  const drawn = weights.map(() => 0);
  for (let round = 0; round < rounds; round++) {
    drawn[candidates.indexOf(drawCandidate(candidates, random))]!++;
  }
  const chiSquare = drawn.reduce((sum, count, index) => {
    const expected = rounds * weights[index]! / total;
    return sum + (count - expected) ** 2 / expected;
  }, 0);
  assert(chiSquare < 18.47, `${chiSquare}`); // 4 degrees of freedom, 0.1 %.
});

Deno.test.each([
  { draw: 0, index: 0 },
  { draw: 0xffff_ffff, index: 9 },
])("drawCandidate() gives candidate $index of ten tenths for draw $draw", ({ draw, index }) => {
  const candidates = Array.from({ length: 10 }, () => candidateOf(0.1));
  assertEquals(
    candidates.indexOf(drawCandidate(candidates, { uint32: () => draw })),
    index,
  );
});

function candidateOf(weight: number): Candidate {
  return {
    weight,
    hop: { protocol: "TCP", peer: { ip: "10.0.0.2", port: 80 } },
    destination: null,
  };
}
