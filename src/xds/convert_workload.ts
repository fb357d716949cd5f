// Workload messages to workloads, with the defaults that a control plane elides (spec/xds-state-and-dns §2.2, §2.5).
import { istio } from "../proto/messages.js";
import type { ApplicationTunnel, Locality, PortMap, Workload } from "../state/resources.ts";
import {
  checkCount,
  convertAll,
  gatewayOf,
  portMapOf,
  portOf,
  portsKey,
} from "./convert_common.ts";
import { ipText } from "./ip_text.ts";
import { keyPart, Pool } from "./pool.ts";
import { cannotConvert, enumValue } from "./resource_error.ts";

const TRUST_DOMAIN = "cluster.local";
const SERVICE_ACCOUNT = "default";
const CLUSTER_ID = "Kubernetes";
const CAPACITY = 1;

const STATUSES = ["Healthy", "Unhealthy"] as const;
const NETWORK_MODES = ["Standard", "HostNetwork"] as const;
const WORKLOAD_TYPES = ["deployment", "cronjob", "pod", "job"];
const TUNNEL_PROTOCOLS = ["TCP", "HBONE"] as const;
const APPLICATION_PROTOCOLS = ["NONE", "PROXY"] as const;

const NOWHERE: Locality = Object.freeze({ region: "", zone: "", subzone: "" });
const NO_SERVICES: ReadonlyMap<string, PortMap> = new Map();

const localities = new Pool<Locality>();
const servicesOf = new Pool<ReadonlyMap<string, PortMap>>();
const policyLists = new Pool<readonly string[]>();

/**
 * Converts a workload.
 * @param name The resource's name: the same as the uid, and then one string serves for both.
 * @throws {ResourceError} of kind "convert".
 */
export function convertWorkload(message: istio.workload.Workload, name?: string): Workload {
  checkCount(message.addresses.length, "addresses");
  checkCount(message.authorizationPolicies.length, "policies");
  return {
    uid: message.uid === name ? name : message.uid,
    name: message.name,
    namespace: message.namespace,
    ips: convertAll(message.addresses, ipText),
    services: convertServices(message.services),
    protocol: convertProtocol(message.tunnelProtocol),
    networkMode: enumValue(NETWORK_MODES, message.networkMode),
    network: message.network,
    trustDomain: message.trustDomain || TRUST_DOMAIN,
    serviceAccount: message.serviceAccount || SERVICE_ACCOUNT,
    waypoint: gatewayOf(message.waypoint),
    networkGateway: gatewayOf(message.networkGateway),
    hostname: message.hostname,
    node: message.node,
    workloadName: message.workloadName,
    workloadType: WORKLOAD_TYPES[message.workloadType] ?? WORKLOAD_TYPES[0]!,
    canonicalName: message.canonicalName,
    canonicalRevision: message.canonicalRevision,
    nativeTunnel: message.nativeTunnel,
    applicationTunnel: convertTunnel(message.applicationTunnel),
    authorizationPolicies: convertPolicies(message.authorizationPolicies),
    status: enumValue(STATUSES, message.status),
    clusterId: message.clusterId || CLUSTER_ID,
    locality: convertLocality(message.locality),
    capacity: message.capacity === null ? CAPACITY : message.capacity.value,
  };
}

function convertProtocol(number: number): "TCP" | "HBONE" {
  if (number === istio.workload.TunnelProtocol.LEGACY_ISTIO_MTLS) {
    throw cannotConvert("unknown enum: unsupported tunnel protocol: legacy istio mtls");
  }
  return enumValue(TUNNEL_PROTOCOLS, number);
}

function convertServices(
  services: Readonly<Record<string, istio.workload.PortList>>,
): ReadonlyMap<string, PortMap> {
  let key = "";
  let count = 0;
  for (const name in services) {
    checkCount(++count, "services");
    if (!name.includes("/")) throw cannotConvert(`failed to parse namespaced hostname: ${name}`);
    key += keyPart(name) + portsKey(services[name]!.ports);
  }
  if (key === "") return NO_SERVICES;
  return servicesOf.get(key, () =>
    new Map(
      Object.entries(services).map(([name, { ports }]) => [name, portMapOf(ports)]),
    ));
}

function convertTunnel(tunnel: istio.workload.ApplicationTunnel | null): ApplicationTunnel | null {
  if (tunnel === null) return null;
  const port = portOf(tunnel.port);
  return {
    protocol: enumValue(APPLICATION_PROTOCOLS, tunnel.protocol),
    port: port === 0 ? null : port,
  };
}

function convertLocality(locality: istio.workload.Locality | null): Locality {
  if (locality === null) return NOWHERE;
  const { region, zone, subzone } = locality;
  const key = `${keyPart(region)}${keyPart(zone)}${subzone}`;
  return localities.get(key, () => ({ region, zone, subzone }));
}

function convertPolicies(names: readonly string[]): readonly string[] {
  let key = "";
  for (const name of names) key += keyPart(name);
  return policyLists.get(key, () => names);
}
