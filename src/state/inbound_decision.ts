// What happens to an accepted CONNECT, and to plaintext captured on its way in: acceptance, next hop, labels,
// policies (spec/data-path §3.3–3.7, §4.2).
import type { SocketAddress } from "../base/address.ts";
import type { InboundAuthority, InboundRoute } from "../seam/route.ts";
import { type InboundQuestion, type PlaintextQuestion, RouteError } from "../seam/router.ts";
import type { ServiceFacts } from "../seam/workload.ts";
import type { KnownService, MeshView } from "./mesh_view.ts";
import type { Workload } from "./resources.ts";

export interface InboundSettings {
  /** `NETWORK`: where peers are looked up. */
  readonly network: string;
  /** Ports nobody may be sent to: the proxy's own. */
  readonly internalPorts: ReadonlySet<number>;
}

/** An {@link InboundRoute} without its generation, or the refusal. */
export type InboundDecision = Omit<InboundRoute, "generation"> | RouteError;

/** Decides for a CONNECT that reached `local`'s proxy. */
export function decideInbound(
  state: MeshView,
  settings: InboundSettings,
  local: Workload,
  question: InboundQuestion,
): InboundDecision {
  const { authority, localIp, peerIp } = question;
  if (!isAccepted(authority, localIp)) {
    // Only an address can be refused here.
    const asked = authority.kind === "address" ? authority.address.ip : authority.hostname;
    return new RouteError("IP_MISMATCH", `ip mismatch: ${localIp} != ${asked}`);
  }
  const port = nextPort(state, local, authority);
  if (port instanceof RouteError) return port;
  if (settings.internalPorts.has(port)) return selfCall();
  if (local.applicationTunnel !== null) {
    return new RouteError(
      "NO_VALID_DESTINATION",
      `unsupported feature: application tunnel of workload ${local.uid}`,
    );
  }
  return routeTo(state, settings, local, {
    hop: { ip: localIp, port },
    peerIp: question.fromGateway ? null : peerIp,
    forwardedHost: question.forwardedHost,
  });
}

/** Decides for a plain connection that `local`'s proxy captured: it goes where it wanted to (I21, I24). */
export function decidePlaintext(
  state: MeshView,
  settings: InboundSettings,
  local: Workload,
  { destination, peerIp }: PlaintextQuestion,
): InboundDecision {
  if (settings.internalPorts.has(destination.port)) return selfCall();
  return routeTo(state, settings, local, { hop: destination, peerIp, forwardedHost: null });
}

interface Arrival {
  readonly hop: SocketAddress;
  /** Null where the peer's address says nothing about the source: behind a gateway. */
  readonly peerIp: string | null;
  readonly forwardedHost: string | null;
}

/** Labels and policies of a connection that goes to `hop`. */
function routeTo(
  state: MeshView,
  { network }: InboundSettings,
  local: Workload,
  { hop, peerIp, forwardedHost }: Arrival,
): Omit<InboundRoute, "generation"> {
  const applied = state.policiesOf(local);
  const source = peerIp === null ? null : state.workloadByIp(network, peerIp);
  return {
    policyTarget: hop,
    dial: hop,
    dialFrom: null,
    proxyTarget: null,
    destination: state.facts(local),
    source: source === null ? null : state.facts(source),
    service: guessService(state, local, hop.port, forwardedHost),
    policies: applied.policies,
    selection: applied.selection,
    dependsOn: [],
  };
}

/** A call to one of the proxy's own ports. */
export function selfCall(): RouteError {
  return new RouteError("SELF_CALL", "attempted recursive call to ourselves");
}

/**
 * V1, V2 and V5. Application tunnels (V3) and waypoints in front of others (V4) belong between V2 and V5;
 * until they exist their traffic is refused.
 */
function isAccepted(authority: InboundAuthority, localIp: string): boolean {
  return authority.kind === "hostname" || authority.address.ip === localIp;
}

/** I10 to I12. */
function nextPort(
  state: MeshView,
  local: Workload,
  authority: InboundAuthority,
): number | RouteError {
  if (authority.kind === "address") return authority.address.port;
  const { hostname, port } = authority;
  const known = state.serviceByHostname(hostname, local.namespace);
  if (known === null) {
    return new RouteError(
      "NO_SERVICE_OR_WORKLOAD",
      `no service or workload for hostname: ${hostname}`,
    );
  }
  const target = ownTargetPort(known, local, port) ?? known.service.ports.get(port) ?? 0;
  if (target > 0) return target;
  return new RouteError(
    "PORT_NOT_RESOLVED",
    `requested service ${hostname}:${port} found, but cannot resolve port`,
  );
}

function ownTargetPort(known: KnownService, local: Workload, port: number): number | undefined {
  return known.endpoints.get(local)?.ports.get(port);
}

/** Which of the workload's services was meant (spec/data-path §3.6): for telemetry only. */
function guessService(
  state: MeshView,
  local: Workload,
  port: number,
  forwardedHost: string | null,
): ServiceFacts | null {
  const services = state.servicesOf(local);
  const named = services.find(({ service }) => service.hostname === forwardedHost);
  if (named !== undefined) return named.facts;
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
