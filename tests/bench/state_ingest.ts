// One proxy process takes the whole mesh from a control plane: how soon it is ready, and what that costs.
import { cpuSeconds, residentBytes } from "../support/process_stats.ts";
import { MeshCa } from "../support/mesh_ca.ts";
import { loopbackBlock } from "../support/loopback.ts";
import { LineProcess } from "./line_process.ts";
import { type Pauses, PauseWatch } from "./pause_watch.ts";
import { CALLER, WORKLOADS } from "./state_mesh.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SERVER = new URL("./state_server.ts", import.meta.url).pathname;
const PROBE = new URL("./state_probe.ts", import.meta.url).pathname;

/** A process that was just started still compiles and collects. */
const START_SETTLED_MS = 2_000;
const END_SETTLED_MS = 3_000;
/** What ingestion leaves behind is collected then. */
const AFTERMATH_MS = 500;

export interface IngestFigures {
  readonly readyMs: number;
  readonly cpuMs: number;
  /** Of the process's whole life until it was ready; less what it does while it waits to be answered. */
  readonly cpuAllMs: number;
  readonly rssPerWorkloadKb: number;
  readonly rssAllMb: number;
}

export interface PauseFigures {
  readonly proxy: Pauses;
  /** Of this process meanwhile, which only waits: what others on the machine do to whoever needs a processor. */
  readonly bystander: Pauses;
}

export interface IngestOptions {
  /** A binary of the original; ours otherwise. */
  readonly original?: string;
  /** Put before every command: a network namespace of its own. */
  readonly within?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly runtimeFlags?: readonly string[];
}

/** Takes the mesh in and ends. */
export async function measureIngest(options: IngestOptions): Promise<IngestFigures> {
  await using opened = new AsyncDisposableStack();
  const { server, proxy } = await startBoth(options, opened);
  const cpuStart = cpuSeconds(proxy.pid);
  const rssStart = residentBytes(proxy.pid);
  const readyMs = await answer(server, proxy);
  const cpuEnd = cpuSeconds(proxy.pid);
  await delay(END_SETTLED_MS);
  const rssEnd = residentBytes(proxy.pid);
  return {
    readyMs,
    cpuMs: (cpuEnd - cpuStart) * 1000,
    cpuAllMs: cpuEnd * 1000,
    rssPerWorkloadKb: (rssEnd - rssStart) / 1024 / WORKLOADS,
    rssAllMb: rssEnd / 1024 / 1024,
  };
}

/** The same, looked at from inside: its own loop's pauses until it is ready and half a second after. Ours only. */
export async function measurePauses(options: IngestOptions): Promise<PauseFigures> {
  await using opened = new AsyncDisposableStack();
  const runtimeFlags = [...options.runtimeFlags ?? [], "--preload", PROBE];
  const { server, proxy } = await startBoth({ ...options, runtimeFlags }, opened);
  using watch = new PauseWatch();
  await takePauses(proxy);
  watch.take();
  await answer(server, proxy);
  await delay(AFTERMATH_MS);
  const bystander = watch.take();
  return { proxy: await takePauses(proxy), bystander };
}

/** Since the last time. */
async function takePauses(proxy: LineProcess): Promise<Pauses> {
  const before = proxy.lines.length;
  proxy.signal("SIGUSR2");
  let seen = 0;
  return await proxy.line((line) => {
    if (seen++ < before || !line.startsWith('{"pauses"')) return null;
    return (JSON.parse(line) as { pauses: Pauses }).pauses;
  });
}

async function startBoth(options: IngestOptions, opened: AsyncDisposableStack) {
  const folder = await Deno.makeTempDir({ prefix: "bench-state-" });
  opened.defer(() => Deno.remove(folder, { recursive: true }));
  const within = options.within ?? [];
  const tls = options.original === undefined ? [] : ["--tls", folder];
  const server = opened.use(
    new LineProcess({
      command: [...within, Deno.execPath(), "run", "--quiet", "-A", SERVER, ...tls],
    }),
  );
  const address = await server.told<string>("address");
  const start = options.original === undefined ? startOurs : startOriginal;
  const proxy = opened.use(await start(options, { address, folder, within }));
  await server.told("asked");
  await delay(START_SETTLED_MS);
  return { server, proxy };
}

/** Lets the control plane answer; milliseconds from the first octet of that to readiness, by the log's own times. */
async function answer(server: LineProcess, proxy: LineProcess): Promise<number> {
  await server.tell("answer");
  const firstByteMs = await server.told<number>("firstByteMs");
  const readyAtMs = await proxy.line((line) => {
    if (!line.includes("marking server ready")) return null;
    const time = /"time":"([^"]+)"/.exec(line)?.[1];
    return time === undefined ? null : epochMs(time);
  });
  return readyAtMs - firstByteMs;
}

/** With microseconds, which `Date` drops. */
function epochMs(time: string): number {
  const fraction = /\.\d{3}(\d+)/.exec(time)?.[1] ?? "";
  return Date.parse(time) + Number(`0.${fraction || "0"}`);
}

interface StartParts {
  readonly address: string;
  readonly folder: string;
  readonly within: readonly string[];
}

/** What both are told, in the same words. */
function environment({ address }: StartParts): Record<string, string> {
  return {
    XDS_ADDRESS: address,
    FAKE_CA: "true",
    PROXY_MODE: "dedicated",
    PROXY_WORKLOAD_INFO: `${CALLER.namespace}/${CALLER.name}/${CALLER.serviceAccount}`,
    IPV6_ENABLED: "false",
    RUST_LOG: "info",
    LOG_FORMAT: "json",
  };
}

async function startOurs(options: IngestOptions, parts: StartParts): Promise<LineProcess> {
  await (await MeshCa.create()).writeRoot(parts.folder);
  return new LineProcess({
    command: [
      ...[...parts.within, Deno.execPath(), "run", "--quiet", "--no-prompt", "-A"],
      ...[...options.runtimeFlags ?? [], "mod.ts", "proxy"],
    ],
    cwd: ROOT,
    env: {
      ...environment(parts),
      DENO_TLS_CA_STORE: "",
      FAKE_CA_DIR: parts.folder,
      BIND_ADDRESS: `${loopbackBlock()}.1`,
      ...options.env,
    },
  });
}

function startOriginal(options: IngestOptions, parts: StartParts): Promise<LineProcess> {
  return Promise.resolve(
    new LineProcess({
      command: [...parts.within, options.original!, "proxy"],
      cwd: parts.folder,
      env: { ...environment(parts), XDS_ROOT_CA: `${parts.folder}/xds-root.pem` },
    }),
  );
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
