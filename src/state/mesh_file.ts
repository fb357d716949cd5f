// The local mesh file: YAML or JSON → resources, or one line that says what is wrong (spec/xds-state-and-dns §4).
import { createHash } from "node:crypto";
import { parseIp } from "../base/address.ts";
import { policyKey } from "../rbac/judge.ts";
import type { Policy } from "../rbac/policy.ts";
import { readCidr, readPolicy } from "./mesh_file_policy.ts";
import {
  type GatewayAddress,
  type Locality,
  type MeshResources,
  type NetworkCidr,
  type NetworkIp,
  type PortMap,
  type Service,
  type ServiceEndpoint,
  serviceKey,
  type WeightedWaypoint,
  type Workload,
} from "./resources.ts";
import { MeshFileError, parseYaml, type YamlValue } from "./yaml_reader.ts";

/** Octets of a mesh file: about 20,000 workloads. */
export const MESH_FILE_BYTES_MAX = 16 * 1024 * 1024;

const PORT_MAX = 65_535;
const UINT32_MAX = 0xffff_ffff;
const UNKNOWN_LOCALITY: Locality = { region: "", zone: "", subzone: "" };

/** What a file said, and what was overlooked in it on purpose. */
export interface MeshFile extends MeshResources {
  /** One line each, for the log. */
  readonly warnings: readonly string[];
  /** SHA-256 of the text in UTF-8, lower-case hex: the same for the same text only. Absent where there was none. */
  readonly digest?: string;
}

/**
 * Parses a mesh file. The order of its lists does not matter: resources come out sorted by their keys.
 * @param options.source Its name in errors: a path, or `LOCAL_XDS`.
 * @throws {MeshFileError}
 */
export function parseMeshFile(
  text: string,
  options: { readonly source: string; readonly bytesMax?: number },
): MeshFile {
  const { source, bytesMax = MESH_FILE_BYTES_MAX } = options;
  if (text.length > bytesMax || new TextEncoder().encode(text).length > bytesMax) {
    throw new MeshFileError(`Cannot read mesh file ${source}: larger than ${bytesMax} bytes`);
  }
  const warnings: string[] = [];
  const file = parseYaml(text, { source }).object(["workloads", "services", "policies"]);
  const workloads = file.optional("workloads", (list) => unique(list, readWorkload, uidOf), []);
  const services = file.optional("services", (list) => unique(list, readService, serviceKey), []);
  const readOne = (value: YamlValue) => readPolicy(value, (what) => warnings.push(what));
  const policies = file.optional("policies", (list) => unique(list, readOne, policyKey), []);
  return {
    workloads: sortBy(workloads, (workload) => [workload.uid, orderText(workload)]),
    services: sortBy(services, (service) => [serviceKey(service)]),
    policies: sortBy<Policy>(policies, (policy) => [policyKey(policy)]),
    warnings,
    digest: createHash("sha256").update(text).digest("hex"),
  };
}

/** Reads a list whose items have a key; "" is no key. */
function unique<Item>(
  list: YamlValue,
  read: (value: YamlValue) => Item,
  keyOf: (item: Item) => string,
): Item[] {
  const lineOf = new Map<string, number>();
  return list.list((value) => {
    const item = read(value);
    const key = keyOf(item);
    if (key === "") return item;
    const before = lineOf.get(key);
    if (before !== undefined) {
      throw value.error(`repeats ${JSON.stringify(key)}, which line ${before} has already`);
    }
    lineOf.set(key, value.line);
    return item;
  });
}

function uidOf(workload: Workload): string {
  return workload.uid;
}

/** Tells workloads without uid apart, whatever order the file has. */
function orderText(workload: Workload): string {
  const { namespace, name, ips } = workload;
  return JSON.stringify([
    namespace,
    name,
    ips,
    workload,
    [...workload.services].map(([key, ports]) => [key, ...ports]),
  ]);
}

function sortBy<Item>(items: readonly Item[], keysOf: (item: Item) => string[]): Item[] {
  return items.map((item) => ({ item, keys: keysOf(item) }))
    .sort((a, b) => {
      for (let at = 0; at < a.keys.length; at++) {
        if (a.keys[at]! !== b.keys[at]!) return a.keys[at]! < b.keys[at]! ? -1 : 1;
      }
      return 0;
    })
    .map(({ item }) => item);
}

const WORKLOAD_KEYS = [
  "uid",
  "name",
  "namespace",
  "workloadIps",
  "services",
  "protocol",
  "networkMode",
  "network",
  "trustDomain",
  "serviceAccount",
  "waypoint",
  "networkGateway",
  "hostname",
  "node",
  "workloadName",
  "workloadType",
  "canonicalName",
  "canonicalRevision",
  "nativeTunnel",
  "applicationTunnel",
  "authorizationPolicies",
  "status",
  "clusterId",
  "locality",
  "capacity",
];

function readWorkload(value: YamlValue): Workload {
  const map = value.object(WORKLOAD_KEYS);
  const text = (key: string) => map.optional(key, readString, "");
  return {
    uid: text("uid"),
    name: text("name"),
    namespace: map.required("namespace").string(),
    ips: map.required("workloadIps").list(readIp),
    services: readServiceMap(map.required("services")),
    protocol: map.optional("protocol", (word) => word.word(["TCP", "HBONE"]), "TCP"),
    networkMode: map.optional(
      "networkMode",
      (word) => word.word(["Standard", "HostNetwork"]),
      "Standard",
    ),
    network: text("network"),
    trustDomain: text("trustDomain"),
    serviceAccount: text("serviceAccount"),
    waypoint: map.nullable("waypoint", readGateway),
    networkGateway: map.nullable("networkGateway", readGateway),
    hostname: text("hostname"),
    node: text("node"),
    workloadName: text("workloadName"),
    workloadType: text("workloadType"),
    canonicalName: text("canonicalName"),
    canonicalRevision: text("canonicalRevision"),
    nativeTunnel: map.optional("nativeTunnel", readBoolean, false),
    applicationTunnel: map.nullable("applicationTunnel", (tunnel) => {
      const keys = tunnel.object(["protocol", "port"]);
      return {
        protocol: keys.required("protocol").word(["NONE", "PROXY"]),
        port: keys.nullable("port", readPort),
      };
    }),
    authorizationPolicies: map.optional(
      "authorizationPolicies",
      (list) => list.list(readString),
      [],
    ),
    status: map.optional("status", readStatus, "Healthy"),
    clusterId: text("clusterId"),
    locality: map.optional("locality", readLocality, UNKNOWN_LOCALITY),
    capacity: map.optional("capacity", (number) => number.integer(UINT32_MAX), 1),
  };
}

const SERVICE_KEYS = [
  "name",
  "namespace",
  "hostname",
  "vips",
  "cidrVips",
  "ports",
  "endpoints",
  "subjectAltNames",
  "waypoint",
  "weightedWaypoints",
  "loadBalancer",
  "ipFamilies",
  "canonical",
  "visibility",
];

function readService(value: YamlValue): Service {
  const map = value.object(SERVICE_KEYS);
  return {
    name: map.required("name").string(),
    namespace: map.required("namespace").string(),
    hostname: map.required("hostname").string(),
    vips: map.required("vips").list(readNetworkIp),
    cidrVips: map.optional("cidrVips", (list) => list.list(readNetworkCidr), []),
    ports: readPortMap(map.required("ports")),
    endpoints: map.optional("endpoints", readEndpoints, []),
    subjectAltNames: map.optional("subjectAltNames", (list) => list.list(readString), []),
    waypoint: map.nullable("waypoint", readGateway),
    weightedWaypoints: map.optional(
      "weightedWaypoints",
      (list) => list.list(readWeightedWaypoint),
      [],
    ),
    loadBalancer: map.nullable("loadBalancer", (balancer) => {
      const keys = balancer.object(["routingPreferences", "mode", "healthPolicy"]);
      return {
        routingPreferences: keys.required("routingPreferences").list((word) =>
          word.word(["Region", "Zone", "Subzone", "Node", "Cluster", "Network"])
        ),
        mode: keys.required("mode").word(["Standard", "Strict", "Failover", "Passthrough"]),
        healthPolicy: keys.required("healthPolicy").word(["OnlyHealthy", "AllowAll"]),
      };
    }),
    ipFamilies: map.nullable("ipFamilies", (word) => word.word(["Dual", "IPv4", "IPv6"])),
    canonical: map.optional("canonical", readBoolean, false),
    visibility: map.optional("visibility", (word) => word.word(["Public", "Namespace"]), "Public"),
  };
}

function readString(value: YamlValue): string {
  return value.string();
}

function readBoolean(value: YamlValue): boolean {
  return value.boolean();
}

function readStatus(value: YamlValue): "Healthy" | "Unhealthy" {
  return value.word(["Healthy", "Unhealthy"]);
}

function readPort(value: YamlValue): number {
  return value.integer(PORT_MAX);
}

function readIp(value: YamlValue): string {
  return parseIp(value.string()) ?? value.mismatch("an IP address");
}

function readLocality(value: YamlValue): Locality {
  const map = value.object(["region", "zone", "subzone"], () => {}); // Others are ignored, §4.1.
  return {
    region: map.required("region").string(),
    zone: map.required("zone").string(),
    subzone: map.required("subzone").string(),
  };
}

/** Port numbers as keys, quoted (as JSON must) or not. */
function readPortMap(value: YamlValue): PortMap {
  const ports = new Map<number, number>();
  value.entries((key, target) => {
    const port = key.portKey();
    if (ports.has(port)) throw key.error(`repeats port ${port}`);
    ports.set(port, target.integer(PORT_MAX));
  });
  return new Map([...ports].sort(([a], [b]) => a - b));
}

function readServiceMap(value: YamlValue): ReadonlyMap<string, PortMap> {
  const services = value.entries((key, ports): [string, PortMap] => {
    const name = key.string();
    if (!name.includes("/")) key.mismatch("namespace/hostname of a service");
    return [name, readPortMap(ports)];
  });
  return new Map(services.sort(([a], [b]) => a < b ? -1 : 1));
}

function readEndpoints(value: YamlValue): ServiceEndpoint[] {
  const endpoints = value.entries((key, endpoint) => {
    const map = endpoint.object(["workloadUid", "port", "status"]);
    return {
      key: key.string(),
      workloadUid: map.required("workloadUid").string(),
      ports: readPortMap(map.required("port")),
      status: readStatus(map.required("status")),
    };
  });
  return sortBy(endpoints, ({ key }) => [key])
    .map(({ workloadUid, ports, status }) => ({ workloadUid, ports, status }));
}

/** Splits at the first slash; the network before it may be empty. */
function splitNetwork(value: YamlValue, expected: string): [string, string] {
  const text = value.string();
  const slash = text.indexOf("/");
  if (slash < 0) return value.mismatch(expected);
  return [text.slice(0, slash), text.slice(slash + 1)];
}

function readNetworkIp(value: YamlValue): NetworkIp {
  const expected = "network/IP, or /IP in the default network";
  const [network, text] = splitNetwork(value, expected);
  return { network, ip: parseIp(text) ?? value.mismatch(expected) };
}

function readNetworkCidr(value: YamlValue): NetworkCidr {
  const map = value.object(["network", "cidr"], () => {}); // Others are ignored, §4.1.
  return { network: map.required("network").string(), cidr: readCidr(map.required("cidr")) };
}

function readGateway(value: YamlValue): GatewayAddress {
  const map = value.object(["destination", "hboneMtlsPort"]);
  const destination = map.required("destination");
  const [first, second] = splitNetwork(destination, "network/IP or namespace/hostname");
  const port = readPort(map.required("hboneMtlsPort"));
  const ip = parseIp(second);
  if (ip !== null) return { kind: "address", network: first, ip, port };
  return { kind: "hostname", namespace: first, hostname: second, port };
}

function readWeightedWaypoint(value: YamlValue): WeightedWaypoint {
  const map = value.object(["destination", "weight"]);
  return {
    destination: readGateway(map.required("destination")),
    weight: map.required("weight").integer(UINT32_MAX),
  };
}
