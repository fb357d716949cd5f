// Whole data planes: what they carry, how they start, drain and stop (spec/data-path §0.1, §6).
import { assertEquals } from "@std/assert";
import {
  CLIENT,
  CLIENT_IP,
  DataPlaneWorld,
  identityOf,
  NotedEvents,
  PLAIN_IP,
  SERVER,
  SERVER_IP,
  testCrl,
  testLeaf,
} from "../tests/support/data_plane_world.ts";
import { connectTo, HboneClient } from "../tests/support/hbone_client.ts";
import type { Done } from "./base/channel.ts";
import { ProxyError } from "./base/errors.ts";
import { SeededRandom } from "./base/random.ts";
import { type DataPlane, type DataPlaneStats, startDataPlane } from "./dataplane.ts";
import { PERFECT_LINK } from "./net/memory/link_plan.ts";
import type { CrlSet } from "./tls/crl.ts";
import { parseSpiffeId } from "./tls/spiffe_id.ts";
import {
  BindError,
  type Listener,
  type ListenOptions,
  type Network,
  type SecureChannel,
} from "./net/network.ts";

const STRANGER = parseSpiffeId("spiffe://cluster.local/ns/default/sa/stranger");

/** A SOCKS5 client that has said "hello" to an echoing application through two data planes. */
async function connected() {
  const world = await DataPlaneWorld.create();
  const client = world.client();
  const server = world.server();
  world.app({ ip: SERVER_IP, port: 8080 });
  const user = world.socks({ ip: SERVER_IP, port: 8080 });
  user.send("hello");
  world.drive(() => user.text === "hello");
  return { world, client, server, user };
}

Deno.test("startDataPlane() carries a SOCKS5 client's bytes to an application behind two proxies", async () => {
  const world = await DataPlaneWorld.create();
  const client = world.client();
  const server = world.server();
  const app = world.app({ ip: SERVER_IP, port: 8080 });

  const user = world.socks({ ip: SERVER_IP, port: 8080 });
  user.send("hello world");
  world.drive(() => user.bytes === 11);
  assertEquals(user.text, "hello world");
  user.channel.endWrite();
  world.drive(() => user.closed);
  world.clock.advance(10);

  assertEquals(app.conversations.length, 1);
  assertEquals(client.events.ends, ["-: ok"]);
  assertEquals(server.events.ends, ["-: ok"]);
  const sent = client.events.openedRecords[0]!;
  const received = server.events.openedRecords[0]!;
  assertEquals([sent.bytesToServer, sent.bytesToClient], [11, 11]);
  assertEquals([received.bytesToServer, received.bytesToClient], [11, 11]);
  assertEquals(sent.facts.traceId, received.facts.traceId);
  world.dispose();
});

Deno.test("startDataPlane() carries a captured connection, in HBONE or in plain TCP", async () => {
  const world = await DataPlaneWorld.create();
  const client = world.client();
  world.server();
  for (const ip of [SERVER_IP, PLAIN_IP]) {
    world.app({ ip, port: 8080 });
    const user = world.captured({ ip, port: 8080 });
    user.send("ping");
    world.drive(() => user.bytes === 4);
    user.channel.endWrite();
    world.drive(() => user.closed);
  }
  assertEquals(client.events.openedRecords.map(({ facts }) => facts.protocol), ["HBONE", "TCP"]);
  assertEquals(client.events.openedRecords[0]!.facts.sourceAddress.ip, CLIENT_IP);
  world.dispose();
});

function deadline(plane: DataPlane, deadlineMs: number): { done: boolean } {
  const state = { done: false };
  plane.drain(deadlineMs, () => state.done = true);
  return state;
}

// Binding (spec/data-path §0.1).

Deno.test("startDataPlane() opens 15008, then 15006, then 15001, then 15080", async () => {
  const world = await DataPlaneWorld.create();
  const order: number[] = [];
  const network = world.network(CLIENT_IP);
  const listen = network.listen.bind(network);
  network.listen = (address, ...rest) => {
    order.push(address.port);
    return listen(address, ...rest);
  };
  const { plane } = world.client();
  assertEquals(order, [15008, 15006, 15001, 15080]);
  const at = (ip: string, port: number) => ({ address: { ip, port }, transparent: false });
  assertEquals(plane.local, {
    inbound: at(CLIENT_IP, 15008),
    inboundPlaintext: at(CLIENT_IP, 15006),
    outbound: at(CLIENT_IP, 15001),
    socks5: at("127.0.0.1", 15080),
  });
  world.dispose();
});

Deno.test("startDataPlane() gives each listener its socket options (spec/data-path §5.3)", async () => {
  const world = await DataPlaneWorld.create();
  const asked = new Map<number, ListenOptions>();
  const network = world.network(CLIENT_IP);
  const listen = network.listen.bind(network);
  network.listen = (address, options, ...rest) => {
    asked.set(address.port, options);
    return listen(address, options, ...rest);
  };
  const keepalive = { idleMs: 10_000, intervalMs: 2_000, probes: 5 };
  world.client({ settings: { keepalive, userTimeoutMs: 20_000 } });
  const all = { backlog: 128, transparent: "try" as const };
  const captured = { ...all, keepalive, userTimeoutMs: 20_000, captured: true };
  assertEquals(Object.fromEntries(asked), {
    15008: { ...all, keepalive: null },
    15006: captured,
    15001: captured,
    15080: { ...all, keepalive: null },
  });
  world.dispose();
});

Deno.test("startDataPlane() fails where listeners must be transparent and cannot (ENABLE_ORIG_SRC=true)", async () => {
  const world = await DataPlaneWorld.create();
  const { outcome } = world.tryPlane(CLIENT, CLIENT_IP, { settings: { originalSource: "must" } });
  assertEquals(
    outcome instanceof BindError && outcome.message,
    `failed to bind to address ${CLIENT_IP}:15008: Operation not permitted (os error 1)`,
  );
  assertEquals(world.fabric.openSockets, 0);
  world.dispose();
});

Deno.test("startDataPlane() takes all of its listeners' ports for its own where nothing else is said", async () => {
  const world = await DataPlaneWorld.create({ redirected: [SERVER_IP] });
  const events = new NotedEvents();
  const planes: (DataPlane | ProxyError)[] = [];
  startDataPlane({
    network: world.network(SERVER_IP),
    router: world.router,
    certificates: world.sources.get(CLIENT.name)!,
    events,
    clock: world.clock,
    random: new SeededRandom(1),
    local: CLIENT,
    listeners: {
      inboundPlaintext: { ip: SERVER_IP, port: 15006 },
      socks5: { ip: "127.0.0.1", port: 1080 },
    },
  }, (outcome) => planes.push(outcome));
  world.clock.runUntilIdle();
  world.planes.push(planes[0] as DataPlane);
  const user = world.dial(CLIENT_IP, { ip: SERVER_IP, port: 1080 });
  world.drive(() => user.ended);
  assertEquals(events.refusals, ["attempted recursive call to ourselves"]);
  user.channel.reset(null);
  world.dispose();
});

Deno.test("DataPlane.stats() calls back with what statsNow() says", async () => {
  const { world, client, user } = await connected();
  const heard: DataPlaneStats[] = [];
  client.plane.stats((stats) => heard.push(stats));
  assertEquals(heard, [client.plane.statsNow()]);
  assertEquals(heard[0]!.connections, 1);
  user.channel.reset(null);
  world.dispose();
});

Deno.test.each([
  { taken: { ip: CLIENT_IP, port: 15008 } },
  { taken: { ip: CLIENT_IP, port: 15006 } },
  { taken: { ip: CLIENT_IP, port: 15001 } },
  { taken: { ip: "127.0.0.1", port: 15080 } },
])(
  "startDataPlane() leaves nothing open when $taken.ip:$taken.port is taken",
  async ({ taken }) => {
    const world = await DataPlaneWorld.create();
    const occupants: Listener[] = [];
    world.network(CLIENT_IP).listen(taken, { backlog: 1, keepalive: null }, () => {}, (outcome) => {
      if (!(outcome instanceof ProxyError)) occupants.push(outcome);
    });
    world.clock.runUntilIdle();
    const { outcome } = world.tryPlane(CLIENT, CLIENT_IP, {
      listeners: {
        inbound: { ip: CLIENT_IP, port: 15008 },
        inboundPlaintext: { ip: CLIENT_IP, port: 15006 },
        outbound: { ip: CLIENT_IP, port: 15001 },
        socks5: { ip: "127.0.0.1", port: 15080 },
      },
    });
    if (!(outcome instanceof BindError)) throw new Error("Expected a BindError");
    assertEquals(
      outcome.message,
      `failed to bind to address ${taken.ip}:${taken.port}: Address already in use (os error 98)`,
    );
    assertEquals(world.fabric.openSockets, 1);
    occupants[0]!.close();
    world.dispose();
  },
);

Deno.test("startDataPlane() cancelled half way leaves nothing open, and calls nobody", async () => {
  const world = await DataPlaneWorld.create();
  let called = false;
  const start = startDataPlane({
    network: world.network(CLIENT_IP),
    router: world.router,
    certificates: world.sources.get(CLIENT.name)!,
    events: new NotedEvents(),
    clock: world.clock,
    random: new SeededRandom(1),
    local: CLIENT,
    listeners: { inbound: { ip: CLIENT_IP, port: 15008 } },
  }, () => called = true);
  start.cancel();
  world.clock.advance(10);
  assertEquals([called, world.fabric.openSockets], [false, 0]);
  world.dispose();
});

// Draining (spec/data-path §6.1; spec/config-and-observability §4.4).

Deno.test("DataPlane.drain() of an idle data plane is over at once", async () => {
  const world = await DataPlaneWorld.create();
  const { plane, events } = world.client();
  const drained = deadline(plane, 5_000);
  assertEquals(drained.done, false);
  world.clock.advance(1);
  assertEquals(drained.done, true);
  assertEquals(
    events.lines.map(({ message, fields }) => `${message} ${fields.component}`),
    [
      "shutdown complete inbound",
      "shutdown complete inbound passthrough",
      "shutdown complete outbound",
      "shutdown complete socks5",
    ],
  );
  world.dispose();
});

Deno.test("DataPlane.drain() closes listeners at once and lets connections finish", async () => {
  const { world, client, server, user } = await connected();
  const drained = [deadline(client.plane, 5_000), deadline(server.plane, 5_000)];
  const late = [
    world.tryDial(world.network(CLIENT_IP), { ip: "127.0.0.1", port: 15080 }),
    world.tryDial(world.network(CLIENT_IP), { ip: SERVER_IP, port: 15008 }),
  ];
  assertEquals(late.map((outcome) => outcome instanceof ProxyError && outcome.code), [
    "ECONNREFUSED",
    "ECONNREFUSED",
  ]);
  world.clock.advance(3_000);
  user.send(" and more");
  world.drive(() => user.text === "hello and more");
  assertEquals(drained.map(({ done }) => done), [false, false]);
  user.channel.endWrite();
  world.drive(() => user.closed);
  world.clock.advance(1_000);
  assertEquals(drained.map(({ done }) => done), [true, true]);
  assertEquals([client.events.ends, server.events.ends], [["-: ok"], ["-: ok"]]);
  assertEquals(
    [...client.events.messages, ...server.events.messages].filter((line) => /expired/.test(line)),
    [],
  );
  world.dispose();
});

Deno.test("DataPlane.drain() cuts what is left at the deadline, and says so once per listener", async () => {
  for (const who of ["client", "server"] as const) {
    const { world, user, ...planes } = await connected();
    const { plane, events } = planes[who];
    const drained = deadline(plane, 2_000);
    world.clock.advance(1_999);
    assertEquals([drained.done, user.closed], [false, false]);
    world.clock.advance(2);
    assertEquals(drained.done, true);
    assertEquals(events.ends, ["-: connection closed due to connection drain"]);
    const expired = "drain duration expired with pending connections, forcefully shutting down";
    assertEquals(
      events.lines.filter(({ level, message }) => level === "warn" && message === expired)
        .map(({ fields }) => fields.component),
      [who === "client" ? "socks5" : "inbound"],
    );
    user.channel.reset(null);
    world.dispose();
  }
});

Deno.test("DataPlane.drain() sends GOAWAY: peers open their next tunnel elsewhere (W23)", async () => {
  const world = await DataPlaneWorld.create();
  const { plane } = world.server();
  world.app({ ip: SERVER_IP, port: 8080 });
  const client = await HboneClient.connect(world);
  const call = client.call(connectTo("10.0.0.2:8080"));
  world.clock.advance(1);
  const drained = deadline(plane, 5_000);
  world.clock.advance(1);
  assertEquals(client.goAways, [2 ** 31 - 1, 1]);
  call.send("still here");
  world.clock.advance(1);
  assertEquals([call.text, drained.done, client.closed], ["still here", false, false]);
  call.stream!.endWrite();
  world.clock.advance(1);
  assertEquals([drained.done, client.closed], [true, true]);
  world.dispose();
});

Deno.test("DataPlane.drain() is not held up by a peer that ignores GOAWAY", async () => {
  const world = await DataPlaneWorld.create();
  const { plane } = world.server();
  const client = await HboneClient.connect(world);
  for (const link of world.fabric.links) link.cutSilently();
  const drained = deadline(plane, 5_000);
  world.clock.advance(5_001);
  assertEquals(drained.done, true);
  client.h2.abort(null);
  world.dispose();
});

Deno.test("DataPlane.stop() cuts everything now, under the same words", async () => {
  const { world, client, server, user } = await connected();
  let stopped = 0;
  server.plane.stop(() => stopped++);
  client.plane.stop(() => stopped++);
  world.clock.advance(10);
  assertEquals([stopped, user.closed], [2, true]);
  for (const { events } of [client, server]) {
    assertEquals(events.ends, ["-: connection closed due to connection drain"]);
  }
  world.dispose();
});

Deno.test("DataPlane.stop() makes a running drain sooner; every caller is told", async () => {
  const { world, client, user } = await connected();
  const drained = deadline(client.plane, 60_000);
  let stopped = false;
  world.clock.advance(10);
  assertEquals(drained.done, false);
  client.plane.stop(() => stopped = true);
  world.clock.advance(10);
  assertEquals([drained.done, stopped, user.closed], [true, true, true]);
  const again = deadline(client.plane, 1_000);
  world.clock.advance(1);
  assertEquals(again.done, true);
  world.dispose();
});

Deno.test("DataPlane.drain() while connecting: the tunnel may still come, or is cut at the deadline", async () => {
  const world = await DataPlaneWorld.create({
    plan: ({ destination }) =>
      destination.port === 15008 ? { ...PERFECT_LINK, connect: "vanish" } : PERFECT_LINK,
  });
  world.network(SERVER_IP);
  const { plane, events } = world.client();
  const user = world.socks({ ip: SERVER_IP, port: 8080 });
  const drained = deadline(plane, 2_000);
  world.clock.advance(2_100);
  assertEquals([drained.done, user.closed], [true, true]);
  assertEquals(events.ends, ["-: connection closed due to connection drain"]);
  world.dispose();
});

Deno.test("DataPlane.revoke() ends tunnels of a revoked peer on both nodes, flagged (W25)", async () => {
  for (const who of ["client", "server"] as const) {
    const { world, user, ...planes } = await connected();
    assertEquals(planes[who].plane.revoke(() => true), 1);
    user.channel.endWrite();
    world.drive(() => user.closed);
    world.clock.advance(2_000);
    assertEquals(planes[who].events.ends, [
      "CERT_REVOKED: connection closed: peer certificate revoked by CRL",
    ]);
    world.dispose();
  }
});

Deno.test("DataPlane judges what it let in again when its network's revocation lists change", async () => {
  for (const who of ["client", "server"] as const) {
    const { world, user, ...planes } = await connected();
    const { revocation } = world.network(who === "client" ? CLIENT_IP : SERVER_IP);
    revocation.replace(await testCrl([await testLeaf(STRANGER)]));
    world.clock.advance(10);
    assertEquals(planes[who].events.ends, []);
    revocation.replace(
      await testCrl([await testLeaf(identityOf(who === "client" ? SERVER : CLIENT))]),
    );
    assertEquals(revocation.counts, {
      source: who === "client" ? 1 : 0,
      destination: who === "client" ? 0 : 1,
    });
    user.channel.endWrite();
    world.drive(() => user.closed);
    world.clock.advance(2_000);
    assertEquals(planes[who].events.ends, [
      "CERT_REVOKED: connection closed: peer certificate revoked by CRL",
    ]);
    world.dispose();
  }
});

/** New lists come between a peer's verdict and the data plane's hearing of it. */
function replacedMeanwhile(network: Network, lists: CrlSet): void {
  const meanwhile = (done: Done<SecureChannel>): Done<SecureChannel> => (outcome) => {
    if (!(outcome instanceof ProxyError)) network.revocation.replace(lists);
    done(outcome);
  };
  const secureServer = network.secureServer.bind(network);
  const dialSecure = network.dialSecure.bind(network);
  network.secureServer = (channel, options, done) =>
    secureServer(channel, options, meanwhile(done));
  network.dialSecure = (address, options, done) => dialSecure(address, options, meanwhile(done));
}

Deno.test("DataPlane refuses an HBONE client that was revoked while its handshake was under way", async () => {
  const world = await DataPlaneWorld.create();
  world.client();
  const { events, plane } = world.server();
  const network = world.network(SERVER_IP);
  replacedMeanwhile(network, await testCrl([await testLeaf(identityOf(CLIENT))]));
  const user = world.socks({ ip: SERVER_IP, port: 8080 });
  world.drive(() => user.closed);
  const text =
    "tls handshake error: Custom { kind: InvalidData, error: InvalidCertificate(Revoked) }";
  assertEquals([events.refusals, plane.statsNow().inboundTransports], [[text], 0]);
  assertEquals(network.revocation.counts, { source: 0, destination: 1 });
  world.dispose();
});

Deno.test("DataPlane drops an HBONE server that was revoked while its handshake was under way", async () => {
  const world = await DataPlaneWorld.create();
  const { events, plane } = world.client();
  world.server();
  const network = world.network(CLIENT_IP);
  replacedMeanwhile(network, await testCrl([await testLeaf(identityOf(SERVER))]));
  const user = world.socks({ ip: SERVER_IP, port: 8080 });
  world.drive(() => user.closed);
  assertEquals(events.ends, ["CONNECT: io error: invalid peer certificate: Revoked"]);
  assertEquals(plane.statsNow().outboundTransports, 0);
  assertEquals(network.revocation.counts, { source: 1, destination: 0 });
  world.dispose();
});

// Sharing.

Deno.test("startDataPlane() puts 200 connections through two tunnels of 100 streams", async () => {
  const world = await DataPlaneWorld.create();
  const client = world.client();
  const server = world.server();
  world.app({ ip: SERVER_IP, port: 8080 });
  const users = Array.from({ length: 200 }, () => world.captured({ ip: SERVER_IP, port: 8080 }));
  users.forEach((user, index) => user.send(`user ${index}`));
  world.drive(() => users.every((user, index) => user.text === `user ${index}`));
  assertEquals(client.plane.statsNow().outboundTransports, 2);
  assertEquals(server.plane.statsNow().inboundTransports, 2);
  assertEquals(server.plane.statsNow().streams, 200);
  for (const user of users) user.channel.endWrite();
  world.drive(() => users.every(({ closed }) => closed));
  assertEquals(client.events.ends, Array(200).fill("-: ok"));
  world.dispose();
});

Deno.test("startDataPlane() gives every byte back: 2,000 connections opened and closed in turns", async () => {
  const world = await DataPlaneWorld.create();
  const client = world.client();
  world.server();
  const app = world.app({ ip: SERVER_IP, port: 8080 });
  for (let round = 0; round < 20; round++) {
    const users = Array.from({ length: 100 }, () => world.captured({ ip: SERVER_IP, port: 8080 }));
    users.forEach((user) => user.send("hi"));
    world.drive(() => users.every(({ bytes }) => bytes === 2));
    users.forEach((user, index) =>
      index % 2 === 0 ? user.channel.endWrite() : user.channel.reset(null)
    );
    world.drive(() => users.every(({ closed }) => closed));
    world.clock.advance(10);
    assertEquals(client.plane.statsNow().connections, 0);
    app.conversations.length = 0;
  }
  assertEquals(client.events.ends, Array(2_000).fill("-: ok"));
  world.dispose();
});

Deno.test.each([
  { name: "of a drained data plane", drains: true, limits: {} },
  { name: "of a tunnel that nobody else may use", drains: false, limits: { poolStreamsMax: 1 } },
])(
  "DataPlane lets the last bytes $name arrive, on a network that takes seconds",
  async ({ drains, limits }) => {
    const slow = { ...PERFECT_LINK, delayMinMs: 3_000, delayMaxMs: 3_000, resetDropsUnread: true };
    const world = await DataPlaneWorld.create({
      plan: ({ destination }) => destination.port === 15008 ? slow : PERFECT_LINK,
    });
    const { plane } = world.client({ limits });
    world.server();
    const app = world.app({ ip: SERVER_IP, port: 8080 }, { echo: false });
    const user = world.captured({ ip: SERVER_IP, port: 8080 });
    world.drive(() => app.conversations.length === 1);
    const server = app.conversations[0]!;
    // The answer's end comes first, so the stream is over here when the last bytes leave.
    server.channel.endWrite();
    world.drive(() => user.ended);
    const drained = drains ? deadline(plane, 60_000) : { done: true };
    user.send(new Uint8Array(1_000));
    user.channel.endWrite();
    world.drive(() => server.closed);
    assertEquals([server.bytes, server.ended, server.closeError], [1_000, true, null]);
    world.clock.advance(10_000);
    assertEquals([drained.done, plane.statsNow().outboundTransports], [true, 0]);
    world.dispose();
  },
);

Deno.test.each([
  { name: "just under", waitMs: 19_999, transports: 1 },
  { name: "at", waitMs: 20_000, transports: 0 },
  { name: "just over", waitMs: 20_001, transports: 0 },
])(
  "DataPlane $name lingerMsMax after an orderly end into silence holds $transports",
  async ({ waitMs, transports }) => {
    const world = await DataPlaneWorld.create();
    const { plane } = world.client({ limits: { poolStreamsMax: 1 } });
    world.server();
    const app = world.app({ ip: SERVER_IP, port: 8080 }, { echo: false });
    const user = world.captured({ ip: SERVER_IP, port: 8080 });
    world.drive(() => app.conversations.length === 1);
    app.conversations[0]!.channel.endWrite();
    world.drive(() => user.ended);
    for (const link of world.fabric.links) {
      if (link.server.port === 15008) link.cutSilently("toClient");
    }
    user.channel.endWrite();
    world.clock.advance(waitMs);
    assertEquals(plane.statsNow().outboundTransports, transports);
    world.clock.advance(40_000);
    world.dispose();
  },
);
