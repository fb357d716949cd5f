// What all listeners of a data plane share: room, refusal, drain (spec/data-path §6.1; design §5).
import { assertEquals, assertThrows } from "@std/assert";
import { DataPlaneWorld, NotedEvents, SERVER_IP } from "../../tests/support/data_plane_world.ts";
import { testParts } from "../../tests/support/hbone_peer.ts";
import { AssertionFailure } from "../base/assert.ts";
import type { Channel } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { Listener, ListenOptions } from "../net/network.ts";
import { ConnectionBudget } from "./budget.ts";
import { Intake, type IntakeOptions, type IntakeOwner } from "./intake.ts";

const AT = { ip: SERVER_IP, port: 15006 };

/** Keeps what it is given until told otherwise. */
class Keeper implements IntakeOwner {
  readonly kept: Channel[] = [];
  finishes: (() => void)[] = [];

  get occupied(): boolean {
    return this.kept.length > 0;
  }

  onAccepted(channel: Channel): void {
    this.kept.push(channel);
  }

  finish(done: () => void): void {
    this.finishes.push(done);
  }
}

async function opened(options: Partial<IntakeOptions> = {}) {
  const world = await DataPlaneWorld.create({ transparent: true });
  const events = new NotedEvents();
  const parts = testParts(world, { events, ip: SERVER_IP });
  const keeper = new Keeper();
  const intake = new Intake(parts, keeper, { direction: "inbound", budget: null, ...options });
  const outcomes: (Listener | ProxyError)[] = [];
  intake.listen(AT, { keepalive: null }, (outcome) => outcomes.push(outcome));
  world.clock.runUntilIdle();
  assertEquals(outcomes.length, 1);
  return { world, events, keeper, intake, outcome: outcomes[0]! };
}

Deno.test("Intake gives its owner what it accepts", async () => {
  const { world, keeper, intake } = await opened();
  world.dial(SERVER_IP, AT);
  world.clock.runUntilIdle();
  assertEquals([keeper.kept.length, intake.local], [1, AT]);
});

Deno.test("Intake asked before it is open has no address, and is not transparent", async () => {
  const parts = testParts(await DataPlaneWorld.create(), {});
  const intake = new Intake(parts, new Keeper(), { direction: "inbound", budget: null });
  assertEquals(intake.transparent, false);
  assertThrows(() => intake.local, AssertionFailure);
});

Deno.test("Intake says why it could not be opened, and can be drained nevertheless", async () => {
  const { world, intake } = await opened();
  const keeper = new Keeper();
  const parts = testParts(world, { ip: SERVER_IP });
  const second = new Intake(parts, keeper, { direction: "inbound", budget: null });
  const outcomes: (Listener | ProxyError)[] = [];
  second.listen(intake.local, { keepalive: null }, (outcome) => outcomes.push(outcome));
  world.clock.runUntilIdle();
  assertEquals(outcomes[0] instanceof ProxyError && outcomes[0].code, "EADDRINUSE");
  second.drain(() => {});
  world.clock.runUntilIdle();
  assertEquals(keeper.finishes.length, 1);
});

Deno.test("Intake refuses above its budget, says so once each, and keeps the old ones", async () => {
  const budget = new ConnectionBudget(2);
  const { world, events, keeper, intake } = await opened({ budget });
  const dial = () => {
    const app = world.dial(SERVER_IP, AT);
    world.clock.runUntilIdle();
    return app.closed;
  };
  assertEquals([dial(), dial(), dial()], [false, false, true]);
  assertEquals([budget.taken, budget.refused, keeper.kept.length], [2, 1, 2]);
  const failure = events.early[0]!;
  assertEquals([failure.error.message, failure.direction, failure.destinationAddress], [
    "no room for another connection: 2 are open",
    "inbound",
    AT,
  ]);
  intake.giveBack();
  assertEquals([dial(), events.early.length], [false, 1]);
});

Deno.test("Intake.drain() frees the port at once, and finishes in a later turn", async () => {
  const { world, keeper, intake } = await opened();
  intake.drain(() => {});
  assertEquals([world.fabric.openSockets, keeper.finishes.length], [0, 0]);
  world.clock.runUntilIdle();
  assertEquals(keeper.finishes.length, 1);
});

Deno.test("Intake.drain() waits for the last of what was accepted, and finishes once", async () => {
  const budget = new ConnectionBudget(8);
  const { world, keeper, intake } = await opened({ budget });
  let quiet = 0;
  for (const _ of [1, 2]) world.dial(SERVER_IP, AT);
  world.clock.runUntilIdle();
  intake.drain(() => quiet++);
  world.clock.runUntilIdle();
  for (const remaining of [1, 0]) {
    assertEquals(keeper.finishes.length, 0);
    keeper.kept.pop()!.reset(null);
    intake.giveBack();
    assertEquals(keeper.kept.length, remaining);
  }
  assertEquals([keeper.finishes.length, quiet], [1, 0]);
  intake.settle();
  assertEquals(keeper.finishes.length, 1);
  keeper.finishes[0]!();
  assertEquals([quiet, budget.taken], [1, 0]);
});

Deno.test("Intake is drained once", async () => {
  const { intake } = await opened();
  intake.drain(() => {});
  assertThrows(() => intake.drain(() => {}), AssertionFailure);
});

Deno.test("Intake resets what was accepted before its drain and told after", async () => {
  const world = await DataPlaneWorld.create();
  const network = world.network(SERVER_IP);
  let accept: (channel: Channel) => void = () => {};
  const listen = network.listen.bind(network);
  network.listen = (address, options, onChannel, done) => {
    accept = onChannel;
    return listen(address, options, () => {}, done);
  };
  const keeper = new Keeper();
  const intake = new Intake(testParts(world, { ip: SERVER_IP }), keeper, {
    direction: "inbound",
    budget: null,
  });
  intake.listen(AT, { keepalive: null }, () => {});
  world.clock.runUntilIdle();
  const links = world.fabric.links;
  const app = world.dial(SERVER_IP, AT);
  world.clock.runUntilIdle();
  intake.drain(() => {});
  accept([...links][0]!.serverEnd);
  world.clock.runUntilIdle();
  assertEquals([app.closeError?.code, keeper.kept.length], ["ECONNRESET", 0]);
});

Deno.test.each(["never", "try", "must"] as const)(
  "Intake asks for transparency as ENABLE_ORIG_SRC says: %s",
  async (originalSource) => {
    const world = await DataPlaneWorld.create({ transparent: true });
    const parts = testParts(world, { ip: SERVER_IP, settings: { originalSource } });
    const asked: ListenOptions[] = [];
    const network = world.network(SERVER_IP);
    const listen = network.listen.bind(network);
    network.listen = (address, options, ...rest) => {
      asked.push(options);
      return listen(address, options, ...rest);
    };
    const intake = new Intake(parts, new Keeper(), { direction: "inbound", budget: null });
    intake.listen(AT, { keepalive: null, captured: true }, () => {});
    world.clock.runUntilIdle();
    assertEquals(asked, [{
      keepalive: null,
      captured: true,
      backlog: parts.limits.backlogMax,
      transparent: originalSource,
    }]);
    assertEquals(intake.transparent, originalSource !== "never");
  },
);
