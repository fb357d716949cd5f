// The stream pipeline of 15008 (spec/data-path §3.2) as a peer sees it, and as the access log does.
import { assert, assertEquals } from "@std/assert";
import {
  App,
  CLIENT,
  CLIENT_IP,
  DataPlaneWorld,
  identityOf,
  SERVER_IP,
} from "../../tests/support/data_plane_world.ts";
import { connectTo, HboneClient } from "../../tests/support/hbone_client.ts";
import type { SocketAddress } from "../base/address.ts";
import { ProxyError } from "../base/errors.ts";
import type { Link } from "../net/memory/link.ts";
import { PERFECT_LINK } from "../net/memory/link_plan.ts";
import type { Listener } from "../net/network.ts";
import type { HeaderList } from "../h2/types.ts";
import type { InboundRoute } from "../seam/route.ts";
import { RouteError } from "../seam/router.ts";
import { encodeProxyHeader } from "./proxy_header.ts";

const APP = { ip: SERVER_IP, port: 8080 };
const AUTHORITY = "10.0.0.2:8080";

function header(headers: HeaderList, name: string): string | undefined {
  return headers.find((each) => each.name === name)?.value;
}

/** A policy that applies to everything in the namespace. */
function policy(name: string, action: "Allow" | "Deny", rules: unknown) {
  return { name, namespace: "default", scope: "Namespace", action, rules, dryRun: false };
}

const DENY_ALL = policy("no", "Deny", [[[{ notDestinationPorts: [1] }]]]);
const ALLOW_NOBODY = policy("nobody", "Allow", [[[{ destinationPorts: [1] }]]]);

/** An application on the server's host, at any of its addresses; it answers nothing. */
function listenAt(world: DataPlaneWorld, address: SocketAddress) {
  const conversations: App[] = [];
  const listeners: Listener[] = [];
  world.network(SERVER_IP).listen(
    address,
    { backlog: 16, keepalive: null },
    (channel) => conversations.push(new App(channel)),
    (outcome) => {
      if (outcome instanceof ProxyError) throw outcome;
      listeners.push(outcome);
    },
  );
  world.clock.runUntilIdle();
  return { conversations, listener: listeners[0]! };
}

async function serverWorld(options: Parameters<typeof DataPlaneWorld.create>[0] = {}) {
  const world = await DataPlaneWorld.create(options);
  const { plane, events } = world.server();
  const client = await HboneClient.connect(world);
  return { world, plane, events, client };
}

Deno.test("InboundTunnel answers 200 once the application is connected, then copies", async () => {
  const { world, events, client } = await serverWorld();
  const app = world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  assertEquals([call.status, call.endStream], ["200", false]);
  assertEquals(app.conversations.length, 1);
  call.send("hello");
  world.clock.advance(1);
  assertEquals(call.text, "hello");
  call.stream!.endWrite();
  world.clock.advance(1);
  assertEquals([call.ended, call.closed, call.closeError], [true, true, null]);
  assertEquals(events.ends, ["-: ok"]);
  world.dispose();
});

/** Routes to an application tunnel, as the Router does for a sandwiched waypoint (I15, T4). */
function tunnelledTo(
  world: DataPlaneWorld,
  change: Partial<Pick<InboundRoute, "dial" | "dialFrom" | "proxyTarget">>,
): void {
  const { router } = world;
  const ask = router.inbound.bind(router);
  router.inbound = (question, done) =>
    ask(
      question,
      (outcome) => done(outcome instanceof ProxyError ? outcome : { ...outcome, ...change }),
    );
}

Deno.test("InboundTunnel tells the application of a tunnel who calls, after the 200 and before the user's first octet", async () => {
  const { world, events, client } = await serverWorld();
  tunnelledTo(world, {
    dial: { ip: "127.0.0.1", port: 15088 },
    dialFrom: "127.0.0.1",
    proxyTarget: { ip: SERVER_IP, port: 8080 },
  });
  const application = listenAt(world, { ip: "127.0.0.1", port: 15088 });
  const call = client.call(connectTo(AUTHORITY));
  call.send("user's octets");
  world.clock.advance(1);
  assertEquals(call.status, "200");
  const [heard] = application.conversations;
  const header = encodeProxyHeader({
    source: client.channel.local,
    destination: { ip: SERVER_IP, port: 8080 },
    identity: identityOf(CLIENT),
  });
  assertEquals(heard!.text, String.fromCharCode(...header) + "user's octets");
  assertEquals(heard!.channel.peer.ip, "127.0.0.1");
  heard!.send("answer");
  call.stream!.endWrite();
  world.clock.advance(1);
  assertEquals([call.text, heard!.ended], ["answer", true]);
  heard!.channel.endWrite();
  world.clock.advance(1);
  assertEquals(events.ends, ["-: ok"]);
  const [{ record }] = events.closedRecords as [typeof events.closedRecords[0]];
  assertEquals([record.bytesToServer, record.bytesToClient], [13, 6]);
  application.listener.close();
  world.dispose();
});

Deno.test("InboundTunnel writes the header to an application that speaks first, too", async () => {
  const { world, client } = await serverWorld();
  tunnelledTo(world, { proxyTarget: { ip: "2001:db8::1", port: 80 } });
  const app = world.app(APP, { echo: false });
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  const [heard] = app.conversations;
  assertEquals([heard!.bytes, heard!.text.charCodeAt(13)], [16 + 46, 0x01]);
  assertEquals(call.status, "200");
  call.stream!.reset(null);
  world.clock.advance(1);
  world.dispose();
});

Deno.test("InboundTunnel ends a stream after its 200 when the application is gone before the header", async () => {
  const { world, client } = await serverWorld();
  tunnelledTo(world, { proxyTarget: { ip: SERVER_IP, port: 8080 } });
  const app = world.app(APP, { echo: false });
  const call = client.call(connectTo(AUTHORITY));
  world.drive(() => app.conversations.length === 1);
  app.conversations[0]!.channel.reset(null);
  call.stream!.endWrite();
  world.drive(() => call.closed);
  assertEquals(call.status, "200");
  world.dispose();
});

Deno.test("InboundTunnel answers 503 where the header has no address to name", async () => {
  const { world, events, client } = await serverWorld();
  const text = "requested service server.default.svc.cluster.local found, but has no IP addresses";
  world.router.inbound = (_question, done) =>
    world.clock.after(0, () => done(new RouteError("NO_SERVICE_ADDRESS", text)));
  const call = client.call(connectTo("server.default.svc.cluster.local:80"));
  world.drive(() => call.closed);
  assertEquals([call.status, events.refusals], ["503", [text]]);
  world.dispose();
});

Deno.test("InboundTunnel tells the destination's baggage in the 200", async () => {
  const { world, client } = await serverWorld();
  world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  assertEquals(
    header(call.headers, "baggage"),
    "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=server," +
      "service.name=server",
  );
  world.dispose();
});

Deno.test("InboundTunnel neither sends nor reads baggage when told not to", async () => {
  const world = await DataPlaneWorld.create();
  const { events } = world.server({ settings: { responseBaggage: false } });
  const client = await HboneClient.connect(world);
  world.app(APP);
  const call = client.call(connectTo(AUTHORITY, { baggage: "service.name=a" }));
  world.clock.advance(1);
  assertEquals(call.headers, [{ name: ":status", value: "200" }]);
  assertEquals(events.openedRecords[0]!.facts.sourceBaggage, null);
  world.dispose();
});

const GET: HeaderList = [
  { name: ":method", value: "GET" },
  { name: ":scheme", value: "https" },
  { name: ":path", value: "/" },
  { name: ":authority", value: AUTHORITY },
];

Deno.test.each<{ name: string; headers: HeaderList; status: string; error: string }>([
  {
    name: "GET",
    headers: GET,
    status: "400",
    error: "expected method CONNECT, got GET",
  },
  {
    name: "no authority",
    headers: [{ name: ":method", value: "CONNECT" }],
    status: "400",
    error: "no valid authority pseudo header: ",
  },
  {
    name: "an authority without port",
    headers: connectTo("server"),
    status: "400",
    error: "no valid authority pseudo header: server",
  },
  {
    name: "an authority with an empty port",
    headers: connectTo("server:"),
    status: "400",
    error: "no valid authority pseudo header: server:",
  },
  {
    name: "a port above 65535",
    headers: connectTo("10.0.0.2:70000"),
    status: "400",
    error: "no valid authority pseudo header: 10.0.0.2:70000",
  },
  {
    name: "an IPv6 address without port",
    headers: connectTo("[::1]"),
    status: "400",
    error: "no valid authority pseudo header: [::1]",
  },
  {
    name: "another address than its own",
    headers: connectTo("10.0.0.1:8080"),
    status: "400",
    error: "ip mismatch: 10.0.0.2 != 10.0.0.1",
  },
  {
    name: "an unknown host name",
    headers: connectTo("nowhere.example:80"),
    status: "503",
    error: "no service or workload for hostname: nowhere.example",
  },
  ...[15001, 15006, 15008, 15080].map((port) => ({
    name: `its own port ${port}`,
    headers: connectTo(`10.0.0.2:${port}`),
    status: "503",
    error: "attempted recursive call to ourselves",
  })),
])("InboundTunnel answers $status to $name, and logs it before anything opens", async (
  { headers, status, error },
) => {
  const { world, events, client } = await serverWorld();
  const call = client.call(headers);
  world.clock.advance(1);
  assertEquals([call.status, call.endStream], [status, true]);
  assertEquals(call.headers.length, 1);
  assertEquals(events.refusals, [error]);
  assertEquals(events.openedRecords, []);
  assertEquals([events.early[0]!.sourceAddress.ip, events.early[0]!.destinationAddress], [
    CLIENT_IP,
    { ip: SERVER_IP, port: 15008 },
  ]);
  world.dispose();
});

Deno.test("InboundTunnel refuses one stream without hurting the next (I5)", async () => {
  const { world, client } = await serverWorld();
  world.app(APP);
  const bad = client.call(GET);
  const good = client.call(connectTo(AUTHORITY));
  good.send("fine");
  world.clock.advance(1);
  assertEquals([bad.status, good.status, good.text], ["400", "200", "fine"]);
  world.dispose();
});

Deno.test("InboundTunnel answers 503 after 5 s for an unknown local workload", async () => {
  const world = await DataPlaneWorld.create();
  const { events } = world.server({
    local: { namespace: "default", name: "ghost", serviceAccount: "server" },
  });
  const client = await HboneClient.connect(world);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(4_999);
  assertEquals(call.status, null);
  world.clock.advance(2);
  assertEquals(call.status, "503");
  assertEquals(events.refusals, [
    "failed to fetch information about local workload: server.default (ghost)",
  ]);
  world.dispose();
});

Deno.test.each([
  {
    policies: [DENY_ALL],
    error: "connection closed due to policy rejection: explicitly denied by: default/no",
  },
  {
    policies: [ALLOW_NOBODY],
    error: "connection closed due to policy rejection: allow policies exist, but none allowed",
  },
])("InboundTunnel answers 401 and has a whole record: $error", async ({ policies, error }) => {
  const { world, events, client } = await serverWorld({ policies });
  const app = world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  call.send("secret");
  world.clock.advance(1);
  assertEquals([call.status, call.endStream], ["401", true]);
  assertEquals(events.ends, [`DENY: ${error}`]);
  assertEquals(events.refusals, []);
  assertEquals(app.conversations.length, 0);
  world.dispose();
});

Deno.test("InboundTunnel answers 503 when the application's port is closed", async () => {
  const { world, events, client } = await serverWorld();
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  assertEquals([call.status, call.endStream], ["503", true]);
  assertEquals(events.ends, ["CONNECT: connection failed: Connection refused (os error 111)"]);
  world.dispose();
});

Deno.test.each([{ afterMs: 9_999, status: null }, { afterMs: 10_000, status: "503" }])(
  "InboundTunnel gives the application 10 s to accept: $status after $afterMs ms",
  async ({ afterMs, status }) => {
    const { world, events, client } = await serverWorld({
      plan: ({ destination }) =>
        destination.port === 8080 ? { ...PERFECT_LINK, connect: "vanish" } : PERFECT_LINK,
    });
    const call = client.call(connectTo(AUTHORITY));
    world.clock.advance(afterMs);
    world.clock.runUntilIdle();
    assertEquals(call.status, status);
    if (status !== null) {
      assertEquals(events.ends, ["CONNECT: connection failed: deadline has elapsed"]);
    }
    world.dispose();
  },
);

Deno.test("InboundTunnel holds DATA before the 200, and delivers it after", async () => {
  const { world, client } = await serverWorld({
    plan: ({ destination }) =>
      destination.port === 8080 ? { ...PERFECT_LINK, connectMs: 3_000 } : PERFECT_LINK,
  });
  const app = world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  call.send("early ");
  call.send("bird");
  call.stream!.endWrite();
  world.clock.advance(2_999);
  assertEquals([call.status, app.conversations.length], [null, 0]);
  world.clock.advance(2);
  assertEquals([call.status, app.conversations[0]!.text, call.text], [
    "200",
    "early bird",
    "early bird",
  ]);
  world.dispose();
});

Deno.test("InboundTunnel stops dialling when the peer gives up, and that is no error", async () => {
  const { world, events, client, plane } = await serverWorld({
    plan: ({ destination }) =>
      destination.port === 8080 ? { ...PERFECT_LINK, connect: "vanish" } : PERFECT_LINK,
  });
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1_000);
  call.stream!.reset(null);
  world.clock.advance(1);
  assertEquals(events.ends, ["-: ok"]);
  assertEquals([plane.statsNow().connections, plane.statsNow().tracked], [0, 0]);
  world.dispose();
});

Deno.test("InboundTunnel states who, where from, and what was meant", async () => {
  const { world, events, client } = await serverWorld();
  world.app(APP);
  client.call(connectTo(AUTHORITY, {
    baggage: "k8s.namespace.name=ns2,service.name=web-svc",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
  }));
  world.clock.advance(1);
  const { facts } = events.openedRecords[0]!;
  assertEquals(facts.sourceIdentity!.uri, "spiffe://cluster.local/ns/default/sa/client");
  assertEquals([facts.source!.name, facts.destination!.name], [CLIENT.name, "server"]);
  assertEquals([facts.destinationAddress, facts.hboneAuthority], [
    { ip: SERVER_IP, port: 15008 },
    AUTHORITY,
  ]);
  assertEquals([facts.sourceBaggage!.namespace, facts.sourceBaggage!.service], ["ns2", "web-svc"]);
  assertEquals(facts.traceId, "0af7651916cd43dd8448eb211c80319c");
  assertEquals([facts.mutualTls, facts.protocol, facts.direction], [true, "HBONE", "inbound"]);
  world.dispose();
});

Deno.test.each([
  { header: "network2", known: false },
  { header: "", known: false },
  { header: "network1", known: true },
  { header: "NETWORK1", known: true },
  { header: null, known: true },
])(
  "InboundTunnel of network1 looks up a source of network $header by its address: $known",
  async ({ header, known }) => {
    const world = await DataPlaneWorld.create();
    const { events } = world.server({ settings: { network: "network1" } });
    const client = await HboneClient.connect(world);
    world.app(APP);
    const baggage = "k8s.cluster.name=c2,k8s.namespace.name=ns2,k8s.deployment.name=web," +
      "service.name=web-svc,service.version=v3";
    const network = header === null ? {} : { "x-forwarded-network": header };
    client.call(connectTo(AUTHORITY, { baggage, ...network }));
    world.clock.advance(1);
    const { facts } = events.openedRecords[0]!;
    assertEquals(facts.source?.name ?? null, known ? "client" : null);
    assertEquals(facts.sourceBaggage!.workloadName, "web");
    assertEquals(facts.sourceIdentity!.uri, identityOf(CLIENT).uri);
    world.dispose();
  },
);

Deno.test("InboundTunnel draws a trace id of its own for a header it cannot read", async () => {
  const { world, events, client } = await serverWorld();
  world.app(APP);
  client.call(connectTo(AUTHORITY, { traceparent: "0".repeat(55) }));
  world.clock.advance(1);
  assertEquals(/^[0-9a-f]{32}$/.test(events.openedRecords[0]!.facts.traceId), true);
  world.dispose();
});

Deno.test("InboundTunnel passes an application's reset on as the end of data (W14)", async () => {
  const { world, events, client } = await serverWorld();
  const app = world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  app.conversations[0]!.channel.reset(null);
  world.clock.advance(1);
  assertEquals([call.ended, call.closeError], [true, null]);
  call.stream!.endWrite();
  world.clock.advance(1);
  assertEquals(events.ends, ["-: ok"]);
  world.dispose();
});

Deno.test("InboundTunnel ends with a bug in its handling, and nothing else does", async () => {
  const { world, plane, events, client } = await serverWorld();
  world.app(APP);
  const kept = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  const { router } = world;
  const ask = router.inbound.bind(router);
  router.inbound = () => {
    throw new TypeError("a bug of ours");
  };
  const hurt = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  router.inbound = ask;
  kept.send("still here");
  world.clock.advance(1);
  assertEquals([hurt.failure?.code, kept.text], ["CANCEL", "still here"]);
  assertEquals(plane.statsNow().faults, 1);
  const line = events.lines.find(({ level }) => level === "error")!;
  assert(String(line.fields.error).includes("a bug of ours"));
  assert(String(line.fields.error).includes("tunnel_test.ts"), "the stack is there");
  // The world expects no bugs; this one was the test's.
  kept.stream!.reset(null);
  plane.stop(() => {});
  world.clock.advance(60_000);
  assertEquals([plane.statsNow().connections, plane.statsNow().timers], [0, 0]);
});

Deno.test("InboundTunnel refuses beyond the connections there may be, and keeps the old ones", async () => {
  const world = await DataPlaneWorld.create();
  const { plane, events } = world.server({ limits: { connectionsMax: 2 } });
  const client = await HboneClient.connect(world);
  world.app(APP);
  const calls = [1, 2, 3].map(() => client.call(connectTo(AUTHORITY)));
  world.clock.advance(1);
  assertEquals(calls.map(({ status }) => status), ["200", "200", "503"]);
  assertEquals(events.refusals, ["no room for another connection: 2 are open"]);
  assertEquals(plane.statsNow().refusedConnections, 1);
  calls[0]!.stream!.reset(null);
  world.clock.advance(1);
  const next = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  assertEquals(next.status, "200");
  world.dispose();
});

Deno.test("InboundTunnel blocks a sender when the application does not read, and loses nothing (W16)", async () => {
  const links: Link[] = [];
  const { world, client } = await serverWorld({ onLink: (link) => links.push(link) });
  const app = world.app(APP, { echo: false });
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  app.conversations[0]!.channel.pause();
  const piece = "x".repeat(65_536);
  let sent = 0;
  for (let round = 0; round < 200; round++) {
    call.send(piece);
    sent += piece.length;
    world.clock.advance(1);
  }
  assertEquals(app.conversations[0]!.bytes, 0);
  app.conversations[0]!.channel.resume();
  world.drive(() => app.conversations[0]!.bytes === sent);
  world.dispose();
});

// Source addresses (spec/data-path §3.5).

Deno.test.each([
  { transparent: true, expected: CLIENT_IP, name: "T1: where the listener is transparent" },
  { transparent: false, expected: SERVER_IP, name: "T2: not where it could not be" },
])("InboundTunnel dials in its peer's name ($name)", async ({ transparent, expected }) => {
  const { world, client, plane } = await serverWorld({ transparent });
  const app = world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  assertEquals(plane.local.inbound!.transparent, transparent);
  assertEquals([call.status, app.conversations[0]!.channel.peer.ip], ["200", expected]);
  world.dispose();
});
