// The pool's rows P1-P15 (spec/data-path §2.8), with a peer that counts its TLS connections.
import { assert, assertEquals } from "@std/assert";
import {
  CLIENT,
  CLIENT_IP,
  DataPlaneWorld,
  identityOf,
  NotedEvents,
  SERVER,
  SERVER_IP,
  testLeaf,
  TestSource,
} from "../../tests/support/data_plane_world.ts";
import { HbonePeer, type PeerOptions, sayOn, testParts } from "../../tests/support/hbone_peer.ts";
import type { Cancel } from "../base/channel.ts";
import { NetError, ProxyError } from "../base/errors.ts";
import type { LinkPlan } from "../net/memory/link_plan.ts";
import { PERFECT_LINK } from "../net/memory/link_plan.ts";
import { type SpiffeId, spiffeId } from "../tls/spiffe_id.ts";
import { connectHeaders } from "./client.ts";
import { flagOf } from "./errors.ts";
import type { DataPlaneLimits } from "./limits.ts";
import type { DataPlaneParts } from "./parts.ts";
import { HbonePool, poolKey, type Tunnel, type TunnelRequest } from "./pool.ts";

const SERVER_ID = identityOf(SERVER);

function tunnelRequest(change: Partial<TunnelRequest> = {}): TunnelRequest {
  return {
    peer: { ip: SERVER_IP, port: 15008 },
    expected: [SERVER_ID],
    sourceIp: CLIENT_IP,
    headers: connectHeaders({
      authority: "10.0.0.2:8080",
      baggage: "k8s.namespace.name=default",
      forwarded: 'for="10.0.0.1:4711"',
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    }),
    ...change,
  };
}

/** One request and what became of it. */
interface Asked {
  readonly outcomes: (Tunnel | ProxyError)[];
  readonly cancel: Cancel;
  readonly tunnel: Tunnel;
  readonly error: ProxyError;
}

interface PoolWorldOptions {
  readonly limits?: Partial<DataPlaneLimits>;
  readonly peer?: PeerOptions | null;
  readonly plan?: () => LinkPlan;
  readonly source?: (world: DataPlaneWorld) => TestSource;
}

class PoolWorld {
  readonly world: DataPlaneWorld;
  readonly parts: DataPlaneParts;
  readonly events = new NotedEvents();
  readonly pool: HbonePool;
  readonly peer: HbonePeer | null;

  private constructor(world: DataPlaneWorld, options: PoolWorldOptions) {
    this.world = world;
    this.parts = testParts(world, {
      events: this.events,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      ...(options.source === undefined ? {} : { certificates: options.source(world) }),
    });
    this.pool = new HbonePool(this.parts);
    world.network(SERVER_IP); // A host there is, with or without a peer that listens.
    this.peer = options.peer === null ? null : new HbonePeer(world, options.peer);
  }

  static async create(options: PoolWorldOptions = {}): Promise<PoolWorld> {
    const world = await DataPlaneWorld.create(
      options.plan === undefined ? {} : { plan: options.plan },
    );
    return new PoolWorld(world, options);
  }

  /** Asks without letting anything happen. */
  ask(change: Partial<TunnelRequest> = {}): Asked {
    const outcomes: (Tunnel | ProxyError)[] = [];
    const cancel = this.pool.connect(tunnelRequest(change), (outcome) => outcomes.push(outcome));
    return {
      outcomes,
      cancel,
      get tunnel(): Tunnel {
        assertEquals(outcomes.length, 1, "outcomes");
        const outcome = outcomes[0]!;
        if (outcome instanceof ProxyError) throw outcome;
        return outcome;
      },
      get error(): ProxyError {
        assertEquals(outcomes.length, 1, "outcomes");
        const outcome = outcomes[0]!;
        if (!(outcome instanceof ProxyError)) throw new Error("A tunnel, not an error");
        return outcome;
      },
    };
  }

  /** Asks `count` times at once and lets all be answered. */
  open(count: number, change: Partial<TunnelRequest> = {}): Tunnel[] {
    const asked = Array.from({ length: count }, () => this.ask(change));
    this.world.drive(() => asked.every(({ outcomes }) => outcomes.length === 1));
    return asked.map(({ tunnel }) => tunnel);
  }

  /** Ends both halves of each. */
  end(...tunnels: Tunnel[]): void {
    for (const { stream } of tunnels) {
      stream.attach({ onData() {}, onEnd() {}, onWritable() {}, onClose() {} });
      stream.endWrite();
    }
    this.world.clock.advance(1);
  }

  /** Connections as the peer saw them: opened, over. */
  get seen(): string {
    return `${this.peer!.connections.length} opened, ${this.peer!.dropped} dropped`;
  }

  dispose(): void {
    if (!this.pool.stopped) this.stop();
    this.peer?.close();
    this.world.clock.advance(1_000);
    assertEquals(this.pool.stats, {
      connections: 0,
      pooled: 0,
      openStreams: 0,
      heldBytes: 0,
      keys: 0,
      attempts: 0,
      waiting: 0,
    });
    assertEquals(this.parts.faults.count, 0);
    this.world.dispose();
  }

  stop(): void {
    let quiet = false;
    this.pool.stop(() => quiet = true);
    this.world.drive(() => quiet);
  }
}

Deno.test("HbonePool sends CONNECT with its headers in the usual order", async () => {
  const { peer, ...pool } = await poolWorld();
  pool.open(1);
  assertEquals(peer.requests[0], [
    { name: ":method", value: "CONNECT" },
    { name: ":authority", value: "10.0.0.2:8080" },
    { name: "baggage", value: "k8s.namespace.name=default" },
    { name: "forwarded", value: 'for="10.0.0.1:4711"' },
    { name: "traceparent", value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00" },
  ]);
  pool.dispose();
});

/** The same with the methods bound, for tests that take it apart. */
async function poolWorld(options: PoolWorldOptions = {}) {
  const made = await PoolWorld.create(options);
  return {
    world: made.world,
    pool: made.pool,
    parts: made.parts,
    events: made.events,
    peer: made.peer!,
    ask: made.ask.bind(made),
    open: made.open.bind(made),
    end: made.end.bind(made),
    stop: made.stop.bind(made),
    seen: () => made.seen,
    dispose: made.dispose.bind(made),
  };
}

// P2, P3: keys.

const OTHER_ID = spiffeId({ trustDomain: "td", namespace: "a", serviceAccount: "x" });

Deno.test.each<{ name: string; change: Partial<TunnelRequest>; source?: SpiffeId }>([
  { name: "peer's IP", change: { peer: { ip: "10.0.0.9", port: 15008 } } },
  { name: "peer's port", change: { peer: { ip: SERVER_IP, port: 15009 } } },
  { name: "application's IP", change: { sourceIp: "10.0.0.7" } },
  { name: "expected identities", change: { expected: [OTHER_ID] } },
  { name: "one more expected identity", change: { expected: [SERVER_ID, OTHER_ID] } },
  { name: "source identity", change: {}, source: OTHER_ID },
])("poolKey() differs by $name (P2)", ({ change, source }) => {
  const own = poolKey(identityOf(CLIENT), tunnelRequest());
  assert(poolKey(source ?? identityOf(CLIENT), tunnelRequest(change)) !== own);
});

Deno.test("poolKey() differs by the order of expected identities, and not by what is sent (P2)", () => {
  const key = (change: Partial<TunnelRequest>) =>
    poolKey(identityOf(CLIENT), tunnelRequest(change));
  assert(key({ expected: [SERVER_ID, OTHER_ID] }) !== key({ expected: [OTHER_ID, SERVER_ID] }));
  assertEquals(key({ headers: [] }), key({}));
});

Deno.test("poolKey() keeps apart parts that would read alike when joined (P3)", () => {
  const forged = { ...OTHER_ID, uri: `${OTHER_ID.uri}","${SERVER_ID.uri}` };
  const key = (expected: SpiffeId[]) => poolKey(identityOf(CLIENT), tunnelRequest({ expected }));
  assert(key([forged]) !== key([OTHER_ID, SERVER_ID]));
});

Deno.test("HbonePool shares between equal keys and never between different ones (P3)", async () => {
  const p = await poolWorld();
  for (let source = 0; source < 100; source++) p.ask({ sourceIp: `10.1.0.${source}` });
  for (let source = 0; source < 100; source++) p.ask({ sourceIp: `10.1.0.${source}` });
  p.world.clock.advance(1);
  assertEquals(p.seen(), "100 opened, 0 dropped");
  assertEquals(p.peer.requests.length, 200);
  p.dispose();
});

// P4-P8: how many connections.

Deno.test("HbonePool opens one connection for concurrent requests of a key (P4)", async () => {
  const p = await poolWorld();
  const asked = Array.from({ length: 100 }, () => p.ask());
  assertEquals(p.pool.stats.attempts, 1);
  assertEquals(p.pool.stats.waiting, 100);
  p.world.clock.advance(1);
  assertEquals(asked.map(({ outcomes }) => outcomes.length), Array(100).fill(1));
  assertEquals(p.seen(), "1 opened, 0 dropped");
  p.dispose();
});

Deno.test("HbonePool tries different keys at the same time (P4)", async () => {
  const p = await poolWorld();
  p.ask();
  p.ask({ sourceIp: "10.0.0.7" });
  assertEquals(p.pool.stats.attempts, 2);
  p.world.clock.advance(1);
  assertEquals(p.seen(), "2 opened, 0 dropped");
  p.dispose();
});

Deno.test("HbonePool with 300 requests over 3 keys opens 3 (P6)", async () => {
  const p = await poolWorld();
  for (let n = 0; n < 300; n++) p.ask({ sourceIp: `10.1.0.${n % 3}` });
  p.world.clock.advance(1);
  assertEquals(p.seen(), "3 opened, 0 dropped");
  p.dispose();
});

Deno.test("HbonePool reuses after streams have ended: limit 3, 2 and 2 (P7)", async () => {
  const p = await poolWorld({ limits: { poolStreamsMax: 3 } });
  p.end(...p.open(2));
  p.end(...p.open(2));
  assertEquals(p.seen(), "1 opened, 0 dropped");
  p.stop();
  p.world.clock.advance(1);
  assertEquals(p.seen(), "1 opened, 1 dropped");
  p.dispose();
});

Deno.test("HbonePool never takes a full connection back: limit 2, 4 then 5 (P7)", async () => {
  const p = await poolWorld({ limits: { poolStreamsMax: 2 } });
  const four = p.open(4);
  assertEquals(p.seen(), "2 opened, 0 dropped");
  assertEquals(p.pool.stats.pooled, 0);
  p.end(...four);
  assertEquals(p.seen(), "2 opened, 2 dropped");
  const five = p.open(5);
  assertEquals(p.seen(), "5 opened, 2 dropped");
  p.end(...five);
  assertEquals(p.seen(), "5 opened, 4 dropped");
  p.stop();
  p.world.clock.advance(1);
  assertEquals(p.seen(), "5 opened, 5 dropped");
  p.dispose();
});

Deno.test("HbonePool keeps no full connection, not even with free slots again (P7)", async () => {
  const p = await poolWorld({ limits: { poolStreamsMax: 2 } });
  const [first] = p.open(2);
  p.end(first!);
  p.open(1);
  assertEquals(p.seen(), "2 opened, 0 dropped");
  p.dispose();
});

Deno.test("HbonePool works without reuse: limit 1 (P8)", async () => {
  const p = await poolWorld({ limits: { poolStreamsMax: 1 } });
  const two = p.open(2);
  assertEquals(p.seen(), "2 opened, 0 dropped");
  p.end(...two);
  assertEquals(p.seen(), "2 opened, 2 dropped");
  p.dispose();
});

Deno.test.each([
  { streams: 99, expected: "1 opened, 0 dropped" },
  { streams: 100, expected: "1 opened, 0 dropped" },
  { streams: 101, expected: "2 opened, 0 dropped" },
])("HbonePool puts 100 streams on a connection by default: $streams give $expected (P6)", async (
  { streams, expected },
) => {
  const p = await poolWorld();
  p.open(streams);
  assertEquals(p.seen(), expected);
  p.dispose();
});

Deno.test("HbonePool obeys a lower limit of the peer's, once it is known (P6)", async () => {
  const p = await poolWorld({ peer: { http2: { concurrentStreamsMax: 2 } } });
  p.open(1);
  p.world.clock.advance(1);
  p.open(1);
  p.open(1);
  assertEquals(p.seen(), "2 opened, 0 dropped");
  p.dispose();
});

Deno.test("HbonePool knows its connections after one that the peer's limit has filled (P5, P6)", async () => {
  const p = await poolWorld({ peer: { http2: { concurrentStreamsMax: 2 } } });
  const first = p.open(2); // Pooled before the peer's limit is known, and full once it is.
  const more = p.open(1);
  p.world.clock.advance(1);
  assertEquals(p.pool.stats.keys, 1);
  for (const { h2 } of p.peer!.connections) h2.drain();
  p.world.clock.advance(1);
  assertEquals(p.pool.stats.pooled, 0);
  p.end(...first, ...more);
  assertEquals(p.pool.stats.connections, 0);
  p.dispose();
});

Deno.test("HbonePool does not try again what a peer of a lower limit refuses (P6, P11)", async () => {
  const p = await poolWorld({ peer: { http2: { concurrentStreamsMax: 2 } } });
  const asked = Array.from({ length: 3 }, () => p.ask());
  p.world.clock.advance(1);
  assertEquals(p.seen(), "1 opened, 0 dropped");
  assertEquals([asked[2]!.error.message, flagOf(asked[2]!.error)], [
    "h2 failed: stream error received: refused stream before processing any application logic",
    "H2_HANDSHAKE_FAILURE",
  ]);
  p.dispose();
});

Deno.test("HbonePool counts a stream until both its halves have ended (P13)", async () => {
  const p = await poolWorld({ limits: { poolStreamsMax: 2 } });
  p.open(1);
  p.peer.connections[0]!.streams[0]!.endWrite();
  p.world.clock.advance(1);
  assertEquals(p.pool.stats.openStreams, 1);
  p.open(1);
  assertEquals(p.pool.stats.pooled, 0);
  p.dispose();
});

// P5: stale connections.

Deno.test("HbonePool opens anew after the peer's GOAWAY; old streams run on (P5, W26)", async () => {
  const p = await poolWorld();
  const [old] = p.open(1);
  p.peer.connections[0]!.h2.drain();
  p.world.clock.advance(1);
  assertEquals(p.pool.stats.pooled, 0);
  p.open(1);
  assertEquals(p.seen(), "2 opened, 0 dropped");
  sayOn(old!.stream, "still here");
  p.world.clock.advance(1);
  assertEquals(p.peer.connections[0]!.texts, ["still here"]);
  p.end(old!);
  assertEquals(p.seen(), "2 opened, 1 dropped");
  p.dispose();
});

Deno.test("HbonePool closes an idle connection at the peer's GOAWAY (P5)", async () => {
  const p = await poolWorld();
  p.end(...p.open(1));
  p.peer.connections[0]!.h2.drain();
  p.world.clock.advance(1);
  assertEquals(p.seen(), "1 opened, 1 dropped");
  assertEquals(p.pool.stats.keys, 0);
  p.dispose();
});

Deno.test("HbonePool forgets a connection that broke (P5)", async () => {
  const p = await poolWorld();
  p.end(...p.open(1));
  p.peer.connections[0]!.h2.abort(null);
  p.world.clock.advance(1);
  assertEquals(p.pool.stats.connections, 0);
  p.open(1);
  assertEquals(p.seen(), "2 opened, 1 dropped");
  p.dispose();
});

// P9, P10: leaving the pool.

Deno.test.each([
  { afterMs: 299_000, expected: "1 opened, 0 dropped" },
  { afterMs: 300_100, expected: "1 opened, 1 dropped" },
])("HbonePool releases a connection unused for 5 min: after $afterMs ms $expected (P9)", async (
  { afterMs, expected },
) => {
  const p = await poolWorld();
  p.end(...p.open(2));
  p.world.clock.advance(afterMs);
  assertEquals(p.seen(), expected);
  p.dispose();
});

Deno.test("HbonePool counts the 5 min from the last use (P9)", async () => {
  const p = await poolWorld();
  p.end(...p.open(1));
  p.world.clock.advance(200_000);
  p.end(...p.open(1));
  p.world.clock.advance(200_000);
  assertEquals(p.seen(), "1 opened, 0 dropped");
  p.world.clock.advance(110_000);
  assertEquals(p.seen(), "1 opened, 1 dropped");
  p.dispose();
});

Deno.test("HbonePool says GOAWAY when it lets an idle connection go (W27)", async () => {
  const p = await poolWorld({ limits: { poolIdleMs: 100 } });
  p.end(...p.open(1));
  p.world.clock.advance(200);
  assertEquals(p.peer.connections[0]!.goAways, 1);
  p.dispose();
});

Deno.test("HbonePool lets a long stream outlive its connection's place in the pool (P9)", async () => {
  const p = await poolWorld({ limits: { poolStreamsMax: 4, poolIdleMs: 100 } });
  const [long, ...short] = p.open(3);
  p.end(...short);
  p.world.clock.advance(150);
  assertEquals(p.seen(), "1 opened, 0 dropped");
  p.end(...p.open(4));
  p.world.clock.advance(150);
  assertEquals(p.seen(), "2 opened, 1 dropped");
  p.end(long!);
  assertEquals(p.seen(), "2 opened, 2 dropped");
  p.dispose();
});

Deno.test.each([
  { keys: 3, pooled: 3, dropped: 0 },
  { keys: 4, pooled: 4, dropped: 0 },
  { keys: 5, pooled: 4, dropped: 1 },
])("HbonePool keeps the most recently used: limit 4, $keys keys (P10)", async (
  { keys, pooled, dropped },
) => {
  const p = await poolWorld({ limits: { poolConnectionsMax: 4 } });
  for (let n = 0; n < keys; n++) p.end(...p.open(1, { sourceIp: `10.1.0.${n}` }));
  assertEquals(p.pool.stats.pooled, pooled);
  assertEquals(p.seen(), `${keys} opened, ${dropped} dropped`);
  if (dropped > 0) assertEquals(p.peer.connections[0]!.closed, true);
  p.dispose();
});

Deno.test("HbonePool evicts by use, not by age (P10)", async () => {
  const p = await poolWorld({ limits: { poolConnectionsMax: 2 } });
  for (const n of [0, 1, 0, 2]) p.end(...p.open(1, { sourceIp: `10.1.0.${n}` }));
  assertEquals(p.peer.connections.map(({ closed }) => closed), [false, true, false]);
  p.dispose();
});

Deno.test("HbonePool pools 500 by default (P10)", async () => {
  const p = await poolWorld();
  for (let n = 0; n < 501; n++) p.ask({ sourceIp: `10.1.${n >> 8}.${n & 255}` });
  p.world.clock.advance(1);
  assertEquals(p.pool.stats.pooled, 500);
  assertEquals(p.pool.stats.connections, 501);
  p.dispose();
});

// P11, P12: failure.

Deno.test("HbonePool fails the one who tried; each waiter then tries on its own (P11)", async () => {
  const p = await poolWorld({ peer: null });
  const asked = [p.ask(), p.ask(), p.ask()];
  p.world.clock.advance(1);
  for (const { error } of asked) {
    assertEquals(error.message, "io error: Connection refused (os error 111)");
    assertEquals(flagOf(error), "CONNECT");
  }
  assertEquals((p.parts.certificates as TestSource).asked, 3);
  p.dispose();
});

Deno.test("HbonePool remembers no failure (P11)", async () => {
  const made = await PoolWorld.create({ peer: null });
  const failed = made.ask();
  made.world.clock.advance(1);
  assertEquals(failed.error.code, "ECONNREFUSED");
  const peer = new HbonePeer(made.world);
  made.open(1);
  assertEquals(peer.connections.length, 1);
  peer.close();
  made.dispose();
});

Deno.test("HbonePool words a TCP timeout as a NetworkPolicy's doing (P12)", async () => {
  const p = await poolWorld({ plan: () => ({ ...PERFECT_LINK, connect: "vanish" }) });
  const asked = p.ask();
  p.world.clock.advance(9_999);
  assertEquals(asked.outcomes.length, 0);
  p.world.clock.advance(1);
  assertEquals(
    asked.error.message,
    "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: " +
      "deadline has elapsed",
  );
  assertEquals(flagOf(asked.error), "NETWORK_POLICY");
  p.dispose();
});

Deno.test("HbonePool gives a handshake 10 s, worded as an I/O error (Q7, §2.9)", async () => {
  const p = await poolWorld({ peer: { handshakes: false } });
  const asked = p.ask();
  p.world.clock.advance(10_001);
  assertEquals(asked.error.message, "io error: deadline has elapsed");
  assertEquals(flagOf(asked.error), "CONNECT");
  p.dispose();
});

Deno.test("HbonePool refuses a peer with another identity (W5)", async () => {
  const p = await poolWorld();
  const asked = p.ask({ expected: [OTHER_ID] });
  p.world.clock.advance(1);
  assertEquals(
    asked.error.message,
    "io error: invalid peer certificate: Other(OtherError(identity verification error: peer did " +
      "not present the expected SAN (spiffe://td/ns/a/sa/x), got " +
      "spiffe://cluster.local/ns/default/sa/server))",
  );
  assertEquals(flagOf(asked.error), "CONNECT");
  p.dispose();
});

Deno.test("HbonePool accepts any of the expected identities (W5)", async () => {
  const p = await poolWorld();
  const asked = p.ask({ expected: [OTHER_ID, SERVER_ID] });
  p.world.clock.advance(1);
  assertEquals(asked.tunnel.connection.security.peerIdentities.map(({ uri }) => uri), [
    SERVER_ID.uri,
  ]);
  p.dispose();
});

Deno.test.each([
  { status: "401", text: "http status: 401 Unauthorized" },
  { status: "503", text: "http status: 503 Service Unavailable" },
  { status: "400", text: "http status: 400 Bad Request" },
  { status: "201", text: "http status: 201 Created" },
  { status: "204", text: "http status: 204 No Content" },
  { status: "299", text: "http status: 299 <unknown status code>" },
])("HbonePool takes only 200 for success: $text (§1.7)", async ({ status, text }) => {
  const p = await poolWorld({ peer: { answer: [{ name: ":status", value: status }] } });
  const asked = p.ask();
  p.world.clock.advance(1);
  assertEquals([asked.error.message, flagOf(asked.error)], [text, "CONNECT"]);
  // The connection is fine, and stays for the next.
  assertEquals([p.pool.stats.pooled, p.pool.stats.openStreams], [1, 0]);
  p.dispose();
});

Deno.test("HbonePool waits 20 s for an answer, and the connection lives on (design §5)", async () => {
  const p = await poolWorld({ peer: { answer: null } });
  const asked = p.ask();
  p.world.clock.advance(19_999);
  assertEquals(asked.outcomes.length, 0);
  p.world.clock.advance(1);
  assertEquals(asked.error.code, "CONNECT_ANSWER_TIMEOUT");
  p.world.clock.advance(1);
  assertEquals([p.pool.stats.pooled, p.pool.stats.openStreams], [1, 0]);
  p.dispose();
});

Deno.test("HbonePool says when there is no certificate", async () => {
  const p = await poolWorld({
    source: (world) =>
      new TestSource(identityOf(CLIENT), new NetError("X", { message: "no CA" }), world.clock),
  });
  const asked = p.ask();
  p.world.clock.advance(1);
  assertEquals([asked.error.message, flagOf(asked.error)], [
    "identity error: no CA",
    "IDENTITY_ERROR",
  ]);
  p.dispose();
});

Deno.test("HbonePool waits 10 s for a certificate", async () => {
  const p = await poolWorld({
    source: (world) => new TestSource(identityOf(CLIENT), "never", world.clock),
  });
  const asked = p.ask();
  p.world.clock.advance(10_000);
  assertEquals(asked.error.message, "identity error: deadline has elapsed");
  p.dispose();
});

Deno.test("HbonePool lets a request wait 30 s behind others' attempts, not longer", async () => {
  const p = await poolWorld({ plan: () => ({ ...PERFECT_LINK, connect: "vanish" }) });
  const asked = Array.from({ length: 5 }, () => p.ask());
  p.world.clock.advance(29_999);
  assertEquals(asked.map(({ outcomes }) => outcomes.length), [1, 1, 0, 0, 0]);
  p.world.clock.advance(1);
  assertEquals(asked.map(({ outcomes }) => outcomes.length), [1, 1, 1, 1, 1]);
  assertEquals(asked[4]!.error.message, "io error: deadline has elapsed");
  p.dispose();
});

Deno.test.each([
  { requests: 2, refused: 0 },
  { requests: 3, refused: 0 },
  { requests: 4, refused: 1 },
])("HbonePool lets so many wait: limit 3, $requests requests", async ({ requests, refused }) => {
  const p = await poolWorld({ limits: { poolWaitersMax: 3 } });
  const asked = Array.from({ length: requests }, () => p.ask());
  p.world.clock.advance(1);
  const codes = asked.flatMap(({ outcomes: [outcome] }) =>
    outcome instanceof ProxyError ? [outcome.code] : []
  );
  assertEquals(codes, Array(refused).fill("POOL_WAITERS_FULL"));
  p.dispose();
});

// Cancelling.

Deno.test("HbonePool stops the attempt when nobody waits for it any more", async () => {
  const p = await poolWorld();
  const asked = [p.ask(), p.ask()];
  asked[0]!.cancel.cancel();
  assertEquals(p.pool.stats.attempts, 1);
  asked[1]!.cancel.cancel();
  assertEquals(p.pool.stats, {
    connections: 0,
    pooled: 0,
    openStreams: 0,
    heldBytes: 0,
    keys: 0,
    attempts: 0,
    waiting: 0,
  });
  p.world.clock.advance(60_000);
  assertEquals(asked.map(({ outcomes }) => outcomes.length), [0, 0]);
  p.dispose();
});

Deno.test("HbonePool goes on for the others when the one who tried gives up", async () => {
  const p = await poolWorld();
  const asked = [p.ask(), p.ask()];
  asked[0]!.cancel.cancel();
  p.world.clock.advance(1);
  assertEquals(asked.map(({ outcomes }) => outcomes.length), [0, 1]);
  assertEquals(asked[1]!.tunnel.stream.id, 1);
  p.dispose();
});

Deno.test("HbonePool does not blame a waiter for the attempt of one who gave up", async () => {
  const p = await poolWorld({ peer: null });
  const asked = [p.ask(), p.ask()];
  asked[0]!.cancel.cancel();
  p.world.clock.advance(1);
  assertEquals(asked[1]!.error.code, "ECONNREFUSED");
  assertEquals((p.parts.certificates as TestSource).asked, 2);
  p.dispose();
});

Deno.test("HbonePool resets the stream of a request given up, and calls nobody", async () => {
  const p = await poolWorld({ peer: { answer: null } });
  const asked = p.ask();
  p.world.clock.advance(1);
  asked.cancel.cancel();
  p.world.clock.advance(30_000);
  assertEquals(asked.outcomes.length, 0);
  assertEquals(p.peer.connections[0]!.streams[0]!.closed, true);
  p.dispose();
});

Deno.test("HbonePool survives a bug below it: that request fails, the next one works", async () => {
  const p = await poolWorld();
  const { network } = p.parts;
  const dial = network.dialSecure.bind(network);
  network.dialSecure = () => {
    throw new TypeError("a bug of ours");
  };
  const hurt = p.ask();
  p.world.clock.advance(1);
  assertEquals([hurt.error.code, p.parts.faults.count], ["INTERNAL", 1]);
  network.dialSecure = dial;
  p.open(1);
  p.stop();
  p.peer.close();
  p.world.dispose();
});

// P14, P15, keepalive, revocation.

Deno.test("HbonePool drops everything at its end, without GOAWAY (P14, W28)", async () => {
  const p = await poolWorld({ peer: { answer: null } });
  const asked = p.ask();
  p.world.clock.advance(1);
  p.stop();
  assertEquals(asked.error.message, "pool draining");
  p.world.clock.advance(1);
  assertEquals(p.seen(), "1 opened, 1 dropped");
  assertEquals(p.peer.connections[0]!.goAways, 0);
  p.dispose();
});

Deno.test("HbonePool answers those who wait, and those who come late, at its end (P14)", async () => {
  const p = await poolWorld({ plan: () => ({ ...PERFECT_LINK, connect: "vanish" }) });
  const asked = [p.ask(), p.ask()];
  p.stop();
  asked.push(p.ask());
  assertEquals(asked[2]!.outcomes.length, 0);
  p.world.clock.advance(1);
  assertEquals(asked.map(({ error }) => error.code), Array(3).fill("POOL_DRAINING"));
  p.dispose();
});

Deno.test("HbonePool uses a new certificate for new connections and keeps old ones (P15)", async () => {
  const p = await poolWorld();
  p.open(1);
  const source = p.parts.certificates as TestSource;
  const rotated = spiffeId({ trustDomain: "cluster.local", namespace: "b", serviceAccount: "b" });
  source.certificate = await testLeaf(rotated);
  p.open(1);
  assertEquals([p.seen(), source.asked], ["1 opened, 0 dropped", 1]);
  p.open(1, { sourceIp: "10.0.0.7" });
  assertEquals([p.seen(), source.asked], ["2 opened, 0 dropped", 2]);
  p.dispose();
});

Deno.test("HbonePool drops a peer that answers no PING, with a warning (W21)", async () => {
  let frozen = false;
  const world = await DataPlaneWorld.create({
    onLink: (link) => {
      const cut = world.clock.after(5_000, () => {
        if (frozen) link.cutSilently();
      });
      void cut;
    },
  });
  const events = new NotedEvents();
  const parts = testParts(world, { events });
  const pool = new HbonePool(parts);
  const peer = new HbonePeer(world);
  frozen = true;
  const outcomes: (Tunnel | ProxyError)[] = [];
  pool.connect(tunnelRequest(), (outcome) => outcomes.push(outcome));
  world.clock.advance(1);
  const tunnel = outcomes[0] as Tunnel;
  const closes: (ProxyError | null)[] = [];
  tunnel.stream.attach({
    onData() {},
    onEnd() {},
    onWritable() {},
    onClose: (error) => closes.push(error),
  });
  world.clock.advance(29_900);
  assertEquals(closes.length, 0);
  world.clock.advance(200);
  assertEquals(closes.map((error) => error?.code), ["PING_TIMEOUT"]);
  assertEquals(events.messages, ["warn ztunnel::proxy::h2::client: HBONE ping timeout/error"]);
  let quiet = false;
  pool.stop(() => quiet = true);
  peer.close();
  world.drive(() => quiet);
  world.dispose();
});

Deno.test("HbonePool.revoke() drops the connections of a revoked peer, streams included (W28)", async () => {
  const p = await poolWorld();
  const [tunnel] = p.open(1);
  const closes: string[] = [];
  tunnel!.stream.attach({
    onData() {},
    onEnd() {},
    onWritable() {},
    onClose: (error) => closes.push(`${flagOf(error)}: ${error?.message}`),
  });
  assertEquals(p.pool.revoke(() => false), 0);
  assertEquals(p.pool.revoke((peer) => peer === tunnel!.connection.security), 1);
  p.world.clock.advance(1);
  assertEquals(closes, ["CERT_REVOKED: connection closed: peer certificate revoked by CRL"]);
  p.dispose();
});
