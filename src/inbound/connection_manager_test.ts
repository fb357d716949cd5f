// Rows R1-R8 (spec/data-path §4.7): what a push of policies does to live connections.
import { assertEquals } from "@std/assert";
import { DataPlaneWorld, SERVER_IP } from "../../tests/support/data_plane_world.ts";
import { connectTo, HboneClient } from "../../tests/support/hbone_client.ts";
import { ProxyError } from "../base/errors.ts";
import { PERFECT_LINK } from "../net/memory/link_plan.ts";
import type { PolicySelection } from "../seam/route.ts";
import type { StateChange } from "../seam/router.ts";

const APP = { ip: SERVER_IP, port: 8080 };
const AUTHORITY = "10.0.0.2:8080";

/** A policy that applies to everything in the namespace. */
function policy(name: string, action: "Allow" | "Deny", rules: unknown) {
  return { name, namespace: "default", scope: "Namespace", action, rules, dryRun: false };
}

const DENY_ALL = policy("no", "Deny", [[[{ notDestinationPorts: [1] }]]]);
const ALLOW_NOBODY = policy("nobody", "Allow", [[[{ destinationPorts: [1] }]]]);

async function serverWorld(options: Parameters<typeof DataPlaneWorld.create>[0] = {}) {
  const world = await DataPlaneWorld.create(options);
  const { plane, events } = world.server();
  const client = await HboneClient.connect(world);
  return { world, plane, events, client };
}

Deno.test("ConnectionManager ends what a new policy denies: CANCEL, DENY, a line (R2, R8)", async () => {
  const { world, events, client } = await serverWorld();
  const app = world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  world.pushPolicies([DENY_ALL]);
  world.clock.advance(1);
  assertEquals([call.closed, call.closeError], [true, null]); // CANCEL reads as an end (W12).
  assertEquals(app.conversations[0]!.closed, true);
  assertEquals(events.ends, ["DENY: connection closed due to policy change"]);
  const port = events.openedRecords[0]!.facts.sourceAddress.port;
  assertEquals(events.messages, [
    "info ztunnel::proxy::connection_manager: connection " +
    `10.0.0.1:${port}(spiffe://cluster.local/ns/default/sa/client)->10.0.0.2:8080 ` +
    "(test//Pod/default/server) closed because it's no longer allowed after a policy update",
  ]);
  const next = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  assertEquals(next.status, "401");
  world.dispose();
});

Deno.test("ConnectionManager leaves the other streams of a connection alone (R2)", async () => {
  const { world, client } = await serverWorld();
  world.app({ ip: SERVER_IP, port: 80 });
  world.app({ ip: SERVER_IP, port: 81 });
  const kept = client.call(connectTo("10.0.0.2:80"));
  const ended = client.call(connectTo("10.0.0.2:81"));
  world.clock.advance(1);
  world.pushPolicies([policy("81", "Deny", [[[{ destinationPorts: [81] }]]])]);
  world.clock.advance(1);
  assertEquals([kept.closed, ended.closed], [false, true]);
  kept.send("still here");
  world.clock.advance(1);
  assertEquals(kept.text, "still here");
  world.dispose();
});

Deno.test("ConnectionManager counts equal streams as one entry and ends all of them (R4)", async () => {
  const { world, plane, client } = await serverWorld();
  world.app(APP);
  const calls = [1, 2, 3].map(() => client.call(connectTo(AUTHORITY)));
  world.clock.advance(1);
  assertEquals(plane.statsNow().tracked, 1);
  calls[0]!.stream!.reset(null);
  world.clock.advance(1);
  assertEquals([plane.statsNow().tracked, plane.statsNow().connections], [1, 2]);
  world.pushPolicies([DENY_ALL]);
  world.clock.advance(1);
  assertEquals(calls.map(({ closed }) => closed), [true, true, true]);
  assertEquals(plane.statsNow().tracked, 0);
  world.dispose();
});

Deno.test("ConnectionManager tells sources apart (R4)", async () => {
  const { world, plane, client } = await serverWorld();
  world.app(APP);
  const other = await HboneClient.connect(world);
  client.call(connectTo(AUTHORITY));
  other.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  assertEquals(plane.statsNow().tracked, 2);
  world.dispose();
});

Deno.test("ConnectionManager ends a connection that is still dialling", async () => {
  const { world, events, client } = await serverWorld({
    plan: ({ destination }) =>
      destination.port === 8080 ? { ...PERFECT_LINK, connect: "vanish" } : PERFECT_LINK,
  });
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(100);
  world.pushPolicies([DENY_ALL]);
  world.clock.advance(1);
  assertEquals(events.ends, ["DENY: connection closed due to policy change"]);
  assertEquals([call.status, call.failure?.code], [null, "CANCEL"]);
  world.dispose();
});

Deno.test("ConnectionManager keeps what the end of the last ALLOW leaves open, and ends what the first closes (R6)", async () => {
  const { world, client } = await serverWorld({
    policies: [policy("port", "Allow", [[[{ destinationPorts: [8080] }]]])],
  });
  world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  world.pushPolicies([]);
  world.clock.advance(1);
  assertEquals(call.closed, false);
  world.pushPolicies([ALLOW_NOBODY]);
  world.clock.advance(1);
  assertEquals(call.closed, true);
  world.dispose();
});

Deno.test("ConnectionManager does not judge again when only the file was read again (R1)", async () => {
  const { world, client } = await serverWorld();
  world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  const denied = await DataPlaneWorld.create({ policies: [DENY_ALL] });
  world.router.replace(denied.router.state, { policies: false });
  world.clock.advance(1);
  assertEquals(call.closed, false);
  world.dispose();
});

Deno.test("ConnectionManager finds a connection whose route is older than the push (R3)", async () => {
  const { world, client } = await serverWorld();
  const app = world.app(APP);
  const { router } = world;
  const ask = router.inbound.bind(router);
  // The push comes between the Router's decision and its answer.
  router.inbound = (question, done) => {
    const step = ask(question, done);
    world.pushPolicies([DENY_ALL]);
    return step;
  };
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  world.clock.advance(1);
  assertEquals(call.closed || call.failure !== null, true);
  assertEquals(app.conversations.every(({ closed }) => closed), true);
  world.dispose();
});

Deno.test("ConnectionManager writes decisions at debug, or at info when told", async () => {
  for (const policyInfoLogging of [false, true]) {
    const world = await DataPlaneWorld.create({ policies: [DENY_ALL] });
    const { events } = world.server({ settings: { policyInfoLogging } });
    const client = await HboneClient.connect(world);
    client.call(connectTo(AUTHORITY));
    world.clock.advance(1);
    const line = events.lines.find(({ scope }) => scope === "ztunnel::state")!;
    assertEquals([line.level, line.message, line.fields], [
      policyInfoLogging ? "info" : "debug",
      "deny policy match",
      { policy: "default/no" },
    ]);
    world.dispose();
  }
});

Deno.test("ConnectionManager fails closed when the Router cannot say which policies apply", async () => {
  const { world, events, client, plane } = await serverWorld();
  world.app(APP);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  world.router.policies = () => {
    throw new TypeError("a bug of ours");
  };
  world.pushPolicies([]);
  world.clock.advance(1);
  assertEquals([call.closed, plane.statsNow().faults], [true, 1]);
  assertEquals(events.ends, ["DENY: connection closed due to policy change"]);
  plane.stop(() => {});
  world.clock.advance(60_000);
  assertEquals([plane.statsNow().connections, plane.statsNow().timers], [0, 0]);
});

Deno.test.each([
  { name: "everything", touched: null, asks: 1 },
  { name: "one of its policies", touched: ["p a/b", "p default/mine"], asks: 1 },
  { name: "none of its policies", touched: ["p a/b"], asks: 0 },
])(
  "ConnectionManager asks again for a route from before a change of $name: $asks times (R3)",
  async ({ touched, asks }) => {
    const world = await DataPlaneWorld.create();
    world.app(APP);
    const { router } = world;
    let change: (change: StateChange) => void = () => {};
    router.onChange = (listener) => {
      change = listener;
      return { cancel() {} };
    };
    const policies: PolicySelection[] = [];
    router.policies = (selection, done) => {
      policies.push(selection);
      return world.clock.after(0, () => done([]));
    };
    const ask = router.inbound.bind(router);
    router.inbound = (question, done) =>
      ask(question, (outcome) => {
        if (outcome instanceof ProxyError) return done(outcome);
        change({ generation: 8, policies: true, touched }); // As late as can be.
        done({ ...outcome, generation: 7, dependsOn: ["n default", "p default/mine"] });
      });
    world.server();
    const client = await HboneClient.connect(world);
    const call = client.call(connectTo(AUTHORITY));
    world.clock.advance(1);
    assertEquals([call.status, policies.length], ["200", asks]);
    call.stream!.reset(null);
    world.clock.advance(1);
    world.dispose();
  },
);
