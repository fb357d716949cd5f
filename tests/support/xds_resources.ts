// What a control plane serves, made from the values of a mesh file as istiod fills its messages
// (spec/xds-state-and-dns §3.1, §3.2).
import { createHash } from "node:crypto";
import { policyKey } from "../../src/rbac/judge.ts";
import type { Cidr, Policy, PolicyMatch, StringMatch } from "../../src/rbac/policy.ts";
import { parseMeshFile } from "../../src/state/mesh_file.ts";
import {
  type GatewayAddress,
  type PortMap,
  type Service,
  serviceKey,
  type Workload,
} from "../../src/state/resources.ts";
import type { Fields } from "./protobuf.ts";
import { XDS_PROTOBUF } from "./xds_schema.ts";

export type XdsType = "Address" | "Authorization";

export const TYPE_URLS: Readonly<Record<XdsType, string>> = {
  Address: "type.googleapis.com/istio.workload.Address",
  Authorization: "type.googleapis.com/istio.security.Authorization",
};

/** One resource as a server keeps it. */
export interface XdsResource {
  readonly type: XdsType;
  readonly name: string;
  /** Opaque; the same for the same octets. "" for policies, as istiod has it. */
  readonly version: string;
  /** `network/ip`, by which a proxy may ask for it. */
  readonly aliases: readonly string[];
  /** The message itself; null leaves the Any out. */
  readonly payload: Uint8Array | null;
  /** The node it runs on; "" for none. */
  readonly node: string;
  /** The services it backs, `namespace/hostname`. */
  readonly services: readonly string[];
}

/** A mesh in the words of a mesh file, with what is usual left out. */
export interface ShortMesh {
  /** A name is needed; namespace `ns`, uid `c//Pod/<namespace>/<name>`, HBONE. */
  readonly workloads?: readonly Record<string, unknown>[] | undefined;
  /** A host name is needed; namespace `ns`, port 80 → 8080, no VIP. */
  readonly services?: readonly Record<string, unknown>[] | undefined;
  /** A name is needed; namespace `ns`, for all of it; denies what its rules match, and it has none. */
  readonly policies?: readonly Record<string, unknown>[] | undefined;
}

/** Fills short forms up to what a mesh file needs; the resources in its order of kinds. */
export function shortResources(mesh: ShortMesh): XdsResource[] {
  const { workloads = [], services = [], policies = [] } = mesh;
  return resourcesOf(JSON.stringify({
    workloads: workloads.map((workload) => ({
      uid: `c//Pod/${workload["namespace"] ?? "ns"}/${workload["name"]}`,
      namespace: "ns",
      workloadIps: [],
      services: {},
      protocol: "HBONE",
      ...workload,
    })),
    services: services.map((service) => ({
      name: String(service["hostname"]).split(".")[0],
      namespace: "ns",
      vips: [],
      ports: { "80": 8080 },
      ...service,
    })),
    policies: policies.map((policy) => ({
      namespace: "ns",
      scope: "Namespace",
      action: "Deny",
      dryRun: false,
      rules: [],
      ...policy,
    })),
  }));
}

/** Every resource of a mesh file's text (spec/xds-state-and-dns §4), in its order of kinds. */
export function resourcesOf(meshFile: string): XdsResource[] {
  const { workloads, services, policies } = parseMeshFile(meshFile, { source: "test" });
  return [
    ...workloads.map(workloadResource),
    ...services.map(serviceResource),
    ...policies.map(policyResource),
  ];
}

export function workloadResource(workload: Workload): XdsResource {
  return resource("Address", workload.uid, encodeWorkload(workload), {
    aliases: workload.ips.map((ip) => `${workload.network}/${ip}`),
    node: workload.node,
    services: [...workload.services.keys()],
  });
}

export function serviceResource(service: Service): XdsResource {
  const cidrs = service.cidrVips.map(({ network, cidr }) =>
    `${network}/${cidr.ip}/${cidr.prefixBits}`
  );
  return resource("Address", serviceKey(service), encodeService(service), {
    aliases: [...service.vips.map(({ network, ip }) => `${network}/${ip}`), ...cidrs],
  });
}

export function policyResource(policy: Policy): XdsResource {
  return resource("Authorization", policyKey(policy), encodePolicy(policy));
}

/** Any octets under a name; a bad resource, mostly. Without `version` it has the one of its octets. */
export function resource(
  type: XdsType,
  name: string,
  payload: Uint8Array | null,
  options: Partial<Pick<XdsResource, "version" | "aliases" | "node" | "services">> = {},
): XdsResource {
  const version = type === "Authorization"
    ? ""
    : createHash("sha256").update(payload ?? "").digest("hex").slice(0, 16);
  return { type, name, version, aliases: [], payload, node: "", services: [], ...options };
}

/** `istio.workload.Address`. */
export function encodeWorkload(workload: Workload): Uint8Array<ArrayBuffer> {
  return XDS_PROTOBUF.encode("Address", { workload: workloadFields(workload) });
}

/** `istio.workload.Address`. */
export function encodeService(service: Service): Uint8Array<ArrayBuffer> {
  return XDS_PROTOBUF.encode("Address", { service: serviceFields(service) });
}

/** The fields of {@link Workload} under their names on the wire; to change some before encoding. */
export function workloadFields(workload: Workload): Fields {
  const { region, zone, subzone } = workload.locality;
  const hasLocality = region !== "" || zone !== "" || subzone !== "";
  return {
    name: workload.name,
    namespace: workload.namespace,
    addresses: workload.ips.map(ipBytes),
    network: workload.network,
    tunnelProtocol: workload.protocol === "HBONE" ? "HBONE" : "NONE",
    // Istiod leaves the usual one out.
    trustDomain: workload.trustDomain === "cluster.local" ? "" : workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    waypoint: gateway(workload.waypoint),
    node: workload.node,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: workload.workloadType === "" ? 0 : workload.workloadType.toUpperCase(),
    workloadName: workload.workloadName,
    nativeTunnel: workload.nativeTunnel,
    authorizationPolicies: workload.authorizationPolicies,
    status: workload.status === "Healthy" ? "HEALTHY" : "UNHEALTHY",
    clusterId: workload.clusterId,
    networkGateway: gateway(workload.networkGateway),
    uid: workload.uid,
    hostname: workload.hostname,
    services: Object.fromEntries(
      [...workload.services].map(([key, map]) => [key, { ports: ports(map) }]),
    ),
    applicationTunnel: workload.applicationTunnel === null ? undefined : {
      protocol: workload.applicationTunnel.protocol,
      port: workload.applicationTunnel.port ?? 0,
    },
    locality: hasLocality ? workload.locality : undefined,
    networkMode: workload.networkMode === "HostNetwork" ? "HOST_NETWORK" : "STANDARD",
    capacity: workload.capacity === 1 ? undefined : { value: workload.capacity },
  };
}

/** As {@link workloadFields}. What a file says of endpoints has no place in a service's message. */
export function serviceFields(service: Service): Fields {
  const { loadBalancer, ipFamilies } = service;
  const families = { Dual: "DUAL", IPv4: "IPV4_ONLY", IPv6: "IPV6_ONLY" } as const;
  const modes = {
    Standard: "UNSPECIFIED_MODE",
    Strict: "STRICT",
    Failover: "FAILOVER",
    Passthrough: "PASSTHROUGH",
  } as const;
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    addresses: [
      ...service.vips.map(({ network, ip }) => ({ network, address: ipBytes(ip) })),
      ...service.cidrVips.map(({ network, cidr }) => ({
        network,
        address: ipBytes(cidr.ip),
        length: cidr.prefixBits,
      })),
    ],
    ports: ports(service.ports),
    subjectAltNames: service.subjectAltNames,
    waypoint: gateway(service.waypoint),
    loadBalancing: loadBalancer === null ? undefined : {
      routingPreference: loadBalancer.routingPreferences.map((scope) => scope.toUpperCase()),
      mode: modes[loadBalancer.mode],
      healthPolicy: loadBalancer.healthPolicy === "AllowAll" ? "ALLOW_ALL" : "ONLY_HEALTHY",
    },
    ipFamilies: ipFamilies === null ? "AUTOMATIC" : families[ipFamilies],
    canonical: service.canonical,
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
      destination: gateway(destination),
      weight,
    })),
    visibility: service.visibility === "Namespace" ? "NAMESPACE" : "PUBLIC",
  };
}

/** `istio.security.Authorization`. */
export function encodePolicy(policy: Policy): Uint8Array<ArrayBuffer> {
  const scopes = {
    Global: "GLOBAL",
    Namespace: "NAMESPACE",
    WorkloadSelector: "WORKLOAD_SELECTOR",
  } as const;
  return XDS_PROTOBUF.encode("Authorization", {
    name: policy.name,
    namespace: policy.namespace,
    scope: scopes[policy.scope],
    action: policy.action === "Deny" ? "DENY" : "ALLOW",
    rules: policy.rules.map((clauses) => ({
      clauses: clauses.map((matches) => ({ matches: matches.map(matchFields) })),
    })),
    dryRun: policy.dryRun,
  });
}

function matchFields(match: PolicyMatch): Fields {
  return {
    namespaces: match.namespaces.map(stringMatch),
    notNamespaces: match.notNamespaces.map(stringMatch),
    principals: match.principals.map(stringMatch),
    notPrincipals: match.notPrincipals.map(stringMatch),
    sourceIps: match.sourceIps.map(cidrFields),
    notSourceIps: match.notSourceIps.map(cidrFields),
    destinationIps: match.destinationIps.map(cidrFields),
    notDestinationIps: match.notDestinationIps.map(cidrFields),
    destinationPorts: match.destinationPorts,
    notDestinationPorts: match.notDestinationPorts,
    serviceAccounts: match.serviceAccounts,
    notServiceAccounts: match.notServiceAccounts,
  };
}

function stringMatch(match: StringMatch): Fields {
  return match.kind === "presence" ? { presence: {} } : { [match.kind]: match.text };
}

function cidrFields({ ip, prefixBits }: Cidr): Fields {
  return { address: ipBytes(ip), length: prefixBits };
}

function ports(map: PortMap): Fields[] {
  return [...map].map(([servicePort, targetPort]) => ({ servicePort, targetPort }));
}

function gateway(address: GatewayAddress | null): Fields | undefined {
  if (address === null) return undefined;
  const { port: hboneMtlsPort } = address;
  if (address.kind === "hostname") {
    const { namespace, hostname } = address;
    return { hostname: { namespace, hostname }, hboneMtlsPort };
  }
  return { address: { network: address.network, address: ipBytes(address.ip) }, hboneMtlsPort };
}

/** 4 or 16 octets. */
export function ipBytes(ip: string): Uint8Array<ArrayBuffer> {
  if (!ip.includes(":")) return Uint8Array.from(ip.split("."), Number);
  const [head = "", tail = ""] = ip.split("::");
  const groups = (text: string) => text === "" ? [] : text.split(":");
  const [first, last] = [groups(head), groups(tail)];
  const zeros = Array<string>(8 - first.length - last.length).fill("0");
  return Uint8Array.from(
    [...first, ...zeros, ...last].flatMap((group) => {
      const value = Number.parseInt(group, 16);
      return [value >> 8, value & 255];
    }),
  );
}
