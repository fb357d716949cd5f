// Two proxy processes on the native network under fire, and a bystander whose bytes cross both meanwhile.
import { assert, assertEquals } from "@std/assert";
import { serveEcho } from "../support/echo_server.ts";
import { loopbackBlock } from "../support/loopback.ts";
import { MeshCa, type TestLeaf } from "../support/mesh_ca.ts";
import { meshFileText } from "../support/mesh_file.ts";
import { openDescriptors, residentBytes } from "../support/process_stats.ts";
import { ProxyProcess } from "../support/proxy_process.ts";
import { connectSocks5, readExactly, writeAll } from "../support/socks5.ts";
import { within } from "./within.ts";

/** An echo of the bystander's takes longer only where something hangs. */
const ECHO_MS_MAX = 5_000;
const ECHO_BYTES_MAX = 16_384;
const PAUSE_MS = 10;

export interface FuzzedPair extends AsyncDisposable {
  /** Takes SOCKS5, and dials the hostile peers. */
  readonly outbound: ProxyProcess;
  /** Guards the echo application. */
  readonly inbound: ProxyProcess;
  readonly app: { readonly ip: string; readonly port: number };
  /** Addresses of HBONE workloads on which nobody listens yet. */
  readonly hostileIps: readonly string[];
  /** What a good client and a hostile workload show. */
  readonly clientLeaf: TestLeaf;
  readonly hostileLeaf: TestLeaf;
}

const NAMESPACE = "test";

/** Starts both. @param hostileCount Workloads that the fuzzer plays. */
export async function startFuzzedPair(hostileCount: number): Promise<FuzzedPair> {
  const block = loopbackBlock();
  await using opened = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "native-fuzz-" });
  opened.defer(() => Deno.remove(folder, { recursive: true }));
  const workload = (name: string, ip: string) => ({
    name,
    namespace: NAMESPACE,
    serviceAccount: name.replace(/-\d+$/, ""),
    ip,
  });
  const client = workload("client", `${block}.1`);
  const server = workload("server", `${block}.2`);
  const hostile = Array.from(
    { length: hostileCount },
    (_, at) => workload(`hostile-${at}`, `${block}.${10 + at}`),
  );
  const meshFile = `${folder}/mesh.yaml`;
  await Deno.writeTextFile(meshFile, meshFileText({ workloads: [client, server, ...hostile] }));
  const ca = await MeshCa.create();
  await ca.writeRoot(folder);
  const leaf = (account: string) =>
    ca.issue({ uris: [`spiffe://cluster.local/ns/${NAMESPACE}/sa/${account}`] });
  const options = {
    meshFile,
    caFolder: folder,
    env: {
      IO_PROVIDER: "native",
      OPENSSL_LIB_DIR: Deno.env.get("OPENSSL_LIB_DIR"),
      RUST_LOG: "warn",
      POOL_UNUSED_RELEASE_TIMEOUT: "1s",
      POOL_MAX_STREAMS_PER_CONNECTION: "2",
    },
  };
  const inbound = opened.use(await ProxyProcess.start({ ...options, workload: server }));
  const outbound = opened.use(await ProxyProcess.start({ ...options, workload: client }));
  const echo = opened.use(serveEcho(server.ip));
  const owned = opened.move();
  return {
    outbound,
    inbound,
    app: { ip: server.ip, port: echo.port },
    hostileIps: hostile.map(({ ip }) => ip),
    clientLeaf: await leaf("client"),
    hostileLeaf: await leaf("hostile"),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What a process says of itself from outside. */
export interface Vitals {
  readonly descriptors: number;
  readonly residentBytes: number;
}

/** @throws where the process is gone. */
export function vitalsOf({ pid }: ProxyProcess): Vitals {
  const descriptors = openDescriptors(pid);
  assert(descriptors > 0, `process ${pid} is gone`);
  return { descriptors, residentBytes: residentBytes(pid) };
}

/** Echoes through both proxies without a pause until it is disposed of; then tells what went wrong. */
export class Bystander implements AsyncDisposable {
  echoes = 0;
  slowestMs = 0;
  failure: unknown = null;
  #over = false;
  readonly #running: Promise<void>;

  private constructor(connection: Deno.TcpConn) {
    this.#running = this.#run(connection).catch((error) => {
      this.failure = error;
    }).finally(() => connection.close());
  }

  static async start({ outbound, app }: FuzzedPair): Promise<Bystander> {
    return new Bystander(await connectSocks5(outbound.ip, app));
  }

  async #run(connection: Deno.TcpConn): Promise<void> {
    while (!this.#over) {
      const bytes = crypto.getRandomValues(
        new Uint8Array(1 + Math.floor(Math.random() * ECHO_BYTES_MAX)),
      );
      const startMs = performance.now();
      const [got] = await within(
        Promise.all([readExactly(connection, bytes.length), writeAll(connection, bytes)]),
        ECHO_MS_MAX,
      );
      assertEquals(got, bytes, "the bystander's bytes changed");
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs);
      this.echoes++;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    await this.#running;
  }
}

/** Lines that a program without faults never logs. */
const FAULT =
  /\bbug\b|panic|uncaught|left native objects behind|data plane is gone|AssertionError/i;

/** Takes what the proxy has said so far, and gives the lines that show a fault of ours. */
export function takeFaults({ lines }: ProxyProcess): string[] {
  return lines.splice(0).filter((line) => FAULT.test(line));
}
