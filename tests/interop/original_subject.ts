// One proxy under comparison, ours or a binary built elsewhere, with a control plane of its own: in the network namespace
// of this process, so that both can have the same addresses and ports.
import { ProxyProcess } from "../support/proxy_process.ts";
import { MeshCa } from "../support/mesh_ca.ts";
import { until } from "../support/real_sockets.ts";
import { XdsServer } from "../support/xds_server.ts";
import { OriginalCa } from "./original_ca.ts";

const CONTROL_PLANE_IP = "127.0.0.250";
const WITHIN_MS = 20_000;

export interface SubjectOptions {
  /** The binary; null runs ours. */
  readonly binary: string | null;
  readonly env: Readonly<Record<string, string>>;
  /** `namespace/name/service account`. */
  readonly workload: string;
  /** False: it is returned as soon as it asks for its mesh. */
  readonly waitReady?: boolean;
  readonly prepare?: (server: XdsServer) => void;
}

/** What both have: a process whose log is read. */
export interface Subject extends AsyncDisposable {
  readonly server: XdsServer;
  readonly ca: MeshCa;
  readonly folder: string;
  readonly lines: readonly string[];
  /** Waits for its readiness; milliseconds since its start. */
  ready(): Promise<number>;
}

export async function startSubject(options: SubjectOptions): Promise<Subject> {
  await using opening = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "original-" });
  opening.defer(() => Deno.remove(folder, { recursive: true }));
  const ca = await MeshCa.create();
  await ca.writeRoot(folder);
  const leaf = await ca.issue({ uris: [], ips: [CONTROL_PLANE_IP] });
  const server = opening.use(await XdsServer.start({ ip: CONTROL_PLANE_IP, tls: leaf }));
  options.prepare?.(server);
  const authority = opening.use(await OriginalCa.start(folder, CONTROL_PLANE_IP, leaf));
  const env = {
    XDS_ADDRESS: server.address,
    XDS_ROOT_CA: `${folder}/root-cert.pem`,
    ENABLE_ORIG_SRC: "false",
    ISTIO_META_DNS_CAPTURE: "false",
    PROXY_MODE: "dedicated",
    PROXY_WORKLOAD_INFO: options.workload,
    UNSTABLE_ENABLE_SOCKS5: "true",
    LOG_FORMAT: "json",
    RUST_LOG: "info,ztunnel::xds=debug,xds=debug,access=debug",
    ...options.env,
  };
  const startedMs = performance.now();
  let lines: readonly string[];
  if (options.binary === null) {
    const [namespace = "", name = "", serviceAccount = ""] = options.workload.split("/");
    const proxy = opening.use(
      await ProxyProcess.start({
        workload: { name, namespace, serviceAccount, ip: "127.0.0.1" },
        meshFile: null,
        caFolder: folder,
        env: { IPV6_ENABLED: undefined, BIND_ADDRESS: undefined, IO_PROVIDER: "native", ...env },
        isReady: () => Promise.resolve(true),
      }),
    );
    lines = proxy.lines;
  } else {
    const binary = opening.use(
      new Binary(options.binary, {
        CA_ADDRESS: authority.address,
        CA_ROOT_CA: `${folder}/root-cert.pem`,
        ...env,
      }),
    );
    lines = binary.lines;
  }
  const ready = async () => {
    while (!await isReady()) {
      if (performance.now() - startedMs > WITHIN_MS) {
        throw new Error(`Not ready:\n${lines.slice(-30).join("\n")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return performance.now() - startedMs;
  };
  if (options.waitReady === false) await until(() => server.streams.length > 0, WITHIN_MS);
  else await ready();
  const opened = opening.move();
  return {
    server,
    ca,
    folder,
    lines,
    ready,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

async function isReady(): Promise<boolean> {
  try {
    const response = await fetch("http://127.0.0.1:15021/healthz/ready");
    await response.body?.cancel();
    return response.status === 200;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // Not listening yet.
    return false;
  }
}

/** A process of the binary. */
class Binary implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;

  constructor(path: string, env: Readonly<Record<string, string>>) {
    this.#child = new Deno.Command(path, {
      clearEnv: true,
      env: { PATH: Deno.env.get("PATH") ?? "", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = Promise.all(
      [this.#child.stdout, this.#child.stderr].map((stream) => this.#read(stream)),
    );
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop()!;
      this.lines.push(...parts);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended already.
    }
    await this.#child.status;
    await this.#reading;
  }
}
