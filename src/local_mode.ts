// Local mode (design §1): one proxy for each HBONE workload of the mesh file, and something to talk to.
import { assert } from "./base/assert.ts";
import { formatAddress, isLoopback, type SocketAddress } from "./base/address.ts";
import { ProxyError } from "./base/errors.ts";
import { type Config, PORTS } from "./config/config.ts";
import { dialsOf, httpPorts, type Plan, type WorkloadPlan } from "./plan.ts";
import { judge } from "./rbac/judge.ts";
import type { LocalWorkloadName } from "./seam/workload.ts";
import type { MeshFile } from "./state/mesh_file.ts";
import { MeshState, workloadIdentity } from "./state/mesh_state.ts";
import type { Workload } from "./state/resources.ts";

/** What the environment says unless it says otherwise, so that `task start` needs no variable. */
export const LOCAL_MODE_ENVIRONMENT: Readonly<Record<string, string>> = {
  PROXY_MODE: "dedicated",
  PROXY_WORKLOAD_INFO: "default/client/client",
  LOCAL_XDS_PATH: "examples/local.yaml",
  XDS_ADDRESS: "",
  FAKE_CA: "true",
  UNSTABLE_ENABLE_SOCKS5: "true",
  IPV6_ENABLED: "false",
  BIND_ADDRESS: "127.0.0.1",
  ENABLE_ORIG_SRC: "false",
  ISTIO_META_DNS_CAPTURE: "false",
};

/** The mesh cannot be run on one machine's loopback. */
export class LocalModeError extends ProxyError {
  readonly code = "LOCAL_MODE";
}

/**
 * One proxy for each HBONE workload, each on its own loopback address; SOCKS5 speaks for `PROXY_WORKLOAD_INFO`.
 * @throws {LocalModeError} if the mesh has addresses that are not loopback, or lacks the caller.
 */
export function planLocal(config: Config, mesh: MeshFile): Plan {
  const { workload: wanted } = config;
  assert(wanted !== null, "Local mode is dedicated");
  const caller = mesh.workloads.find((workload) => sameWorkload(workload, wanted));
  const asked = `${wanted.namespace}/${wanted.name}/${wanted.serviceAccount}`;
  if (caller === undefined || caller.protocol !== "HBONE") {
    throw new LocalModeError(
      `invalid configuration: PROXY_WORKLOAD_INFO is ${asked}, but the mesh has no such HBONE workload`,
    );
  }
  const proxied = mesh.workloads.filter(({ protocol }) => protocol === "HBONE");
  const socks5 = socksAddress(config);
  return {
    config,
    inheritedFds: [],
    mesh,
    proxies: proxied.map((workload) => ({
      local: localName(workload),
      listeners: {
        inbound: { ip: loopbackOf(workload), port: PORTS.inbound },
        ...(workload === caller ? { socks5 } : {}),
      },
      bindIp: loopbackOf(workload),
    })),
    workloads: applications(mesh),
    ...httpPorts(config),
    dials: dialsOf(mesh, proxied.map(localName), config),
    banner: banner({ config, mesh, caller, proxies: proxied.length }),
  };
}

/** Local mode has no other way in, so it is open whatever the configuration says of SOCKS5. */
function socksAddress({ listeners }: Config): SocketAddress {
  return listeners.socks5 ?? { ip: "127.0.0.1", port: PORTS.socks5 };
}

function sameWorkload(workload: Workload, name: LocalWorkloadName): boolean {
  return workload.namespace === name.namespace && workload.name === name.name &&
    workload.serviceAccount === name.serviceAccount;
}

function localName({ namespace, name, serviceAccount }: Workload): LocalWorkloadName {
  return { namespace, name, serviceAccount };
}

function loopbackOf(workload: Workload): string {
  const [ip] = workload.ips;
  if (ip === undefined || !isLoopback(ip)) {
    throw new LocalModeError(
      `invalid configuration: local mode needs loopback addresses, but workload ` +
        `${workload.namespace}/${workload.name} has ${ip ?? "none"}`,
    );
  }
  return ip;
}

/** An application for each target port that a service names on a workload. */
function applications(mesh: MeshFile): WorkloadPlan[] {
  const plans = new Map<string, WorkloadPlan>();
  for (const workload of mesh.workloads) {
    for (const ports of workload.services.values()) {
      for (const port of ports.values()) {
        const address = { ip: loopbackOf(workload), port };
        const name = `${workload.namespace}/${workload.name}`;
        plans.set(formatAddress(address), { name, address });
      }
    }
  }
  return [...plans.values()];
}

interface BannerOptions {
  readonly config: Config;
  readonly mesh: MeshFile;
  readonly caller: Workload;
  readonly proxies: number;
}

/** Lines to paste: a call for each service, with what will come of it. */
function banner({ config, mesh, caller, proxies }: BannerOptions): string[] {
  const state = new MeshState(mesh);
  const socks = formatAddress(socksAddress(config));
  const calls = state.services.flatMap(({ service, endpoints }) => {
    const port = [...service.ports.keys()][0];
    const endpoint = [...endpoints.values()][0];
    if (port === undefined || endpoint === undefined) return [];
    const { workload } = endpoint;
    const url = `http://${service.hostname}${port === 80 ? "" : `:${port}`}/`;
    const command = `curl --socks5-hostname ${socks} ${url}`;
    if (workload.protocol === "TCP") {
      return [{ order: 2, command, what: "answers, over plain TCP" }];
    }
    const verdict = judge(state.policiesOf(workload).policies, {
      identity: workloadIdentity(caller),
      sourceIp: caller.ips[0]!,
      destinationIp: workload.ips[0]!,
      destinationPort: endpoint.ports.get(port) ?? service.ports.get(port)!,
    });
    return verdict.kind === "allow"
      ? [{ order: 0, command, what: "answers, over HBONE" }]
      : [{ order: 1, command, what: "is refused by policy" }];
  }).sort((a, b) => a.order - b.order);
  const width = Math.max(0, ...calls.map(({ command }) => command.length));
  return [
    "",
    `ztunnel runs: ${proxies} proxies on loopback, each with its own identity. You are ${
      workloadIdentity(caller).uri
    }.`,
    "Paste a line into another terminal; the access log below shows both ends of each call.",
    "",
    ...calls.map(({ command, what }) => `  ${command.padEnd(width)}   # ${what}`),
    "",
    "Ctrl-C ends it.",
    "",
  ];
}
