// Which lines are written: the filter of RUST_LOG and of the admin port's /logging. Immutable values.
import { ProxyError } from "../base/errors.ts";
import type { LogLevel } from "../seam/events.ts";

/** A level of a filter clause; `off` lets nothing through. */
export type FilterLevel = "off" | LogLevel;

/** By severity: a line is let through if its rank is at most the clause's. */
const RANKS: Readonly<Record<FilterLevel, number>> = {
  off: 0,
  error: 1,
  warn: 2,
  info: 3,
  debug: 4,
  trace: 5,
};
const LEVELS: readonly FilterLevel[] = ["off", "error", "warn", "info", "debug", "trace"];

/** Scopes whose answer a filter remembers; scopes are constants of ours, so this is never near. */
export const FILTER_SCOPES_CACHED_MAX = 1_024;

/** The clause that the original always puts in front (spec/config-and-observability §7.1). */
export const BUILT_IN_FILTER_TEXT = "hickory_server::server=off";

/** A filter text cannot be read. `clause` is the part that is wrong. */
export class LogFilterError extends ProxyError {
  readonly code = "INVALID_LOG_FILTER";
  readonly clause: string;

  constructor(clause: string, reason: string) {
    super(`invalid log filter clause "${clause}": ${reason}`);
    this.clause = clause;
  }
}

interface Clause {
  /** Null for the default level. */
  readonly scope: string | null;
  readonly level: FilterLevel;
}

/**
 * Decides by scope and level. For a line the clause with the longest scope that the line's scope starts
 * with decides, else the default clause, else nothing is written (spec/config-and-observability §7.1).
 */
export class LogFilter {
  /** Most specific first, at most one per scope, the default last. */
  readonly #clauses: readonly Clause[];
  /** Rank by scope, filled as scopes are asked for. */
  readonly #rankByScope = new Map<string, number>();

  private constructor(clauses: ReadonlyMap<string | null, FilterLevel>) {
    this.#clauses = [...clauses].map(([scope, level]) => ({ scope, level })).sort(
      moreSpecificFirst,
    );
  }

  /**
   * Reads the value of RUST_LOG; undefined means unset, which is `info`. The built-in clause is added.
   * @throws {LogFilterError} for two `=` in a clause or an unknown level after `=`.
   */
  static parse(text: string | undefined): LogFilter {
    const clauses = new Map<string | null, FilterLevel>();
    for (const part of `${BUILT_IN_FILTER_TEXT},${text ?? "info"}`.split(",")) {
      const { scope, level } = parseStartupClause(part);
      clauses.set(scope, level);
    }
    return new LogFilter(clauses);
  }

  /**
   * This filter with the clauses of `spec` put over it, by the stricter grammar of /logging
   * (spec/config-and-observability §5.5): no bare scope, levels alone in lower case, `:` as good as `=`.
   * @throws {LogFilterError} for anything else; then nothing has changed.
   */
  merge(spec: string): LogFilter {
    const clauses = new Map(this.#clauses.map(({ scope, level }) => [scope, level]));
    for (const part of spec.split(",")) {
      const { scope, level } = parseRuntimeClause(part);
      clauses.set(scope, level);
    }
    return new LogFilter(clauses);
  }

  /** True if a line of `level` from `scope` is to be written. Cheap: one map lookup after the first. */
  enabled(level: LogLevel, scope: string): boolean {
    return RANKS[level] <= (this.#rankByScope.get(scope) ?? this.#findRank(scope));
  }

  /** The most verbose level that any scope's lines are let through at; `error` also where all is off. */
  get widest(): LogLevel {
    const rank = Math.max(RANKS.error, ...this.#clauses.map(({ level }) => RANKS[level]));
    return LEVELS[rank] as LogLevel;
  }

  /** Scopes with a remembered answer: at most {@link FILTER_SCOPES_CACHED_MAX}. */
  get scopesCached(): number {
    return this.#rankByScope.size;
  }

  /** As /logging answers: clauses most specific first, the default level last. */
  toString(): string {
    return this.#clauses.map(({ scope, level }) => scope === null ? level : `${scope}=${level}`)
      .join(",");
  }

  #findRank(scope: string): number {
    const clause = this.#clauses.find((one) => one.scope === null || scope.startsWith(one.scope));
    const rank = clause === undefined ? RANKS.off : RANKS[clause.level];
    if (this.#rankByScope.size < FILTER_SCOPES_CACHED_MAX) this.#rankByScope.set(scope, rank);
    return rank;
  }
}

/** Longer scopes first, equal length in reverse alphabetical order, the default last. */
function moreSpecificFirst(one: Clause, other: Clause): number {
  if (one.scope === null) return 1;
  if (other.scope === null) return -1;
  if (one.scope.length !== other.scope.length) return other.scope.length - one.scope.length;
  return one.scope < other.scope ? 1 : -1;
}

/** A level in any case, a digit 0 to 5, or nothing (error); null if it is none of these. */
function parseLevel(text: string): FilterLevel | null {
  if (text === "") return "error";
  if (/^[0-5]$/.test(text)) return LEVELS[Number(text)]!;
  const lower = text.toLowerCase();
  return LEVELS.find((level) => level === lower) ?? null;
}

const LEVELS_EXPECTED = "expected one of off, error, warn, info, debug, trace, or a number 0-5";

function parseStartupClause(part: string): Clause {
  const clause = part.trim();
  const [left = "", right, excess] = clause.split("=");
  if (excess !== undefined) throw new LogFilterError(clause, "more than one '='");
  if (right === undefined) {
    const level = parseLevel(left);
    return level === null ? { scope: left, level: "trace" } : { scope: null, level };
  }
  const level = parseLevel(right);
  if (level === null) throw new LogFilterError(clause, LEVELS_EXPECTED);
  return { scope: scopeWithoutFields(clause, left), level };
}

/** Takes `scope[{field}]` as `scope`: a filter by field is accepted, and widened to the whole scope. */
function scopeWithoutFields(clause: string, text: string): string {
  const open = text.indexOf("[{");
  if (open < 0) return text;
  if (!text.endsWith("}]") || text.indexOf("[{", open + 1) >= 0) {
    throw new LogFilterError(clause, "the field list must end with '}]'");
  }
  return text.slice(0, open);
}

function parseRuntimeClause(part: string): Clause {
  const clause = part.trim();
  const bare = LEVELS.find((level) => level === clause);
  if (bare !== undefined) return { scope: null, level: bare };
  const equals = clause.indexOf("=");
  // Scopes contain "::", so a colon separates only where it is the last and single one.
  const separator = equals >= 0 ? equals : clause.lastIndexOf(":");
  const scope = clause.slice(0, separator);
  const levelText = clause.slice(separator + 1);
  const level = parseLevel(levelText);
  const malformed = separator <= 0 || level === null ||
    (equals < 0 && (levelText === "" || scope.endsWith(":")));
  if (malformed) throw new LogFilterError(clause, LEVELS_EXPECTED);
  return { scope, level };
}
