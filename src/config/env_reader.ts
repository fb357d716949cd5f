// Environment variables with types: what is accepted, and the exact words for what is not (§2.1).
import { parseDuration } from "./duration.ts";
import { invalidVariable } from "./errors.ts";

/** Looks a variable up; undefined where it is not set. */
export type Environment = (name: string) => string | undefined;

/** Reads variables by type. A variable set to nothing counts as set. */
export class EnvReader {
  readonly #env: Environment;

  constructor(env: Environment) {
    this.#env = env;
  }

  text(name: string): string | null {
    return this.#env(name) ?? null;
  }

  /** @throws {ConfigError} unless exactly `true` or `false`. */
  boolean<Default extends boolean | null>(name: string, otherwise: Default): boolean | Default {
    const value = this.#env(name);
    if (value === undefined) return otherwise;
    if (value === "true") return true;
    if (value === "false") return false;
    throw invalidVariable(name, value, "provided string was not `true` or `false`");
  }

  /** On only by the exact word `true`; never an error. */
  exactlyTrue(name: string): boolean {
    return this.#env(name) === "true";
  }

  /**
   * Decimal digits, with `+` before them or not.
   * @param range What the type can hold; `least` and `most` are what makes sense.
   */
  integer<Default extends number | null>(
    name: string,
    otherwise: Default,
    range: { readonly max: bigint; readonly least?: number; readonly most?: number },
  ): number | Default {
    const value = this.#env(name);
    if (value === undefined) return otherwise;
    if (value === "") throw invalidVariable(name, value, "cannot parse integer from empty string");
    if (!/^\+?\d+$/.test(value)) {
      throw invalidVariable(name, value, "invalid digit found in string");
    }
    const exact = BigInt(value.replace("+", ""));
    if (exact > range.max) {
      throw invalidVariable(name, value, "number too large to fit in target type");
    }
    const number = Number(exact);
    const { least = 0, most = Number.MAX_SAFE_INTEGER } = range;
    if (number < least) throw invalidVariable(name, value, `must be at least ${least}`);
    if (number > most) throw invalidVariable(name, value, `must be at most ${most}`);
    return number;
  }

  /** Milliseconds. */
  durationMs<Default extends number | null>(name: string, otherwise: Default): number | Default {
    const value = this.#env(name);
    if (value === undefined) return otherwise;
    const ms = parseDuration(value);
    if (ms === null) {
      throw invalidVariable(name, value, "expected a duration such as 30s, 1m30s or 500ms");
    }
    return ms;
  }

  /** One of a few words. */
  choice<Word extends string>(name: string, words: readonly Word[], otherwise: Word): Word {
    const value = this.#env(name);
    if (value === undefined) return otherwise;
    const found = words.find((word) => word === value);
    if (found !== undefined) return found;
    throw invalidVariable(name, value, `${name} must be one of ${words.join(", ")}`);
  }
}

export const U16_LIMIT = 0xffffn;
export const U32_LIMIT = 0xffff_ffffn;
export const U64_LIMIT = 0xffff_ffff_ffff_ffffn;
