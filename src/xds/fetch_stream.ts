// One bidirectional gRPC call on `fetch`.
import type { Clock } from "../base/clock.ts";
import { checkAnswer, type FetchConnection } from "./fetch_connection.ts";
import { GrpcError } from "./grpc_error.ts";
import { encodeFrame, GrpcFrameReader } from "./grpc_frame.ts";
import { type Death, Liveness } from "./liveness.ts";
import { RequestBody } from "./request_body.ts";
import type { GrpcHeaders, GrpcStream } from "./transport.ts";

export interface FetchStreamOptions {
  /** Opens the connection's owner; called once, at once. */
  readonly connect: () => Promise<FetchConnection>;
  readonly path: string;
  readonly headers: GrpcHeaders;
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

/**
 * {@link GrpcStream} on a `fetch` whose request body goes on while the answer comes. Trailers do not reach us: a status after
 * the first message looks like an end without one.
 */
export class FetchStream implements GrpcStream {
  readonly opened: Promise<void>;
  readonly #options: FetchStreamOptions;
  readonly #body = new RequestBody();
  readonly #abort = new AbortController();
  readonly #frames = new GrpcFrameReader();
  readonly #onAbort = () => this.#fail(closed("the call was cancelled"));
  #connection: FetchConnection | null = null;
  #liveness: Liveness | null = null;
  #reader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  /** Why it is over; null while it is not. Whatever fails after that is a consequence. */
  #end: GrpcError | "complete" | null = null;
  #closed: Promise<void> | null = null;

  constructor(options: FetchStreamOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", this.#onAbort, { once: true });
    this.opened = this.#open();
    this.opened.catch(() => {}); // `receive` and `send` say it again.
  }

  send(message: Uint8Array): Promise<void> {
    return this.#body.send(encodeFrame(message));
  }

  async receive(): Promise<Uint8Array | null> {
    await this.opened;
    try {
      for (;;) {
        if (this.#end === "complete") return null;
        if (this.#end !== null) throw this.#end;
        const message = this.#frames.next();
        if (message !== null) return message;
        const { done, value } = await this.#reader!.read();
        if (done && this.#end === null) {
          this.#frames.end();
          this.#end = "complete";
        } else if (!done) {
          this.#liveness!.heard();
          this.#frames.add(value);
        }
      }
    } catch (error) {
      throw this.#fail(asGrpcError(error));
    }
  }

  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #open(): Promise<void> {
    const { connect, path, headers, signal, clock } = this.#options;
    try {
      signal.throwIfAborted();
      const connection = this.#connection = await connect();
      if (this.#end !== null) throw this.#end;
      const answer = connection.post(path, headers, this.#body.stream, this.#abort.signal);
      this.#liveness = new Liveness({
        clock,
        probe: (probeSignal) => connection.probe(probeSignal),
        onDead: (death) => this.#fail(deadError(death)),
      });
      const response = await answer;
      this.#liveness.heard();
      this.#reader = response.body?.getReader() ?? null;
      checkAnswer(response);
      if (this.#reader === null) this.#end ??= "complete";
    } catch (error) {
      throw this.#fail(asGrpcError(error, signal.aborted));
    }
  }

  /** The first reason stays. */
  #fail(error: GrpcError): GrpcError {
    if (this.#end instanceof GrpcError) return this.#end;
    this.#end = error;
    this.#body.end(error);
    this.#abort.abort();
    return error;
  }

  async #close(): Promise<void> {
    this.#options.signal.removeEventListener("abort", this.#onAbort);
    // Both are needed: without the end of its body the runtime keeps the connection open.
    this.#fail(closed("the call was closed"));
    await this.opened.catch(() => {});
    await this.#reader?.cancel().catch(() => {});
    await this.#liveness?.stop();
    this.#connection?.close();
  }
}

function closed(message: string): GrpcError {
  return new GrpcError("GRPC_CLOSED", { code: "Cancelled", message });
}

/** As the original's transport words a lost keep-alive. */
function deadError(death: Death): GrpcError {
  return death === "no connection"
    ? new GrpcError("GRPC_CONNECT_TIMEOUT", { code: "Unavailable", message: "connect timed out" })
    : new GrpcError("GRPC_CONNECTION_DEAD", {
      code: "Unavailable",
      message: "keep-alive timed out",
    });
}

function asGrpcError(error: unknown, cancelled = false): GrpcError {
  if (error instanceof GrpcError) return error;
  if (cancelled) return closed("the call was cancelled");
  // After the headers: the original's transport knows no more about it either, and calls it Unknown.
  const message = error instanceof Error ? error.message : String(error);
  return new GrpcError("GRPC_CONNECTION_LOST", { code: "Unknown", message }, { cause: error });
}
