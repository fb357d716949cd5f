// From samples to what the bench says: medians, ratios, goals, a table. Pure.

/** One measured number of one arm: three runs of a cell give three of them. */
export interface Sample {
  readonly arm: string;
  readonly measure: string;
  readonly value: number;
}

export interface Measure {
  readonly name: string;
  readonly unit: string;
  readonly digits: number;
}

/** A promise about two medians, or about one. */
export interface Goal {
  readonly name: string;
  readonly measure: string;
  readonly arm: string;
  /** The arm to divide by; null takes the median itself. */
  readonly against: string | null;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Verdict {
  readonly goal: Goal;
  /** Null when a measurement is missing, which misses the goal. */
  readonly value: number | null;
  readonly met: boolean;
}

/** Null of an empty list. */
export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function medianOf(samples: readonly Sample[], arm: string, measure: string): number | null {
  return median(
    samples.filter((sample) => sample.arm === arm && sample.measure === measure)
      .map((sample) => sample.value),
  );
}

export function judgeGoals(samples: readonly Sample[], goals: readonly Goal[]): Verdict[] {
  return goals.map((goal) => {
    const own = medianOf(samples, goal.arm, goal.measure);
    const base = goal.against === null ? 1 : medianOf(samples, goal.against, goal.measure);
    const value = own === null || base === null ? null : own / base;
    const met = value !== null && value >= (goal.atLeast ?? -Infinity) &&
      value <= (goal.atMost ?? Infinity);
    return { goal, value, met };
  });
}

/** One goal in a line. */
export function verdictLine({ goal, value, met }: Verdict): string {
  const limit = goal.atLeast !== undefined ? `at least ${goal.atLeast}` : `at most ${goal.atMost}`;
  return `${met ? "met   " : "MISSED"}  ${goal.name}: ${value?.toFixed(3) ?? "-"}, ${limit}`;
}

/** Lines of a table: a row per measure, a column per arm, ratios to the first arm behind each other one. */
export function tableLines(
  samples: readonly Sample[],
  options: { readonly measures: readonly Measure[]; readonly arms: readonly string[] },
): string[] {
  const [baseline, ...others] = options.arms;
  const rows = [["measure", "unit", baseline!, ...others.flatMap((arm) => [arm, "ratio"])]];
  for (const { name, unit, digits } of options.measures) {
    const base = medianOf(samples, baseline!, name);
    const row = [name, unit, base?.toFixed(digits) ?? "-"];
    for (const arm of others) {
      const own = medianOf(samples, arm, name);
      const ratio = own === null || base === null || base === 0 ? null : own / base;
      row.push(own?.toFixed(digits) ?? "-", ratio === null ? "-" : `${ratio.toFixed(2)}x`);
    }
    rows.push(row);
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row.map((cell, column) =>
      column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)
    )
      .join("  ").trimEnd()
  );
}
