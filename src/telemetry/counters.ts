// Counters with labels, as the metrics page writes them (spec/config-and-observability §6.1).
import { assert } from "../base/assert.ts";
import { escapeLabel } from "./metrics_page.ts";

/** Series of one counter; what would be one more is counted in a series whose labels all say `overflow`. */
export const SERIES_MAX = 10_000;

/** The value of every label of the series that takes what found no place. */
export const OVERFLOW = "overflow";

export interface CounterOptions {
  /** Without `_total`; the unit included. */
  readonly name: string;
  readonly help: string;
  readonly unit?: string;
  /** In the order in which they are written. */
  readonly labels: readonly string[];
  /** {@link SERIES_MAX} */
  readonly seriesMax?: number;
}

/** One counter: a number for each combination of label values that was seen. */
export class Counter {
  readonly #options: CounterOptions;
  readonly #values = new Map<string, number>();

  constructor(options: CounterOptions) {
    this.#options = options;
  }

  /** Series, the overflowing one included. */
  get series(): number {
    return this.#values.size;
  }

  /** @param labels One value for each label, in order. @param amount 0 or more. */
  add(labels: readonly string[], amount = 1): void {
    assert(labels.length === this.#options.labels.length, "A value for each label");
    let key = this.#key(labels);
    if (!this.#values.has(key) && this.#values.size >= (this.#options.seriesMax ?? SERIES_MAX)) {
      key = this.#key(labels.map(() => OVERFLOW));
    }
    this.#values.set(key, (this.#values.get(key) ?? 0) + amount);
  }

  /** Its lines; none where nothing was counted. */
  render(): string {
    if (this.#values.size === 0) return "";
    const { name, help, unit } = this.#options;
    const head = `# HELP ${name} ${help}.\n# TYPE ${name} counter\n` +
      (unit === undefined ? "" : `# UNIT ${name} ${unit}\n`);
    const samples = [...this.#values].map(([key, value]) => `${name}_total${key} ${value}\n`);
    return head + samples.join("");
  }

  #key(values: readonly string[]): string {
    if (values.length === 0) return "";
    const { labels } = this.#options;
    return `{${labels.map((label, at) => `${label}="${escapeLabel(values[at]!)}"`).join(",")}}`;
  }
}
