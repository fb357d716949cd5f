// What happens to an outbound connection (spec/data-path §2.2–2.5). Pure over a MeshView.
import { formatAddress, type SocketAddress } from "../base/address.ts";
import type { Candidate, NextHop, Route } from "../seam/route.ts";
import { RouteError } from "../seam/router.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import { chooseIp, eligibleEndpoints } from "./endpoints.ts";
import { workloadIdentity } from "./mesh_state.ts";
import type { KnownService, MeshView } from "./mesh_view.ts";
import { describeGateway, type GatewayAddress, type Service, type Workload } from "./resources.ts";

export interface OutboundSettings {
  /** `NETWORK`: where "what is this IP?" is asked. */
  readonly network: string;
  /** Port of every HBONE peer in the same network: 15008. */
  readonly hbonePort: number;
}

/** A {@link Route} without its generation, or the refusal. */
export type OutboundDecision = Omit<Route, "generation"> | RouteError;

/** Decides for a connection of `source` to `dialled`; the loop guard was asked before. */
export function decideOutbound(
  state: MeshView,
  settings: OutboundSettings,
  source: Workload,
  dialled: SocketAddress,
): OutboundDecision {
  const meant = state.byIp(settings.network, dialled.ip, source.namespace);
  if (meant?.kind === "service") {
    const waypoint = waypointOf(meant.known.service);
    if (waypoint !== null) return unknownWaypoint(waypoint);
  }
  const known = state.serviceByIp(source.network, dialled.ip, source.namespace);
  if (known !== null) {
    if (isPassthrough(known)) return plain(state, source, dialled, null);
    return toService(state, settings, source, known, dialled);
  }
  const workload = state.workloadByIp(source.network, dialled.ip);
  if (workload !== null) return toWorkload(state, settings, source, workload, dialled);
  if (meant?.kind === "service" && !isPassthrough(meant.known)) return noUpstream(dialled);
  return plain(state, source, dialled, null);
}

function isPassthrough({ service }: KnownService): boolean {
  return service.loadBalancer?.mode === "Passthrough";
}

function plain(
  state: MeshView,
  source: Workload,
  peer: SocketAddress,
  destination: Workload | null,
): OutboundDecision {
  const candidate: Candidate = {
    weight: 1,
    hop: { protocol: "TCP", peer },
    destination: destination === null ? null : state.facts(destination),
  };
  return { source: state.facts(source), candidates: [candidate], service: null, dependsOn: [] };
}

function toWorkload(
  state: MeshView,
  settings: OutboundSettings,
  source: Workload,
  workload: Workload,
  dialled: SocketAddress,
): OutboundDecision {
  if (workload.waypoint !== null) return unknownWaypoint(workload.waypoint);
  const hop = directHop(settings, workload, dialled, []);
  const candidate = { weight: 1, hop, destination: state.facts(workload) };
  return { source: state.facts(source), candidates: [candidate], service: null, dependsOn: [] };
}

function toService(
  state: MeshView,
  settings: OutboundSettings,
  source: Workload,
  known: KnownService,
  dialled: SocketAddress,
): OutboundDecision {
  const candidates: Candidate[] = [];
  let refusal: RouteError | null = null;
  for (const { workload, targetPort } of eligibleEndpoints(source, known, dialled.port)) {
    if (workload.network !== source.network) {
      refusal ??= otherNetwork(workload);
      continue;
    }
    const ip = chooseIp(workload, dialled.ip, known.service.ipFamilies);
    if (ip === null) {
      refusal ??= withoutIp(workload);
      continue;
    }
    const target = { ip, port: targetPort };
    const hop = directHop(settings, workload, target, known.subjectAltNames);
    candidates.push({ weight: workload.capacity, hop, destination: state.facts(workload) });
  }
  if (candidates.length === 0) return refusal ?? noUpstream(dialled);
  return { source: state.facts(source), candidates, service: known.facts, dependsOn: [] };
}

function directHop(
  settings: OutboundSettings,
  workload: Workload,
  target: SocketAddress,
  serviceNames: readonly SpiffeId[],
): NextHop {
  if (workload.protocol === "TCP") return { protocol: "TCP", peer: target };
  return {
    protocol: "HBONE",
    peer: { ip: target.ip, port: settings.hbonePort },
    authority: formatAddress(target),
    expected: [...serviceNames, workloadIdentity(workload)],
  };
}

/** The service's waypoint; with weights, one that may be drawn. Null: none. */
function waypointOf(service: Service): GatewayAddress | null {
  const drawable = service.weightedWaypoints.find(({ weight }) => weight > 0);
  return drawable?.destination ?? service.waypoint;
}

// Refusals. What is not built yet fails closed under the original's words, and says so after them.

function noUpstream(dialled: SocketAddress): RouteError {
  return new RouteError("NO_HEALTHY_UPSTREAM", `no healthy upstream: ${formatAddress(dialled)}`);
}

function unknownWaypoint(waypoint: GatewayAddress): RouteError {
  const name = describeGateway(waypoint);
  return new RouteError(
    "UNKNOWN_WAYPOINT",
    `unknown waypoint: waypoint ${name} not found (waypoints are not supported yet)`,
  );
}

function otherNetwork(workload: Workload): RouteError {
  const gateway = workload.networkGateway;
  if (gateway === null) return noDestination(workload);
  const name = describeGateway(gateway);
  return new RouteError(
    "UNKNOWN_GATEWAY",
    `unknown network gateway: network gateway ${name} not found (other networks are not supported yet)`,
  );
}

function withoutIp(workload: Workload): RouteError {
  if (workload.hostname === "" || workload.ips.length > 0) return noDestination(workload);
  return new RouteError(
    "NO_VALID_DESTINATION",
    `no ip addresses were resolved for workload: ${workload.uid} (workloads by name are not supported yet)`,
  );
}

function noDestination({ name, uid, protocol }: Workload): RouteError {
  return new RouteError(
    "NO_VALID_DESTINATION",
    `no valid routing destination for workload: Workload{${name} with uid ${uid} (${protocol})}`,
  );
}
