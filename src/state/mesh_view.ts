// The mesh at one moment, as decisions and dumps see it (spec/xds-state-and-dns §3.3–3.8).
import type { Policy } from "../rbac/policy.ts";
import type { PolicySelection } from "../seam/route.ts";
import type { LocalWorkloadName, ServiceFacts, WorkloadFacts } from "../seam/workload.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { PortMap, Service, Workload } from "./resources.ts";

/** A workload as one service sees it. */
export interface Endpoint {
  readonly workload: Workload;
  /** The endpoint's own service port → target port; may lack ports that the service has. */
  readonly ports: PortMap;
  readonly healthy: boolean;
}

/** The endpoints of a service whose workloads are known, unhealthy ones too; choosing filters (§6). */
export interface Endpoints {
  readonly size: number;
  get(workload: Workload): Endpoint | undefined;
  values(): Iterable<Endpoint>;
}

/**
 * A service with what its workloads add to it. A value: where anything of it changes, its endpoints and their workloads
 * included, there is another object; whoever remembers something about it may do so by the object.
 */
export interface KnownService {
  readonly service: Service;
  readonly facts: ServiceFacts;
  /** `subjectAltNames` that are SPIFFE IDs, in order. */
  readonly subjectAltNames: readonly SpiffeId[];
  readonly endpoints: Endpoints;
}

/** What an address or a host name means. */
export type Found =
  | { readonly kind: "workload"; readonly workload: Workload }
  | { readonly kind: "service"; readonly known: KnownService };

/** The policies of a selection, and the names in it that nobody knows. */
export interface AppliedPolicies {
  readonly selection: PolicySelection;
  readonly policies: readonly Policy[];
  readonly unknown: readonly string[];
}

/** Immutable: a change of the mesh makes another one. "First" and "last" mean the order of insertion. */
export interface MeshView {
  workloadByUid(uid: string): Workload | null;
  /** Host-network workloads are never found so. Several: pod and HBONE win (§3.4). */
  workloadByIp(network: string, ip: string): Workload | null;
  /** The workload a data plane works for; on another node than `nodeName` it is not found (§3.7). */
  localWorkload(local: LocalWorkloadName, nodeName: string | null): Workload | null;
  /** By exact VIP, else by the best network that contains the address (§3.8). */
  serviceByIp(network: string, ip: string, clientNamespace: string | null): KnownService | null;
  /** Case counts (spec/data-path §3.2). */
  serviceByHostname(hostname: string, clientNamespace: string | null): KnownService | null;
  /** All that a client sees of a name in lower case, oldest first, one of each namespace: DNS leaves some out (§5.4). */
  servicesByName(name: string, clientNamespace: string | null): readonly KnownService[];
  /** Exactly this namespace and host name; else a workload that has both. */
  byNamespacedHostname(namespace: string, hostname: string): Found | null;
  /** "What is this IP?": a workload before a service (spec/data-path §2.2). */
  byIp(network: string, ip: string, clientNamespace: string | null): Found | null;
  /** The services that a workload backs, by its own list. */
  servicesOf(workload: Workload): readonly KnownService[];
  /** The same object for the same workload. */
  facts(workload: Workload): WorkloadFacts;
  /** What applies to a workload (spec/data-path §4.2): the same object for the same workload, as long as it is the same. */
  policiesOf(workload: Workload): AppliedPolicies;
  /** The policies that a selection means now, each once. */
  select(selection: PolicySelection): AppliedPolicies;
  /** Everything, in the order of dumps: by uid, by host name, by key. Not for the path of a connection. */
  readonly workloads: readonly Workload[];
  readonly services: readonly KnownService[];
  readonly policies: readonly Policy[];
}
