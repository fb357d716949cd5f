// The text of /metrics and what is said about it in headers (spec/config-and-observability §6.1). Pure.

/** What is exposed so far. */
export interface MetricsState {
  /** Value of ISTIO_META_ISTIO_VERSION, or `unknown`. */
  readonly istioVersion: string;
  /** Whole lines of further families, in order. */
  readonly families?: string;
}

/** OpenMetrics text 1.0, `# EOF` included. */
export function renderMetrics({ istioVersion, families = "" }: MetricsState): string {
  return "# HELP istio_build Istio component build info.\n" +
    "# TYPE istio_build gauge\n" +
    `istio_build{component="ztunnel",tag="${escapeLabel(istioVersion)}"} 1\n` +
    families +
    "# EOF\n";
}

/** A label's value between quotes: backslash, quote and newline escaped. */
export function escapeLabel(value: string): string {
  return value.replace(/[\\"\n]/g, (one) => one === "\n" ? "\\n" : `\\${one}`);
}

const OPEN_METRICS = "application/openmetrics-text";

/**
 * The content type for a request's Accept header (several joined by commas; null where absent). The body is the
 * same either way.
 */
export function metricsContentType(accept: string | null): string {
  const types = (accept ?? "").split(",").map((one) => one.split(";")[0]!.trim().toLowerCase());
  return types.includes(OPEN_METRICS)
    ? `${OPEN_METRICS};charset=utf-8;version=1.0.0`
    : "text/plain; charset=utf-8";
}

/** Bodies below this are never compressed, in bytes. */
export const COMPRESSED_BYTES_MIN = 32;

export type ContentEncoding = "identity" | "gzip" | "deflate";

/** In the order that wins a tie. */
const ENCODINGS: readonly (readonly [string, ContentEncoding])[] = [
  ["gzip", "gzip"],
  ["x-gzip", "gzip"],
  ["deflate", "deflate"],
  ["identity", "identity"],
];

/** The encoding of highest q in Accept-Encoding that we have; identity where none is named. */
export function chooseEncoding(acceptEncoding: string | null): ContentEncoding {
  let best: ContentEncoding = "identity";
  let bestWeight = 0;
  const weights = new Map((acceptEncoding ?? "").split(",").map(parseWeighted));
  for (const [name, encoding] of ENCODINGS) {
    const weight = weights.get(name) ?? 0;
    if (weight > bestWeight) [best, bestWeight] = [encoding, weight];
  }
  return best;
}

/** `gzip;q=0.5` as `["gzip", 0.5]`; without q it is 1, with a q that is no number 0. */
function parseWeighted(element: string): [name: string, weight: number] {
  const [name = "", ...parameters] = element.split(";").map((part) => part.trim().toLowerCase());
  const q = parameters.find((one) => one.startsWith("q="));
  const weight = q === undefined ? 1 : Number(q.slice("q=".length));
  return [name, weight >= 0 && weight <= 1 ? weight : 0];
}
