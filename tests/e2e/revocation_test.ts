// Revocation lists as an operator gives them: proxies as processes, a file that changes (spec/identity-and-inpod §5.3).
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { crlPem, type CrlSigner, makeCrl } from "../support/crls.ts";
import { serveEcho } from "../support/echo_server.ts";
import { loopbackBlock } from "../support/loopback.ts";
import { MeshCa } from "../support/mesh_ca.ts";
import { meshFileText } from "../support/mesh_file.ts";
import { TEST_NETWORK } from "../support/networks.ts";
import { type AccessLine, ProxyProcess } from "../support/proxy_process.ts";
import { connectSocks5, readExactly, writeAll } from "../support/socks5.ts";
import { configDump, counter } from "../support/xds_mesh.ts";

/** From a new list to the end of what it is about. */
const ENDED_WITHIN_MS = 10_000;

const SOURCE = 'istio_crl_policy_rejections_total{reporter="source"}';
const DESTINATION = 'istio_crl_policy_rejections_total{reporter="destination"}';
const REVOKED = "connection closed: peer certificate revoked by CRL";

/** A proxy for each of client, stranger and server, with one CA and one `CRL_PATH`, where nothing is yet. */
class Mesh implements AsyncDisposable {
  readonly #opened = new AsyncDisposableStack();
  #signer!: CrlSigner;
  #folder!: string;
  client!: ProxyProcess;
  stranger!: ProxyProcess;
  server!: ProxyProcess;
  app!: { readonly ip: string; readonly port: number };

  static async start(): Promise<Mesh> {
    const mesh = new Mesh();
    try {
      await mesh.#start();
    } catch (error) {
      await mesh[Symbol.asyncDispose]();
      throw error;
    }
    return mesh;
  }

  async #start(): Promise<void> {
    const opened = this.#opened;
    const folder = await Deno.makeTempDir({ prefix: "revocation-" });
    opened.defer(() => Deno.remove(folder, { recursive: true }));
    this.#folder = folder;
    await (await MeshCa.create()).writeRoot(folder);
    this.#signer = {
      certificate: new Uint8Array(
        new X509Certificate(await Deno.readTextFile(`${folder}/root-cert.pem`)).raw,
      ),
      key: createPrivateKey(await Deno.readTextFile(`${folder}/root-key.pem`)),
    };
    const block = loopbackBlock();
    const workloads = ["client", "stranger", "server"].map((name, at) => ({
      name,
      namespace: "test",
      serviceAccount: name,
      ip: `${block}.${at + 1}`,
    }));
    const meshFile = `${folder}/mesh.yaml`;
    await Deno.writeTextFile(meshFile, meshFileText({ workloads }));
    const { ip } = workloads[2]!;
    this.app = { ip, port: opened.use(serveEcho(ip)).port };
    const env = { IO_PROVIDER: TEST_NETWORK, CRL_PATH: `${folder}/crl/ca-crl.pem` };
    await Deno.mkdir(`${folder}/crl`);
    const proxies = await Promise.all(
      workloads.map(async (workload) =>
        opened.use(await ProxyProcess.start({ workload, meshFile, caFolder: folder, env }))
      ),
    );
    [this.client, this.stranger, this.server] = proxies as [
      ProxyProcess,
      ProxyProcess,
      ProxyProcess,
    ];
  }

  /** A tunnel that has echoed. */
  async connect(from: ProxyProcess): Promise<Deno.TcpConn> {
    const connection = await connectSocks5(from.ip, this.app);
    this.#opened.defer(() => {
      try {
        connection.close();
      } catch {
        // It was closed already.
      }
    });
    await echo(connection);
    return connection;
  }

  /** A new list, put in place in one go. */
  async revoke(...proxies: readonly ProxyProcess[]): Promise<void> {
    const revoked = await Promise.all(proxies.map(leafOf));
    await this.write(crlPem(makeCrl(this.#signer, { revoked })));
  }

  async write(text: string): Promise<void> {
    const path = `${this.#folder}/crl/ca-crl.pem`;
    await Deno.writeTextFile(`${path}.new`, text);
    await Deno.rename(`${path}.new`, path);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#opened.disposeAsync();
  }
}

async function echo(connection: Deno.TcpConn): Promise<void> {
  await writeAll(connection, new TextEncoder().encode("hello"));
  assertEquals(new TextDecoder().decode(await readExactly(connection, 5)), "hello");
}

/** The leaf in use, as the proxy's own dump has it. */
async function leafOf(proxy: ProxyProcess): Promise<Uint8Array<ArrayBuffer>> {
  const { certificates } = await configDump(proxy) as {
    certificates: readonly { readonly certChain: readonly { readonly pem: string }[] }[];
  };
  const pem = Buffer.from(certificates[0]!.certChain[0]!.pem, "base64").toString();
  return new Uint8Array(new X509Certificate(pem).raw);
}

/** Resolves with the end of a connection, however it ends, and closes our side; rejects when that takes too long. */
async function ended(connection: Deno.TcpConn): Promise<void> {
  const timer = setTimeout(() => connection.close(), ENDED_WITHIN_MS);
  const started = performance.now();
  try {
    while (await connection.read(new Uint8Array(16)) !== null);
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
  } finally {
    clearTimeout(timer);
  }
  connection.close();
  assert(performance.now() - started < ENDED_WITHIN_MS);
}

async function counted(proxy: ProxyProcess, sample: string, least: number): Promise<void> {
  const deadline = performance.now() + ENDED_WITHIN_MS;
  while (await counter(proxy, sample) < least) {
    assert(performance.now() < deadline, `${sample} did not reach ${least}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function endsRevoked(direction: string): (line: AccessLine) => boolean {
  return (line) => line["direction"] === direction && line["error"] === REVOKED;
}

Deno.test(
  `[${TEST_NETWORK}] a list that names a client ends its tunnels, refuses new ones, and spares others`,
  async () => {
    await using mesh = await Mesh.start();
    const { client, stranger, server } = mesh;
    const tunnel = await mesh.connect(client);
    const other = await mesh.connect(stranger);
    await mesh.revoke(client);
    await ended(tunnel);
    await server.accessLine(endsRevoked("inbound"));
    await counted(server, DESTINATION, 1);
    await echo(other);

    const again = await connectSocks5(client.ip, mesh.app);
    await ended(again);
    await counted(server, DESTINATION, 2);
    assertEquals(await counter(server, SOURCE), 0);
    assertEquals(await counter(stranger, SOURCE), 0);
    await echo(other);
  },
);

Deno.test(
  `[${TEST_NETWORK}] a list that names a server ends tunnels to it, and a broken one after it changes nothing`,
  async () => {
    await using mesh = await Mesh.start();
    const { client } = mesh;
    await mesh.revoke();
    const tunnel = await mesh.connect(client);
    await mesh.revoke(mesh.server);
    await ended(tunnel);
    await client.accessLine(endsRevoked("outbound"));
    await counted(client, SOURCE, 1);
    assertEquals(await counter(client, DESTINATION), 0);

    await mesh.write("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    await counted(client, 'istio_crl_load_errors_total{reason="CRL_MALFORMED"}', 1);
    const again = await connectSocks5(client.ip, mesh.app);
    await ended(again);
    await counted(client, SOURCE, 2);
  },
);
