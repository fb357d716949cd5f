// The answers of the Router: what happens to a connection, compiled for the data plane (design §3.4).
import type { SocketAddress } from "../base/address.ts";
import type { Policy } from "../rbac/policy.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { ServiceFacts, WorkloadFacts } from "./workload.ts";

/** How bytes reach one candidate. */
export type NextHop =
  | { readonly protocol: "TCP"; readonly peer: SocketAddress }
  | {
    readonly protocol: "HBONE";
    /** Where the TLS connection goes, HBONE port included. */
    readonly peer: SocketAddress;
    /** `:authority` of the CONNECT (spec/data-path §1.3). */
    readonly authority: string;
    /** The peer must show one of these (spec/data-path §2.4). */
    readonly expected: readonly SpiffeId[];
  }
  | {
    readonly protocol: "DOUBLEHBONE";
    readonly peer: SocketAddress;
    readonly authority: string;
    readonly expected: readonly SpiffeId[];
    readonly innerExpected: readonly SpiffeId[];
  };

/** One possible destination; the data plane draws one by weight. */
export interface Candidate {
  /** 1 or more; drawn in proportion. */
  readonly weight: number;
  readonly hop: NextHop;
  /** The workload behind the hop, for telemetry; null where unknown. */
  readonly destination: WorkloadFacts | null;
}

/** The answer for one (local workload, destination): immutable, may be cached by its generation. */
export interface Route {
  /** The state's generation it was compiled from; a newer one makes it stale. */
  readonly generation: number;
  readonly source: WorkloadFacts;
  /** At least one. */
  readonly candidates: readonly Candidate[];
  /** The service that was meant, for telemetry and `forwarded`; null where none. */
  readonly service: ServiceFacts | null;
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
  readonly destination: WorkloadFacts;
  /** Source by address; null where unknown or behind a gateway (spec/data-path §3.6). */
  readonly source: WorkloadFacts | null;
  readonly service: ServiceFacts | null;
  /** The policies that apply to the destination, in order of evaluation (spec/data-path §4.2). */
  readonly policies: readonly Policy[];
  /** How those were chosen, to ask again with `Router.policies` after a change. */
  readonly selection: PolicySelection;
}
