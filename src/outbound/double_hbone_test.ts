// Two tunnels, one in the other, to another network (spec/data-path §1.11): as the far side sees them, as the access
// log does, and what is left when a step fails.
import { assert, assertEquals } from "@std/assert";
import {
  type App,
  CLIENT,
  CLIENT_IP,
  DataPlaneWorld,
  identityOf,
  SERVER,
  SERVER_IP,
  testCrl,
  testLeaf,
  type WorldOptions,
} from "../../tests/support/data_plane_world.ts";
import { GatewayPeer } from "../../tests/support/gateway_peer.ts";
import { HbonePeer, type PeerOptions, sayOn } from "../../tests/support/hbone_peer.ts";
import { ProxyError } from "../base/errors.ts";
import type { DataPlaneOptions } from "../dataplane.ts";
import type { HeaderList } from "../h2/types.ts";
import { NO_BAGGAGE } from "../hbone/baggage.ts";
import type { Link } from "../net/memory/link.ts";
import { PERFECT_LINK } from "../net/memory/link_plan.ts";
import type { DoubleHboneHop } from "../seam/route.ts";
import type { WorkloadFacts } from "../seam/workload.ts";
import { sha256Hex } from "../tls/chain.ts";

const GATEWAY_IP = "10.0.0.9";
const GATEWAY = { namespace: "istio-system", name: "gateway", serviceAccount: "gateway" };
const STRANGER = { namespace: "default", name: "stranger", serviceAccount: "stranger" };
const AUTHORITY = "example.com:80";
/** What the application dials: a service's VIP. */
const VIP = { ip: "10.96.0.10", port: 80 };

const WORKLOADS = [
  { ...CLIENT, ip: CLIENT_IP },
  { ...SERVER, ip: SERVER_IP },
  { ...GATEWAY, ip: GATEWAY_IP },
  { ...STRANGER, ip: "10.0.0.8" },
];

const HOP: DoubleHboneHop = {
  protocol: "DOUBLEHBONE",
  peer: { ip: GATEWAY_IP, port: 15008 },
  authority: AUTHORITY,
  expected: [identityOf(GATEWAY)],
  innerExpected: [identityOf(SERVER)],
};

const FAR_BAGGAGE = "k8s.cluster.name=far,k8s.namespace.name=ns2,k8s.deployment.name=web," +
  "service.name=web-svc,service.version=v3";

const ACCEPTED: HeaderList = [
  { name: ":status", value: "200" },
  { name: "baggage", value: FAR_BAGGAGE },
];

interface DoubleOptions extends WorldOptions {
  readonly hop?: Partial<DoubleHboneHop>;
  /** The far proxy; null: there is none. */
  readonly far?: PeerOptions | null;
  readonly plane?: Partial<DataPlaneOptions>;
  readonly withoutGateway?: boolean;
}

/** A client's data plane whose every call goes through the gateway to a far proxy. */
async function doubleWorld(options: DoubleOptions = {}) {
  const links: Link[] = [];
  const world = await DataPlaneWorld.create({
    workloads: WORKLOADS,
    onLink: (link) => links.push(link),
    ...options,
  });
  for (const { ip } of WORKLOADS) world.network(ip);
  const { plane, events } = world.client({ settings: { network: "home" }, ...options.plane });
  const { router } = world;
  const ask = router.outbound.bind(router);
  let destination: WorkloadFacts | null = null;
  router.localWorkload(GATEWAY, (outcome) => {
    if (!(outcome instanceof ProxyError)) destination = outcome;
  });
  world.clock.runUntilIdle();
  router.outbound = (question, done) =>
    ask(question, (outcome) => {
      if (outcome instanceof ProxyError) return done(outcome);
      const hop = { ...HOP, ...options.hop };
      done({
        ...outcome,
        candidates: [{ weight: 1, hop, destination }],
        service: { hostname: "example.com", name: "example", namespace: "ns2" },
      });
    });
  const gateway = options.withoutGateway ? null : new GatewayPeer({
    network: world.network(GATEWAY_IP),
    clock: world.clock,
    certificates: world.sources.get(GATEWAY.name)!,
    address: { ip: GATEWAY_IP, port: 15008 },
    targets: new Map([[AUTHORITY, { ip: SERVER_IP, port: 15008 }]]),
  });
  world.clock.runUntilIdle();
  const far = options.far === null
    ? null
    : new HbonePeer(world, { answer: ACCEPTED, ...options.far });
  const dispose = () => {
    gateway?.close();
    far?.close();
    world.dispose();
  };
  return { world, plane, events, gateway: gateway!, far: far!, links, dispose };
}

type Double = Awaited<ReturnType<typeof doubleWorld>>;

/** Calls, and waits until the far proxy has heard it. */
function talking({ world, far }: Double): App {
  const before = far.connections.length;
  const user = world.captured(VIP);
  user.send("hello");
  world.drive(() => far.connections[before]?.texts[0] === "hello");
  return user;
}

function header(headers: HeaderList, name: string): string | undefined {
  return headers.find((each) => each.name === name)?.value;
}

Deno.test("OutboundConnection says the same in both tunnels, and the own network in the inner one alone", async () => {
  const d = await doubleWorld();
  const user = talking(d);
  const [outer] = d.gateway.requests;
  const [inner] = d.far.requests;
  assertEquals(inner!.slice(0, -1), outer!);
  assertEquals(outer!.map(({ name }) => name), [
    ":method",
    ":authority",
    "baggage",
    "forwarded",
    "traceparent",
  ]);
  assertEquals(header(outer!, ":authority"), AUTHORITY);
  assertEquals(inner!.at(-1), { name: "x-forwarded-network", value: "home" });
  const { facts } = d.events.openedRecords[0]!;
  assertEquals(
    header(outer!, "forwarded"),
    `for="10.0.0.1:${facts.sourceAddress.port}";host=example.com`,
  );
  assertEquals(header(inner!, "traceparent")!.slice(3, 35), facts.traceId);
  user.channel.reset(null);
  d.dispose();
});

Deno.test("OutboundConnection sends a network without a name, too", async () => {
  const d = await doubleWorld({ plane: { settings: { network: "" } } });
  const user = talking(d);
  assertEquals(d.far.requests[0]!.at(-1), { name: "x-forwarded-network", value: "" });
  user.channel.reset(null);
  d.dispose();
});

Deno.test("OutboundConnection tells of the far workload what the inner answer and handshake say of it", async () => {
  const d = await doubleWorld();
  const user = talking(d);
  const { facts } = d.events.openedRecords[0]!;
  assertEquals(facts.destinationBaggage, {
    ...NO_BAGGAGE,
    clusterId: "far",
    namespace: "ns2",
    workloadType: "deployment",
    workloadName: "web",
    service: "web-svc",
    revision: "v3",
  });
  assertEquals(facts.destinationIdentity!.uri, identityOf(SERVER).uri);
  assertEquals([facts.protocol, facts.mutualTls, facts.hboneAuthority, facts.service!.name], [
    "DOUBLEHBONE",
    true,
    AUTHORITY,
    "example",
  ]);
  assertEquals(facts.destinationAddress, { ip: GATEWAY_IP, port: 15008 });
  assertEquals(facts.sourceIdentity!.uri, identityOf(CLIENT).uri);
  user.channel.reset(null);
  d.dispose();
});

Deno.test.each([
  { name: "no baggage: nothing is known", answer: [ACCEPTED[0]!], baggage: NO_BAGGAGE, far: true },
  {
    name: "baggage that cannot be read: the gateway's stay",
    answer: [ACCEPTED[0]!, { name: "baggage", value: "service.name=n\u00f6" }],
    baggage: null,
    far: false,
  },
])("OutboundConnection's facts with $name", async ({ answer, baggage, far }) => {
  const d = await doubleWorld({ far: { answer } });
  const user = talking(d);
  const { facts } = d.events.openedRecords[0]!;
  assertEquals(facts.destinationBaggage, baggage);
  assertEquals(facts.destination!.name, "gateway");
  assertEquals(facts.destinationIdentity!.uri, identityOf(far ? SERVER : GATEWAY).uri);
  user.channel.reset(null);
  d.dispose();
});

Deno.test("OutboundConnection counts as opened when both tunnels stand, not before", async () => {
  const d = await doubleWorld({ far: { answer: null } });
  const user = d.world.captured(VIP);
  d.world.drive(() => d.far.requests.length === 1);
  assertEquals(d.events.openedRecords.length, 0);
  d.far.connections[0]!.streams[0]!.respond(ACCEPTED, { endStream: false });
  d.world.clock.advance(1);
  assertEquals([d.events.openedRecords.length, d.events.ends.length], [1, 0]);
  user.channel.reset(null);
  d.dispose();
});

Deno.test("OutboundConnection shares the gateway's TLS connection and nothing inside it", async () => {
  const d = await doubleWorld();
  const users = [talking(d), talking(d)];
  assertEquals([d.gateway.connections.length, d.gateway.spliced, d.far.connections.length], [
    1,
    2,
    2,
  ]);
  assertEquals(d.far.connections.map(({ requests }) => requests.length), [1, 1]);
  const { outboundTransports, pooled, streams } = d.plane.statsNow();
  assertEquals({ outboundTransports, pooled, streams }, {
    outboundTransports: 3,
    pooled: 1,
    streams: 4,
  });
  for (const user of users) user.channel.reset(null);
  d.dispose();
});

Deno.test("OutboundConnection drops the inner connection at its end without GOAWAY; the outer one stays", async () => {
  const d = await doubleWorld();
  const user = talking(d);
  sayOn(d.far.connections[0]!.streams[0]!, "bye");
  user.channel.endWrite();
  d.world.drive(() => user.closed);
  assertEquals([user.text, user.ended, user.closeError], ["bye", true, null]);
  d.world.clock.advance(1);
  const [inner] = d.far.connections;
  assertEquals([inner!.closed, inner!.goAways, d.gateway.spliced], [true, 0, 0]);
  const [outer] = d.gateway.connections;
  assertEquals([outer!.closed, outer!.goAways, outer!.h2.openStreams], [false, 0, 0]);
  const { outboundTransports, pooled, streams } = d.plane.statsNow();
  assertEquals({ outboundTransports, pooled, streams }, {
    outboundTransports: 1,
    pooled: 1,
    streams: 0,
  });
  assertEquals(d.events.ends, ["-: ok"]);
  const [{ record }] = d.events.closedRecords as [typeof d.events.closedRecords[0]];
  assertEquals([record.bytesToServer, record.bytesToClient], [5, 3]);
  d.dispose();
});

const REFUSED = [{ name: ":status", value: "401" }];

/** Each step's failure, as the access log words it; whether the gateway's connection is left. */
const FAILURES: readonly (DoubleOptions & {
  readonly name: string;
  readonly gatewayAnswer?: number | "never";
  readonly end: string;
  readonly outer: number;
})[] = [
  {
    name: "nobody at the gateway's address",
    withoutGateway: true,
    end: "CONNECT: io error: Connection refused (os error 111)",
    outer: 0,
  },
  {
    name: "a gateway that is somebody else",
    hop: { expected: [identityOf(STRANGER)] },
    end: "CONNECT: io error: invalid peer certificate: Other(OtherError(identity verification " +
      "error: peer did not present the expected SAN (spiffe://cluster.local/ns/default/sa/" +
      "stranger), got spiffe://cluster.local/ns/istio-system/sa/gateway))",
    outer: 0,
  },
  {
    name: "a gateway that refuses",
    gatewayAnswer: 503,
    end: "CONNECT: http status: 503 Service Unavailable",
    outer: 1,
  },
  {
    name: "a gateway that does not answer",
    gatewayAnswer: "never",
    end: "CONNECT: no answer to CONNECT within 20000 ms",
    outer: 1,
  },
  {
    name: "a gateway with nobody behind it",
    far: null,
    end: "CONNECT: http status: 503 Service Unavailable",
    outer: 1,
  },
  {
    name: "a far proxy that is somebody else",
    far: { as: "stranger" },
    end: "CONNECT: io error: invalid peer certificate: Other(OtherError(identity verification " +
      "error: peer did not present the expected SAN (spiffe://cluster.local/ns/default/sa/" +
      "server), got spiffe://cluster.local/ns/default/sa/stranger))",
    outer: 1,
  },
  {
    name: "a service without names to expect",
    hop: { innerExpected: [] },
    end: "CONNECT: io error: invalid peer certificate: Other(OtherError(identity verification " +
      "error: peer did not present the expected SAN (), got " +
      "spiffe://cluster.local/ns/default/sa/server))",
    outer: 1,
  },
  {
    name: "a far proxy that says no word of TLS",
    far: { handshakes: false },
    end: "CONNECT: io error: deadline has elapsed",
    outer: 1,
  },
  {
    name: "a far proxy that refuses",
    far: { answer: REFUSED },
    end: "CONNECT: http status: 401 Unauthorized",
    outer: 1,
  },
  {
    name: "a far proxy that does not answer",
    far: { answer: null },
    end: "CONNECT: no answer to CONNECT within 20000 ms",
    outer: 1,
  },
];

Deno.test.each(FAILURES)(
  "OutboundConnection ends with $name",
  async ({ name: _name, gatewayAnswer, end, outer, ...options }) => {
    const d = await doubleWorld(options);
    if (gatewayAnswer !== undefined) d.gateway.answer = gatewayAnswer;
    const user = d.world.captured(VIP);
    user.send("lost");
    d.world.drive(() => user.closed);
    assertEquals([d.events.ends, user.text], [[end], ""]);
    const [{ facts }] = d.events.openedRecords as [typeof d.events.openedRecords[0]];
    assertEquals([facts.destination!.name, facts.destinationBaggage], ["gateway", null]);
    assertEquals(facts.destinationIdentity!.uri, identityOf(GATEWAY).uri);
    d.world.clock.advance(10);
    const { connections, outboundTransports, streams } = d.plane.statsNow();
    assertEquals({ connections, outboundTransports, streams }, {
      connections: 0,
      outboundTransports: outer,
      streams: 0,
    });
    d.dispose();
  },
);

/** Steps at which everything can be stopped: what is to be waited for, and what makes it last. */
const STEPS: readonly {
  readonly name: string;
  readonly options?: DoubleOptions;
  readonly prepare?: (d: Double) => void;
  readonly reached: (d: Double) => boolean;
}[] = [
  {
    name: "dialling the gateway",
    options: {
      plan: ({ destination }) =>
        destination.ip === GATEWAY_IP ? { ...PERFECT_LINK, connect: "vanish" } : PERFECT_LINK,
    },
    reached: () => true,
  },
  {
    name: "waiting for the gateway's answer",
    prepare: (d) => d.gateway.answer = "never",
    reached: (d) => d.gateway.requests.length === 1,
  },
  {
    name: "waiting for a certificate",
    prepare: (d) => {
      const source = d.world.sources.get(CLIENT.name)!;
      const get = source.get.bind(source);
      source.get = (done) => {
        const asked = get(done);
        source.certificate = "never"; // From the second question on.
        return asked;
      };
    },
    reached: (d) => d.gateway.spliced === 1,
  },
  {
    name: "shaking hands with the far proxy",
    options: { far: { handshakes: false } },
    reached: (d) => d.gateway.spliced === 1,
  },
  {
    name: "waiting for the far proxy's answer",
    options: { far: { answer: null } },
    reached: (d) => d.far.requests.length === 1,
  },
  {
    name: "copying",
    reached: (d) => d.far.connections[0]?.texts[0] === "octets",
  },
];

/** A user's connection at that step, some time after. */
async function atStep({ options, prepare, reached }: typeof STEPS[number]) {
  const d = await doubleWorld(options);
  prepare?.(d);
  const user = d.world.captured(VIP);
  user.send("octets");
  d.world.drive(() => reached(d));
  d.world.clock.advance(20);
  assertEquals([user.closed, d.plane.statsNow().connections], [false, 1]);
  return { ...d, user };
}

Deno.test.each(STEPS)(
  "OutboundConnection that is $name leaves nothing when the application resets",
  async (step) => {
    const d = await atStep(step);
    d.user.channel.reset(null);
    d.world.clock.advance(50);
    assertEquals(d.events.ends, ["-: ok"]);
    const { connections, streams, tracked, heldBytes, faults } = d.plane.statsNow();
    assertEquals({ connections, streams, tracked, heldBytes, faults }, {
      connections: 0,
      streams: 0,
      tracked: 0,
      heldBytes: 0,
      faults: 0,
    });
    d.dispose();
  },
);

Deno.test.each(STEPS)("OutboundConnection that is $name is cut by a stop", async (step) => {
  const d = await atStep(step);
  let stopped = false;
  d.plane.stop(() => stopped = true);
  d.world.drive(() => stopped && d.user.closed);
  assertEquals(d.events.ends, ["-: connection closed due to connection drain"]);
  assertEquals([d.events.openedRecords.length, d.plane.statsNow().timers], [1, 0]);
  d.dispose();
});

Deno.test.each(STEPS)(
  "OutboundConnection that is $name is cut at a drain's deadline, not before",
  async (step) => {
    const d = await atStep(step);
    let drained = false;
    d.plane.drain(3_000, () => drained = true);
    d.world.clock.advance(2_900);
    assertEquals([drained, d.events.ends.length], [false, 0]);
    d.world.drive(() => drained && d.user.closed);
    assertEquals(d.events.ends, ["-: connection closed due to connection drain"]);
    d.dispose();
  },
);

Deno.test.each(STEPS)("OutboundConnection that is $name ends with the gateway", async (step) => {
  const d = await atStep(step);
  if (step.name === "dialling the gateway") {
    d.user.channel.reset(null);
  } else for (const { h2 } of d.gateway.connections) h2.abort(null);
  d.world.drive(() => d.user.ended || d.user.closed);
  d.user.channel.endWrite();
  d.world.drive(() => d.events.ends.length === 1);
  assertEquals(d.plane.statsNow().faults, 0);
  d.dispose();
});

Deno.test("OutboundConnection fails with the certificate that does not come for the inner handshake", async () => {
  const d = await atStep(STEPS[2]!);
  d.world.drive(() => d.user.closed);
  assertEquals(d.events.ends, ["IDENTITY_ERROR: identity error: deadline has elapsed"]);
  d.dispose();
});

Deno.test("OutboundConnection ends in order when the far proxy dies in the middle", async () => {
  const d = await doubleWorld();
  const user = talking(d);
  d.far.connections[0]!.h2.abort(null);
  d.world.drive(() => user.ended);
  user.channel.endWrite();
  d.world.drive(() => user.closed);
  assertEquals(d.events.ends.length, 1);
  d.world.clock.advance(20);
  assertEquals([d.gateway.open, d.gateway.spliced, d.plane.statsNow().streams], [1, 0, 0]);
  d.dispose();
});

Deno.test("OutboundConnection notices within 30 s that the far proxy fell silent (W20), and keeps the gateway", async () => {
  const d = await doubleWorld();
  const user = talking(d);
  const inner = d.links.filter(({ serverEnd }) =>
    serverEnd.local.ip === SERVER_IP && serverEnd.local.port === 15008
  );
  assertEquals(inner.length, 1);
  inner[0]!.cutSilently();
  const startMs = d.world.clock.nowMs();
  d.world.drive(() => user.ended || user.closed);
  assert(d.world.clock.nowMs() - startMs <= 30_000, "10 s + 20 s");
  user.channel.reset(null);
  d.world.drive(() => d.events.ends.length === 1);
  assertEquals(d.events.ends, ["H2_HANDSHAKE_FAILURE: h2 failed: ping timed out"]);
  assertEquals(d.gateway.open, 1);
  d.dispose();
});

Deno.test("OutboundConnection ends with CERT_REVOKED when either peer's certificate is revoked", async () => {
  for (const who of [SERVER, GATEWAY]) {
    const d = await doubleWorld();
    const user = talking(d);
    const leaf = await testLeaf(identityOf(who));
    const sha256 = sha256Hex(leaf.chainDer[0]!);
    assertEquals(d.plane.revoke(({ peerLeafSha256 }) => peerLeafSha256 === sha256), 1);
    d.world.drive(() => user.closed || user.ended);
    user.channel.reset(null);
    d.world.drive(() => d.events.ends.length === 1);
    assertEquals(d.events.ends, [
      "CERT_REVOKED: connection closed: peer certificate revoked by CRL",
    ]);
    d.dispose();
  }
});

Deno.test("OutboundConnection ends with CERT_REVOKED when new lists name either peer", async () => {
  for (const who of [SERVER, GATEWAY]) {
    const d = await doubleWorld();
    const user = talking(d);
    const { revocation } = d.world.network(CLIENT_IP);
    revocation.replace(await testCrl([await testLeaf(identityOf(STRANGER))]));
    revocation.replace(await testCrl([await testLeaf(identityOf(who))]));
    assertEquals(revocation.counts, { source: 1, destination: 0 });
    d.world.drive(() => user.closed || user.ended);
    user.channel.reset(null);
    d.world.drive(() => d.events.ends.length === 1);
    assertEquals(d.events.ends, [
      "CERT_REVOKED: connection closed: peer certificate revoked by CRL",
    ]);
    d.dispose();
  }
});

Deno.test("OutboundConnection refuses a revoked gateway, and a revoked far proxy", async () => {
  for (const who of [SERVER, GATEWAY]) {
    const d = await doubleWorld();
    const { revocation } = d.world.network(CLIENT_IP);
    revocation.replace(await testCrl([await testLeaf(identityOf(who))]));
    const user = d.world.captured(VIP);
    d.world.drive(() => d.events.ends.length === 1);
    const [end] = d.events.ends;
    assert(end!.startsWith("CONNECT: ") && end!.endsWith("invalid peer certificate: Revoked"), end);
    assertEquals(revocation.counts, { source: 1, destination: 0 });
    user.channel.reset(null);
    d.dispose();
  }
});

Deno.test("OutboundConnection refuses a far proxy that was revoked while its handshake was under way", async () => {
  const d = await doubleWorld();
  const network = d.world.network(CLIENT_IP);
  const lists = await testCrl([await testLeaf(identityOf(SERVER))]);
  const secureClient = network.secureClient.bind(network);
  let secured = 0; // The gateway's handshake, then the far proxy's.
  network.secureClient = (channel, options, done) =>
    secureClient(channel, options, (outcome) => {
      if (!(outcome instanceof ProxyError)) secured++;
      if (secured === 2) network.revocation.replace(lists);
      done(outcome);
    });
  const user = d.world.captured(VIP);
  d.world.drive(() => d.events.ends.length === 1);
  const [end] = d.events.ends;
  assert(end!.startsWith("CONNECT: ") && end!.endsWith("invalid peer certificate: Revoked"), end);
  assertEquals([secured, network.revocation.counts], [2, { source: 1, destination: 0 }]);
  user.channel.reset(null);
  d.dispose();
});

const SLOW = { ...PERFECT_LINK, delayMinMs: 700, delayMaxMs: 700, resetDropsUnread: true };

Deno.test.each([{ drains: false }, { drains: true }])(
  "OutboundConnection lets the last octets arrive that follow the far side's end (drain: $drains)",
  async ({ drains }) => {
    const d = await doubleWorld({
      plan: ({ destination }) => destination.port === 15008 ? SLOW : PERFECT_LINK,
    });
    const user = talking(d);
    const [inner] = d.far.connections;
    inner!.streams[0]!.endWrite();
    d.world.drive(() => user.ended);
    if (drains) d.plane.drain(60_000, () => {});
    user.send(new Uint8Array(100_000).fill(65));
    user.channel.endWrite();
    d.world.drive(() => d.events.ends.length === 1);
    assertEquals(d.events.ends, ["-: ok"]);
    assert(inner!.texts[0]!.length < 100_005, "some of it is still under way");
    d.world.clock.advance(5_000);
    assertEquals([inner!.texts[0]!.length, inner!.closed, inner!.goAways], [100_005, true, 0]);
    d.dispose();
  },
);

Deno.test.each([
  { name: "just under", atMs: -1, left: 2 },
  { name: "at", atMs: 0, left: 1 },
  { name: "just over", atMs: 1, left: 1 },
])(
  "OutboundConnection $name lingerMsMax after its end, with a gateway that does not end: $left connections",
  async ({ atMs, left }) => {
    const d = await doubleWorld({ plane: { limits: { lingerMsMax: 5_000 } } });
    const user = talking(d);
    const [link] = d.links.filter(({ serverEnd }) =>
      serverEnd.local.ip === SERVER_IP && serverEnd.local.port === 15008
    );
    const [inner] = d.far.connections;
    inner!.streams[0]!.endWrite();
    d.world.drive(() => user.ended);
    link!.cutSilently(); // The gateway never hears the far side's end.
    user.channel.endWrite();
    d.world.drive(() => user.closed);
    d.world.clock.advance(5_000 + atMs);
    assertEquals(d.plane.statsNow().outboundTransports, left);
    d.dispose();
  },
);

Deno.test("OutboundConnection blocks an application whose far side does not read, and loses nothing", async () => {
  const d = await doubleWorld({ far: { http2: { streamWindowBytes: 65_535 } } });
  const user = talking(d);
  const [stream] = d.far.connections[0]!.streams;
  stream!.pause();
  const chunk = new Uint8Array(65_536).fill(66);
  let sent = 0;
  while (user.send(chunk) && sent < 1_000) {
    sent++;
    d.world.clock.advance(5);
  }
  assert(sent < 1_000, "the application is held up");
  const { heldBytes } = d.plane.statsNow();
  assertEquals(heldBytes, 0);
  stream!.resume();
  user.channel.endWrite();
  d.world.drive(() => user.closed);
  assertEquals(d.far.connections[0]!.texts[0]!.length, 5 + (sent + 1) * 65_536);
  d.dispose();
});
