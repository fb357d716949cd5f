// One HTTP/2 connection to the control plane as calls see it, whatever carries it, and what an answer must be.
import { GrpcError } from "./grpc_error.ts";
import { codeOfHttpStatus, isGrpcContentType, readStatus } from "./grpc_status.ts";
import type { RequestBody } from "./request_body.ts";
import type { GrpcHeaders } from "./transport.ts";

/** A response whose headers came. */
export interface Answer {
  readonly httpStatus: number;
  /** A response header, by its lower-case name. */
  header(name: string): string | null;
  /** The next bytes, the caller's to keep; null at the end. Throws when the connection or the call broke. */
  read(): Promise<Uint8Array | null>;
  /** A trailer, once `read` gave null. Null also where trailers are invisible. */
  trailer(name: string): string | null;
  /** Wants no more. Never throws. */
  cancel(): Promise<void>;
}

/** Whoever opened it closes it, after its calls. */
export interface Connection {
  /**
   * Begins a call; resolves with the answer's headers.
   * @throws {GrpcError} GRPC_CONNECT, or what else kept us from an answer.
   */
  post(
    path: string,
    headers: GrpcHeaders,
    body: RequestBody | Uint8Array<ArrayBuffer>,
    signal: AbortSignal,
  ): Promise<Answer>;
  /** Resolves when the peer shows that it lives. */
  probe(signal: AbortSignal): Promise<void>;
  close(): void;
}

/** What makes a request gRPC. */
const GRPC_HEADERS: readonly [name: string, value: string][] = [
  ["content-type", "application/grpc"],
  ["te", "trailers"],
  // Else the runtime offers to unpack what comes, of whatever size.
  ["accept-encoding", "identity"],
  ["user-agent", "ztunnel-deno"],
];

/** A request's headers: the metadata, which cannot change what makes it gRPC, and that. */
export function requestFields(metadata: GrpcHeaders): [name: string, value: string][] {
  const ours = GRPC_HEADERS.map(([name]) => name);
  const fields = metadata.filter(([name]) => !ours.includes(name));
  return [...fields.map(([name, value]): [string, string] => [name, value]), ...GRPC_HEADERS];
}

/**
 * Looks at response headers.
 * @throws {GrpcError} GRPC_STATUS for a refusal, GRPC_HTTP_STATUS or GRPC_CONTENT_TYPE for what is no gRPC.
 */
export function checkAnswer(answer: Answer): void {
  const contentType = answer.header("content-type");
  const isGrpc = isGrpcContentType(contentType);
  if (isGrpc) checkStatus((name) => answer.header(name));
  if (answer.httpStatus !== 200) {
    throw new GrpcError("GRPC_HTTP_STATUS", {
      code: codeOfHttpStatus(answer.httpStatus),
      message: `grpc-status header missing, mapped from HTTP status code ${answer.httpStatus}`,
    });
  }
  if (isGrpc) return;
  throw new GrpcError("GRPC_CONTENT_TYPE", {
    code: "Unknown",
    message: `invalid content-type ${JSON.stringify(contentType?.slice(0, 100) ?? "")}`,
  });
}

/**
 * Looks at the trailers, after the end.
 * @throws {GrpcError} GRPC_STATUS unless they say OK, or nothing.
 */
export function checkTrailers(answer: Answer): void {
  checkStatus((name) => answer.trailer(name));
}

function checkStatus(field: (name: string) => string | null): void {
  const status = readStatus(field);
  if (status !== null && status.code !== "Ok") throw new GrpcError("GRPC_STATUS", status);
}

/** Nobody was reached. */
export function unreachable(message: string, cause?: unknown): GrpcError {
  return new GrpcError("GRPC_CONNECT", { code: "Unavailable", message }, { cause });
}

/**
 * Refuses roots that nobody's certificate can satisfy.
 * @throws {GrpcError} GRPC_CONNECT: every handshake would fail; saying so at once spares it.
 */
export function requireRoots(roots: readonly string[]): void {
  if (roots.length > 0) return;
  throw unreachable("invalid peer certificate: UnknownIssuer (no trust roots)");
}
