// What this folder needs of gRPC, whatever carries it.

/** Request metadata: lower-case names, values as they go on the wire. */
export type GrpcHeaders = readonly (readonly [name: string, value: string])[];

/** One message there, one back: what the control plane's transports offer. */
export interface UnaryTransport {
  /**
   * Nothing of the call is left when it settles. Rejects with an error that has `code` and
   * `status: { code, message }`.
   */
  unary(call: {
    readonly path: string;
    readonly headers: GrpcHeaders;
    readonly message: Uint8Array;
    /** For everything, connection included. */
    readonly deadlineMs: number;
    readonly signal?: AbortSignal;
  }): Promise<Uint8Array>;
}
