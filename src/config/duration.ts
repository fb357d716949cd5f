// Durations as settings write them: `1m30s`, `90`, `1h*2` (spec/config-and-observability §2.1). Pure.

const SECOND_NS = 1_000_000_000n;
const UNITS_NS: Readonly<Record<string, bigint>> = {
  "": SECOND_NS,
  ...named(365n * 86_400n * SECOND_NS, "y", "year"),
  ...named(30n * 86_400n * SECOND_NS, "mon", "month"),
  ...named(7n * 86_400n * SECOND_NS, "w", "week"),
  ...named(86_400n * SECOND_NS, "d", "day"),
  ...named(3_600n * SECOND_NS, "h", "hr", "hour"),
  ...named(60n * SECOND_NS, "m", "min", "minute"),
  ...named(SECOND_NS, "s", "sec", "second"),
  ...named(1_000_000n, "ms", "msec", "millisecond"),
  ...named(1_000n, "us", "µs", "usec", "µsec", "usecond", "µsecond", "microsecond"),
  ...named(1n, "ns", "nsec", "nanosecond"),
};

/** Longest duration, in milliseconds: beyond it arithmetic would round. About 285,000 years. */
export const DURATION_MS_MAX = Number.MAX_SAFE_INTEGER;

/** Longest text of a duration: no honest one comes near. */
export const DURATION_CHARS_MAX = 256;

function named(ns: bigint, ...names: string[]): Record<string, bigint> {
  return Object.fromEntries(names.map((name) => [name, ns]));
}

/** The duration in milliseconds, perhaps with a fraction; null if `text` is none or too long. */
export function parseDuration(text: string): number | null {
  if (text.length > DURATION_CHARS_MAX) return null;
  const compact = text.trim().toLowerCase().replaceAll("μ", "µ"); // Greek mu, the other micro sign.
  const isProduct = compact.includes("*");
  if (isProduct && compact.includes("+")) return null;
  const parts = compact.split(isProduct ? "*" : "+").map(parseTerms);
  if (parts.some((part) => part === null)) return null;
  const numbers = parts as bigint[];
  // A factor without unit counts in seconds too: `1h*2` is 3600 × 2 seconds.
  const ns = isProduct
    ? numbers.reduce((product, part) => product * part / SECOND_NS, SECOND_NS)
    : numbers.reduce((sum, part) => sum + part, 0n);
  const ms = Number(ns) / 1e6;
  return ms <= DURATION_MS_MAX ? ms : null;
}

/** One term or several without sign between them, in nanoseconds. */
function parseTerms(text: string): bigint | null {
  const term = /\s*(\d+)\s*([a-zµ]*)\s*/y;
  let sum = 0n;
  let at = 0;
  do {
    term.lastIndex = at;
    const match = term.exec(text);
    if (match === null) return null;
    const unit = UNITS_NS[match[2]!];
    if (unit === undefined) return null;
    sum += BigInt(match[1]!) * unit;
    at = term.lastIndex;
  } while (at < text.length);
  return sum;
}
