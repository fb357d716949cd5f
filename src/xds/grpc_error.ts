// Why a gRPC call failed. `code` is what happened; `status` is how gRPC words it, and decides about the next attempt.
import { ProxyError } from "../base/errors.ts";
import type { GrpcStatus } from "./grpc_status.ts";

export type GrpcErrorCode =
  /** No connection: name, TCP, TLS or HTTP/2. */
  | "GRPC_CONNECT"
  /** Nothing answered within the time for opening. */
  | "GRPC_CONNECT_TIMEOUT"
  /** The connection broke under the call. */
  | "GRPC_CONNECTION_LOST"
  /** A probe of an open connection was not answered. */
  | "GRPC_CONNECTION_DEAD"
  /** The server ended the call with a status that is not OK. */
  | "GRPC_STATUS"
  /** An HTTP answer that is no gRPC. */
  | "GRPC_HTTP_STATUS"
  | "GRPC_CONTENT_TYPE"
  | "GRPC_FRAME_COMPRESSED"
  | "GRPC_FRAME_TOO_LARGE"
  | "GRPC_FRAME_TRUNCATED"
  /** A unary call got no message, or more than one. */
  | "GRPC_MESSAGE_COUNT"
  | "GRPC_DEADLINE"
  /** We closed it. */
  | "GRPC_CLOSED"
  /** Plaintext to somewhere else than loopback. */
  | "GRPC_PLAINTEXT"
  /** A local failure: trust roots or token cannot be read or used. */
  | "GRPC_ROOTS"
  | "GRPC_TOKEN";

export class GrpcError extends ProxyError {
  readonly code: GrpcErrorCode;
  readonly status: GrpcStatus;

  /** The message is the status' own. */
  constructor(code: GrpcErrorCode, status: GrpcStatus, options?: ErrorOptions) {
    super(status.message, options);
    this.code = code;
    this.status = status;
  }
}
