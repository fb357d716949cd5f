// How a gRPC call ended, in gRPC's own words: codes, the percent-encoded message, and what HTTP says instead.

/** Names of the codes 0 to 16, as the original's log writes them. */
const NAMES = [
  "Ok",
  "Cancelled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
] as const;

export type GrpcCode = typeof NAMES[number];

/** Characters kept of a server's message: it goes into a log line. */
export const STATUS_MESSAGE_MAX = 4_096;

export interface GrpcStatus {
  readonly code: GrpcCode;
  /** What the server or the network said, at most {@link STATUS_MESSAGE_MAX} characters; may be "". */
  readonly message: string;
}

/** Reads headers or trailers, which hold the status unless it is null. An unreadable code is `Unknown`. */
export function readStatus(field: (name: string) => string | null | undefined): GrpcStatus | null {
  const code = field("grpc-status");
  if (code === null || code === undefined) return null;
  const known = /^\d{1,2}$/.test(code) ? NAMES[Number(code)] : undefined;
  const message = decodeMessage(field("grpc-message") ?? "");
  if (known !== undefined) return { code: known, message };
  return { code: "Unknown", message: message || `grpc-status: ${cut(code)}` };
}

/**
 * Undoes the percent-encoding of `grpc-message`. What is no encoding stays as it came, and what is no UTF-8 becomes
 * U+FFFD: a status is never lost for its message (gRPC over HTTP/2, "Status-Message").
 */
export function decodeMessage(encoded: string): string {
  const source = cut(encoded);
  if (!source.includes("%")) return source;
  const bytes: number[] = [];
  for (let at = 0; at < source.length; at++) {
    const hex = source[at] === "%" ? source.slice(at + 1, at + 3) : "";
    if (/^[0-9a-fA-F]{2}$/.test(hex)) {
      bytes.push(Number.parseInt(hex, 16));
      at += 2;
    } else {
      // A header value is one octet for each character.
      bytes.push(source.charCodeAt(at) & 0xff);
    }
  }
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

/** What an HTTP status means for a call that got no `grpc-status` (gRPC, "HTTP to gRPC Status Code Mapping"). */
export function codeOfHttpStatus(status: number): GrpcCode {
  switch (status) {
    case 400:
      return "Internal";
    case 401:
      return "Unauthenticated";
    case 403:
      return "PermissionDenied";
    case 404:
      return "Unimplemented";
    case 429:
    case 502:
    case 503:
    case 504:
      return "Unavailable";
    default:
      return "Unknown";
  }
}

/** True for `application/grpc` with or without a message format or parameters. */
export function isGrpcContentType(value: string | null | undefined): boolean {
  return value !== null && value !== undefined && /^application\/grpc(?:[+;]|$)/i.test(value);
}

function cut(text: string): string {
  return text.length <= STATUS_MESSAGE_MAX ? text : text.slice(0, STATUS_MESSAGE_MAX);
}
