// The mesh at one moment: resources with the indexes that lookups need (spec/xds-state-and-dns §3.3–3.8).
import { addressWords, compileCidr, matchesNetwork, type Network } from "../rbac/cidr.ts";
import { policyKey } from "../rbac/judge.ts";
import type { Policy } from "../rbac/policy.ts";
import type { PolicySelection } from "../seam/route.ts";
import type { LocalWorkloadName, WorkloadFacts } from "../seam/workload.ts";
import { parseSpiffeId, type SpiffeId, spiffeId, SpiffeIdError } from "../tls/spiffe_id.ts";
import type { AppliedPolicies, Endpoint, Found, KnownService, MeshView } from "./mesh_view.ts";
import { type MeshResources, type Service, serviceKey, type Workload } from "./resources.ts";

interface CidrEntry {
  readonly network: Network;
  readonly prefixBits: number;
  readonly known: KnownService;
}

/** Immutable: a change of the mesh makes a new one. "First" and "last" mean the order of the resources. */
export class MeshState implements MeshView {
  /** One line each: what was wrong but no reason to refuse. */
  readonly warnings: readonly string[];
  readonly workloads: readonly Workload[];
  readonly services: readonly KnownService[];
  readonly policies: readonly Policy[];

  readonly #byUid = new Map<string, Workload>();
  readonly #byIp = new Map<string, Workload>();
  readonly #byLocalName = new Map<string, Workload[]>();
  readonly #byWorkloadHostname = new Map<string, Workload>();
  readonly #byServiceKey = new Map<string, KnownService>();
  readonly #byHostname = new Map<string, KnownService[]>();
  readonly #byName = new Map<string, KnownService[]>();
  readonly #byVip = new Map<string, KnownService[]>();
  readonly #byCidr = new Map<string, CidrEntry[]>();
  readonly #policyByKey = new Map<string, Policy>();
  readonly #policiesOf = new Map<string, Policy[]>();
  readonly #factsOf = new Map<Workload, WorkloadFacts>();
  readonly #policyListOf = new Map<Workload, AppliedPolicies>();

  constructor(resources: MeshResources) {
    const warnings: string[] = [];
    this.workloads = resources.workloads;
    this.policies = resources.policies;
    for (const workload of resources.workloads) this.#addWorkload(workload);
    const staged = stageEndpoints(resources.workloads);
    this.services = resources.services.map((service) => {
      const known: KnownService = {
        service,
        facts: { hostname: service.hostname, name: service.name, namespace: service.namespace },
        subjectAltNames: parseNames(service, warnings),
        endpoints: this.#endpointsOf(service, staged.get(serviceKey(service)) ?? []),
      };
      this.#addService(known);
      return known;
    });
    for (const policy of resources.policies) {
      this.#policyByKey.set(policyKey(policy), policy);
      if (policy.scope === "WorkloadSelector") continue;
      append(this.#policiesOf, policy.scope === "Global" ? "" : policy.namespace, policy);
    }
    this.warnings = warnings;
  }

  #addWorkload(workload: Workload): void {
    if (workload.uid !== "") this.#byUid.set(workload.uid, workload);
    const { namespace, name, serviceAccount, hostname } = workload;
    append(this.#byLocalName, JSON.stringify([namespace, name, serviceAccount]), workload);
    if (hostname !== "") {
      const key = `${namespace}/${hostname}`;
      if (!this.#byWorkloadHostname.has(key)) this.#byWorkloadHostname.set(key, workload);
    }
    if (workload.networkMode === "HostNetwork") return;
    for (const ip of workload.ips) {
      const key = addressKey(workload.network, ip);
      const before = this.#byIp.get(key);
      // Equal rank: the one that came last (§3.4).
      if (before === undefined || addressRank(workload) >= addressRank(before)) {
        this.#byIp.set(key, workload);
      }
    }
  }

  /** Those of the file's `endpoints`, then those that workloads name; one for each workload. */
  #endpointsOf(service: Service, staged: readonly Endpoint[]): ReadonlyMap<Workload, Endpoint> {
    const endpoints = new Map<Workload, Endpoint>();
    for (const { workloadUid, ports, status } of service.endpoints) {
      const workload = this.#byUid.get(workloadUid);
      if (workload === undefined) continue; // spec/data-path L2.
      endpoints.set(workload, { workload, ports, healthy: status === "Healthy" });
    }
    for (const endpoint of staged) endpoints.set(endpoint.workload, endpoint);
    return endpoints;
  }

  #addService(known: KnownService): void {
    const { service } = known;
    this.#byServiceKey.set(serviceKey(service), known);
    putByNamespace(this.#byHostname, service.hostname, known);
    putByNamespace(this.#byName, service.hostname.toLowerCase(), known);
    for (const { network, ip } of service.vips) {
      putByNamespace(this.#byVip, addressKey(network, ip), known);
    }
    for (const { network, cidr } of service.cidrVips) {
      const entry = { network: compileCidr(cidr), prefixBits: cidr.prefixBits, known };
      append(this.#byCidr, network, entry);
    }
  }

  workloadByUid(uid: string): Workload | null {
    return this.#byUid.get(uid) ?? null;
  }

  /** Host-network workloads are never found so. Several: pod and HBONE win (§3.4). */
  workloadByIp(network: string, ip: string): Workload | null {
    return this.#byIp.get(addressKey(network, ip)) ?? null;
  }

  /** The workload a data plane works for; on another node than `nodeName` it is not found (§3.7). */
  localWorkload(local: LocalWorkloadName, nodeName: string | null): Workload | null {
    const key = JSON.stringify([local.namespace, local.name, local.serviceAccount]);
    const found = this.#byLocalName.get(key) ?? [];
    return found.find(({ node }) => nodeName === null || node === nodeName) ?? null;
  }

  /** By exact VIP, else by the best network that contains the address (§3.8). */
  serviceByIp(network: string, ip: string, clientNamespace: string | null): KnownService | null {
    const exact = pickService(this.#byVip.get(addressKey(network, ip)) ?? [], clientNamespace);
    if (exact !== null) return exact;
    const entries = this.#byCidr.get(network);
    if (entries === undefined) return null;
    const words = addressWords(ip);
    let best: CidrEntry | null = null;
    for (const entry of entries) {
      if (!isVisible(entry.known, clientNamespace) || !matchesNetwork(entry.network, words)) {
        continue;
      }
      if (best === null || isBetterCidr(entry, best, clientNamespace)) best = entry;
    }
    return best?.known ?? null;
  }

  /** As {@link serviceByHostname}, for a name in lower case: DNS knows no other (§6). */
  serviceByName(name: string, clientNamespace: string | null): KnownService | null {
    return pickService(this.#byName.get(name) ?? [], clientNamespace);
  }

  /** Case counts (spec/data-path §3.2). */
  serviceByHostname(hostname: string, clientNamespace: string | null): KnownService | null {
    return pickService(this.#byHostname.get(hostname) ?? [], clientNamespace);
  }

  /** Exactly this namespace and host name; else a workload that has both. */
  byNamespacedHostname(namespace: string, hostname: string): Found | null {
    const known = this.#byServiceKey.get(`${namespace}/${hostname}`);
    if (known !== undefined) return { kind: "service", known };
    const workload = this.#byWorkloadHostname.get(`${namespace}/${hostname}`);
    return workload === undefined ? null : { kind: "workload", workload };
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
    const known: KnownService[] = [];
    for (const key of workload.services.keys()) {
      const service = this.#byServiceKey.get(key);
      if (service !== undefined) known.push(service);
    }
    return known;
  }

  /** The same object for the same workload. */
  facts(workload: Workload): WorkloadFacts {
    let facts = this.#factsOf.get(workload);
    if (facts === undefined) {
      facts = workloadFacts(workload);
      this.#factsOf.set(workload, facts);
    }
    return facts;
  }

  /** What applies to a workload (spec/data-path §4.2): the same object for the same workload. */
  policiesOf(workload: Workload): AppliedPolicies {
    let applied = this.#policyListOf.get(workload);
    if (applied === undefined) {
      const { namespace, authorizationPolicies: listed } = workload;
      applied = this.select({ namespace, listed });
      this.#policyListOf.set(workload, applied);
    }
    return applied;
  }

  /** The policies that a selection means now, each once. */
  select(selection: PolicySelection): AppliedPolicies {
    const policies = new Set<Policy>();
    for (const policy of this.#policiesOf.get(selection.namespace) ?? []) policies.add(policy);
    for (const policy of this.#policiesOf.get("") ?? []) policies.add(policy);
    const unknown: string[] = [];
    for (const key of selection.listed) {
      const policy = this.#policyByKey.get(key);
      if (policy === undefined) unknown.push(key);
      else policies.add(policy);
    }
    return { selection, policies: [...policies], unknown };
  }
}

function addressKey(network: string, ip: string): string {
  return `${network}/${ip}`;
}

function append<Value>(map: Map<string, Value[]>, key: string, value: Value): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

/** At most one service of each namespace: a later one takes the earlier one's place (§3.3). */
function putByNamespace(
  map: Map<string, KnownService[]>,
  key: string,
  known: KnownService,
): void {
  const list = map.get(key);
  if (list === undefined) {
    map.set(key, [known]);
    return;
  }
  const { namespace } = known.service;
  const at = list.findIndex(({ service }) => service.namespace === namespace);
  if (at < 0) list.push(known);
  else list[at] = known;
}

/** Endpoints that workloads name, by service key. */
function stageEndpoints(workloads: readonly Workload[]): ReadonlyMap<string, Endpoint[]> {
  const staged = new Map<string, Endpoint[]>();
  for (const workload of workloads) {
    const healthy = workload.status === "Healthy";
    for (const [key, ports] of workload.services) append(staged, key, { workload, ports, healthy });
  }
  return staged;
}

/** Who is meant by an IP that several have: 3 pod and HBONE, 2 pod, 1 HBONE, 0 others (§3.4). */
function addressRank({ uid, protocol }: Workload): number {
  return (uid.includes("//Pod/") ? 2 : 0) + (protocol === "HBONE" ? 1 : 0);
}

function isVisible({ service }: KnownService, clientNamespace: string | null): boolean {
  return service.visibility === "Public" || clientNamespace === null ||
    clientNamespace === service.namespace;
}

/** The client's own namespace, else the last canonical one, else the first (§3.8). */
function pickService(
  services: readonly KnownService[],
  clientNamespace: string | null,
): KnownService | null {
  let first: KnownService | null = null;
  let canonical: KnownService | null = null;
  for (const known of services) {
    if (!isVisible(known, clientNamespace)) continue;
    if (known.service.namespace === clientNamespace) return known;
    first ??= known;
    if (known.service.canonical) canonical = known;
  }
  return canonical ?? first;
}

/** (in the client's namespace, prefix length, canonical), compared in that order; ties: the first. */
function isBetterCidr(entry: CidrEntry, best: CidrEntry, clientNamespace: string | null): boolean {
  const own = (candidate: CidrEntry) => candidate.known.service.namespace === clientNamespace;
  if (own(entry) !== own(best)) return own(entry);
  if (entry.prefixBits !== best.prefixBits) return entry.prefixBits > best.prefixBits;
  return entry.known.service.canonical && !best.known.service.canonical;
}

function parseNames(service: Service, warnings: string[]): SpiffeId[] {
  const names: SpiffeId[] = [];
  for (const text of service.subjectAltNames) {
    try {
      names.push(parseSpiffeId(text));
    } catch (error) {
      if (!(error instanceof SpiffeIdError)) throw error;
      const key = serviceKey(service);
      warnings.push(`ignoring a subject alternative name of service ${key}: ${error.message}`);
    }
  }
  return names;
}

/** The identity a workload's peer must expect of it. */
export function workloadIdentity(workload: Workload): SpiffeId {
  const { trustDomain, namespace, serviceAccount } = workload;
  return spiffeId({ trustDomain, namespace, serviceAccount });
}

function workloadFacts(workload: Workload): WorkloadFacts {
  return {
    uid: workload.uid,
    name: workload.name,
    namespace: workload.namespace,
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    identity: workloadIdentity(workload),
    workloadType: workload.workloadType.toLowerCase(),
    workloadName: workload.workloadName,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    clusterId: workload.clusterId,
    region: workload.locality.region,
    zone: workload.locality.zone,
  };
}
