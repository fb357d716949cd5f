// An HTTP/2 server that speaks gRPC by hand, so that it can speak it wrong.
import { once } from "node:events";
import http2 from "node:http2";
import type net from "node:net";
import type { TestLeaf } from "./mesh_ca.ts";
import { loopbackBlock } from "./loopback.ts";
import { XdsDoor } from "./xds_door.ts";

/** One request; the test answers. */
export class RawCall {
  readonly stream: http2.ServerHttp2Stream;
  readonly headers: http2.IncomingHttpHeaders;
  /** Octets of the request's body so far. */
  received = new Uint8Array(0);

  constructor(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) {
    this.stream = stream;
    this.headers = headers;
    stream.on("error", () => {}); // The client may go; what it saw is what counts.
    stream.on("data", (chunk: Uint8Array) => {
      const joined = new Uint8Array(this.received.length + chunk.length);
      joined.set(this.received);
      joined.set(chunk, this.received.length);
      this.received = joined;
    });
  }

  get isOver(): boolean {
    return this.stream.closed || this.stream.destroyed;
  }

  /** Response headers, gRPC's unless told otherwise. */
  respond(headers: http2.OutgoingHttpHeaders = {}, trailers?: Record<string, string>): void {
    if (trailers !== undefined) {
      this.stream.on("wantTrailers", () => this.stream.sendTrailers(trailers));
    }
    this.stream.respond(
      { ":status": 200, "content-type": "application/grpc", ...headers },
      { waitForTrailers: trailers !== undefined },
    );
  }

  /** Response headers and nothing else. */
  refuse(headers: http2.OutgoingHttpHeaders): void {
    this.stream.respond(
      { ":status": 200, "content-type": "application/grpc", ...headers },
      { endStream: true },
    );
  }

  /** Bytes as they are. */
  write(bytes: Uint8Array): void {
    if (!this.isOver) this.stream.write(bytes);
  }

  end(): void {
    this.stream.end();
  }
}

export interface RawServerOptions {
  /** Sees each call but probes. */
  readonly onCall: (call: RawCall) => void;
  /** Serves TLS with this leaf; plaintext otherwise. */
  readonly tls?: TestLeaf;
  /** A loopback address; one of the test's own unless given. */
  readonly ip?: string;
}

/** Behind an {@link XdsDoor}, which can stall and cut. Answers health checks like a server that does not know them. */
export class GrpcRawServer implements AsyncDisposable {
  readonly calls: RawCall[] = [];
  /** Health checks so far. */
  probes = 0;
  readonly door: XdsDoor;
  readonly #server: net.Server;
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  readonly #secure: boolean;

  private constructor(server: net.Server, door: XdsDoor, { onCall, tls }: RawServerOptions) {
    this.#server = server;
    this.door = door;
    this.#secure = tls !== undefined;
    server.on("session", (session: http2.ServerHttp2Session) => {
      this.#sessions.add(session);
      session.on("error", () => {}); // Cut connections are the tests' business.
      session.on("close", () => this.#sessions.delete(session));
    });
    server.on("stream", (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
      const call = new RawCall(stream, headers);
      if (headers[":path"] === "/grpc.health.v1.Health/Check") {
        this.probes++;
        call.refuse({ "grpc-status": "12", "grpc-message": "unknown service" });
      } else {
        this.calls.push(call);
        onCall(call);
      }
    });
  }

  static async start(options: RawServerOptions): Promise<GrpcRawServer> {
    const { tls } = options;
    const server = tls === undefined
      ? http2.createServer()
      : http2.createSecureServer({ cert: tls.certPem, key: tls.keyPem });
    server.on("error", () => {});
    server.on("tlsClientError", () => {}); // A refused handshake is what some tests are about.
    server.on("sessionError", () => {});
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    const door = await XdsDoor.open(options.ip ?? `${loopbackBlock()}.249`, port);
    return new GrpcRawServer(server as unknown as net.Server, door, options);
  }

  /** As a URI, by IP address. */
  get address(): string {
    return `${this.#secure ? "https" : "http"}://${this.door.ip}:${this.door.port}`;
  }

  /** Says GOAWAY on every connection; streams go on. */
  goAway(): void {
    for (const session of this.#sessions) session.goaway(0, 2 ** 31 - 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.door[Symbol.asyncDispose]();
    const closed = once(this.#server, "close");
    for (const session of this.#sessions) session.destroy();
    this.#server.close();
    await closed;
  }
}
