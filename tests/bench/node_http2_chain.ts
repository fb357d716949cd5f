// The baseline of the bench: the same chain made with the runtime's own node:http2, as well as it goes.
//
//   deno run -A node_http2_chain.ts inbound  <bind ip> <cert> <key> <root>
//   deno run -A node_http2_chain.ts outbound <bind ip> <cert> <key> <root> <inbound ip>
//
// SOCKS5 on <bind ip>:15080 → one HTTP/2 CONNECT per connection inside mutual TLS 1.3 to
// <inbound ip>:15008 → TCP. Same windows (4 MiB and 16 MiB), frame size, pooling (100 streams per
// connection) and no Nagle anywhere. It has no policy, no log and no metrics: it owes less than we do.
import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";

const STREAM_WINDOW_BYTES = 4_194_304;
const CONNECTION_WINDOW_BYTES = 16_777_216;
const SETTINGS = { initialWindowSize: STREAM_WINDOW_BYTES, maxFrameSize: 1_048_576 } as const;
/** Best of 16 KiB (default), 64 KiB, 256 KiB and 1 MiB: at 8 streams in reverse 2.5 → 2.9 Gb/s. */
const SOCKET_BUFFER_BYTES = 1_048_576;
const STREAMS_PER_CONNECTION_MAX = 100;
const SOCKET_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  highWaterMark: SOCKET_BUFFER_BYTES,
};
const HBONE_PORT = 15008;
const SOCKS5_PORT = 15080;

const [role, bindIp, certPath, keyPath, rootPath, inboundIp] = Deno.args;
const credentials = {
  cert: Deno.readTextFileSync(certPath!),
  key: Deno.readTextFileSync(keyPath!),
  ca: Deno.readTextFileSync(rootPath!),
  minVersion: "TLSv1.3" as const,
  ALPNProtocols: ["h2"],
};

/**
 * Copies both ways with half-close and back-pressure. A stream whose socket failed is ended and read to its
 * end, not reset: a thousand DATA frames on their way to a reset stream make nghttp2 end the whole session
 * with ENHANCE_YOUR_CALM, as iperf3 with 8 streams showed.
 */
function join(stream: http2.Http2Stream, socket: net.Socket): void {
  stream.pipe(socket);
  socket.pipe(stream);
  const abandon = () => {
    stream.unpipe(socket);
    stream.end();
    stream.resume();
  };
  socket.on("error", abandon);
  socket.on("close", () => stream.readableEnded || abandon());
  stream.on("close", () => socket.destroyed || socket.end());
}

function serveInbound(): void {
  const server = http2.createSecureServer({
    ...credentials,
    requestCert: true,
    rejectUnauthorized: true,
    settings: { ...SETTINGS, maxConcurrentStreams: 200 },
  });
  server.on("secureConnection", (socket: tls.TLSSocket) => socket.setNoDelay(true));
  server.on("session", (session: http2.ServerHttp2Session) => {
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.on("error", () => session.destroy());
  });
  server.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
    const authority = String(headers[":authority"]);
    const colon = authority.lastIndexOf(":");
    const socket = net.connect({
      host: authority.slice(0, colon),
      port: Number(authority.slice(colon + 1)),
      ...SOCKET_OPTIONS,
    });
    stream.on("error", () => socket.destroy());
    const refuse = () => stream.close(http2.constants.NGHTTP2_CONNECT_ERROR);
    socket.once("error", refuse);
    socket.once("connect", () => {
      socket.off("error", refuse);
      stream.respond({ ":status": 200 }, { sendDate: false } as http2.ServerStreamResponseOptions);
      join(stream, socket);
    });
  });
  server.listen(HBONE_PORT, bindIp, 4096);
}

interface Pooled {
  readonly session: http2.ClientHttp2Session;
  streams: number;
}

const pool: Pooled[] = [];

function pooledSession(): Pooled {
  const free = pool.find((entry) => entry.streams < STREAMS_PER_CONNECTION_MAX);
  if (free !== undefined) return free;
  const session = http2.connect(`https://${inboundIp}:${HBONE_PORT}`, {
    settings: { ...SETTINGS, enablePush: false },
    createConnection: () => {
      // Identity instead of host name, as in the mesh; the chain itself is verified.
      const checkServerIdentity = () => undefined;
      const address = { host: inboundIp!, port: HBONE_PORT };
      return tls.connect({ ...credentials, ...address, checkServerIdentity }).setNoDelay(true);
    },
  });
  const entry: Pooled = { session, streams: 0 };
  const forget = () => {
    const index = pool.indexOf(entry);
    if (index >= 0) pool.splice(index, 1);
  };
  session.on("connect", () => {
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
  });
  session.on("error", forget);
  session.on("close", forget);
  pool.push(entry);
  return entry;
}

function openTunnel(client: net.Socket, authority: string): void {
  const entry = pooledSession();
  entry.streams++;
  const stream = entry.session.request({ ":method": "CONNECT", ":authority": authority });
  stream.on("close", () => entry.streams--);
  stream.on("error", () => client.destroy());
  stream.once("response", (headers) => {
    if (headers[":status"] !== 200) return void client.destroy();
    client.write(new Uint8Array([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
    join(stream, client);
  });
}

/** SOCKS5 without authentication, CONNECT to an IPv4 address: what the bench's clients speak. */
function serveSocks5(client: net.Socket): void {
  let received = Buffer.alloc(0);
  let greeted = false;
  client.on("error", () => client.destroy());
  const onData = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    if (!greeted) {
      if (received.length < 2 || received.length < 2 + received[1]!) return;
      received = received.subarray(2 + received[1]!);
      greeted = true;
      client.write(new Uint8Array([5, 0]));
    }
    if (received.length < 10) return;
    if (received[1] !== 1 || received[3] !== 1) return void client.destroy();
    client.off("data", onData);
    client.pause();
    if (received.length > 10) client.unshift(received.subarray(10));
    const ip = received.subarray(4, 8).join(".");
    openTunnel(client, `${ip}:${received.readUInt16BE(8)}`);
  };
  client.on("data", onData);
}

if (role === "inbound") {
  serveInbound();
} else {
  net.createServer(SOCKET_OPTIONS, serveSocks5)
    .listen({ port: SOCKS5_PORT, host: bindIp, backlog: 4096 });
}
