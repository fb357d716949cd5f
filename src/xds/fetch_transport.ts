// gRPC on the runtime's `fetch`: the usual way to the control plane.
import type { Clock } from "../base/clock.ts";
import { type Endpoint, parseEndpoint } from "./endpoint.ts";
import { checkAnswer, FetchConnection } from "./fetch_connection.ts";
import { FetchStream } from "./fetch_stream.ts";
import { encodeFrame } from "./grpc_frame.ts";
import type { GrpcHeaders, GrpcStream, GrpcTransport, UnaryCall } from "./transport.ts";
import { type ReadFile, readTrustRoots, type TrustRoot } from "./trust_roots.ts";
import { unaryAnswer, withDeadline } from "./unary.ts";

export interface FetchTransportOptions {
  /** URI with its scheme. */
  readonly address: string;
  readonly root: TrustRoot;
  readonly clock: Clock;
  readonly readFile?: ReadFile;
}

/**
 * {@link GrpcTransport} on `fetch`. TLS has the mesh root alone only where the process started with `DENO_TLS_CA_STORE=` (set,
 * empty) and without `DENO_CERT`, and reaches the server directly only without proxy variables (`HTTPS_PROXY` …): whoever
 * starts the process sees to both.
 */
export class FetchTransport implements GrpcTransport {
  readonly #options: FetchTransportOptions;

  constructor(options: FetchTransportOptions) {
    this.#options = options;
  }

  openStream(path: string, headers: GrpcHeaders, signal: AbortSignal): GrpcStream {
    const { clock } = this.#options;
    return new FetchStream({ connect: () => this.#connect(), path, headers, signal, clock });
  }

  unary(call: UnaryCall): Promise<Uint8Array> {
    return withDeadline(call, this.#options.clock, async (signal) => {
      const connection = await this.#connect();
      try {
        signal.throwIfAborted();
        const { path, headers } = call;
        const response = await connection.post(path, headers, encodeFrame(call.message), signal);
        const reader = response.body?.getReader() ?? null;
        try {
          checkAnswer(response);
          return await unaryAnswer(async () => (await reader?.read())?.value ?? null);
        } finally {
          await reader?.cancel().catch(() => {}); // Already failed: the failure is on its way.
        }
      } finally {
        connection.close();
      }
    });
  }

  async #connect(): Promise<FetchConnection> {
    const { address, root, readFile } = this.#options;
    const endpoint: Endpoint = parseEndpoint(address);
    const roots = endpoint.secure ? await readTrustRoots(root, readFile) : [];
    return new FetchConnection(endpoint, roots);
  }
}
