// The questions a data plane asks and the errors it may get (design §3.4). In one isolate a plain call,
// across two a message; hence completion callbacks and plain values.
import type { SocketAddress } from "../base/address.ts";
import type { Cancel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { Policy } from "../rbac/policy.ts";
import type { InboundAuthority, InboundRoute, PolicySelection, Route } from "./route.ts";
import type { LocalWorkloadName, WorkloadFacts } from "./workload.ts";

export type RouteErrorCode =
  | "WORKLOAD_UNKNOWN"
  | "SELF_CALL"
  | "NO_HEALTHY_UPSTREAM"
  | "NO_VALID_DESTINATION"
  | "UNKNOWN_WAYPOINT"
  | "UNKNOWN_GATEWAY"
  | "NO_SERVICE_FOR_TARGET"
  | "IP_MISMATCH"
  | "NO_SERVICE_OR_WORKLOAD"
  | "PORT_NOT_RESOLVED"
  | "NO_SERVICE_ADDRESS"
  | "NAME_NOT_RESOLVED"
  | "WAITS_FULL";

/** The Router refuses. The message is the access log's `error`, to the letter (spec/config-and-observability §7.6). */
export class RouteError extends ProxyError {
  readonly code: RouteErrorCode;

  constructor(code: RouteErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface OutboundQuestion {
  readonly local: LocalWorkloadName;
  /** The application's socket. */
  readonly source: SocketAddress;
  /** Where the application wanted to go. */
  readonly destination: SocketAddress;
}

export interface InboundQuestion {
  readonly local: LocalWorkloadName;
  /** The connection's own IP (D of spec/data-path §3.3). */
  readonly localIp: string;
  readonly peerIp: string;
  readonly authority: InboundAuthority;
  /** `host=` of the `forwarded` header, for telemetry; null where none. */
  readonly forwardedHost: string | null;
  /** True when `x-forwarded-network` names another network (spec/data-path §3.6). */
  readonly fromGateway: boolean;
}

/** A connection that came in plain and was captured on 15006 (spec/data-path §3.7). */
export interface PlaintextQuestion {
  readonly local: LocalWorkloadName;
  readonly peerIp: string;
  /** Where the peer wanted to go: what policy judges and what is dialled, never changed. */
  readonly destination: SocketAddress;
}

/** A host name to be resolved for one connection (spec/xds-state-and-dns §3.11). */
export interface HostQuestion {
  readonly local: LocalWorkloadName;
  readonly hostname: string;
  /** Named by the errors. */
  readonly workloadUid: string;
  /** The family preferred. */
  readonly family: 4 | 6;
}

/**
 * Answers what happens to a connection (design §2). Pure over the state; waits at most 5 s for an unknown
 * local workload. Errors are `RouteError`.
 */
export interface Router {
  /** The record of the data plane's own workload, waiting for it if needed. */
  localWorkload(local: LocalWorkloadName, done: Done<WorkloadFacts>): Cancel;
  outbound(question: OutboundQuestion, done: Done<Route>): Cancel;
  inbound(question: InboundQuestion, done: Done<InboundRoute>): Cancel;
  /** As `inbound`, for a connection without HBONE and without identity: never rerouted, not through a waypoint either. */
  inboundPlaintext(question: PlaintextQuestion, done: Done<InboundRoute>): Cancel;
  /** The policies that a selection means now, in order of evaluation: for connections that live already. */
  policies(selection: PolicySelection, done: Done<readonly Policy[]>): Cancel;
  /**
   * Resolves a name for an application of `local` (SOCKS5 names; later the DNS proxy): the first address,
   * canonical. `family` is the one preferred: 4 asks for A, 6 for AAAA.
   */
  resolve(local: LocalWorkloadName, name: string, family: 4 | 6, done: Done<string>): Cancel;
  /** The address of a workload that is known by name: canonical, drawn anew for each question. */
  resolveHost(question: HostQuestion, done: Done<string>): Cancel;
  /** Called after any change of state that can alter a route or a policy, with its generation. */
  onChange(listener: (change: StateChange) => void): Cancel;
}

export interface StateChange {
  readonly generation: number;
  /** True when policies changed by xDS: live inbound connections are judged again (spec/data-path R1). */
  readonly policies: boolean;
  /**
   * The dependencies that changed: answers without any of them are as good as new ones. Null: any answer may be
   * stale. At most {@link TOUCHED_MAX}.
   */
  readonly touched: readonly string[] | null;
}

/** Of more changed dependencies than these a change says "everything". */
export const TOUCHED_MAX = 4_096;
