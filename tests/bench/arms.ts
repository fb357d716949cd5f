// What the bench compares: chains of two processes, entered by SOCKS5, each on loopback addresses of its own.
import { loopbackBlock } from "../support/loopback.ts";
import { MeshCa } from "../support/mesh_ca.ts";
import { startProxyPair } from "../support/proxy_pair.ts";

const HBONE_PORT = 15008;
const SOCKS5_PORT = 15080;
const LISTENING_WITHIN_MS = 10_000;

export type ArmName = "node:http2" | "ours, node dialer" | "ours, deno dialer";

export const BASELINE = "node:http2" satisfies ArmName;
export const DEFAULT_ARM = "ours, node dialer" satisfies ArmName;
export const ARM_NAMES: readonly ArmName[] = [BASELINE, DEFAULT_ARM, "ours, deno dialer"];

/** A running chain. The servers behind it listen on every loopback address; `targetIp` leads through it. */
export interface Arm extends AsyncDisposable {
  readonly name: ArmName;
  readonly socksIp: string;
  readonly targetIp: string;
  readonly outboundPid: number;
  readonly inboundPid: number;
}

export interface ArmOptions {
  /** Flags of the runtime for each process of ours, as `--cpu-prof`. */
  readonly runtimeFlags?: readonly string[];
}

/** Starts a chain and waits until it listens. */
export function startArm(name: ArmName, options: ArmOptions = {}): Promise<Arm> {
  if (name === BASELINE) return startNodeHttp2();
  return startOurs(name, name === DEFAULT_ARM ? "node" : "deno", options);
}

async function startOurs(name: ArmName, dialer: string, options: ArmOptions): Promise<Arm> {
  const pair = await startProxyPair({
    env: { TUNNEL_DIALER: dialer },
    discardOutput: true,
    runtimeFlags: options.runtimeFlags ?? [],
  });
  return {
    name,
    socksIp: pair.outbound.ip,
    targetIp: pair.inbound.ip,
    outboundPid: pair.outbound.pid,
    inboundPid: pair.inbound.pid,
    [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
  };
}

async function startNodeHttp2(): Promise<Arm> {
  const block = loopbackBlock();
  const folder = await Deno.makeTempDir({ prefix: "bench-" });
  await using opened = new AsyncDisposableStack();
  opened.defer(() => Deno.remove(folder, { recursive: true }));
  const ca = await MeshCa.create();
  const start = async (role: "inbound" | "outbound", ip: string, more: string[]) => {
    const leaf = await ca.writeLeaf(folder, { namespace: "bench", serviceAccount: role });
    const program = new URL("node_http2_chain.ts", import.meta.url).pathname;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", program, role, ip, leaf.cert, leaf.key, leaf.root, ...more],
      stdin: "null",
      stdout: "null",
    }).spawn();
    opened.defer(async () => {
      try {
        child.kill("SIGTERM");
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // TypeError: it has ended already.
      }
      await child.status;
    });
    await untilListening(ip, role === "inbound" ? HBONE_PORT : SOCKS5_PORT);
    return child.pid;
  };
  const inboundPid = await start("inbound", `${block}.2`, []);
  const outboundPid = await start("outbound", `${block}.1`, [`${block}.2`]);
  const owned = opened.move();
  return {
    name: BASELINE,
    socksIp: `${block}.1`,
    targetIp: `${block}.2`,
    outboundPid,
    inboundPid,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function untilListening(hostname: string, port: number): Promise<void> {
  const deadline = performance.now() + LISTENING_WITHIN_MS;
  for (;;) {
    try {
      (await Deno.connect({ hostname, port })).close();
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      if (performance.now() > deadline) throw new Error(`Nothing listens on ${hostname}:${port}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
