// What the bench compares on loopback: chains of two processes, entered by SOCKS5, each on addresses of its own.
import { loopbackBlock } from "../support/loopback.ts";
import { MeshCa } from "../support/mesh_ca.ts";
import { startProxyPair } from "../support/proxy_pair.ts";
import { type Arm, type Chain, type Entry, type Variant, VARIANT_ENV } from "./chain.ts";
import { descriptorsHardLimit, nativeEnvironment } from "./environment.ts";
import { Background, ToolError, until } from "./processes.ts";
import { mappedOpenSslVersion } from "./tls_library.ts";
import type { Servers, Tools } from "./tools.ts";

const HBONE_PORT = 15008;
const SOCKS5_PORT = 15080;
const ADMIN_PORT = 15000;
const LISTENING_WITHIN_MS = 10_000;

/** Ours with the default dialer of the runtime's own sockets. */
export const DENO = "deno";
export const NATIVE = "native";
/** Ours, native, with the system's OpenSSL, whatever `OPENSSL_LIB_DIR` says. */
export const NATIVE_SYSTEM = "native, system OpenSSL";
export const CONNECT_TLS = "deno, connectTls dialer";
export const NODE_HTTP2 = "node:http2";

/** What `--arms` calls them. */
export const LOOPBACK_ARMS: Readonly<Record<string, string>> = {
  http2: NODE_HTTP2,
  deno: DENO,
  "deno-dialer": CONNECT_TLS,
  native: NATIVE,
  "native-system": NATIVE_SYSTEM,
};
export const LOOPBACK_DEFAULT = ["deno", "native"];

/** The environment of a proxy of ours that makes it this arm. */
export function armEnvironment(name: string): Record<string, string> {
  switch (name) {
    case DENO:
      return {};
    case CONNECT_TLS:
      return { TUNNEL_DIALER: "deno" };
    default:
      return nativeEnvironment({ systemOpenSsl: name === NATIVE_SYSTEM });
  }
}

export function loopbackArm(
  name: string,
  parts: {
    readonly tools: Tools;
    readonly servers: Servers;
    /** Flags of the runtime for each process of ours, as `--cpu-prof`. */
    readonly runtimeFlags: readonly string[];
  },
): Arm {
  if (name === NODE_HTTP2) return { name, start: (variant) => startNodeHttp2(variant, parts) };
  return { name, start: (variant) => startOurs(name, variant, parts) };
}

type Parts = Parameters<typeof loopbackArm>[1];

function entryOf(socksIp: string, targetIp: string, { servers }: Parts): Entry {
  const { iperfPort, echoPort } = servers;
  return { within: [], socks: `${socksIp}:${SOCKS5_PORT}`, targetIp, iperfPort, echoPort };
}

async function startOurs(name: string, variant: Variant, parts: Parts): Promise<Chain> {
  const pair = await startProxyPair({
    env: {
      ...VARIANT_ENV[variant],
      ...armEnvironment(name),
      DESCRIPTORS_MAX: descriptorsHardLimit(),
    },
    discardOutput: true,
    runtimeFlags: parts.runtimeFlags,
  });
  const { outbound, inbound } = pair;
  const openSsl = mappedOpenSslVersion(outbound.pid);
  return {
    arm: name,
    entry: entryOf(outbound.ip, inbound.ip, parts),
    proxies: { outboundPid: outbound.pid, inboundPid: inbound.pid },
    roles: new Map([
      ...parts.servers.roles,
      [outbound.pid, "outbound"],
      [inbound.pid, "inbound"],
    ]),
    facts: `${openSsl === null ? "the runtime's TLS" : `OpenSSL ${openSsl}`}; access log on`,
    openSsl,
    admin: (side, path) =>
      parts.tools.get(
        [],
        `http://${(side === "outbound" ? outbound : inbound).ip}:${ADMIN_PORT}${path}`,
      ),
    [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
  };
}

async function startNodeHttp2(variant: Variant, parts: Parts): Promise<Chain> {
  if (variant === "unpooled") throw new ToolError(`${NODE_HTTP2} has one tunnel for all`);
  const block = loopbackBlock();
  const folder = await Deno.makeTempDir({ prefix: "bench-" });
  await using opened = new AsyncDisposableStack();
  opened.defer(() => Deno.remove(folder, { recursive: true }));
  const ca = await MeshCa.create();
  const start = async (role: "inbound" | "outbound", ip: string, more: string[]) => {
    const leaf = await ca.writeLeaf(folder, { namespace: "bench", serviceAccount: role });
    const program = new URL("node_http2_chain.ts", import.meta.url).pathname;
    const args = ["run", "-A", "--quiet", program, role, ip, leaf.cert, leaf.key, leaf.root];
    const process = opened.use(new Background([Deno.execPath(), ...args, ...more]));
    const port = role === "inbound" ? HBONE_PORT : SOCKS5_PORT;
    const options = { withinMs: LISTENING_WITHIN_MS, process };
    await until(`${NODE_HTTP2} on ${ip}:${port}`, () => listens(ip, port), options);
    return process.pid;
  };
  const inboundPid = await start("inbound", `${block}.2`, []);
  const outboundPid = await start("outbound", `${block}.1`, [`${block}.2`]);
  const owned = opened.move();
  return {
    arm: NODE_HTTP2,
    entry: entryOf(`${block}.1`, `${block}.2`, parts),
    proxies: { outboundPid, inboundPid },
    roles: new Map([...parts.servers.roles, [outboundPid, "outbound"], [inboundPid, "inbound"]]),
    facts: "the runtime's TLS; no access log",
    openSsl: null,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function listens(hostname: string, port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname, port })).close();
    return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    return false;
  }
}
