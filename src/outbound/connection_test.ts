// An application's way out (spec/data-path §2.1, §2.9) as the application sees it, and as the access log does.
import { assert, assertEquals } from "@std/assert";
import {
  CLIENT,
  CLIENT_IP,
  DataPlaneWorld,
  identityOf,
  PLAIN_IP,
  SERVER,
  SERVER_IP,
  type WorldOptions,
} from "../../tests/support/data_plane_world.ts";
import { HbonePeer } from "../../tests/support/hbone_peer.ts";
import { ProxyError } from "../base/errors.ts";
import type { DataPlaneOptions } from "../dataplane.ts";
import { PERFECT_LINK } from "../net/memory/link_plan.ts";
import type { Candidate, NamedHop } from "../seam/route.ts";
import { type HostQuestion, RouteError } from "../seam/router.ts";

const APP = { ip: SERVER_IP, port: 8080 };

async function clientWorld(
  options: WorldOptions = {},
  planeOptions: Partial<DataPlaneOptions> = {},
) {
  const world = await DataPlaneWorld.create(options);
  for (const ip of [CLIENT_IP, SERVER_IP, PLAIN_IP]) world.network(ip);
  const { plane, events } = world.client(planeOptions);
  return { world, plane, events };
}

Deno.test("OutboundConnection sends what it knows of the source along", async () => {
  const { world, events } = await clientWorld();
  const peer = new HbonePeer(world);
  const user = world.captured(APP);
  world.drive(() => peer.requests.length === 1);
  const { facts } = events.openedRecords[0]!;
  const port = facts.sourceAddress.port;
  const [method, authority, baggage, forwarded, traceparent, ...rest] = peer.requests[0]!;
  assertEquals([method!.value, authority!.value, rest.length], ["CONNECT", "10.0.0.2:8080", 0]);
  assertEquals(baggage, {
    name: "baggage",
    value: "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=client," +
      "service.name=client",
  });
  assertEquals(forwarded, { name: "forwarded", value: `for="10.0.0.1:${port}"` });
  assertEquals(traceparent!.value.slice(3, 35), facts.traceId);
  user.channel.reset(null);
  peer.close();
  world.dispose();
});

Deno.test("OutboundConnection states facts of an HBONE hop", async () => {
  const { world, events } = await clientWorld();
  const peer = new HbonePeer(world);
  const user = world.captured(APP);
  world.drive(() => peer.requests.length === 1);
  const { facts } = events.openedRecords[0]!;
  assertEquals([facts.direction, facts.listener, facts.protocol, facts.mutualTls], [
    "outbound",
    "outbound",
    "HBONE",
    true,
  ]);
  assertEquals(facts.destinationAddress, { ip: SERVER_IP, port: 15008 });
  assertEquals(facts.hboneAuthority, "10.0.0.2:8080");
  assertEquals([facts.source!.name, facts.destination!.name], [CLIENT.name, "server"]);
  assertEquals(facts.sourceIdentity!.uri, "spiffe://cluster.local/ns/default/sa/client");
  assertEquals(facts.destinationIdentity!.uri, "spiffe://cluster.local/ns/default/sa/server");
  user.channel.reset(null);
  peer.close();
  world.dispose();
});

Deno.test("OutboundConnection states facts of a plain TCP hop: no own identity, no authority", async () => {
  const { world, events } = await clientWorld();
  world.app({ ip: PLAIN_IP, port: 80 });
  const user = world.captured({ ip: PLAIN_IP, port: 80 });
  user.send("hi");
  world.drive(() => user.bytes === 2);
  const { facts } = events.openedRecords[0]!;
  assertEquals([facts.protocol, facts.mutualTls, facts.hboneAuthority, facts.sourceIdentity], [
    "TCP",
    false,
    null,
    null,
  ]);
  assertEquals(facts.destinationAddress, { ip: PLAIN_IP, port: 80 });
  assertEquals(facts.destinationIdentity!.uri, "spiffe://cluster.local/ns/default/sa/plain");
  user.channel.reset(null);
  world.dispose();
});

Deno.test.each([15001, 15006, 15008, 15080].map((port) => ({ port })))(
  "OutboundConnection refuses a loop to 127.0.0.1:$port (O3)",
  async ({ port }) => {
    const { world, events } = await clientWorld();
    const user = world.captured({ ip: "127.0.0.1", port });
    world.drive(() => user.closed);
    assertEquals([user.text, events.openedRecords.length], ["", 0]);
    assertEquals(events.refusals, ["attempted recursive call to ourselves"]);
    assertEquals([events.early[0]!.direction, events.early[0]!.destinationAddress], [
      "outbound",
      { ip: "127.0.0.1", port },
    ]);
    world.dispose();
  },
);

Deno.test("OutboundConnection refuses a loop to 0.0.0.0, on which a kernel connects to loopback", async () => {
  const { world, events } = await clientWorld();
  const user = world.captured({ ip: "0.0.0.0", port: 15080 });
  world.drive(() => user.closed);
  assertEquals(events.refusals, ["attempted recursive call to ourselves"]);
  world.dispose();
});

Deno.test("OutboundConnection refuses a plain hop back to the own IP's internal port, which would never end", async () => {
  const workloads = [{ ...CLIENT, ip: CLIENT_IP, protocol: "TCP" as const }];
  const { world, events, plane } = await clientWorld({ workloads });
  const user = world.captured({ ip: CLIENT_IP, port: 15001 });
  world.drive(() => user.closed);
  assertEquals(events.refusals, ["attempted recursive call to ourselves"]);
  assertEquals([user.bytes, events.openedRecords.length], [0, 0]);
  assertEquals(plane.statsNow().connections, 0);
  world.dispose();
});

Deno.test("OutboundConnection goes to the own IP's other ports", async () => {
  const workloads = [{ ...CLIENT, ip: CLIENT_IP, protocol: "TCP" as const }];
  const { world } = await clientWorld({ workloads });
  world.app({ ip: CLIENT_IP, port: 8080 });
  const user = world.captured({ ip: CLIENT_IP, port: 8080 });
  user.send("hello");
  world.drive(() => user.text === "hello");
  user.channel.reset(null);
  world.dispose();
});

Deno.test("OutboundConnection to the own IP's internal port is refused by the own inbound side", async () => {
  const { world, events } = await clientWorld();
  const user = world.captured({ ip: CLIENT_IP, port: 15006 });
  world.drive(() => user.closed);
  assertEquals(events.ends, ["CONNECT: http status: 503 Service Unavailable"]);
  assertEquals(events.refusals, ["attempted recursive call to ourselves"]);
  world.dispose();
});

Deno.test("OutboundConnection waits 5 s for its own workload, then closes (O4)", async () => {
  const { world, events } = await clientWorld({}, {
    local: { namespace: "default", name: "ghost", serviceAccount: "client" },
  });
  const user = world.captured(APP);
  world.clock.advance(4_900);
  assertEquals(user.closed, false);
  world.drive(() => user.closed);
  assertEquals(events.refusals, [
    "failed to fetch information about local workload: client.default (ghost)",
  ]);
  world.dispose();
});

Deno.test("OutboundConnection gives the Router 15 s", async () => {
  const { world, events } = await clientWorld();
  let cancelled = false;
  world.router.outbound = () => ({ cancel: () => cancelled = true });
  const user = world.captured(APP);
  world.drive(() => user.closed);
  assertEquals([events.refusals, cancelled], [["deadline has elapsed"], true]);
  world.dispose();
});

Deno.test("OutboundConnection never falls back to plain TCP", async () => {
  const { world, events } = await clientWorld();
  const app = world.app(APP); // Reachable in plain text; its proxy is not there.
  const user = world.captured(APP);
  world.drive(() => user.closed);
  assertEquals(app.conversations.length, 0);
  assertEquals(events.ends, ["CONNECT: io error: Connection refused (os error 111)"]);
  world.dispose();
});

Deno.test.each([
  {
    connect: "refuse" as const,
    port: 15008,
    ip: SERVER_IP,
    end: "CONNECT: io error: Connection refused (os error 111)",
  },
  {
    connect: "unreachable" as const,
    port: 15008,
    ip: SERVER_IP,
    end: "CONNECT: io error: No route to host (os error 113)",
  },
  {
    connect: "vanish" as const,
    port: 15008,
    ip: SERVER_IP,
    end: "NETWORK_POLICY: connection timed out, maybe a NetworkPolicy is blocking HBONE port " +
      "15008: deadline has elapsed",
  },
  {
    connect: "vanish" as const,
    port: 80,
    ip: PLAIN_IP,
    end: "CONNECT: io error: deadline has elapsed",
  },
  {
    connect: "refuse" as const,
    port: 80,
    ip: PLAIN_IP,
    end: "CONNECT: io error: Connection refused (os error 111)",
  },
])("OutboundConnection words a failed connect: $end", async ({ connect, port, ip, end }) => {
  const { world, events } = await clientWorld({
    plan: ({ from, destination }) =>
      from === CLIENT_IP && destination.ip === ip && destination.port === port
        ? { ...PERFECT_LINK, connect }
        : PERFECT_LINK,
  });
  const user = world.captured({ ip, port: 80 });
  world.drive(() => user.closed);
  assertEquals(events.ends, [end]);
  if (connect === "vanish") {
    assertEquals(Math.round(events.closedRecords[0]!.end.durationMs / 100), 100);
  }
  world.dispose();
});

Deno.test("OutboundConnection closes the application when the peer refuses: DENY there, 401 here", async () => {
  const { world, events } = await clientWorld({
    policies: [{
      name: "no",
      namespace: "default",
      scope: "Namespace",
      action: "Deny",
      dryRun: false,
      rules: [[[{ principals: [{ Exact: "cluster.local/ns/default/sa/client" }] }]]],
    }],
  });
  const server = world.server();
  const user = world.captured(APP);
  user.send("request");
  world.drive(() => user.closed);
  assertEquals(events.ends, ["CONNECT: http status: 401 Unauthorized"]);
  assertEquals(server.events.ends, [
    "DENY: connection closed due to policy rejection: explicitly denied by: default/no",
  ]);
  assertEquals([user.text, user.closeError?.code], ["", "ECONNRESET"]);
  world.dispose();
});

/** The Router answers with these candidates in place of its own. */
function routedTo(world: DataPlaneWorld, hops: readonly Candidate["hop"][]): void {
  const { router } = world;
  const ask = router.outbound.bind(router);
  router.outbound = (question, done) =>
    ask(question, (outcome) => {
      if (outcome instanceof ProxyError) return done(outcome);
      const candidates = hops.map((hop) => ({ weight: 0.5, hop, destination: null }));
      done({ ...outcome, candidates });
    });
}

const NAMED_HOP: NamedHop = {
  protocol: "NAMED",
  hostname: "server.example.com",
  workloadUid: "test//Pod/default/server",
  family: 4,
  hop: {
    protocol: "HBONE",
    peer: { ip: "", port: 15008 },
    authority: "",
    expected: [identityOf(SERVER)],
  },
  authorityPort: 8080,
};

Deno.test("OutboundConnection refuses with the words of a refused candidate, and opens nothing", async () => {
  const { world, events, plane } = await clientWorld();
  const message = "no valid routing destination for workload: Workload{a with uid b (TCP)}";
  routedTo(world, [{ protocol: "REFUSED", code: "NO_VALID_DESTINATION", message }]);
  const user = world.captured(APP);
  world.drive(() => user.closed);
  assertEquals([events.refusals, events.openedRecords.length], [[message], 0]);
  assertEquals(events.early[0]!.error.code, "NO_VALID_DESTINATION");
  assertEquals(plane.statsNow().connections, 0);
  world.dispose();
});

Deno.test("OutboundConnection goes where a named candidate's name leads, asked for each connection", async () => {
  const { world, events } = await clientWorld();
  routedTo(world, [NAMED_HOP]);
  const asked: HostQuestion[] = [];
  world.router.resolveHost = (question, done) => {
    asked.push(question);
    return world.clock.after(500, () => done(SERVER_IP));
  };
  world.server();
  world.app(APP);
  for (const round of [1, 2]) {
    const user = world.captured({ ip: "10.9.9.9", port: 80 });
    user.send("hello");
    world.drive(() => user.text === "hello");
    assertEquals(asked.length, round);
    user.channel.reset(null);
  }
  assertEquals(asked[0], {
    local: CLIENT,
    hostname: "server.example.com",
    workloadUid: "test//Pod/default/server",
    family: 4,
  });
  const { facts } = events.openedRecords[0]!;
  assertEquals([facts.destinationAddress, facts.hboneAuthority], [
    { ip: SERVER_IP, port: 15008 },
    "10.0.0.2:8080",
  ]);
  world.dispose();
});

Deno.test("OutboundConnection keeps the authority of a named waypoint, and its plain port", async () => {
  const { world } = await clientWorld();
  const { hop } = NAMED_HOP;
  routedTo(world, [{
    ...NAMED_HOP,
    authorityPort: null,
    hop: { ...hop, authority: "1.2.3.4:80" } as typeof hop,
  }]);
  world.router.resolveHost = (_question, done) => world.clock.after(0, () => done(SERVER_IP));
  const peer = new HbonePeer(world);
  const user = world.captured({ ip: "1.2.3.4", port: 80 });
  world.drive(() => peer.requests.length === 1);
  assertEquals(peer.requests[0]![1]!.value, "1.2.3.4:80");
  user.channel.reset(null);
  peer.close();
  world.dispose();
});

Deno.test("OutboundConnection refuses where a name leads nowhere, or back to itself", async () => {
  const { world, events } = await clientWorld();
  const text = "no ip addresses were resolved for workload: test//Pod/default/server";
  const outcomes: (string | ProxyError)[] = [new RouteError("NAME_NOT_RESOLVED", text), CLIENT_IP];
  world.router.resolveHost = (_question, done) =>
    world.clock.after(0, () => done(outcomes.shift()!));
  routedTo(world, [{ ...NAMED_HOP, hop: { protocol: "TCP", peer: { ip: "", port: 15001 } } }]);
  for (const count of [1, 2]) {
    const user = world.captured({ ip: "10.9.9.9", port: 80 });
    world.drive(() => user.closed);
    assertEquals(events.refusals.length, count);
  }
  assertEquals(events.refusals, [text, "attempted recursive call to ourselves"]);
  world.dispose();
});

Deno.test("OutboundConnection gives a name 15 s, and stops asking when the application resets", async () => {
  const { world, events, plane } = await clientWorld();
  routedTo(world, [NAMED_HOP]);
  let cancelled = 0;
  world.router.resolveHost = () => ({ cancel: () => void cancelled++ });
  const patient = world.captured(APP);
  const startMs = world.clock.nowMs();
  world.drive(() => patient.closed);
  assertEquals(events.refusals, ["deadline has elapsed"]);
  const tookMs = world.clock.nowMs() - startMs;
  assert(tookMs >= 15_000 && tookMs < 16_100, `${tookMs} ms, with the dismissal`);
  const impatient = world.captured(APP);
  world.clock.advance(1_000);
  impatient.channel.reset(null);
  world.clock.advance(10);
  assertEquals([cancelled, events.refusals.length, plane.statsNow().connections], [2, 1, 0]);
  world.dispose();
});

Deno.test("OutboundConnection that waits for a name ends with its data plane", async () => {
  const { world, events, plane } = await clientWorld();
  routedTo(world, [NAMED_HOP]);
  let cancelled = 0;
  world.router.resolveHost = () => ({ cancel: () => void cancelled++ });
  const user = world.captured(APP);
  world.clock.advance(1_000);
  let done = false;
  plane.stop(() => done = true);
  world.drive(() => done && user.closed);
  assertEquals([cancelled, events.refusals], [1, ["connection closed due to connection drain"]]);
  world.dispose();
});

Deno.test("OutboundConnection tells nothing of an answer's baggage with one tunnel", async () => {
  const { world, events } = await clientWorld();
  const peer = new HbonePeer(world, {
    answer: [{ name: ":status", value: "200" }, { name: "baggage", value: "service.name=other" }],
  });
  const user = world.captured(APP);
  user.send("hi");
  world.drive(() => peer.connections[0]?.texts[0] === "hi");
  const { facts } = events.openedRecords[0]!;
  assertEquals([facts.destination!.name, facts.destinationBaggage], ["server", null]);
  assertEquals(facts.destinationIdentity!.uri, identityOf(SERVER).uri);
  user.channel.reset(null);
  peer.close();
  world.dispose();
});

Deno.test("OutboundConnection stops connecting when the application resets, and that is no error", async () => {
  const { world, plane, events } = await clientWorld({
    plan: ({ destination }) =>
      destination.port === 15008 ? { ...PERFECT_LINK, connect: "vanish" } : PERFECT_LINK,
  });
  const user = world.captured(APP);
  world.clock.advance(1_000);
  user.channel.reset(null);
  world.clock.advance(10);
  assertEquals(events.ends, ["-: ok"]);
  assertEquals([plane.statsNow().connections, plane.statsNow().timers], [0, 0]);
  world.dispose();
});

Deno.test("OutboundConnection stops routing when the application resets", async () => {
  const { world, plane, events } = await clientWorld();
  let cancelled = false;
  world.router.outbound = () => ({ cancel: () => cancelled = true });
  const user = world.captured(APP);
  world.clock.advance(1_000);
  user.channel.reset(null);
  world.clock.advance(10);
  assertEquals([cancelled, plane.statsNow().connections, events.openedRecords.length], [
    true,
    0,
    0,
  ]);
  world.dispose();
});

Deno.test("OutboundConnection keeps bytes sent before the tunnel stands, half-close included", async () => {
  const { world } = await clientWorld({
    plan: ({ destination }) =>
      destination.port === 15008 ? { ...PERFECT_LINK, connectMs: 2_000 } : PERFECT_LINK,
  });
  world.server();
  const app = world.app(APP);
  const user = world.captured(APP);
  user.send("before ");
  user.send("anybody listens");
  user.channel.endWrite();
  world.clock.advance(1_900);
  assertEquals(app.conversations.length, 0);
  world.drive(() => user.closed);
  assertEquals([user.text, user.ended, user.closeError], ["before anybody listens", true, null]);
  world.dispose();
});

Deno.test("OutboundConnection puts a server's reset to the application as an end (W14, C6)", async () => {
  const { world, events } = await clientWorld();
  world.server();
  const app = world.app(APP);
  const user = world.captured(APP);
  world.drive(() => app.conversations.length === 1);
  app.conversations[0]!.channel.reset(null);
  world.drive(() => user.ended);
  user.channel.endWrite();
  world.drive(() => user.closed);
  assertEquals(events.ends, ["-: ok"]);
  world.dispose();
});

Deno.test("OutboundConnection ends when the peer freezes, within 30 s (W20)", async () => {
  const tunnels: (() => void)[] = [];
  const { world, events } = await clientWorld({
    onLink: (link) => {
      if (link.serverEnd.local.port === 15008) tunnels.push(() => link.cutSilently());
    },
  });
  const server = world.server();
  world.app(APP);
  const user = world.captured(APP);
  user.send("hi");
  world.drive(() => user.bytes === 2);
  for (const cut of tunnels) cut();
  const startMs = world.clock.nowMs();
  world.drive(() => user.ended || user.closed);
  assert(world.clock.nowMs() - startMs <= 30_000, "the application hears within 10 s + 20 s");
  user.channel.reset(null);
  world.drive(() => events.ends.length === 1 && server.events.ends.length === 1);
  assertEquals(events.ends, ["H2_HANDSHAKE_FAILURE: h2 failed: ping timed out"]);
  assert(
    events.messages.includes("warn ztunnel::proxy::h2::client: HBONE ping timeout/error"),
  );
  world.dispose();
});

Deno.test("OutboundServer refuses beyond the connections there may be", async () => {
  const { world, events } = await clientWorld({}, { limits: { connectionsMax: 1 } });
  world.app({ ip: PLAIN_IP, port: 80 });
  const first = world.captured({ ip: PLAIN_IP, port: 80 });
  const second = world.captured({ ip: PLAIN_IP, port: 80 });
  first.send("hi");
  world.drive(() => first.bytes === 2 && second.closed);
  assertEquals(events.refusals, ["no room for another connection: 1 are open"]);
  world.dispose();
});

Deno.test("OutboundConnection gives a refused application that does not close 1 s, then RST", async () => {
  const { world, plane } = await clientWorld();
  const user = world.captured({ ip: "127.0.0.1", port: 15001 });
  world.drive(() => user.ended);
  assertEquals(plane.statsNow().connections, 1);
  world.clock.advance(900);
  assertEquals([user.closed, plane.statsNow().connections], [false, 1]);
  world.drive(() => user.closed);
  assertEquals([user.closeError?.code, plane.statsNow().connections], ["ECONNRESET", 0]);
  world.dispose();
});
