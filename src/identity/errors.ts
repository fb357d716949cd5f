// Why there is no certificate (spec/identity-and-inpod §2.6).
import { ProxyError } from "../base/errors.ts";

/**
 * No certificate, worded as what follows `identity error: ` in a log line and `Unavailable: ` in the dump.
 * Never holds key material or tokens.
 */
export class IdentityError extends ProxyError {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
