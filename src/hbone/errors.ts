// How a connection through the proxy can fail, each with the access log's text and its response flag.
import { ProxyError } from "../base/errors.ts";
import type { ResponseFlag } from "../seam/events.ts";

/** A failure that knows its `response_flags` (spec/config-and-observability §6.5). */
export abstract class PathError extends ProxyError {
  abstract readonly flag: ResponseFlag;
}

/** The flag of any error: every one not listed counts as CONNECT. */
export function flagOf(error: ProxyError | null): ResponseFlag {
  if (error === null) return "-";
  return error instanceof PathError ? error.flag : "CONNECT";
}

/** The next hop could not be reached, or its TLS was not acceptable: `io error: <text>`. */
export class IoFailure extends PathError {
  readonly code: string;
  readonly flag = "CONNECT";

  constructor(cause: ProxyError) {
    super(`io error: ${cause.message}`, { cause });
    this.code = cause.code;
  }
}

/** The TCP connect to an HBONE peer ran out of time (spec/data-path P12). */
export class NetworkPolicyTimeout extends PathError {
  readonly code = "HBONE_CONNECT_TIMEOUT";
  readonly flag = "NETWORK_POLICY";

  constructor(cause: ProxyError) {
    super(
      `connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: ${cause.message}`,
      { cause },
    );
  }
}

/** There is no certificate to speak with: `identity error: <text>`. */
export class IdentityFailure extends PathError {
  readonly code = "IDENTITY_ERROR";
  readonly flag = "IDENTITY_ERROR";

  constructor(cause: ProxyError) {
    super(`identity error: ${cause.message}`, { cause });
  }
}

/** Our own TLS material is unusable: `tls error: <text>`. */
export class TlsSetupFailure extends PathError {
  readonly code = "TLS_SETUP";
  readonly flag = "TLS_FAILURE";

  constructor(cause: ProxyError) {
    super(`tls error: ${cause.message}`, { cause });
  }
}

/** HTTP/2 failed under a tunnel: `h2 failed: <text>`. */
export class Http2Failure extends PathError {
  readonly code: string;
  readonly flag = "H2_HANDSHAKE_FAILURE";

  constructor(cause: ProxyError) {
    super(`h2 failed: ${cause.message}`, { cause });
    this.code = cause.code;
  }
}

/** Reason phrases of statuses that a peer's proxy or gateway sends (RFC 9110 §15). */
const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  204: "No Content",
  301: "Moved Permanently",
  302: "Found",
  304: "Not Modified",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  407: "Proxy Authentication Required",
  408: "Request Timeout",
  413: "Payload Too Large",
  421: "Misdirected Request",
  425: "Too Early",
  426: "Upgrade Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
};

/** The peer answered our CONNECT with something other than 200: `http status: 401 Unauthorized`. */
export class HttpStatusError extends PathError {
  readonly code = "HTTP_STATUS";
  readonly flag = "CONNECT";
  /** 0 when the answer had no valid status. */
  readonly status: number;

  constructor(status: number) {
    super(`http status: ${status} ${REASONS[status] ?? "<unknown status code>"}`);
    this.status = status;
  }
}

/** The peer did not answer our CONNECT in time. */
export class AnswerTimeout extends PathError {
  readonly code = "CONNECT_ANSWER_TIMEOUT";
  readonly flag = "CONNECT";

  constructor(limitMs: number) {
    super(`no answer to CONNECT within ${limitMs} ms`);
  }
}

/** The peer did not answer PING in time (spec/data-path W20). */
export class PingTimeout extends PathError {
  readonly code = "PING_TIMEOUT";
  readonly flag = "H2_HANDSHAKE_FAILURE";

  constructor() {
    super("h2 failed: ping timed out");
  }
}

/** Forced end of a drain; not counted as a failure (spec/config-and-observability §6.5). */
export class DrainError extends PathError {
  readonly code = "DRAINED";
  readonly flag = "-";

  constructor() {
    super("connection closed due to connection drain");
  }
}

/** The pool ended while somebody waited for a connection. */
export class PoolDraining extends PathError {
  readonly code = "POOL_DRAINING";
  readonly flag = "CONNECT";

  constructor() {
    super("pool draining");
  }
}

/** Policy changed and refuses a live connection (spec/data-path R2). */
export class PolicyChanged extends PathError {
  readonly code = "POLICY_CHANGED";
  readonly flag = "DENY";

  constructor() {
    super("connection closed due to policy change");
  }
}

/** The application behind us could not be reached: `connection failed: <text>`. */
export class ApplicationUnreachable extends PathError {
  readonly code: string;
  readonly flag = "CONNECT";

  constructor(cause: ProxyError) {
    super(`connection failed: ${cause.message}`, { cause });
    this.code = cause.code;
  }
}

/** The peer's certificate was revoked while its connection lived (spec/data-path W25). */
export class PeerRevoked extends PathError {
  readonly code = "PEER_REVOKED";
  readonly flag = "CERT_REVOKED";

  constructor() {
    super("connection closed: peer certificate revoked by CRL");
  }
}

/** What exactly is wrong with a request on 15008; answered 400 (spec/data-path §1.7). */
export class BadRequest extends PathError {
  readonly code: "METHOD_NOT_CONNECT" | "NO_AUTHORITY";
  readonly flag = "CONNECT";

  constructor(code: "METHOD_NOT_CONNECT" | "NO_AUTHORITY", message: string) {
    super(message);
    this.code = code;
  }
}

/** The inbound TLS handshake failed: `tls handshake error: <text>`, or our own side of it did. */
export class HandshakeFailed extends PathError {
  readonly code: string;
  readonly flag = "CONNECT";

  /** @param kind `signing error` without a certificate, `ssl error` with an unusable one. */
  constructor(
    cause: ProxyError,
    kind: "tls handshake error" | "signing error" | "ssl error" = "tls handshake error",
  ) {
    super(`${kind}: ${cause.message}`, { cause });
    this.code = cause.code;
  }
}

/** TLS was fine, HTTP/2 never got to a request: `http2 handshake failed: <text>`. */
export class Http2HandshakeFailed extends PathError {
  readonly code: string;
  readonly flag = "H2_HANDSHAKE_FAILURE";

  constructor(cause: ProxyError) {
    super(`http2 handshake failed: ${cause.message}`, { cause });
    this.code = cause.code;
  }
}

/** One of our named limits was reached; the message says which. */
export class LimitReached extends PathError {
  readonly code: string;
  readonly flag = "CONNECT";

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** A bug of ours ended this connection; the log has its stack (design §6). */
export class InternalError extends PathError {
  readonly code = "INTERNAL";
  readonly flag = "CONNECT";

  constructor() {
    super("internal error");
  }
}
