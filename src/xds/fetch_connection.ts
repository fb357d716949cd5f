// A connection of the runtime's `fetch`. It shows no trailers and sends no PING.
import {
  type Answer,
  type Connection,
  requestFields,
  requireRoots,
  unreachable,
} from "./connection.ts";
import type { Endpoint } from "./endpoint.ts";
import { encodeFrame } from "./grpc_frame.ts";
import type { RequestBody } from "./request_body.ts";
import type { GrpcHeaders } from "./transport.ts";

/**
 * What the probe asks: gRPC's own health check. Istiod does not serve it and answers UNIMPLEMENTED in a HEADERS frame, before
 * any of its handlers runs and without a line in its log; only PING frames count against its keep-alive policy.
 */
export const PROBE_PATH = "/grpc.health.v1.Health/Check";

/** Octets asked for at a time, and made room for. */
const READ_BYTES = 64 * 1024;

/** Fewer are copied, so that their room serves again: a chunk of one octet would keep 64 KiB busy until it is collected. */
const COPIED_BYTES_MAX = READ_BYTES / 4;

const EMPTY_MESSAGE = encodeFrame(new Uint8Array(0));

/** An HTTP client that makes one connection and keeps it. */
export class FetchConnection implements Connection {
  readonly #origin: string;
  readonly #client: Deno.HttpClient;

  /**
   * @param roots PEM, one certificate each.
   * @throws {GrpcError} GRPC_CONNECT if there is no root to trust, or one that cannot be read.
   */
  constructor(endpoint: Endpoint, roots: readonly string[]) {
    this.#origin = endpoint.origin;
    if (endpoint.secure) requireRoots(roots);
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

  async post(
    path: string,
    headers: GrpcHeaders,
    body: RequestBody | Uint8Array<ArrayBuffer>,
    signal: AbortSignal,
  ): Promise<FetchAnswer> {
    const request: RequestInit & { client: Deno.HttpClient; duplex: "half" } = {
      method: "POST",
      headers: requestFields(headers),
      body: body instanceof Uint8Array ? body : body.stream,
      client: this.#client,
      duplex: "half",
      // Never elsewhere: the token goes along.
      redirect: "manual",
      signal,
    };
    try {
      return new FetchAnswer(await fetch(this.#origin + path, request));
    } catch (error) {
      throw unreachable(errorText(error), error);
    }
  }

  async probe(signal: AbortSignal): Promise<void> {
    const answer = await this.post(PROBE_PATH, [], EMPTY_MESSAGE, signal);
    await answer.cancel();
  }

  close(): void {
    this.#client.close();
  }
}

class FetchAnswer implements Answer {
  readonly #response: Response;
  readonly #reader: ReadableStreamBYOBReader | null;
  /** Where the next chunk goes. */
  #room = new ArrayBuffer(READ_BYTES);

  constructor(response: Response) {
    this.#response = response;
    this.#reader = response.body?.getReader({ mode: "byob" }) ?? null;
  }

  get httpStatus(): number {
    return this.#response.status;
  }

  header(name: string): string | null {
    return this.#response.headers.get(name);
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#reader === null) return null;
    const { value, done } = await this.#reader.read(new Uint8Array(this.#room));
    // Without a value it was cancelled.
    if (value === undefined || done) return null;
    if (value.length > COPIED_BYTES_MAX) {
      this.#room = new ArrayBuffer(READ_BYTES);
      return value;
    }
    this.#room = value.buffer;
    return value.slice();
  }

  trailer(): null {
    return null;
  }

  async cancel(): Promise<void> {
    await this.#reader?.cancel().catch(() => {}); // It failed before: whoever read knows.
  }
}

/** The innermost text: `fetch failed` says nothing. */
function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner = error.cause instanceof Error ? error.cause : error;
  return inner.message.replace(/^error sending request for url \([^)]*\): /, "");
}
