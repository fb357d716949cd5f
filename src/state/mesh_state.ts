// The mesh at one moment: what lookups find in its indexes (spec/xds-state-and-dns §3.3–3.8, §3.15).
import type { Policy } from "../rbac/policy.ts";
import type { PolicySelection } from "../seam/route.ts";
import type { LocalWorkloadName, WorkloadFacts } from "../seam/workload.ts";
import { MeshDraft, MeshIndexes } from "./mesh_draft.ts";
import type { AppliedPolicies, Endpoint, Found, KnownService, MeshView } from "./mesh_view.ts";
import type { MeshResources, Workload } from "./resources.ts";
import type { PolicyIndex } from "./policy_index.ts";
import type { ServiceIndex } from "./service_index.ts";
import { factsOf } from "./workload_facts.ts";
import type { WorkloadEntry, WorkloadIndex } from "./workload_index.ts";

export { workloadIdentity } from "./workload_facts.ts";

/**
 * Immutable: a change of the mesh makes a new one, which shares what did not change. "First" and "last" mean the
 * order of insertion.
 */
export class MeshState implements MeshView {
  /** One line each: what was wrong with the given resources, but no reason to refuse. */
  readonly warnings: readonly string[];
  readonly #indexes: MeshIndexes;
  readonly #workloads: WorkloadIndex;
  readonly #services: ServiceIndex;
  readonly #policies: PolicyIndex;
  #workloadList: readonly Workload[] | null = null;
  #serviceList: readonly KnownService[] | null = null;
  #policyList: readonly Policy[] | null = null;

  /** @param source Resources, inserted in their order; or indexes that are finished. */
  constructor(source: MeshResources | MeshIndexes) {
    const warnings: string[] = [];
    this.#indexes = source instanceof MeshIndexes ? source : indexesOf(source, warnings);
    this.#workloads = this.#indexes.workloads;
    this.#services = this.#indexes.services;
    this.#policies = this.#indexes.policies;
    this.warnings = warnings;
  }

  /** For whoever makes the next one. */
  get indexes(): MeshIndexes {
    return this.#indexes;
  }

  workloadByUid(uid: string): Workload | null {
    return this.#workloads.byUid(uid);
  }

  /** Host-network workloads are never found so. Several: pod and HBONE win (§3.4). */
  workloadByIp(network: string, ip: string): Workload | null {
    return this.#workloads.byIp(network, ip);
  }

  /** The workload a data plane works for; on another node than `nodeName` it is not found (§3.7). */
  localWorkload(local: LocalWorkloadName, nodeName: string | null): Workload | null {
    return this.#workloads.local(local, nodeName);
  }

  /** By exact VIP, else by the best network that contains the address (§3.8). */
  serviceByIp(network: string, ip: string, clientNamespace: string | null): KnownService | null {
    return this.#services.byIp(network, ip, clientNamespace);
  }

  /** All of a name in lower case that the client sees, oldest first, at most one of each namespace. */
  servicesByName(name: string, clientNamespace: string | null): readonly KnownService[] {
    return this.#services.visibleByName(name, clientNamespace);
  }

  /** Case counts (spec/data-path §3.2). */
  serviceByHostname(hostname: string, clientNamespace: string | null): KnownService | null {
    return this.#services.byHostname(hostname, clientNamespace);
  }

  /** Exactly this namespace and host name; else a workload that has both. */
  byNamespacedHostname(namespace: string, hostname: string): Found | null {
    const known = this.#services.byKey(`${namespace}/${hostname}`);
    if (known !== null) return { kind: "service", known };
    const workload = this.#workloads.byHostname(namespace, hostname);
    return workload === null ? null : { kind: "workload", workload };
  }

  /** "What is this IP?": a workload before a service (spec/data-path §2.2). */
  byIp(network: string, ip: string, clientNamespace: string | null): Found | null {
    const workload = this.workloadByIp(network, ip);
    if (workload !== null) return { kind: "workload", workload };
    const known = this.serviceByIp(network, ip, clientNamespace);
    return known === null ? null : { kind: "service", known };
  }

  /** The services that a workload backs, by its own list. */
  servicesOf(workload: Workload): KnownService[] {
    const found: KnownService[] = [];
    for (const key of workload.services.keys()) {
      const known = this.#services.byKey(key);
      if (known !== null) found.push(known);
    }
    return found;
  }

  /** The same object for the same workload, and across changes that do not show in it. */
  facts(workload: Workload): WorkloadFacts {
    return factsOf(workload);
  }

  /** What applies to a workload (spec/data-path §4.2): the same object as long as it is the same, across changes. */
  policiesOf(workload: Workload): AppliedPolicies {
    return this.#policies.of(workload);
  }

  /** The policies that a selection means now, each once; of a namespace, then global, then listed ones. */
  select(selection: PolicySelection): AppliedPolicies {
    return this.#policies.select(selection);
  }

  /** By uid. Sorted at the first call. */
  get workloads(): readonly Workload[] {
    if (this.#workloadList === null) {
      const entries: WorkloadEntry[] = [];
      this.#workloads.forEach((entry) => entries.push(entry));
      entries.sort((a, b) => compare(a.workload.uid, b.workload.uid) || a.order - b.order);
      this.#workloadList = entries.map(({ workload }) => workload);
    }
    return this.#workloadList;
  }

  /** By host name, then namespace. Sorted at the first call. */
  get services(): readonly KnownService[] {
    if (this.#serviceList === null) {
      const list: KnownService[] = [];
      this.#services.forEachGroup(({ known }) => {
        if (known !== null) list.push(known);
      });
      this.#serviceList = list.sort((a, b) =>
        compare(a.service.hostname, b.service.hostname) ||
        compare(a.service.namespace, b.service.namespace)
      );
    }
    return this.#serviceList;
  }

  /** By key. Sorted at the first call. */
  get policies(): readonly Policy[] {
    return this.#policyList ??= this.#policies.list();
  }

  /** Endpoints of services that nobody knows: service key → endpoints by uid; keys sorted (§3.15). */
  get stagedServices(): ReadonlyMap<string, readonly Endpoint[]> {
    const staged: [string, Endpoint[]][] = [];
    this.#services.forEachGroup(({ known, members }, key) => {
      if (known !== null) return;
      staged.push([
        key,
        members.values().sort((a, b) => compare(a.workload.uid, b.workload.uid)),
      ]);
    });
    return new Map(staged.sort(([a], [b]) => compare(a, b)));
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Built in one go; what the file says wrongly is told at once. */
function indexesOf(resources: MeshResources, warnings: string[]): MeshIndexes {
  const draft = new MeshDraft(MeshIndexes.empty(), {
    scope: "everything",
    warn: (line) => warnings.push(line),
  });
  for (const _ of draft.fill(resources)) continue;
  const indexes = draft.finish();
  for (const { namespace, hostname } of resources.services) {
    void indexes.services.byKey(`${namespace}/${hostname}`)?.subjectAltNames;
  }
  return indexes;
}
