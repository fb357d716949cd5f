// What a peer's header block can do wrong.
import { ProxyError } from "../../base/errors.ts";

/**
 * A header block that cannot be decoded (RFC 7541 §2.3.3, 3.3, 4.2, 5.1, 5.2). The two dynamic tables no longer
 * agree after it, so it ends the connection with COMPRESSION_ERROR (RFC 9113 §4.3).
 */
export class HpackError extends ProxyError {
  readonly code = "COMPRESSION_ERROR";
}
