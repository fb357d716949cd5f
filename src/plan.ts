// What a process will open, decided before anything opens: proxies, in-process workloads, HTTP ports.
import { assert } from "./base/assert.ts";
import { formatAddress, isIpv6, type SocketAddress } from "./base/address.ts";
import { type Config, type ControlServer, PORTS } from "./config/config.ts";
import type { DataPlaneListeners } from "./dataplane.ts";
import { folderOf } from "./file_watch.ts";
import { hostLookupNeeds } from "./host_lookup.ts";
import type { Need } from "./permissions.ts";
import { workerSources } from "./planes.ts";
import type { LocalWorkloadName } from "./seam/workload.ts";
import type { MeshFile } from "./state/mesh_file.ts";
import { SYSTEM_ROOT_PATHS } from "./xds/trust_roots.ts";

/** One proxy: whose it is and where it listens. */
export interface ProxyPlan {
  readonly local: LocalWorkloadName;
  readonly listeners: DataPlaneListeners;
  /** Where its connections start from; null for the kernel's choice. */
  readonly bindIp: string | null;
}

/** A small application in this process, to have somebody to talk to (local mode). */
export interface WorkloadPlan {
  readonly name: string;
  readonly address: SocketAddress;
}

export interface Plan {
  readonly config: Config;
  /** Listening descriptors that whoever started the process handed over. */
  readonly inheritedFds: readonly number[];
  readonly mesh: MeshFile;
  readonly proxies: readonly ProxyPlan[];
  readonly workloads: readonly WorkloadPlan[];
  readonly admin: readonly SocketAddress[];
  readonly stats: readonly SocketAddress[];
  readonly readiness: readonly SocketAddress[];
  /** Where this process connects to, as far as the mesh says. */
  readonly dials: readonly SocketAddress[];
  /** Printed once everything is ready, a line each. */
  readonly banner: readonly string[];
}

/** The admin ports of a process (spec/config-and-observability §3). */
export function httpPorts({ listeners }: Config): Pick<Plan, "admin" | "stats" | "readiness"> {
  return { admin: listeners.admin, stats: [listeners.stats], readiness: [listeners.readiness] };
}

/**
 * Dedicated mode: one proxy for the workload that `PROXY_WORKLOAD_INFO` names. The captured ports open where the
 * network learns where a connection wanted to go: always with `native`, on inherited listeners with `deno`.
 * @param inheritedFds Listeners handed over.
 */
export function planDedicated(
  config: Config,
  mesh: MeshFile,
  inheritedFds: readonly number[] = [],
): Plan {
  const { workload: local } = config;
  assert(local !== null, "Dedicated mode has a workload");
  const { inbound, inboundPlaintext, outbound, socks5 } = config.listeners;
  const isWildcard = inbound.ip === "::" || inbound.ip === "0.0.0.0";
  const captures = config.native !== null || inheritedFds.length > 0;
  const listeners: DataPlaneListeners = {
    inbound,
    ...(captures ? { inboundPlaintext, outbound } : {}),
    ...(socks5 === null ? {} : { socks5 }),
  };
  return {
    config,
    inheritedFds,
    mesh,
    proxies: [{ local, listeners, bindIp: isWildcard ? null : inbound.ip }],
    workloads: [],
    ...httpPorts(config),
    dials: dialsOf(mesh, [local], config),
    banner: [],
  };
}

/**
 * Where proxies of `locals` connect to by the mesh: peers' HBONE ports, TCP workloads, and the local
 * workloads' own applications, on the target ports that services name.
 */
export function dialsOf(
  mesh: MeshFile,
  locals: readonly LocalWorkloadName[],
  config: Config,
): SocketAddress[] {
  const found = new Map<string, SocketAddress>();
  const add = (ip: string, port: number) => found.set(formatAddress({ ip, port }), { ip, port });
  for (const workload of mesh.workloads) {
    const isLocal = locals.some(({ namespace, name }) =>
      namespace === workload.namespace && name === workload.name
    );
    for (const ip of workload.ips) {
      if (isIpv6(ip) && !config.ipv6Enabled) continue;
      if (workload.protocol === "HBONE") add(ip, PORTS.inbound);
      if (workload.protocol === "HBONE" && !isLocal) continue;
      for (const ports of workload.services.values()) {
        for (const port of ports.values()) if (port !== 0) add(ip, port);
      }
    }
  }
  return [...found.values()];
}

/** Whether connections may go to workloads known by name alone: the mesh says so, or may say so at any time. */
export function looksUpHosts({ config, mesh }: Plan): boolean {
  return config.xds !== null ||
    mesh.workloads.some(({ hostname, ips }) => hostname !== "" && ips.length === 0);
}

/** What the native network needs from the runtime's sandbox. */
export function nativeNeeds(): Need[] {
  return [
    {
      kind: "ffi",
      what: null,
      why: "call libc and OpenSSL, whose callbacks need more than a list (IO_PROVIDER=native)",
    },
    { kind: "read", what: workerSources(), why: "start the data plane's worker" },
  ];
}

/** Everything the plan needs from the runtime's sandbox, each with its reason. */
export function needsOf(plan: Plan): Need[] {
  const needs = new Map<string, Need>();
  const net = (address: SocketAddress, why: string) => {
    const what = formatAddress(address);
    if (!needs.has(what)) needs.set(what, { kind: "net", what, why });
  };
  const { native } = plan.config;
  if (native !== null) { for (const need of nativeNeeds()) needs.set(need.kind, need); }
  // Descriptors that libc opens, or that were handed over, are not the sandbox's business.
  const proxies = native === null ? plan.proxies : [];
  for (const { local, listeners, bindIp } of proxies) {
    const of = `of ${local.namespace}/${local.name}`;
    const { inbound, socks5 } = listeners;
    if (bindIp !== null) {
      net(
        { ip: bindIp, port: 0 },
        `connect from its own address, at any port, for the proxy ${of}`,
      );
    }
    // Which listeners were handed over is known when they are open; what is missing then says so itself.
    if (plan.inheritedFds.length > 0) continue;
    if (inbound !== undefined) net(inbound, `accept HBONE for the proxy ${of}`);
    if (socks5 !== undefined) net(socks5, `accept SOCKS5 clients in the name ${of}`);
  }
  for (const { name, address } of plan.workloads) net(address, `serve the workload ${name}`);
  for (const address of plan.readiness) net(address, "answer readiness probes");
  for (const address of plan.admin) net(address, "serve the admin endpoints");
  for (const address of plan.stats) net(address, "serve metrics");
  if (native === null) {
    for (const address of plan.dials) net(address, "connect to workloads of the mesh");
  }
  for (const need of controlPlaneNeeds(plan)) needs.set(`${need.kind} ${need.what}`, need);
  if (looksUpHosts(plan)) {
    for (const need of hostLookupNeeds()) needs.set(`read ${need.what}`, need);
  }
  const { crlPath } = plan.config;
  if (crlPath !== null) {
    const folder = folderOf(crlPath);
    const why = "follow the revocation lists of CRL_PATH, which is replaced in its folder";
    needs.set(`read ${folder}`, { kind: "read", what: folder, why });
  }
  const directory = plan.config.fakeCa?.directory ?? null;
  if (directory !== null) {
    const why = "share the trust root of FAKE_CA_DIR with other processes";
    needs.set(`read ${directory}`, { kind: "read", what: directory, why });
    needs.set(`write ${directory}`, { kind: "write", what: directory, why });
  }
  return [...needs.values()];
}

/** To ask the control plane for the mesh and for certificates, as who we are, and to believe it is the control plane. */
function controlPlaneNeeds({ config: { xds, ca } }: Plan): Need[] {
  return [
    ...(xds === null ? [] : serverNeeds(xds, "ask the control plane for the mesh")),
    ...(ca === null ? [] : serverNeeds(ca, "ask the CA for certificates")),
  ];
}

function serverNeeds({ address, root, token }: ControlServer, why: string): Need[] {
  const { protocol, hostname, port } = new URL(address);
  const what = `${hostname}:${port || (protocol === "http:" ? 80 : 443)}`;
  const needs: Need[] = [{ kind: "net", what, why }];
  const paths = root.kind === "file"
    ? [root.path]
    : root.kind === "system"
    ? SYSTEM_ROOT_PATHS
    : [];
  for (const path of paths) {
    needs.push({ kind: "read", what: path, why: "know the control plane by its root" });
  }
  if (token?.kind === "file") {
    needs.push({ kind: "read", what: token.path, why: "tell the control plane who asks" });
  }
  return needs;
}
