// The logger: asks the filter, stamps the time, hands the event on. One per process.
import type { LogLevel } from "../seam/events.ts";
import { type LogFields, type LogSink, type LogSpan, NO_FIELDS, NO_SPANS } from "./log_event.ts";
import type { LogFilter } from "./log_filter.ts";

/** Scope of the logger's own lines. */
const SCOPE = "ztunnel::telemetry";

/** What the admin port's /logging may do (spec/config-and-observability §5.5). */
export interface LogControl {
  readonly filter: LogFilter;
  /**
   * Optionally goes back to the filter of RUST_LOG, then puts `spec` over it; "" adds nothing. All or nothing.
   * @throws {LogFilterError} if `spec` cannot be read.
   */
  changeFilter(change: { readonly reset: boolean; readonly spec: string }): void;
}

export class Logger implements LogControl {
  readonly #sink: LogSink;
  readonly #wallMs: () => number;
  readonly #initialFilter: LogFilter;
  #filter: LogFilter;

  /**
   * @param options.filter The filter of RUST_LOG, to which a reset returns.
   * @param options.sink Takes what passes the filter.
   * @param options.wallMs Milliseconds since 1970-01-01 UTC, with a fraction.
   */
  constructor(
    options: {
      readonly filter: LogFilter;
      readonly sink: LogSink;
      readonly wallMs: () => number;
    },
  ) {
    this.#initialFilter = options.filter;
    this.#filter = options.filter;
    this.#sink = options.sink;
    this.#wallMs = options.wallMs;
  }

  get filter(): LogFilter {
    return this.#filter;
  }

  /** Ask before building fields that cost something. */
  enabled(level: LogLevel, scope: string): boolean {
    return this.#filter.enabled(level, scope);
  }

  /**
   * Writes one line if the filter lets it through.
   * @param scope The original's module path: `ztunnel::proxy::pool`.
   * @param message Constant text of ours, or null; what came from outside belongs into `fields`.
   * @param spans Outermost first; left out where the scope's infos are filtered (spec §7.2).
   */
  log(
    level: LogLevel,
    scope: string,
    message: string | null,
    fields: LogFields = NO_FIELDS,
    spans: readonly LogSpan[] = NO_SPANS,
  ): void {
    if (!this.#filter.enabled(level, scope)) return;
    const shown = spans.length === 0 || this.#filter.enabled("info", scope) ? spans : NO_SPANS;
    this.#sink({ wallMs: this.#wallMs(), level, scope, message, fields, spans: shown });
  }

  changeFilter({ reset, spec }: { readonly reset: boolean; readonly spec: string }): void {
    const base = reset ? this.#initialFilter : this.#filter;
    const changed = spec === "" ? base : base.merge(spec);
    if (changed === this.#filter) return;
    this.log("info", SCOPE, `new log filter is ${changed}`); // Under the old one, as the original does.
    this.#filter = changed;
  }
}
