// What happens to an accepted CONNECT, and to plaintext captured on its way in: acceptance, next hop, labels,
// policies (spec/data-path §3.3–3.7, §4.2). Pure over the lookups.
import { isIpv6, type SocketAddress } from "../base/address.ts";
import type { InboundAuthority, InboundRoute } from "../seam/route.ts";
import { type InboundQuestion, type PlaintextQuestion, RouteError } from "../seam/router.ts";
import type { ServiceFacts } from "../seam/workload.ts";
import type { Lookups } from "./lookups.ts";
import type { KnownService } from "./mesh_view.ts";
import type { GatewayAddress, Service, Workload } from "./resources.ts";
import type { InboundCheck } from "./trace.ts";

export interface InboundSettings {
  /** `NETWORK`: where peers are looked up. */
  readonly network: string;
  /** Ports nobody may be sent to: the proxy's own. */
  readonly internalPorts: ReadonlySet<number>;
  /** `LOCALHOST_APP_TUNNEL`: applications take PROXY connections on loopback (T4); absent: true. */
  readonly localhostAppTunnel?: boolean;
}

/** An {@link InboundRoute} without its generation, or the refusal. */
export type InboundDecision = Omit<InboundRoute, "generation"> | RouteError;

/** Decides for a CONNECT that reached `local`'s proxy. */
export function decideInbound(
  look: Lookups,
  settings: InboundSettings,
  local: Workload,
  question: InboundQuestion,
): InboundDecision {
  look.local(local);
  const { authority, localIp } = question;
  const check = checkAuthority(look, settings, local, question);
  look.trace?.push({ step: "check", check, accepted: check !== "V5" });
  if (check === "V5") {
    // Only an address can be refused here.
    const asked = authority.kind === "address" ? authority.address.ip : authority.hostname;
    return new RouteError("IP_MISMATCH", `ip mismatch: ${localIp} != ${asked}`);
  }
  const meant = resolveAuthority(look, local, authority);
  if (meant instanceof RouteError) return meant;
  if (settings.internalPorts.has(meant.port)) return selfCall();
  const way = throughTunnel(look, settings, local, question, meant);
  if (way instanceof RouteError) return way;
  return routeTo(look, settings, local, {
    ...way,
    peerIp: question.fromGateway ? null : question.peerIp,
    forwardedHost: question.forwardedHost,
    named: meant.known,
  });
}

/** Decides for a plain connection that `local`'s proxy captured: it goes where it wanted to (I21, I24). */
export function decidePlaintext(
  look: Lookups,
  settings: InboundSettings,
  local: Workload,
  { destination, peerIp }: PlaintextQuestion,
): InboundDecision {
  if (settings.internalPorts.has(destination.port)) return selfCall();
  look.local(local);
  return routeTo(look, settings, local, {
    hop: destination,
    dial: destination,
    dialFrom: null,
    proxyTarget: null,
    peerIp,
    forwardedHost: null,
    named: null,
  });
}

/** Where a connection goes. */
interface Way {
  /** What policy judges. */
  readonly hop: SocketAddress;
  readonly dial: SocketAddress;
  readonly dialFrom: string | null;
  readonly proxyTarget: SocketAddress | null;
}

interface Arrival extends Way {
  /** Null where the peer's address says nothing about the source: behind a gateway. */
  readonly peerIp: string | null;
  readonly forwardedHost: string | null;
  /** The service that the authority named. */
  readonly named: KnownService | null;
}

/** Labels and policies of a connection that goes to `hop`. */
function routeTo(
  look: Lookups,
  { network }: InboundSettings,
  local: Workload,
  arrival: Arrival,
): Omit<InboundRoute, "generation"> {
  const { hop, dial, dialFrom, proxyTarget, peerIp } = arrival;
  const { state } = look;
  const applied = look.policiesOf(local);
  const source = peerIp === null ? null : look.workloadByIp("peer", network, peerIp);
  const service = guessService(look, local, arrival);
  return {
    policyTarget: hop,
    dial,
    dialFrom,
    proxyTarget,
    destination: state.facts(local),
    source: source === null ? null : state.facts(source),
    service,
    policies: applied.policies,
    selection: applied.selection,
    dependsOn: look.dependsOn,
  };
}

/** A call to one of the proxy's own ports. */
export function selfCall(): RouteError {
  return new RouteError("SELF_CALL", "attempted recursive call to ourselves");
}

/** The first check of §3.3 that takes the authority; V5: none does. */
function checkAuthority(
  look: Lookups,
  { network }: InboundSettings,
  local: Workload,
  { authority, localIp }: InboundQuestion,
): InboundCheck {
  if (authority.kind === "hostname") return "V1";
  const { ip } = authority.address;
  if (ip === localIp) return "V2";
  if (local.applicationTunnel !== null) return "V3";
  const found = look.byIp("authority-address", network, ip, null);
  if (found === null) return "V5";
  const waypoints = found.kind === "service"
    ? waypointsOf(found.known.service)
    : found.workload.waypoint === null
    ? []
    : [found.workload.waypoint];
  const isLocal = (waypoint: GatewayAddress) => isWaypoint(look, waypoint, local, localIp);
  return waypoints.some(isLocal) ? "V4" : "V5";
}

/** Weighted ones too, which the original forgets here (spec/data-path §10.1 Q10). */
function waypointsOf({ waypoint, weightedWaypoints }: Service): GatewayAddress[] {
  const waypoints = weightedWaypoints.map(({ destination }) => destination);
  if (waypoint !== null) waypoints.unshift(waypoint);
  return waypoints;
}

/** Whether the local workload stands in front of who names this waypoint. */
function isWaypoint(
  look: Lookups,
  waypoint: GatewayAddress,
  local: Workload,
  localIp: string,
): boolean {
  const found = look.byReference("waypoint", waypoint, { onDemand: false });
  if (found === null) return false;
  return found.kind === "service"
    ? found.known.endpoints.get(local) !== undefined
    : found.workload.ips.includes(localIp);
}

/** What an authority means here. */
interface Meant {
  readonly port: number;
  /** The service of a host name. */
  readonly known: KnownService | null;
}

/** I10 to I12. */
function resolveAuthority(
  look: Lookups,
  local: Workload,
  authority: InboundAuthority,
): Meant | RouteError {
  if (authority.kind === "address") {
    const { port } = authority.address;
    look.trace?.push({ step: "port", port, from: "authority" });
    return { port, known: null };
  }
  const { hostname, port } = authority;
  const known = look.serviceByHostname(hostname, local.namespace);
  if (known === null) {
    const message = `no service or workload for hostname: ${hostname}`;
    return new RouteError("NO_SERVICE_OR_WORKLOAD", message);
  }
  const own = known.endpoints.get(local)?.ports.get(port);
  const target = own ?? known.service.ports.get(port) ?? 0;
  look.trace?.push({
    step: "port",
    port: target,
    from: own === undefined ? "service" : "endpoint",
  });
  if (target > 0) return { port: target, known };
  const message = `requested service ${hostname}:${port} found, but cannot resolve port`;
  return new RouteError("PORT_NOT_RESOLVED", message);
}

/** I15, T4 and T5: the application's own tunnel, if it has one. */
function throughTunnel(
  look: Lookups,
  { network, localhostAppTunnel = true }: InboundSettings,
  local: Workload,
  { authority, localIp }: InboundQuestion,
  { port, known }: Meant,
): Way | RouteError {
  const tunnel = local.applicationTunnel;
  if (tunnel === null) {
    const hop = { ip: localIp, port };
    return { hop, dial: hop, dialFrom: null, proxyTarget: null };
  }
  const hop = { ip: localIp, port: tunnel.port ?? port };
  if (tunnel.port !== null) {
    look.trace?.push({ step: "port", port: tunnel.port, from: "application-tunnel" });
  }
  if (tunnel.protocol === "NONE") return { hop, dial: hop, dialFrom: null, proxyTarget: null };
  const proxyTarget = proxyTargetOf(network, authority, known);
  if (proxyTarget instanceof RouteError) return proxyTarget;
  if (!localhostAppTunnel) return { hop, dial: hop, dialFrom: null, proxyTarget };
  const loopback = isIpv6(localIp) ? "::1" : "127.0.0.1";
  return { hop, dial: { ip: loopback, port: hop.port }, dialFrom: loopback, proxyTarget };
}

/** The authority's address; of a host name a VIP, in our network and IPv4 if there is one, with the service's port. */
function proxyTargetOf(
  network: string,
  authority: InboundAuthority,
  known: KnownService | null,
): SocketAddress | RouteError {
  if (authority.kind === "address") return authority.address;
  const { hostname, port } = authority;
  let best: string | null = null;
  let bestRank = -1;
  for (const vip of known?.service.vips ?? []) {
    const rank = (vip.network === network ? 2 : 0) + (isIpv6(vip.ip) ? 0 : 1);
    if (rank <= bestRank) continue;
    best = vip.ip;
    bestRank = rank;
  }
  if (best !== null) return { ip: best, port };
  const message = `requested service ${hostname} found, but has no IP addresses`;
  return new RouteError("NO_SERVICE_ADDRESS", message);
}

/** Which service was meant (spec/data-path §3.6), for telemetry only: of those the workload backs, or the named one. */
function guessService(
  look: Lookups,
  local: Workload,
  { hop: { port }, forwardedHost, named }: Arrival,
): ServiceFacts | null {
  const services = look.servicesOf(local);
  const forwarded = services.find(({ service }) => service.hostname === forwardedHost);
  if (forwarded !== undefined) return forwarded.facts;
  if (named !== null && leadsTo(named, local, port)) return named.facts;
  const byPort = services.find((known) => leadsTo(known, local, port));
  return byPort?.facts ?? null;
}

function leadsTo(known: KnownService, local: Workload, port: number): boolean {
  for (const target of known.service.ports.values()) if (target === port) return true;
  const own = known.endpoints.get(local);
  if (own === undefined) return false;
  for (const target of own.ports.values()) if (target === port) return true;
  return false;
}
