// What the bench compares across a veth pair: the original proxy, ours, and nothing in between.
import { MeshCa } from "../support/mesh_ca.ts";
import { meshFileText, type TestWorkload } from "../support/mesh_file.ts";
import { ProxyProcess } from "../support/proxy_process.ts";
import { armEnvironment, DENO, NATIVE, NATIVE_SYSTEM } from "./arms.ts";
import { type Arm, type Chain, type Variant, VARIANT_ENV } from "./chain.ts";
import { descriptorsHardLimit } from "./environment.ts";
import { NamespacePair, PACKET_MARK } from "./namespace_pair.ts";
import { Background, run, ToolError, until } from "./processes.ts";
import { mappedOpenSslVersion } from "./tls_library.ts";
import type { Servers, Tools } from "./tools.ts";

const READY_WITHIN_MS = 20_000;
const READY_URL = "http://127.0.0.1:15021/healthz/ready";
const ADMIN_URL = "http://127.0.0.1:15000";
const SOCKS5 = "127.0.0.1:15080";

export const ORIGINAL = "original";
export const DIRECT = "direct";

/** What `--arms` calls them with `--peer`. */
export const NAMESPACE_ARMS: Readonly<Record<string, string>> = {
  original: ORIGINAL,
  native: NATIVE,
  "native-system": NATIVE_SYSTEM,
  deno: DENO,
  direct: DIRECT,
};
export const NAMESPACE_DEFAULT = ["original", "native", "deno", "direct"];

/** What the original says about itself. */
export interface Original {
  readonly path: string;
  readonly revision: string;
  readonly crypto: string;
}

/** Fields of what `ztunnel version` prints; null when it is something else. */
export function parseOriginalVersion(text: string): Omit<Original, "path"> | null {
  const field = (name: string) => new RegExp(`\\b${name}:"([^"]*)"`).exec(text)?.[1];
  const revision = field("GitRevision");
  const crypto = field("CryptoProvider");
  if (!text.startsWith("version.BuildInfo{") || revision === undefined) return null;
  return { revision, crypto: crypto ?? "unknown TLS" };
}

/** @throws {ToolError} when there is no such program, or it is no ztunnel. */
export async function originalAt(path: string): Promise<Original> {
  let text: string;
  try {
    text = await run([path, "version"], "a build of the original's source", { timeoutMs: 5_000 });
  } catch (error) {
    throw new ToolError(
      `--peer ${path} is no ztunnel: ${error instanceof Error ? error.message : error}`,
    );
  }
  const version = parseOriginalVersion(text);
  if (version === null) {
    throw new ToolError(
      `--peer ${path} is no ztunnel: \`version\` printed no build information, but ${
        JSON.stringify(text.slice(0, 80))
      }`,
    );
  }
  return { path, ...version };
}

export interface NamespaceParts {
  readonly tools: Tools;
  readonly original: Original;
  readonly runtimeFlags: readonly string[];
  /** Enter our native proxies by SOCKS5 instead of the redirect. */
  readonly socks: boolean;
}

export function namespaceArm(name: string, parts: NamespaceParts): Arm {
  return { name, start: (variant) => start(name, variant, parts) };
}

/** Namespaces, servers and proxies of one chain; all of it goes with the chain. */
async function start(name: string, variant: Variant, parts: NamespaceParts): Promise<Chain> {
  await using opened = new AsyncDisposableStack();
  const pair = opened.use(await NamespacePair.create());
  const servers = opened.use(await parts.tools.serve(pair.server));
  const proxies = name === DIRECT
    ? null
    : await startProxies(name, variant, { ...parts, opened, pair });
  // The runtime's own sockets cannot be marked, so that a redirect would catch the proxy's own tunnels.
  const redirected = name !== DIRECT && name !== DENO && !(parts.socks && name !== ORIGINAL);
  if (redirected) await pair.redirect();
  const openSsl = proxies === null ? null : mappedOpenSslVersion(proxies.outboundPid);
  const entered = redirected ? `REDIRECT, mark ${PACKET_MARK}` : "SOCKS5";
  const owned = opened.move();
  return {
    arm: name,
    entry: {
      within: pair.client,
      socks: redirected || name === DIRECT ? null : SOCKS5,
      targetIp: pair.serverIp,
      iperfPort: servers.iperfPort,
      echoPort: servers.echoPort,
    },
    proxies,
    roles: rolesOf(servers, proxies),
    facts: name === DIRECT
      ? "no proxy"
      : `${library(name, openSsl, parts.original)}; access log on; ${entered}`,
    openSsl,
    admin: (side, path) =>
      parts.tools.get(side === "outbound" ? pair.client : pair.server, `${ADMIN_URL}${path}`),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function library(name: string, openSsl: string | null, original: Original): string {
  if (openSsl !== null) return `OpenSSL ${openSsl}`;
  return name === ORIGINAL
    ? `${original.crypto}, revision ${original.revision.slice(0, 12)}`
    : "the runtime's TLS";
}

function rolesOf(servers: Servers, proxies: Chain["proxies"]): Map<number, string> {
  const roles = new Map(servers.roles);
  if (proxies !== null) {
    roles.set(proxies.outboundPid, "outbound").set(proxies.inboundPid, "inbound");
  }
  return roles;
}

interface StartParts extends NamespaceParts {
  readonly opened: AsyncDisposableStack;
  readonly pair: NamespacePair;
}

async function startProxies(
  name: string,
  variant: Variant,
  parts: StartParts,
): Promise<Chain["proxies"]> {
  const { opened, pair } = parts;
  const folder = await Deno.makeTempDir({ prefix: "bench-" });
  opened.defer(() => Deno.remove(folder, { recursive: true }));
  const [client, server] = [["client", pair.clientIp], ["server", pair.serverIp]].map(
    ([name, ip]) => ({ name: name!, namespace: "bench", serviceAccount: name!, ip: ip! }),
  );
  const meshFile = `${folder}/mesh.yaml`;
  await Deno.writeTextFile(meshFile, meshFileText({ workloads: [client!, server!] }));
  await (await MeshCa.create()).writeRoot(folder);
  const startOne = name === ORIGINAL ? startOriginal : startOurs;
  const options = { name, variant, meshFile, folder, ...parts };
  const inbound = opened.use(await startOne(server!, pair.server, options));
  const outbound = opened.use(await startOne(client!, pair.client, options));
  return { outboundPid: outbound.pid, inboundPid: inbound.pid };
}

interface OneProxy extends StartParts {
  readonly name: string;
  readonly variant: Variant;
  readonly meshFile: string;
  readonly folder: string;
}

/** What both kinds are told, in the same words. */
function sharedEnvironment(workload: TestWorkload, options: OneProxy): Record<string, string> {
  return {
    ...VARIANT_ENV[options.variant],
    PROXY_MODE: "dedicated",
    PROXY_WORKLOAD_INFO: `${workload.namespace}/${workload.name}/${workload.serviceAccount}`,
    LOCAL_XDS_PATH: options.meshFile,
    XDS_ADDRESS: "",
    FAKE_CA: "true",
    IPV6_ENABLED: "false",
    // The server's node has no route that would lead answers to a foreign source back to the proxy.
    ENABLE_ORIG_SRC: "false",
    RUST_LOG: "info",
  };
}

async function isReady(tools: Tools, within: readonly string[]): Promise<boolean> {
  try {
    await tools.get(within, READY_URL);
    return true;
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    return false;
  }
}

async function startOriginal(
  workload: TestWorkload,
  within: readonly string[],
  options: OneProxy,
): Promise<Background> {
  const process = new Background([...within, options.original.path, "proxy"], {
    clearEnv: true,
    env: {
      PATH: Deno.env.get("PATH") ?? "",
      ...sharedEnvironment(workload, options),
      PACKET_MARK: `${PACKET_MARK}`,
    },
    cwd: options.folder,
  });
  try {
    const limits = { withinMs: READY_WITHIN_MS, process };
    await until(`The original as ${workload.name}`, () => isReady(options.tools, within), limits);
  } catch (error) {
    await process[Symbol.asyncDispose]();
    throw error;
  }
  return process;
}

function startOurs(
  workload: TestWorkload,
  within: readonly string[],
  options: OneProxy,
): Promise<ProxyProcess> {
  return ProxyProcess.start({
    workload,
    meshFile: options.meshFile,
    caFolder: options.folder,
    env: {
      ...sharedEnvironment(workload, options),
      ...armEnvironment(options.name),
      ...(options.name === DENO ? {} : { PACKET_MARK: `${PACKET_MARK}` }),
      BIND_ADDRESS: undefined,
      LOG_FORMAT: "plain",
      DESCRIPTORS_MAX: descriptorsHardLimit(),
    },
    discardOutput: true,
    runtimeFlags: options.runtimeFlags,
    launcher: within,
    isReady: () => isReady(options.tools, within),
  });
}
