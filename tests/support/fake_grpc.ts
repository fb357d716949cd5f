// gRPC streams without a network: the test is the server, message by message.
import type { GrpcError } from "../../src/xds/grpc_error.ts";
import type { GrpcHeaders, GrpcStream, GrpcTransport } from "../../src/xds/transport.ts";
import type { Fields } from "./protobuf.ts";
import { XDS_PROTOBUF } from "./xds_schema.ts";

/** One stream as the server sees it. */
export class FakeStream implements GrpcStream {
  readonly path: string;
  readonly headers: GrpcHeaders;
  /** What the client sent, decoded by the tables of `xds_schema.ts`. */
  readonly sent: Fields[] = [];
  readonly opened: Promise<void>;
  isClosed = false;
  /** Set: the client's messages wait until it is called. */
  holdSends = false;
  readonly #held: (() => void)[] = [];
  readonly #opened = Promise.withResolvers<void>();
  readonly #incoming: (Uint8Array | null | GrpcError)[] = [];
  #wake: (() => void) | null = null;

  constructor(path: string, headers: GrpcHeaders, signal: AbortSignal, onAbort: GrpcError) {
    this.path = path;
    this.headers = headers;
    this.opened = this.#opened.promise;
    this.opened.catch(() => {});
    signal.addEventListener("abort", () => this.fail(onAbort), { once: true });
  }

  /** Response headers. */
  accept(): void {
    this.#opened.resolve();
  }

  /** A DeltaDiscoveryResponse. */
  say(response: Fields): void {
    this.sayBytes(XDS_PROTOBUF.encode("DeltaDiscoveryResponse", response));
  }

  sayBytes(message: Uint8Array): void {
    this.accept();
    this.#push(message);
  }

  /** Status OK, or none. */
  end(): void {
    this.accept();
    this.#push(null);
  }

  /** Refuses the call, or ends it once it was accepted. */
  fail(error: GrpcError): void {
    this.#opened.reject(error);
    this.#push(error);
  }

  releaseSends(): void {
    this.holdSends = false;
    for (const release of this.#held.splice(0)) release();
  }

  async send(message: Uint8Array): Promise<void> {
    const last = this.#incoming.at(-1);
    if (last instanceof Error) throw last;
    this.sent.push(XDS_PROTOBUF.decode("DeltaDiscoveryRequest", message));
    if (this.holdSends) await new Promise<void>((resolve) => this.#held.push(resolve));
  }

  async receive(): Promise<Uint8Array | null> {
    await this.opened;
    while (this.#incoming.length === 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const next = this.#incoming[0]!;
    if (next instanceof Error) throw next; // Stays: nothing follows.
    this.#incoming.shift();
    return next;
  }

  close(): Promise<void> {
    this.isClosed = true;
    this.releaseSends();
    return Promise.resolve();
  }

  #push(item: Uint8Array | null | GrpcError): void {
    this.#incoming.push(item);
    this.#wake?.();
  }
}

/** Opens {@link FakeStream}s; `streams` has all of them, in order. */
export class FakeTransport implements GrpcTransport {
  readonly streams: FakeStream[] = [];
  readonly #onAbort: GrpcError;
  readonly #onStream: (stream: FakeStream) => void;

  /**
   * @param onAbort What a stream says when its signal aborts.
   * @param onStream Sees each stream first.
   */
  constructor(onAbort: GrpcError, onStream: (stream: FakeStream) => void = () => {}) {
    this.#onAbort = onAbort;
    this.#onStream = onStream;
  }

  openStream(path: string, headers: GrpcHeaders, signal: AbortSignal): FakeStream {
    const stream = new FakeStream(path, headers, signal, this.#onAbort);
    this.streams.push(stream);
    this.#onStream(stream);
    return stream;
  }

  unary(): Promise<Uint8Array> {
    throw new Error("Streams only");
  }
}
