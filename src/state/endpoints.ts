// Which endpoints of a service may be chosen, by which port and IP (spec/data-path §2.5).
import { isIpv6 } from "../base/address.ts";
import type { Endpoint, KnownService } from "./mesh_view.ts";
import type { LoadBalancer, PortMap, RoutingScope, Service, Workload } from "./resources.ts";
import { serviceKey } from "./resources.ts";
import type { EndpointReason, Recorder } from "./trace.ts";

/** Standard: the service must have the port. Waypoint: an application tunnel does as well (§3.10). */
export type PortMode = "standard" | "waypoint";

/** An endpoint that may be drawn, in proportion to its workload's capacity. */
export interface Eligible {
  readonly workload: Workload;
  /** 1 to 65535. */
  readonly targetPort: number;
}

/**
 * The endpoints among which one is drawn (L1 to L9), in the order of the mesh; none: no upstream. An endpoint without
 * a target port is not drawn either, where the original draws it and then fails.
 * @param port The service port the application dialled, or that of the reference.
 */
export function eligibleEndpoints(
  source: Workload,
  known: KnownService,
  port: number,
  mode: PortMode = "standard",
  trace: Recorder = null,
): Eligible[] {
  const { service, endpoints } = known;
  const { loadBalancer } = service;
  let best: Endpoint[] = [];
  let bestRank = 0;
  for (const endpoint of endpoints.values()) {
    const refused = refusal(source, endpoint, service, port, mode);
    if (refused !== null) {
      if (trace !== null) note(trace, service, endpoint, refused);
      continue;
    }
    const rank = localityRank(source, endpoint.workload, loadBalancer); // L6 to L8
    if (rank === null || rank < bestRank) {
      const reason = rank === null ? "locality-not-strict" : "locality-lower";
      if (trace !== null) note(trace, service, endpoint, reason);
      continue;
    }
    if (rank > bestRank) {
      if (trace !== null) {
        for (const lower of best) note(trace, service, lower, "locality-lower");
      }
      best = [];
    }
    bestRank = rank;
    best.push(endpoint);
  }
  const eligible: Eligible[] = [];
  for (const endpoint of best) {
    const { workload, ports } = endpoint;
    const target = targetPort(workload, ports, service, port);
    const isDrawn = target > 0 && workload.capacity > 0;
    if (isDrawn) eligible.push({ workload, targetPort: target });
    if (trace !== null) {
      const reason = isDrawn ? "eligible" : target > 0 ? "capacity-zero" : "no-target-port";
      note(trace, service, endpoint, reason);
    }
  }
  return eligible;
}

/** L1, L3, L4 and L5; null: no objection. */
function refusal(
  source: Workload,
  { workload, ports, healthy }: Endpoint,
  { loadBalancer, ports: servicePorts }: Service,
  port: number,
  mode: PortMode,
): EndpointReason | null {
  if (!healthy && loadBalancer?.healthPolicy !== "AllowAll") return "unhealthy";
  if (!isReachable(source, workload)) return "no-address";
  const target = servicePorts.get(port);
  if (mode === "waypoint") {
    return target === undefined && workload.applicationTunnel === null
      ? "no-application-tunnel"
      : null;
  }
  if (target === undefined) return "port-not-in-service";
  return target === 0 && !ports.has(port) ? "port-not-mapped" : null;
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
  return workload.applicationTunnel === null || workload.applicationTunnel.port === null ? 0 : port;
}

/** Higher is better; null: not to be chosen (spec/xds-state-and-dns §3.10). */
function localityRank(
  source: Workload,
  workload: Workload,
  loadBalancer: LoadBalancer | null,
): number | null {
  if (!ranksEndpoints(loadBalancer)) return 0;
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

/** Whether where the source is decides which endpoints it gets; its network always counts. */
export function ranksEndpoints(loadBalancer: LoadBalancer | null): loadBalancer is LoadBalancer {
  return loadBalancer !== null && loadBalancer.mode !== "Standard";
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

function note(
  trace: NonNullable<Recorder>,
  service: Service,
  { workload }: Endpoint,
  reason: EndpointReason,
): void {
  trace.push({
    step: "endpoint",
    service: serviceKey(service),
    workload: workload.uid,
    taken: reason === "eligible",
    reason,
  });
}

/**
 * The IP of a workload to connect to (L10): the wanted one if it is the workload's, else the first that the
 * service's families allow, the wanted family before the other. Null: it has none.
 */
export function chooseIp(
  workload: Workload,
  wantedIp: string,
  families: Service["ipFamilies"],
): string | null {
  const { ips } = workload;
  if (ips.includes(wantedIp)) return wantedIp;
  const wantsIpv6 = isIpv6(wantedIp);
  let other: string | null = null;
  for (const ip of ips) {
    const ipv6 = isIpv6(ip);
    if (families === "IPv4" ? ipv6 : families === "IPv6" && !ipv6) continue;
    if (ipv6 === wantsIpv6) return ip;
    other ??= ip;
  }
  return other;
}
