// One HTTP/2 connection of `fetch` to the control plane: whom it trusts, what it asks, what an answer must be.
import type { Endpoint } from "./endpoint.ts";
import { GrpcError } from "./grpc_error.ts";
import { encodeFrame } from "./grpc_frame.ts";
import { codeOfHttpStatus, isGrpcContentType, readStatus } from "./grpc_status.ts";
import type { GrpcHeaders } from "./transport.ts";

/**
 * What the probe asks: gRPC's own health check. Istiod does not serve it and answers UNIMPLEMENTED in a HEADERS frame, before
 * any of its handlers runs and without a line in its log; only PING frames count against its keep-alive policy.
 */
export const PROBE_PATH = "/grpc.health.v1.Health/Check";

const EMPTY_MESSAGE = encodeFrame(new Uint8Array(0));

/** An HTTP client that makes one connection and keeps it. Whoever opened it closes it, after its requests. */
export class FetchConnection {
  readonly #origin: string;
  readonly #client: Deno.HttpClient;

  /**
   * @param roots PEM, one certificate each.
   * @throws {GrpcError} GRPC_CONNECT if there is no root to trust, or one that cannot be read.
   */
  constructor(endpoint: Endpoint, roots: readonly string[]) {
    this.#origin = endpoint.origin;
    // Without roots every handshake fails; saying so at once spares it.
    if (endpoint.secure && roots.length === 0) {
      throw unreachable("invalid peer certificate: UnknownIssuer (no trust roots)");
    }
    try {
      this.#client = Deno.createHttpClient({
        http1: false,
        http2: true,
        ...(endpoint.secure ? { caCerts: [...roots] } : {}),
      });
    } catch (error) {
      throw unreachable(errorText(error), error);
    }
  }

  /**
   * Sends a request; resolves with the response headers.
   * @throws {GrpcError} GRPC_CONNECT.
   */
  async post(
    path: string,
    headers: GrpcHeaders,
    body: ReadableStream<Uint8Array> | Uint8Array<ArrayBuffer>,
    signal: AbortSignal,
  ): Promise<Response> {
    try {
      const request: RequestInit & { client: Deno.HttpClient; duplex: "half" } = {
        method: "POST",
        // Ours go last: metadata cannot change what makes it gRPC.
        headers: [
          ...headers.map(([name, value]): [string, string] => [name, value]),
          ["content-type", "application/grpc"],
          ["te", "trailers"],
          // Else the runtime offers to unpack what comes, of whatever size.
          ["accept-encoding", "identity"],
          ["user-agent", "ztunnel-deno"],
        ],
        body,
        client: this.#client,
        duplex: "half",
        // Never elsewhere: the token goes along.
        redirect: "manual",
        signal,
      };
      return await fetch(this.#origin + path, request);
    } catch (error) {
      throw unreachable(errorText(error), error);
    }
  }

  /** Resolves with whatever the server answers. */
  async probe(signal: AbortSignal): Promise<void> {
    const response = await this.post(PROBE_PATH, [], EMPTY_MESSAGE, signal);
    await response.body?.cancel();
  }

  close(): void {
    this.#client.close();
  }
}

/**
 * Looks at response headers.
 * @throws {GrpcError} GRPC_STATUS for a refusal, GRPC_HTTP_STATUS or GRPC_CONTENT_TYPE for what is no gRPC.
 */
export function checkAnswer(response: Pick<Response, "status" | "headers">): void {
  const { status, headers } = response;
  const contentType = headers.get("content-type");
  const isGrpc = isGrpcContentType(contentType);
  const said = isGrpc ? readStatus((name) => headers.get(name)) : null;
  if (said !== null && said.code !== "Ok") throw new GrpcError("GRPC_STATUS", said);
  if (status !== 200) {
    throw new GrpcError("GRPC_HTTP_STATUS", {
      code: codeOfHttpStatus(status),
      message: `grpc-status header missing, mapped from HTTP status code ${status}`,
    });
  }
  if (isGrpc) return;
  throw new GrpcError("GRPC_CONTENT_TYPE", {
    code: "Unknown",
    message: `invalid content-type ${JSON.stringify(contentType?.slice(0, 100) ?? "")}`,
  });
}

function unreachable(message: string, cause?: unknown): GrpcError {
  return new GrpcError("GRPC_CONNECT", { code: "Unavailable", message }, { cause });
}

/** The innermost text: `fetch failed` says nothing. */
function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner = error.cause instanceof Error ? error.cause : error;
  return inner.message.replace(/^error sending request for url \([^)]*\): /, "");
}
