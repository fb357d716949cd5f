// The runtime's TLS server hands out session tickets that skip client verification (spec/deno-runtime §8.3).
// Each row of that table: only the first may get in. The client is fetch(), which keeps tickets by host name.
import type net from "node:net";
import tls from "node:tls";
import { assertEquals } from "@std/assert";
import { der, OddCa } from "../../../tests/support/certificates.ts";
import { makeCrl, signerOf } from "../../../tests/support/crls.ts";
import { fixedSource, RealNetwork, until } from "../../../tests/support/real_sockets.ts";
import { adoptBlock } from "../../base/block.ts";
import type { ProxyError } from "../../base/errors.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import { CrlSet } from "../../tls/crl.ts";
import type { SecureChannel } from "../network.ts";
import { INTRODUCTIONS_MAX } from "./tls_sessions.ts";

/** The address as a general name, since fetch() checks the host. */
const LOOPBACK_NAME = der(0x87, new Uint8Array([127, 0, 0, 1]));
const ROOT = await OddCa.root({ subject: "CN=mesh root" });
const FOREIGN = await OddCa.root({ subject: "CN=foreign root" });
const SERVER = await ROOT.leaf({ otherNames: [LOOPBACK_NAME] });
const CLIENT = await ROOT.leaf();
const EVIL = await FOREIGN.leaf({ uris: ["spiffe://cluster.local/ns/evil/sa/evil"] });

/** A client that offers the tickets it got, with or without a certificate. */
class TicketClient implements Disposable {
  readonly #client: Deno.HttpClient;

  constructor(certificate: CertifiedKey | null) {
    this.#client = Deno.createHttpClient({
      caCerts: [SERVER.rootsPem],
      http1: false,
      http2: true,
      ...(certificate === null ? {} : { cert: certificate.chainPem, key: certificate.key.pem() }),
    });
  }

  /** Connects once; the servers of these tests never answer HTTP. */
  async connect(port: number): Promise<void> {
    try {
      await (await fetch(`https://127.0.0.1:${port}/`, { client: this.#client })).text();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

/** The least an HTTP/2 server can say: SETTINGS, status 204 on stream 1, GOAWAY. */
const GOODBYE = new Uint8Array([
  ...[0, 0, 0, 4, 0, 0, 0, 0, 0],
  ...[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x89],
  ...[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
]);

/** A server of the runtime that is less strict than ours. */
class LenientServer implements AsyncDisposable {
  readonly #server: tls.Server;
  readonly reused: boolean[] = [];

  private constructor(options: tls.TlsOptions) {
    this.#server = tls.createServer({
      cert: SERVER.chainPem,
      key: SERVER.key.pem(),
      ca: SERVER.rootsPem,
      ALPNProtocols: ["h2"],
      minVersion: "TLSv1.3",
      ...options,
    }, (socket) => {
      this.reused.push(socket.isSessionReused());
      socket.on("error", () => {});
      socket.once("data", () => socket.end(GOODBYE));
    });
  }

  static async start(options: tls.TlsOptions): Promise<LenientServer> {
    const server = new LenientServer(options);
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Our server: accepts the next connection, and what became of it. */
async function strict(
  client: TicketClient,
  certificate: CertifiedKey,
  real: RealNetwork,
): Promise<{ code: string; resumed: boolean; bytesDelivered: number }> {
  const resumedBefore = real.network.counts.sessionsResumed;
  const request = client.connect(real.listener.local.port);
  const accepted = await real.accept();
  let bytesDelivered = 0;
  const outcome = await new Promise<SecureChannel | ProxyError>((resolve) =>
    real.network.secureServer(accepted, {
      certificates: fixedSource(certificate),
      timeoutMs: 5000,
    }, resolve)
  );
  const isChannel = "security" in outcome;
  if (isChannel) {
    outcome.attach({
      onData: (_block, start, end) => void (bytesDelivered += end - start),
      onEnd: () => outcome.endWrite(),
      onWritable() {},
      onClose() {},
    });
    await until(() => bytesDelivered > 0);
    outcome.write(adoptBlock(GOODBYE), 0, GOODBYE.length);
    outcome.endWrite();
  }
  await request;
  const resumed = real.network.counts.sessionsResumed > resumedBefore;
  if (isChannel) outcome.reset(null);
  return { code: isChannel ? "accepted" : outcome.code, resumed, bytesDelivered };
}

Deno.test("a ticket of the same server and a good client is accepted again", async () => {
  await using real = new RealNetwork();
  await real.listen();
  using client = new TicketClient(CLIENT);
  assertEquals((await strict(client, SERVER, real)).resumed, false);
  const { code, resumed } = await strict(client, SERVER, real);
  assertEquals([code, resumed], ["accepted", true]);
});

Deno.test("a ticket of a client that was revoked since is refused", async () => {
  await using real = new RealNetwork();
  await real.listen();
  using client = new TicketClient(CLIENT);
  assertEquals((await strict(client, SERVER, real)).code, "accepted");
  const list = makeCrl(await signerOf(ROOT), { revoked: [CLIENT.chainDer[0]!] });
  real.network.revocation.replace(CrlSet.fromDer([list]));
  assertEquals(await strict(client, SERVER, real), {
    code: "REVOKED",
    resumed: true,
    bytesDelivered: 0,
  });
});

Deno.test("a ticket of a server of another identity is refused", async () => {
  await using real = new RealNetwork();
  await real.listen();
  const other = await ROOT.leaf({
    otherNames: [LOOPBACK_NAME],
    uris: ["spiffe://cluster.local/ns/default/sa/another-server"],
  });
  using client = new TicketClient(CLIENT);
  assertEquals((await strict(client, SERVER, real)).code, "accepted");
  const { code, resumed, bytesDelivered } = await strict(client, other, real);
  assertEquals([code, resumed, bytesDelivered], ["FOREIGN_TICKET", true, 0]);
});

Deno.test("a ticket of a server without client auth does not replace a certificate", async () => {
  await using real = new RealNetwork();
  await real.listen();
  await using lenient = await LenientServer.start({ requestCert: false });
  using client = new TicketClient(null);
  await client.connect(lenient.port);
  const { code, resumed, bytesDelivered } = await strict(client, SERVER, real);
  assertEquals([code, resumed, bytesDelivered], ["NO_CERTIFICATE", true, 0]);
});

Deno.test("a ticket of a lenient server does not vouch for a foreign CA", async () => {
  await using real = new RealNetwork();
  await real.listen();
  await using lenient = await LenientServer.start({ requestCert: true, rejectUnauthorized: false });
  using client = new TicketClient(EVIL);
  await client.connect(lenient.port);
  const { code, resumed, bytesDelivered } = await strict(client, SERVER, real);
  assertEquals([code, resumed, bytesDelivered], ["UNKNOWN_ISSUER", true, 0]);
});

Deno.test("a ticket from before a change of roots does not outlive them", async () => {
  await using real = new RealNetwork();
  await real.listen();
  using client = new TicketClient(CLIENT);
  assertEquals((await strict(client, SERVER, real)).code, "accepted");
  const rotated: CertifiedKey = {
    ...SERVER,
    rootsDer: [new Uint8Array(FOREIGN.root.rawData)],
    rootsPem: `${FOREIGN.root.toString("pem")}\n`,
    generation: 2,
  };
  const { code, resumed, bytesDelivered } = await strict(client, rotated, real);
  assertEquals([code, resumed, bytesDelivered], ["UNKNOWN_ISSUER", true, 0]);
});

Deno.test("a client refused for its certificate is refused again", async () => {
  await using real = new RealNetwork();
  await real.listen();
  using client = new TicketClient(EVIL);
  for (let attempt = 0; attempt < 5; attempt++) {
    const { code, bytesDelivered } = await strict(client, SERVER, real);
    assertEquals([code, bytesDelivered], ["UNKNOWN_ISSUER", 0]);
  }
});

Deno.test("a ticket of Deno.listenTls is of no use", async () => {
  await using real = new RealNetwork();
  await real.listen();
  const listener = Deno.listenTls({
    hostname: "127.0.0.1",
    port: 0,
    cert: SERVER.chainPem,
    key: SERVER.key.pem(),
    alpnProtocols: ["h2"],
  });
  using client = new TicketClient(null);
  const serving = (async () => {
    const conn = await listener.accept();
    await conn.read(new Uint8Array(1024));
    await conn.write(GOODBYE);
    await conn.closeWrite();
    await conn.read(new Uint8Array(1024)).catch(() => {});
    conn.close();
  })();
  await client.connect(listener.addr.port);
  await serving;
  listener.close();
  const { code, bytesDelivered } = await strict(client, SERVER, real);
  assertEquals([code, bytesDelivered], ["NO_CERTIFICATE", 0]);
});

Deno.test("INTRODUCTIONS_MAX bounds the peers that may resume; the oldest is forgotten", async () => {
  assertEquals(INTRODUCTIONS_MAX, 4096);
  await using real = new RealNetwork({ introductionsMax: 2 });
  await real.listen();
  const results: string[] = [];
  const clients = await Promise.all([1, 2, 3].map(async () => new TicketClient(await ROOT.leaf())));
  for (const client of clients) await strict(client, SERVER, real);
  for (const client of [clients[1]!, clients[2]!, clients[0]!]) {
    const { code, resumed } = await strict(client, SERVER, real);
    results.push(`${code} ${resumed}`);
  }
  for (const client of clients) client[Symbol.dispose]();
  assertEquals(results, ["accepted true", "accepted true", "FOREIGN_TICKET true"]);
});
