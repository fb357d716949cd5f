import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import {
  FixedCertificates,
  issueCertificate,
  meshIdentity,
} from "../../../tests/support/fixed_certificates.ts";
import { NotingHandler, patternBytes } from "../../../tests/support/channel_contract.ts";
import { driveClock, Outcome } from "../../../tests/support/memory_pair.ts";
import { MeshCa } from "../../../tests/support/mesh_ca.ts";
import type { SocketAddress } from "../../base/address.ts";
import { adoptBlock } from "../../base/block.ts";
import type { Channel } from "../../base/channel.ts";
import { VirtualClock } from "../../base/virtual_clock.ts";
import { DialError, type DialOptions, type Listener, type SecureChannel } from "../network.ts";
import { type LinkPlan, PERFECT_LINK } from "./link_plan.ts";
import { MemoryFabric } from "./memory_fabric.ts";
import { type MemoryNetwork, SYN_GIVE_UP_MS } from "./memory_network.ts";

const DIAL: DialOptions = { timeoutMs: 10_000, keepalive: null, sourceIp: null };
const SERVER: SocketAddress = { ip: "10.0.0.2", port: 80 };

interface World {
  readonly clock: VirtualClock;
  readonly fabric: MemoryFabric;
  readonly client: MemoryNetwork;
  readonly server: MemoryNetwork;
  readonly accepted: Channel[];
  /** Listens on the server's host. */
  listen(address?: SocketAddress): Outcome<Listener>;
  /** Dials from the client and waits for the outcome. */
  dial(address?: SocketAddress, options?: Partial<DialOptions>): Outcome<Channel>;
  /** Ends everything and asserts that nothing is left. */
  finish(): void;
}

function world(plan: Partial<LinkPlan> = {}): World {
  const clock = new VirtualClock({ wallStartMs: Date.now() });
  const fabric = new MemoryFabric({ clock, plan: () => ({ ...PERFECT_LINK, ...plan }) });
  const client = fabric.network({ label: "client", ips: ["10.0.0.1", "fd00::1"] });
  const server = fabric.network({ label: "server", ips: ["10.0.0.2", "10.0.0.3"] });
  const accepted: Channel[] = [];
  const listeners: Listener[] = [];
  const dialled: Channel[] = [];
  return {
    clock,
    fabric,
    client,
    server,
    accepted,
    listen(address = SERVER) {
      const outcome = new Outcome<Listener>();
      server.listen(
        address,
        { backlog: 8, keepalive: null },
        (channel) => void accepted.push(channel),
        outcome.done,
      );
      clock.runUntilIdle();
      if ("close" in outcome.only) listeners.push(outcome.value);
      return outcome;
    },
    dial(address = SERVER, options = {}) {
      const outcome = new Outcome<Channel>();
      client.dial(address, { ...DIAL, ...options }, outcome.done);
      driveClock(clock, () => outcome.values.length === 1);
      clock.runUntilIdle();
      if ("reset" in outcome.only) dialled.push(outcome.value);
      return outcome;
    },
    finish() {
      for (const channel of [...dialled, ...accepted]) channel.reset(null);
      for (const listener of listeners) listener.close();
      clock.advance(1000);
      assertEquals(
        { sockets: fabric.openSockets, links: fabric.links.size, timers: clock.pendingTimers },
        { sockets: 0, links: 0, timers: 0 },
      );
    },
  };
}

Deno.test("MemoryNetwork.dial() reaches a listener; both ends know both addresses", () => {
  const { listen, dial, accepted, finish, client, server } = world();
  listen();
  const channel = dial().value;
  assertEquals(channel.peer, SERVER);
  assertEquals(accepted[0]!.local, SERVER);
  assertEquals(accepted[0]!.peer, channel.local);
  assertEquals(channel.local.ip, "10.0.0.1");
  assertEquals([client.openSockets, server.openSockets], [1, 2]);
  finish();
});

Deno.test("MemoryNetwork.dial() binds to the source address it is given", () => {
  const { listen, dial, accepted, finish } = world();
  listen();
  dial(SERVER, { sourceIp: "10.9.9.9" });
  assertEquals(accepted[0]!.peer.ip, "10.9.9.9");
  finish();
});

Deno.test.each([
  { name: "a port nobody listens on", address: { ip: "10.0.0.2", port: 81 }, code: "ECONNREFUSED" },
  { name: "an address nobody has", address: { ip: "10.0.0.99", port: 80 }, code: "EHOSTUNREACH" },
  { name: "another family's address", address: { ip: "fd00::9", port: 80 }, code: "EHOSTUNREACH" },
  { name: "its own loopback", address: { ip: "127.0.0.1", port: 80 }, code: "ECONNREFUSED" },
])("MemoryNetwork.dial() to $name fails with $code", ({ address, code }) => {
  const { listen, dial, finish, client } = world();
  listen();
  assertEquals(dial(address).error.code, code);
  assertEquals(client.openSockets, 0);
  finish();
});

Deno.test("MemoryNetwork.dial() without an address of that family fails with ENETUNREACH", () => {
  const { clock, server, finish } = world();
  const outcome = new Outcome<Channel>();
  server.dial({ ip: "fd00::1", port: 80 }, DIAL, outcome.done);
  assertEquals(outcome.values, []);
  clock.runUntilIdle();
  assertEquals(outcome.error.code, "ENETUNREACH");
  finish();
});

Deno.test.each(
  [
    { name: "that refuses", plan: { connect: "refuse" }, code: "ECONNREFUSED", atMs: 0 },
    {
      name: "that refuses late",
      plan: { connect: "refuse", connectMs: 50 },
      code: "ECONNREFUSED",
      atMs: 50,
    },
    { name: "without a route", plan: { connect: "unreachable" }, code: "EHOSTUNREACH", atMs: 0 },
    {
      name: "that drops packets",
      plan: { connect: "vanish" },
      code: "DEADLINE_ELAPSED",
      atMs: 10_000,
    },
    {
      name: "that is too slow",
      plan: { connectMs: 10_001 },
      code: "DEADLINE_ELAPSED",
      atMs: 10_000,
    },
  ] as const,
)("MemoryNetwork.dial() over a link $name", ({ plan, code, atMs }) => {
  const { listen, dial, clock, finish, accepted } = world(plan);
  listen();
  assertEquals(dial().error.code, code);
  assertEquals([clock.nowMs(), accepted.length], [atMs, 0]);
  finish();
});

Deno.test.each([
  { name: "just under", connectMs: 9_999 },
  { name: "at", connectMs: 10_000 },
])("MemoryNetwork.dial() that takes $name its time-out succeeds", ({ connectMs }) => {
  const { listen, dial, clock, finish } = world({ connectMs });
  listen();
  assertEquals(dial().value.closed, false);
  assertEquals(clock.nowMs(), connectMs);
  finish();
});

Deno.test("MemoryNetwork.dial() with more patience than the kernel fails with ETIMEDOUT", () => {
  const { listen, dial, clock, finish } = world({ connect: "vanish" });
  listen();
  assertEquals(dial(SERVER, { timeoutMs: SYN_GIVE_UP_MS + 1 }).error.code, "ETIMEDOUT");
  assertEquals(clock.nowMs(), SYN_GIVE_UP_MS);
  finish();
});

Deno.test("MemoryNetwork.dial() cancelled frees its socket and never calls back", () => {
  const { listen, client, clock, finish } = world({ connectMs: 5 });
  listen();
  const outcome = new Outcome<Channel>();
  const cancel = client.dial(SERVER, DIAL, outcome.done);
  assertEquals(client.openSockets, 1);
  cancel.cancel();
  cancel.cancel();
  assertEquals(client.openSockets, 0);
  clock.advance(100);
  assertEquals(outcome.values, []);
  finish();
});

Deno.test("MemoryNetwork.dial() cancelled after its outcome leaves the channel alone", () => {
  const { listen, client, clock, finish } = world();
  listen();
  const outcome = new Outcome<Channel>();
  const cancel = client.dial(SERVER, DIAL, outcome.done);
  clock.runUntilIdle();
  cancel.cancel();
  assertEquals([client.openSockets, outcome.value.closed], [1, false]);
  outcome.value.reset(null);
  finish();
});

Deno.test("MemoryNetwork.listen() refuses a taken port and an address of another host", () => {
  const { listen, finish } = world();
  listen();
  assertEquals(listen().error.code, "EADDRINUSE");
  assertEquals(listen({ ip: "10.0.0.1", port: 80 }).error.code, "EADDRNOTAVAIL");
  finish();
});

Deno.test("MemoryNetwork.listen() on port 0 draws one and says which", () => {
  const { listen, dial, finish } = world();
  const { local } = listen({ ip: "10.0.0.2", port: 0 }).value;
  assert(local.port >= 1024);
  assertEquals(dial(local).value.peer, local);
  finish();
});

Deno.test.each(["10.0.0.2", "10.0.0.3"])(
  "MemoryNetwork.listen() on 0.0.0.0 hears %s",
  (ip) => {
    const { listen, dial, accepted, finish } = world();
    listen({ ip: "0.0.0.0", port: 80 });
    dial({ ip, port: 80 });
    assertEquals(accepted[0]!.local, { ip, port: 80 });
    finish();
  },
);

Deno.test("MemoryNetwork.listen() cancelled before it opened takes nothing", () => {
  const { server, clock, listen, finish } = world();
  const outcome = new Outcome<Listener>();
  server.listen(SERVER, { backlog: 1, keepalive: null }, () => {}, outcome.done).cancel();
  clock.runUntilIdle();
  assertEquals([outcome.values.length, server.openSockets], [0, 0]);
  listen();
  finish();
});

Deno.test("Listener.close() frees the port, keeps accepted channels and resets unaccepted ones", () => {
  const { listen, dial, client, clock, accepted, finish } = world();
  const listener = listen().value;
  const kept = dial().value;
  const notes = new NotingHandler(kept);
  kept.attach(notes);
  const late = new Outcome<Channel>();
  client.dial(SERVER, DIAL, late.done);
  clock.runTurn();
  assertEquals(accepted.length, 1);
  listener.close();
  listener.close();
  clock.advance(100);
  const lateNotes = new NotingHandler(late.value);
  late.value.attach(lateNotes);
  clock.advance(100);
  assertEquals([accepted.length, notes.closes, lateNotes.closes], [1, 0, 1]);
  assertEquals(dial().error.code, "ECONNREFUSED");
  listen();
  finish();
});

Deno.test("MemoryNetwork keeps each host's loopback to itself", () => {
  const { fabric, clock, client, server, finish } = world();
  const heard: string[] = [];
  const address = { ip: "127.0.0.1", port: 9000 };
  const listening = new Outcome<Listener>();
  for (const network of [client, server]) {
    network.listen(address, { backlog: 1, keepalive: null }, (channel) => {
      heard.push(network.label);
      channel.reset(null);
    }, listening.done);
  }
  clock.runUntilIdle();
  const dialled = new Outcome<Channel>();
  server.dial(address, DIAL, dialled.done);
  clock.advance(10);
  assertEquals(heard, ["server"]);
  for (const listener of listening.values as Listener[]) listener.close();
  clock.advance(10);
  assertEquals(fabric.links.size, 0);
  dialled.value.reset(null);
  finish();
});

Deno.test("MemoryNetwork with a redirect port captures what an application dials", () => {
  const { fabric, clock, finish } = world();
  const pod = ["10.1.0.1"];
  const proxy = fabric.network({ label: "proxy", ips: pod });
  const app = fabric.network({ label: "app", ips: pod, redirectPort: 15001 });
  const captured: Channel[] = [];
  const listening = new Outcome<Listener>();
  proxy.listen(
    { ip: "0.0.0.0", port: 15001 },
    { backlog: 1, keepalive: null, captured: true },
    (channel) => void captured.push(channel),
    listening.done,
  );
  clock.runUntilIdle();
  const dialled = new Outcome<Channel>();
  app.dial({ ip: "203.0.113.5", port: 443 }, DIAL, dialled.done);
  clock.runUntilIdle();
  assertEquals(captured[0]!.local, { ip: "203.0.113.5", port: 443 });
  assertEquals(captured[0]!.peer.ip, "10.1.0.1");
  assertEquals(dialled.value.peer, { ip: "203.0.113.5", port: 443 });
  captured[0]!.reset(null);
  dialled.value.reset(null);
  listening.value.close();
  finish();
});

Deno.test("MemoryNetwork captures what others dial to a host, but not its own dials nor excepted ports", () => {
  const { fabric, clock, client, finish } = world();
  const inboundRedirect = { port: 15006, exceptPorts: [15008] };
  const pod = fabric.network({ label: "pod", ips: ["10.1.0.1"], inboundRedirect });
  const app = fabric.network({ label: "app", ips: ["10.1.0.1"] });
  const heard: string[] = [];
  const listeners: Listener[] = [];
  const ends: Channel[] = [];
  for (
    const { port, captured } of [
      { port: 15006, captured: true },
      { port: 15008, captured: false },
      { port: 80, captured: false },
    ]
  ) {
    const listening = new Outcome<Listener>();
    pod.listen({ ip: "::", port }, { backlog: 1, keepalive: null, captured }, (channel) => {
      heard.push(`${port} for ${channel.local.ip}:${channel.local.port}`);
      ends.push(channel);
    }, listening.done);
    clock.runUntilIdle();
    listeners.push(listening.value);
  }
  for (const [network, port] of [[client, 80], [client, 15008], [app, 80]] as const) {
    const dialled = new Outcome<Channel>();
    network.dial({ ip: "10.1.0.1", port }, DIAL, dialled.done);
    clock.runUntilIdle();
    assertEquals(dialled.value.peer, { ip: "10.1.0.1", port });
    ends.push(dialled.value);
  }
  assertEquals(heard, ["15006 for 10.1.0.1:80", "15008 for 10.1.0.1:15008", "80 for 10.1.0.1:80"]);
  for (const end of ends) end.reset(null);
  for (const listener of listeners) listener.close();
  finish();
});

Deno.test("MemoryNetwork shows a redirected channel's own address to a listener that does not ask", () => {
  const { fabric, clock, finish } = world();
  const app = fabric.network({ label: "app", ips: ["10.1.0.1"], redirectPort: 15001 });
  const listening = new Outcome<Listener>();
  const accepted: Channel[] = [];
  app.listen(
    { ip: "0.0.0.0", port: 15001 },
    { backlog: 1, keepalive: null },
    (channel) => void accepted.push(channel),
    listening.done,
  );
  clock.runUntilIdle();
  const dialled = new Outcome<Channel>();
  app.dial({ ip: "203.0.113.5", port: 443 }, DIAL, dialled.done);
  clock.runUntilIdle();
  assertEquals(accepted[0]!.local, { ip: "10.1.0.1", port: 15001 });
  for (const end of [accepted[0]!, dialled.value]) end.reset(null);
  listening.value.close();
  finish();
});

Deno.test.each(
  [
    { asked: "never", permitted: true, expected: false },
    { asked: "try", permitted: true, expected: true },
    { asked: "try", permitted: false, expected: false },
    { asked: "must", permitted: true, expected: true },
    { asked: "must", permitted: false, expected: "EPERM" },
  ] as const,
)(
  "MemoryNetwork asked for transparency ($asked, permitted: $permitted)",
  ({ asked, permitted, expected }) => {
    const { fabric, clock, finish } = world();
    const pod = fabric.network({ label: "pod", ips: ["10.1.0.1"], transparent: permitted });
    const listening = new Outcome<Listener>();
    const options = { backlog: 1, keepalive: null, transparent: asked };
    pod.listen({ ip: "::", port: 80 }, options, () => {}, listening.done);
    clock.runUntilIdle();
    const outcome = listening.only;
    if ("close" in outcome) outcome.close();
    assertEquals("close" in outcome ? outcome.transparent : outcome.code, expected);
    finish();
  },
);

Deno.test("MemoryNetwork.dial() from a foreign address needs a host that may", () => {
  const { fabric, clock, client, listen, accepted, finish } = world();
  listen();
  const may = fabric.network({ label: "may", ips: ["10.0.0.4"], transparent: true });
  const outcomes = [client, may].map((network) => {
    const dialled = new Outcome<Channel>();
    network.dial(SERVER, { ...DIAL, sourceIp: "10.9.9.9", spoof: true }, dialled.done);
    clock.runUntilIdle();
    return dialled;
  });
  assertEquals(outcomes[0]!.error.code, "EPERM");
  assertEquals(accepted.map(({ peer }) => peer.ip), ["10.9.9.9"]);
  outcomes[1]!.value.reset(null);
  finish();
});

const ca = await MeshCa.create();
const clientKey = await issueCertificate(ca, { uris: [meshIdentity("default", "client").uri] });
const serverKey = await issueCertificate(ca, { uris: [meshIdentity("default", "server").uri] });

function dialSecure(
  { clock, client, server, accepted }: World,
  expected = meshIdentity("default", "server"),
): { readonly dialled: Outcome<SecureChannel>; readonly secured: Outcome<SecureChannel> } {
  const dialled = new Outcome<SecureChannel>();
  const secured = new Outcome<SecureChannel>();
  client.dialSecure(SERVER, {
    ...DIAL,
    tls: { certificate: clientKey, expected: [expected], timeoutMs: 10_000 },
  }, dialled.done);
  clock.runUntilIdle();
  if (accepted[0] !== undefined) {
    const certificates = new FixedCertificates(clock, serverKey);
    server.secureServer(accepted[0], { certificates, timeoutMs: 10_000 }, secured.done);
  }
  driveClock(clock, () => dialled.values.length === 1);
  clock.runUntilIdle();
  return { dialled, secured };
}

Deno.test("MemoryNetwork.dialSecure() dials and secures", () => {
  const all = world();
  all.listen();
  const { dialled, secured } = dialSecure(all);
  const notes = new NotingHandler(secured.value);
  secured.value.attach(notes);
  dialled.value.write(adoptBlock(patternBytes(5)), 0, 5);
  all.clock.runUntilIdle();
  assertEquals(notes.bytes, 5);
  dialled.value.reset(null);
  all.finish();
});

Deno.test("MemoryNetwork.dialSecure() says in which phase it failed", () => {
  const refused = world();
  const { dialled } = dialSecure(refused);
  assertInstanceOf(dialled.error, DialError);
  assertEquals([(dialled.error as DialError).phase, dialled.error.code], [
    "connect",
    "ECONNREFUSED",
  ]);
  refused.finish();

  const wrong = world();
  wrong.listen();
  const { error } = dialSecure(wrong, meshIdentity("default", "somebody")).dialled;
  assertInstanceOf(error, DialError);
  assertEquals([(error as DialError).phase, error.code], ["handshake", "WRONG_IDENTITY"]);
  wrong.finish();
});

Deno.test("MemoryNetwork.dialSecure() cancelled in either phase leaves nothing", () => {
  for (const connectMs of [5, 0]) {
    const all = world({ connectMs });
    all.listen();
    const outcome = new Outcome<SecureChannel>();
    const tls = {
      certificate: clientKey,
      expected: [meshIdentity("default", "server")],
      timeoutMs: 10_000,
    };
    const cancel = all.client.dialSecure(SERVER, { ...DIAL, tls }, outcome.done);
    all.clock.advance(2);
    cancel.cancel();
    all.clock.advance(100);
    assertEquals([outcome.values.length, all.client.openSockets], [0, 0]);
    all.finish();
  }
});
