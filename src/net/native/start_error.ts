// Why the native network cannot start: one clear sentence for the operator.
import { ProxyError } from "../../base/errors.ts";

/** A library, symbol, capability or system call is missing at start; the message is the whole explanation. */
export class NativeStartError extends ProxyError {
  readonly code = "NATIVE_START";
}
