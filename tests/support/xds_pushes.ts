// What a control plane says, response by response, odd things among it. Names say what is odd.
import type { Fields } from "./protobuf.ts";
import { ipBytes, TYPE_URLS, type XdsType } from "./xds_resources.ts";
import { XDS_PROTOBUF } from "./xds_schema.ts";

export interface Push {
  readonly what: string;
  readonly type: XdsType;
  /** Name, then the message, its octets, or null for none. */
  readonly set?: readonly (readonly [string, Fields | Uint8Array | null])[];
  readonly removed?: readonly string[];
  /** Sent in place of the type's own. */
  readonly typeUrl?: string;
}

/** The message to send. */
export function responseOf({ type, set = [], removed = [], typeUrl }: Push): Fields {
  return {
    typeUrl: typeUrl ?? TYPE_URLS[type],
    removed,
    resources: set.map(([name, value], index) => ({
      name,
      version: type === "Address" ? `v${index}` : "",
      ...value === null ? {} : {
        resource: {
          typeUrl: TYPE_URLS[type],
          value: value instanceof Uint8Array ? value : XDS_PROTOBUF.encode(type, value),
        },
      },
    })),
  };
}

const bytes = (...octets: number[]) => new Uint8Array(octets);
const ip = ipBytes;
const v4 = (address: string, length?: number) => ({
  network: "",
  address: ip(address),
  ...length === undefined ? {} : { length },
});

/** A workload named by its uid. */
function workload(uid: string, fields: Fields = {}): readonly [string, Fields] {
  const name = uid.split("/").at(-1)!;
  return [uid, { workload: { uid, name, namespace: "ns", tunnelProtocol: "HBONE", ...fields } }];
}

function service(hostname: string, fields: Fields = {}): readonly [string, Fields] {
  const namespace = fields["namespace"] ?? "ns";
  return [`${namespace}/${hostname}`, {
    service: { name: hostname.split(".")[0], namespace, hostname, ...fields },
  }];
}

function policy(name: string, fields: Fields = {}): readonly [string, Fields] {
  return [`ns/${name}`, { name, namespace: "ns", scope: "NAMESPACE", action: "DENY", ...fields }];
}

const ports = (...pairs: [number, number][]) =>
  pairs.map(([servicePort, targetPort]) => ({ servicePort, targetPort }));
const gatewayHost = (hostname: string, port = 15008) => ({
  hostname: { namespace: "ns", hostname },
  hboneMtlsPort: port,
});
const gatewayIp = (address: string, network = "", port = 15008) => ({
  address: { network, address: ip(address) },
  hboneMtlsPort: port,
});
const rule = (...matches: Fields[]) => ({ clauses: [{ matches }] });

const FULL_WORKLOAD: Fields = {
  addresses: [ip("10.0.0.1"), ip("fd00::1")],
  network: "network1",
  trustDomain: "other.td",
  serviceAccount: "sa-1",
  waypoint: gatewayHost("wp.ns.svc"),
  node: "node-1",
  canonicalName: "canonical",
  canonicalRevision: "v1",
  workloadType: "CRONJOB",
  workloadName: "wname",
  nativeTunnel: true,
  authorizationPolicies: ["ns/b", "ns/a", "ns/b"],
  status: "UNHEALTHY",
  clusterId: "c1",
  networkGateway: gatewayIp("10.9.9.9", "network2", 15009),
  hostname: "full.example",
  services: { "ns/full.svc": { ports: ports([80, 8080], [80, 8081], [65616, 70000]) }, "ns/b": {} },
  applicationTunnel: { protocol: "PROXY", port: 15088 },
  locality: { region: "r", zone: "z", subzone: "s" },
  networkMode: "HOST_NETWORK",
  extensions: [{ name: "ext" }],
  capacity: { value: 7 },
};

const FULL_SERVICE: Fields = {
  addresses: [
    v4("10.1.0.1"),
    v4("10.1.0.2", 32),
    v4("10.2.3.4", 16),
    { network: "net", address: ip("fd00::"), length: 64 },
    { network: "net", address: ip("fd00::5"), length: 128 },
    v4("0.0.0.0", 0),
  ],
  ports: ports([80, 8080], [443, 0], [80, 9090], [65537, 65538]),
  subjectAltNames: ["spiffe://cluster.local/ns/a/sa/b", "not a spiffe name", ""],
  waypoint: gatewayIp("10.3.0.1", "network1"),
  loadBalancing: {
    routingPreference: ["NETWORK", "REGION", "ZONE", "SUBZONE", "NODE", "CLUSTER"],
    mode: "FAILOVER",
    healthPolicy: "ALLOW_ALL",
  },
  ipFamilies: "DUAL",
  extensions: [{ name: "ext" }],
  canonical: true,
  ingressUseWaypoint: true,
  weightedWaypoints: [
    { destination: gatewayHost("a.wp"), weight: 75 },
    { destination: gatewayIp("10.3.0.2"), weight: 0 },
  ],
  visibility: "NAMESPACE",
};

const EVERY_MATCH: Fields = {
  namespaces: [{ exact: "e" }, { prefix: "p" }, { suffix: "s" }, { presence: {} }, {}, {
    exact: "",
  }],
  notNamespaces: [{ exact: "n" }],
  principals: [{ exact: "spiffe://td/ns/a/sa/b" }, { exact: "td/ns/a/sa/b" }],
  notPrincipals: [{ presence: {} }],
  sourceIps: [
    { address: ip("10.0.0.1"), length: 32 },
    { address: ip("10.0.0.9"), length: 8 },
    { address: ip("fd00::9"), length: 64 },
    { address: ip("10.0.0.1"), length: 33 },
    { address: bytes(1, 2, 3), length: 8 },
    { address: ip("0.0.0.0"), length: 0 },
  ],
  notSourceIps: [{ address: ip("10.0.0.1") }],
  destinationIps: [{ address: ip("::"), length: 0 }],
  notDestinationIps: [{ address: ip("fd00::1"), length: 128 }],
  destinationPorts: [80, 73616, 0],
  notDestinationPorts: [443],
  serviceAccounts: [{ namespace: "a", serviceAccount: "b" }, {}],
  notServiceAccounts: [{ serviceAccount: "c" }],
};

const address = (what: string, set: Push["set"], removed?: readonly string[]): Push => ({
  what,
  type: "Address",
  ...set === undefined ? {} : { set },
  ...removed === undefined ? {} : { removed },
});
const policies = (what: string, set: Push["set"], removed?: readonly string[]): Push => ({
  ...address(what, set, removed),
  type: "Authorization",
});

/** In this order on one stream. */
export const PUSHES: readonly Push[] = [
  address("a workload with nothing", [["bare", { workload: {} }]]),
  address("a service with nothing", [["bare", { service: {} }]]),
  address("the bare ones go", [], ["bare", "/"]),
  address("a workload of every field", [workload("c//Pod/ns/full", FULL_WORKLOAD)]),
  address("a service of every field", [service("full.svc", FULL_SERVICE)]),
  address("its name differs from its uid", [["other", workload("c//Pod/ns/uid")[1]]]),
  address("removed by that name", [], ["other"]),
  address("removed by its uid", [], ["c//Pod/ns/uid"]),
  address("every workload type and an unknown one", [
    ...["DEPLOYMENT", "CRONJOB", "POD", "JOB"].map((workloadType) =>
      workload(`c//Pod/ns/${workloadType}`, { workloadType })
    ),
    workload("c//Pod/ns/type9", { workloadType: 9 }),
  ]),
  address("unknown numbers everywhere", [
    workload("w-tunnel", { tunnelProtocol: 9 }),
    workload("w-legacy", { tunnelProtocol: 2 }),
    workload("w-mode", { networkMode: 9 }),
    workload("w-status", { status: 9 }),
    workload("w-app", { applicationTunnel: { protocol: 9 } }),
    service("s-families", { ipFamilies: 9 }),
    service("s-visibility", { visibility: 9 }),
    service("s-mode", { loadBalancing: { routingPreference: [], mode: 9 } }),
    service("s-health", { loadBalancing: { routingPreference: [], healthPolicy: 9 } }),
    service("s-scope", { loadBalancing: { routingPreference: [9] } }),
    service("s-scope-0", { loadBalancing: { routingPreference: [0] } }),
    service("s-app-protocol", { ports: [{ servicePort: 1, targetPort: 2, appProtocol: 99 }] }),
  ]),
  address("what cannot be converted", [
    ["empty-oneof", new Uint8Array()],
    workload("w-ip3", { addresses: [bytes(1, 2, 3)] }),
    workload("w-ip0", { addresses: [bytes()] }),
    workload("w-gw-empty", { networkGateway: {} }),
    workload("w-wp-empty", { waypoint: { hboneMtlsPort: 15008 } }),
    workload("w-wp-ip5", { waypoint: { address: { address: bytes(1, 2, 3, 4, 5) } } }),
    workload("w-services", { services: { "no-slash": {} } }),
    workload("w-services-empty", { services: { "": {} } }),
    service("s-vip3", { addresses: [{ address: bytes(1, 2, 3) }] }),
    service("s-cidr33", { addresses: [v4("10.0.0.0", 33)] }),
    service("s-cidr129", { addresses: [{ address: ip("fd00::"), length: 129 }] }),
    service("s-cidr3", { addresses: [{ address: bytes(1, 2, 3), length: 8 }] }),
    service("s-vip16-32", { addresses: [{ address: ip("fd00::"), length: 32 }] }),
    service("s-weighted", { weightedWaypoints: [{ weight: 1 }] }),
    service("s-weighted-empty", { weightedWaypoints: [{ destination: {}, weight: 1 }] }),
    workload("good-among-bad"),
  ]),
  address("what cannot be decoded", [
    ["no-resource", null],
    ["truncated", bytes(10, 5, 1)],
    ["bad-utf8", bytes(10, 4, 10, 2, 0xff, 0xfe)],
    ["field-0", bytes(0, 1)],
    ["wire-7", bytes(15, 1)],
    ["endless-varint", bytes(8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255)],
    workload("another-good-one"),
  ]),
  address("both kinds of failure, in which order", [
    ["u-decode-1", null],
    ["u-convert-1", bytes()],
    ["u-decode-2", null],
    ["u-convert-2", bytes()],
  ]),
  address("a bad version keeps the good one", [
    workload("c//Pod/ns/keep", { addresses: [ip("10.0.0.5")] }),
  ]),
  address("as said", [workload("c//Pod/ns/keep", { addresses: [bytes(1)] })]),
  address("unknown fields are skipped", [
    ["unknown-fields", bytes(0xa, 0xa, 0xa2, 1, 1, 0x75, 0xf8, 7, 1, 0xf5, 7, 1)],
    ["unknown-fields2", bytes(0xa, 7, 0xa2, 1, 1, 0x75, 0xf8, 7, 1)],
    ["unpacked-and-packed", bytes(0x12, 8, 0x42, 6, 8, 1, 0xa, 2, 2, 3)],
    ["both-members", bytes(0xa, 4, 0xa2, 1, 1, 0x61, 0x12, 3, 0x1a, 1, 0x68)],
    ["merged", bytes(0xa, 4, 0xa2, 1, 1, 0x6d, 0xa, 3, 0xa, 1, 0x6e)],
  ]),
  address("those go", [], ["u", "a", "m", "/h", "/"]),
  address("workload before its service", [
    workload("c//Pod/ns/e1", {
      addresses: [ip("10.0.1.1")],
      services: { "ns/late.svc": { ports: ports([80, 8080]) } },
    }),
    workload("c//Pod/ns/e2", {
      status: "UNHEALTHY",
      services: { "ns/late.svc": { ports: ports([80, 0]) } },
    }),
    workload("c//Pod/ns/e3", {
      services: { "ns/late.svc": {}, "other/never.svc": {}, "ns/with/slash": {} },
    }),
  ]),
  address("the service comes", [service("late.svc", { ports: ports([80, 8080]) })]),
  address("all of them count", [
    service("late.svc", {
      ports: ports([80, 8080]),
      loadBalancing: { routingPreference: [], healthPolicy: "ALLOW_ALL" },
    }),
  ]),
  address("the unhealthy one is sent again", [
    workload("c//Pod/ns/e2", {
      status: "UNHEALTHY",
      services: { "ns/late.svc": { ports: ports([80, 1]) } },
    }),
  ]),
  address("only healthy ones again", [service("late.svc", { ports: ports([80, 8080]) })]),
  address("an endpoint turns healthy and another unhealthy", [
    workload("c//Pod/ns/e2", { services: { "ns/late.svc": { ports: ports([80, 1]) } } }),
    workload("c//Pod/ns/e1", { status: "UNHEALTHY", services: { "ns/late.svc": {} } }),
  ]),
  address("the service goes", [], ["ns/late.svc"]),
  address("the service comes again, with its workloads", [
    service("late.svc"),
    workload("c//Pod/ns/e1", { services: { "ns/late.svc": {} } }),
    workload("c//Pod/ns/e2", { services: { "ns/late.svc": {} } }),
    workload("c//Pod/ns/e3", { services: { "ns/late.svc": {} } }),
  ]),
  address("a workload leaves the service", [workload("c//Pod/ns/e3", { services: {} })]),
  address("removed and set in one response", [
    workload("c//Pod/ns/e1", { services: { "ns/late.svc": { ports: ports([90, 9090]) } } }),
  ], ["c//Pod/ns/e1"]),
  address("the same name twice in one response", [
    workload("c//Pod/ns/e2", {
      addresses: [ip("10.0.2.1")],
      services: { "ns/late.svc": { ports: ports([1, 1]) } },
    }),
    workload("c//Pod/ns/e2", {
      addresses: [ip("10.0.2.2")],
      services: { "ns/late.svc": { ports: ports([2, 2]) } },
    }),
    service("twice.svc", { ports: ports([1, 1]) }),
    service("twice.svc", { ports: ports([2, 2]) }),
  ]),
  address("one host name in three namespaces", [
    service("same.svc", { namespace: "b", addresses: [v4("10.4.0.1")] }),
    service("same.svc", { namespace: "a", addresses: [v4("10.4.0.1")] }),
    service("same.svc", { namespace: "c", addresses: [v4("10.4.0.0", 24)] }),
  ]),
  address("two services of a namespace share a VIP", [
    service("vip1.svc", { addresses: [v4("10.5.0.1")] }),
    service("vip2.svc", { addresses: [v4("10.5.0.1")] }),
  ]),
  address("names that cannot be there", [], [
    "",
    "/",
    "/invalid",
    "a/b/c",
    "ns/no.svc",
    "no-slash",
  ]),
  address("IPv4-mapped and other forms of addresses", [
    workload("c//Pod/ns/mapped", {
      addresses: [
        ip("::ffff:a00:1"),
        ip("::"),
        ip("fd00::1:0:0:1"),
        ip("2001:db8::1"),
        ip("::a00:1"),
      ],
    }),
    service("mapped.svc", {
      addresses: [{ address: ip("::ffff:a00:1") }, { address: ip("64:ff9b::1") }],
    }),
  ]),
  address("an app tunnel without a port, and of kind NONE", [
    workload("c//Pod/ns/tunnel0", { applicationTunnel: {} }),
    workload("c//Pod/ns/tunnel1", { applicationTunnel: { protocol: "PROXY" } }),
    workload("c//Pod/ns/tunnel2", { applicationTunnel: { protocol: "NONE", port: 70000 } }),
    workload("c//Pod/ns/wp-port", { waypoint: gatewayHost("x", 80544) }),
  ]),
  address("capacities", [
    workload("c//Pod/ns/cap0", { capacity: { value: 0 } }),
    workload("c//Pod/ns/cap1", { capacity: {} }),
    workload("c//Pod/ns/capmax", { capacity: { value: 4294967295 } }),
    workload("c//Pod/ns/caphuge", { capacity: { value: 4294967296 + 5 } }),
  ]),
  address("localities in part", [
    workload("c//Pod/ns/loc1", { locality: { region: "r" } }),
    workload("c//Pod/ns/loc2", { locality: { subzone: "s" } }),
    workload("c//Pod/ns/loc3", { locality: {} }),
  ]),
  address("an empty load balancer, families", [
    service("lb0.svc", { loadBalancing: {} }),
    service("lb1.svc", {
      loadBalancing: { routingPreference: ["REGION", "REGION"], mode: "STRICT" },
    }),
    service("lb2.svc", { loadBalancing: { routingPreference: [], mode: "PASSTHROUGH" } }),
    service("f4.svc", { ipFamilies: "IPV4_ONLY" }),
    service("f6.svc", { ipFamilies: "IPV6_ONLY" }),
    service("f0.svc", { ipFamilies: "AUTOMATIC" }),
    service("*.wild.example", {}),
    service("Upper.Example", {}),
  ]),
  address("not in ASCII", [
    workload("c//Pod/ns/ünïcode-\u{1F600}", {
      name: '\u0000\u0001\u007f"\\\n\u2028',
      canonicalName: "é",
    }),
  ]),
  address("split horizon", [
    workload("network2/SplitHorizonWorkload/10.9.9.9/ns/late.svc", {
      network: "network2",
      networkGateway: gatewayHost("ew.ns", 15009),
      services: { "ns/late.svc": { ports: ports([80, 80]) } },
      capacity: { value: 3 },
    }),
    workload("NetworkGateway/network2/10.9.9.9/15009", { network: "network2", hostname: "ew.ns" }),
  ]),
  address("workloads with their service in the middle", [
    ...many(0, 3),
    service("many.svc", { ports: ports([80, 80]) }),
    ...many(3, 6),
  ]),
  {
    what: "a type that nobody knows",
    type: "Address",
    typeUrl: "type.googleapis.com/unknown",
    set: [["x", {}]],
  },
  { what: "a response with nothing", type: "Address" },
  policies("policies of each shape", [
    policy("empty"),
    policy("every", { rules: [rule(EVERY_MATCH)], dryRun: true, action: "ALLOW" }),
    policy("global", { scope: "GLOBAL", rules: [{}, { clauses: [{}] }, rule({})] }),
    policy("selector", {
      scope: "WORKLOAD_SELECTOR",
      extensions: [{ name: "x" }],
      rules: [rule({ destinationPorts: [1] }, {})],
    }),
    ["anon", {}],
    ["named/otherwise", policy("real")[1]],
  ]),
  policies("policies that are refused", [
    policy("scope", { scope: 9 }),
    policy("action", { action: 2 }),
    policy("empty", { scope: 9 }),
    ["ns/none", null],
    ["ns/bytes", bytes(10, 5, 1)],
  ]),
  policies("one changes its scope", [policy("empty", { scope: "WORKLOAD_SELECTOR" })]),
  policies("removed under both names", [], ["ns/real", "named/otherwise", "ns/unknown"]),
  policies("removed and set in one", [policy("global")], ["ns/global"]),
];

function many(from: number, to: number): (readonly [string, Fields])[] {
  return Array.from(
    { length: to - from },
    (_, index) =>
      workload(`c//Pod/ns/many${String(from + index).padStart(2, "0")}`, {
        addresses: [ip(`10.8.0.${from + index}`)],
        services: { "ns/many.svc": { ports: ports([80, 8080]) } },
      }),
  );
}
