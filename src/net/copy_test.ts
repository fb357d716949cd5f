import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { NotingHandler, patternBytes } from "../../tests/support/channel_contract.ts";
import { driveClock, Outcome } from "../../tests/support/memory_pair.ts";
import type { SocketAddress } from "../base/address.ts";
import { AssertionFailure } from "../base/assert.ts";
import { adoptBlock, type Block } from "../base/block.ts";
import type { Channel, ChannelHandler } from "../base/channel.ts";
import { NetError, ProxyError } from "../base/errors.ts";
import { randomBelow, SeededRandom } from "../base/random.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { Copy, CopyError } from "./copy.ts";
import type { Link } from "./memory/link.ts";
import { type LinkPlan, PERFECT_LINK } from "./memory/link_plan.ts";
import { MemoryFabric } from "./memory/memory_fabric.ts";

const PROXY: SocketAddress = { ip: "10.0.0.2", port: 15001 };
const SERVER: SocketAddress = { ip: "10.0.0.3", port: 80 };

/** A client and a server with a copy between them. */
interface Rig {
  readonly clock: VirtualClock;
  readonly fabric: MemoryFabric;
  readonly client: NotingHandler;
  readonly server: NotingHandler;
  readonly copy: Copy;
  readonly counters: { bytesToServer: number; bytesToClient: number };
  /** What `done` was called with. */
  readonly outcomes: (ProxyError | null)[];
  /** Client to proxy, proxy to server. */
  readonly links: readonly [Link, Link];
  /** Asserts that nothing is left, once both sides are over. */
  finish(): void;
}

interface RigOptions {
  readonly plan?: Partial<LinkPlan>;
  readonly seed?: number;
  /** Called with the client's own channel before the copy starts. */
  readonly before?: (client: Channel) => void;
}

function rig({ plan = {}, seed = 1, before }: RigOptions = {}): Rig {
  const clock = new VirtualClock();
  const links: Link[] = [];
  const fabric = new MemoryFabric({
    clock,
    random: new SeededRandom(seed),
    plan: () => ({ ...PERFECT_LINK, ...plan }),
    onLink: (link) => links.push(link),
  });
  const accepted: Channel[] = [];
  const listeners = new Outcome<{ close(): void }>();
  for (const address of [PROXY, SERVER]) {
    const host = fabric.network({ label: address.ip, ips: [address.ip] });
    const options = { backlog: 1, keepalive: null };
    host.listen(address, options, (channel) => accepted.push(channel), listeners.done);
  }
  clock.runUntilIdle();
  const dialled = new Outcome<Channel>();
  const dialler = fabric.network({ label: "client", ips: ["10.0.0.1"] });
  for (const [index, address] of [PROXY, SERVER].entries()) {
    const options = { timeoutMs: 60_000, keepalive: null, sourceIp: null };
    dialler.dial(address, options, dialled.done);
    driveClock(clock, () => accepted.length === index + 1 && dialled.values.length === index + 1);
  }
  for (const listener of listeners.values as { close(): void }[]) listener.close();
  const [clientEnd, toServer] = dialled.values as Channel[];
  before?.(clientEnd!);
  const counters = { bytesToServer: 0, bytesToClient: 0 };
  const outcomes: (ProxyError | null)[] = [];
  const copy = new Copy({
    client: accepted[0]!,
    server: toServer!,
    counters,
    done: (error) => void outcomes.push(error),
  });
  const client = new NotingHandler(clientEnd!);
  const server = new NotingHandler(accepted[1]!);
  copy.start();
  clientEnd!.attach(client);
  accepted[1]!.attach(server);
  return {
    clock,
    fabric,
    client,
    server,
    copy,
    counters,
    outcomes,
    links: [links[0]!, links[1]!],
    finish() {
      clock.advance(3_600_000);
      assertEquals(outcomes.length, 1, "done() is called once");
      assertEquals(
        { sockets: fabric.openSockets, blocks: fabric.pool.lent, timers: clock.pendingTimers },
        { sockets: 0, blocks: 0, timers: 0 },
      );
    },
  };
}

function send(channel: Channel, bytes: Uint8Array<ArrayBuffer>): boolean {
  return channel.write(adoptBlock(bytes), 0, bytes.length);
}

/** Writes pattern bytes as fast as the channel welcomes them. */
class Sender {
  sent = 0;
  constructor(readonly notes: NotingHandler, readonly sizes: Iterator<number>) {
    notes.hook = (event) => {
      if (event === "writable") this.run();
    };
  }
  run(): void {
    for (;;) {
      const next = this.sizes.next();
      if (next.done) return this.notes.channel.endWrite();
      const bytes = patternBytes(next.value, this.sent);
      this.sent += bytes.length;
      if (!send(this.notes.channel, bytes)) return;
    }
  }
}

Deno.test("Copy carries bytes both ways and counts them", () => {
  const { client, server, clock, counters, outcomes, finish } = rig();
  send(client.channel, patternBytes(11));
  clock.runUntilIdle();
  send(server.channel, patternBytes(22));
  clock.runUntilIdle();
  assertEquals([server.bytes, client.bytes], [11, 22]);
  assertEquals(counters, { bytesToServer: 11, bytesToClient: 22 });
  client.channel.endWrite();
  server.channel.endWrite();
  finish();
  assertEquals(outcomes, [null]);
  assertEquals([client.closeError, server.closeError], [null, null]);
});

Deno.test("Copy keeps bytes that came before it started", () => {
  const { client, server, clock, finish } = rig({
    before: (channel) => {
      send(channel, patternBytes(1000));
      channel.endWrite();
    },
  });
  clock.runUntilIdle();
  assertEquals([server.bytes, server.ends], [1000, 1]);
  server.channel.endWrite();
  finish();
  assertEquals(client.ends, 1);
});

Deno.test("Copy lets the server speak first", () => {
  const { client, server, clock, finish } = rig();
  send(server.channel, patternBytes(30));
  clock.runUntilIdle();
  assertEquals(client.bytes, 30);
  client.channel.endWrite();
  server.channel.endWrite();
  finish();
});

Deno.test("Copy has no idle time-out", () => {
  const { client, server, clock, outcomes, finish } = rig();
  clock.advance(30 * 24 * 3_600_000);
  assertEquals(outcomes, []);
  send(client.channel, patternBytes(5));
  clock.runUntilIdle();
  assertEquals(server.bytes, 5);
  client.channel.endWrite();
  server.channel.endWrite();
  finish();
});

Deno.test.each([
  { name: "on a perfect link", plan: {} },
  { name: "with little room", plan: { capacityBytes: 3000, delayMaxMs: 3 } },
])("Copy carries 1000 writes of 32000 bytes each way $name", ({ plan }) => {
  const { client, server, counters, finish } = rig({ plan });
  const pattern = { toServer: 0, toClient: 0 };
  const check = (notes: NotingHandler, way: "toServer" | "toClient") => {
    // Checked as they come, so that 64 MB need not be kept.
    const data = notes.onData.bind(notes);
    notes.onData = (block, start, end) => {
      const expected = patternBytes(end - start, pattern[way]);
      for (let index = 0; index < expected.length; index++) {
        if (block.bytes[start + index] !== expected[index]) throw new Error(`octet ${index}`);
      }
      pattern[way] += end - start;
      data(block, start, end);
      notes.pieces.length = 0;
    };
  };
  check(server, "toServer");
  check(client, "toClient");
  for (const notes of [client, server]) {
    new Sender(notes, new Array<number>(1000).fill(32_000).values()).run();
  }
  finish();
  assertEquals(pattern, { toServer: 32_000_000, toClient: 32_000_000 });
  assertEquals(counters, { bytesToServer: 32_000_000, bytesToClient: 32_000_000 });
});

Deno.test("Copy carries writes of 0 to 2559 bytes through random partial deliveries", () => {
  for (let seed = 1; seed <= 5; seed++) {
    const random = new SeededRandom(seed);
    const { client, server, finish } = rig({
      seed,
      plan: {
        delayMaxMs: 1 + randomBelow(random, 5),
        deliverMinBytes: 1,
        deliverMaxBytes: 1 + randomBelow(random, 5000),
        capacityBytes: 1 + randomBelow(random, 10_000),
      },
    });
    const sizes = Array.from({ length: 2560 }, (_, size) => size);
    new Sender(client, sizes.values()).run();
    new Sender(server, sizes.toReversed().values()).run();
    finish();
    const total = 2559 * 2560 / 2;
    assertEquals(server.received, patternBytes(total), `seed ${seed}`);
    assertEquals(client.received, patternBytes(total), `seed ${seed}`);
  }
});

Deno.test("Copy holds no more than the links do when the receiver stops reading", () => {
  const capacityBytes = 10_000;
  const { client, server, clock, counters, links, finish, fabric } = rig({
    plan: { capacityBytes, deliverMaxBytes: 2000, deliverMinBytes: 2000 },
  });
  server.channel.pause();
  let sent = 0;
  client.hook = null;
  while (send(client.channel, patternBytes(500, sent))) {
    sent += 500;
    clock.runUntilIdle();
    assert(sent < 100_000, "back-pressure never came");
  }
  sent += 500;
  clock.advance(1000);
  // Both links full, and at most one delivery more in the channel between.
  const underWay = links[0].heldBytes("toServer") + links[1].heldBytes("toServer");
  assertEquals(underWay <= 2 * capacityBytes, true);
  assertEquals([counters.bytesToServer <= capacityBytes + 2000, fabric.pool.lent <= 1], [
    true,
    true,
  ]);
  server.channel.resume();
  client.channel.endWrite();
  server.channel.endWrite();
  finish();
  assertEquals(server.received, patternBytes(sent));
});

/** What a side may do to its connection, and what the copy makes of it. */
const ACTS = {
  end: (notes: NotingHandler) => notes.channel.endWrite(),
  reset: (notes: NotingHandler) => notes.channel.reset(null),
} as const;

type Act = keyof typeof ACTS;
type Step = readonly ["client" | "server", Act];

/** All orders of one act per side, and of an end followed by a reset of the same side. */
function orders(): { name: string; steps: Step[] }[] {
  const acts: Act[] = ["end", "reset"];
  const found: Step[][] = [];
  for (const [first, second] of [["client", "server"], ["server", "client"]] as const) {
    for (const a of acts) {
      for (const b of acts) {
        found.push([[first, a], [second, b]]);
        if (a === "end") found.push([[first, a], [first, "reset"], [second, b]]);
        if (b === "end") found.push([[first, a], [second, b], [second, "reset"]]);
      }
    }
  }
  return found.map((steps) => ({
    name: steps.map(([side, act]) => `${side} ${act}`).join(", "),
    steps,
  }));
}

Deno.test.each(orders())("Copy ends well after: $name", ({ steps }) => {
  for (const gapMs of [0, 10]) {
    const { client, server, clock, outcomes, finish } = rig({
      plan: { delayMinMs: 1, delayMaxMs: 1 },
    });
    send(client.channel, patternBytes(100));
    send(server.channel, patternBytes(200));
    clock.advance(10);
    for (const [side, act] of steps) {
      ACTS[act](side === "client" ? client : server);
      clock.advance(gapMs);
    }
    finish();
    assertEquals(outcomes, [null]);
    assertEquals([server.bytes, client.bytes], [100, 200]);
    const reset = { client: false, server: false };
    for (const [side, act] of steps) if (act === "reset") reset[side] = true;
    // A reset reaches the other side as an end in order, never as a reset (W14).
    assertEquals(client.closeError, null);
    assertEquals(server.closeError, null);
    if (gapMs > 0 && !reset.client) assertEquals(client.ends, 1);
    if (gapMs > 0 && !reset.server) assertEquals(server.ends, 1);
  }
});

Deno.test("Copy turns a client's reset into an end for the server, which may still speak", () => {
  const { client, server, clock, outcomes, finish } = rig();
  send(client.channel, patternBytes(50));
  clock.runUntilIdle();
  client.channel.reset(null);
  clock.advance(1000);
  assertEquals([server.bytes, server.ends, server.closes, outcomes.length], [50, 1, 0, 0]);
  // Whose bytes then have nowhere to go, as a socket without a reader would say.
  send(server.channel, patternBytes(10));
  clock.advance(1000);
  assertEquals(server.closeError?.code, "ECONNRESET");
  finish();
  assertEquals(outcomes, [null]);
});

Deno.test("Copy does not wait for a side that is gone to take what the other one has begun to send", () => {
  const { client, server, clock, outcomes, finish } = rig({ plan: { capacityBytes: 1000 } });
  client.channel.pause();
  for (let index = 0; index < 10; index++) send(server.channel, patternBytes(1000));
  clock.advance(1000);
  client.channel.reset(null);
  finish();
  assertEquals([server.closeError?.code, outcomes[0]], ["ECONNRESET", null]);
});

Deno.test("Copy delivers what it holds before it gives up on a full side", () => {
  const { client, server, clock, counters, finish } = rig({ plan: { capacityBytes: 1000 } });
  // Both directions full; then the client goes away.
  client.channel.pause();
  server.channel.pause();
  for (let index = 0; index < 10; index++) {
    send(client.channel, patternBytes(1000, index * 1000));
    send(server.channel, patternBytes(1000));
  }
  clock.advance(1000);
  const held = counters.bytesToServer;
  assert(held > 1000, "bytes wait in the channel to the server");
  client.channel.reset(null);
  clock.advance(1000);
  assertEquals(server.closes, 0);
  server.channel.resume();
  finish();
  assert(server.bytes >= held, `server got ${server.bytes} of ${held}`);
  assertEquals(server.received, patternBytes(server.bytes));
});

Deno.test("Copy half-closes a full side only after its bytes", () => {
  const { client, server, clock, finish } = rig({ plan: { capacityBytes: 1000 } });
  server.channel.pause();
  for (let index = 0; index < 5; index++) send(client.channel, patternBytes(1000, index * 1000));
  clock.advance(1000);
  client.channel.reset(null);
  clock.advance(1000);
  server.channel.resume();
  clock.advance(1000);
  assertEquals(server.ends, 1);
  assertEquals(server.received, patternBytes(server.bytes));
  server.channel.endWrite();
  finish();
});

Deno.test("Copy.stop() resets both sides and gives its reason, once", () => {
  const { client, server, clock, copy, outcomes, finish } = rig();
  const reason = new NetError("CANCELLED", { message: "connection closed due to policy change" });
  send(client.channel, patternBytes(10));
  clock.runUntilIdle();
  copy.stop(reason);
  copy.stop(new NetError("EPIPE"));
  assertEquals(outcomes, []);
  finish();
  assert(outcomes[0] === reason);
  assertEquals([client.closeError?.code, server.closeError?.code], ["ECONNRESET", "ECONNRESET"]);
});

Deno.test("Copy.stop() gives its reason also when one side had failed", () => {
  const { client, clock, copy, outcomes, finish } = rig();
  client.channel.reset(null);
  clock.runUntilIdle();
  const reason = new NetError("CANCELLED");
  copy.stop(reason);
  finish();
  assert(outcomes[0] === reason);
});

Deno.test("Copy.stop() after the end changes nothing", () => {
  const { client, server, clock, copy, outcomes, finish } = rig();
  client.channel.endWrite();
  server.channel.endWrite();
  clock.runUntilIdle();
  copy.stop(new NetError("CANCELLED"));
  finish();
  assertEquals(outcomes, [null]);
});

Deno.test("Copy starts once, and is not stopped before", () => {
  const { copy } = rig();
  assertThrows(() => copy.start(), AssertionFailure, "once");
  const fake = new FakeChannel();
  const unstarted = new Copy({
    client: fake,
    server: fake,
    counters: { bytesToServer: 0, bytesToClient: 0 },
    done: () => {},
  });
  assertThrows(() => unstarted.stop(new NetError("EPIPE")), AssertionFailure);
});

/** A channel that does what the test says. */
class FakeChannel implements Channel {
  readonly peer = SERVER;
  readonly local = PROXY;
  closed = false;
  handler: ChannelHandler | null = null;
  paused = false;
  written = 0;
  writeEnded = false;
  answer = true;
  resetReason: ProxyError | null = null;
  attach(handler: ChannelHandler): void {
    this.handler = handler;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  write(_block: Block, start: number, end: number): boolean {
    this.written += end - start;
    return this.answer;
  }
  endWrite(): void {
    this.writeEnded = true;
  }
  reset(reason: ProxyError | null): void {
    if (this.closed) return;
    this.closed = true;
    this.resetReason = reason;
  }
  /** The turn in which the loop tells the end. */
  close(error: ProxyError | null): void {
    this.closed = true;
    this.handler!.onClose(error);
  }
}

interface FakeRig {
  readonly client: FakeChannel;
  readonly server: FakeChannel;
  readonly counters: { bytesToServer: number; bytesToClient: number };
  readonly outcomes: (ProxyError | null)[];
}

function fakeRig(): FakeRig {
  const client = new FakeChannel();
  const server = new FakeChannel();
  const counters = { bytesToServer: 0, bytesToClient: 0 };
  const outcomes: (ProxyError | null)[] = [];
  const copy = new Copy({ client, server, counters, done: (error) => void outcomes.push(error) });
  copy.start();
  return { client, server, counters, outcomes };
}

class CodedError extends ProxyError {
  constructor(readonly code: string, message: string) {
    super(message);
  }
}

Deno.test.each([
  { code: "ENOTCONN" },
  { code: "UNEXPECTED_EOF" },
  { code: "ECONNRESET" },
  { code: "EPIPE" },
  { code: "NO_ERROR" },
  { code: "CANCEL" },
  { code: "STREAM_CLOSED" },
])("Copy takes $code for an ok end", ({ code }) => {
  const { client, server, outcomes } = fakeRig();
  server.close(new CodedError(code, "any"));
  assertEquals([client.writeEnded, outcomes.length], [true, 0]);
  client.handler!.onEnd();
  client.close(null);
  assertEquals(outcomes, [null]);
});

type Event = readonly ["client" | "server", "end" | "fail" | "close"];

Deno.test.each([
  {
    name: "of the client while it sends",
    events: [["client", "fail"], ["server", "end"], ["server", "close"]] as Event[],
    message: "send: io error: Connection timed out (os error 110)",
  },
  {
    name: "of the server while it sends",
    events: [["server", "fail"], ["client", "end"], ["client", "close"]] as Event[],
    message: "receive: io error: Connection timed out (os error 110)",
  },
  {
    name: "of the client after its end",
    events: [["client", "end"], ["client", "fail"], ["server", "end"], [
      "server",
      "close",
    ]] as Event[],
    message: "receive: io error: Connection timed out (os error 110)",
  },
  {
    name: "of the server after its end",
    events: [["server", "end"], ["server", "fail"], ["client", "end"], [
      "client",
      "close",
    ]] as Event[],
    message: "send: io error: Connection timed out (os error 110)",
  },
  {
    name: "of the server when only its half-close was left",
    events: [
      ["client", "end"],
      ["server", "end"],
      ["client", "close"],
      ["server", "fail"],
    ] as Event[],
    message: "while closing connection: send: io error: Connection timed out (os error 110)",
  },
  {
    name: "of the client when only its half-close was left",
    events: [
      ["server", "end"],
      ["client", "end"],
      ["server", "close"],
      ["client", "fail"],
    ] as Event[],
    message: "while closing connection: receive: io error: Connection timed out (os error 110)",
  },
  {
    name: "of both, where sending counts",
    events: [["server", "fail"], ["client", "fail"]] as Event[],
    message: "send: io error: Connection timed out (os error 110)",
  },
])("Copy words a failure $name", ({ events, message }) => {
  const rig = fakeRig();
  for (const [side, event] of events) {
    const channel = rig[side];
    if (event === "end") channel.handler!.onEnd();
    else channel.close(event === "fail" ? new NetError("ETIMEDOUT") : null);
  }
  const [error] = rig.outcomes;
  assertInstanceOf(error, CopyError);
  assertEquals([error?.message, error?.code, rig.outcomes.length], [message, "ETIMEDOUT", 1]);
});

Deno.test("Copy pauses the source when a write is refused, and resumes it when told", () => {
  const { client, server, counters } = fakeRig();
  const block = adoptBlock(new Uint8Array(10));
  server.answer = false;
  client.handler!.onData(block, 2, 7);
  assertEquals([client.paused, server.paused, counters.bytesToServer], [true, false, 5]);
  server.answer = true;
  server.handler!.onWritable();
  assertEquals(client.paused, false);
});

Deno.test("Copy hears the end of a full side that it has given up, although nothing more is writable", () => {
  const { client, server, counters, outcomes } = fakeRig();
  const block = adoptBlock(new Uint8Array(10));
  server.answer = false;
  client.handler!.onData(block, 0, 10);
  client.close(new NetError("ECONNRESET"));
  server.handler!.onData(block, 0, 10);
  server.handler!.onData(block, 0, 10);
  assertEquals([server.paused, server.closed, counters.bytesToClient], [false, false, 0]);
  server.handler!.onEnd();
  server.close(null);
  assertEquals(outcomes, [null]);
});

Deno.test("Copy resets a side that it has given up as soon as that takes bytes again", () => {
  const { client, server, outcomes } = fakeRig();
  const block = adoptBlock(new Uint8Array(10));
  server.answer = false;
  client.answer = false;
  client.handler!.onData(block, 0, 10);
  server.handler!.onData(block, 0, 10);
  assertEquals([client.paused, server.paused], [true, true]);
  client.close(new NetError("ECONNRESET"));
  assertEquals([server.paused, server.closed, server.writeEnded], [false, false, false]);
  server.handler!.onWritable();
  assertEquals(server.closed, true);
  server.close(server.resetReason);
  assertEquals(outcomes, [null]);
});

Deno.test("Copy ends a given-up side in order where that has ended itself", () => {
  const { client, server, outcomes } = fakeRig();
  server.answer = false;
  client.handler!.onData(adoptBlock(new Uint8Array(10)), 0, 10);
  client.close(new NetError("ECONNRESET"));
  server.handler!.onData(adoptBlock(new Uint8Array(10)), 0, 10);
  server.handler!.onEnd();
  server.handler!.onWritable();
  assertEquals([server.closed, server.writeEnded], [false, true]);
  server.close(null);
  assertEquals(outcomes, [null]);
});

Deno.test("Copy counts nothing for a channel that is over but has not said so", () => {
  const { client, server, counters, outcomes } = fakeRig();
  server.closed = true;
  client.handler!.onData(adoptBlock(new Uint8Array(10)), 0, 10);
  assertEquals([counters.bytesToServer, server.written, client.paused], [0, 0, true]);
  server.close(new NetError("ECONNRESET"));
  assertEquals([client.closed, outcomes.length], [true, 0]);
  client.close(client.resetReason);
  assertEquals(outcomes, [null]);
});
