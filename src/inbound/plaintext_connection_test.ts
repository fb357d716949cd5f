// Rows I20-I25 (spec/data-path §3.7): plaintext that 15006 captured, on the memory network.
import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  CLIENT,
  CLIENT_IP,
  DataPlaneWorld,
  PLAIN_IP,
  SERVER_IP,
  type WorldOptions,
} from "../../tests/support/data_plane_world.ts";
import type { SocketAddress } from "../base/address.ts";
import { NetError } from "../base/errors.ts";
import type { DataPlaneOptions } from "../dataplane.ts";
import { PERFECT_LINK } from "../net/memory/link_plan.ts";

const APP: SocketAddress = { ip: SERVER_IP, port: 8080 };

/** `not_principals: Presence`, as PeerAuthentication STRICT becomes (spec/data-path §4.8). */
const STRICT = {
  name: "istio_converted_static_strict",
  namespace: "default",
  scope: "Namespace",
  action: "Deny",
  dryRun: false,
  rules: [[[{ notPrincipals: ["!Presence"] }]]],
};

/** A captured server with its data plane, and a client without a proxy. */
async function serverWorld(options: WorldOptions = {}, plane: Partial<DataPlaneOptions> = {}) {
  const world = await DataPlaneWorld.create({ redirected: [SERVER_IP], ...options });
  return { world, ...world.server(plane) };
}

function slowTo(port: number, plan: Partial<typeof PERFECT_LINK>): WorldOptions {
  let dials = 0;
  // The client's own dial goes to the same destination first; only the proxy's is slow.
  return {
    plan: ({ destination }) =>
      destination.port === port && ++dials > 1 ? { ...PERFECT_LINK, ...plan } : PERFECT_LINK,
  };
}

Deno.test("PlaintextConnection carries an uncaptured client's bytes to its application and back", async () => {
  const { world, events } = await serverWorld();
  const app = world.app(APP);
  const user = world.dial(PLAIN_IP, APP);
  user.send("hello world");
  world.drive(() => user.text === "hello world");
  user.channel.endWrite();
  world.drive(() => user.closed);
  world.clock.advance(1);
  assertEquals(app.conversations.length, 1);
  assertEquals(events.ends, ["-: ok"]);
  const [record] = events.openedRecords;
  assertEquals([record!.bytesToServer, record!.bytesToClient], [11, 11]);
  world.dispose();
});

Deno.test("PlaintextConnection states the original destination, both workloads and no client identity", async () => {
  const { world, events } = await serverWorld();
  world.app(APP);
  const user = world.dial(CLIENT_IP, APP);
  world.clock.advance(1);
  const { facts } = events.openedRecords[0]!;
  assertEquals({
    direction: facts.direction,
    protocol: facts.protocol,
    listener: facts.listener,
    source: facts.sourceAddress,
    destination: facts.destinationAddress,
    authority: facts.hboneAuthority,
    workloads: [facts.source!.name, facts.destination!.name],
    identities: [facts.sourceIdentity, facts.destinationIdentity!.uri],
    mutualTls: facts.mutualTls,
  }, {
    direction: "inbound",
    protocol: "TCP",
    listener: "inbound plaintext",
    source: user.channel.local,
    destination: APP,
    authority: null,
    workloads: [CLIENT.name, "server"],
    identities: [null, "spiffe://cluster.local/ns/default/sa/server"],
    mutualTls: false,
  });
  user.channel.reset(null);
  world.dispose();
});

// Source addresses (I24).

Deno.test.each([
  { transparent: true, expected: PLAIN_IP, name: "where the listener is transparent" },
  { transparent: false, expected: SERVER_IP, name: "not where it could not be" },
])("PlaintextConnection dials in the peer's name $name", async ({ transparent, expected }) => {
  const { world, events, plane } = await serverWorld({ transparent });
  const app = world.app(APP);
  const user = world.dial(PLAIN_IP, APP);
  world.clock.advance(1);
  assertEquals(plane.local.inboundPlaintext!.transparent, transparent);
  assertEquals(app.conversations[0]!.channel.peer.ip, expected);
  assertEquals(events.messages, []);
  user.channel.reset(null);
  world.dispose();
});

Deno.test("PlaintextConnection never dials in the peer's name with ENABLE_ORIG_SRC=false", async () => {
  const { world } = await serverWorld({ transparent: true }, {
    settings: { originalSource: "never" },
  });
  const app = world.app(APP);
  const user = world.dial(PLAIN_IP, APP);
  world.clock.advance(1);
  assertEquals(app.conversations[0]!.channel.peer.ip, SERVER_IP);
  user.channel.reset(null);
  world.dispose();
});

Deno.test("PlaintextConnection goes on in its own name, with a warning, where the peer's is refused (T6)", async () => {
  const { world, events } = await serverWorld({ transparent: true });
  const app = world.app(APP);
  const network = world.network(SERVER_IP);
  const dial = network.dial.bind(network);
  network.dial = (address, options, done) => {
    if (options.spoof !== true) return dial(address, options, done);
    const timer = world.clock.after(0, () => done(new NetError("EPERM")));
    return { cancel: () => timer.cancel() };
  };
  const user = world.dial(PLAIN_IP, APP);
  user.send("hello");
  world.drive(() => user.text === "hello");
  assertEquals(app.conversations[0]!.channel.peer.ip, SERVER_IP);
  assertEquals(events.messages, [
    `warn ztunnel::proxy::inbound_passthrough: cannot use the source address ${PLAIN_IP}: ` +
    "Operation not permitted (os error 1)",
  ]);
  user.channel.reset(null);
  world.dispose();
});

// Refusals.

Deno.test.each([15001, 15006, 15080])(
  "PlaintextConnection refuses a call to port %i of the pod (I21)",
  async (port) => {
    const { world, events, plane } = await serverWorld();
    const user = world.dial(PLAIN_IP, { ip: SERVER_IP, port });
    world.drive(() => user.ended);
    assertEquals([user.bytes, events.openedRecords.length], [0, 0]);
    assertEquals(events.refusals, ["attempted recursive call to ourselves"]);
    assertEquals([events.early[0]!.direction, events.early[0]!.destinationAddress.port], [
      "inbound",
      port,
    ]);
    user.channel.endWrite();
    world.drive(() => plane.statsNow().connections === 0);
    world.dispose();
  },
);

Deno.test("PlaintextConnection waits 5 s for an unknown local workload, then closes (I22)", async () => {
  const { world, events } = await serverWorld({}, {
    local: { namespace: "default", name: "nobody", serviceAccount: "sa" },
  });
  const app = world.app(APP);
  const user = world.dial(PLAIN_IP, APP);
  world.clock.advance(4_999);
  assertEquals([user.ended, events.refusals], [false, []]);
  world.drive(() => user.ended);
  assertEquals(events.refusals, [
    "failed to fetch information about local workload: sa.default (nobody)",
  ]);
  assertEquals(app.conversations.length, 0);
  user.channel.reset(null);
  world.dispose();
});

Deno.test("PlaintextConnection gives up on a Router that does not answer", async () => {
  const { world, events } = await serverWorld({}, { limits: { routeMsMax: 3_000 } });
  let cancelled = 0;
  world.router.inboundPlaintext = () => ({ cancel: () => void cancelled++ });
  const user = world.dial(PLAIN_IP, APP);
  world.clock.advance(2_999);
  assertEquals([events.refusals, cancelled], [[], 0]);
  world.drive(() => user.ended);
  assertEquals([events.refusals, cancelled], [["deadline has elapsed"], 1]);
  user.channel.reset(null);
  world.dispose();
});

Deno.test("PlaintextConnection denied by policy closes without data, with a whole record (I23)", async () => {
  const { world, events } = await serverWorld({ policies: [STRICT] });
  const app = world.app(APP);
  const user = world.dial(PLAIN_IP, APP);
  world.drive(() => user.ended);
  assertEquals([user.bytes, app.conversations.length], [0, 0]);
  assertEquals(events.ends, [
    "DENY: connection closed due to policy rejection: explicitly denied by: " +
    "default/istio_converted_static_strict",
  ]);
  assertEquals(events.refusals, []);
  user.channel.endWrite();
  world.drive(() => user.closed);
  world.dispose();
});

Deno.test("PlaintextConnection resets a denied peer that has sent something already", async () => {
  const { world } = await serverWorld({ policies: [STRICT] });
  const user = world.dial(PLAIN_IP, APP);
  user.send("hello");
  world.drive(() => user.closed);
  assertEquals([user.closeError?.code, user.bytes], ["ECONNRESET", 0]);
  world.dispose();
});

Deno.test("PlaintextConnection is judged by the original destination's port (§4.8)", async () => {
  const exempt = {
    ...STRICT,
    rules: [[[{ notPrincipals: ["!Presence"] }], [{ notDestinationPorts: [9090] }]]],
  };
  const { world, events } = await serverWorld({ policies: [exempt] });
  world.app(APP);
  world.app({ ip: SERVER_IP, port: 9090 });
  const denied = world.dial(PLAIN_IP, APP);
  const allowed = world.dial(PLAIN_IP, { ip: SERVER_IP, port: 9090 });
  allowed.send("hello");
  world.drive(() => denied.ended && allowed.text === "hello");
  assertEquals(events.ends.map((end) => end.split(":")[0]), ["DENY"]);
  denied.channel.reset(null);
  allowed.channel.reset(null);
  world.dispose();
});

// Connecting.

Deno.test("PlaintextConnection says why the application could not be reached", async () => {
  const { world, events } = await serverWorld();
  const user = world.dial(PLAIN_IP, APP);
  world.drive(() => user.ended);
  assertEquals(events.ends, ["CONNECT: connection failed: Connection refused (os error 111)"]);
  user.channel.endWrite();
  world.drive(() => user.closed);
  world.dispose();
});

Deno.test("PlaintextConnection gives the application 10 s to accept", async () => {
  const { world, events, plane } = await serverWorld(slowTo(8080, { connect: "vanish" }));
  const user = world.dial(PLAIN_IP, APP);
  world.clock.advance(9_998);
  assertEquals([events.ends, plane.statsNow().connections], [[], 1]);
  world.clock.advance(3);
  assertEquals(events.ends, ["CONNECT: connection failed: deadline has elapsed"]);
  user.channel.reset(null);
  world.dispose();
});

Deno.test("PlaintextConnection keeps early bytes for the application", async () => {
  const { world } = await serverWorld(slowTo(8080, { connectMs: 3_000 }));
  const app = world.app(APP);
  const user = world.dial(PLAIN_IP, APP);
  user.send("early bird");
  user.channel.endWrite();
  world.drive(() => user.closed);
  assertEquals([app.conversations[0]!.text, user.text], ["early bird", "early bird"]);
  world.dispose();
});

Deno.test("PlaintextConnection stops dialling when its peer resets, and that is no error", async () => {
  const { world, events, plane } = await serverWorld(slowTo(8080, { connect: "vanish" }));
  const user = world.dial(PLAIN_IP, APP);
  world.clock.advance(1_000);
  user.channel.reset(null);
  world.clock.advance(1);
  assertEquals(events.ends, ["-: ok"]);
  assertEquals([plane.statsNow().connections, plane.statsNow().tracked], [0, 0]);
  world.dispose();
});

Deno.test("PlaintextConnection withdraws its question when its peer resets, without a line", async () => {
  const { world, events, plane } = await serverWorld();
  let cancelled = 0;
  world.router.inboundPlaintext = () => ({ cancel: () => void cancelled++ });
  const user = world.dial(PLAIN_IP, APP);
  world.clock.advance(1_000);
  user.channel.reset(null);
  world.clock.advance(1);
  assertEquals([cancelled, events.early.length, plane.statsNow().connections], [1, 0, 0]);
  world.dispose();
});

// Later (I25).

async function carrying(options: WorldOptions = {}, plane: Partial<DataPlaneOptions> = {}) {
  const all = await serverWorld(options, plane);
  const app = all.world.app(APP);
  const user = all.world.dial(PLAIN_IP, APP);
  user.send("hello");
  all.world.drive(() => user.text === "hello");
  return { ...all, app, user };
}

Deno.test("PlaintextConnection ends on both sides when policy comes to deny it", async () => {
  const { world, events, app, user } = await carrying();
  world.pushPolicies([STRICT]);
  world.clock.advance(1);
  assertEquals([user.closed, app.conversations[0]!.closed], [true, true]);
  assertEquals(events.ends, ["DENY: connection closed due to policy change"]);
  const { ip, port } = user.channel.local;
  assertEquals(events.messages, [
    `info ztunnel::proxy::connection_manager: connection ${ip}:${port}(None)->10.0.0.2:8080 ` +
    "(test//Pod/default/server) closed because it's no longer allowed after a policy update",
  ]);
  world.dispose();
});

Deno.test("PlaintextConnection that still dials ends when policy comes to deny it", async () => {
  const { world, events } = await serverWorld(slowTo(8080, { connectMs: 3_000 }));
  const app = world.app(APP);
  const user = world.dial(PLAIN_IP, APP);
  world.clock.advance(1_000);
  world.pushPolicies([STRICT]);
  world.clock.advance(10_000);
  assertEquals([user.closed, app.conversations.length], [true, 0]);
  assertEquals(events.ends, ["DENY: connection closed due to policy change"]);
  world.dispose();
});

Deno.test("PlaintextConnection knows no certificate that could be revoked", async () => {
  const { world, plane, user } = await carrying();
  assertEquals(plane.revoke(() => true), 0);
  user.send(" again");
  world.drive(() => user.text === "hello again");
  user.channel.reset(null);
  world.dispose();
});

// Drain and limits.

Deno.test("PlaintextConnection may finish while its data plane drains", async () => {
  const { world, plane, events, user } = await carrying();
  let drained = false;
  plane.drain(5_000, () => drained = true);
  const late = world.tryDial(world.network(PLAIN_IP), APP);
  assertEquals(late instanceof NetError && late.code, "ECONNREFUSED");
  world.clock.advance(3_000);
  user.send(" again");
  world.drive(() => user.text === "hello again");
  assertEquals(drained, false);
  user.channel.endWrite();
  world.drive(() => drained);
  assertEquals(events.ends, ["-: ok"]);
  assertEquals(
    events.lines.filter(({ message }) => message === "shutdown complete").map(({ fields }) =>
      fields.component
    ),
    ["inbound", "inbound passthrough"],
  );
  world.dispose();
});

Deno.test.each([
  { name: "carries", options: {}, ends: ["-: connection closed due to connection drain"] },
  {
    name: "dials",
    options: slowTo(8080, { connect: "vanish" }),
    ends: ["-: connection closed due to connection drain"],
  },
])("PlaintextConnection that $name is cut at the deadline", async ({ options, ends }) => {
  const { world, plane, events } = await serverWorld(options);
  world.app(APP);
  const user = world.dial(PLAIN_IP, APP);
  world.clock.advance(100);
  let drained = false;
  plane.drain(2_000, () => drained = true);
  world.clock.advance(1_999);
  assertEquals([drained, user.closed], [false, false]);
  world.clock.advance(2);
  assertEquals([drained, user.closed, user.closeError?.code], [true, true, "ECONNRESET"]);
  assertEquals(events.ends, ends);
  assertEquals(
    events.lines.filter(({ level }) => level === "warn").map(({ fields }) => fields.component),
    ["inbound passthrough"],
  );
  world.dispose();
});

Deno.test("PlaintextConnection that waits for the Router, or for its peer to leave, is cut by a stop", async () => {
  const { world, plane, events } = await serverWorld();
  const leaving = world.dial(PLAIN_IP, { ip: SERVER_IP, port: 15001 });
  world.drive(() => leaving.ended);
  world.router.inboundPlaintext = () => ({ cancel() {} });
  const waiting = world.dial(PLAIN_IP, APP);
  world.clock.advance(1);
  let stopped = false;
  plane.stop(() => stopped = true);
  world.clock.advance(1);
  assertEquals([stopped, leaving.closed, waiting.closed], [true, true, true]);
  assertEquals(events.refusals, [
    "attempted recursive call to ourselves",
    "connection closed due to connection drain",
  ]);
  world.dispose();
});

Deno.test("PlaintextConnection ends with a bug in its handling, and nothing else does", async () => {
  const { world, plane, events, user } = await carrying();
  const { router } = world;
  const ask = router.inboundPlaintext.bind(router);
  router.inboundPlaintext = () => {
    throw new TypeError("a bug of ours");
  };
  const hurt = world.dial(PLAIN_IP, APP);
  world.clock.advance(1);
  router.inboundPlaintext = ask;
  user.send(" again");
  world.drive(() => user.text === "hello again");
  assertEquals([hurt.closed, plane.statsNow().faults], [true, 1]);
  const line = events.lines.find(({ level }) => level === "error")!;
  assertStringIncludes(String(line.fields.error), "a bug of ours");
  // The world expects no bugs; this one was the test's.
  user.channel.reset(null);
  plane.stop(() => {});
  world.clock.advance(60_000);
  assertEquals([plane.statsNow().connections, plane.statsNow().timers], [0, 0]);
});
