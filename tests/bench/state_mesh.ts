// The mesh of the state figures: 10,000 workloads, 1,000 services and 200 policies in 50 namespaces.
import {
  policyResource,
  serviceResource,
  workloadResource,
  type XdsResource,
} from "../support/xds_resources.ts";
import type { LocalWorkloadName } from "../../src/seam/workload.ts";
import { backs, policy, ports, service, workload } from "../../src/state/resource_samples.ts";
import type {
  GatewayAddress,
  MeshResources,
  Service,
  Workload,
} from "../../src/state/resources.ts";

export const WORKLOADS = 10_000;
export const SERVICES = 1_000;
export const POLICIES = 200;
const NAMESPACES = 50;
const ZONES = 3;

/** Workload 0: who asks. */
export const CALLER: LocalWorkloadName = {
  namespace: "team-0",
  name: "caller",
  serviceAccount: "caller",
};
export const CALLER_IP = "10.128.0.0";
export const CALLER_LOCALITY = { region: "region-1", zone: "zone-0", subzone: "" };

/** Services with something special: endpoints of different weight, ranked ones, waypoints. */
export const WEIGHTED = 1;
export const FAILOVER = 2;
export const FALLEN_OVER = 3;
export const WEIGHTED_WAYPOINTS = 4;
/** Every tenth service from here on has a waypoint. */
export const FIRST_WAYPOINTED = 10;
/** Waypoints are services themselves, the last ones. */
export const WAYPOINTS = [SERVICES - 2, SERVICES - 1] as const;
export const WAYPOINT_WEIGHTS = [30, 70] as const;

export function namespaceOf(n: number): string {
  return `team-${n % NAMESPACES}`;
}

export function serviceHostname(n: number): string {
  return `service-${n}.${namespaceOf(n)}.svc.cluster.local`;
}

export function vipOf(n: number): string {
  return `10.96.${n >> 8}.${n & 255}`;
}

export function ipOf(n: number): string {
  return `10.128.${n >> 8}.${n & 255}`;
}

/** Workload `n` backs service `n % SERVICES`: ten endpoints each. */
function workloadNumber(n: number): Workload {
  const of = n % SERVICES;
  const namespace = namespaceOf(of);
  const rank = Math.floor(n / SERVICES);
  const name = n === 0 ? CALLER.name : `service-${of}-${(n * 2654435761 >>> 0).toString(36)}-${n}`;
  const zone = of === FAILOVER || of === FALLEN_OVER ? rank % ZONES : n % ZONES;
  return workload({
    uid: `Kubernetes//Pod/${namespace}/${name}`,
    name,
    namespace,
    ips: [ipOf(n)],
    protocol: "HBONE",
    serviceAccount: n === 0 ? CALLER.serviceAccount : `service-${of}`,
    node: `node-${n % 100}.example.internal`,
    workloadName: `service-${of}`,
    workloadType: "pod",
    canonicalName: `service-${of}`,
    canonicalRevision: "v1",
    clusterId: "Kubernetes",
    locality: n === 0 ? CALLER_LOCALITY : { region: "region-1", zone: `zone-${zone}`, subzone: "" },
    services: backs(`${namespace}/${serviceHostname(of)}`),
    authorizationPolicies: n % 10 === 0 ? [`${namespace}/selected-${n % POLICIES}`] : [],
    capacity: of === WEIGHTED ? rank + 1 : 1,
    // The caller's own zone has nobody left there.
    status: of === FALLEN_OVER && zone === 0 ? "Unhealthy" : "Healthy",
  });
}

function waypoint(n: number): GatewayAddress {
  const hostname = serviceHostname(n);
  return { kind: "hostname", namespace: namespaceOf(n), hostname, port: 15008 };
}

function serviceNumber(n: number): Service {
  const isRanked = n === FAILOVER || n === FALLEN_OVER;
  const isWaypoint = WAYPOINTS.some((one) => one === n);
  return service({
    name: `service-${n}`,
    namespace: namespaceOf(n),
    hostname: serviceHostname(n),
    vips: [{ network: "", ip: vipOf(n) }],
    canonical: true,
    ports: isWaypoint ? ports(15008, 15008) : ports(80, 8080),
    loadBalancer: isRanked
      ? {
        routingPreferences: ["Network", "Region", "Zone"],
        mode: "Failover",
        healthPolicy: "OnlyHealthy",
      }
      : null,
    waypoint: n >= FIRST_WAYPOINTED && n % 10 === 0 ? waypoint(WAYPOINTS[0]) : null,
    weightedWaypoints: n === WEIGHTED_WAYPOINTS
      ? WAYPOINTS.map((of, at) => ({ destination: waypoint(of), weight: WAYPOINT_WEIGHTS[at]! }))
      : [],
  });
}

/** All of it, always the same. */
export function benchMesh(): MeshResources {
  const counted = <Item>(count: number, make: (n: number) => Item) =>
    Array.from({ length: count }, (_, n) => make(n));
  return {
    workloads: counted(WORKLOADS, workloadNumber),
    services: counted(SERVICES, serviceNumber),
    policies: counted(POLICIES, (n) =>
      policy({
        name: `selected-${n}`,
        namespace: namespaceOf(n),
        scope: n % 2 === 0 ? "WorkloadSelector" : "Namespace",
      })),
  };
}

/** The same as a control plane says it. */
export function benchResources(): XdsResource[] {
  const { workloads, services, policies } = benchMesh();
  return [
    ...workloads.map(workloadResource),
    ...services.map(serviceResource),
    ...policies.map(policyResource),
  ];
}
