// One bidirectional gRPC call on a connection of its own.
import type { Clock } from "../base/clock.ts";
import { type Answer, checkAnswer, checkTrailers, type Connection } from "./connection.ts";
import { GrpcError } from "./grpc_error.ts";
import { encodeFrame, GrpcFrameReader } from "./grpc_frame.ts";
import { type Death, Liveness } from "./liveness.ts";
import { RequestBody } from "./request_body.ts";
import type { GrpcHeaders, GrpcStream } from "./transport.ts";

/** Messages and chunks taken before others have their turn: some ms with all that is done about them. */
export const PIECES_PER_TURN = 128;

export interface CallStreamOptions {
  /** Opens the connection; called once, at once. */
  readonly connect: (signal: AbortSignal) => Promise<Connection>;
  readonly path: string;
  readonly headers: GrpcHeaders;
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

/** {@link GrpcStream} whose request goes on while the answer comes. */
export class CallStream implements GrpcStream {
  readonly opened: Promise<void>;
  readonly #options: CallStreamOptions;
  readonly #body = new RequestBody();
  readonly #abort = new AbortController();
  readonly #frames = new GrpcFrameReader();
  readonly #onAbort = () => this.#fail(closed("the call was cancelled"));
  /** Messages and chunks since the loop had its turn. */
  #pieces = 0;
  #connection: Connection | null = null;
  #liveness: Liveness | null = null;
  #answer: Answer | null = null;
  /** Why it is over; null while it is not. Whatever fails after that is a consequence. */
  #end: GrpcError | "complete" | null = null;
  #closed: Promise<void> | null = null;

  constructor(options: CallStreamOptions) {
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
        // What is there already comes without a turn of the loop, and there may be a million messages or chunks of one octet.
        if (++this.#pieces >= PIECES_PER_TURN) {
          this.#pieces = 0;
          await new Promise<void>((resolve) => this.#options.clock.after(0, resolve));
        }
        if (message !== null) return message;
        const chunk = await this.#answer!.read();
        if (chunk !== null) {
          this.#liveness!.heard();
          this.#frames.add(chunk);
        } else if (this.#end === null) {
          checkTrailers(this.#answer!);
          this.#frames.end();
          this.#end = "complete";
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
      if (signal.aborted) throw closed("the call was cancelled");
      const connection = this.#connection = await connect(this.#abort.signal);
      if (this.#end !== null) throw this.#end;
      const answer = connection.post(path, headers, this.#body, this.#abort.signal);
      this.#liveness = new Liveness({
        clock,
        probe: (probeSignal) => connection.probe(probeSignal),
        onDead: (death) => this.#fail(deadError(death)),
      });
      this.#answer = await answer;
      this.#liveness.heard();
      checkAnswer(this.#answer);
    } catch (error) {
      throw this.#fail(asGrpcError(error));
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
    // `fetch` needs both, the abort and the end of the body: with one alone the connection stays open.
    this.#fail(closed("the call was closed"));
    await this.opened.catch(() => {}); // Told to whoever waited for it.
    await this.#answer?.cancel();
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

function asGrpcError(error: unknown): GrpcError {
  if (error instanceof GrpcError) return error;
  // After the headers: the original's transport knows no more about it either, and calls it Unknown.
  const message = error instanceof Error ? error.message : String(error);
  return new GrpcError("GRPC_CONNECTION_LOST", { code: "Unknown", message }, { cause: error });
}
