// Resources against spec/xds-state-and-dns §2.2–2.5: samples, defaults, failures, and anything at all.
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { bytesOf, field, hexOf, join, numberField } from "../../tests/support/protobuf_bytes.ts";
import { istio } from "../proto/messages.js";
import type { Codec, Input } from "../proto/messages.js";
import type { PolicyMatch } from "../rbac/policy.ts";
import type { Service, Workload } from "../state/resources.ts";
import { decodeAddress, decodeAuthorization, PAYLOAD_BYTES_MAX, payloadOf } from "./convert.ts";
import { ITEMS_MAX } from "./convert_common.ts";
import { RawResource } from "./delta_response.ts";
import { ResourceError } from "./resource_error.ts";

const { Address, LoadBalancing, TunnelProtocol } = istio.workload;
const { Authorization, Match, Scope, Action } = istio.security;

const WORKLOAD_SAMPLE =
  "0a340a017012026e731a040a0000012801a2010b632f2f506f642f6e732f70b2010f0a046e732f6812070a0508501090" +
  "3fda01020803";
const CAPACITY_SAMPLE = "0a07a2010175da0100";
const SERVICE_SAMPLE =
  "123b0a017312026e731a0168220b0a016e12040a0000001818220612040a0100013a0d0a080a026e731202777018a075" +
  "42070a03060102100258017001";
const POLICY_SAMPLE = "0a017012026e73180220012a0d0a0b1209220222004a0350bb03";
const MATCH_SAMPLE = "2a080a040a00000010085a060a016e120173";

/** What no message says of a workload. */
const WORKLOAD: Workload = {
  uid: "",
  name: "",
  namespace: "",
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
  workloadType: "deployment",
  canonicalName: "",
  canonicalRevision: "",
  nativeTunnel: false,
  applicationTunnel: null,
  authorizationPolicies: [],
  status: "Healthy",
  clusterId: "Kubernetes",
  locality: { region: "", zone: "", subzone: "" },
  capacity: 1,
};

/** What no message says of a service. */
const SERVICE: Service = {
  name: "",
  namespace: "",
  hostname: "",
  vips: [],
  cidrVips: [],
  ports: new Map(),
  endpoints: [],
  subjectAltNames: [],
  waypoint: null,
  weightedWaypoints: [],
  loadBalancer: null,
  ipFamilies: null,
  canonical: false,
  visibility: "Public",
};

/** A Match without anything. */
const MATCH: PolicyMatch = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

const IP = new Uint8Array([10, 0, 0, 1]);

type Message<C> = C extends Codec<infer M> ? Input<M> : never;

function encode<M>(codec: Codec<M>, message: Input<M>): Uint8Array {
  return codec.encode(message).finish();
}

function convertAddress(message: Message<typeof Address>) {
  return decodeAddress(encode(Address, message));
}

function workloadOf(message: Message<typeof istio.workload.Workload>): Workload {
  const resource = convertAddress({ workload: message });
  if (resource.kind !== "workload") throw new Error("Expected a workload");
  return resource.workload;
}

function serviceOf(message: Message<typeof istio.workload.Service>): Service {
  const resource = convertAddress({ service: message });
  if (resource.kind !== "service") throw new Error("Expected a service");
  return resource.service;
}

/** The only match of a policy that has one. */
function matchOf(match: Message<typeof Match>): PolicyMatch {
  const policy = { rules: [{ clauses: [{ matches: [match] }] }] };
  return decodeAuthorization(encode(Authorization, policy)).rules[0]![0]![0]!;
}

// Samples of §2.4, in both directions.

Deno.test("decodeAddress() reads the workload of §2.4", () => {
  const message: Message<typeof Address> = {
    workload: {
      uid: "c//Pod/ns/p",
      name: "p",
      namespace: "ns",
      addresses: [IP],
      tunnelProtocol: TunnelProtocol.HBONE,
      services: { "ns/h": { ports: [{ servicePort: 80, targetPort: 8080 }] } },
      capacity: { value: 3 },
    },
  };
  assertEquals(hexOf(encode(Address, message)), WORKLOAD_SAMPLE);
  assertEquals(decodeAddress(bytesOf(WORKLOAD_SAMPLE)), {
    kind: "workload",
    workload: {
      ...WORKLOAD,
      uid: "c//Pod/ns/p",
      name: "p",
      namespace: "ns",
      ips: ["10.0.0.1"],
      protocol: "HBONE",
      services: new Map([["ns/h", new Map([[80, 8080]])]]),
      capacity: 3,
    },
  });
});

Deno.test("decodeAddress() tells capacity 0 (§2.4) from no capacity", () => {
  const message = { workload: { uid: "u", capacity: { value: 0 } } };
  assertEquals(hexOf(encode(Address, message)), CAPACITY_SAMPLE);
  const workload = { ...WORKLOAD, uid: "u", capacity: 0 };
  assertEquals(decodeAddress(bytesOf(CAPACITY_SAMPLE)), { kind: "workload", workload });
  assertEquals(workloadOf({ uid: "u" }).capacity, 1);
  assertEquals(workloadOf({ capacity: { value: 0xffffffff } }).capacity, 0xffffffff);
});

Deno.test("decodeAddress() reads the service of §2.4", () => {
  const { Scope, Mode } = LoadBalancing;
  const message: Message<typeof Address> = {
    service: {
      name: "s",
      namespace: "ns",
      hostname: "h",
      addresses: [
        { network: "n", address: new Uint8Array([10, 0, 0, 0]), length: 24 },
        { address: new Uint8Array([10, 1, 0, 1]) },
      ],
      waypoint: { hostname: { namespace: "ns", hostname: "wp" }, hboneMtlsPort: 15008 },
      loadBalancing: {
        routingPreference: [Scope.NETWORK, Scope.REGION, Scope.ZONE],
        mode: Mode.FAILOVER,
      },
      canonical: true,
      visibility: istio.workload.Service.Visibility.NAMESPACE,
    },
  };
  assertEquals(hexOf(encode(Address, message)), SERVICE_SAMPLE);
  assertEquals(decodeAddress(bytesOf(SERVICE_SAMPLE)), {
    kind: "service",
    service: {
      ...SERVICE,
      name: "s",
      namespace: "ns",
      hostname: "h",
      vips: [{ network: "", ip: "10.1.0.1" }],
      cidrVips: [{ network: "n", cidr: { ip: "10.0.0.0", prefixBits: 24 } }],
      waypoint: { kind: "hostname", namespace: "ns", hostname: "wp", port: 15008 },
      loadBalancer: {
        routingPreferences: ["Network", "Region", "Zone"],
        mode: "Failover",
        healthPolicy: "OnlyHealthy",
      },
      canonical: true,
      visibility: "Namespace",
    },
  });
});

Deno.test("decodeAuthorization() reads the policy of §2.4", () => {
  const match = { notPrincipals: [{ presence: {} }], destinationPorts: [80, 443] };
  const message: Message<typeof Authorization> = {
    name: "p",
    namespace: "ns",
    scope: Scope.WORKLOAD_SELECTOR,
    action: Action.DENY,
    rules: [{ clauses: [{ matches: [match] }] }],
  };
  assertEquals(hexOf(encode(Authorization, message)), POLICY_SAMPLE);
  assertEquals(decodeAuthorization(bytesOf(POLICY_SAMPLE)), {
    name: "p",
    namespace: "ns",
    scope: "WorkloadSelector",
    action: "Deny",
    dryRun: false,
    rules: [[[{ ...MATCH, notPrincipals: [{ kind: "presence" }], destinationPorts: [80, 443] }]]],
  });
});

Deno.test("decodeAuthorization() reads the Match of §2.4", () => {
  const message = {
    sourceIps: [{ address: new Uint8Array([10, 0, 0, 0]), length: 8 }],
    serviceAccounts: [{ namespace: "n", serviceAccount: "s" }],
  };
  assertEquals(hexOf(encode(Match, message)), MATCH_SAMPLE);
  const wrapped = field(5, field(1, field(2, bytesOf(MATCH_SAMPLE))));
  assertEquals(decodeAuthorization(wrapped).rules, [[[{
    ...MATCH,
    sourceIps: [{ ip: "10.0.0.0", prefixBits: 8 }],
    serviceAccounts: [{ namespace: "n", serviceAccount: "s" }],
  }]]]);
});

// Every field.

Deno.test("decodeAddress() fills in what an empty workload and an empty service leave out", () => {
  assertEquals(workloadOf({}), WORKLOAD);
  assertEquals(serviceOf({}), SERVICE);
});

Deno.test("decodeAddress() takes every field of a workload", () => {
  const address = { network: "gw-net", address: IP, length: 7 };
  const message: Message<typeof istio.workload.Workload> = {
    uid: "uid",
    name: "name",
    namespace: "namespace",
    addresses: [IP, bytesOf("fd000000000000000000000000000001")],
    network: "network",
    tunnelProtocol: TunnelProtocol.HBONE,
    trustDomain: "td",
    serviceAccount: "sa",
    waypoint: { address, hboneMtlsPort: 65_536 + 15_008 },
    node: "node",
    canonicalName: "canonical",
    canonicalRevision: "v2",
    workloadType: istio.workload.WorkloadType.CRONJOB,
    workloadName: "owner",
    nativeTunnel: true,
    authorizationPolicies: ["ns/a", "ns/b"],
    status: istio.workload.WorkloadStatus.UNHEALTHY,
    clusterId: "cluster",
    networkGateway: { hostname: { namespace: "gw", hostname: "h" }, hboneMtlsPort: 15_012 },
    hostname: "example.com",
    services: {
      "ns/h": { ports: [{ servicePort: 80 }, { servicePort: 80, targetPort: 81 }] },
      "b/": {},
    },
    applicationTunnel: { protocol: istio.workload.ApplicationTunnel.Protocol.PROXY, port: 15_088 },
    locality: { region: "r", zone: "z", subzone: "s" },
    networkMode: istio.workload.NetworkMode.HOST_NETWORK,
    extensions: [{ name: "ignored" }],
    capacity: { value: 9 },
  };
  assertEquals(workloadOf(message), {
    uid: "uid",
    name: "name",
    namespace: "namespace",
    ips: ["10.0.0.1", "fd00::1"],
    network: "network",
    protocol: "HBONE",
    trustDomain: "td",
    serviceAccount: "sa",
    waypoint: { kind: "address", network: "gw-net", ip: "10.0.0.1", port: 15_008 },
    node: "node",
    canonicalName: "canonical",
    canonicalRevision: "v2",
    workloadType: "cronjob",
    workloadName: "owner",
    nativeTunnel: true,
    authorizationPolicies: ["ns/a", "ns/b"],
    status: "Unhealthy",
    clusterId: "cluster",
    networkGateway: { kind: "hostname", namespace: "gw", hostname: "h", port: 15_012 },
    hostname: "example.com",
    services: new Map([["ns/h", new Map([[80, 81]])], ["b/", new Map()]]),
    applicationTunnel: { protocol: "PROXY", port: 15_088 },
    locality: { region: "r", zone: "z", subzone: "s" },
    networkMode: "HostNetwork",
    capacity: 9,
  });
});

Deno.test("decodeAddress() takes every field of a service", () => {
  const waypoint = { hostname: { namespace: "n", hostname: "w" } };
  const message: Message<typeof istio.workload.Service> = {
    name: "name",
    namespace: "namespace",
    hostname: "*.example.com",
    ports: [{ servicePort: 80, targetPort: 0, appProtocol: 99 }, {
      servicePort: 65_537,
      targetPort: 65_538,
    }],
    subjectAltNames: ["spiffe://td/ns/n/sa/s", "not one"],
    ipFamilies: istio.workload.IPFamilies.IPV6_ONLY,
    extensions: [{ name: "ignored" }],
    ingressUseWaypoint: true,
    weightedWaypoints: [{ destination: waypoint, weight: 90 }, { destination: waypoint }],
    loadBalancing: { healthPolicy: LoadBalancing.HealthPolicy.ALLOW_ALL },
  };
  const destination = { kind: "hostname", namespace: "n", hostname: "w", port: 0 } as const;
  assertEquals(serviceOf(message), {
    ...SERVICE,
    name: "name",
    namespace: "namespace",
    hostname: "*.example.com",
    ports: new Map([[80, 0], [1, 2]]),
    subjectAltNames: ["spiffe://td/ns/n/sa/s", "not one"],
    ipFamilies: "IPv6",
    weightedWaypoints: [{ destination, weight: 90 }, { destination, weight: 0 }],
    loadBalancer: { routingPreferences: [], mode: "Standard", healthPolicy: "AllowAll" },
  });
});

Deno.test("decodeAddress() knows every number of its enumerations", () => {
  const numbers = [0, 1, 2, 3];
  assertEquals(numbers.map((workloadType) => workloadOf({ workloadType }).workloadType), [
    "deployment",
    "cronjob",
    "pod",
    "job",
  ]);
  assertEquals(numbers.map((ipFamilies) => serviceOf({ ipFamilies }).ipFamilies), [
    null,
    "IPv4",
    "IPv6",
    "Dual",
  ]);
  assertEquals(numbers.map((mode) => serviceOf({ loadBalancing: { mode } }).loadBalancer?.mode), [
    "Standard",
    "Strict",
    "Failover",
    "Passthrough",
  ]);
  const routingPreference = [6, 5, 4, 3, 2, 1, 1];
  assertEquals(
    serviceOf({ loadBalancing: { routingPreference } }).loadBalancer?.routingPreferences,
    [
      "Network",
      "Cluster",
      "Node",
      "Subzone",
      "Zone",
      "Region",
      "Region",
    ],
  );
});

Deno.test("decodeAuthorization() knows every number of its enumerations", () => {
  const policy = (message: Message<typeof Authorization>) =>
    decodeAuthorization(encode(Authorization, message));
  assertEquals([0, 1, 2].map((scope) => policy({ scope }).scope), [
    "Global",
    "Namespace",
    "WorkloadSelector",
  ]);
  assertEquals([0, 1].map((action) => policy({ action }).action), ["Allow", "Deny"]);
  assertEquals(policy({ dryRun: true }).dryRun, true);
});

Deno.test("decodeAuthorization() keeps rules and clauses that list nothing", () => {
  const message = { rules: [{}, { clauses: [{}, { matches: [{}] }] }] };
  assertEquals(decodeAuthorization(encode(Authorization, message)).rules, [[], [[], [MATCH]]]);
});

Deno.test("decodeAuthorization() takes every field of a Match", () => {
  const texts = [{ exact: "e" }, { prefix: "p" }, { suffix: "s" }, { presence: {} }, { exact: "" }];
  const networks = [{ address: IP, length: 32 }];
  const accounts = [{ namespace: "n", serviceAccount: "" }];
  const ports = [80, 65_536 + 443];
  const match = matchOf({
    namespaces: texts,
    notNamespaces: texts,
    principals: texts,
    notPrincipals: texts,
    sourceIps: networks,
    notSourceIps: networks,
    destinationIps: networks,
    notDestinationIps: networks,
    destinationPorts: ports,
    notDestinationPorts: ports,
    serviceAccounts: accounts,
    notServiceAccounts: accounts,
    extensions: [{ name: "ignored" }],
  });
  const matches = [
    { kind: "exact", text: "e" },
    { kind: "prefix", text: "p" },
    { kind: "suffix", text: "s" },
    { kind: "presence" },
    { kind: "exact", text: "" },
  ] as const;
  const cidrs = [{ ip: "10.0.0.1", prefixBits: 32 }];
  assertEquals(match, {
    namespaces: matches,
    notNamespaces: matches,
    principals: matches,
    notPrincipals: matches,
    sourceIps: cidrs,
    notSourceIps: cidrs,
    destinationIps: cidrs,
    notDestinationIps: cidrs,
    destinationPorts: [80, 443],
    notDestinationPorts: [80, 443],
    serviceAccounts: accounts,
    notServiceAccounts: accounts,
  });
});

// Not failures (§2.5).

Deno.test("decodeAddress() takes visibility 7 for public", () => {
  assertEquals(serviceOf({ visibility: 7 }).visibility, "Public");
});

Deno.test("decodeAddress() takes an unknown workload type for a deployment", () => {
  assertEquals(workloadOf({ workloadType: 4 }).workloadType, "deployment");
  assertEquals(workloadOf({ workloadType: -1 }).workloadType, "deployment");
});

Deno.test("decodeAuthorization() drops what a Match cannot understand from its list", () => {
  const match = matchOf({
    namespaces: [{}, { exact: "kept" }, {}],
    notPrincipals: [{}],
    sourceIps: [
      { address: new Uint8Array(3), length: 8 },
      { address: IP, length: 33 },
      { address: IP, length: 8 },
      { address: new Uint8Array(16), length: 129 },
      {},
    ],
    notDestinationIps: [{ address: IP, length: 0 }],
  });
  assertEquals(match, {
    ...MATCH,
    namespaces: [{ kind: "exact", text: "kept" }],
    sourceIps: [{ ip: "10.0.0.1", prefixBits: 8 }],
    notDestinationIps: [{ ip: "10.0.0.1", prefixBits: 0 }],
  });
});

Deno.test("decodeAddress() takes port 0 of an application tunnel for no port", () => {
  const tunnel = (port: number) => workloadOf({ applicationTunnel: { port } }).applicationTunnel;
  assertEquals(tunnel(0), { protocol: "NONE", port: null });
  assertEquals(tunnel(15_088), { protocol: "NONE", port: 15_088 });
});

// VIPs.

Deno.test.each([
  { name: "no length", hex: "0a000001", length: null, vip: "10.0.0.1" },
  { name: "32 bits of IPv4", hex: "0a000001", length: 32, vip: "10.0.0.1" },
  {
    name: "31 bits of IPv4",
    hex: "0a000001",
    length: 31,
    cidr: { ip: "10.0.0.1", prefixBits: 31 },
  },
  { name: "0 bits", hex: "0a000001", length: 0, cidr: { ip: "10.0.0.1", prefixBits: 0 } },
  { name: "no length of IPv6", hex: "fd" + "00".repeat(15), length: null, vip: "fd00::" },
  { name: "128 bits of IPv6", hex: "fd" + "00".repeat(15), length: 128, vip: "fd00::" },
  {
    name: "32 bits of IPv6",
    hex: "fd" + "00".repeat(15),
    length: 32,
    cidr: { ip: "fd00::", prefixBits: 32 },
  },
  {
    name: "120 bits of IPv4 written as IPv6",
    hex: "00".repeat(10) + "ffff0a000000",
    length: 120,
    cidr: { ip: "10.0.0.0", prefixBits: 24 },
  },
])("decodeAddress() reads a VIP with $name", ({ hex, length, vip, cidr }) => {
  const { vips, cidrVips } = serviceOf({
    addresses: [{ network: "n", address: bytesOf(hex), length }],
  });
  assertEquals(vips, vip === undefined ? [] : [{ network: "n", ip: vip }]);
  assertEquals(cidrVips, cidr === undefined ? [] : [{ network: "n", cidr }]);
});

// Every row of the table of §2.5.

const SHORT = new Uint8Array(3);
const UNKNOWN_ENUM = "decode error: unknown enumeration value 99";

interface Failure {
  readonly name: string;
  readonly workload?: Message<typeof istio.workload.Workload>;
  readonly service?: Message<typeof istio.workload.Service>;
  readonly expected: string;
}

const FAILURES: readonly Failure[] = [
  { name: "nothing in it", expected: "unknown address type" },
  {
    name: "a workload address of 3 bytes",
    workload: { addresses: [IP, SHORT] },
    expected: "failed to parse address, had 3 bytes",
  },
  {
    name: "a VIP of 5 bytes",
    service: { addresses: [{ address: new Uint8Array(5) }] },
    expected: "failed to parse address, had 5 bytes",
  },
  {
    name: "a CIDR VIP of 3 bytes",
    service: { addresses: [{ address: SHORT, length: 8 }] },
    expected: "failed to parse address, had 3 bytes",
  },
  {
    name: "a gateway address of no bytes",
    workload: { networkGateway: { address: {} } },
    expected: "failed to parse address, had 0 bytes",
  },
  {
    name: "a CIDR VIP of 33 bits",
    service: { addresses: [{ address: IP, length: 33 }] },
    expected: "invalid cidr: 10.0.0.1/33",
  },
  {
    name: "a CIDR VIP of 129 bits",
    service: { addresses: [{ address: new Uint8Array(16), length: 129 }] },
    expected: "invalid cidr: ::/129",
  },
  {
    name: "a waypoint without destination",
    workload: { waypoint: { hboneMtlsPort: 15_008 } },
    expected: "nonempty gateway address is missing address",
  },
  {
    name: "a service's waypoint without destination",
    service: { waypoint: {} },
    expected: "nonempty gateway address is missing address",
  },
  {
    name: "a weighted waypoint without destination",
    service: { weightedWaypoints: [{ weight: 1 }] },
    expected: "nonempty gateway address is missing address",
  },
  {
    name: "a weighted waypoint whose destination is empty",
    service: { weightedWaypoints: [{ destination: {} }] },
    expected: "nonempty gateway address is missing address",
  },
  {
    name: "a service name without slash",
    workload: { services: { "ns/h": {}, svc: {} } },
    expected: "failed to parse namespaced hostname: svc",
  },
  {
    name: "the old tunnel protocol",
    workload: { tunnelProtocol: TunnelProtocol.LEGACY_ISTIO_MTLS },
    expected: "unknown enum: unsupported tunnel protocol: legacy istio mtls",
  },
  {
    name: "no scope as a routing preference",
    service: { loadBalancing: { routingPreference: [1, 0] } },
    expected: "unknown enum: invalid target",
  },
  { name: "tunnel protocol 99", workload: { tunnelProtocol: 99 }, expected: UNKNOWN_ENUM },
  { name: "network mode 99", workload: { networkMode: 99 }, expected: UNKNOWN_ENUM },
  { name: "status 99", workload: { status: 99 }, expected: UNKNOWN_ENUM },
  {
    name: "application protocol 99",
    workload: { applicationTunnel: { protocol: 99 } },
    expected: UNKNOWN_ENUM,
  },
  { name: "IP families 99", service: { ipFamilies: 99 }, expected: UNKNOWN_ENUM },
  {
    name: "routing preference 99",
    service: { loadBalancing: { routingPreference: [99] } },
    expected: UNKNOWN_ENUM,
  },
  { name: "mode 99", service: { loadBalancing: { mode: 99 } }, expected: UNKNOWN_ENUM },
  {
    name: "health policy 99",
    service: { loadBalancing: { healthPolicy: 99 } },
    expected: UNKNOWN_ENUM,
  },
  {
    name: "status -1",
    workload: { status: -1 },
    expected: "decode error: unknown enumeration value -1",
  },
];

Deno.test.each(FAILURES)("decodeAddress() rejects $name: $expected", (failure) => {
  const { workload, service, expected } = failure;
  const bytes = encode(Address, { workload: workload ?? null, service: service ?? null });
  const error = assertThrows(() => decodeAddress(bytes), ResourceError);
  assertEquals([error.message, error.kind, error.code], [expected, "convert", "RESOURCE_REJECTED"]);
});

Deno.test.each([
  { name: "scope 99", message: { scope: 99 } },
  { name: "action 99", message: { action: 99 } },
])("decodeAuthorization() rejects $name", ({ message }) => {
  const bytes = encode(Authorization, message);
  const error = assertThrows(() => decodeAuthorization(bytes), ResourceError);
  assertEquals([error.message, error.kind], [UNKNOWN_ENUM, "convert"]);
});

Deno.test.each([
  { name: "a name that is not UTF-8", bytes: field(1, field(1, new Uint8Array([0xff, 0xfe]))) },
  { name: "a workload cut short", bytes: bytesOf(WORKLOAD_SAMPLE).slice(0, 30) },
  { name: "a length beyond the end", bytes: bytesOf("0a05") },
  { name: "a group that never ends", bytes: bytesOf("0b") },
])("decodeAddress() rejects $name as undecodable", ({ bytes }) => {
  const error = assertThrows(() => decodeAddress(bytes), ResourceError);
  assertEquals([error.kind, error.message.startsWith("decode: ")], ["decode", true]);
});

Deno.test("decodeAddress() skips fields and members that it does not know", () => {
  const workload = join(field(1, "name"), numberField(1, 7), field(99, "new"), numberField(98, 1));
  const resource = decodeAddress(join(numberField(1, 1), field(1, workload), field(99)));
  assertEquals(resource, { kind: "workload", workload: { ...WORKLOAD, name: "name" } });
  assertThrows(() => decodeAddress(field(3, "a new type")), ResourceError, "unknown address type");
});

Deno.test("decodeAddress() goes by the last member of a oneof", () => {
  const both = join(encode(Address, { workload: { uid: "u" } }), encode(Address, { service: {} }));
  assertEquals(decodeAddress(both), { kind: "service", service: SERVICE });
});

Deno.test("decodeAddress() takes payloads of PAYLOAD_BYTES_MAX bytes and no larger ones", () => {
  const head = encode(Address, { workload: { uid: "u" } });
  for (const more of [-1, 0, 1]) {
    const bytes = PAYLOAD_BYTES_MAX + more;
    // The rest is one unknown field: a tag of two bytes and a length of four.
    const rest = bytes - head.length - 6;
    const payload = join(head, [0x9a, 0x06], [rest & 127 | 128, rest >> 7 & 127 | 128], [
      rest >> 14 & 127 | 128,
      rest >> 21,
    ], new Uint8Array(rest));
    assertEquals(payload.length, bytes);
    if (more <= 0) assertEquals(decodeAddress(payload).kind, "workload");
    else {
      const error = assertThrows(() => decodeAddress(payload), ResourceError);
      assertEquals(error.message, "decode: 2097153 bytes, limit is 2097152");
      assertEquals(error.kind, "decode");
    }
  }
});

Deno.test("payloadOf() gives the reason why there is none", () => {
  const raw = new RawResource(new Uint8Array([1, 2, 3]));
  const thrown = () => {
    const { message, kind } = assertThrows(() => payloadOf(raw), ResourceError);
    return [message, kind];
  };
  assertEquals(thrown(), ["XDS payload without resource", "decode"]);
  raw.place(1, 3);
  assertEquals(payloadOf(raw), new Uint8Array([2, 3]));
  raw.error = "decode: invalid wire type 6";
  assertEquals(thrown(), ["decode: invalid wire type 6", "decode"]);
});

// Memory.

Deno.test("decodeAddress() gives equal parts once, and one string for name and uid", () => {
  const message = {
    addresses: [IP],
    namespace: "a namespace",
    services: { "ns/h": { ports: [{ servicePort: 80, targetPort: 8080 }] } },
    locality: { region: "r" },
    authorizationPolicies: ["ns/p"],
    waypoint: { hostname: { namespace: "n", hostname: "w" } },
  };
  const [one, other] = [workloadOf({ ...message, uid: "1" }), workloadOf({ ...message, uid: "2" })];
  assertStrictEquals(one.services, other.services);
  assertStrictEquals(one.locality, other.locality);
  assertStrictEquals(one.authorizationPolicies, other.authorizationPolicies);
  assertStrictEquals(one.waypoint, other.waypoint);
  const [a, b] = [workloadOf({}), workloadOf({})];
  assertStrictEquals(a.ips, b.ips);
  assertStrictEquals(a.services, b.services);
  const named = decodeAddress(encode(Address, { workload: { uid: "uid" } }), "uid");
  assertEquals(named.kind === "workload" && named.workload.uid, "uid");
  const otherwise = decodeAddress(encode(Address, { workload: { uid: "uid" } }), "name");
  assertEquals(otherwise.kind === "workload" && otherwise.workload.uid, "uid");
});

Deno.test("decodeAddress() keeps parts apart that differ in one thing only", () => {
  const named = (namespace: string, hostname: string, hboneMtlsPort = 1) =>
    workloadOf({ waypoint: { hostname: { namespace, hostname }, hboneMtlsPort } }).waypoint;
  const at = (network: string, address: Uint8Array, hboneMtlsPort = 1) =>
    workloadOf({ waypoint: { address: { network, address }, hboneMtlsPort } }).waypoint;
  const backing = (
    name: string,
    servicePort: number,
    targetPort: number,
  ) => [...workloadOf({ services: { [name]: { ports: [{ servicePort, targetPort }] } } }).services];
  const place = (region: string, zone: string, subzone: string) =>
    workloadOf({ locality: { region, zone, subzone } }).locality;
  const policies = (...names: string[]) =>
    workloadOf({ authorizationPolicies: names }).authorizationPolicies;
  const other = new Uint8Array([10, 0, 0, 2]);
  const groups: readonly (readonly unknown[])[] = [
    [named("a", "b"), named("ab", ""), named("", "ab"), named("a", "c"), named("a", "b", 2)],
    [at("n", IP), at("m", IP), at("n", other), at("n", IP, 2), at("", IP)],
    [
      backing("n/h", 80, 81),
      backing("n/h", 80, 82),
      backing("n/h", 8, 81),
      backing("n/i", 80, 81),
      backing("n/h80>81,", 80, 81),
    ],
    [
      [...workloadOf({ services: { "n/a": {}, "n/b": {} } }).services.keys()],
      [...workloadOf({ services: { "n/an/b": {} } }).services.keys()],
    ],
    [place("a", "b", "0:"), place("a1:b", "", "")],
    [place("a", "b", "c"), place("ab", "", "c"), place("a", "bc", ""), place("", "ab", "c")],
    [policies("a", "b"), policies("ab"), policies("b", "a"), policies("a"), policies("a1:b")],
  ];
  for (const group of groups) {
    const texts = group.map((value) =>
      JSON.stringify(value, (_, part) => part instanceof Map ? [...part] : part)
    );
    assertEquals(new Set(texts).size, group.length);
  }
  assertEquals(backing("n/h", 80, 82), [["n/h", new Map([[80, 82]])]]);
  assertEquals(named("ab", ""), { kind: "hostname", namespace: "ab", hostname: "", port: 1 });
});

Deno.test("decodeAddress() keeps nothing of the payload", () => {
  const bytes = bytesOf(WORKLOAD_SAMPLE);
  const before = decodeAddress(bytes);
  const copy = structuredClone(before);
  bytes.fill(0);
  assertEquals(before, copy);
});

// Anything.

const text = fc.string({ unit: "grapheme", maxLength: 20 });
const number = fc.integer({ min: 0, max: 0xffffffff });
const ip = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
);
const ports = fc.array(fc.record({ servicePort: number, targetPort: number }), { maxLength: 4 });
const gateway = fc.oneof(
  fc.record({ hostname: fc.record({ namespace: text, hostname: text }), hboneMtlsPort: number }),
  fc.record({ address: fc.record({ network: text, address: ip }), hboneMtlsPort: number }),
);
const serviceName = fc.tuple(text, text).map(([a, b]) => `${a}/${b}`);

const workloadMessage = fc.record({
  uid: text,
  name: text,
  namespace: text,
  addresses: fc.array(ip, { maxLength: 3 }),
  tunnelProtocol: fc.nat(1),
  waypoint: fc.option(gateway),
  networkGateway: fc.option(gateway),
  status: fc.nat(1),
  services: fc.dictionary(serviceName, fc.record({ ports }), { maxKeys: 4 }),
  authorizationPolicies: fc.array(text, { maxLength: 3 }),
  locality: fc.option(fc.record({ region: text, zone: text, subzone: text })),
  networkMode: fc.nat(1),
  capacity: fc.option(fc.record({ value: number })),
  trustDomain: text,
  clusterId: text,
});

/** What of a message the value must say, written down a second time. */
function portsOf(list: readonly { servicePort: number; targetPort: number }[]) {
  return new Map(list.map((port) => [port.servicePort % 65_536, port.targetPort % 65_536]));
}

Deno.test("decodeAddress() says of any workload what the message says", () => {
  fc.assert(
    fc.property(workloadMessage, (message) => {
      const workload = workloadOf(message);
      assertEquals(workload.uid, message.uid);
      assertEquals(workload.namespace, message.namespace);
      assertEquals(workload.ips.length, message.addresses.length);
      assertEquals(workload.protocol, ["TCP", "HBONE"][message.tunnelProtocol]!);
      assertEquals(workload.status, ["Healthy", "Unhealthy"][message.status]!);
      assertEquals(workload.authorizationPolicies, message.authorizationPolicies);
      assertEquals(workload.locality, message.locality ?? { region: "", zone: "", subzone: "" });
      assertEquals(workload.capacity, message.capacity?.value ?? 1);
      assertEquals(
        workload.trustDomain,
        message.trustDomain === "" ? "cluster.local" : message.trustDomain,
      );
      assertEquals(workload.clusterId, message.clusterId === "" ? "Kubernetes" : message.clusterId);
      assertEquals(workload.waypoint === null, message.waypoint === null);
      assertEquals(
        workload.networkGateway?.port,
        message.networkGateway === null ? undefined : message.networkGateway.hboneMtlsPort % 65_536,
      );
      const services = Object.entries(message.services).map(([name, list]) =>
        [name, portsOf(list.ports)] as const
      );
      assertEquals(workload.services, new Map(services));
    }),
    { numRuns: 300 },
  );
});

/** Encodes, decodes, encodes: the same bytes. */
function assertRoundTrip<M>(codec: Codec<M>, message: Input<M>): Uint8Array {
  const bytes = encode(codec, message);
  assertEquals(hexOf(encode(codec, codec.decode(bytes) as Input<M>)), hexOf(bytes));
  return bytes;
}

const stringMatch = fc.oneof(
  fc.record({ exact: text }),
  fc.record({ prefix: text }),
  fc.record({ suffix: text }),
  fc.constant({ presence: {} }),
);
const few = <Item>(item: fc.Arbitrary<Item>) => fc.array(item, { maxLength: 3 });
const cidr = ip.chain((address) =>
  fc.record({ address: fc.constant(address), length: fc.nat(address.length * 8) })
);
const account = fc.record({ namespace: text, serviceAccount: text });
const matchMessage = fc.record({
  namespaces: few(stringMatch),
  notPrincipals: few(stringMatch),
  sourceIps: few(cidr),
  destinationPorts: few(number),
  serviceAccounts: few(account),
});
const policyMessage = fc.record({
  name: text,
  namespace: text,
  scope: fc.nat(2),
  action: fc.nat(1),
  dryRun: fc.boolean(),
  rules: few(fc.record({ clauses: few(fc.record({ matches: few(matchMessage) })) })),
});

Deno.test("any message is the same after a round trip", () => {
  fc.assert(
    fc.property(workloadMessage, policyMessage, (workload, policy) => {
      assertRoundTrip(Address, { workload });
      assertRoundTrip(Authorization, policy);
    }),
    { numRuns: 200 },
  );
});

Deno.test("decodeAuthorization() says of any policy what the message says", () => {
  fc.assert(
    fc.property(policyMessage, (message) => {
      const policy = decodeAuthorization(encode(Authorization, message));
      assertEquals([policy.name, policy.namespace, policy.dryRun], [
        message.name,
        message.namespace,
        message.dryRun,
      ]);
      const expected = message.rules.map(({ clauses }) =>
        clauses.map(({ matches }) =>
          matches.map((match) => ({
            principals: match.notPrincipals.length,
            texts: match.namespaces.map((item) => Object.values(item)[0]).filter((item) =>
              typeof item === "string"
            ),
            networks: match.sourceIps.length,
            ports: match.destinationPorts.map((port) => port % 65_536),
            accounts: match.serviceAccounts,
          }))
        )
      );
      const read = policy.rules.map((rule) =>
        rule.map((clause) =>
          clause.map((match) => ({
            principals: match.notPrincipals.length,
            texts: match.namespaces.flatMap((item) => item.kind === "presence" ? [] : [item.text]),
            networks: match.sourceIps.length,
            ports: match.destinationPorts,
            accounts: match.serviceAccounts,
          }))
        )
      );
      assertEquals(read, expected as typeof read);
    }),
    { numRuns: 200 },
  );
});

/** What comes of bytes that may be anything: a value or the typed error, never another one. */
function survives(convert: (bytes: Uint8Array) => unknown, bytes: Uint8Array): void {
  try {
    convert(bytes);
  } catch (error) {
    if (!(error instanceof ResourceError)) throw error;
  }
}

Deno.test("any bytes give a value or a ResourceError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      survives(decodeAddress, bytes);
      survives(decodeAuthorization, bytes);
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("broken samples give a value or a ResourceError", () => {
  const samples = [WORKLOAD_SAMPLE, CAPACITY_SAMPLE, SERVICE_SAMPLE, POLICY_SAMPLE].map(bytesOf);
  const change = fc.tuple(fc.nat(60), fc.nat(255));
  const changes = fc.array(change, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.constantFrom(...samples), changes, fc.nat(60), (sample, edits, cut) => {
      const broken = cut < 30 ? sample.slice(0, cut * 2) : sample.slice();
      for (const [at, byte] of edits) if (at < broken.length) broken[at] = byte;
      survives(decodeAddress, broken);
      survives(decodeAuthorization, broken);
    }),
    { numRuns: 3_000 },
  );
});

Deno.test("the largest payloads of the smallest things end in bounded time", () => {
  // Two bytes each: empty addresses, empty rules; three a level: rules in which nothing nests.
  const many = (number: number) => {
    const bytes = new Uint8Array(PAYLOAD_BYTES_MAX - 16);
    for (let at = 0; at < bytes.length; at += 2) bytes[at] = number << 3 | 2;
    return bytes;
  };
  const startMs = performance.now();
  survives(decodeAddress, field(1, many(3)));
  survives(decodeAddress, field(2, many(4)));
  const { rules } = decodeAuthorization(many(5));
  const elapsedMs = performance.now() - startMs;
  assertEquals(rules.length, (PAYLOAD_BYTES_MAX - 16) / 2);
  assert(elapsedMs < 10_000, `took ${elapsedMs} ms`);
});

const COUNTED: readonly {
  readonly what: string;
  readonly decodeWith: (count: number) => unknown;
}[] = [
  {
    what: "addresses",
    decodeWith: (count) =>
      convertAddress({ workload: { addresses: Array(count).fill(Uint8Array.of(10, 0, 0, 1)) } }),
  },
  {
    what: "policies",
    decodeWith: (count) =>
      convertAddress({ workload: { authorizationPolicies: Array(count).fill("ns/p") } }),
  },
  {
    what: "services",
    decodeWith: (count) =>
      convertAddress({
        workload: {
          services: Object.fromEntries(
            Array.from({ length: count }, (_, at) => [`ns/${at}`, { ports: [] }]),
          ),
        },
      }),
  },
  {
    what: "addresses",
    decodeWith: (count) =>
      convertAddress({
        service: { addresses: Array(count).fill({ address: Uint8Array.of(10, 0, 0, 1) }) },
      }),
  },
  {
    what: "weighted waypoints",
    decodeWith: (count) => {
      const destination = { hostname: { namespace: "n", hostname: "h" } };
      return convertAddress({
        service: { weightedWaypoints: Array(count).fill({ destination, weight: 1 }) },
      });
    },
  },
];

Deno.test.each(COUNTED)(
  "decodeAddress() takes up to ITEMS_MAX $what of one resource",
  ({ what, decodeWith }) => {
    decodeWith(ITEMS_MAX - 1);
    decodeWith(ITEMS_MAX);
    const { message, kind } = assertThrows(() => decodeWith(ITEMS_MAX + 1), ResourceError);
    assertEquals([message, kind], [`${ITEMS_MAX + 1} ${what}, limit is ${ITEMS_MAX}`, "convert"]);
  },
);
