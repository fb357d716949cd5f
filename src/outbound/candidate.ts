// Which of a route's candidates a connection takes: by weight (spec/data-path L9). Pure but for the draw.
import { assert } from "../base/assert.ts";
import { type Random, randomBelow } from "../base/random.ts";
import type { Candidate } from "../seam/route.ts";

/** Draws one in proportion to the weights. The Router gives at least one, of weight 1 or more. */
export function drawCandidate(candidates: readonly Candidate[], random: Random): Candidate {
  assert(candidates.length > 0, "A route has a candidate");
  if (candidates.length === 1) return candidates[0]!;
  let total = 0;
  for (const candidate of candidates) total += candidate.weight;
  let rest = randomBelow(random, total);
  for (const candidate of candidates) {
    if (rest < candidate.weight) return candidate;
    rest -= candidate.weight;
  }
  return candidates[candidates.length - 1]!;
}
