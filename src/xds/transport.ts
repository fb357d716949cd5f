// What the xDS client and the CA client need of gRPC, whatever carries it.

/** Request metadata: lower-case names, values as they go on the wire (one character for each octet). */
export type GrpcHeaders = readonly (readonly [name: string, value: string])[];

/** A bidirectional call on a connection of its own. Whoever opened it closes it. */
export interface GrpcStream {
  /**
   * Resolves when the server took the call: its response headers came, which may be only with its first message. Rejects
   * when it refused or nobody was reached. Never waited for before sending (spec/xds-state-and-dns §1.2).
   * @throws {GrpcError}
   */
  readonly opened: Promise<void>;
  /**
   * Sends one message, in the order of the calls. Resolves when the layer below took it: wait for that before the next
   * one, or queue in memory.
   * @throws {GrpcError} once the stream has ended.
   */
  send(message: Uint8Array): Promise<void>;
  /**
   * The next message, the caller's to keep; null after an end with status OK, or with none. One call at a time.
   * @throws {GrpcError} when the stream ended in any other way.
   */
  receive(): Promise<Uint8Array | null>;
  /** Ends it at once, if need be; resolves when nothing of it is left. Idempotent. */
  close(): Promise<void>;
}

export interface UnaryCall {
  readonly path: string;
  readonly headers: GrpcHeaders;
  readonly message: Uint8Array;
  /** For everything, connection included. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

/** Calls to one server. Every call makes a connection of its own, with trust roots as they are then. */
export interface GrpcTransport {
  /** Starts a call at once. Aborting `signal` ends it like `close`; what waits then throws GRPC_CLOSED. */
  openStream(path: string, headers: GrpcHeaders, signal: AbortSignal): GrpcStream;
  /**
   * One message there, one back.
   * @throws {GrpcError}
   */
  unary(call: UnaryCall): Promise<Uint8Array>;
}
