// Tests of mesh_file.ts, mesh_file_policy.ts and yaml_reader.ts (spec/xds-state-and-dns §4).
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { MESH_FILE_BYTES_MAX, parseMeshFile } from "./mesh_file.ts";
import { MeshFileError, parseYaml, YAML_NODES_MAX } from "./yaml_reader.ts";

const parse = (text: string) => parseMeshFile(text, { source: "mesh.yaml" });

/** The message, less the part that all share: `line N: …`. */
function refusal(text: string): string {
  const error = assertThrows(() => parse(text), MeshFileError);
  assertEquals(error.code, "MESH_FILE_INVALID");
  assertEquals(error.message.includes("\n"), false, "one line");
  const start = "Cannot read mesh file mesh.yaml, ";
  assertEquals(error.message.slice(0, start.length), start);
  return error.message.slice(start.length);
}

const FULL_EXAMPLE = `workloads:
  - uid: c1//Pod/shop/web-1
    name: web-1
    namespace: shop
    trustDomain: cluster.local
    serviceAccount: web
    workloadIps: ["10.244.0.5", "fd00::5"]
    protocol: HBONE
    networkMode: Standard
    network: net1
    node: node-a
    clusterId: c1
    workloadName: web
    workloadType: deployment
    canonicalName: web
    canonicalRevision: v1
    status: Healthy
    capacity: 2
    nativeTunnel: false
    locality: { region: r1, zone: z1, subzone: "" }
    authorizationPolicies: [shop/only-front]
    waypoint: { destination: shop/wp.shop.svc.cluster.local, hboneMtlsPort: 15008 }
    services:
      shop/web.shop.svc.cluster.local: { 80: 8080 }
  - uid: net2/gw
    namespace: shop
    workloadIps: []
    hostname: gw.example.net
    network: net2
    networkGateway: { destination: net2/192.0.2.7, hboneMtlsPort: 15008 }
    applicationTunnel: { protocol: PROXY, port: 15088 }
    services: {}
services:
  - name: web
    namespace: shop
    hostname: web.shop.svc.cluster.local
    vips: [net1/10.96.0.10, "/fd00::10"]
    cidrVips: [{ network: net1, cidr: 10.97.0.0/16 }]
    ports: { 80: 8080, 443: 0 }
    canonical: true
    visibility: Public
    ipFamilies: Dual
    subjectAltNames: [spiffe://cluster.local/ns/shop/sa/web]
    loadBalancer:
      routingPreferences: [Network, Region, Zone]
      mode: Failover
      healthPolicy: OnlyHealthy
    weightedWaypoints:
      - destination: { destination: shop/wp.shop.svc.cluster.local, hboneMtlsPort: 15008 }
        weight: 100
    endpoints:
      c1//Pod/shop/web-1: { workloadUid: c1//Pod/shop/web-1, port: { 80: 8081 }, status: Unhealthy }
policies:
  - name: only-front
    namespace: shop
    scope: WorkloadSelector
    action: Allow
    dryRun: false
    rules:
      - - - principals: [!Exact cluster.local/ns/shop/sa/front, !Suffix /sa/admin]
            notNamespaces: [!Prefix test-, !Presence []]
            notSourceIps: ["10.0.0.0/8"]
            serviceAccounts: [{ namespace: a, serviceAccount: b }]
        - - destinationPorts: [8080, 8443]
`;

Deno.test("parseMeshFile() reads the whole format", () => {
  const { workloads, services, policies, warnings } = parse(FULL_EXAMPLE);
  assertEquals(warnings, []);
  const [web, gateway] = workloads;
  assertEquals(web!.ips, ["10.244.0.5", "fd00::5"]);
  assertEquals(web!.capacity, 2);
  assertEquals(web!.locality, { region: "r1", zone: "z1", subzone: "" });
  assertEquals(web!.waypoint, {
    kind: "hostname",
    namespace: "shop",
    hostname: "wp.shop.svc.cluster.local",
    port: 15008,
  });
  assertEquals([...web!.services], [["shop/web.shop.svc.cluster.local", new Map([[80, 8080]])]]);
  assertEquals(gateway!.networkGateway, {
    kind: "address",
    network: "net2",
    ip: "192.0.2.7",
    port: 15008,
  });
  assertEquals(gateway!.applicationTunnel, { protocol: "PROXY", port: 15088 });
  const [service] = services;
  assertEquals(service!.vips, [{ network: "net1", ip: "10.96.0.10" }, {
    network: "",
    ip: "fd00::10",
  }]);
  assertEquals(service!.cidrVips, [{ network: "net1", cidr: { ip: "10.97.0.0", prefixBits: 16 } }]);
  assertEquals(service!.ports, new Map([[80, 8080], [443, 0]]));
  assertEquals(service!.loadBalancer, {
    routingPreferences: ["Network", "Region", "Zone"],
    mode: "Failover",
    healthPolicy: "OnlyHealthy",
  });
  assertEquals(service!.weightedWaypoints[0]!.weight, 100);
  assertEquals(service!.endpoints, [{
    workloadUid: "c1//Pod/shop/web-1",
    ports: new Map([[80, 8081]]),
    status: "Unhealthy",
  }]);
  const [policy] = policies;
  const [first, second] = policy!.rules[0]!;
  assertEquals(first![0]!.principals, [
    { kind: "exact", text: "cluster.local/ns/shop/sa/front" },
    { kind: "suffix", text: "/sa/admin" },
  ]);
  assertEquals(first![0]!.notNamespaces, [{ kind: "prefix", text: "test-" }, { kind: "presence" }]);
  assertEquals(first![0]!.notSourceIps, [{ ip: "10.0.0.0", prefixBits: 8 }]);
  assertEquals(first![0]!.serviceAccounts, [{ namespace: "a", serviceAccount: "b" }]);
  assertEquals(second![0]!.destinationPorts, [8080, 8443]);
});

Deno.test("parseMeshFile() fills in the defaults of a file, which are not those of xDS", () => {
  const { workloads, services, policies } = parse(
    "workloads: [{ namespace: n, workloadIps: [], services: {} }]\n" +
      "services: [{ name: s, namespace: n, hostname: h, vips: [], ports: {} }]\n",
  );
  assertEquals(workloads, [{
    uid: "",
    name: "",
    namespace: "n",
    ips: [],
    services: new Map(),
    protocol: "TCP",
    networkMode: "Standard",
    network: "",
    trustDomain: "",
    serviceAccount: "",
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
  }]);
  assertEquals(services[0], {
    name: "s",
    namespace: "n",
    hostname: "h",
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
  });
  assertEquals(policies, []);
});

Deno.test("parseMeshFile() reads JSON, with quoted ports and string matches as mappings", () => {
  const { workloads, policies } = parse(JSON.stringify({
    workloads: [{
      namespace: "n",
      workloadIps: ["::FFFF:10.0.0.1", "2001:DB8::1"],
      waypoint: null,
      services: { "n/h": { "80": 8080 } },
    }],
    policies: [{
      name: "p",
      namespace: "n",
      scope: "Global",
      action: "Deny",
      dryRun: true,
      rules: [[[{ principals: [{ Exact: "8080" }, { Presence: [] }] }]]],
    }],
  }));
  assertEquals(workloads[0]!.ips, ["10.0.0.1", "2001:db8::1"]);
  assertEquals(workloads[0]!.services.get("n/h"), new Map([[80, 8080]]));
  assertEquals(policies[0]!.rules[0]![0]![0]!.principals, [
    { kind: "exact", text: "8080" },
    { kind: "presence" },
  ]);
});

Deno.test("parseMeshFile() keeps a tagged number as the text that it is", () => {
  const { policies } = parse(policyWith("namespaces: [!Exact 007]"));
  assertEquals(policies[0]!.rules[0]![0]![0]!.namespaces, [{ kind: "exact", text: "007" }]);
});

Deno.test("parseMeshFile() follows anchors and aliases", () => {
  const { workloads } = parse(
    "workloads:\n" +
      "  - { uid: a, namespace: &ns one, workloadIps: &ips [10.0.0.1], services: {} }\n" +
      "  - { uid: b, namespace: *ns, workloadIps: *ips, services: {} }\n",
  );
  assertEquals(workloads[1]!.ips, ["10.0.0.1"]);
  assertEquals(workloads[1]!.namespace, "one");
});

/** A workload of three lines with one more; the first is line 2. */
const workloadWith = (line: string) =>
  `workloads:\n  - uid: a\n    namespace: n\n    ${line}\n` +
  (line.startsWith("workloadIps") ? "" : "    workloadIps: []\n") +
  (line.startsWith("services") ? "" : "    services: {}\n");

const serviceWith = (line: string) =>
  `services:\n  - name: s\n    namespace: n\n    hostname: h\n    ${line}\n` +
  (line.startsWith("vips") ? "" : "    vips: []\n") +
  (line.startsWith("ports") ? "" : "    ports: {}\n");

const policyWith = (match: string) =>
  "policies:\n  - name: p\n    namespace: n\n    scope: Namespace\n    action: Allow\n" +
  `    dryRun: false\n    rules:\n    - - - ${match}\n`;

Deno.test.each([
  {
    name: "bad YAML",
    text: "workloads:\n  - [\n",
    expected:
      "line 3: is not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
  },
  {
    name: "tabs",
    text: "workloads:\n\t- a: 1\n",
    expected: "line 2: is not valid YAML: Tabs are not allowed as indentation",
  },
  {
    name: "a key twice",
    text: "workloads: []\nworkloads: []\n",
    expected: "line 2: is not valid YAML: Map keys must be unique",
  },
  {
    name: "an unknown tag",
    text: policyWith("namespaces: [!Regex a]"),
    expected: "line 8: is not valid YAML: Unresolved tag: !Regex",
  },
  {
    name: "an unknown anchor",
    text: "workloads: *nobody\n",
    expected: "line 1: *nobody refers to no &nobody before it",
  },
  {
    name: "an empty file",
    text: "",
    expected:
      "line 1: the file must be a mapping with the keys workloads, services, policies, is nothing",
  },
  {
    name: "a list instead of the file",
    text: "- a\n",
    expected:
      "line 1: the file must be a mapping with the keys workloads, services, policies, is a list",
  },
  {
    name: "an unknown key of the file",
    text: "workloads: []\nworklods: []\n",
    expected:
      'line 2: the file has the unknown key "worklods", known are workloads, services, policies',
  },
  {
    name: "a list that is none",
    text: "workloads:\n",
    expected: "line 1: workloads must be a list, is nothing",
  },
  {
    name: "a missing namespace",
    text: "workloads:\n  - uid: a\n    workloadIps: []\n    services: {}\n",
    expected: "line 2: workloads[0] lacks the required key namespace",
  },
  {
    name: "missing services",
    text: "workloads:\n  - uid: a\n    workloadIps: []\n    namespace: n\n",
    expected: "line 2: workloads[0] lacks the required key services",
  },
  {
    name: "a protocol",
    text: workloadWith("protocol: QUIC"),
    expected: 'line 4: workloads[0].protocol must be TCP or HBONE, is "QUIC"',
  },
  {
    name: "an IP",
    text: workloadWith("workloadIps: [10.0.0.1, 10.0.0.256]"),
    expected: 'line 4: workloads[0].workloadIps[1] must be an IP address, is "10.0.0.256"',
  },
  {
    name: "an IP with leading zeros",
    text: workloadWith("workloadIps: [10.0.0.01]"),
    expected: 'line 4: workloads[0].workloadIps[0] must be an IP address, is "10.0.0.01"',
  },
  {
    name: "a number where a text is",
    text: workloadWith("name: 1"),
    expected: 'line 4: workloads[0].name must be a text (put it in quotes), is "1"',
  },
  {
    name: "a boolean in quotes",
    text: workloadWith('nativeTunnel: "true"'),
    expected: 'line 4: workloads[0].nativeTunnel must be true or false, is "true"',
  },
  {
    name: "a capacity",
    text: workloadWith("capacity: 4294967296"),
    expected:
      'line 4: workloads[0].capacity must be a whole number from 0 to 4294967295, is "4294967296"',
  },
  {
    name: "a service without namespace",
    text: workloadWith("services: { svc: {} }"),
    expected:
      'line 4: a key of workloads[0].services must be namespace/hostname of a service, is "svc"',
  },
  {
    name: "a port",
    text: workloadWith("services: { n/h: { 65536: 1 } }"),
    expected:
      'line 4: a key of workloads[0].services.n/h must be a port from 0 to 65535, is "65536"',
  },
  {
    name: "a target port",
    text: workloadWith("services: { n/h: { 80: -1 } }"),
    expected:
      'line 4: workloads[0].services.n/h.80 must be a whole number from 0 to 65535, is "-1"',
  },
  {
    name: "a port twice, once in quotes",
    text: workloadWith('services: { n/h: { 80: 1, "80": 2 } }'),
    expected: "line 4: a key of workloads[0].services.n/h repeats port 80",
  },
  {
    name: "an unknown key of a waypoint",
    text: workloadWith("waypoint: { destination: n/h, hboneMtlsPort: 1, port: 2 }"),
    expected:
      'line 4: workloads[0].waypoint has the unknown key "port", known are destination, hboneMtlsPort',
  },
  {
    name: "a waypoint without slash",
    text: workloadWith("waypoint: { destination: h, hboneMtlsPort: 1 }"),
    expected:
      'line 4: workloads[0].waypoint.destination must be network/IP or namespace/hostname, is "h"',
  },
  {
    name: "an unknown key of an application tunnel",
    text: workloadWith("applicationTunnel: { protocol: NONE, x: 1 }"),
    expected:
      'line 4: workloads[0].applicationTunnel has the unknown key "x", known are protocol, port',
  },
  {
    name: "half a locality",
    text: workloadWith("locality: { region: r }"),
    expected: "line 4: workloads[0].locality lacks the required key zone",
  },
  {
    name: "a VIP without network",
    text: serviceWith("vips: [10.0.0.1]"),
    expected:
      'line 5: services[0].vips[0] must be network/IP, or /IP in the default network, is "10.0.0.1"',
  },
  {
    name: "a network",
    text: serviceWith("cidrVips: [{ network: n, cidr: 10.0.0.0/33 }]"),
    expected:
      'line 5: services[0].cidrVips[0].cidr must be a network such as 10.0.0.0/24, is "10.0.0.0/33"',
  },
  {
    name: "an unknown key of a load balancer",
    text: serviceWith(
      "loadBalancer: { routingPreferences: [], mode: Strict, healthPolicy: AllowAll, x: 1 }",
    ),
    expected:
      'line 5: services[0].loadBalancer has the unknown key "x", known are routingPreferences, mode, healthPolicy',
  },
  {
    name: "an unknown key of an endpoint",
    text: serviceWith("endpoints: { u: { workloadUid: u, port: {}, status: Healthy, x: 1 } }"),
    expected:
      'line 5: services[0].endpoints.u has the unknown key "x", known are workloadUid, port, status',
  },
  {
    name: "an unknown key of a weighted waypoint",
    text: serviceWith("weightedWaypoints: [{ weight: 1, x: 1 }]"),
    expected:
      'line 5: services[0].weightedWaypoints[0] has the unknown key "x", known are destination, weight',
  },
  {
    name: "a policy's scope",
    text: "policies: [{ name: p, namespace: n, scope: GLOBAL }]\n",
    expected:
      'line 1: policies[0].scope must be Global, Namespace or WorkloadSelector, is "GLOBAL"',
  },
  {
    name: "a policy without rules",
    text: "policies: [{ name: p, namespace: n, scope: Global, action: Deny, dryRun: false }]\n",
    expected: "line 1: policies[0] lacks the required key rules",
  },
  {
    name: "a bare text where a string match is",
    text: policyWith("principals: [a]"),
    expected:
      'line 8: policies[0].rules[0][0][0].principals[0] must be a string match such as !Exact text, !Prefix text, !Suffix text or !Presence [], is "a"',
  },
  {
    name: "a presence with a value",
    text: policyWith("principals: [!Presence [a]]"),
    expected:
      "line 8: policies[0].rules[0][0][0].principals[0] must be [] after Presence, is a list",
  },
  {
    name: "nothing where a restriction is",
    text: policyWith("principals:"),
    expected: "line 8: policies[0].rules[0][0][0].principals must be a list, is nothing",
  },
  {
    name: "a source without length",
    text: policyWith("sourceIps: [10.0.0.1]"),
    expected:
      'line 8: policies[0].rules[0][0][0].sourceIps[0] must be a network such as 10.0.0.0/24, is "10.0.0.1"',
  },
  {
    name: "a port of a policy",
    text: policyWith("destinationPorts: [65536]"),
    expected:
      'line 8: policies[0].rules[0][0][0].destinationPorts[0] must be a whole number from 0 to 65535, is "65536"',
  },
  {
    name: "a uid twice",
    text: "workloads:\n" +
      "  - { uid: u, namespace: n, workloadIps: [], services: {} }\n" +
      "  - { uid: v, namespace: n, workloadIps: [], services: {} }\n" +
      "  - { uid: u, namespace: m, workloadIps: [], services: {} }\n",
    expected: 'line 4: workloads[2] repeats "u", which line 2 has already',
  },
  {
    name: "a service twice",
    text: serviceWith("canonical: true") +
      serviceWith("canonical: true").replace("services:\n", ""),
    expected: 'line 8: services[1] repeats "n/h", which line 2 has already',
  },
  {
    name: "a policy twice",
    text: policyWith("{}") + policyWith("{}").replace("policies:\n", ""),
    expected: 'line 9: policies[1] repeats "n/p", which line 2 has already',
  },
])("parseMeshFile() refuses $name", ({ text, expected }) => {
  assertEquals(refusal(text), expected);
});

Deno.test("parseMeshFile() refuses a workload with key foo", () => {
  assertStringIncludes(
    refusal(workloadWith("foo: 1")),
    'line 4: workloads[0] has the unknown key "foo"',
  );
});

Deno.test("parseMeshFile() keeps workloads without uid apart", () => {
  const { workloads } = parse(
    "workloads:\n" +
      "  - { name: b, namespace: n, workloadIps: [], services: {} }\n" +
      "  - { name: a, namespace: n, workloadIps: [], services: {} }\n",
  );
  assertEquals(workloads.map(({ name }) => name), ["a", "b"]);
});

Deno.test("parseMeshFile() ignores unknown keys of a match, a locality and a CIDR, the first with a warning", () => {
  const { warnings } = parse(
    workloadWith("locality: { region: r, zone: z, subzone: s, x: 1 }") +
      serviceWith("cidrVips: [{ network: n, cidr: 10.0.0.0/8, x: 1 }]") +
      policyWith("{ principal: [a] }"),
  );
  assertEquals(warnings, [
    'Mesh file mesh.yaml, line 21: policies[0].rules[0][0][0] ignores the unknown key "principal"',
  ]);
});

Deno.test("parseMeshFile() takes a file of MESH_FILE_BYTES_MAX and none larger", () => {
  const text = "workloads: [] # é";
  const bytes = new TextEncoder().encode(text).length;
  assertEquals(bytes, text.length + 1);
  parseMeshFile(text, { source: "f", bytesMax: bytes + 1 });
  parseMeshFile(text, { source: "f", bytesMax: bytes });
  const tooLarge = "Cannot read mesh file f: larger than";
  const read = () => parseMeshFile(text, { source: "f", bytesMax: bytes - 1 });
  assertThrows(read, MeshFileError, `${tooLarge} ${bytes - 1} bytes`);
  const huge = "#".repeat(MESH_FILE_BYTES_MAX + 1);
  const readHuge = () => parseMeshFile(huge, { source: "f" });
  assertThrows(readHuge, MeshFileError, `${tooLarge} ${MESH_FILE_BYTES_MAX} bytes`);
});

Deno.test("parseYaml() reads at most YAML_NODES_MAX values, aliases counted each time", () => {
  assertEquals(YAML_NODES_MAX > 1_000_000, true);
  const text = "a: &a [1, 2, 3]\nb: [*a, *a]\n"; // 1 file, 2 values, 3 + 2 items, 6 behind aliases, 2 keys.
  const count = (nodesMax: number) => {
    const map = parseYaml(text, { source: "f", nodesMax }).object(["a", "b"]);
    map.required("a").list((item) => item.integer(9));
    map.required("b").list((list) => list.list((item) => item.integer(9)));
  };
  count(17);
  count(16);
  assertThrows(() => count(15), MeshFileError, "more than 15 values, aliases included");
});

Deno.test("parseMeshFile() refuses a file nested without end", () => {
  const error = assertThrows(() => parse("[".repeat(200_000)), MeshFileError);
  assertStringIncludes(error.message, "Cannot read mesh file mesh.yaml, line 1: ");
});
