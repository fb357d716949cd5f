// Node's own http2 (nghttp2, OpenSSL) as the peer, in both directions.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { createHash } from "node:crypto";
import { connectSocks5 } from "../support/socks5.ts";
import { serveEcho } from "../support/echo_server.ts";
import { findPeer, identityOf, InteropRig, Peer } from "./rig.ts";

const STREAMS = 12;
const STREAM_BYTES = 6_000_001;

function script(name: string): string {
  return new URL(`node/${name}`, import.meta.url).pathname;
}

function findNode(): Promise<string> {
  return findPeer(["node"], ["--version"], "Node 20 or newer");
}

interface ClientReport {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly peer: string;
  readonly tunnels: readonly {
    readonly status: number;
    readonly bytesReceived: number;
    readonly sent: string;
    readonly received: string;
  }[];
}

Deno.test("inbound carries tunnels of Node's http2 client, to the byte", async () => {
  const node = await findNode();
  await using rig = await InteropRig.create(["server"]);
  const echo = rig.use(serveEcho(rig.ip("server")));
  const proxy = await rig.startProxy("server");
  const leaf = await rig.leaf("node-client");
  const authority = `${rig.ip("server")}:${echo.port}`;
  const peer = rig.use(
    new Peer(node, [
      script("connect_client.mjs"),
      ...[rig.ip("server"), leaf.cert, leaf.key, leaf.root, authority],
      ...[`${STREAMS}`, `${STREAM_BYTES}`],
    ]),
  );
  const report = await peer.next() as ClientReport;
  assertEquals(report.peer, `URI:${identityOf("server")}`);
  assertEquals(report.tunnels.length, STREAMS);
  for (const { status, bytesReceived, sent, received } of report.tunnels) {
    assertEquals({ status, bytesReceived, received }, {
      status: 200,
      bytesReceived: STREAM_BYTES,
      received: sent,
    });
  }
  // What spec/data-path §1.2 says a server sends, as an independent stack read it.
  assertEquals(report.settings.maxConcurrentStreams, 200);
  assertEquals(report.settings.initialWindowSize, 4_194_304);
  assertEquals(report.settings.maxFrameSize, 1_048_576);
  assertEquals(report.settings.maxHeaderListSize, 65_536);

  const line = await proxy.accessLine((each) => each["dst.hbone_addr"] === authority);
  assertEquals(line.message, "connection complete");
  assertEquals(line["src.identity"], identityOf("node-client"));
  assertEquals(line["dst.identity"], identityOf("server"));
  assertEquals([line.bytes_sent, line.bytes_recv], [STREAM_BYTES, STREAM_BYTES]);
});

/** Sends random octets and ends, reading all the while; gives both hashes. */
async function exchange(connection: Deno.TcpConn): Promise<{ sent: string; received: string }> {
  const sent = createHash("sha256");
  const received = createHash("sha256");
  const writing = (async () => {
    for (let left = STREAM_BYTES; left > 0;) {
      const chunk = crypto.getRandomValues(new Uint8Array(Math.min(left, 40_009)));
      sent.update(chunk);
      left -= chunk.length;
      for (let done = 0; done < chunk.length;) done += await connection.write(chunk.subarray(done));
    }
    await connection.closeWrite();
  })();
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const count = await connection.read(buffer);
    if (count === null) break;
    received.update(buffer.subarray(0, count));
  }
  await writing;
  connection.close();
  return { sent: sent.digest("hex"), received: received.digest("hex") };
}

Deno.test("outbound tunnels through Node's http2 server, to the byte", async () => {
  const node = await findNode();
  await using rig = await InteropRig.create(["client", "node-server"]);
  const leaf = await rig.leaf("node-server");
  const serverIp = rig.ip("node-server");
  const peer = rig.use(
    new Peer(node, [script("connect_server.mjs"), serverIp, leaf.cert, leaf.key, leaf.root]),
  );
  assertEquals(await peer.next(), "listening");
  const proxy = await rig.startProxy("client");
  const target = { ip: serverIp, port: 8080 };
  const connections = await Promise.all(
    Array.from({ length: STREAMS }, () => connectSocks5(rig.ip("client"), target)),
  );
  const results = await Promise.all(connections.map(exchange));
  for (const { sent, received } of results) assertEquals(received, sent);

  for (let seen = 0; seen < STREAMS; seen++) {
    const request = await peer.next() as {
      readonly peer: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly settings: Readonly<Record<string, unknown>>;
    };
    assertEquals(request.peer, `URI:${identityOf("client")}`);
    assertEquals(request.headers[":method"], "CONNECT");
    assertEquals(request.headers[":authority"], `${serverIp}:8080`);
    assert(request.headers[":scheme"] === undefined && request.headers[":path"] === undefined);
    assertMatch(request.headers.traceparent ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/);
    assertEquals(request.settings.enablePush, false);
    assertEquals(request.settings.initialWindowSize, 4_194_304);
  }
  const line = await proxy.accessLine((each) => each["dst.hbone_addr"] === `${serverIp}:8080`);
  assertEquals(line["src.identity"], identityOf("client"));
  assertEquals(line["dst.identity"], identityOf("node-server"));
  assertEquals([line.bytes_sent, line.bytes_recv], [STREAM_BYTES, STREAM_BYTES]);
  assertEquals(line.direction, "outbound");
});

Deno.test("outbound sends nothing to a Node server that shows another identity", async () => {
  const node = await findNode();
  await using rig = await InteropRig.create(["client", "node-server"]);
  const leaf = await rig.leaf("impostor");
  const serverIp = rig.ip("node-server");
  const peer = rig.use(
    new Peer(node, [script("connect_server.mjs"), serverIp, leaf.cert, leaf.key, leaf.root]),
  );
  assertEquals(await peer.next(), "listening");
  const proxy = await rig.startProxy("client");
  let answered = 0;
  try {
    const connection = await connectSocks5(rig.ip("client"), { ip: serverIp, port: 8080 });
    try {
      await connection.write(new TextEncoder().encode("for nobody but node-server"));
      answered = await connection.read(new Uint8Array(100)) ?? 0;
    } finally {
      connection.close();
    }
  } catch (error) {
    // Refused in the SOCKS5 reply or by a reset: both are fine, an answer is not.
    assert(error instanceof Error);
  }
  assertEquals(answered, 0);
  const line = await proxy.accessLine((each) => each.error !== undefined);
  assertEquals(line.level, "error");
  assertMatch(String(line.error), /identity|certificate/i);
});
