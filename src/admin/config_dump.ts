// /config_dump: what the proxy knows, in the shapes that istioctl reads (spec/config-and-observability §5.7).
import type { Policy, PolicyMatch, StringMatch } from "../rbac/policy.ts";
import type { BuildInfo } from "../telemetry/version.ts";

/** What JSON can say; undefined members are left out. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

/** §5.7.1: `{"destination": "ns/host" or "network/ip", "hboneMtlsPort": 15008}`. */
export interface DumpGatewayAddress {
  readonly destination: string;
  readonly hboneMtlsPort: number;
}

/** §5.7.2. Empty strings, empty arrays and false are left out where the table says so. */
export interface DumpWorkload {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly workloadIps: readonly string[];
  readonly protocol: "TCP" | "HBONE";
  readonly networkMode: "Standard" | "HostNetwork";
  readonly status: "Healthy" | "Unhealthy";
  readonly clusterId: string;
  /** Relative weight, 1 by default. */
  readonly capacity: number;
  readonly waypoint?: DumpGatewayAddress | undefined;
  readonly networkGateway?: DumpGatewayAddress | undefined;
  readonly trustDomain?: string | undefined;
  readonly serviceAccount?: string | undefined;
  readonly network?: string | undefined;
  readonly workloadName?: string | undefined;
  readonly canonicalName?: string | undefined;
  readonly canonicalRevision?: string | undefined;
  readonly hostname?: string | undefined;
  readonly node?: string | undefined;
  readonly workloadType?: string | undefined;
  readonly nativeTunnel?: boolean | undefined;
  readonly applicationTunnel?:
    | { readonly protocol: "NONE" | "PROXY"; readonly port: number | null }
    | undefined;
  /** `ns/name`. */
  readonly authorizationPolicies?: readonly string[] | undefined;
  readonly locality?:
    | { readonly region: string; readonly zone: string; readonly subzone: string }
    | undefined;
  /** `ns/hostname`. */
  readonly services?: readonly string[] | undefined;
}

/** Service port, in decimal, → target port; 0 is a named port. */
export type DumpPorts = Readonly<Record<string, number>>;

/** §5.7.3. */
export interface DumpService {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  /** `network/ip`. */
  readonly vips: readonly string[];
  readonly ports: DumpPorts;
  /** By workload uid. */
  readonly endpoints: Readonly<Record<string, DumpEndpoint>>;
  readonly subjectAltNames: readonly string[];
  readonly canonical: boolean;
  readonly visibility: "Public" | "Namespace";
  readonly cidrVips?: readonly { readonly network: string; readonly cidr: string }[] | undefined;
  readonly waypoint?: DumpGatewayAddress | undefined;
  readonly weightedWaypoints?:
    | readonly { readonly destination: DumpGatewayAddress; readonly weight: number }[]
    | undefined;
  readonly loadBalancer?: {
    readonly healthPolicy: "OnlyHealthy" | "AllowAll";
    readonly mode: "Standard" | "Strict" | "Failover" | "Passthrough";
    readonly routingPreferences: readonly string[];
  } | undefined;
  readonly ipFamilies?: "IPv4" | "IPv6" | "Dual" | undefined;
}

export interface DumpEndpoint {
  readonly workloadUid: string;
  readonly port: DumpPorts;
  readonly status: "Healthy" | "Unhealthy";
}

/** §5.7.5. */
export interface DumpCertificates {
  readonly identity: string;
  /** `Initializing`, `Available` or `Unavailable: <error text>`. */
  readonly state: string;
  readonly certChain: readonly DumpCertificate[];
  readonly rootCerts: readonly DumpCertificate[];
}

export interface DumpCertificate {
  /** RFC 3339, UTC, whole seconds. */
  readonly validFrom: string;
  readonly expirationTime: string;
  /** Base64 of the PEM text of the certificate; never of a key. */
  readonly pem: string;
  /** Decimal. */
  readonly serialNumber: string;
}

/** A snapshot, made when asked for. Order does not matter: the dump sorts. */
export interface ConfigDump {
  /** §5.7.7, without secrets. */
  readonly config: JsonObject;
  readonly version: BuildInfo;
  readonly workloads: readonly DumpWorkload[];
  readonly services: readonly DumpService[];
  readonly policies: readonly Policy[];
  readonly certificates: readonly DumpCertificates[];
  /** `ns/hostname` → uid → endpoint, for services that have not arrived. */
  readonly stagedServices?: Readonly<Record<string, Readonly<Record<string, DumpEndpoint>>>>;
  /** The local source as it reads now; all empty where there is none. */
  readonly staticConfig?: Pick<ConfigDump, "workloads" | "services" | "policies">;
  /** Ours: how the data plane's isolate does; native network only. */
  readonly dataPlane?: JsonObject;
  /** §5.7.6; shared mode only. */
  readonly workloadState?: JsonObject;
}

/** Pretty-printed, keys sorted at every level, no final newline. */
export function renderConfigDump(dump: ConfigDump): string {
  const sorted = {
    certificates: sortedBy(dump.certificates, ({ identity }) => identity),
    config: dump.config,
    dataPlane: dump.dataPlane,
    ...resourcesJson(dump),
    stagedServices: dump.stagedServices ?? {},
    staticConfig: resourcesJson(
      dump.staticConfig ?? { workloads: [], services: [], policies: [] },
    ),
    version: dump.version,
    workloadState: dump.workloadState,
  };
  return JSON.stringify(sorted, sortKeys, 2);
}

function resourcesJson({ workloads, services, policies }: NonNullable<ConfigDump["staticConfig"]>) {
  return {
    policies: sortedBy(policies, ({ namespace, name }) => `${namespace}/${name}`).map(policyJson),
    services: sortedBy(services, ({ hostname }) => hostname).map(serviceJson),
    workloads: sortedBy(workloads, ({ uid }) => uid).map(workloadJson),
  };
}

function sortedBy<Item>(items: readonly Item[], keyOf: (item: Item) => string): Item[] {
  return [...items].sort((one, other) => {
    const [key, otherKey] = [keyOf(one), keyOf(other)];
    return key < otherKey ? -1 : key > otherKey ? 1 : 0;
  });
}

/** A JSON.stringify replacer; also the last line of defence against a key in the dump. */
function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value === "string" && value.includes("PRIVATE KEY")) return "[redacted: private key]";
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(sortedBy(Object.entries(value), ([key]) => key));
}

const WORKLOAD_OMITTED = [
  "uid",
  "trustDomain",
  "serviceAccount",
  "network",
  "workloadName",
  "canonicalName",
  "canonicalRevision",
  "hostname",
  "node",
  "workloadType",
  "nativeTunnel",
  "authorizationPolicies",
  "services",
];

function workloadJson(workload: DumpWorkload): object {
  const { region, zone, subzone } = workload.locality ?? { region: "", zone: "", subzone: "" };
  const located = region !== "" || zone !== "" || subzone !== "";
  const locality = located ? workload.locality : undefined;
  return withoutEmpty({ ...workload, locality }, WORKLOAD_OMITTED);
}

function serviceJson(service: DumpService): object {
  return withoutEmpty({ ...service }, ["cidrVips", "weightedWaypoints"]);
}

/** §5.7.4. */
export function policyJson({ action, dryRun, name, namespace, rules, scope }: Policy): object {
  const matches = rules.map((clauses) => clauses.map((clause) => clause.map(matchJson)));
  return { action, dryRun, name, namespace, rules: matches, scope };
}

function matchJson(match: PolicyMatch): object {
  const cidr = ({ ip, prefixBits }: { ip: string; prefixBits: number }) => `${ip}/${prefixBits}`;
  const json = {
    namespaces: match.namespaces.map(stringMatchJson),
    notNamespaces: match.notNamespaces.map(stringMatchJson),
    principals: match.principals.map(stringMatchJson),
    notPrincipals: match.notPrincipals.map(stringMatchJson),
    serviceAccounts: match.serviceAccounts,
    notServiceAccounts: match.notServiceAccounts,
    sourceIps: match.sourceIps.map(cidr),
    notSourceIps: match.notSourceIps.map(cidr),
    destinationIps: match.destinationIps.map(cidr),
    notDestinationIps: match.notDestinationIps.map(cidr),
    destinationPorts: match.destinationPorts,
    notDestinationPorts: match.notDestinationPorts,
  };
  return withoutEmpty(json, Object.keys(json));
}

function stringMatchJson(match: StringMatch): object {
  if (match.kind === "presence") return { Presence: [] };
  const kind = { exact: "Exact", prefix: "Prefix", suffix: "Suffix" }[match.kind];
  return { [kind]: match.text };
}

/** Leaves out "", false, [] and undefined of the named members. */
function withoutEmpty(object: Readonly<Record<string, unknown>>, names: readonly string[]): object {
  return Object.fromEntries(
    Object.entries(object).filter(([name, value]) => !names.includes(name) || !isEmpty(value)),
  );
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === "" || value === false ||
    (Array.isArray(value) && value.length === 0);
}
