// Service messages to services (spec/xds-state-and-dns §2.2, §2.5).
import { istio } from "../proto/messages.js";
import type {
  LoadBalancer,
  NetworkCidr,
  NetworkIp,
  RoutingScope,
  Service,
  WeightedWaypoint,
} from "../state/resources.ts";
import {
  checkCount,
  convertAll,
  gatewayOf,
  NOTHING,
  portMapOf,
  requiredGateway,
} from "./convert_common.ts";
import { cidrOf, ipText, isWholeAddress } from "./ip_text.ts";
import { cannotConvert, enumValue } from "./resource_error.ts";

const IP_FAMILIES = [null, "IPv4", "IPv6", "Dual"] as const;
const MODES = ["Standard", "Strict", "Failover", "Passthrough"] as const;
const HEALTH_POLICIES = ["OnlyHealthy", "AllowAll"] as const;
/** Number 0 is no scope. */
const SCOPES: readonly (RoutingScope | undefined)[] = [
  undefined,
  "Region",
  "Zone",
  "Subzone",
  "Node",
  "Cluster",
  "Network",
];

/**
 * Converts a service; its endpoints are what workloads say.
 * @throws {ResourceError} of kind "convert".
 */
export function convertService(message: istio.workload.Service): Service {
  checkCount(message.addresses.length, "addresses");
  checkCount(message.weightedWaypoints.length, "weighted waypoints");
  const { NAMESPACE } = istio.workload.Service.Visibility;
  return {
    name: message.name,
    namespace: message.namespace,
    hostname: message.hostname,
    vips: convertAll(message.addresses.filter(isExact), convertVip),
    cidrVips: message.addresses.every(isExact)
      ? NOTHING
      : message.addresses.filter((address) => !isExact(address)).map(convertCidrVip),
    ports: portMapOf(message.ports),
    endpoints: NOTHING,
    subjectAltNames: message.subjectAltNames,
    waypoint: gatewayOf(message.waypoint),
    weightedWaypoints: convertAll(message.weightedWaypoints, convertWeighted),
    loadBalancer: convertLoadBalancing(message.loadBalancing),
    ipFamilies: enumValue<(typeof IP_FAMILIES)[number]>(IP_FAMILIES, message.ipFamilies),
    canonical: message.canonical,
    // An unknown number is public.
    visibility: message.visibility === NAMESPACE ? "Namespace" : "Public",
  };
}

/** One address rather than a network: no length, or all the bits that the address has. */
function isExact({ address, length }: istio.workload.NetworkAddress): boolean {
  return length === null || isWholeAddress(address, length);
}

function convertVip({ network, address }: istio.workload.NetworkAddress): NetworkIp {
  return { network, ip: ipText(address) };
}

function convertCidrVip({ network, address, length }: istio.workload.NetworkAddress): NetworkCidr {
  const cidr = cidrOf(address, length!);
  if (cidr === null) throw cannotConvert(`invalid cidr: ${ipText(address)}/${length}`);
  return { network, cidr };
}

function convertWeighted(weighted: istio.workload.WeightedWaypoint): WeightedWaypoint {
  return { destination: requiredGateway(weighted.destination), weight: weighted.weight };
}

function convertLoadBalancing(message: istio.workload.LoadBalancing | null): LoadBalancer | null {
  if (message === null) return null;
  return {
    routingPreferences: convertAll(message.routingPreference, convertScope),
    mode: enumValue(MODES, message.mode),
    healthPolicy: enumValue(HEALTH_POLICIES, message.healthPolicy),
  };
}

function convertScope(number: number): RoutingScope {
  if (number === istio.workload.LoadBalancing.Scope.UNSPECIFIED_SCOPE) {
    throw cannotConvert("unknown enum: invalid target");
  }
  return enumValue(SCOPES, number)!;
}
