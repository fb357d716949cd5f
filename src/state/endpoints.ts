// Which endpoints of a service may be chosen, by which port and IP (spec/data-path §2.5).
import { isIpv6 } from "../base/address.ts";
import type { Endpoint, KnownService } from "./mesh_view.ts";
import type { PortMap, RoutingScope, Service, Workload } from "./resources.ts";

/** An endpoint that may be drawn, in proportion to its workload's capacity. */
export interface Eligible {
  readonly workload: Workload;
  /** 1 to 65535. */
  readonly targetPort: number;
}

/**
 * The endpoints among which one is drawn (L1 to L9), in the order of the mesh; none: no upstream.
 * @param port The service port the application dialled.
 */
export function eligibleEndpoints(
  source: Workload,
  { service, endpoints }: KnownService,
  port: number,
): Eligible[] {
  if (!service.ports.has(port)) return []; // L1
  const healthy = (endpoint: Endpoint) =>
    endpoint.healthy || service.loadBalancer?.healthPolicy === "AllowAll"; // L5
  let best: { readonly workload: Workload; readonly ports: PortMap }[] = [];
  let bestRank = 0;
  for (const endpoint of endpoints.values()) {
    if (!healthy(endpoint) || !isReachable(source, endpoint.workload)) continue;
    if (service.ports.get(port) === 0 && !endpoint.ports.has(port)) continue;
    const rank = localityRank(source, endpoint.workload, service); // L6 to L8
    if (rank === null || rank < bestRank) continue;
    if (rank > bestRank) best = [];
    bestRank = rank;
    best.push(endpoint);
  }
  const eligible: Eligible[] = [];
  for (const { workload, ports } of best) {
    const target = targetPort(workload, ports, service, port);
    if (target > 0 && workload.capacity > 0) eligible.push({ workload, targetPort: target });
  }
  return eligible;
}

/** L3: without IP and name, only from another network and through a gateway. */
function isReachable(source: Workload, workload: Workload): boolean {
  if (workload.ips.length > 0 || workload.hostname !== "") return true;
  return workload.network !== source.network && workload.networkGateway !== null;
}

/** L4; 0: none. */
function targetPort(workload: Workload, ports: PortMap, service: Service, port: number): number {
  const own = ports.get(port);
  if (own !== undefined) return own;
  const target = service.ports.get(port) ?? 0;
  if (target > 0) return target;
  return workload.applicationTunnel?.port === null || workload.applicationTunnel === null
    ? 0
    : port;
}

/** Higher is better; null: not to be chosen (spec/xds-state-and-dns §3.10). */
function localityRank(source: Workload, workload: Workload, service: Service): number | null {
  const { loadBalancer } = service;
  if (loadBalancer === null || loadBalancer.mode === "Standard") return 0;
  const scopes = loadBalancer.routingPreferences;
  let rank = 0;
  let bonus = 0;
  for (const scope of scopes) {
    const isSame = scopeValue(source, scope) === scopeValue(workload, scope);
    if (scope === "Network" && scopes[0] === "Network") {
      if (!isSame) continue;
      bonus = scopes.length - 1;
    }
    if (!isSame) break;
    rank++;
  }
  if (loadBalancer.mode === "Strict" && rank !== scopes.length) return null;
  return rank + bonus;
}

function scopeValue(workload: Workload, scope: RoutingScope): string {
  switch (scope) {
    case "Region":
      return workload.locality.region;
    case "Zone":
      return workload.locality.zone;
    case "Subzone":
      return workload.locality.subzone;
    case "Node":
      return workload.node;
    case "Cluster":
      return workload.clusterId;
    case "Network":
      return workload.network;
  }
}

/**
 * The IP of a workload to connect to (L10): the dialled one if it is the workload's, else the first that the
 * service's families allow, the dialled family before the other. Null: it has none.
 */
export function chooseIp(
  workload: Workload,
  dialledIp: string,
  families: Service["ipFamilies"],
): string | null {
  if (workload.ips.includes(dialledIp)) return dialledIp;
  const allowed = workload.ips.filter((ip) =>
    families === "IPv4" ? !isIpv6(ip) : families === "IPv6" ? isIpv6(ip) : true
  );
  return allowed.find((ip) => isIpv6(ip) === isIpv6(dialledIp)) ?? allowed[0] ?? null;
}
