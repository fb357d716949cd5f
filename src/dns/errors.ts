// What can go wrong with names: at start, and for one name.
import { ProxyError } from "../base/errors.ts";

/** Names cannot be resolved on this machine; the message says what is missing where. */
export class ResolverConfigError extends ProxyError {
  readonly code = "RESOLVER_CONFIG";
}

/** A name has no address, or nobody could say. The message names it and the reason. */
export class NameError extends ProxyError {
  readonly code = "NAME_NOT_RESOLVED";

  constructor(name: string, reason: string, options?: ErrorOptions) {
    super(`Cannot resolve ${JSON.stringify(name)}: ${reason}`, options);
  }
}
