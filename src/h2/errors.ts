// What goes wrong in HTTP/2: RFC 9113 codes, who noticed, and how much of the connection it costs.
import { ProxyError } from "../base/errors.ts";

/** RFC 9113 §7, by number. */
const CODE_NAMES = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
] as const;

export type H2Code = typeof CODE_NAMES[number];

/** The number that travels in RST_STREAM and GOAWAY. */
export const H2_CODE_NUMBERS: Readonly<Record<H2Code, number>> = Object.fromEntries(
  CODE_NAMES.map((name, number) => [name, number]),
) as Record<H2Code, number>;

/** What an access log says of a code (spec/config-and-observability §7.6, "h2 texts"). */
const CODE_TEXTS: Readonly<Record<H2Code, string>> = {
  NO_ERROR: "not a result of an error",
  PROTOCOL_ERROR: "unspecific protocol error detected",
  INTERNAL_ERROR: "unexpected internal error encountered",
  FLOW_CONTROL_ERROR: "flow-control protocol violated",
  SETTINGS_TIMEOUT: "settings ACK not received in timely manner",
  STREAM_CLOSED: "received frame when stream half-closed",
  FRAME_SIZE_ERROR: "frame with invalid size",
  REFUSED_STREAM: "refused stream before processing any application logic",
  CANCEL: "stream no longer needed",
  COMPRESSION_ERROR: "unable to maintain the header compression context",
  CONNECT_ERROR:
    "connection established in response to a CONNECT request was reset or abnormally closed",
  ENHANCE_YOUR_CALM: "detected excessive load generating behavior",
  INADEQUATE_SECURITY: "security properties do not meet minimum requirements",
  HTTP_1_1_REQUIRED: "endpoint requires HTTP/1.1",
};

/** A code this list does not know means INTERNAL_ERROR (RFC 9113 §7 leaves that to us). */
export function h2CodeOf(number: number): H2Code {
  return CODE_NAMES[number] ?? "INTERNAL_ERROR";
}

/** Who noticed: the peer told us, our checks found it, or our owner asked for it. */
export type H2ErrorOrigin = "received" | "detected" | "sent by user";

export interface H2ErrorOptions extends ErrorOptions {
  readonly code: H2Code;
  /** Default: "detected". */
  readonly origin?: H2ErrorOrigin;
  /** What exactly was seen and needed, or what the peer's GOAWAY said; for people. */
  readonly detail?: string;
  /** True when the peer guarantees that it did nothing for the stream (RFC 9113 §8.7). */
  readonly unprocessed?: boolean;
}

/**
 * The root of HTTP/2 errors. `message` is the text of the access log (`stream error received: stream
 * no longer needed`); `detail` says what exactly happened.
 */
export abstract class H2Error extends ProxyError {
  /** What it ends: the connection by GOAWAY (RFC 9113 §5.4.1), or one stream by RST_STREAM (§5.4.2). */
  abstract readonly scope: "connection" | "stream";
  readonly code: H2Code;
  readonly origin: H2ErrorOrigin;
  readonly detail: string;
  readonly unprocessed: boolean;

  constructor(scope: "connection" | "stream", options: H2ErrorOptions) {
    const { code, origin = "detected", detail = "", unprocessed = false } = options;
    // A peer's own words are part of the text (spec §7.6); ours stay in `detail`.
    const words = origin === "received" && detail !== "" ? ` (${detail})` : "";
    super(`${scope} error ${origin}: ${CODE_TEXTS[code]}${words}`, options);
    this.code = code;
    this.origin = origin;
    this.detail = detail;
    this.unprocessed = unprocessed;
  }
}

/** Ends the whole connection with GOAWAY. */
export class H2ConnectionError extends H2Error {
  readonly scope = "connection";

  constructor(detail: string, options: Omit<H2ErrorOptions, "detail">) {
    super("connection", { ...options, detail });
  }
}

/** Ends one stream with RST_STREAM. */
export class H2StreamError extends H2Error {
  readonly scope = "stream";

  constructor(detail: string, options: Omit<H2ErrorOptions, "detail">) {
    super("stream", { ...options, detail });
  }
}
