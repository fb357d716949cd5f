// Proxies with certificates from a CA of the test's own: what they ask it, and what its failures do to traffic.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CaServer, type CaServerOptions } from "../support/ca_server.ts";
import { type NamedApp, serveName } from "../support/named_app.ts";
import { TEST_NETWORK } from "../support/networks.ts";
import type { ProxyProcess } from "../support/proxy_process.ts";
import { until } from "../support/real_sockets.ts";
import { Traffic, visit } from "../support/traffic.ts";
import { configDump, XdsMesh } from "../support/xds_mesh.ts";

const WITHIN_MS = 20_000;
/** The connection that waits is drained first. */
const ENDED_WITHIN_MS = 10_000;
const FIRST_TOKEN = "first token";
const NEXT_TOKEN = "next token";

/** A client's and a server's pod, each with a proxy and a CA that signs for it. */
class CertifiedMesh implements AsyncDisposable {
  readonly mesh: XdsMesh;
  readonly clientCa: CaServer;
  readonly serverCa: CaServer;
  readonly tokenFile: string;
  readonly app: NamedApp;
  readonly #opened: AsyncDisposableStack;

  private constructor(
    parts: Pick<CertifiedMesh, "mesh" | "clientCa" | "serverCa" | "tokenFile" | "app">,
    opened: AsyncDisposableStack,
  ) {
    this.mesh = parts.mesh;
    this.clientCa = parts.clientCa;
    this.serverCa = parts.serverCa;
    this.tokenFile = parts.tokenFile;
    this.app = parts.app;
    this.#opened = opened;
  }

  static async start(options: Pick<CaServerOptions, "leafMs"> = {}): Promise<CertifiedMesh> {
    await using opening = new AsyncDisposableStack();
    const mesh = opening.use(await XdsMesh.start());
    const ca = async (name: string, host: number) =>
      opening.use(
        await CaServer.start({
          ca: mesh.ca,
          ip: mesh.ip(host),
          tls: await mesh.ca.issue({ uris: [], ips: [mesh.ip(host)] }),
          callerUri: identityOf(name),
          token: FIRST_TOKEN,
          ...options,
        }),
      );
    const [clientCa, serverCa] = [await ca("client", 201), await ca("server", 202)];
    const tokenFile = `${mesh.folder}/token`;
    await Deno.writeTextFile(tokenFile, FIRST_TOKEN);
    const app = opening.use(serveName(mesh.ip(2), "app"));
    mesh.push({
      workloads: ["client", "server"].map((name, at) => ({
        name,
        serviceAccount: name,
        workloadIps: [mesh.ip(at + 1)],
      })),
    });
    return new CertifiedMesh({ mesh, clientCa, serverCa, tokenFile, app }, opening.move());
  }

  /** Both proxies, ready. */
  proxies(): Promise<[client: ProxyProcess, server: ProxyProcess]> {
    const proxy = (name: string, host: number, ca: CaServer) =>
      this.mesh.proxy(host, name, {
        env: {
          FAKE_CA: undefined,
          FAKE_CA_DIR: undefined,
          CA_ADDRESS: ca.address,
          CA_ROOT_CA: `${this.mesh.folder}/root-cert.pem`,
          AUTH_TOKEN: this.tokenFile,
          CLUSTER_ID: "the cluster",
          CA_HEADER_X_TEST: "more",
          SECRET_TTL: "1h",
          POOL_UNUSED_RELEASE_TIMEOUT: "1s",
        },
      });
    return Promise.all([proxy("client", 1, this.clientCa), proxy("server", 2, this.serverCa)]);
  }

  /** Where the application is. */
  get target() {
    return { ip: this.mesh.ip(2), port: this.app.port };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }
}

function identityOf(name: string): string {
  return `spiffe://cluster.local/ns/ns/sa/${name}`;
}

interface DumpRow {
  readonly identity: string;
  readonly state: string;
  readonly certChain: readonly { readonly serialNumber: string }[];
}

/** Asks now and then until it is so. */
async function eventually(condition: () => Promise<boolean>): Promise<void> {
  for (const limitMs = performance.now() + WITHIN_MS; !(await condition());) {
    assert(performance.now() < limitMs, `Not within ${WITHIN_MS} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function certificates(proxy: ProxyProcess): Promise<readonly DumpRow[]> {
  const { certificates } = await configDump(proxy) as { certificates: readonly DumpRow[] };
  return certificates;
}

function certifiedTest(
  name: string,
  options: Pick<CaServerOptions, "leafMs">,
  test: (world: CertifiedMesh) => Promise<void>,
): void {
  Deno.test(`[${TEST_NETWORK}] ${name}`, async () => {
    await using world = await CertifiedMesh.start(options);
    await world.mesh.explain(() => test(world));
  });
}

certifiedTest(
  "traffic flows with certificates from a CA, asked for once each",
  {},
  async (world) => {
    const [client, server] = await world.proxies();
    for (let count = 0; count < 5; count++) {
      assertEquals(
        await visit(client.ip, world.target),
        "app",
      );
    }
    for (
      const [ca, proxy, name] of [
        [world.clientCa, client, "client"],
        [world.serverCa, server, "server"],
      ] as const
    ) {
      assertEquals(ca.heard.length, 1);
      const { headers, hasMetadata, ttlSeconds, csr } = ca.heard[0]!;
      assertEquals([hasMetadata, ttlSeconds, csr?.verifies], [false, 3600, true]);
      assertEquals(
        [headers["authorization"], headers["clusterid"], headers["x_test"]],
        [`Bearer ${FIRST_TOKEN}`, "the cluster", "more"],
      );
      const rows = await certificates(proxy);
      assertEquals(rows.map(({ identity, state }) => [identity, state]), [
        [identityOf(name), "Available"],
      ]);
      assertEquals(rows[0]!.certChain.length, 1);
    }
  },
);

certifiedTest(
  "a CA that refuses at first: connections fail and say why, and come back by themselves",
  {},
  async (world) => {
    const { clientCa, target } = world;
    clientCa.token = NEXT_TOKEN;
    const [client] = await world.proxies();
    const failed = await visit(client.ip, target).then(() => null, (error) => String(error));
    assert(failed !== null);
    const line = await client.accessLine((line) => line["error"] !== undefined);
    const reason =
      "signing gRPC error (The request does not have valid authentication credentials): request authenticate failure";
    assertMatch(
      String(line["error"]),
      /^(tls error: )?identity error: signing gRPC error \(The request/,
    );
    assertEquals((await certificates(client))[0]!.state, `Unavailable: ${reason}`);
    await Deno.writeTextFile(world.tokenFile, NEXT_TOKEN); // As kubelet does.
    world.serverCa.token = NEXT_TOKEN;
    await until(() => clientCa.signed > 0, WITHIN_MS);
    assertEquals(await visit(client.ip, target), "app");
    assert(client.lines.every((text) => !text.includes(FIRST_TOKEN) && !text.includes(NEXT_TOKEN)));
  },
);

certifiedTest("certificates rotate under traffic while the CA fails one request in three", {
  leafMs: 10_000,
}, async (world) => {
  for (const ca of [world.clientCa, world.serverCa]) {
    ca.fault = ({ number }) =>
      number % 3 === 0 ? { kind: "status", code: 14, message: "not now" } : null;
  }
  const [client, server] = await world.proxies();
  assertEquals(await visit(client.ip, world.target), "app");
  await using traffic = new Traffic(client.ip, world.target, { callers: 2 });
  await until(() => world.clientCa.signed >= 4 && world.serverCa.signed >= 4, 40_000);
  assertEquals(await traffic.next(20), new Set(["app"]));
  assertEquals(traffic.failures, []);
  for (const proxy of [client, server]) assertEquals((await certificates(proxy)).length, 1);
});

certifiedTest(
  "a CA that goes away leaves traffic alone until certificates end, and is found again",
  {
    leafMs: 8_000,
  },
  async (world) => {
    const [client] = await world.proxies();
    assertEquals(await visit(client.ip, world.target), "app");
    await Promise.all([world.clientCa.stop(), world.serverCa.stop()]);
    assertEquals(await visit(client.ip, world.target), "app");
    // Connections of a pool outlive certificates; those of an idle one are new.
    await eventually(async () => (await certificates(client))[0]!.state !== "Available");
    assertMatch((await certificates(client))[0]!.state, /^Unavailable: /);
    await Promise.all([world.clientCa.restart(), world.serverCa.restart()]);
    await eventually(() => visit(client.ip, world.target).then(() => true, () => false));
  },
);

certifiedTest(
  "a CA that takes requests and never answers keeps no proxy from ending",
  {},
  async (world) => {
    const { clientCa, target } = world;
    clientCa.fault = { kind: "silent" };
    const [client] = await world.proxies();
    const visiting = visit(client.ip, target).then(() => "answered", () => "failed");
    await until(() => clientCa.held > 0, WITHIN_MS);
    assertEquals((await certificates(client)).map(({ state }) => state), ["Initializing"]);
    const startMs = performance.now();
    assertEquals((await client.stop()).code, 0);
    assert(performance.now() - startMs < ENDED_WITHIN_MS);
    assertEquals(await visiting, "failed");
    clientCa.release();
  },
);
