// Proxy processes that get their mesh from a control plane in this process, and share a CA.
import { loopbackBlock } from "./loopback.ts";
import { MeshCa } from "./mesh_ca.ts";
import { TEST_NETWORK } from "./networks.ts";
import { ProxyProcess } from "./proxy_process.ts";
import { type ShortMesh, shortResources } from "./xds_resources.ts";
import { XdsServer, type XdsServerOptions } from "./xds_server.ts";

const READINESS_PORT = 15021;
const STATS_PORT = 15020;
const ADMIN_PORT = 15000;
const LINES_TOLD = 25;

/** What a process says over HTTP. */
export interface Told {
  readonly status: number;
  readonly text: string;
}

/** Disposing of it ends its proxies and its control plane. */
export class XdsMesh implements AsyncDisposable {
  readonly server: XdsServer;
  readonly ca: MeshCa;
  /** Holds the CA's files; tests may add theirs. */
  readonly folder: string;
  readonly #block: string;
  readonly #proxies: ProxyProcess[] = [];
  readonly #opened: AsyncDisposableStack;

  private constructor(
    parts: Pick<XdsMesh, "server" | "ca" | "folder"> & { readonly block: string },
    opened: AsyncDisposableStack,
  ) {
    this.server = parts.server;
    this.ca = parts.ca;
    this.folder = parts.folder;
    this.#block = parts.block;
    this.#opened = opened;
  }

  /** @param options.tls Serves TLS with a leaf of the mesh's own CA for its address. */
  static async start(
    options: Omit<XdsServerOptions, "tls" | "ip"> & { readonly tls?: boolean } = {},
  ): Promise<XdsMesh> {
    await using opening = new AsyncDisposableStack();
    const block = loopbackBlock();
    const ip = `${block}.250`;
    const folder = await Deno.makeTempDir({ prefix: "xds-mesh-" });
    opening.defer(() => Deno.remove(folder, { recursive: true }));
    const ca = await MeshCa.create();
    await ca.writeRoot(folder);
    const { tls = false, ...others } = options;
    const leaf = tls ? { tls: await ca.issue({ uris: [], ips: [ip] }) } : {};
    const server = opening.use(await XdsServer.start({ ip, ...leaf, ...others }));
    return new XdsMesh({ server, ca, folder, block }, opening.move());
  }

  /** An address of the mesh's own, 1 to 249. */
  ip(host: number): string {
    return `${this.#block}.${host}`;
  }

  /** Says more about the mesh, in short forms. */
  push(mesh: ShortMesh): void {
    this.server.push({ set: shortResources(mesh) });
  }

  /** Starts a proxy for workload `name` in namespace `ns`, of service account `name`, on `ip(host)`. */
  async proxy(
    host: number,
    name: string,
    options: {
      readonly env?: Readonly<Record<string, string | undefined>>;
      /** Otherwise it is waited for until it is ready. */
      readonly isReady?: () => Promise<boolean>;
    } = {},
  ): Promise<ProxyProcess> {
    const { env = {}, isReady } = options;
    const proxy = this.#opened.use(
      await ProxyProcess.start({
        workload: { name, namespace: "ns", serviceAccount: name, ip: this.ip(host) },
        meshFile: null,
        caFolder: this.folder,
        env: { XDS_ADDRESS: this.server.address, IO_PROVIDER: TEST_NETWORK, ...env },
        ...(isReady === undefined ? {} : { isReady }),
      }),
    );
    this.#proxies.push(proxy);
    return proxy;
  }

  /** Runs a test; if it fails, the error tells what the proxies logged last. */
  async explain(test: (mesh: XdsMesh) => Promise<void>): Promise<void> {
    try {
      await test(this);
    } catch (cause) {
      const said = this.#proxies.map(({ ip, lines }) =>
        `${ip} said:\n${lines.slice(-LINES_TOLD).join("\n")}`
      );
      throw new Error([String(cause), ...said].join("\n"), { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }
}

export function readiness({ ip }: { readonly ip: string }): Promise<Told> {
  return get(`http://${ip}:${READINESS_PORT}/healthz/ready`);
}

/** A counter on the stats page; 0 before it counts. `sample` is its name with all labels. */
export async function counter({ ip }: ProxyProcess, sample: string): Promise<number> {
  const { text } = await get(`http://${ip}:${STATS_PORT}/metrics`);
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${sample} `));
  return line === undefined ? 0 : Number(line.slice(sample.length + 1));
}

export async function configDump({ ip }: ProxyProcess): Promise<Record<string, unknown>> {
  const { text } = await get(`http://${ip}:${ADMIN_PORT}/config_dump`);
  return JSON.parse(text);
}

async function get(url: string): Promise<Told> {
  const response = await fetch(url);
  return { status: response.status, text: await response.text() };
}
