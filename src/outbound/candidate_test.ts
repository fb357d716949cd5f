import { assert } from "@std/assert";
import { SeededRandom } from "../base/random.ts";
import type { Candidate } from "../seam/route.ts";
import { drawCandidate } from "./candidate.ts";

Deno.test.each([
  { weights: [1, 0], expected: [1000, 0] },
  { weights: [0, 1], expected: [0, 1000] },
  { weights: [75, 25], expected: [750, 250] },
])("drawCandidate() draws in proportion to $weights", ({ weights, expected }) => {
  const random = new SeededRandom(3);
  const candidates: Candidate[] = weights.map((weight) => ({
    weight,
    hop: { protocol: "TCP", peer: { ip: "10.0.0.2", port: 80 } },
    destination: null,
  }));
  const drawn = candidates.map(() => 0);
  for (let round = 0; round < 1000; round++) {
    drawn[candidates.indexOf(drawCandidate(candidates, random))]!++;
  }
  drawn.forEach((count, index) => assert(Math.abs(count - expected[index]!) < 50));
});
