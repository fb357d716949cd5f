// The answers of the Router: what happens to a connection, compiled for the data plane (design §3.4).
import { formatAddress, type SocketAddress } from "../base/address.ts";
import type { Policy } from "../rbac/policy.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { RouteErrorCode } from "./router.ts";
import type { ServiceFacts, WorkloadFacts } from "./workload.ts";

/** Plain TCP to the destination itself. */
export interface TcpHop {
  readonly protocol: "TCP";
  readonly peer: SocketAddress;
}

/** One tunnel, to the peer's proxy or to a waypoint. */
export interface HboneHop {
  readonly protocol: "HBONE";
  /** Where the TLS connection goes, HBONE port included. */
  readonly peer: SocketAddress;
  /** `:authority` of the CONNECT (spec/data-path §1.3). */
  readonly authority: string;
  /** The peer must show one of these (spec/data-path §2.4). */
  readonly expected: readonly SpiffeId[];
}

/** A tunnel inside a tunnel, through the gateway of another network (spec/data-path §1.11). */
export interface DoubleHboneHop {
  readonly protocol: "DOUBLEHBONE";
  /** The gateway. */
  readonly peer: SocketAddress;
  /** `:authority` of both CONNECTs: host name and port of the service. */
  readonly authority: string;
  /** The gateway must show one of these. */
  readonly expected: readonly SpiffeId[];
  /** The far proxy must show one of these; empty: nobody can. */
  readonly innerExpected: readonly SpiffeId[];
}

/** How bytes reach one candidate. */
export type NextHop = TcpHop | HboneHop | DoubleHboneHop;

/**
 * A hop to a workload that is known by name alone: the data plane asks `Router.resolveHost` for each connection
 * (spec/xds-state-and-dns §3.11) and goes on with {@link atAddress}.
 */
export interface NamedHop {
  readonly protocol: "NAMED";
  readonly hostname: string;
  readonly workloadUid: string;
  /** The family preferred: the dialled address's. */
  readonly family: 4 | 6;
  /** What the hop becomes; the IP of its `peer` is "" until then. */
  readonly hop: NextHop;
  /** The port of an authority `resolved IP:port`; null: `hop.authority` stands. */
  readonly authorityPort: number | null;
}

/** Drawn like any other, and then an error: there is no second draw (spec/xds-state-and-dns §3.12). */
export interface RefusedHop {
  readonly protocol: "REFUSED";
  readonly code: RouteErrorCode;
  /** The access log's `error`. */
  readonly message: string;
}

/** One possible destination; the data plane draws one by weight. */
export interface Candidate {
  /** Above 0 and finite, not always whole; drawn in proportion. */
  readonly weight: number;
  readonly hop: NextHop | NamedHop | RefusedHop;
  /** The workload behind the hop, for telemetry; null where unknown. */
  readonly destination: WorkloadFacts | null;
}

/** A named hop once its name is resolved. */
export function atAddress({ hop, authorityPort }: NamedHop, ip: string): NextHop {
  const peer = { ip, port: hop.peer.port };
  if (hop.protocol === "TCP" || authorityPort === null) return { ...hop, peer };
  return { ...hop, peer, authority: formatAddress({ ip, port: authorityPort }) };
}

/**
 * What an answer was made from, as keys: when one of them is touched by a change of state, the answer is stale
 * (`StateChange.touched`). The functions of `dependency.ts` write them.
 */
export type Dependencies = readonly string[];

/** The answer for one (local workload, destination): immutable, may be cached by its generation. */
export interface Route {
  /** The state's generation it was compiled from; a newer one makes it stale. */
  readonly generation: number;
  readonly source: WorkloadFacts;
  /** At least one. */
  readonly candidates: readonly Candidate[];
  /** The service that was meant, for telemetry and `forwarded`; null where none. */
  readonly service: ServiceFacts | null;
  readonly dependsOn: Dependencies;
  /**
   * On demand, the control plane knew nothing of something that was asked for: it may know tomorrow and will not say so
   * by itself. Serves who asked, and is not remembered.
   */
  readonly isProvisional?: true;
}

/** The target of an inbound CONNECT: an address literal or a host name, with a port. */
export type InboundAuthority =
  | { readonly kind: "address"; readonly address: SocketAddress }
  | { readonly kind: "hostname"; readonly hostname: string; readonly port: number };

/**
 * Which policies apply to a workload: its namespace's, the global ones, and those it lists by
 * `namespace/name` (spec/data-path §4.2). Kept by a connection for its life, so that a later change
 * of the list does not touch it (R5).
 */
export interface PolicySelection {
  readonly namespace: string;
  readonly listed: readonly string[];
}

/** What the local workload's proxy does with an accepted CONNECT, or with a connection captured on its way in. */
export interface InboundRoute {
  readonly generation: number;
  /** Where policy thinks the connection goes: the next hop (spec/data-path §3.4), or the original destination. */
  readonly policyTarget: SocketAddress;
  /** Where the proxy really dials (differs for application tunnels on loopback). */
  readonly dial: SocketAddress;
  /** The source address to dial from, for an application tunnel on loopback (T4); null: as always (T1 to T3). */
  readonly dialFrom: string | null;
  /** What the PROXY protocol header names as destination; null: no header is sent (spec/data-path §3.5). */
  readonly proxyTarget: SocketAddress | null;
  readonly destination: WorkloadFacts;
  /** Source by address; null where unknown or behind a gateway (spec/data-path §3.6). */
  readonly source: WorkloadFacts | null;
  readonly service: ServiceFacts | null;
  /** The policies that apply to the destination, in order of evaluation (spec/data-path §4.2). */
  readonly policies: readonly Policy[];
  /** How those were chosen, to ask again with `Router.policies` after a change. */
  readonly selection: PolicySelection;
  readonly dependsOn: Dependencies;
}
