// Elapsed time as the original's log words it: `1.49516ms`, `2.05s` (spec/config-and-observability §4.2).

const UNITS = [
  { name: "s", nanos: 1e9, decimals: 9 },
  { name: "ms", nanos: 1e6, decimals: 6 },
  { name: "µs", nanos: 1e3, decimals: 3 },
] as const;

/**
 * The largest unit of which there is at least one, with as many decimals as are not zero.
 * @param elapsedMs Milliseconds, 0 or more, with a fraction down to nanoseconds.
 */
export function formatElapsed(elapsedMs: number): string {
  const nanos = Math.round(elapsedMs * 1e6);
  const unit = UNITS.find((one) => nanos >= one.nanos);
  if (unit === undefined) return `${nanos}ns`;
  const decimals = String(nanos % unit.nanos).padStart(unit.decimals, "0");
  const fraction = decimals.replace(/0+$/, "");
  return `${Math.floor(nanos / unit.nanos)}${fraction === "" ? "" : `.${fraction}`}${unit.name}`;
}
