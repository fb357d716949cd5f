// The HBONE listener below its streams: TLS, limits, deadlines, PING, GOAWAY (spec/data-path §3.1, §1.9; design §5).
import { assertEquals } from "@std/assert";
import {
  App,
  CLIENT,
  CLIENT_IP,
  DataPlaneWorld,
  identityOf,
  SERVER,
  SERVER_IP,
  testLeaf,
  type TestSource,
  type WorldOptions,
} from "../../tests/support/data_plane_world.ts";
import { connectTo, HboneClient } from "../../tests/support/hbone_client.ts";
import { ProxyError } from "../base/errors.ts";
import type { DataPlaneOptions } from "../dataplane.ts";
import type { SecureChannel } from "../net/network.ts";
import { TlsHandshakeError } from "../tls/errors.ts";
import { spiffeId } from "../tls/spiffe_id.ts";

const HBONE = { ip: SERVER_IP, port: 15008 };
const AUTHORITY = "10.0.0.2:8080";
const CLIENT_PARTS = identityOf(CLIENT);

async function serverWorld(
  options: WorldOptions = {},
  planeOptions: Partial<DataPlaneOptions> = {},
) {
  const world = await DataPlaneWorld.create(options);
  return { world, ...world.server(planeOptions) };
}

Deno.test("InboundServer reports garbage instead of TLS, with both addresses", async () => {
  const { world, events } = await serverWorld();
  const user = world.dial(CLIENT_IP, HBONE);
  user.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  world.drive(() => user.closed);
  assertEquals(events.refusals, [
    "tls handshake error: Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }",
  ]);
  assertEquals([events.early[0]!.direction, events.early[0]!.destinationAddress], [
    "inbound",
    HBONE,
  ]);
  world.dispose();
});

Deno.test("InboundServer reports a peer that leaves in the handshake", async () => {
  const { world, events } = await serverWorld();
  const user = world.dial(CLIENT_IP, HBONE);
  user.channel.endWrite();
  world.drive(() => user.closed);
  assertEquals(events.refusals, [
    'tls handshake error: Custom { kind: UnexpectedEof, error: "tls handshake eof" }',
  ]);
  world.dispose();
});

Deno.test.each([{ afterMs: 9_900, open: 1 }, { afterMs: 10_100, open: 0 }])(
  "InboundServer gives a handshake 10 s: $open open after $afterMs ms",
  async ({ afterMs, open }) => {
    const { world, plane, events } = await serverWorld();
    const user = world.dial(CLIENT_IP, HBONE);
    world.clock.advance(afterMs);
    assertEquals(plane.statsNow().inboundTransports, open);
    assertEquals(events.refusals.length, 1 - open);
    user.channel.reset(null);
    world.dispose();
  },
);

Deno.test("InboundServer refuses another trust domain (W4)", async () => {
  const { world, events } = await serverWorld();
  const foreign = spiffeId({ ...CLIENT_PARTS, trustDomain: "clusterset.local" });
  const outcomes: (SecureChannel | ProxyError)[] = [];
  world.network(CLIENT_IP).dialSecure(HBONE, {
    timeoutMs: 10_000,
    keepalive: null,
    sourceIp: null,
    tls: {
      certificate: await testLeaf(foreign),
      expected: [identityOf(SERVER)],
      timeoutMs: 10_000,
    },
  }, (outcome) => outcomes.push(outcome));
  world.drive(() => events.refusals.length === 1);
  assertEquals(events.refusals, [
    "tls handshake error: Custom { kind: InvalidData, error: InvalidCertificate(Other(OtherError(" +
    "identity verification error: peer did not present the expected trustdomain (cluster.local), " +
    "got spiffe://clusterset.local/ns/default/sa/client))) }",
  ]);
  for (const outcome of outcomes) if (!(outcome instanceof ProxyError)) outcome.reset(null);
  world.dispose();
});

class NoCa extends ProxyError {
  readonly code = "NO_CA";
}

Deno.test.each([
  { error: new NoCa("no CA"), text: "signing error: no CA" },
  {
    error: new TlsHandshakeError("TLS_MATERIAL", "key does not fit"),
    text: "ssl error: key does not fit",
  },
])("InboundServer tells its own fault from the peer's: $text", async ({ error, text }) => {
  const { world, events } = await serverWorld();
  (world.sources.get("server") as TestSource).certificate = error;
  const outcomes: unknown[] = [];
  world.network(CLIENT_IP).dialSecure(HBONE, {
    timeoutMs: 10_000,
    keepalive: null,
    sourceIp: null,
    tls: { certificate: await testLeaf(identityOf(CLIENT)), expected: [], timeoutMs: 10_000 },
  }, (outcome) => outcomes.push(outcome));
  world.drive(() => outcomes.length === 1);
  assertEquals(events.refusals, [text]);
  world.dispose();
});

Deno.test.each([
  { peers: 3, refused: 0 },
  { peers: 4, refused: 0 },
  { peers: 5, refused: 1 },
])("InboundServer refuses the oldest handshake beyond the limit: 4, $peers peers", async (
  { peers, refused },
) => {
  const { world, plane, events } = await serverWorld({}, { limits: { handshakesMax: 4 } });
  const users = Array.from({ length: peers }, () => world.dial(CLIENT_IP, HBONE));
  world.clock.advance(1);
  assertEquals(plane.statsNow().refusedHandshakes, refused);
  assertEquals(users.map(({ closed }) => closed), users.map((_, index) => index < refused));
  assertEquals(
    events.refusals,
    Array(refused).fill("tls handshake error: 4 others are in progress"),
  );
  for (const { channel } of users) channel.reset(null);
  world.dispose();
});

Deno.test("InboundServer refuses connections beyond the limit, and keeps the old ones", async () => {
  const { world, events } = await serverWorld({}, { limits: { inboundTunnelsMax: 1 } });
  world.app({ ip: SERVER_IP, port: 8080 });
  const client = await HboneClient.connect(world);
  const user = world.dial(CLIENT_IP, HBONE);
  world.drive(() => user.closed);
  assertEquals(events.refusals, ["no room for another HBONE connection: 1 are open"]);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  assertEquals(call.status, "200");
  world.dispose();
});

Deno.test("InboundServer ends a connection without a request after 10 s, with GOAWAY", async () => {
  const { world, plane, events } = await serverWorld();
  const client = await HboneClient.connect(world);
  world.clock.advance(9_900);
  assertEquals([client.goAways, plane.statsNow().inboundTransports], [[], 1]);
  world.clock.advance(200);
  assertEquals([client.goAways, client.closed], [[0], true]);
  assertEquals(events.refusals, [
    "http2 handshake failed: no complete request headers within 10000 ms",
  ]);
  world.dispose();
});

Deno.test("InboundServer lets a connection rest that had a request", async () => {
  const { world, client, plane } = await withClient();
  world.clock.advance(60_000);
  assertEquals([client.closed, plane.statsNow().inboundTransports], [false, 1]);
  world.dispose();
});

/** A client whose one call has come and gone. */
async function withClient() {
  const made = await serverWorld();
  made.world.app({ ip: SERVER_IP, port: 8080 });
  const client = await HboneClient.connect(made.world);
  const call = client.call(connectTo(AUTHORITY));
  made.world.clock.advance(1);
  call.stream!.endWrite();
  made.world.clock.advance(1);
  assertEquals([call.closed, call.status], [true, "200"]);
  return { ...made, client };
}

Deno.test("InboundServer drops a peer that is dead within 30 s, quietly (W20, W22)", async () => {
  const { world, client, plane, events } = await withClient();
  for (const link of world.fabric.links) link.cutSilently();
  world.clock.advance(29_900);
  assertEquals(plane.statsNow().inboundTransports, 1);
  world.clock.advance(1_200); // GOAWAY has a second to be taken.
  assertEquals(plane.statsNow().inboundTransports, 0);
  assertEquals(events.messages, []);
  client.h2.abort(null);
  world.dispose();
});

Deno.test("InboundServer ends what HTTP/2 finds broken, with the reason in the log", async () => {
  const { world, events, plane } = await serverWorld();
  const client = await HboneClient.connect(world);
  const raw = new App(client.channel); // From here on nothing reads, and nobody ends in return.
  raw.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n");
  world.clock.advance(900);
  assertEquals([plane.statsNow().inboundTransports, events.refusals], [1, []]);
  world.clock.advance(200);
  assertEquals(plane.statsNow().inboundTransports, 0);
  assertEquals(events.refusals, [
    "http2 handshake failed: connection error detected: unspecific protocol error detected",
  ]);
  world.dispose();
});

Deno.test("InboundServer.revoke() sends GOAWAY(NO_ERROR) and tears streams down (W25)", async () => {
  const { world, events, plane } = await serverWorld();
  world.app({ ip: SERVER_IP, port: 8080 });
  const client = await HboneClient.connect(world);
  const call = client.call(connectTo(AUTHORITY));
  world.clock.advance(1);
  assertEquals(plane.revoke(() => true), 1);
  world.clock.advance(1);
  assertEquals([call.closed, client.closed, client.goAways.length], [true, true, 1]);
  assertEquals(events.ends, ["CERT_REVOKED: connection closed: peer certificate revoked by CRL"]);
  world.dispose();
});

Deno.test("InboundServer.revoke() says nothing of a peer that has asked for nothing", async () => {
  const { world, events, plane } = await serverWorld();
  const client = await HboneClient.connect(world);
  assertEquals(plane.revoke(() => true), 1);
  world.clock.advance(1);
  assertEquals([client.closed, events.refusals], [true, []]);
  world.dispose();
});

Deno.test("InboundServer serves each workload its own certificate to whoever has one", async () => {
  const { world, events } = await serverWorld();
  world.app({ ip: SERVER_IP, port: 8080 });
  const client = await HboneClient.connect(world, { as: CLIENT });
  assertEquals(client.channel.security.peerIdentities.map(({ uri }) => uri), [
    "spiffe://cluster.local/ns/default/sa/server",
  ]);
  assertEquals(events.refusals, []);
  world.dispose();
});

Deno.test("InboundServer cuts handshakes when it drains", async () => {
  const { world, plane, events } = await serverWorld();
  const user = world.dial(CLIENT_IP, HBONE);
  world.clock.advance(1);
  let done = false;
  plane.drain(5_000, () => done = true);
  world.clock.advance(10);
  assertEquals([done, user.closed], [true, true]);
  assertEquals(events.refusals, ["connection closed due to connection drain"]);
  world.dispose();
});
