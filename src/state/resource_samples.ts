// Whole resources for tests: each says only what matters to it.
import type { Policy } from "../rbac/policy.ts";
import type { AddressUpdate, MeshResource, PolicyUpdate } from "./mesh_update.ts";
import type { PortMap, Service, Workload } from "./resources.ts";

/** A healthy pod without addresses or services, in namespace `ns`. */
export function workload(some: Partial<Workload> = {}): Workload {
  return {
    uid: "c//Pod/ns/w",
    name: "w",
    namespace: "ns",
    ips: [],
    services: new Map(),
    protocol: "TCP",
    networkMode: "Standard",
    network: "",
    trustDomain: "cluster.local",
    serviceAccount: "default",
    waypoint: null,
    networkGateway: null,
    hostname: "",
    node: "",
    workloadName: "",
    workloadType: "",
    canonicalName: "",
    canonicalRevision: "",
    nativeTunnel: false,
    applicationTunnel: null,
    authorizationPolicies: [],
    status: "Healthy",
    clusterId: "",
    locality: { region: "", zone: "", subzone: "" },
    capacity: 1,
    ...some,
  };
}

/** A public service without addresses, port 80 → 8080, in namespace `ns`. */
export function service(some: Partial<Service> = {}): Service {
  return {
    name: "s",
    namespace: "ns",
    hostname: "s.example",
    vips: [],
    cidrVips: [],
    ports: ports(80, 8080),
    endpoints: [],
    subjectAltNames: [],
    waypoint: null,
    weightedWaypoints: [],
    loadBalancer: null,
    ipFamilies: null,
    canonical: false,
    visibility: "Public",
    ...some,
  };
}

/** A policy of namespace `ns` that allows nobody. */
export function policy(some: Partial<Policy> = {}): Policy {
  return {
    name: "p",
    namespace: "ns",
    scope: "Namespace",
    action: "Allow",
    dryRun: false,
    rules: [],
    ...some,
  };
}

export function ports(from: number, to: number): PortMap {
  return new Map([[from, to]]);
}

/** Services that a workload backs, each by port 80 → 8080 unless said. */
export function backs(...keys: readonly string[]): ReadonlyMap<string, PortMap> {
  return new Map(keys.map((key) => [key, ports(80, 8080)]));
}

/** One response about addresses. */
export function addresses(
  set: readonly (Workload | Service)[],
  removed: readonly string[] = [],
): AddressUpdate {
  return { kind: "addresses", set: set.map(resource), removed };
}

/** One response about policies, named `namespace/name`. */
export function policies(set: readonly Policy[], removed: readonly string[] = []): PolicyUpdate {
  return {
    kind: "policies",
    set: set.map((policy) => ({ name: `${policy.namespace}/${policy.name}`, policy })),
    removed,
  };
}

function resource(one: Workload | Service): MeshResource {
  return "uid" in one ? { kind: "workload", workload: one } : { kind: "service", service: one };
}
