// A small HTTP/2 server on our own codec that answers GET, POST and HEAD, so that generic suites can talk to it.
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { adoptBlock, BlockPool } from "../../src/base/block.ts";
import type { ChannelHandler } from "../../src/base/channel.ts";
import type { Clock } from "../../src/base/clock.ts";
import { Http2Connection } from "../../src/h2/connection.ts";
import type { H2Limits } from "../../src/h2/options.ts";
import type { H2ConnectionHandler, H2Stream, HeaderList } from "../../src/h2/types.ts";
import { SocketChannel } from "./socket_channel.ts";

/** What every request is answered with: long enough for the tests of flow control. */
const BODY = adoptBlock(new TextEncoder().encode("Hello from the test responder.\n"));

const POOL = new BlockPool({ blockBytes: 65_536, idleMax: 16 });

const CLOCK: Pick<Clock, "nowMs" | "soon"> = {
  nowMs: () => performance.now(),
  soon: (task) => queueMicrotask(() => task.runTask()),
};

/** Reads a request to its end, then answers it. */
class Responder implements ChannelHandler {
  readonly #stream: H2Stream;
  readonly #method: string;

  constructor(stream: H2Stream, method: string) {
    this.#stream = stream;
    this.#method = method;
  }

  onData(): void {}

  onEnd(): void {
    const { bytes } = BODY;
    const headers = [
      { name: ":status", value: this.#method === "CONNECT" ? "405" : "200" },
      { name: "content-type", value: "text/plain" },
      { name: "content-length", value: String(bytes.length) },
    ];
    const bodiless = this.#method === "HEAD";
    this.#stream.respond(headers, { endStream: bodiless });
    if (bodiless) return;
    this.#stream.write(BODY, 0, bytes.length);
    this.#stream.endWrite();
  }

  onWritable(): void {}

  onClose(): void {}
}

class ConnectionHandler implements H2ConnectionHandler {
  onRequest(stream: H2Stream, headers: HeaderList): void {
    const method = headers.find(({ name }) => name === ":method")!.value;
    stream.attach(new Responder(stream, method));
  }

  onPeerSettings(): void {}
  onPong(): void {}
  onGoAway(): void {}
  onHeaderBlock(): void {}
  onIdle(): void {}
  onClose(): void {}
}

/** Listens on a port of 127.0.0.1 that the kernel chooses, until it is disposed of. */
export interface RunningResponder extends AsyncDisposable {
  readonly port: number;
}

/**
 * @param tls Certificate and key, PEM; null for cleartext with prior knowledge (RFC 9113 §3.3).
 * @param limits What differs from the product's server.
 */
export async function startResponder(
  tls: { readonly certPem: string; readonly keyPem: string } | null,
  limits: Partial<H2Limits> = {},
): Promise<RunningResponder> {
  const sockets = new Set<Socket>();
  const accept = (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    new Http2Connection({
      side: "server",
      transport: new SocketChannel(socket),
      handler: new ConnectionHandler(),
      clock: CLOCK,
      pool: POOL,
      limits,
    });
  };
  const server: Server = tls === null
    ? createServer({ allowHalfOpen: true }, accept)
    : createTlsServer({ cert: tls.certPem, key: tls.keyPem, ALPNProtocols: ["h2"] }, accept);
  await new Promise<void>((done, failed) => {
    server.once("error", failed);
    server.listen(0, "127.0.0.1", done);
  });
  return {
    port: (server.address() as { port: number }).port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((done) => server.close(() => done()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

if (import.meta.main) {
  const { port } = await startResponder(null);
  // deno-lint-ignore no-console -- a program to try things by hand
  console.log(`h2c responder on 127.0.0.1:${port}`);
}
