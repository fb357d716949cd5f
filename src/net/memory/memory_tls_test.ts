import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  FixedCertificates,
  issueCertificate,
  meshIdentity,
} from "../../../tests/support/fixed_certificates.ts";
import {
  channelContract,
  NotingHandler,
  patternBytes,
} from "../../../tests/support/channel_contract.ts";
import {
  driveClock,
  type MemoryPair,
  memoryPair,
  Outcome,
} from "../../../tests/support/memory_pair.ts";
import { MeshCa } from "../../../tests/support/mesh_ca.ts";
import { adoptBlock } from "../../base/block.ts";
import type { Channel } from "../../base/channel.ts";
import { NetError } from "../../base/errors.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import type { SpiffeId } from "../../tls/spiffe_id.ts";
import type { SecureChannel } from "../network.ts";
import type { LinkPlan } from "./link_plan.ts";
import { encodeFlight } from "./memory_tls_messages.ts";

const CLIENT = meshIdentity("default", "client");
const SERVER = meshIdentity("default", "server");
const ca = await MeshCa.create();
const otherCa = await MeshCa.create("another root");
const clientKey = await issueCertificate(ca, { uris: [CLIENT.uri] });
const serverKey = await issueCertificate(ca, { uris: [SERVER.uri] });

interface Handshake {
  readonly pair: MemoryPair;
  readonly client: Outcome<SecureChannel>;
  readonly server: Outcome<SecureChannel>;
  readonly source: FixedCertificates;
  /** Runs until both sides know. */
  run(): void;
  /** Asserts that nothing is left. */
  finish(): void;
}

interface HandshakeOptions {
  readonly plan?: Partial<LinkPlan>;
  readonly clientKey?: CertifiedKey;
  readonly serverKey?: CertifiedKey;
  readonly expected?: readonly SpiffeId[];
  readonly timeoutMs?: number;
}

/** Both sides of a session over a memory pair whose wall clock is the real one's. */
function handshake(options: HandshakeOptions = {}): Handshake {
  const pair = memoryPair(options.plan);
  pair.clock.jumpWall(Date.now() - pair.clock.wallMs());
  const client = new Outcome<SecureChannel>();
  const server = new Outcome<SecureChannel>();
  const source = new FixedCertificates(pair.clock, options.serverKey ?? serverKey);
  const timeoutMs = options.timeoutMs ?? 10_000;
  pair.clientNetwork.secureClient(pair.a, {
    certificate: options.clientKey ?? clientKey,
    expected: options.expected ?? [SERVER],
    timeoutMs,
  }, client.done);
  pair.serverNetwork.secureServer(pair.b, { certificates: source, timeoutMs }, server.done);
  return {
    pair,
    client,
    server,
    source,
    run: () => driveClock(pair.clock, () => client.values.length + server.values.length === 2),
    finish() {
      for (const channel of [pair.a, pair.b]) channel.reset(null);
      pair.dispose();
    },
  };
}

for (
  const [name, plan] of Object.entries({
    "on a perfect link": {},
    "byte by byte": { delayMaxMs: 1, deliverMinBytes: 1, deliverMaxBytes: 2, capacityBytes: 4096 },
  })
) {
  channelContract(`Secured memory channel ${name}`, () => {
    const { pair, client, server, run } = handshake({ plan });
    run();
    return { ...pair, a: client.value, b: server.value };
  });
}

Deno.test("Memory TLS tells each side every name of the other, h2, and the leaf's hash", () => {
  const { client, server, run, finish, source } = handshake();
  run();
  assertEquals(client.value.security.peerIdentities, [SERVER]);
  assertEquals(server.value.security.peerIdentities, [CLIENT]);
  assertEquals([client.value.security.alpn, server.value.security.alpn], ["h2", "h2"]);
  assertNotEquals(client.value.security.peerLeafSha256, server.value.security.peerLeafSha256);
  assertEquals(source.asked, 1);
  finish();
});

Deno.test("Memory TLS hands over bytes that came with the last handshake message", () => {
  const { pair, client, server, run, finish } = handshake();
  driveClock(pair.clock, () => client.values.length === 1);
  client.value.write(adoptBlock(patternBytes(100)), 0, 100);
  run();
  const notes = new NotingHandler(server.value);
  server.value.attach(notes);
  driveClock(pair.clock, () => notes.bytes === 100);
  assertEquals(notes.received, patternBytes(100));
  finish();
});

Deno.test.each([
  {
    name: "one of several expected names",
    expected: [meshIdentity("a", "x"), SERVER],
    code: null,
    message: null,
  },
  {
    name: "another name",
    expected: [meshIdentity("a", "x")],
    code: "WRONG_IDENTITY",
    message:
      "invalid peer certificate: Other(OtherError(identity verification error: peer did not " +
      "present the expected SAN (spiffe://cluster.local/ns/a/sa/x), got " +
      "spiffe://cluster.local/ns/default/sa/server))",
  },
  { name: "no name at all", expected: [], code: "WRONG_IDENTITY", message: null },
])("Memory TLS client that expects $name", ({ expected, code, message }) => {
  const { client, server, run, finish, pair } = handshake({ expected });
  run();
  if (code === null) {
    assertEquals(client.value.security.peerIdentities, [SERVER]);
  } else {
    assertEquals(client.error.code, code);
    if (message !== null) assertEquals(client.error.message, message);
    assertEquals(server.error.code, "TLS_ALERT");
    assertEquals([pair.a.closed, pair.b.closed], [true, true]);
  }
  finish();
});

const otherDomain = await issueCertificate(ca, {
  uris: ["spiffe://other.td/ns/default/sa/client"],
});
const stranger = await issueCertificate(otherCa, { uris: [CLIENT.uri] });
const expired = await issueCertificate(ca, {
  uris: [CLIENT.uri],
  notBeforeMs: Date.now() - 7_200_000,
  notAfterMs: Date.now() - 3_600_000,
});

Deno.test.each([
  { name: "of another trust domain", clientKey: otherDomain, code: "WRONG_TRUST_DOMAIN" },
  { name: "that has expired", clientKey: expired, code: "EXPIRED" },
  {
    name: "of another root",
    clientKey: { ...stranger, rootsDer: clientKey.rootsDer },
    code: "UNKNOWN_ISSUER",
  },
  {
    name: "that is missing",
    clientKey: { ...clientKey, chainDer: [] },
    code: "NO_CERTIFICATE",
  },
])("Memory TLS server refuses a client certificate $name; the client hears it on its first read", (
  { clientKey, code },
) => {
  const { client, server, finish, pair } = handshake({
    clientKey,
    plan: { delayMinMs: 5, delayMaxMs: 5 },
  });
  // As in TLS 1.3, the client is done before the server judges it.
  driveClock(pair.clock, () => client.values.length === 1);
  assertEquals(server.values.length, 0);
  const notes = new NotingHandler(client.value);
  client.value.attach(notes);
  driveClock(pair.clock, () => server.values.length === 1);
  assertEquals(server.error.code, code);
  assert(server.error.message.startsWith("Custom { kind: InvalidData"), server.error.message);
  driveClock(pair.clock, () => notes.closes === 1);
  assertEquals([notes.closeError?.code, notes.bytes], ["TLS_ALERT", 0]);
  finish();
});

Deno.test("Memory TLS server asks for its certificate after the hello, and passes an error on", () => {
  const { client, server, source, run, finish, pair } = handshake();
  const error = new NetError("CANCELLED", { message: "identity unknown" });
  source.current = error;
  source.delayMs = 1000;
  pair.clock.advance(999);
  assertEquals([source.asked, server.values.length], [1, 0]);
  run();
  assert(server.error === error);
  assertEquals(client.error.code, "TLS_ALERT");
  finish();
});

Deno.test.each([
  { name: "just under", delayMs: 9_999, ok: true },
  { name: "at", delayMs: 10_000, ok: false },
  { name: "just over", delayMs: 10_001, ok: false },
])("Memory TLS handshake that takes $name its limit", ({ delayMs, ok }) => {
  const { client, server, source, run, finish } = handshake({ timeoutMs: 10_000 });
  source.delayMs = delayMs;
  run();
  if (ok) assertEquals(server.value.security.peerIdentities, [CLIENT]);
  else assertEquals(server.error.code, "HANDSHAKE_TIMEOUT");
  if (!ok) assertEquals(client.error.code, "HANDSHAKE_TIMEOUT");
  finish();
});

/** A server session whose client is the test itself. */
function rawClient(): { pair: MemoryPair; server: Outcome<SecureChannel>; notes: NotingHandler } {
  const pair = memoryPair();
  pair.clock.jumpWall(Date.now() - pair.clock.wallMs());
  const server = new Outcome<SecureChannel>();
  const certificates = new FixedCertificates(pair.clock, serverKey);
  pair.serverNetwork.secureServer(pair.b, { certificates, timeoutMs: 10_000 }, server.done);
  const notes = new NotingHandler(pair.a);
  pair.a.attach(notes);
  return { pair, server, notes };
}

function send(channel: Channel, bytes: Uint8Array<ArrayBuffer>): void {
  channel.write(adoptBlock(bytes), 0, bytes.length);
}

Deno.test.each([
  { name: "a plain HTTP request", bytes: new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n") },
  {
    name: "HTTP/2 without TLS",
    bytes: new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  },
  { name: "an endless message", bytes: new Uint8Array([0xc1, 0xff, 0xff, 0xff, 1, 2, 3]) },
  { name: "a hello that is no hello", bytes: new Uint8Array([0xc1, 0, 0, 2, 9, 9]) },
  {
    name: "certificates before any hello",
    bytes: encodeFlight("certificates", { alpn: [], chainDer: [] }),
  },
])("Memory TLS server refuses $name", ({ bytes }) => {
  const { pair, server, notes } = rawClient();
  send(pair.a, bytes);
  driveClock(pair.clock, () => notes.closes === 1);
  assertEquals(server.error.code, "NOT_TLS");
  pair.dispose();
});

Deno.test.each([
  { alpn: ["h2"], negotiated: ["h2"] },
  { alpn: ["http/1.1", "h2"], negotiated: ["h2"] },
  { alpn: [], negotiated: [null] },
  { alpn: ["http/1.1"], negotiated: [] },
])("Memory TLS server offered ALPN $alpn negotiates $negotiated", ({ alpn, negotiated }) => {
  const { pair, server, notes } = rawClient();
  send(pair.a, encodeFlight("hello", { alpn, chainDer: [] }));
  driveClock(pair.clock, () => notes.bytes > 0);
  send(pair.a, encodeFlight("certificates", { alpn: [], chainDer: clientKey.chainDer }));
  driveClock(pair.clock, () => server.values.length === 1);
  if (negotiated.length === 0) assertEquals(server.error.code, "NO_ALPN");
  else assertEquals(server.value.security.alpn, negotiated[0]);
  pair.a.reset(null);
  pair.b.reset(null);
  pair.dispose();
});

Deno.test("Memory TLS side whose peer ends in the handshake says so in its own words", () => {
  const { pair, server } = rawClient();
  pair.a.endWrite();
  driveClock(pair.clock, () => server.values.length === 1);
  assertEquals(
    [server.error.code, server.error.message],
    ["HANDSHAKE_EOF", 'Custom { kind: UnexpectedEof, error: "tls handshake eof" }'],
  );
  pair.a.reset(null);
  pair.dispose();
});

Deno.test("Memory TLS cancelled in the handshake resets its channel and never calls back", () => {
  const pair = memoryPair();
  const outcome = new Outcome<SecureChannel>();
  const cancel = pair.clientNetwork.secureClient(pair.a, {
    certificate: clientKey,
    expected: [SERVER],
    timeoutMs: 10_000,
  }, outcome.done);
  pair.clock.advance(5);
  cancel.cancel();
  cancel.cancel();
  pair.b.reset(null);
  pair.dispose();
  assertEquals([outcome.values.length, pair.a.closed], [0, true]);
});

Deno.test("Memory TLS whose channel is reset under it fails with what happened to the channel", () => {
  const { pair, client, server, run, finish, source } = handshake();
  source.delayMs = 5000;
  pair.clock.advance(10);
  pair.link.reset();
  run();
  assertEquals([client.error.code, server.error.code], ["ECONNRESET", "ECONNRESET"]);
  finish();
});
