// What production does to us: peers, networks, policies, operators.

/**
 * The root of every error that is not our bug. Logs, metrics and tests match `code`; `message` says
 * what was tried, seen and needed. It never holds key material or tokens.
 */
export abstract class ProxyError extends Error {
  /** Stable, upper case, made of letters, digits and underscores. */
  abstract readonly code: string;

  /** The message says what was tried, seen and needed. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Linux error numbers and texts that an operator may meet (errno(3), strerror(3)). */
const OS_ERRORS: Readonly<Record<string, readonly [number, string]>> = {
  EPERM: [1, "Operation not permitted"],
  EACCES: [13, "Permission denied"],
  EINVAL: [22, "Invalid argument"],
  EMFILE: [24, "Too many open files"],
  ENFILE: [23, "Too many open files in system"],
  EPIPE: [32, "Broken pipe"],
  EAFNOSUPPORT: [97, "Address family not supported by protocol"],
  EADDRINUSE: [98, "Address already in use"],
  EADDRNOTAVAIL: [99, "Cannot assign requested address"],
  ENETUNREACH: [101, "Network is unreachable"],
  ECONNABORTED: [103, "Software caused connection abort"],
  ECONNRESET: [104, "Connection reset by peer"],
  ENOBUFS: [105, "No buffer space available"],
  ENOTCONN: [107, "Transport endpoint is not connected"],
  ETIMEDOUT: [110, "Connection timed out"],
  ECONNREFUSED: [111, "Connection refused"],
  EHOSTUNREACH: [113, "No route to host"],
};

/**
 * The text of an operating system error, as every ztunnel words it: `Connection refused (os error
 * 111)` (spec/config-and-observability §7.6).
 */
export function osErrorText(code: string): string {
  const known = OS_ERRORS[code];
  return known === undefined ? code : `${known[1]} (os error ${known[0]})`;
}

/**
 * A socket failed. `code` is the errno name (`ECONNREFUSED`), or one of ours: `DEADLINE_ELAPSED` (our
 * own limit, not the kernel's), `UNEXPECTED_EOF` (the peer ended where it must not), `CANCELLED`.
 */
export class NetError extends ProxyError {
  readonly code: string;

  constructor(code: string, options?: ErrorOptions & { readonly message?: string }) {
    super(options?.message ?? osErrorText(code), options);
    this.code = code;
  }
}

/** Our own limit on a dial or handshake ran out; worded as `deadline has elapsed`. */
export class DeadlineError extends NetError {
  constructor(options?: ErrorOptions) {
    super("DEADLINE_ELAPSED", { ...options, message: "deadline has elapsed" });
  }
}
