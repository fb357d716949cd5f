// Handshakes on OpenSSL: whom we refuse and with which alert, what we refuse to speak, limits, rotation
// (spec/identity-and-inpod §4, data-path §1.1).
import net from "node:net";
import tls from "node:tls";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  BAD_CLIENTS,
  FOREIGN,
  FORGED_RECORD,
  RogueClient,
  ROOT,
  TamperingRelay,
} from "../../../tests/support/bad_peers.ts";
import { CLIENT_AUTH, type OddOptions } from "../../../tests/support/certificates.ts";
import { makeCrl, signerOf } from "../../../tests/support/crls.ts";
import { NativeTls, type NativeTlsOptions } from "../../../tests/support/native_tls.ts";
import {
  DIAL,
  failure,
  fixedSource,
  identity,
  pass,
  promised,
  until,
} from "../../../tests/support/real_sockets.ts";
import * as x509 from "../../identity/x509.ts";
import { adoptBlock } from "../../base/block.ts";
import type { Channel } from "../../base/channel.ts";
import { ProxyError } from "../../base/errors.ts";
import { IdentityError } from "../../identity/errors.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import { CrlSet } from "../../tls/crl.ts";
import { TlsHandshakeError } from "../../tls/errors.ts";
import { VerdictCache } from "../../tls/verdict_cache.ts";
import type { SecureChannel } from "../network.ts";
import { HANDSHAKES_MAX } from "../secure_attempt.ts";
import { UNPINNED_CONTEXTS_MAX } from "./tls_contexts.ts";

const SERVER = await ROOT.leaf({ uris: [identity("server").uri] });
const CLIENT = await ROOT.leaf({ uris: [identity("client").uri] });
const PAIR = { client: CLIENT, server: SERVER };

const leaf = (options: OddOptions, ca = ROOT) => () => ca.leaf(options);

type Outcome = SecureChannel | ProxyError;

/** Notes what becomes of a channel. */
class Listening {
  bytes = 0;
  ends = 0;
  text = "";
  error: ProxyError | null | undefined;

  constructor(channel: Channel) {
    channel.attach({
      onData: (block, start, end) => {
        this.bytes += end - start;
        if (this.bytes < 10_000) {
          this.text += new TextDecoder().decode(block.bytes.subarray(start, end));
        }
      },
      onEnd: () => void this.ends++,
      onWritable() {},
      onClose: (error) => void (this.error = error),
    });
  }

  async closed(): Promise<ProxyError | null> {
    await until(() => this.error !== undefined);
    return this.error ?? null;
  }
}

function write(channel: Channel, text: string): void {
  const bytes = new TextEncoder().encode(text);
  channel.write(adoptBlock(bytes), 0, bytes.length);
}

function secureServer(
  world: NativeTls,
  channel: Channel,
  options: { readonly certificate?: CertifiedKey; readonly timeoutMs?: number } = {},
): Promise<Outcome> {
  return new Promise((resolve) =>
    world.network.secureServer(channel, {
      certificates: fixedSource(options.certificate ?? SERVER),
      timeoutMs: options.timeoutMs ?? 3000,
    }, resolve)
  );
}

function secureClient(
  world: NativeTls,
  channel: Channel,
  options: {
    readonly certificate?: CertifiedKey;
    readonly expected?: readonly string[];
    readonly timeoutMs?: number;
  } = {},
): Promise<Outcome> {
  return new Promise((resolve) =>
    world.network.secureClient(channel, {
      certificate: options.certificate ?? CLIENT,
      expected: (options.expected ?? ["server"]).map((name) => identity(name)),
      timeoutMs: options.timeoutMs ?? 3000,
    }, resolve)
  );
}

/** What our server says of the next connection. */
async function verdictOn(
  world: NativeTls,
  options: { readonly certificate?: CertifiedKey; readonly timeoutMs?: number } = {},
): Promise<Outcome> {
  return await secureServer(world, await world.accept(), options);
}

function rejected(outcome: Outcome): ProxyError {
  if (outcome instanceof ProxyError) return outcome;
  outcome.reset(null);
  throw new Error("It should have been refused");
}

function accepted(outcome: Outcome): SecureChannel {
  if (outcome instanceof ProxyError) throw outcome;
  return outcome;
}

async function listening(options: NativeTlsOptions = {}): Promise<NativeTls> {
  const world = new NativeTls(options);
  await world.listen();
  return world;
}

// Whom we refuse.

Deno.test.each([...BAD_CLIENTS])(
  "TlsEngine.server() refuses a client $name, with the alert for it",
  async ({ leaf, code, text, alert }) => {
    await using world = await listening();
    const certificate = await leaf();
    using client = new RogueClient(world.listener.local.port, {
      cert: certificate.chainPem,
      key: certificate.key.pem(),
    });
    client.socket.resume();
    const error = rejected(await verdictOn(world));
    assert(error instanceof TlsHandshakeError);
    assertEquals(error.code, code);
    assertStringIncludes(error.message, text);
    await until(() => client.error !== null);
    assertStringIncludes(String(client.error), `received fatal alert: ${alert}`);
  },
);

Deno.test.each(
  [
    {
      name: "whom a list names",
      algorithm: "ecdsa-sha256",
      code: "REVOKED",
      alert: "CertificateRevoked",
    },
    {
      name: "whose list its issuer did not sign",
      algorithm: "ecdsa-sha1",
      code: "CRL_UNUSABLE",
      alert: "HandshakeFailure",
    },
  ] as const,
)("TLS on OpenSSL refuses a peer $name: alert $alert", async (row) => {
  const signer = await signerOf(ROOT);
  const listing = ({ chainDer }: CertifiedKey) =>
    CrlSet.fromDer([makeCrl(signer, { revoked: [chainDer[0]!], algorithm: row.algorithm })]);
  await using world = new NativeTls();
  const { revocation } = world.network;

  // An unusable list of the one root is about both sides: then it is the client that refuses, first.
  const refusesAlone = row.code === "REVOKED";
  if (refusesAlone) {
    revocation.replace(listing(CLIENT));
    const { client, server } = await world.plainPair();
    const serving = secureServer(world, server);
    const heard = new Listening(accepted(await secureClient(world, client)));
    assertEquals(rejected(await serving).code, row.code);
    assertEquals((await heard.closed())?.message, `received fatal alert: ${row.alert}`);
  }
  revocation.replace(listing(SERVER));
  const { client, server } = await world.plainPair();
  const serving = secureServer(world, server);
  assertEquals(rejected(await secureClient(world, client)).code, row.code);
  assertEquals(
    rejected(await serving).message,
    `Custom { kind: InvalidData, error: AlertReceived(${row.alert}) }`,
  );
  assertEquals(
    revocation.counts,
    refusesAlone ? { source: 1, destination: 1 } : { source: 0, destination: 0 },
  );
});

Deno.test("TlsEngine.server() refuses a client without certificate: alert certificate_required", async () => {
  await using world = await listening();
  using client = new RogueClient(world.listener.local.port, {});
  client.socket.resume();
  const error = rejected(await verdictOn(world));
  assertEquals(
    [error.code, error.message],
    ["NO_CERTIFICATE", "Custom { kind: InvalidData, error: NoCertificatesPresented }"],
  );
  await until(() => client.error !== null);
  assertStringIncludes(String(client.error), "CertificateRequired");
});

Deno.test.each([
  {
    name: "an unknown critical extension",
    leaf: leaf({
      extraExtensions: [new x509.Extension("1.2.3.4", true, new Uint8Array([5, 0]))],
    }),
    code: "UNKNOWN_CRITICAL_EXTENSION",
    alert: "BadCertificate",
  },
  {
    name: "a CA as leaf",
    leaf: leaf({ isCa: true }),
    code: "CA_AS_LEAF",
    alert: "CertificateUnknown",
  },
  {
    name: "a leaf of tomorrow",
    leaf: leaf({ notBeforeMs: Date.now() + 3_000_000 }),
    code: "NOT_VALID_YET",
    alert: "CertificateExpired",
  },
])("a native client hears why $name was refused: $alert", async ({ leaf, code, alert }) => {
  await using world = await listening();
  const { client, server } = await world.plainPair();
  const certificate = await leaf();
  const serving = secureServer(world, server);
  const channel = accepted(await secureClient(world, client, { certificate }));
  const heard = new Listening(channel);
  assertEquals(rejected(await serving).code, code);
  const error = await heard.closed();
  assertEquals([error?.code, error?.message], ["TLS_ALERT", `received fatal alert: ${alert}`]);
});

Deno.test.each([
  {
    name: "of another name",
    server: leaf({ uris: [identity("impostor").uri] }),
    message: "invalid peer certificate: Other(OtherError(identity verification error: peer did " +
      "not present the expected SAN (spiffe://cluster.local/ns/default/sa/server), got " +
      "spiffe://cluster.local/ns/default/sa/impostor))",
    alert: "CertificateUnknown",
  },
  {
    name: "of another CA",
    server: leaf({ uris: [identity("server").uri] }, FOREIGN),
    message: "invalid peer certificate: UnknownIssuer",
    alert: "UnknownCA",
  },
  {
    name: "made for clients",
    server: leaf({ uris: [identity("server").uri], usages: [CLIENT_AUTH] }),
    message: "invalid peer certificate: InvalidPurpose",
    alert: "UnsupportedCertificate",
  },
  {
    name: "that has expired",
    server: leaf({ uris: [identity("server").uri], notAfterMs: Date.now() - 60_000 }),
    message: "invalid peer certificate: certificate expired: verification time ",
    alert: "CertificateExpired",
  },
])("TlsEngine.client() refuses a server $name, with the alert for it", async (row) => {
  await using world = new NativeTls();
  const { client, server } = await world.plainPair();
  const serving = secureServer(world, server, { certificate: await row.server() });
  const error = rejected(await secureClient(world, client));
  assert(error instanceof TlsHandshakeError);
  assert(error.message.startsWith(row.message), error.message);
  const heard = rejected(await serving);
  assertEquals(
    [heard.code, heard.message],
    ["TLS_ALERT", `Custom { kind: InvalidData, error: AlertReceived(${row.alert}) }`],
  );
});

Deno.test("TlsEngine.client() takes any of several names for any of several, and nobody for none", async () => {
  await using world = new NativeTls();
  const certificate = await ROOT.leaf({ uris: [identity("x").uri, identity("b").uri] });
  const first = await world.plainPair();
  const serving = secureServer(world, first.server, { certificate });
  const channel = accepted(await secureClient(world, first.client, { expected: ["a", "b"] }));
  assertEquals(channel.security.peerIdentities, [identity("x"), identity("b")]);
  channel.reset(null);
  accepted(await serving).reset(null);
  const second = await world.plainPair();
  const refusing = secureServer(world, second.server, { certificate });
  const error = rejected(await secureClient(world, second.client, { expected: [] }));
  assertStringIncludes(error.message, "did not present the expected SAN (), got spiffe:");
  rejected(await refusing);
});

Deno.test("a verdict that throws refuses the peer with internal_error, and is told as a bug", async () => {
  class Broken extends VerdictCache {
    override judge(): never {
      throw new Error("a bug");
    }
  }
  const bugs: unknown[] = [];
  await using world = new NativeTls({
    verdicts: new Broken(),
    onBug: (thrown) => void bugs.push(thrown),
  });
  const { client, server } = await world.plainPair();
  const serving = secureServer(world, server);
  const error = rejected(await secureClient(world, client));
  assertEquals(error.code, "TLS_PROTOCOL");
  assertEquals(
    rejected(await serving).message,
    "Custom { kind: InvalidData, error: AlertReceived(InternalError) }",
  );
  assertEquals(bugs.map(String), ["Error: a bug"]);
});

Deno.test.each([
  { name: "a good chain", leaf: leaf({}), code: null },
  { name: "another CA", leaf: leaf({}, FOREIGN), code: "UNKNOWN_ISSUER" },
  {
    // keyUsage keyCertSign alone, which our verdict does not look at.
    name: "a key that may not sign handshakes",
    leaf: leaf({
      extraExtensions: [new x509.Extension("2.5.29.15", true, Uint8Array.of(3, 2, 2, 4))],
    }),
    code: "WRONG_USAGE",
  },
])("verifyInLibrary lets the library judge too: $name", async ({ leaf, code }) => {
  await using world = new NativeTls({ policy: { verifyInLibrary: true } });
  const { client, server } = await world.plainPair();
  const certificate = { ...await leaf(), rootsDer: SERVER.rootsDer };
  const serving = secureServer(world, server);
  const channel = accepted(await secureClient(world, client, { certificate }));
  const outcome = await serving;
  if (code === null) accepted(outcome).reset(null);
  else assertEquals(rejected(outcome).code, code);
  channel.reset(null);
});

Deno.test("verifyInLibrary climbs over intermediates to a root that has expired itself", async () => {
  const { OddCa } = await import("../../../tests/support/certificates.ts");
  const root = await OddCa.root({ notAfterMs: Date.now() - 60_000 });
  const middle = await root.intermediate();
  const pair = {
    client: await middle.leaf({ uris: [identity("client").uri] }),
    server: await middle.leaf({ uris: [identity("server").uri] }),
  };
  await using world = new NativeTls({ policy: { verifyInLibrary: true } });
  const { client, server } = await world.securePair(pair);
  client.reset(null);
  server.reset(null);
});

// What we speak.

Deno.test.each([
  { name: "h2", protocols: ["h2"], expected: "h2" },
  { name: "h2 among others", protocols: ["http/1.1", "h2"], expected: "h2" },
  { name: "nothing", protocols: [], expected: null },
  { name: "http/1.1 only", protocols: ["http/1.1"], expected: "NO_ALPN" },
  { name: "h2c and h3", protocols: ["h2c", "h3"], expected: "NO_ALPN" },
])("TlsEngine.server() with a client that offers $name by ALPN: $expected", async (row) => {
  await using world = await listening();
  using client = new RogueClient(world.listener.local.port, {
    cert: CLIENT.chainPem,
    key: CLIENT.key.pem(),
    ALPNProtocols: [...row.protocols],
  });
  client.socket.resume();
  const outcome = await verdictOn(world);
  if (outcome instanceof ProxyError) {
    assertEquals(outcome.code, row.expected);
    await until(() => client.error !== null);
    assertStringIncludes(String(client.error), "NoApplicationProtocol");
    return;
  }
  assertEquals(outcome.security.alpn, row.expected);
  assertEquals(outcome.security.peerIdentities, [identity("client")]);
  assertEquals(outcome.security.resumed, false);
  outcome.reset(null);
});

Deno.test("TlsEngine.server() refuses TLS 1.2 unless the policy allows it", async () => {
  for (const tls12 of [false, true]) {
    await using world = await listening({ tls12 });
    using client = new RogueClient(world.listener.local.port, {
      cert: CLIENT.chainPem,
      key: CLIENT.key.pem(),
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.2",
    });
    client.socket.resume();
    const outcome = await verdictOn(world);
    if (tls12) {
      assertEquals(client.socket.getProtocol(), "TLSv1.2");
      accepted(outcome).reset(null);
    } else {
      assertEquals(rejected(outcome).code, "TLS_VERSION");
      await until(() => client.error !== null);
      assertStringIncludes(String(client.error), "ProtocolVersion");
    }
  }
});

Deno.test("bytes go both ways between our client and the runtime's server, and the other way round", async () => {
  await using world = await listening();
  using client = new RogueClient(world.listener.local.port, {
    cert: CLIENT.chainPem,
    key: CLIENT.key.pem(),
  });
  let answer = "";
  client.socket.on("data", (chunk) => answer += chunk);
  const ours = accepted(await verdictOn(world));
  const heard = new Listening(ours);
  client.socket.write("to the native side");
  write(ours, "from the native side");
  await until(() => answer !== "" && heard.bytes > 0);
  assertEquals([answer, heard.text], ["from the native side", "to the native side"]);
  client.socket.end();
  await until(() => heard.ends === 1);
  ours.endWrite();
  assertEquals(await heard.closed(), null);

  const server = tls.createServer({
    cert: SERVER.chainPem,
    key: SERVER.key.pem(),
    ca: SERVER.rootsPem,
    requestCert: true,
    ALPNProtocols: ["h2"],
  }, (socket) => socket.on("data", (chunk) => socket.end(`echo ${chunk}`)));
  server.listen(0, "127.0.0.1");
  await until(() => server.listening);
  const { port } = server.address() as net.AddressInfo;
  const dialed = await promised<Channel>((done) =>
    world.network.dial({ ip: "127.0.0.1", port }, DIAL, done)
  );
  const channel = accepted(await secureClient(world, dialed));
  assertEquals([channel.security.alpn, channel.security.resumed], ["h2", false]);
  const echoed = new Listening(channel);
  write(channel, "ping");
  await until(() => echoed.ends === 1);
  assertEquals(echoed.text, "echo ping");
  channel.endWrite();
  assertEquals(await echoed.closed(), null);
  server.close();
});

// Bytes that are no TLS, or not all of it.

Deno.test.each([
  { name: "HTTP", bytes: "GET / HTTP/1.1\r\n\r\n", code: "NOT_TLS" },
  { name: "a CONNECT", bytes: "CONNECT a:1 HTTP/1.1\r\n\r\n", code: "NOT_TLS" },
  { name: "an HTTP/2 preface", bytes: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", code: "NOT_TLS" },
  { name: "zeros", bytes: "\0".repeat(64), code: "NOT_TLS" },
])("TlsEngine.server() calls $name what it is", async ({ bytes, code }) => {
  await using world = new NativeTls();
  const { client, server } = await world.plainPair();
  write(client, bytes);
  const error = rejected(await secureServer(world, server));
  assertEquals(
    [error.code, error.message],
    [code, "Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }"],
  );
  client.reset(null);
});

/** `count` records of `type` with `body`. */
function records(type: number, body: readonly number[], count = 1): Uint8Array<ArrayBuffer> {
  const record = [type, 3, 3, body.length >> 8, body.length & 255, ...body];
  return Uint8Array.from(Array.from({ length: count }, () => record).flat());
}

Deno.test.each([
  { name: "application data before the hello", bytes: records(23, [0]) },
  { name: "a fatal alert before the hello", bytes: records(21, [2, 40]) },
  { name: "close_notify before the hello", bytes: records(21, [1, 0]) },
  { name: "a flood of warnings", bytes: records(21, [1, 90], 100) },
  { name: "a heartbeat", bytes: records(24, [0]) },
  { name: "a flood of empty records", bytes: records(22, [], 100) },
  { name: "a flood of change_cipher_spec", bytes: records(20, [1], 100) },
  { name: "a record longer than any may be", bytes: Uint8Array.of(22, 3, 3, 0x48, 1, 1) },
  {
    name: "a hello of version 2",
    bytes: Uint8Array.of(0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 16, ...new Array(37).fill(1)),
  },
  { name: "a hello that is none", bytes: records(22, [1, 0, 0, 12, ...new Array(12).fill(7)]) },
  { name: "a hello that claims 16 MiB", bytes: records(22, [1, 255, 255, 255, 0]) },
  { name: "another message than a hello", bytes: records(22, [11, 0, 0, 1, 0]) },
])("TlsEngine.server() refuses $name at once", async ({ bytes }) => {
  await using world = new NativeTls();
  const { client, server } = await world.plainPair();
  client.write(adoptBlock(bytes), 0, bytes.length);
  const error = rejected(await secureServer(world, server, { timeoutMs: 2000 }));
  client.reset(null);
  assert(["TLS_PROTOCOL", "TLS_VERSION", "NOT_TLS"].includes(error.code), error.code);
});

Deno.test("TlsEngine.server() says when the peer leaves in the handshake, in order or not", async () => {
  await using world = new NativeTls();
  for (const abrupt of [false, true]) {
    const { client, server } = await world.plainPair();
    const outcome = secureServer(world, server);
    write(client, "\x16\x03\x01");
    await pass(10);
    if (abrupt) client.reset(null);
    else client.endWrite();
    const error = rejected(await outcome);
    assertEquals(
      [error.code, error.message],
      abrupt
        ? [
          "ECONNRESET",
          'Os { code: 104, kind: ConnectionReset, message: "Connection reset by peer" }',
        ]
        : ["HANDSHAKE_EOF", 'Custom { kind: UnexpectedEof, error: "tls handshake eof" }'],
    );
    client.reset(null);
  }
});

Deno.test("TlsEngine.client() says when the server leaves in the handshake, in order or not", async () => {
  await using world = new NativeTls();
  for (const abrupt of [false, true]) {
    const { client, server } = await world.plainPair();
    const outcome = secureClient(world, client);
    await pass(10);
    if (abrupt) server.reset(null);
    else server.endWrite();
    const error = rejected(await outcome);
    assertEquals(
      [error.code, error.message],
      abrupt
        ? ["ECONNRESET", "Connection reset by peer (os error 104)"]
        : ["HANDSHAKE_EOF", "tls handshake eof"],
    );
    server.reset(null);
  }
});

Deno.test("TlsEngine.server() ends a silent handshake at its time limit", async () => {
  await using world = new NativeTls();
  const { client, server } = await world.plainPair();
  const beginMs = performance.now();
  const error = rejected(await secureServer(world, server, { timeoutMs: 60 }));
  assertEquals(
    [error.code, error.message],
    ["HANDSHAKE_TIMEOUT", 'Custom { kind: TimedOut, error: "deadline has elapsed" }'],
  );
  assert(performance.now() - beginMs >= 60);
  await new Listening(client).closed();
});

Deno.test("TlsEngine.client() ends a silent handshake at its time limit", async () => {
  await using world = new NativeTls();
  const { client, server } = await world.plainPair();
  const error = rejected(await secureClient(world, client, { timeoutMs: 60 }));
  assertEquals([error.code, error.message], ["DEADLINE_ELAPSED", "deadline has elapsed"]);
  server.reset(null);
});

Deno.test("TlsEngine.server() passes a missing certificate of our own on", async () => {
  await using world = new NativeTls();
  const { client, server } = await world.plainPair();
  const reason = new IdentityError("UNKNOWN", "workload is unknown: sa.ns (name)");
  const error = await failure(
    promised<SecureChannel>((done) =>
      world.network.secureServer(server, {
        certificates: {
          identity: identity("server"),
          get(answer) {
            queueMicrotask(() => answer(reason));
            return { cancel() {} };
          },
        },
        timeoutMs: 3000,
      }, done)
    ),
  );
  assert(error === reason);
  client.reset(null);
});

Deno.test("a peer that leaves while our certificate is awaited is noticed, and the wait is over", async () => {
  await using world = new NativeTls();
  const { client, server } = await world.plainPair();
  let cancels = 0;
  const outcome = failure(
    promised<SecureChannel>((done) =>
      world.network.secureServer(server, {
        certificates: {
          identity: identity("server"),
          get: () => ({ cancel: () => void cancels++ }),
        },
        timeoutMs: 3000,
      }, done)
    ),
  );
  await pass(10);
  client.reset(null);
  assertEquals((await outcome).code, "ECONNRESET");
  assertEquals(cancels, 1);
});

Deno.test("a cancelled handshake says nothing more and frees its socket", async () => {
  await using world = new NativeTls();
  const { client, server } = await world.plainPair();
  let answers = 0;
  const handshake = world.network.secureServer(
    server,
    { certificates: fixedSource(SERVER), timeoutMs: 3000 },
    () => answers++,
  );
  await pass(5);
  handshake.cancel();
  handshake.cancel();
  client.reset(null);
  await until(() => world.network.openSockets === 1);
  assertEquals([answers, world.engine.attempts.underWay], [0, 0]);
});

Deno.test("a flood of half-open handshakes costs the oldest ones (HANDSHAKES_MAX by default)", async () => {
  assertEquals(HANDSHAKES_MAX, 1024);
  await using world = await listening({ handshakesMax: 8 });
  const floods: net.Socket[] = [];
  const outcomes: Outcome[] = [];
  for (let at = 0; at < 10; at++) {
    const flood = net.connect(world.listener.local.port, "127.0.0.1");
    flood.on("error", () => {});
    floods.push(flood);
    world.network.secureServer(await world.accept(), {
      certificates: fixedSource(SERVER),
      timeoutMs: 3000,
    }, (outcome) => outcomes.push(outcome));
    await pass(1);
    const { underWay, refused } = world.engine.attempts;
    assertEquals([underWay, refused], [Math.min(at + 1, 8), Math.max(0, at + 1 - 8)]);
  }
  await until(() => outcomes.length === 2);
  assertEquals(outcomes.map((error) => error instanceof TlsHandshakeError && error.code), [
    "HANDSHAKES_MAX",
    "HANDSHAKES_MAX",
  ]);
  // A good client still gets in while the flood goes on.
  const { client, server } = await world.securePair(PAIR);
  client.reset(null);
  server.reset(null);
  for (const socket of floods) socket.destroy();
  await until(() => world.engine.attempts.underWay === 0);
});

// Established sessions.

Deno.test.each([1, 5, 6, 1000])(
  "a session comes about and carries data when every %d octets are a packet of their own",
  async (pieceBytes) => {
    await using world = await listening();
    const ends: net.Socket[] = [];
    using relay = new TamperingRelay(world.listener.local.port, ends, pieceBytes);
    const address = { ip: "127.0.0.1", port: await relay.port() };
    const dialed = promised<Channel>((done) => world.network.dial(address, DIAL, done));
    const [client, server] = await Promise.all([dialed, world.accept()]);
    const pair = await world.secure({ client, server }, PAIR);
    const heard = [new Listening(pair.client), new Listening(pair.server)];
    const bytes = adoptBlock(new Uint8Array(5000).fill(0x61));
    pair.client.write(bytes, 0, 5000);
    pair.server.write(bytes, 0, 5000);
    await until(() => heard.every((side) => side.bytes === 5000));
    assert(heard.every(({ text }) => text === "a".repeat(5000)));
    pair.client.reset(null);
    pair.server.reset(null);
  },
);

Deno.test("a record that cannot be opened ends the session with bad_record_mac", async () => {
  await using world = await listening();
  const ends: net.Socket[] = [];
  using tampering = new TamperingRelay(world.listener.local.port, ends);
  const address = { ip: "127.0.0.1", port: await tampering.port() };
  const dialed = promised<Channel>((done) => world.network.dial(address, DIAL, done));
  const [client, server] = await Promise.all([dialed, world.accept()]);
  const pair = await world.secure({ client, server }, PAIR);
  const heard = [new Listening(pair.client), new Listening(pair.server)];
  ends[1]!.write(FORGED_RECORD);
  const [atClient, atServer] = await Promise.all(heard.map((side) => side.closed()));
  assertEquals([atServer?.code, atServer?.message], [
    "TLS_PROTOCOL",
    "cannot decrypt peer's message",
  ]);
  assertEquals([atClient?.code, atClient?.message], [
    "TLS_ALERT",
    "received fatal alert: BadRecordMac",
  ]);
});

Deno.test("an end without close_notify in the middle of data is an error after the data", async () => {
  await using world = await listening();
  const ends: net.Socket[] = [];
  using relay = new TamperingRelay(world.listener.local.port, ends);
  const address = { ip: "127.0.0.1", port: await relay.port() };
  const dialed = promised<Channel>((done) => world.network.dial(address, DIAL, done));
  const [client, server] = await Promise.all([dialed, world.accept()]);
  const pair = await world.secure({ client, server }, PAIR);
  const heard = new Listening(pair.server);
  write(pair.client, "half of it");
  await until(() => heard.bytes === 10);
  ends[1]!.end();
  const error = await heard.closed();
  assertEquals([error?.code, error?.message, heard.ends], [
    "UNEXPECTED_EOF",
    "peer closed connection without sending TLS close_notify",
    0,
  ]);
  pair.client.reset(null);
});

Deno.test("reset() is RST on the wire, and endWrite() close_notify and FIN", async () => {
  await using world = await listening();
  const ends: net.Socket[] = [];
  using relay = new TamperingRelay(world.listener.local.port, ends);
  const address = { ip: "127.0.0.1", port: await relay.port() };
  for (const expected of ["FIN", "RST"]) {
    const dialed = promised<Channel>((done) => world.network.dial(address, DIAL, done));
    const [client, server] = await Promise.all([dialed, world.accept()]);
    const pair = await world.secure({ client, server }, PAIR);
    const [near, far] = ends.slice(-2) as [net.Socket, net.Socket];
    let seen = "";
    far.on("end", () => seen ||= "FIN");
    far.on("error", (error: NodeJS.ErrnoException) => seen ||= error.code ?? "");
    const heard = [new Listening(pair.client), new Listening(pair.server)];
    if (expected === "RST") pair.server.reset(null);
    else pair.server.endWrite();
    await until(() => seen !== "");
    assertEquals(seen, expected === "RST" ? "ECONNRESET" : "FIN");
    if (expected === "FIN") await until(() => heard[0]!.ends === 1);
    near.destroy();
    far.destroy();
    pair.client.reset(null);
    await Promise.all(heard.map((side) => side.closed()));
  }
});

// Contexts.

Deno.test("a certificate rotates under traffic: open channels live on, the old context goes", async () => {
  const second = await ROOT.leaf({ uris: [identity("server").uri] });
  await using world = new NativeTls();
  world.engine.pin(SERVER);
  world.engine.pin(SERVER);
  const old = await world.securePair(PAIR);
  world.engine.pin(second);
  world.engine.unpin(SERVER);
  world.engine.unpin(SERVER);
  const contexts = () => world.objects.counts.get("SSL_CTX");
  // The client's, unpinned, and the new one.
  assertEquals([world.engine.contexts, contexts()], [2, 2]);
  const fresh = await world.securePair({ client: CLIENT, server: second });
  assert(
    old.client.security.peerLeafSha256 !== fresh.client.security.peerLeafSha256,
    "the new connection sees the new leaf",
  );
  const heard = new Listening(old.server);
  write(old.client, "still here");
  await until(() => heard.bytes === 10);
  for (const pair of [old, fresh]) {
    pair.client.reset(null);
    pair.server.reset(null);
  }
});

Deno.test("a pinned certificate's key may be wiped; unpinned and wiped it is of no use", async () => {
  await using world = new NativeTls();
  const server = await ROOT.leaf({ uris: [identity("server").uri] });
  world.engine.pin(server);
  server.key.wipe();
  const { client, server: accepting } = await world.securePair({ client: CLIENT, server });
  client.reset(null);
  accepting.reset(null);
  world.engine.unpin(server);
  const plain = await world.plainPair();
  const error = rejected(await secureServer(world, plain.server, { certificate: server }));
  assertEquals([error.code, error.message], [
    "TLS_MATERIAL",
    "the private key was wiped already",
  ]);
  plain.client.reset(null);
});

Deno.test.each([
  { name: "no certificate", change: { chainDer: [] }, text: "no certificate" },
  {
    name: "a leaf that is none",
    change: { chainDer: [Uint8Array.of(1, 2, 3)] },
    text: "cannot read the certificate",
  },
  {
    name: "somebody else's key",
    change: { key: CLIENT.key },
    text: "cannot set private key: key values mismatch",
  },
])("pin() refuses $name", async ({ change, text }) => {
  await using world = new NativeTls();
  const error = assertThrows(
    () => world.engine.pin({ ...SERVER, ...change }),
    TlsHandshakeError,
    text,
  );
  assertEquals(error.code, "TLS_MATERIAL");
  assertEquals(world.objects.counts.get("SSL_CTX"), undefined);
});

Deno.test("contexts that nobody pinned are kept up to a limit (UNPINNED_CONTEXTS_MAX by default)", async () => {
  assertEquals(UNPINNED_CONTEXTS_MAX, 256);
  await using world = new NativeTls({ unpinnedContextsMax: 2 });
  const sizes: number[] = [];
  for (let at = 0; at < 3; at++) {
    const server = await ROOT.leaf({ uris: [identity("server").uri] });
    const pair = await world.securePair({ client: CLIENT, server });
    sizes.push(world.engine.contexts);
    pair.client.reset(null);
    pair.server.reset(null);
  }
  assertEquals(sizes, [2, 2, 2]);
});

Deno.test("200 sessions opened and closed leave nothing behind", async () => {
  await using world = new NativeTls();
  const before = world.objects.counts.get("SSL");
  for (let at = 0; at < 200; at++) {
    const { client, server } = await world.securePair(PAIR);
    const heard = [new Listening(client), new Listening(server)];
    write(client, "x");
    if (at % 3 === 0) client.reset(null);
    else {
      client.endWrite();
      server.endWrite();
    }
    await Promise.all(heard.map((side) => side.closed()));
  }
  assertEquals([before, world.objects.counts.get("SSL")], [undefined, undefined]);
  assertEquals(world.network.openSockets, 1);
});
