// The mesh as one decision asks it: every lookup notes what the answer depends on, and what was missing.
import {
  addressDependency,
  cidrDependency,
  hostnameDependency,
  localDependency,
  policyDependency,
  policyNamespaceDependency,
  serviceDependency,
} from "../seam/dependency.ts";
import type { Dependencies, PolicySelection } from "../seam/route.ts";
import type { AppliedPolicies, Found, KnownService, MeshView } from "./mesh_view.ts";
import { type GatewayAddress, serviceKey, type Workload } from "./resources.ts";
import type { LookupQuestion, Recorder } from "./trace.ts";

/**
 * Made for one decision, and of no use afterwards. Whatever changes a workload touches the keys by which it is found,
 * and those of the services it backs: its own key is not needed beside them.
 */
export class Lookups {
  readonly state: MeshView;
  readonly trace: Recorder;
  readonly #dependencies = new Set<string>();
  /** Keys that may be asked for on demand, each once (spec/xds-state-and-dns §1.9). */
  readonly misses: string[] = [];

  constructor(state: MeshView, trace: Recorder = null) {
    this.state = state;
    this.trace = trace;
  }

  /** Keys of `seam/dependency.ts`, each once. */
  get dependsOn(): Dependencies {
    return [...this.#dependencies];
  }

  /** The data plane's own record is part of every answer. */
  local(workload: Workload): void {
    this.#dependOn(localDependency(workload));
  }

  /** "What is this IP?": a workload before a service. A miss may be asked for. */
  byIp(
    question: LookupQuestion,
    network: string,
    ip: string,
    clientNamespace: string | null,
  ): Found | null {
    const found = this.state.byIp(network, ip, clientNamespace);
    this.#noteAddress(question, network, ip, found);
    if (found === null) this.#miss(`${network}/${ip}`);
    return found;
  }

  /** "Who takes this?": a service before a workload (spec/data-path §2.2). Never asked for on demand. */
  upstreamByIp(network: string, ip: string, clientNamespace: string | null): Found | null {
    const known = this.state.serviceByIp(network, ip, clientNamespace);
    const workload = known === null ? this.state.workloadByIp(network, ip) : null;
    const found: Found | null = known !== null
      ? { kind: "service", known }
      : workload !== null
      ? { kind: "workload", workload }
      : null;
    this.#noteAddress("upstream", network, ip, found);
    // A service may come to have it.
    if (workload !== null) this.#dependOn(cidrDependency(network));
    return found;
  }

  /** The workload of a peer. A miss may be asked for. */
  workloadByIp(question: LookupQuestion, network: string, ip: string): Workload | null {
    const workload = this.state.workloadByIp(network, ip);
    this.#dependOn(addressDependency(network, ip));
    if (workload === null) this.#miss(`${network}/${ip}`);
    this.trace?.push(this.#step(
      question,
      `${network}/${ip}`,
      workload === null ? null : { kind: "workload", workload },
    ));
    return workload;
  }

  /** A host name with its namespace: a service before a workload. */
  byNamespacedHostname(
    question: LookupQuestion,
    namespace: string,
    hostname: string,
  ): Found | null {
    const found = this.state.byNamespacedHostname(namespace, hostname);
    this.#dependOn(serviceDependency(namespace, hostname));
    this.trace?.push(this.#step(question, `${namespace}/${hostname}`, found));
    return found;
  }

  /** What a waypoint reference names, a workload before a service. Everything is visible to it. */
  byReference(
    question: LookupQuestion,
    reference: GatewayAddress,
    { onDemand }: { readonly onDemand: boolean },
  ): Found | null {
    if (reference.kind === "address") {
      const { network, ip } = reference;
      const found = this.state.byIp(network, ip, null);
      this.#noteAddress(question, network, ip, found);
      if (found === null && onDemand) this.#miss(`${network}/${ip}`);
      return found;
    }
    const { namespace, hostname } = reference;
    const found = this.byNamespacedHostname(question, namespace, hostname);
    if (found === null && onDemand) this.#miss(`${namespace}/${hostname}`);
    return found;
  }

  /** A host name as one namespace sees it. */
  serviceByHostname(hostname: string, clientNamespace: string): KnownService | null {
    const known = this.state.serviceByHostname(hostname, clientNamespace);
    this.#dependOn(hostnameDependency(hostname));
    const found: Found | null = known === null ? null : { kind: "service", known };
    if (known !== null) this.#dependOnService(known);
    this.trace?.push(this.#step("authority", hostname, found));
    return known;
  }

  /** The services that a workload backs, by its own list. */
  servicesOf(workload: Workload): readonly KnownService[] {
    for (const key of workload.services.keys()) {
      const slash = key.indexOf("/");
      this.#dependOn(serviceDependency(key.slice(0, slash), key.slice(slash + 1)));
    }
    return this.state.servicesOf(workload);
  }

  /** What applies to a workload (spec/data-path §4.2). */
  policiesOf(workload: Workload): AppliedPolicies {
    const applied = this.state.policiesOf(workload);
    this.#dependOnPolicies(applied.selection);
    if (this.trace !== null) {
      for (const { namespace, name } of applied.policies) {
        this.trace.push({ step: "policy", policy: `${namespace}/${name}`, known: true });
      }
      for (const policy of applied.unknown) {
        this.trace.push({ step: "policy", policy, known: false });
      }
    }
    return applied;
  }

  #dependOnPolicies({ namespace, listed }: PolicySelection): void {
    this.#dependOn(policyNamespaceDependency(namespace));
    this.#dependOn(policyNamespaceDependency(""));
    for (const key of listed) this.#dependOn(policyDependency(key));
  }

  #noteAddress(question: LookupQuestion, network: string, ip: string, found: Found | null): void {
    this.#dependOn(addressDependency(network, ip));
    if (found === null) this.#dependOn(cidrDependency(network));
    else if (found.kind === "service") {
      this.#dependOnService(found.known);
      // Perhaps it was found by its network: another one may fit better.
      if (found.known.service.cidrVips.length > 0) this.#dependOn(cidrDependency(network));
    }
    this.trace?.push(this.#step(question, `${network}/${ip}`, found));
  }

  #dependOnService({ service }: KnownService): void {
    this.#dependOn(serviceDependency(service.namespace, service.hostname));
  }

  #dependOn(key: string): void {
    this.#dependencies.add(key);
  }

  #miss(key: string): void {
    if (!this.misses.includes(key)) this.misses.push(key);
  }

  #step(question: LookupQuestion, key: string, found: Found | null) {
    const name = found === null
      ? null
      : found.kind === "workload"
      ? found.workload.uid
      : serviceKey(found.known.service);
    return { step: "lookup", question, key, found: found?.kind ?? "nothing", name } as const;
  }
}
