// Calls, each on a connection of its own, whatever makes the connections.
import type { Clock } from "../base/clock.ts";
import { CallStream } from "./call_stream.ts";
import { checkAnswer, checkTrailers, type Connection } from "./connection.ts";
import { encodeFrame } from "./grpc_frame.ts";
import type { GrpcHeaders, GrpcStream, GrpcTransport, UnaryCall } from "./transport.ts";
import { unaryAnswer, withDeadline } from "./unary.ts";

/** {@link GrpcTransport} for those who can connect. */
export abstract class CallTransport implements GrpcTransport {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  openStream(path: string, headers: GrpcHeaders, signal: AbortSignal): GrpcStream {
    const connect = (connectSignal: AbortSignal) => this.connect(connectSignal);
    return new CallStream({ connect, path, headers, signal, clock: this.#clock });
  }

  unary(call: UnaryCall): Promise<Uint8Array> {
    return withDeadline(call, this.#clock, async (signal) => {
      const connection = await this.connect(signal);
      try {
        signal.throwIfAborted();
        const body = encodeFrame(call.message);
        const answer = await connection.post(call.path, call.headers, body, signal);
        try {
          checkAnswer(answer);
          return await unaryAnswer(() => answer.read(), () => checkTrailers(answer));
        } finally {
          await answer.cancel();
        }
      } finally {
        connection.close();
      }
    });
  }

  /**
   * A new connection, with trust roots as they are now.
   * @throws {GrpcError} also when `signal` aborts.
   */
  protected abstract connect(signal: AbortSignal): Promise<Connection>;
}
