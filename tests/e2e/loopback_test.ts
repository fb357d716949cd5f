// Two data planes on loopback with real sockets and real TLS: what works, and what every bad peer gets.
import { assert, assertEquals } from "@std/assert";
import { FRAME } from "../../src/h2/frame_header.ts";
import { PREFACE } from "../../src/h2/frame_reader.ts";
import type { HeaderList } from "../../src/h2/types.ts";
import { CLIENT, identityOf } from "../support/data_plane_world.ts";
import { concat, data, frame, reset, settings } from "../support/h2_raw.ts";
import { connectTo } from "../support/hbone_client.ts";
import {
  echoes,
  type LoopbackOptions,
  LoopbackPlanes,
  type RawTls,
  tcpSays,
} from "../support/loopback_planes.ts";
import { MeshCa } from "../support/mesh_ca.ts";
import { TEST_NETWORK } from "../support/networks.ts";
import { until } from "../support/real_sockets.ts";
import { writeAll } from "../support/socks5.ts";

function denyOf(principal: string) {
  return {
    name: "no",
    namespace: "default",
    scope: "Namespace",
    action: "Deny",
    dryRun: false,
    rules: [[[{ principals: [{ Exact: principal }] }]]],
  };
}

const DENY_CLIENT = denyOf("cluster.local/ns/default/sa/client");

Deno.test(
  `[${TEST_NETWORK}] a SOCKS5 client's bytes cross two proxies, and both logs say who and how much`,
  async () => {
    await using planes = await LoopbackPlanes.start();
    const { client, server, clientIp, serverIp, appAddress } = planes;
    const user = await planes.connect();
    await echoes(user, 100_000);
    await user.closeWrite();
    assertEquals(await user.read(new Uint8Array(1)), null);
    user.close();
    await until(() => client.events.ends.length === 1 && server.events.ends.length === 1);

    const authority = `${appAddress.ip}:${appAddress.port}`;
    for (const [{ events }, direction] of [[client, "outbound"], [server, "inbound"]] as const) {
      const { record, end } = events.closedRecords[0]!;
      const { facts } = record;
      assertEquals([end.flag, end.error], ["-", null]);
      assertEquals([record.bytesToServer, record.bytesToClient], [100_000, 100_000]);
      assertEquals([facts.direction, facts.hboneAuthority], [direction, authority]);
      assertEquals(facts.destinationAddress, { ip: serverIp, port: 15008 });
      assertEquals(facts.sourceAddress.ip, direction === "outbound" ? "127.0.0.1" : clientIp);
      assertEquals(facts.sourceIdentity!.uri, "spiffe://cluster.local/ns/default/sa/client");
      assertEquals(facts.destinationIdentity!.uri, "spiffe://cluster.local/ns/default/sa/server");
    }
    const [sent, received] = [client, server].map(({ events }) => events.closedRecords[0]!.record);
    assertEquals(sent!.facts.traceId, received!.facts.traceId);
  },
);

Deno.test(
  `[${TEST_NETWORK}] a denied client sees its connection close; the server's log says why`,
  async () => {
    await using planes = await LoopbackPlanes.start({ policies: [DENY_CLIENT] });
    const user = await planes.connect();
    assertEquals(await readToEnd(user), 0);
    await until(() => planes.client.events.ends.length === 1);
    assertEquals(planes.client.events.ends, ["CONNECT: http status: 401 Unauthorized"]);
    assertEquals(planes.server.events.ends, [
      "DENY: connection closed due to policy rejection: explicitly denied by: default/no",
    ]);
    assertEquals(planes.app.accepted, 0);
  },
);

/** Octets until the end or a reset; closes. */
async function readToEnd(user: Deno.TcpConn): Promise<number> {
  let bytes = 0;
  try {
    const buffer = new Uint8Array(1024);
    for (;;) {
      const got = await user.read(buffer);
      if (got === null) return bytes;
      bytes += got;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    return bytes;
  } finally {
    user.close();
  }
}

Deno.test(`[${TEST_NETWORK}] a policy that comes later ends the connection within a second`, async () => {
  await using planes = await LoopbackPlanes.start();
  const user = await planes.connect();
  await echoes(user, 100);
  planes.pushPolicies([DENY_CLIENT]);
  await until(() => planes.server.events.ends.length === 1, 1_000);
  assertEquals(planes.server.events.ends, ["DENY: connection closed due to policy change"]);
  assertEquals(await readToEnd(user), 0);
});

Deno.test(`[${TEST_NETWORK}] 200 connections share two tunnels`, async () => {
  await using planes = await LoopbackPlanes.start();
  const users = await Promise.all(Array.from({ length: 200 }, () => planes.connect()));
  await Promise.all(users.map((user) => echoes(user, 10_000)));
  assertEquals(planes.client.plane.statsNow().outboundTransports, 2);
  assertEquals(planes.server.plane.statsNow().streams, 200);
  for (const user of users) user.close();
  await until(() => planes.client.plane.statsNow().connections === 0);
});

Deno.test(`[${TEST_NETWORK}] a drain lets connections finish, and refuses new ones`, async () => {
  await using planes = await LoopbackPlanes.start();
  const user = await planes.connect();
  await echoes(user, 100);
  const drained = Promise.all([
    planes.drained(planes.client, 5_000),
    planes.drained(planes.server, 5_000),
  ]);
  await echoes(user, 100_000);
  const late = await Deno.connect({ hostname: planes.serverIp, port: 15008 }).catch((error) =>
    error
  );
  assert(late instanceof Deno.errors.ConnectionRefused);
  user.close();
  await drained;
  assertEquals([planes.client.events.ends, planes.server.events.ends], [["-: ok"], ["-: ok"]]);
});

Deno.test(`[${TEST_NETWORK}] a drain's deadline cuts what is left, and the log says so`, async () => {
  await using planes = await LoopbackPlanes.start();
  const user = await planes.connect();
  await echoes(user, 100);
  const startMs = performance.now();
  await planes.drained(planes.server, 300);
  assert(performance.now() - startMs < 1_300);
  assertEquals(planes.server.events.ends, ["-: connection closed due to connection drain"]);
  user.close();
});

Deno.test(
  `[${TEST_NETWORK}] 15008 accepts a peer that offers no ALPN, and DATA that comes before the 200`,
  async () => {
    await using planes = await LoopbackPlanes.start();
    const raw = await planes.tls(await planes.leaf(), { alpn: null });
    const authority = `${planes.serverIp}:${planes.app.port}`;
    raw.peer.send(PREFACE, settings(), raw.peer.headers(1, connectTo(authority)), data(1, "early"));
    await raw.line("HEADERS 1 :status=200");
    await raw.line("DATA 1 5");
    await raw.close();
    await until(() => planes.server.events.ends.length === 1);
  },
);

// Bad input. Each peer gets what the spec says; the log has a reason; a bystander's bytes stay intact.

interface BadInput {
  readonly name: string;
  readonly options?: LoopbackOptions;
  /** Plays the bad peer, and checks what it gets. */
  readonly act: (planes: LoopbackPlanes) => Promise<void>;
  /** The reason in the server's log. */
  readonly reason: RegExp;
  /** Seen as an early failure (default), at the end of a record, or in an operational line. */
  readonly where?: "early" | "end" | "line";
}

/** A peer that has said preface and SETTINGS inside good TLS. */
async function goodPeer(planes: LoopbackPlanes): Promise<RawTls> {
  const raw = await planes.tls(await planes.leaf());
  raw.peer.send(PREFACE, settings());
  await raw.line("SETTINGS ACK");
  return raw;
}

/** Sends one request on stream 1 and expects an answer that begins so. */
function request(
  headersFor: (planes: LoopbackPlanes) => HeaderList,
  ...answer: string[]
): BadInput["act"] {
  return async (planes) => {
    const raw = await goodPeer(planes);
    raw.peer.send(raw.peer.headers(1, headersFor(planes)));
    for (const line of answer) await raw.line(line);
    // The connection itself is as good as before.
    raw.peer.send(raw.peer.headers(3, connectTo(`${planes.serverIp}:${planes.app.port}`)));
    await raw.line("HEADERS 3 :status=200");
    await raw.close();
  };
}

const REFUSED_400 = ["HEADERS 1 END_STREAM :status=400", "RST_STREAM 1 NO_ERROR"];
const REFUSED_503 = ["HEADERS 1 END_STREAM :status=503", "RST_STREAM 1 NO_ERROR"];

function tlsRefused(
  leafFor: (planes: LoopbackPlanes) => Promise<Parameters<LoopbackPlanes["tls"]>[0]>,
  alpn: readonly string[] | null = ["h2"],
): BadInput["act"] {
  return async (planes) => {
    const raw = await planes.tls(await leafFor(planes), { alpn });
    raw.socket.write("x");
    await raw.closed;
    assertEquals(raw.peer.lines, []);
  };
}

/** The connection ends with this GOAWAY. */
async function endsWith(raw: RawTls, goAway: string): Promise<void> {
  await raw.line("GOAWAY");
  await raw.closed;
  const line = raw.peer.lines.filter((each) => each.startsWith("GOAWAY")).at(-1)!;
  assert(line.endsWith(goAway), `${line} is not ${goAway}`);
}

const CASES: BadInput[] = [
  {
    name: "garbage instead of TLS",
    act: (planes) => tcpSays(planes.serverIp, 15008, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    reason: /^tls handshake error: .*InvalidMessage\(InvalidContentType\)/,
  },
  {
    name: "TLS without a client certificate",
    act: tlsRefused(() => Promise.resolve(null)),
    reason: /^tls handshake error: .*NoCertificatesPresented/,
  },
  {
    name: "a certificate of another CA",
    act: tlsRefused(async () =>
      (await MeshCa.create("another root")).issue({ uris: [identityOf(CLIENT).uri] })
    ),
    reason: /^tls handshake error: .*InvalidCertificate\((UnknownIssuer|BadSignature)\)/,
  },
  {
    name: "a certificate without a SPIFFE name",
    act: tlsRefused((planes) => planes.leaf({ uris: [] })),
    reason: /^tls handshake error: .*InvalidCertificate/,
  },
  {
    name: "an expired certificate",
    act: tlsRefused((planes) => planes.leaf({ notAfterMs: Date.now() - 60_000 })),
    reason: /^tls handshake error: .*Expired/,
  },
  {
    name: "another trust domain",
    act: tlsRefused((planes) =>
      planes.leaf({ uris: ["spiffe://clusterset.local/ns/default/sa/my-app"] })
    ),
    reason: /^tls handshake error: .*trustdomain/,
  },
  {
    name: "ALPN without h2",
    act: tlsRefused((planes) => planes.leaf(), ["http/1.1"]),
    reason: /^tls handshake error: /,
  },
  {
    name: "HTTP/1.1 inside TLS",
    act: async (planes) => {
      const raw = await planes.tls(await planes.leaf());
      raw.socket.write("GET / HTTP/1.1\r\nhost: web\r\n\r\n");
      await raw.closed;
    },
    reason: /^http2 handshake failed: /,
  },
  {
    name: "GET",
    act: request((planes) => [
      { name: ":method", value: "GET" },
      { name: ":scheme", value: "https" },
      { name: ":path", value: "/" },
      { name: ":authority", value: `${planes.serverIp}:80` },
    ], ...REFUSED_400),
    reason: /^expected method CONNECT, got GET$/,
  },
  {
    name: "a request without a method",
    act: request(
      () => [{ name: ":authority", value: "10.0.0.2:80" }],
      "RST_STREAM 1 PROTOCOL_ERROR",
    ),
    reason: /^h2 failed: stream error detected: unspecific protocol error detected$/,
  },
  {
    name: "CONNECT without authority",
    act: request(() => [{ name: ":method", value: "CONNECT" }], ...REFUSED_400),
    reason: /^no valid authority pseudo header: $/,
  },
  ...["server", "server:", "10.0.0.2:70000", "[::1]"].map((authority) => ({
    name: `the authority ${authority}`,
    act: request(() => connectTo(authority), ...REFUSED_400),
    reason: new RegExp(`^no valid authority pseudo header: ${RegExp.escape(authority)}$`),
  })),
  {
    name: "another address than the connection's own",
    act: request(() => connectTo("127.0.0.1:80"), ...REFUSED_400),
    reason: /^ip mismatch: 127\.\d+\.\d+\.2 != 127\.0\.0\.1$/,
  },
  ...[15001, 15006, 15008, 15080].map((port) => ({
    name: `the own port ${port}`,
    act: request((planes) => connectTo(`${planes.serverIp}:${port}`), ...REFUSED_503),
    reason: /^attempted recursive call to ourselves$/,
  })),
  {
    name: "a closed application port",
    act: request((planes) => connectTo(`${planes.serverIp}:1`), ...REFUSED_503),
    reason: /^CONNECT: connection failed: Connection refused \(os error 111\)$/,
    where: "end",
  },
  {
    name: "doubled pseudo-headers",
    act: request(
      () => [...connectTo("10.0.0.2:80"), { name: ":authority", value: "10.0.0.2:81" }],
      "RST_STREAM 1 PROTOCOL_ERROR",
    ),
    reason: /^h2 failed: stream error detected: unspecific protocol error detected$/,
  },
  {
    name: "a path on CONNECT",
    act: request(
      () => [...connectTo("10.0.0.2:80"), { name: ":path", value: "/" }],
      "RST_STREAM 1 PROTOCOL_ERROR",
    ),
    reason: /^h2 failed: stream error detected: unspecific protocol error detected$/,
  },
  {
    name: "a header list above the limit",
    act: request(
      () => connectTo("10.0.0.2:80", { cookie: "x".repeat(70_000) }),
      "HEADERS 1 END_STREAM :status=431",
      "RST_STREAM 1 NO_ERROR",
    ),
    reason: /^h2 failed: stream error detected: detected excessive load generating behavior$/,
  },
  {
    name: "a header bomb four times the limit",
    act: async (planes) => {
      const raw = await goodPeer(planes);
      raw.peer.send(raw.peer.headers(1, connectTo("a:1", { cookie: "x".repeat(270_000) })));
      await endsWith(raw, "ENHANCE_YOUR_CALM");
    },
    reason: /excessive load/,
  },
  {
    name: "a CONTINUATION flood",
    act: async (planes) => {
      const raw = await goodPeer(planes);
      raw.peer.send(frame(FRAME.HEADERS, 0, 1, raw.peer.block(connectTo("a:1"))));
      raw.peer.send(...Array.from({ length: 17 }, () => frame(FRAME.CONTINUATION, 0, 1)));
      await endsWith(raw, "ENHANCE_YOUR_CALM");
    },
    reason: /excessive load/,
  },
  {
    name: "a header block that is never finished",
    options: { server: { limits: { headerBlockMsMax: 300 } } },
    act: async (planes) => {
      const raw = await goodPeer(planes);
      raw.peer.send(raw.peer.headers(1, connectTo("server")));
      raw.peer.send(frame(FRAME.HEADERS, 0, 3, raw.peer.block(connectTo("a:1"))));
      await endsWith(raw, "ENHANCE_YOUR_CALM");
    },
    reason: /HBONE connection ended: no complete request headers within 300 ms/,
    where: "line",
  },
  {
    name: "good TLS and then nothing",
    options: { server: { limits: { headerBlockMsMax: 300 } } },
    act: async (planes) => {
      const raw = await planes.tls(await planes.leaf());
      await endsWith(raw, "NO_ERROR");
    },
    reason: /^http2 handshake failed: no complete request headers within 300 ms$/,
  },
  {
    name: "a rapid reset",
    act: async (planes) => {
      const raw = await goodPeer(planes);
      const authority = `${planes.serverIp}:${planes.app.port}`;
      const pairs = Array.from({ length: 30 }, (_, index) => 2 * index + 1).flatMap((id) => [
        raw.peer.headers(id, connectTo(authority)),
        reset(id, 8),
      ]);
      raw.peer.send(...pairs);
      await endsWith(raw, "ENHANCE_YOUR_CALM");
    },
    reason: /HBONE connection ended: Cannot accept more than 20 resets at once/,
    where: "line",
  },
  ...[
    { name: "PING", flood: frame(FRAME.PING, 0, 0, "12345678") },
    { name: "SETTINGS", flood: settings() },
  ].map(({ name, flood }): BadInput => ({
    name: `a ${name} flood by a peer that never reads`,
    act: async (planes) => {
      const before = Deno.memoryUsage().rss;
      const sent = await writeUntilReset(planes, flood);
      assert(sent < 64 * 2 ** 20, `reset after ${sent} octets`);
      assert(Deno.memoryUsage().rss - before < 64 * 2 ** 20, "memory stays flat");
    },
    reason: /^http2 handshake failed: .*: detected excessive load generating behavior$/,
  })),
  {
    name: "a window that stays shut for ever",
    act: async (planes) => {
      const raw = await planes.tls(await planes.leaf());
      raw.peer.send(PREFACE, settings([4, 0]));
      raw.peer.send(raw.peer.headers(1, connectTo(`${planes.serverIp}:${planes.app.port}`)));
      await raw.line("HEADERS 1 :status=200");
      // The application echoes, and nothing of it may come back: it stops in window and buffers.
      const megabyte = new Uint8Array(16_384);
      for (let sent = 0; sent < 1_048_576; sent += 16_384) raw.peer.send(data(1, megabyte));
      await new Promise((resolve) => setTimeout(resolve, 300));
      assertEquals(raw.peer.lines.filter((line) => line.startsWith("DATA")), []);
      await raw.close();
    },
    reason: /^-: ok$/,
    where: "end",
  },
  {
    name: "DATA before a refusal",
    options: { policies: [denyOf("cluster.local/ns/default/sa/nobody")] },
    act: async (planes) => {
      const raw = await planes.tls(
        await planes.leaf({ uris: ["spiffe://cluster.local/ns/default/sa/nobody"] }),
      );
      raw.peer.send(PREFACE, settings());
      const { accepted } = planes.app;
      const authority = `${planes.serverIp}:${planes.app.port}`;
      raw.peer.send(raw.peer.headers(1, connectTo(authority)), data(1, "secret"));
      await raw.line("HEADERS 1 END_STREAM :status=401");
      await raw.line("RST_STREAM 1 NO_ERROR");
      assertEquals(planes.app.accepted, accepted, "the application heard of nobody");
      await raw.close();
    },
    reason: /^DENY: connection closed due to policy rejection: explicitly denied by: default\/no$/,
    where: "end",
  },
  {
    name: "DATA beyond a stream's window",
    act: async (planes) => {
      const raw = await goodPeer(planes);
      holdRequestsFor(planes, 9);
      raw.peer.send(raw.peer.headers(1, connectTo(`${planes.serverIp}:9`)));
      const quarter = new Uint8Array(1_048_576);
      raw.peer.send(...[1, 2, 3, 4].map(() => data(1, quarter)), data(1, "x"));
      await raw.line("RST_STREAM 1 FLOW_CONTROL_ERROR");
      await raw.close();
    },
    reason: /^h2 failed: stream error detected: flow-control protocol violated$/,
  },
  {
    name: "DATA beyond the connection's window",
    act: async (planes) => {
      const raw = await goodPeer(planes);
      holdRequestsFor(planes, 9);
      const quarter = new Uint8Array(1_048_576);
      for (const id of [1, 3, 5, 7, 9]) {
        raw.peer.send(raw.peer.headers(id, connectTo(`${planes.serverIp}:9`)));
        raw.peer.send(...[1, 2, 3, 4].map(() => data(id, quarter)));
      }
      await endsWith(raw, "FLOW_CONTROL_ERROR");
    },
    reason: /Cannot accept DATA of 1048576 bytes: connection window has 0/,
    where: "line",
  },
  {
    name: "DATA on stream 0",
    act: async (planes) => {
      const raw = await goodPeer(planes);
      raw.peer.send(data(0, "x"));
      await endsWith(raw, "PROTOCOL_ERROR");
    },
    reason: /^http2 handshake failed: connection error detected: unspecific protocol error/,
  },
  {
    name: "a frame above the frame size",
    act: async (planes) => {
      const raw = await goodPeer(planes);
      raw.peer.send(frame(FRAME.DATA, 0, 1, new Uint8Array(1_048_577)));
      await endsWith(raw, "FRAME_SIZE_ERROR");
    },
    reason: /^http2 handshake failed: connection error detected: frame with invalid size/,
  },
  {
    name: "an impossible setting",
    act: async (planes) => {
      const raw = await planes.tls(await planes.leaf());
      raw.peer.send(PREFACE, settings([5, 1]));
      await endsWith(raw, "PROTOCOL_ERROR");
    },
    reason: /^http2 handshake failed: connection error detected: unspecific protocol error/,
  },
  {
    name: "handshakes left half open",
    options: { server: { limits: { handshakeMsMax: 300 } } },
    act: async (planes) => {
      await Promise.all(Array.from({ length: 20 }, () => tcpSays(planes.serverIp, 15008, "")));
      assertEquals(planes.server.events.refusals.length, 20);
    },
    reason: /^tls handshake error: .*deadline has elapsed/,
  },
  {
    name: "more handshakes than may be in progress",
    options: { server: { limits: { handshakesMax: 4, handshakeMsMax: 500 } } },
    act: async (planes) => {
      await Promise.all(Array.from({ length: 20 }, () => tcpSays(planes.serverIp, 15008, "")));
      assertEquals(planes.server.plane.statsNow().refusedHandshakes, 16);
    },
    reason: /^tls handshake error: 4 others are in progress$/,
  },
];

/** Writes `piece` again and again and reads nothing, until the connection breaks; says how much went. */
async function writeUntilReset(planes: LoopbackPlanes, piece: Uint8Array): Promise<number> {
  const leaf = await planes.leaf();
  // The runtime's own TLS client: unlike node:tls it reads nothing that it is not asked to.
  const peer = await Deno.connectTls({
    hostname: planes.serverIp,
    port: 15008,
    caCerts: [planes.ca.rootPem],
    cert: leaf.certPem,
    key: leaf.keyPem,
    alpnProtocols: ["h2"],
    unsafelyDisableHostnameVerification: true,
  });
  let sent = 0;
  try {
    await peer.handshake();
    await writeAll(peer, concat(PREFACE, settings()));
    const many = concat(...Array.from({ length: 4_096 }, () => piece));
    for (; sent < 256 * 2 ** 20; sent += many.length) await writeAll(peer, many);
  } catch (error) {
    const broken = error instanceof Deno.errors.ConnectionReset ||
      error instanceof Deno.errors.BrokenPipe;
    if (!broken) throw error;
  } finally {
    peer.close();
  }
  return sent;
}

/** Requests for this port wait in the Router for ever: nobody takes their DATA. */
function holdRequestsFor(planes: LoopbackPlanes, port: number): void {
  const { router } = planes;
  const ask = router.inbound.bind(router);
  router.inbound = (question, done) => {
    const { authority } = question;
    const held = authority.kind === "address" && authority.address.port === port;
    return held ? { cancel() {} } : ask(question, done);
  };
}

async function bystanderStaysIntact(planes: LoopbackPlanes, act: () => Promise<void>) {
  const bystander = await planes.connect();
  try {
    await echoes(bystander, 10_000);
    let busy = true;
    const meanwhile = (async () => {
      while (busy) await echoes(bystander, 4_096);
    })();
    try {
      await act();
    } finally {
      busy = false;
      await meanwhile;
    }
    await echoes(bystander, 500_000);
  } finally {
    bystander.close();
  }
}

Deno.test.each(CASES)(`[${TEST_NETWORK}] 15008 withstands $name`, async (given) => {
  await using planes = await LoopbackPlanes.start(given.options ?? {});
  const { events, plane } = planes.server;
  await bystanderStaysIntact(planes, async () => {
    await given.act(planes);
    const seen = () =>
      given.where === "end"
        ? events.ends
        : given.where === "line"
        ? events.messages
        : events.refusals;
    await until(() => seen().some((text) => given.reason.test(text)), 2_000)
      .catch(() => assertEquals(seen(), [String(given.reason)]));
    // Only the bystander's transport is left.
    await until(() => plane.statsNow().inboundTransports === 1, 3_000);
  });
});
