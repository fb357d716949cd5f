// Which of a route's candidates a connection takes: by weight (spec/data-path L9). Pure but for the draw.
import { assert } from "../base/assert.ts";
import { type Random, randomPoint } from "../base/random.ts";
import type { Candidate } from "../seam/route.ts";

/** Draws one in proportion to the weights, which need not be whole. The Router gives at least one, above 0. */
export function drawCandidate(candidates: readonly Candidate[], random: Random): Candidate {
  assert(candidates.length > 0, "A route has a candidate");
  if (candidates.length === 1) return candidates[0]!;
  let total = 0;
  for (const { weight } of candidates) total += weight;
  let rest = randomPoint(random, total);
  for (const candidate of candidates) {
    if (rest < candidate.weight) return candidate;
    rest -= candidate.weight;
  }
  return candidates[candidates.length - 1]!; // Sums of fractions are rounded.
}
