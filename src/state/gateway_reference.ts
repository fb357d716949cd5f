// Who a waypoint or a network gateway is (spec/xds-state-and-dns §3.12, §3.13). Pure over the lookups.
import { RouteError } from "../seam/router.ts";
import { eligibleEndpoints, type PortMode } from "./endpoints.ts";
import type { Lookups } from "./lookups.ts";
import type { KnownService } from "./mesh_view.ts";
import { describeGateway, type GatewayAddress, type Workload } from "./resources.ts";

/** One workload that may be connected to; siblings are drawn in proportion to their weights. */
export interface Upstream {
  readonly weight: number;
  readonly workload: Workload;
  /** 1 to 65535. */
  readonly port: number;
  /** Whose names it may show, beside its own; null: it was found as a workload. */
  readonly known: KnownService | null;
}

/** What a reference means. */
export interface Referred {
  /** At least one. */
  readonly upstreams: readonly Upstream[];
  /** Whose family is preferred: the referenced IP, or the one that was dialled. */
  readonly wantedIp: string;
}

/** What a reference is for; it decides the port rules and the words of a refusal. */
export type ReferenceRole = "waypoint" | "gateway";

/**
 * Finds who `reference` names, or refuses. An address is taken as the source would take it: what its namespace cannot see
 * is not there, and its own come first (§3.9). A name says its namespace, and is seen by all.
 */
export function resolveReference(
  look: Lookups,
  role: ReferenceRole,
  reference: GatewayAddress,
  { source, dialledIp }: { readonly source: Workload; readonly dialledIp: string },
): Referred | RouteError {
  const { kind, port } = reference;
  const found = kind === "address"
    ? look.upstreamByIp(reference.network, reference.ip, source.namespace)
    : look.byNamespacedHostname("reference", reference.namespace, reference.hostname);
  if (found === null) return unknownReference(role, reference);
  const wantedIp = kind === "address" ? reference.ip : dialledIp;
  if (found.kind === "workload") {
    const { workload } = found;
    return { upstreams: [{ weight: 1, workload, port, known: null }], wantedIp };
  }
  // A passthrough service has no upstream at an address; by its name its endpoints are taken (§3.10).
  if (kind === "address" && found.known.service.loadBalancer?.mode === "Passthrough") {
    return unknownReference(role, reference);
  }
  const upstreams = serviceUpstreams(
    look,
    source,
    found.known,
    port,
    role === "waypoint" ? "waypoint" : "standard",
  );
  return upstreams.length === 0 ? unknownReference(role, reference) : { upstreams, wantedIp };
}

/** The endpoints of a service that may be drawn (§3.10). */
export function serviceUpstreams(
  look: Lookups,
  source: Workload,
  known: KnownService,
  port: number,
  mode: PortMode,
): Upstream[] {
  return eligibleEndpoints(source, known, port, mode, look.trace).map((
    { workload, targetPort },
  ) => ({ weight: workload.capacity, workload, port: targetPort, known }));
}

/**
 * Whether a connection from `sourceIp` by `source` comes from the waypoint of `workload`: then it is not sent there
 * again (spec/data-path §2.3 step 4).
 */
export function isFromWaypoint(
  look: Lookups,
  waypoint: GatewayAddress,
  source: Workload,
  sourceIp: string,
): boolean {
  const found = look.byReference("waypoint", waypoint, { onDemand: true });
  if (found === null) return false;
  const identity = look.state.facts(source).identity.uri;
  const isSource = (workload: Workload) =>
    workload.ips.includes(sourceIp) && look.state.facts(workload).identity.uri === identity;
  if (found.kind === "workload") return isSource(found.workload);
  for (const { workload } of found.known.endpoints.values()) if (isSource(workload)) return true;
  return false;
}

function unknownReference(role: ReferenceRole, reference: GatewayAddress): RouteError {
  const name = describeGateway(reference);
  return role === "waypoint"
    ? new RouteError("UNKNOWN_WAYPOINT", `unknown waypoint: waypoint ${name} not found`)
    : new RouteError(
      "UNKNOWN_GATEWAY",
      `unknown network gateway: network gateway ${name} not found`,
    );
}
