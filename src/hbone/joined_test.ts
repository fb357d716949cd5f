// What joinChannels() adds to a copy: reasons with words of their own, and a fence around bugs.
import { assertEquals } from "@std/assert";
import {
  type App,
  DataPlaneWorld,
  NotedEvents,
  SERVER_IP,
} from "../../tests/support/data_plane_world.ts";
import { testParts } from "../../tests/support/hbone_peer.ts";
import { adoptBlock } from "../base/block.ts";
import type { Channel } from "../base/channel.ts";
import { NetError, ProxyError } from "../base/errors.ts";
import type { ConnectionFacts } from "../seam/events.ts";
import { DrainError, PeerRevoked } from "./errors.ts";
import { joinChannels } from "./joined.ts";
import { OpenRecord } from "./record.ts";

const FACTS: ConnectionFacts = {
  direction: "outbound",
  protocol: "TCP",
  listener: "outbound",
  sourceAddress: { ip: "10.0.0.1", port: 1 },
  destinationAddress: { ip: "10.0.0.2", port: 2 },
  hboneAuthority: null,
  source: null,
  sourceIdentity: null,
  sourceBaggage: null,
  destination: null,
  destinationIdentity: null,
  destinationBaggage: null,
  service: null,
  mutualTls: false,
  traceId: "0".repeat(32),
};

/** Both ends of a connection between two hosts. */
function pair(world: DataPlaneWorld, port: number): { near: App; far: Channel } {
  const accepted: Channel[] = [];
  const listeners: { close(): void }[] = [];
  world.network(SERVER_IP).listen(
    { ip: SERVER_IP, port },
    { backlog: 1, keepalive: null },
    (channel) => accepted.push(channel),
    (outcome) => {
      if (!(outcome instanceof ProxyError)) listeners.push(outcome);
    },
  );
  world.clock.runUntilIdle();
  const near = world.dial("10.0.0.1", { ip: SERVER_IP, port });
  world.clock.runUntilIdle();
  listeners[0]!.close();
  return { near, far: accepted[0]! };
}

async function joinedPairs(change: (channel: Channel) => Channel = (channel) => channel) {
  const world = await DataPlaneWorld.create();
  world.network("10.0.0.1");
  const events = new NotedEvents();
  const parts = testParts(world, { events });
  const client = pair(world, 81);
  const server = pair(world, 82);
  const record = new OpenRecord(FACTS, 0, parts);
  const ends: (ProxyError | null)[] = [];
  const copy = joinChannels(client.far, change(server.far), record, parts, (error) => {
    ends.push(error);
    record.close(error, 0);
  });
  return { world, events, parts, record, ends, copy, user: client.near, app: server.near };
}

Deno.test("joinChannels() copies both ways, counts, and ends in order", async () => {
  const { world, record, ends, user, app } = await joinedPairs();
  user.send("question");
  app.send("answer!");
  world.clock.advance(1);
  assertEquals([app.text, user.text], ["question", "answer!"]);
  assertEquals([record.bytesToServer, record.bytesToClient], [8, 7]);
  user.channel.endWrite();
  app.channel.endWrite();
  world.clock.advance(1);
  assertEquals([ends, user.closeError, app.closeError], [[null], null, null]);
  world.dispose();
});

Deno.test("joinChannels().terminate() resets both, and that reason is the end", async () => {
  const { world, ends, copy, user, app } = await joinedPairs();
  copy.terminate(new DrainError());
  assertEquals(ends, []);
  world.clock.advance(1);
  assertEquals(ends.map((error) => error?.code), ["DRAINED"]);
  assertEquals([user.closeError?.code, app.closeError?.code], ["ECONNRESET", "ECONNRESET"]);
  world.dispose();
});

Deno.test.each([
  { reason: new PeerRevoked(), expected: "connection closed: peer certificate revoked by CRL" },
  {
    reason: new NetError("EHOSTUNREACH"),
    expected: "receive: io error: No route to host (os error 113)",
  },
])("joinChannels() ends with the words of the reason: $expected", async ({ reason, expected }) => {
  let far: Channel | null = null;
  const { world, ends, user } = await joinedPairs((channel) => far = channel);
  far!.reset(reason);
  world.clock.advance(1);
  user.channel.endWrite();
  world.clock.advance(1);
  assertEquals(ends.map((error) => error?.message), [expected]);
  world.dispose();
});

Deno.test("joinChannels() keeps a bug of the copy to itself: counted, logged, both reset", async () => {
  const { world, parts, events, ends, user, app } = await joinedPairs((channel) => {
    channel.write = () => {
      throw new TypeError("a bug of ours");
    };
    return channel;
  });
  user.send("x");
  world.clock.advance(1);
  assertEquals(ends.map((error) => error?.code), ["INTERNAL"]);
  assertEquals([parts.faults.count, user.closed, app.closed], [1, true, true]);
  assertEquals(events.messages, [
    "error ztunnel::proxy: bug while handling a connection in net/copy",
  ]);
  world.dispose();
});

Deno.test("joinChannels() resumes a side that was paused while nobody took its bytes", async () => {
  const world = await DataPlaneWorld.create();
  world.network("10.0.0.1");
  const parts = testParts(world);
  const client = pair(world, 81);
  const server = pair(world, 82);
  client.far.attach({ onData() {}, onEnd() {}, onWritable() {}, onClose() {} });
  client.far.pause();
  const early = adoptBlock(new TextEncoder().encode("early"));
  client.near.channel.write(early, 0, 5);
  early.release();
  world.clock.advance(1);
  const record = new OpenRecord(FACTS, 0, parts);
  const copy = joinChannels(client.far, server.far, record, parts, () => {});
  world.clock.advance(1);
  assertEquals(server.near.text, "early");
  copy.terminate(new DrainError());
  world.dispose();
});
