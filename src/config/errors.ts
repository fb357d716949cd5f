// What is wrong with the settings, in the words operators may know from the original.
import { ProxyError } from "../base/errors.ts";

/** Settings cannot be used; printed as `Error: <message>`, exit 1 (spec/config-and-observability §2.1). */
export class ConfigError extends ProxyError {
  /** Stable; the message says which setting. */
  readonly code = "CONFIG_INVALID";
}

/** A line for the log about settings that can be used all the same. */
export interface Notice {
  /** As logged. */
  readonly level: "warn" | "error";
  /** Without secrets. */
  readonly text: string;
}

/** Longest part of a value that a text repeats, in UTF-16 units. */
export const VALUE_SHOWN_CHARS_MAX = 1_024;

/** A value as texts repeat it: cut where it is longer than VALUE_SHOWN_CHARS_MAX. */
export function shownValue(value: string): string {
  if (value.length <= VALUE_SHOWN_CHARS_MAX) return value;
  return `${value.slice(0, VALUE_SHOWN_CHARS_MAX)}…`;
}

/** `invalid env var NAME=value (reason)`. Not for variables that hold secrets. */
export function invalidVariable(name: string, value: string, reason: string): ConfigError {
  return new ConfigError(`invalid env var ${name}=${shownValue(value)} (${reason})`);
}

/** `invalid configuration: reason`. */
export function invalidConfiguration(reason: string): ConfigError {
  return new ConfigError(`invalid configuration: ${reason}`);
}
