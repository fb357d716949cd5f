// Bad peers, limits and rotation on real sockets (spec/identity-and-inpod §4, deno-runtime §8.2).
import net from "node:net";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
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
import {
  DIAL,
  failure,
  fixedSource,
  identity,
  pass,
  promised,
  RealNetwork,
  until,
} from "../../../tests/support/real_sockets.ts";
import { adoptBlock } from "../../base/block.ts";
import type { Channel } from "../../base/channel.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import { FakeCa } from "../../identity/fake_ca.ts";
import { IdentityError } from "../../identity/errors.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import { CrlSet } from "../../tls/crl.ts";
import { TlsHandshakeError } from "../../tls/errors.ts";
import { DialError, type SecureChannel } from "../network.ts";
import { HANDSHAKES_MAX } from "../secure_attempt.ts";

const SERVER = await ROOT.leaf({ uris: [identity("server").uri] });
const CLIENT = await ROOT.leaf({ uris: [identity("client").uri] });

/** What our server says of the next connection. */
async function verdictOn(
  real: RealNetwork,
  options: { readonly timeoutMs?: number } = {},
): Promise<SecureChannel | ProxyError> {
  const accepted = await real.accept();
  return await new Promise((resolve) =>
    real.network.secureServer(accepted, {
      certificates: fixedSource(SERVER),
      timeoutMs: options.timeoutMs ?? 3000,
    }, resolve)
  );
}

const leaf = (options: OddOptions, ca = ROOT) => () => ca.leaf(options);

Deno.test.each([...BAD_CLIENTS])(
  "secureServer() refuses a client $name",
  async ({ leaf, code, text }) => {
    await using real = new RealNetwork();
    await real.listen();
    const certificate = await leaf();
    using client = new RogueClient(real.listener.local.port, {
      cert: certificate.chainPem,
      key: certificate.key.pem(),
    });
    let closed = false;
    client.socket.on("close", () => closed = true);
    client.socket.resume();
    const outcome = await verdictOn(real);
    if (!(outcome instanceof TlsHandshakeError)) throw outcome;
    assertEquals(outcome.code, code);
    assertStringIncludes(outcome.message, text);
    await until(() => closed);
  },
);

Deno.test("secureServer() refuses a client without certificate, with the alert for it", async () => {
  await using real = new RealNetwork();
  await real.listen();
  using client = new RogueClient(real.listener.local.port, {});
  client.socket.resume();
  const outcome = await verdictOn(real);
  if (!(outcome instanceof TlsHandshakeError)) throw outcome;
  assertEquals(
    [outcome.code, outcome.message],
    ["NO_CERTIFICATE", "Custom { kind: InvalidData, error: NoCertificatesPresented }"],
  );
  await until(() => client.error !== null);
  assertStringIncludes(String(client.error), "CertificateRequired");
});

Deno.test("TLS of the runtime refuses a revoked peer, from either side", async () => {
  await using real = new RealNetwork();
  await real.listen();
  const { revocation } = real.network;
  const signer = await signerOf(ROOT);
  const listing = ({ chainDer }: CertifiedKey) =>
    CrlSet.fromDer([makeCrl(signer, { revoked: [chainDer[0]!] })]);

  revocation.replace(listing(CLIENT));
  using client = new RogueClient(real.listener.local.port, {
    cert: CLIENT.chainPem,
    key: CLIENT.key.pem(),
  });
  client.socket.resume();
  const refused = await verdictOn(real);
  if (!(refused instanceof TlsHandshakeError)) throw refused;
  assertEquals(
    [refused.code, refused.message],
    ["REVOKED", "Custom { kind: InvalidData, error: InvalidCertificate(Revoked) }"],
  );

  revocation.replace(listing(SERVER));
  const verdict = verdictOn(real);
  const error = await failure(promised((done) =>
    real.network.dialSecure(real.listener.local, {
      ...DIAL,
      tls: { certificate: CLIENT, expected: [identity("server")], timeoutMs: 3000 },
    }, done)
  ));
  assertEquals([error.code, error.message], [
    "REVOKED",
    "invalid peer certificate: Revoked",
  ]);
  assertEquals(revocation.counts, { source: 1, destination: 1 });
  const late = await verdict; // In TLS 1.3 the server may have been done before it was refused.
  if (!(late instanceof Error)) late.reset(null);
});

Deno.test.each([
  { name: "h2", protocols: ["h2"], expected: "h2" },
  { name: "h2 among others", protocols: ["http/1.1", "h2"], expected: "h2" },
  { name: "nothing", protocols: [], expected: null },
  { name: "http/1.1 only", protocols: ["http/1.1"], expected: "NO_ALPN" },
])("secureServer() with a client that offers $name by ALPN: $expected", async (row) => {
  await using real = new RealNetwork();
  await real.listen();
  using client = new RogueClient(real.listener.local.port, {
    cert: CLIENT.chainPem,
    key: CLIENT.key.pem(),
    ALPNProtocols: [...row.protocols],
  });
  client.socket.resume();
  const outcome = await verdictOn(real);
  if ("security" in outcome) {
    assertEquals(outcome.security.alpn, row.expected);
    assertEquals(outcome.security.peerIdentities, [identity("client")]);
    outcome.reset(null);
  } else assertEquals(outcome.code, row.expected);
});

Deno.test("secureServer() refuses TLS 1.2", async () => {
  await using real = new RealNetwork();
  await real.listen();
  using _client = new RogueClient(real.listener.local.port, {
    cert: CLIENT.chainPem,
    key: CLIENT.key.pem(),
    minVersion: "TLSv1.2",
    maxVersion: "TLSv1.2",
  });
  const outcome = await verdictOn(real);
  if (!(outcome instanceof TlsHandshakeError)) throw outcome;
  assertEquals(outcome.code, "TLS_VERSION");
});

Deno.test("secureServer() calls plain HTTP what it is", async () => {
  await using real = new RealNetwork();
  const { client, server } = await real.plainPair();
  const bytes = new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n");
  client.write(adoptBlock(bytes), 0, bytes.length);
  const error = await failure(
    promised<SecureChannel>((done) =>
      real.network.secureServer(
        server,
        { certificates: fixedSource(SERVER), timeoutMs: 3000 },
        done,
      )
    ),
  );
  assertEquals(
    [error.code, error.message],
    ["NOT_TLS", "Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }"],
  );
  client.reset(null);
});

Deno.test("secureServer() says when the peer leaves in the handshake", async () => {
  await using real = new RealNetwork();
  const { client, server } = await real.plainPair();
  const outcome = failure(
    promised<SecureChannel>((done) =>
      real.network.secureServer(
        server,
        { certificates: fixedSource(SERVER), timeoutMs: 3000 },
        done,
      )
    ),
  );
  await pass(10);
  client.endWrite();
  const error = await outcome;
  assertEquals(
    [error.code, error.message],
    ["HANDSHAKE_EOF", 'Custom { kind: UnexpectedEof, error: "tls handshake eof" }'],
  );
  client.reset(null);
});

Deno.test("secureServer() ends a silent handshake at its time limit", async () => {
  await using real = new RealNetwork();
  const { client, server } = await real.plainPair();
  const beginMs = performance.now();
  const error = await failure(
    promised<SecureChannel>((done) =>
      real.network.secureServer(server, { certificates: fixedSource(SERVER), timeoutMs: 60 }, done)
    ),
  );
  assertEquals(error.code, "HANDSHAKE_TIMEOUT");
  assert(performance.now() - beginMs >= 60);
  let closed = false;
  client.attach({ onData() {}, onEnd() {}, onWritable() {}, onClose: () => closed = true });
  client.endWrite();
  await until(() => closed);
});

Deno.test("secureServer() passes a missing certificate of our own on", async () => {
  await using real = new RealNetwork();
  const { client, server } = await real.plainPair();
  const reason = new IdentityError("UNKNOWN", "workload is unknown: sa.ns (name)");
  const error = await failure(
    promised<SecureChannel>((done) =>
      real.network.secureServer(server, {
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

Deno.test("a cancelled handshake says nothing more and frees its socket", async () => {
  await using real = new RealNetwork();
  const { client, server } = await real.plainPair();
  let answers = 0;
  const handshake = real.network.secureServer(
    server,
    { certificates: fixedSource(SERVER), timeoutMs: 3000 },
    () => answers++,
  );
  await pass(5);
  handshake.cancel();
  handshake.cancel();
  client.reset(null);
  await until(() => real.network.openSockets === 1);
  assertEquals(answers, 0);
  assertEquals(real.network.counts.handshakesUnderWay, 0);
});

Deno.test("a flood of half-open handshakes costs the oldest ones (HANDSHAKES_MAX by default)", async () => {
  assertEquals(HANDSHAKES_MAX, 1024);
  await using real = new RealNetwork({ handshakesMax: 8 });
  await real.listen();
  const idle = net.connect(real.listener.local.port, "127.0.0.1");
  idle.on("error", () => {});
  const floods = [idle];
  const outcomes: (SecureChannel | ProxyError)[] = [];
  for (let at = 0; at < 10; at++) {
    if (at > 0) floods.push(net.connect(real.listener.local.port, "127.0.0.1"));
    floods[at]!.on("error", () => {});
    const accepted = await real.accept();
    real.network.secureServer(accepted, {
      certificates: fixedSource(SERVER),
      timeoutMs: 3000,
    }, (outcome) => outcomes.push(outcome));
    await pass(1);
    const { handshakesUnderWay, handshakesRefused } = real.network.counts;
    assertEquals([handshakesUnderWay, handshakesRefused], [
      Math.min(at + 1, 8),
      Math.max(0, at + 1 - 8),
    ]);
  }
  assertEquals(outcomes.map((error) => error instanceof TlsHandshakeError && error.code), [
    "HANDSHAKES_MAX",
    "HANDSHAKES_MAX",
  ]);
  // A good client still gets in while the flood goes on.
  const { client, server } = await real.securePair({ client: CLIENT, server: SERVER });
  client.reset(null);
  server.reset(null);
  for (const socket of floods) socket.destroy();
  await until(() => real.network.counts.handshakesUnderWay === 0);
});

Deno.test("a certificate rotates under traffic; open channels live on", async () => {
  const nowMs = Date.now();
  const ca = await FakeCa.create({ nowMs });
  const client = await ca.issue(identity("client"), { nowMs });
  const first = await ca.issue(identity("server"), { nowMs });
  const second = await ca.issue(identity("server"), { nowMs });
  await using real = new RealNetwork();
  const old = await real.securePair({ client, server: first });
  const fresh = await real.securePair({ client, server: second });
  assert(first.generation < second.generation);
  assert(
    old.client.security.peerLeafSha256 !== fresh.client.security.peerLeafSha256,
    "the new connection sees the new leaf",
  );
  let received = 0;
  old.server.attach({
    onData: (_block, start, end) => void (received += end - start),
    onEnd() {},
    onWritable() {},
    onClose() {},
  });
  old.client.write(adoptBlock(new Uint8Array(1000)), 0, 1000);
  await until(() => received === 1000);
  for (const pair of [old, fresh]) {
    pair.client.reset(null);
    pair.server.reset(null);
  }
});

for (const dialer of ["node", "deno"] as const) {
  const dialing = async (
    server: CertifiedKey,
    options: {
      readonly expected?: string[];
      readonly refuse?: boolean;
      readonly silent?: boolean;
      readonly hangUp?: boolean;
    } = {},
  ): Promise<ProxyError | SecureChannel> => {
    await using real = new RealNetwork();
    await real.listen();
    const ours = new RealNetwork({ tunnelDialer: dialer });
    const address = { ...real.listener.local };
    if (options.refuse === true) {
      real.listener.close();
      await until(() => real.network.openSockets === 0);
    }
    let served: ProxyError | SecureChannel | null = null;
    const serving = options.refuse === true ? Promise.resolve() : real.accept().then((channel) => {
      if (options.silent === true) return real.accepted.push(channel);
      if (options.hangUp === true) return channel.reset(null);
      return new Promise<void>((resolve) =>
        real.network.secureServer(channel, {
          certificates: fixedSource(server),
          timeoutMs: 3000,
        }, (outcome) => {
          served = outcome;
          resolve();
        })
      );
    });
    const outcome = await new Promise<ProxyError | SecureChannel>((resolve) =>
      ours.network.dialSecure(address, {
        timeoutMs: 1000,
        keepalive: null,
        sourceIp: null,
        tls: {
          certificate: CLIENT,
          expected: (options.expected ?? ["server"]).map((name) => identity(name)),
          timeoutMs: options.silent === true ? 60 : 3000,
        },
      }, resolve)
    );
    await serving;
    if ("security" in outcome) outcome.reset(null);
    const channel = served as SecureChannel | ProxyError | null;
    if (channel !== null && "security" in channel) channel.reset(null);
    await until(() => ours.network.openSockets === 0);
    return outcome;
  };

  Deno.test(`dialSecure() by ${dialer} reaches the expected server`, async () => {
    const outcome = await dialing(SERVER);
    if (!("security" in outcome)) throw outcome;
    assertEquals(outcome.security.peerIdentities, [identity("server")]);
    assertEquals(outcome.security.alpn, "h2");
  });

  Deno.test(`dialSecure() by ${dialer} takes any of several names for any of several`, async () => {
    const server = await ROOT.leaf({ uris: [identity("x").uri, identity("b").uri] });
    const outcome = await dialing(server, { expected: ["a", "b"] });
    assert("security" in outcome);
  });

  Deno.test.each<{ name: string; server: () => Promise<CertifiedKey>; message: string }>([
    {
      name: "of another name",
      server: leaf({ uris: [identity("impostor").uri] }),
      message: "invalid peer certificate: Other(OtherError(identity verification error: peer did " +
        "not present the expected SAN (spiffe://cluster.local/ns/default/sa/server), got " +
        "spiffe://cluster.local/ns/default/sa/impostor))",
    },
    {
      name: "of another CA",
      server: leaf({ uris: [identity("server").uri] }, FOREIGN),
      message: "invalid peer certificate: UnknownIssuer",
    },
    {
      name: "made for clients",
      server: leaf({ uris: [identity("server").uri], usages: [CLIENT_AUTH] }),
      message: "invalid peer certificate: ",
    },
    {
      name: "that has expired",
      server: leaf({ uris: [identity("server").uri], notAfterMs: Date.now() - 60_000 }),
      message: "invalid peer certificate: ",
    },
  ])(`dialSecure() by ${dialer} refuses a server $name`, async ({ server, message }) => {
    const outcome = await dialing(await server());
    if (!(outcome instanceof DialError)) throw outcome;
    assertEquals(outcome.phase, "handshake");
    assertStringIncludes(outcome.message, message);
  });

  Deno.test(`dialSecure() by ${dialer} with nobody expected refuses everybody`, async () => {
    const outcome = await dialing(SERVER, { expected: [] });
    if (!(outcome instanceof DialError)) throw outcome;
    assertStringIncludes(outcome.message, "peer did not present the expected SAN (), got spiffe:");
  });

  Deno.test(`dialSecure() by ${dialer} says that nobody listens`, async () => {
    const outcome = await dialing(SERVER, { refuse: true });
    if (!(outcome instanceof DialError)) throw outcome;
    assertEquals([outcome.phase, outcome.message], [
      "connect",
      "Connection refused (os error 111)",
    ]);
  });

  Deno.test(`dialSecure() by ${dialer} gives a silent server up at the limit`, async () => {
    const outcome = await dialing(SERVER, { silent: true });
    if (!(outcome instanceof DialError)) throw outcome;
    assertEquals([outcome.phase, outcome.message], ["handshake", "deadline has elapsed"]);
  });

  Deno.test(`dialSecure() by ${dialer} reports a server that goes away`, async () => {
    const outcome = await dialing(SERVER, { hangUp: true });
    if (!(outcome instanceof DialError)) throw outcome;
    assert(
      ["tls handshake eof", "Connection reset by peer (os error 104)"].includes(outcome.message),
      outcome.message,
    );
  });
}

Deno.test("a client learns on its first read that the server refused it", async () => {
  await using real = new RealNetwork();
  const { client, server } = await real.plainPair();
  const refused = failure(
    promised<SecureChannel>((done) =>
      real.network.secureServer(
        server,
        { certificates: fixedSource(SERVER), timeoutMs: 3000 },
        done,
      )
    ),
  );
  const stranger = await ROOT.leaf({ uris: [identity("x", { trustDomain: "other" }).uri] });
  const channel = await promised<SecureChannel>((done) =>
    real.network.secureClient(client, {
      certificate: stranger,
      expected: [identity("server")],
      timeoutMs: 3000,
    }, done)
  );
  assertEquals((await refused).code, "WRONG_TRUST_DOMAIN");
  const error = await new Promise<ProxyError | null>((resolve) =>
    channel.attach({ onData() {}, onEnd() {}, onWritable() {}, onClose: resolve })
  );
  assert(error instanceof NetError);
});

Deno.test("a record that cannot be opened ends the session and frees its socket", async () => {
  await using real = new RealNetwork();
  await real.listen();
  const ends: net.Socket[] = [];
  using tampering = new TamperingRelay(real.listener.local.port, ends);
  const address = { ip: "127.0.0.1", port: await tampering.port() };
  const dialed = promised<Channel>((done) => real.network.dial(address, DIAL, done));
  const [client, server] = await Promise.all([dialed, real.accept()]);
  const channels = await Promise.all([
    promised<SecureChannel>((done) =>
      real.network.secureClient(client, {
        certificate: CLIENT,
        expected: [identity("server")],
        timeoutMs: 3000,
      }, done)
    ),
    promised<SecureChannel>((done) =>
      real.network.secureServer(
        server,
        { certificates: fixedSource(SERVER), timeoutMs: 3000 },
        done,
      )
    ),
  ]);
  const errors: (ProxyError | null)[] = [];
  for (const channel of channels) {
    const onClose = (error: ProxyError | null) => void errors.push(error);
    channel.attach({ onData() {}, onEnd() {}, onWritable() {}, onClose });
  }
  for (const end of ends) end.write(FORGED_RECORD);
  await until(() => errors.length === 2);
  assertEquals(errors.map((error) => error?.code), ["TLS_ALERT", "TLS_ALERT"]);
  await until(() => real.network.openSockets === 1);
});

Deno.test("the deno dialer refuses TLS inside a stream", async () => {
  await using real = new RealNetwork({ tunnelDialer: "deno" });
  const { client, server } = await real.plainPair();
  const error = await failure(
    promised<SecureChannel>((done) =>
      real.network.secureClient(
        client,
        { certificate: CLIENT, expected: [], timeoutMs: 1000 },
        done,
      )
    ),
  );
  assertEquals(error.code, "DENO_DIALER");
  server.reset(null);
});
