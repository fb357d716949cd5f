// Why a call to the CA failed, in the original's words (spec/identity-and-inpod §2.6), without what must stay secret.
import { IdentityError } from "./errors.ts";
import type { GrpcHeaders } from "./unary_transport.ts";

/** gRPC's codes as the original's library describes them; it never prints their names. */
export const CODE_DESCRIPTIONS = {
  Ok: "The operation completed successfully",
  Cancelled: "The operation was cancelled",
  Unknown: "Unknown error",
  InvalidArgument: "Client specified an invalid argument",
  DeadlineExceeded: "Deadline expired before operation could complete",
  NotFound: "Some requested entity was not found",
  AlreadyExists: "Some entity that we attempted to create already exists",
  PermissionDenied: "The caller does not have permission to execute the specified operation",
  ResourceExhausted: "Some resource has been exhausted",
  FailedPrecondition: "The system is not in a state required for the operation's execution",
  Aborted: "The operation was aborted",
  OutOfRange: "Operation was attempted past the valid range",
  Unimplemented: "Operation is not implemented or not supported",
  Internal: "Internal error",
  Unavailable: "The service is currently unavailable",
  DataLoss: "Unrecoverable data loss or corruption",
  Unauthenticated: "The request does not have valid authentication credentials",
} as const;

export type StatusCode = keyof typeof CODE_DESCRIPTIONS;

export interface CallFailure {
  /** Stable: what happened. */
  readonly code: string;
  readonly status: StatusCode;
  readonly message: string;
  readonly cause?: unknown;
}

/** No server spoke: whatever status the transport gives such a failure, the original calls it an unknown error. */
const NOBODY_SPOKE: ReadonlySet<string> = new Set([
  "GRPC_CONNECT",
  "GRPC_CONNECT_TIMEOUT",
  "GRPC_CONNECTION_LOST",
  "GRPC_CONNECTION_DEAD",
  "GRPC_PLAINTEXT",
  "GRPC_ROOTS",
  "GRPC_TOKEN",
]);

const REDACTED = "[redacted]";

/** What a transport, or whoever reads the token, threw. */
export function failureOf(error: unknown): CallFailure {
  const message = error instanceof Error ? error.message : String(error);
  if (!isCallError(error) || NOBODY_SPOKE.has(error.code)) {
    const code = isCallError(error) ? error.code : "CA_CALL";
    return { code, status: "Unknown", message, cause: error };
  }
  const { code, status } = error;
  return { code, status: status.code, message: status.message, cause: error };
}

/**
 * The error for a failed call. A server that repeats our token in its message is not repeated, and no cause is kept that
 * has it.
 */
export function callError(failure: CallFailure, headers: GrpcHeaders): IdentityError {
  const secrets = secretsOf(headers);
  let { message } = failure;
  for (const secret of secrets) message = message.replaceAll(secret, REDACTED);
  return new IdentityError(
    failure.code,
    `signing gRPC error (${CODE_DESCRIPTIONS[failure.status]}): ${message}`,
    mentions(failure.cause, secrets) ? {} : { cause: failure.cause },
  );
}

/** True where an error, or what caused it, has one of the secrets in its texts. */
function mentions(error: unknown, secrets: readonly string[]): boolean {
  for (let at = error; at !== undefined && at !== null;) {
    const text = at instanceof Error ? `${at.message} ${at.stack}` : String(at);
    if (secrets.some((secret) => text.includes(secret))) return true;
    at = at instanceof Error ? at.cause : undefined;
  }
  return false;
}

/** The value of `authorization`, and what follows its scheme. */
function secretsOf(headers: GrpcHeaders): string[] {
  return headers
    .filter(([name]) => name.toLowerCase() === "authorization")
    .flatMap(([, value]) => [value.replace(/^\S+\s+/, ""), value])
    .filter((secret) => secret !== "");
}

function isCallError(
  error: unknown,
): error is Error & {
  readonly code: string;
  readonly status: { code: StatusCode; message: string };
} {
  if (!(error instanceof Error)) return false;
  const { code, status } = error as { code?: unknown; status?: { code?: unknown } | null };
  return typeof code === "string" && typeof status?.code === "string" &&
    Object.hasOwn(CODE_DESCRIPTIONS, status.code);
}
