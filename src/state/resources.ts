// What the mesh consists of, as values: workloads, services and policies (spec/xds-state-and-dns §2.2, §4).
import type { Cidr, Policy } from "../rbac/policy.ts";

/** Service port → target port. 0 as a target means a named port, resolved per endpoint. */
export type PortMap = ReadonlyMap<number, number>;

/** Where a waypoint or a network gateway is found. */
export type GatewayAddress =
  | {
    readonly kind: "address";
    readonly network: string;
    readonly ip: string;
    readonly port: number;
  }
  | {
    readonly kind: "hostname";
    readonly namespace: string;
    readonly hostname: string;
    readonly port: number;
  };

export interface WeightedWaypoint {
  readonly destination: GatewayAddress;
  /** 0 or more; 0 is never drawn. */
  readonly weight: number;
}

/** How an application takes connections that were meant for somebody else (spec/data-path §3.5). */
export interface ApplicationTunnel {
  readonly protocol: "NONE" | "PROXY";
  readonly port: number | null;
}

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** One endpoint of the mesh: a pod, a machine, a gateway. Unset texts are "". */
export interface Workload {
  /** Primary key; "" only in a local file, and then not found by it. */
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Canonical. */
  readonly ips: readonly string[];
  /** `namespace/hostname` of a service → this workload's own port map for it. */
  readonly services: ReadonlyMap<string, PortMap>;
  readonly protocol: "TCP" | "HBONE";
  /** HostNetwork: never found by its IP. */
  readonly networkMode: "Standard" | "HostNetwork";
  readonly network: string;
  /** As given: whoever reads xDS fills in `cluster.local`, a local file does not (§4.2). */
  readonly trustDomain: string;
  /** As given: whoever reads xDS fills in `default`, a local file does not (§4.2). */
  readonly serviceAccount: string;
  readonly waypoint: GatewayAddress | null;
  readonly networkGateway: GatewayAddress | null;
  readonly hostname: string;
  readonly node: string;
  readonly workloadName: string;
  readonly workloadType: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly nativeTunnel: boolean;
  readonly applicationTunnel: ApplicationTunnel | null;
  /** `namespace/name` of selector policies. */
  readonly authorizationPolicies: readonly string[];
  readonly status: "Healthy" | "Unhealthy";
  readonly clusterId: string;
  readonly locality: Locality;
  /** Weight, 0 to 2^32-1; 0 is never chosen. */
  readonly capacity: number;
}

/** A virtual IP in one network. */
export interface NetworkIp {
  readonly network: string;
  /** Canonical. */
  readonly ip: string;
}

export interface NetworkCidr {
  readonly network: string;
  readonly cidr: Cidr;
}

/** An endpoint that a file gives with the service, beside those that workloads name. */
export interface ServiceEndpoint {
  readonly workloadUid: string;
  readonly ports: PortMap;
  readonly status: "Healthy" | "Unhealthy";
}

export type RoutingScope = "Region" | "Zone" | "Subzone" | "Node" | "Cluster" | "Network";

export interface LoadBalancer {
  readonly routingPreferences: readonly RoutingScope[];
  readonly mode: "Standard" | "Strict" | "Failover" | "Passthrough";
  readonly healthPolicy: "OnlyHealthy" | "AllowAll";
}

export interface Service {
  readonly name: string;
  readonly namespace: string;
  /** With {@link namespace} the primary key, written `namespace/hostname`. */
  readonly hostname: string;
  readonly vips: readonly NetworkIp[];
  readonly cidrVips: readonly NetworkCidr[];
  readonly ports: PortMap;
  readonly endpoints: readonly ServiceEndpoint[];
  readonly subjectAltNames: readonly string[];
  readonly waypoint: GatewayAddress | null;
  readonly weightedWaypoints: readonly WeightedWaypoint[];
  readonly loadBalancer: LoadBalancer | null;
  /** null: automatic, the same as Dual. */
  readonly ipFamilies: "Dual" | "IPv4" | "IPv6" | null;
  readonly canonical: boolean;
  readonly visibility: "Public" | "Namespace";
}

/** Everything a mesh file or a control plane says. Order matters only where the spec says "first seen". */
export interface MeshResources {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly Policy[];
}

/** `namespace/hostname`: the key of a service. */
export function serviceKey(
  service: { readonly namespace: string; readonly hostname: string },
): string {
  return `${service.namespace}/${service.hostname}`;
}

/** The reference as errors name it: the host name, or `network/ip:port`. */
export function describeGateway(gateway: GatewayAddress): string {
  if (gateway.kind === "hostname") return gateway.hostname;
  const host = gateway.ip.includes(":") ? `[${gateway.ip}]` : gateway.ip;
  return `${gateway.network}/${host}:${gateway.port}`;
}
