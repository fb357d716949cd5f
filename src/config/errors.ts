// What is wrong with the settings, in the words operators may know from the original.
import { ProxyError } from "../base/errors.ts";

/** Settings cannot be used; printed as `Error: <message>`, exit 1 (spec/config-and-observability §2.1). */
export class ConfigError extends ProxyError {
  /** Stable; the message says which setting. */
  readonly code = "CONFIG_INVALID";
}

/** `invalid env var NAME=value (reason)`. */
export function invalidVariable(name: string, value: string, reason: string): ConfigError {
  return new ConfigError(`invalid env var ${name}=${value} (${reason})`);
}

/** `invalid configuration: reason`. */
export function invalidConfiguration(reason: string): ConfigError {
  return new ConfigError(`invalid configuration: ${reason}`);
}
