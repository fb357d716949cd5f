// What a client must hold after responses: resources in plain lists, answers by going through all of them.
import { compileCidr } from "../../src/rbac/cidr.ts";
import { addressWords } from "../../src/rbac/cidr.ts";
import type { Policy } from "../../src/rbac/policy.ts";
import type { MeshUpdate } from "../../src/state/mesh_update.ts";
import type { KnownService, MeshView } from "../../src/state/mesh_view.ts";
import { MeshState } from "../../src/state/mesh_state.ts";
import { type Service, serviceKey, type Workload } from "../../src/state/resources.ts";
import { isSameValue } from "../../src/state/same_value.ts";
import { decodeAddress, decodeAuthorization, payloadOf } from "../../src/xds/convert.ts";
import { DeltaResponseError, DeltaResponseReader } from "../../src/xds/delta_response.ts";
import { NackText } from "../../src/xds/nack_text.ts";
import { ResourceError } from "../../src/xds/resource_error.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../src/xds/types.ts";

/** What a response must do. */
export interface Prediction {
  readonly typeUrl: string;
  readonly nonce: string;
  /** Null: its type is not one of ours. */
  readonly update: MeshUpdate | null;
  /** Accepted names with their versions, in order. */
  readonly versions: readonly (readonly [name: string, version: string])[];
  /** Null: an ACK. */
  readonly rejected: string | null;
}

/** Each part is a pure function with tests of its own; what is predicted is that they were put together right. */
export function predict(message: Uint8Array): Prediction | "unreadable" {
  const response = new DeltaResponseReader(message);
  try {
    while (!response.read(1_000_000)) continue;
  } catch (error) {
    if (error instanceof DeltaResponseError) return "unreadable";
    throw error;
  }
  const { typeUrl, nonce, removed } = response;
  if (typeUrl !== ADDRESS_TYPE && typeUrl !== AUTHORIZATION_TYPE) {
    return { typeUrl, nonce, update: null, versions: [], rejected: null };
  }
  const nack = new NackText();
  const versions: [string, string][] = [];
  const addresses: (MeshUpdate & { kind: "addresses" })["set"][number][] = [];
  const policies: { name: string; policy: Policy }[] = [];
  for (const resource of response.resources) {
    const { name, version } = resource;
    try {
      const payload = payloadOf(resource);
      if (typeUrl === ADDRESS_TYPE) addresses.push(decodeAddress(payload, name));
      else policies.push({ name, policy: decodeAuthorization(payload) });
      versions.push([name, version]);
    } catch (error) {
      if (!(error instanceof ResourceError)) throw error;
      nack.add(name, error.message, error.kind);
    }
  }
  const update: MeshUpdate = typeUrl === ADDRESS_TYPE
    ? { kind: "addresses", set: addresses, removed }
    : { kind: "policies", set: policies, removed };
  return { typeUrl, nonce, update, versions, rejected: nack.text() };
}

/** True when the state has something to do. */
export function changesState({ update }: Prediction): boolean {
  return update !== null && update.set.length + update.removed.length > 0;
}

/** The mesh of all that was predicted, in the order in which resources came; an update moves to the end. */
export class MeshModel {
  readonly workloads = new Map<string, Workload>();
  readonly services = new Map<string, Service>();
  readonly policies = new Map<string, Policy>();
  readonly versions: Readonly<Record<string, Map<string, string>>> = {
    [ADDRESS_TYPE]: new Map(),
    [AUTHORIZATION_TYPE]: new Map(),
  };

  /** The state has taken the update. */
  apply({ update }: Prediction): void {
    if (update === null) return;
    if (update.kind === "policies") {
      for (const { name, policy } of update.set) this.policies.set(name, policy);
      for (const name of update.removed) this.policies.delete(name);
      return;
    }
    for (const resource of update.set) {
      if (resource.kind === "workload") {
        this.workloads.delete(resource.workload.uid);
        this.workloads.set(resource.workload.uid, resource.workload);
      } else {
        this.services.delete(serviceKey(resource.service));
        this.services.set(serviceKey(resource.service), resource.service);
      }
    }
    for (const name of update.removed) {
      if (this.workloads.delete(name)) continue;
      // §3.4: exactly one slash is a service's key.
      if (name.split("/").length === 2) this.services.delete(name);
    }
  }

  /** The client has remembered the names. */
  remember({ typeUrl, update, versions }: Prediction): void {
    const known = this.versions[typeUrl];
    if (known === undefined || update === null) return;
    for (const [name, version] of versions) known.set(name, version);
    for (const name of update.removed) known.delete(name);
  }

  /** The same mesh, built in one go. */
  build(): MeshState {
    return new MeshState({
      workloads: [...this.workloads.values()],
      services: [...this.services.values()],
      policies: [...this.policies.values()],
    });
  }

  /** @throws where `view` says anything else. */
  compare(view: MeshView & Pick<MeshState, "stagedServices">): void {
    this.#compareDumps(view);
    const networks = new Set(["", ...[...this.workloads.values()].map(({ network }) => network)]);
    const ips = new Set<string>();
    const namespaces = new Set<string | null>([null, "elsewhere"]);
    for (const [uid, workload] of this.workloads) {
      if (uid !== "") same(`workloadByUid ${uid}`, view.workloadByUid(uid), workload);
      for (const ip of workload.ips) ips.add(ip);
      same(`policiesOf ${uid}`, view.policiesOf(workload).policies, this.#policiesOf(workload));
    }
    for (const [key, service] of this.services) {
      namespaces.add(service.namespace);
      for (const { ip, network } of service.vips) {
        ips.add(ip);
        networks.add(network);
      }
      for (const { cidr, network } of service.cidrVips) {
        ips.add(cidr.ip);
        networks.add(network);
      }
      const found = view.byNamespacedHostname(service.namespace, service.hostname);
      if (found?.kind !== "service") throw new Error(`service ${key} is not found`);
      this.#compareEndpoints(key, found.known);
    }
    for (const network of networks) {
      for (const ip of ips) {
        same(
          `workloadByIp ${network}/${ip}`,
          view.workloadByIp(network, ip),
          this.#byIp(network, ip),
        );
        for (const namespace of namespaces) {
          same(
            `serviceByIp ${network}/${ip} for ${namespace}`,
            view.serviceByIp(network, ip, namespace)?.service ?? null,
            this.#serviceByIp(network, ip, namespace),
          );
        }
      }
    }
  }

  #compareDumps(view: MeshView & Pick<MeshState, "stagedServices">): void {
    const sorted = (keys: Iterable<string>) => [...keys].sort();
    same("workloads", sorted(view.workloads.map(({ uid }) => uid)), sorted(this.workloads.keys()));
    const keys = view.services.map(({ service }) => serviceKey(service));
    same("services", sorted(keys), sorted(this.services.keys()));
    same(
      "policies",
      view.policies,
      sorted(this.policies.keys()).map((key) => this.policies.get(key)!),
    );
    const staged = new Set<string>();
    for (const { services } of this.workloads.values()) {
      for (const key of services.keys()) if (!this.services.has(key)) staged.add(key);
    }
    same("staged services", [...view.stagedServices.keys()], sorted(staged));
  }

  #compareEndpoints(key: string, { service, endpoints }: KnownService): void {
    same(`service ${key}`, service, this.services.get(key));
    const said = [...endpoints.values()].map(({ workload, ports, healthy }) => ({
      workload,
      ports,
      healthy,
    }));
    const meant = [...this.workloads.values()].filter(({ services }) => services.has(key))
      .map((workload) => ({
        workload,
        ports: workload.services.get(key)!,
        healthy: workload.status === "Healthy",
      }));
    same(`endpoints of ${key}`, said, meant);
  }

  #policiesOf({ namespace, authorizationPolicies }: Workload): Policy[] {
    const sorted = [...this.policies].sort(([a], [b]) => a < b ? -1 : 1);
    const of = (scope: string, where: string | null) =>
      sorted.filter(([, policy]) =>
        policy.scope === scope && (where === null || policy.namespace === where)
      ).map(([, policy]) => policy);
    // A namespace without name is where the global ones are kept: they come in the order of keys.
    const byNamespace = namespace === ""
      ? sorted.filter(([, policy]) =>
        policy.scope === "Global" || policy.scope === "Namespace" && policy.namespace === ""
      ).map(([, policy]) => policy)
      : of("Namespace", namespace);
    // A policy of the namespace "" counts as a global one.
    const everywhere = sorted.filter(([, policy]) =>
      policy.scope === "Global" || policy.scope === "Namespace" && policy.namespace === ""
    ).map(([, policy]) => policy);
    const listed = authorizationPolicies.map((key) => this.policies.get(key))
      .filter((policy) => policy !== undefined);
    return [...new Set([...byNamespace, ...everywhere, ...listed])];
  }

  /** Pod and HBONE, pod, HBONE, others; of equals the youngest (§3.4). */
  #byIp(network: string, ip: string): Workload | null {
    let best: Workload | null = null;
    for (const workload of this.workloads.values()) {
      if (workload.networkMode === "HostNetwork" || workload.network !== network) continue;
      if (!workload.ips.includes(ip)) continue;
      if (best === null || rank(workload) >= rank(best)) best = workload;
    }
    return best;
  }

  #serviceByIp(network: string, ip: string, namespace: string | null): Service | null {
    const all = [...this.services.values()];
    const exact = all.filter(({ vips }) =>
      vips.some((vip) => vip.network === network && vip.ip === ip)
    );
    // One of each namespace: the youngest, in the place of the oldest (§3.3).
    const winners = new Map<string, Service>();
    for (const service of exact) winners.set(service.namespace, service);
    const visible = (service: Service) =>
      service.visibility === "Public" || namespace === null || namespace === service.namespace;
    const seen = [...winners.values()].filter(visible);
    const chosen = seen.find((service) => service.namespace === namespace) ??
      seen.findLast(({ canonical }) => canonical) ?? seen[0];
    if (chosen !== undefined) return chosen;
    let best: Service | null = null;
    let bestRank: readonly number[] = [];
    for (const service of all.filter(visible)) {
      for (const { network: where, cidr } of service.cidrVips) {
        if (where !== network || !contains(cidr, ip)) continue;
        const one = [
          service.namespace === namespace ? 1 : 0,
          cidr.prefixBits,
          service.canonical ? 1 : 0,
        ];
        if (best !== null && !isMore(one, bestRank)) continue;
        best = service;
        bestRank = one;
      }
    }
    return best;
  }
}

function rank({ uid, protocol }: Workload): number {
  return (uid.includes("//Pod/") ? 2 : 0) + (protocol === "HBONE" ? 1 : 0);
}

function isMore(a: readonly number[], b: readonly number[]): boolean {
  for (const [at, value] of a.entries()) if (value !== b[at]) return value > b[at]!;
  return false;
}

function contains(cidr: Service["cidrVips"][number]["cidr"], ip: string): boolean {
  const { words } = compileCidr(cidr);
  const asked = addressWords(ip);
  if (asked.length !== words.length) return false;
  const bits = (all: readonly number[]) =>
    all.map((word) => (word >>> 0).toString(2).padStart(32, "0")).join("").slice(
      0,
      cidr.prefixBits,
    );
  return bits(words) === bits(asked);
}

/** @throws unless both say the same. */
export function same(what: string, found: unknown, expected: unknown): void {
  if (isSameValue(found, expected)) return;
  throw new Error(`${what}: ${show(found)} instead of ${show(expected)}`);
}

function show(value: unknown): string {
  return (JSON.stringify(value, (_, one) => one instanceof Map ? [...one] : one) ?? "undefined")
    .slice(0, 2_000);
}
