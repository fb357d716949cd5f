// Whether counts match weights: Pearson's χ². Pure.

export interface ChiSquared {
  readonly statistic: number;
  /** What honest draws exceed once in 1,000 runs. */
  readonly limit: number;
}

/** The 99.9 % point of the standard normal distribution. */
const NORMAL_POINT = 3.090;

/**
 * @param counts How often each was drawn.
 * @param weights Of each, in the same order; 0: must never be drawn, and one draw of it is infinitely wrong.
 */
export function chiSquared(counts: readonly number[], weights: readonly number[]): ChiSquared {
  const draws = counts.reduce((sum, count) => sum + count, 0);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let statistic = 0;
  let classes = 0;
  for (const [at, count] of counts.entries()) {
    const expected = draws * weights[at]! / total;
    if (expected > 0) {
      classes++;
      statistic += (count - expected) ** 2 / expected;
    } else if (count > 0) statistic = Infinity;
  }
  const freedom = Math.max(1, classes - 1);
  // Wilson and Hilferty 1931: the cube root of χ²/n is nearly normal.
  const share = 2 / (9 * freedom);
  return { statistic, limit: freedom * (1 - share + NORMAL_POINT * Math.sqrt(share)) ** 3 };
}
