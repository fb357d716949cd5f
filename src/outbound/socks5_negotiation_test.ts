// SOCKS5 as a client sees it (spec/data-path §3.8, rows S1-S10).
import { assertEquals } from "@std/assert";
import {
  type App,
  CLIENT_IP,
  DataPlaneWorld,
  SERVER_IP,
  type WorldOptions,
} from "../../tests/support/data_plane_world.ts";
import type { DataPlaneOptions } from "../dataplane.ts";

const GREETING = [5, 1, 0];
const CHOSEN = "0500";
const SUCCESS = "05000001000000000000";
const TARGET = [5, 1, 0, 1, 10, 0, 0, 2, 0x1f, 0x90];

function request(name: string, port: number): number[] {
  return [5, 1, 0, 3, name.length, ...new TextEncoder().encode(name), port >> 8, port & 255];
}

function hex(app: App): string {
  return [...app.text].map((octet) => octet.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

async function socksWorld(
  options: WorldOptions = {},
  planeOptions: Partial<DataPlaneOptions> = {},
) {
  const world = await DataPlaneWorld.create(options);
  const { plane, events } = world.client(planeOptions);
  const user = world.dial(CLIENT_IP, { ip: "127.0.0.1", port: 15080 });
  const say = (...octets: number[]) => {
    user.send(Uint8Array.from(octets));
    world.clock.advance(1);
  };
  return { world, plane, events, user, say };
}

Deno.test("SocksNegotiation says success before any connect (S1, S3, S6, S10)", async () => {
  const { world, events, user, say } = await socksWorld();
  say(...GREETING);
  assertEquals(hex(user), CHOSEN);
  say(...TARGET);
  assertEquals(hex(user), CHOSEN + SUCCESS);
  world.drive(() => user.closed); // Nobody listens there: the connection just closes.
  assertEquals(events.ends, ["CONNECT: io error: No route to host (os error 113)"]);
  assertEquals(events.openedRecords[0]!.facts.listener, "socks5");
  world.dispose();
});

Deno.test("SocksNegotiation works octet by octet, and hands on what follows the request", async () => {
  const { world, user, say } = await socksWorld();
  world.server();
  world.app({ ip: SERVER_IP, port: 8080 });
  for (const octet of [...GREETING, ...TARGET, 0x68, 0x69]) say(octet);
  world.drive(() => user.bytes >= 14);
  assertEquals(hex(user), CHOSEN + SUCCESS + "6869");
  user.channel.reset(null);
  world.dispose();
});

Deno.test("SocksNegotiation takes everything in one piece, payload included, and counts it", async () => {
  const { world, events, user, say } = await socksWorld();
  world.server();
  world.app({ ip: SERVER_IP, port: 8080 });
  say(...GREETING, ...TARGET, 0x68, 0x69);
  world.drive(() => user.bytes >= 14);
  assertEquals(hex(user), CHOSEN + SUCCESS + "6869");
  assertEquals(events.openedRecords[0]!.bytesToServer, 2);
  user.channel.reset(null);
  world.dispose();
});

Deno.test("SocksNegotiation resolves a name through the Router (S5)", async () => {
  const { world, user, say } = await socksWorld({
    services: [{
      name: "web",
      namespace: "default",
      hostname: "web.default.svc.cluster.local",
      vips: ["/10.0.0.2"],
      ports: { 8080: 8080 },
    }],
  });
  const asked: unknown[] = [];
  const resolve = world.router.resolve.bind(world.router);
  world.router.resolve = (local, name, family, done) => {
    asked.push([local.name, name, family]);
    return resolve(local, name, family, done);
  };
  say(...GREETING, ...request("web.default.svc.cluster.local", 8080));
  assertEquals(asked, [["client", "web.default.svc.cluster.local", 4]]);
  assertEquals(hex(user), CHOSEN + SUCCESS);
  user.channel.reset(null);
  world.dispose();
});

Deno.test("SocksNegotiation takes an address written as a name without asking", async () => {
  const { world, user, say } = await socksWorld();
  world.router.resolve = () => {
    throw new Error("Not to be asked");
  };
  say(...GREETING, ...request("10.0.0.2", 8080));
  assertEquals(hex(user), CHOSEN + SUCCESS);
  user.channel.reset(null);
  world.dispose();
});

Deno.test.each([
  { name: "version 4", octets: [4], reply: "05070001000000000000" },
  { name: "no methods", octets: [5, 0], reply: "05070001000000000000" },
  { name: "password only", octets: [5, 1, 2], reply: "05070001000000000000" },
  { name: "UDP", octets: [...GREETING, 5, 3, 0], reply: `${CHOSEN}05070001000000000000` },
  { name: "BIND", octets: [...GREETING, 5, 2, 0], reply: `${CHOSEN}05070001000000000000` },
  {
    name: "another version in the request",
    octets: [...GREETING, 4, 1, 0],
    reply: `${CHOSEN}05070001000000000000`,
  },
  {
    name: "an unknown address type",
    octets: [...GREETING, 5, 1, 0, 9],
    reply: `${CHOSEN}05070001000000000000`,
  },
  {
    name: "a name that is not UTF-8",
    octets: [...GREETING, 5, 1, 0, 3, 1, 0xff, 0, 80],
    reply: `${CHOSEN}05070001000000000000`,
  },
  {
    name: "a name that does not resolve",
    octets: [...GREETING, ...request("nowhere.example", 80)],
    reply: `${CHOSEN}05040001000000000000`,
  },
])("SocksNegotiation answers $name, then closes (S2, S7, S8)", async ({ octets, reply }) => {
  const { world, plane, events, user, say } = await socksWorld();
  say(...octets);
  assertEquals([hex(user), user.ended], [reply, true]);
  user.channel.endWrite();
  world.clock.advance(1);
  assertEquals([user.closed, user.closeError], [true, null]);
  assertEquals(plane.statsNow().connections, 0);
  assertEquals(events.messages.length, 1);
  world.dispose();
});

Deno.test.each([
  { name: "at once", octets: [] as number[], reply: "" },
  { name: "in the greeting", octets: [5], reply: "" },
  { name: "in the request", octets: [...GREETING, 5, 1], reply: CHOSEN },
])("SocksNegotiation answers 1 to a client that ends $name (S9)", async ({ octets, reply }) => {
  const { world, plane, user, say } = await socksWorld();
  if (octets.length > 0) say(...octets);
  user.channel.endWrite();
  world.clock.advance(1);
  assertEquals([hex(user), user.closed], [`${reply}05010001000000000000`, true]);
  assertEquals(plane.statsNow().connections, 0);
  world.dispose();
});

Deno.test.each([{ afterMs: 29_900, closed: false }, { afterMs: 30_100, closed: true }])(
  "SocksNegotiation has 30 s: closed is $closed after $afterMs ms",
  async ({ afterMs, closed }) => {
    const { world, user, say } = await socksWorld();
    say(...GREETING);
    world.clock.advance(afterMs);
    assertEquals(user.ended, closed);
    if (closed) assertEquals(hex(user), `${CHOSEN}05010001000000000000`);
    user.channel.reset(null);
    world.dispose();
  },
);

Deno.test("SocksNegotiation counts a name server that never answers into its 30 s", async () => {
  const { world, plane, user, say } = await socksWorld();
  let cancelled = false;
  world.router.resolve = () => ({ cancel: () => cancelled = true });
  say(...GREETING, ...request("slow.example", 80));
  world.drive(() => user.ended);
  assertEquals(cancelled, true);
  user.channel.endWrite();
  world.clock.advance(1);
  assertEquals(plane.statsNow().connections, 0);
  world.dispose();
});

Deno.test("SocksNegotiation resets a refused client that does not close within 1 s", async () => {
  const { world, plane, user, say } = await socksWorld();
  say(4);
  say(...Array(64).fill(1)); // Whatever it still says is not kept.
  world.clock.advance(1_100);
  assertEquals([user.closed, plane.statsNow().connections], [true, 0]);
  world.dispose();
});

Deno.test("SocksNegotiation stops resolving when the client resets", async () => {
  const { world, plane, user, say } = await socksWorld();
  let cancelled = false;
  world.router.resolve = () => ({ cancel: () => cancelled = true });
  say(...GREETING, ...request("slow.example", 80));
  user.channel.reset(null);
  world.clock.advance(1);
  assertEquals([cancelled, plane.statsNow().connections], [true, 0]);
  world.dispose();
});

Deno.test("Socks5Server applies the loop guard to the target", async () => {
  const { world, events, user, say } = await socksWorld();
  say(...GREETING, 5, 1, 0, 1, 127, 0, 0, 1, 15001 >> 8, 15001 & 255);
  world.drive(() => user.closed);
  assertEquals(events.refusals, ["attempted recursive call to ourselves"]);
  world.dispose();
});

Deno.test("Socks5Server has a pool of its own (P1)", async () => {
  const { world, plane, user, say } = await socksWorld();
  world.server();
  world.app({ ip: SERVER_IP, port: 8080 });
  say(...GREETING, ...TARGET);
  const captured = world.captured({ ip: SERVER_IP, port: 8080 });
  captured.send("x");
  world.drive(() => captured.bytes === 1);
  assertEquals([plane.socks5!.pool.stats.pooled, plane.outbound!.pool.stats.pooled], [1, 1]);
  // SOCKS5 clients are local, captured ones have the pod's address: other keys, other listeners.
  user.channel.reset(null);
  captured.channel.reset(null);
  world.dispose();
});

Deno.test("Socks5Server cuts clients still negotiating when it drains", async () => {
  const { world, plane, user, say } = await socksWorld();
  say(...GREETING);
  let done = false;
  plane.drain(5_000, () => done = true);
  world.clock.advance(10);
  assertEquals([user.closed, done], [true, true]);
  world.dispose();
});
