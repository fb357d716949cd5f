// Tests of inbound_decision.ts: spec/data-path §3.3, §3.4, §3.6 and §4.2.
import { assertEquals } from "@std/assert";
import { formatAddress, parseSocketAddress } from "../base/address.ts";
import { type InboundQuestion, RouteError } from "../seam/router.ts";
import {
  decideInbound,
  decidePlaintext,
  type InboundDecision,
  type InboundSettings,
} from "./inbound_decision.ts";
import { Lookups } from "./lookups.ts";
import { parseMeshFile } from "./mesh_file.ts";
import { MeshState } from "./mesh_state.ts";

const SETTINGS: InboundSettings = {
  network: "",
  internalPorts: new Set([15001, 15006, 15008]),
};

// The addresses of §3.3's table.
const CLIENT =
  "uid: client, name: client, namespace: default, workloadIps: [10.0.0.1], services: {}";
const SERVER =
  "uid: server, name: server, namespace: default, workloadIps: [10.0.0.2], services: " +
  "{ default/server.default.svc.cluster.local: { 80: 8080 } }";
const WAYPOINT = "uid: waypoint, namespace: default, workloadIps: [10.0.0.3], services: {}";
const SERVICE = "name: server, namespace: default, hostname: server.default.svc.cluster.local, " +
  "vips: [/10.10.0.1], ports: { 80: 8080 }";

interface Mesh {
  readonly workloads?: readonly string[];
  readonly services?: readonly string[];
  readonly policies?: readonly string[];
}

function meshState(mesh: Mesh): MeshState {
  const { workloads = [CLIENT, SERVER, WAYPOINT], services = [SERVICE], policies = [] } = mesh;
  const list = (name: string, items: readonly string[]) =>
    items.length === 0 ? "" : `${name}:\n${items.map((item) => `  - { ${item} }\n`).join("")}`;
  const text = list("workloads", workloads) + list("services", services) +
    list("policies", policies);
  return new MeshState(parseMeshFile(text, { source: "test" }));
}

interface Asked {
  readonly mesh?: Mesh;
  readonly to?: string;
  readonly authority: string;
  readonly question?: Partial<InboundQuestion>;
  readonly settings?: Partial<InboundSettings>;
}

/** The client's CONNECT to the server, unless told otherwise. */
function decide(
  { mesh = {}, to = "10.0.0.2", authority, question, settings }: Asked,
): InboundDecision {
  const state = meshState(mesh);
  const address = parseSocketAddress(authority);
  const [hostname, port] = authority.split(":");
  return decideInbound(
    new Lookups(state),
    { ...SETTINGS, ...settings },
    state.workloadByUid(to === "10.0.0.3" ? "waypoint" : "server")!,
    {
      local: { namespace: "default", name: "", serviceAccount: "" },
      localIp: to,
      peerIp: "10.0.0.1",
      authority: address === null
        ? { kind: "hostname", hostname: hostname!, port: Number(port) }
        : { kind: "address", address },
      forwardedHost: null,
      fromGateway: false,
      ...question,
    },
  );
}

function route(asked: Asked): Exclude<InboundDecision, RouteError> {
  const decision = decide(asked);
  if (decision instanceof RouteError) throw decision;
  return decision;
}

/** `ip:port` of the next hop, or code and message of the refusal. */
function hop(asked: Asked): string {
  const decision = decide(asked);
  if (decision instanceof RouteError) return `${decision.code} ${decision.message}`;
  const { ip, port } = decision.policyTarget;
  return `${ip}:${port}`;
}

const HOST = "server.default.svc.cluster.local";

Deno.test.each<Asked & { name: string; expected: string }>([
  { name: "V2: own IP", authority: "10.0.0.2:8080", expected: "10.0.0.2:8080" },
  { name: "V1: host name", authority: `${HOST}:80`, expected: "10.0.0.2:8080" },
  {
    name: "V5: the client's IP",
    authority: "10.0.0.1:8080",
    expected: "IP_MISMATCH ip mismatch: 10.0.0.2 != 10.0.0.1",
  },
  {
    name: "V5: the client's IP at a waypoint",
    to: "10.0.0.3",
    authority: "10.0.0.1:8080",
    expected: "IP_MISMATCH ip mismatch: 10.0.0.3 != 10.0.0.1",
  },
  {
    name: "V5: nobody's IP",
    authority: "10.9.9.9:8080",
    expected: "IP_MISMATCH ip mismatch: 10.0.0.2 != 10.9.9.9",
  },
  {
    name: "V5: the VIP of the server's own service",
    authority: "10.10.0.1:80",
    expected: "IP_MISMATCH ip mismatch: 10.0.0.2 != 10.10.0.1",
  },
  {
    name: "V3: any application tunnel, any IP",
    mesh: { workloads: [`${SERVER}, applicationTunnel: { protocol: NONE }`] },
    authority: "10.0.0.9:8080",
    expected: "10.0.0.2:8080",
  },
  {
    name: "I11: unknown host",
    authority: "nobody.example:80",
    expected: "NO_SERVICE_OR_WORKLOAD no service or workload for hostname: nobody.example",
  },
  {
    name: "I11: host names keep their case",
    authority: "SERVER.default.svc.cluster.local:80",
    expected:
      "NO_SERVICE_OR_WORKLOAD no service or workload for hostname: SERVER.default.svc.cluster.local",
  },
  {
    name: "I11: an IP with leading zeros is a host name",
    authority: "10.0.0.02:80",
    expected: "NO_SERVICE_OR_WORKLOAD no service or workload for hostname: 10.0.0.02",
  },
  {
    name: "I11: a service that is not visible here",
    mesh: {
      services: [
        `${SERVICE.replace("namespace: default", "namespace: other")}, visibility: Namespace`,
      ],
    },
    authority: `${HOST}:80`,
    expected: `NO_SERVICE_OR_WORKLOAD no service or workload for hostname: ${HOST}`,
  },
  {
    name: "I11: the service of the own namespace wins",
    mesh: {
      services: [
        SERVICE.replace("namespace: default", "namespace: a").replace("8080", "1"),
        SERVICE,
      ],
    },
    authority: `${HOST}:80`,
    expected: "10.0.0.2:8080",
  },
  {
    name: "I12: named port, mapped by the endpoint",
    mesh: { services: [SERVICE.replace("80: 8080", "80: 0")] },
    authority: `${HOST}:80`,
    expected: "10.0.0.2:8080",
  },
  {
    name: "I12: the service's target where the endpoint has none",
    mesh: {
      workloads: [SERVER.replace("{ 80: 8080 }", "{}")],
      services: [SERVICE.replace("8080", "9090")],
    },
    authority: `${HOST}:80`,
    expected: "10.0.0.2:9090",
  },
  {
    name: "I12: named port that nobody maps",
    mesh: {
      workloads: [SERVER.replace("{ 80: 8080 }", "{}")],
      services: [SERVICE.replace("80: 8080", "80: 0")],
    },
    authority: `${HOST}:80`,
    expected: `PORT_NOT_RESOLVED requested service ${HOST}:80 found, but cannot resolve port`,
  },
  {
    name: "I12: a port that the service lacks",
    authority: `${HOST}:81`,
    expected: `PORT_NOT_RESOLVED requested service ${HOST}:81 found, but cannot resolve port`,
  },
  {
    name: "I13: not an endpoint of the service",
    mesh: { workloads: [SERVER.replace(/services: .*/, "services: {}")] },
    authority: `${HOST}:80`,
    expected: "10.0.0.2:8080",
  },
  ...[15001, 15006, 15008].map((port) => ({
    name: `I14: own port ${port}`,
    authority: `10.0.0.2:${port}`,
    expected: "SELF_CALL attempted recursive call to ourselves",
  })),
  {
    name: "I14: admin ports are not among them",
    authority: "10.0.0.2:15020",
    expected: "10.0.0.2:15020",
  },
  {
    name: "I14: after the port was resolved",
    mesh: {
      workloads: [SERVER.replace("{ 80: 8080 }", "{}")],
      services: [SERVICE.replace("8080", "15001")],
    },
    authority: `${HOST}:80`,
    expected: "SELF_CALL attempted recursive call to ourselves",
  },
])("decideInbound() $name", ({ expected, ...asked }) => {
  assertEquals(hop(asked), expected);
});

/** Of the server, or of its service. */
const BY_POD_IP = "waypoint: { destination: /10.0.0.3, hboneMtlsPort: 15008 }";
const BY_VIP = "waypoint: { destination: /10.10.0.2, hboneMtlsPort: 15008 }";
const BY_NAME = "waypoint: { destination: default/waypoint.example, hboneMtlsPort: 15008 }";
const BY_WEIGHT =
  `weightedWaypoints: [{ destination: { destination: /10.0.0.9, hboneMtlsPort: 1 }, weight: 1 }, ` +
  `{ destination: { destination: /10.10.0.2, hboneMtlsPort: 15008 }, weight: 1 }]`;

/** The mesh of §3.3's table: `server` and `service` are more of the server and of its service. */
function sandwich({ server = "", service = "", waypoint = "" }): Mesh {
  const more = (text: string) => text === "" ? "" : `, ${text}`;
  return {
    workloads: [
      CLIENT,
      SERVER + more(server),
      WAYPOINT.replace("services: {}", "services: { default/waypoint.example: { 15008: 15008 } }") +
      more(waypoint),
    ],
    services: [
      SERVICE + more(service),
      "name: waypoint, namespace: default, hostname: waypoint.example, vips: [/10.10.0.2], " +
      "ports: { 15008: 15008 }",
    ],
  };
}

const PROXY = "applicationTunnel: { protocol: PROXY, port: 15088 }";

interface TableRow {
  readonly name: string;
  readonly to: string;
  readonly authority: string;
  readonly mesh: Mesh;
  /** The next hop; and what the PROXY header names. */
  readonly expected: string;
  readonly proxyTarget?: string;
}

const refused = (authority: string) => `IP_MISMATCH ip mismatch: 10.0.0.3 != ${authority}`;

Deno.test.each<TableRow>([
  {
    name: "no waypoint, the server's IP",
    to: "10.0.0.2",
    authority: "10.0.0.2:8080",
    mesh: sandwich({}),
    expected: "10.0.0.2:8080",
  },
  {
    name: "no waypoint, the server's host name",
    to: "10.0.0.2",
    authority: `${HOST}:80`,
    mesh: sandwich({}),
    expected: "10.0.0.2:8080",
  },
  ...[["pod IP", BY_POD_IP], ["VIP", BY_VIP], ["host name", BY_NAME]].flatMap(([by, reference]) => [
    {
      name: `attached to the workload by ${by}`,
      to: "10.0.0.3",
      authority: "10.0.0.2:8080",
      mesh: sandwich({ server: reference! }),
      expected: "10.0.0.3:8080",
    },
    {
      name: `attached to the workload by ${by}, with a tunnel`,
      to: "10.0.0.3",
      authority: "10.0.0.2:8080",
      mesh: sandwich({ server: reference!, waypoint: PROXY }),
      expected: "10.0.0.3:15088",
      proxyTarget: "10.0.0.2:8080",
    },
    {
      name: `attached to the service by ${by}`,
      to: "10.0.0.3",
      authority: "10.10.0.1:8080",
      mesh: sandwich({ service: reference! }),
      expected: "10.0.0.3:8080",
    },
    {
      name: `attached to the service by ${by}, with a tunnel`,
      to: "10.0.0.3",
      authority: "10.10.0.1:8080",
      mesh: sandwich({ service: reference!, waypoint: PROXY }),
      expected: "10.0.0.3:15088",
      proxyTarget: "10.10.0.1:8080",
    },
    {
      name: `attached to the service alone by ${by}, the server's IP`,
      to: "10.0.0.3",
      authority: "10.0.0.2:8080",
      mesh: sandwich({ service: reference! }),
      expected: refused("10.0.0.2"),
    },
    {
      name: `attached to the workload alone by ${by}, the service's VIP`,
      to: "10.0.0.3",
      authority: "10.10.0.1:8080",
      mesh: sandwich({ server: reference! }),
      expected: refused("10.10.0.1"),
    },
  ]),
  {
    name: "one of the service's weighted waypoints",
    to: "10.0.0.3",
    authority: "10.10.0.1:8080",
    mesh: sandwich({ service: BY_WEIGHT }),
    expected: "10.0.0.3:8080",
  },
  {
    name: "another waypoint",
    to: "10.0.0.3",
    authority: "10.0.0.2:8080",
    mesh: sandwich({ server: BY_POD_IP.replace("10.0.0.3", "10.0.0.1") }),
    expected: refused("10.0.0.2"),
  },
  {
    name: "a waypoint that nobody is",
    to: "10.0.0.3",
    authority: "10.0.0.2:8080",
    mesh: sandwich({ server: BY_POD_IP.replace("10.0.0.3", "10.0.0.77") }),
    expected: refused("10.0.0.2"),
  },
  {
    name: "no waypoint, the client's IP at the server",
    to: "10.0.0.2",
    authority: "10.0.0.1:8080",
    mesh: sandwich({}),
    expected: "IP_MISMATCH ip mismatch: 10.0.0.2 != 10.0.0.1",
  },
  {
    name: "no waypoint, the client's IP at the waypoint",
    to: "10.0.0.3",
    authority: "10.0.0.1:8080",
    mesh: sandwich({}),
    expected: refused("10.0.0.1"),
  },
])("decideInbound() §3.3: $name", ({ expected, proxyTarget, ...asked }) => {
  assertEquals(hop(asked), expected);
  if (!expected.startsWith("10.")) return;
  const { proxyTarget: target } = route(asked);
  assertEquals(target === null ? undefined : formatAddress(target), proxyTarget);
});

Deno.test("decideInbound() looks authorities up in NETWORK", () => {
  const mesh = sandwich({
    server: "network: n2, waypoint: { destination: /10.0.0.3, hboneMtlsPort: 1 }",
  });
  const asked = { to: "10.0.0.3", authority: "10.0.0.2:8080", mesh };
  assertEquals(hop(asked), refused("10.0.0.2"));
  assertEquals(hop({ ...asked, settings: { network: "n2" } }), "10.0.0.3:8080");
});

interface TunnelRow {
  readonly name: string;
  readonly tunnel: string;
  readonly to?: string;
  readonly localhost?: boolean;
  readonly policyTarget: string;
  readonly dial: string;
  readonly dialFrom?: string;
  readonly proxyTarget?: string;
}

/** An application tunnel at the server, dialled at 10.0.0.2:8080 unless told otherwise. */
Deno.test.each<TunnelRow>([
  {
    name: "T4: PROXY on loopback, the port replaced",
    tunnel: "{ protocol: PROXY, port: 15088 }",
    policyTarget: "10.0.0.2:15088",
    dial: "127.0.0.1:15088",
    dialFrom: "127.0.0.1",
    proxyTarget: "10.0.0.2:8080",
  },
  {
    name: "T4: PROXY on loopback, the port kept",
    tunnel: "{ protocol: PROXY }",
    policyTarget: "10.0.0.2:8080",
    dial: "127.0.0.1:8080",
    dialFrom: "127.0.0.1",
    proxyTarget: "10.0.0.2:8080",
  },
  {
    name: "T4: by the family of the connection",
    tunnel: "{ protocol: PROXY, port: 15088 }",
    to: "fd00::2",
    policyTarget: "[fd00::2]:15088",
    dial: "[::1]:15088",
    dialFrom: "::1",
    proxyTarget: "10.0.0.2:8080",
  },
  {
    name: "T5: PROXY with LOCALHOST_APP_TUNNEL=false",
    tunnel: "{ protocol: PROXY, port: 15088 }",
    localhost: false,
    policyTarget: "10.0.0.2:15088",
    dial: "10.0.0.2:15088",
    proxyTarget: "10.0.0.2:8080",
  },
  {
    name: "T5: NONE",
    tunnel: "{ protocol: NONE, port: 15088 }",
    policyTarget: "10.0.0.2:15088",
    dial: "10.0.0.2:15088",
  },
])("decideInbound() $name", ({ name: _, tunnel, to = "10.0.0.2", localhost, ...expected }) => {
  const decided = route({
    mesh: { workloads: [CLIENT, `${SERVER}, applicationTunnel: ${tunnel}`] },
    authority: "10.0.0.2:8080",
    question: { localIp: to },
    settings: localhost === undefined ? {} : { localhostAppTunnel: localhost },
  });
  const { policyTarget, dial, dialFrom, proxyTarget } = decided;
  assertEquals({
    policyTarget: formatAddress(policyTarget),
    dial: formatAddress(dial),
    ...(dialFrom === null ? {} : { dialFrom }),
    ...(proxyTarget === null ? {} : { proxyTarget: formatAddress(proxyTarget) }),
  }, expected);
});

Deno.test("decideInbound() I14 comes before the tunnel's own port", () => {
  const workloads = [`${SERVER}, applicationTunnel: { protocol: PROXY, port: 15008 }`];
  assertEquals(hop({ mesh: { workloads }, authority: "10.0.0.2:80" }), "10.0.0.2:15008");
  assertEquals(
    hop({ mesh: { workloads }, authority: "10.0.0.2:15006" }),
    "SELF_CALL attempted recursive call to ourselves",
  );
});

Deno.test.each([
  { name: "the only one", vips: '"/10.10.0.1"', expected: "10.10.0.1:80" },
  { name: "IPv4 before IPv6", vips: '"/fd00::10", "/10.10.0.1"', expected: "10.10.0.1:80" },
  { name: "our network first", vips: '"n2/10.10.0.9", "/fd00::10"', expected: "[fd00::10]:80" },
  { name: "another network's", vips: '"n2/10.10.0.9"', expected: "10.10.0.9:80" },
  { name: "the first of equals", vips: '"/10.10.0.5", "/10.10.0.1"', expected: "10.10.0.5:80" },
  {
    name: "none",
    vips: "",
    expected: `NO_SERVICE_ADDRESS requested service ${HOST} found, but has no IP addresses`,
  },
])(
  "decideInbound() names a VIP in the PROXY header of a host name: $name",
  ({ vips, expected }) => {
    const mesh = {
      workloads: [`${SERVER}, applicationTunnel: { protocol: PROXY, port: 15088 }`],
      services: [SERVICE.replace("[/10.10.0.1]", `[${vips}]`)],
    };
    const decision = decide({ mesh, authority: `${HOST}:80` });
    const told = decision instanceof RouteError
      ? `${decision.code} ${decision.message}`
      : formatAddress(decision.proxyTarget!);
    assertEquals(told, expected);
  },
);

Deno.test("decideInbound() needs no VIP of a host name without PROXY", () => {
  const services = [SERVICE.replace("[/10.10.0.1]", "[]")];
  assertEquals(hop({ mesh: { services }, authority: `${HOST}:80` }), "10.0.0.2:8080");
});

Deno.test("decideInbound() attributes a host name to its service, also where another has the port", () => {
  const mesh = {
    workloads: [SERVER.replace("services: {", "services: { default/a.example: {}, ")],
    services: [
      SERVICE,
      "name: a, namespace: default, hostname: a.example, vips: [], ports: { 81: 8080 }",
    ],
  };
  const service = (asked: Asked) => route({ mesh, ...asked }).service?.hostname;
  assertEquals(service({ authority: `${HOST}:80` }), HOST);
  assertEquals(service({ authority: "10.0.0.2:8080" }), "a.example");
});

Deno.test("decideInbound() dials what policy judges", () => {
  const { dial, policyTarget } = route({ authority: "10.0.0.2:8080" });
  assertEquals(dial, { ip: "10.0.0.2", port: 8080 });
  assertEquals(policyTarget, dial);
});

Deno.test("decideInbound() knows source and destination", () => {
  const authority = "10.0.0.2:8080";
  assertEquals(route({ authority }).destination.uid, "server");
  assertEquals(route({ authority }).source?.uid, "client");
  assertEquals(route({ authority, question: { peerIp: "10.9.9.9" } }).source, null);
  assertEquals(route({ authority, question: { fromGateway: true } }).source, null);
});

Deno.test.each<
  { name: string; port: number; forwardedHost: string | null; expected: string | null }
>([
  { name: "the forwarded host", port: 1, forwardedHost: "b.example", expected: "b.example" },
  { name: "a host of somebody else", port: 1, forwardedHost: "c.example", expected: null },
  { name: "a target port of the service", port: 8081, forwardedHost: null, expected: "a.example" },
  { name: "a port of the endpoint", port: 9090, forwardedHost: null, expected: "b.example" },
  { name: "the first of two", port: 8080, forwardedHost: null, expected: "a.example" },
  {
    name: "the forwarded host before the port",
    port: 8080,
    forwardedHost: "b.example",
    expected: "b.example",
  },
  { name: "no port of any", port: 1, forwardedHost: null, expected: null },
])("decideInbound() guesses the service by $name", ({ port, forwardedHost, expected }) => {
  const service = (hostname: string, ports: string) =>
    `name: s, namespace: default, hostname: ${hostname}, vips: [], ports: ${ports}`;
  const mesh = {
    workloads: [
      "uid: server, namespace: default, workloadIps: [10.0.0.2], services: " +
      "{ default/b.example: { 81: 9090 }, default/a.example: {}, default/gone.example: { 1: 1 } }",
    ],
    services: [
      service("a.example", "{ 80: 8080, 81: 8081 }"),
      service("b.example", "{ 80: 8080, 81: 0 }"),
      service("c.example", "{ 1: 1 }"),
    ],
  };
  const decided = route({ mesh, authority: `10.0.0.2:${port}`, question: { forwardedHost } });
  assertEquals(decided.service?.hostname ?? null, expected);
});

const policy = (name: string, namespace: string, scope: string) =>
  `name: ${name}, namespace: ${namespace}, scope: ${scope}, action: Allow, dryRun: false, rules: []`;

Deno.test("decideInbound() gives the policies of the namespace, the global and the listed ones, each once", () => {
  const decided = route({
    mesh: {
      workloads: [
        `${SERVER}, authorizationPolicies: [other/selector, default/ns, default/gone, root/global]`,
      ],
      policies: [
        policy("global", "root", "Global"),
        policy("ns", "default", "Namespace"),
        policy("unlisted", "default", "WorkloadSelector"),
        policy("selector", "other", "WorkloadSelector"),
        policy("ns", "other", "Namespace"),
      ],
    },
    authority: "10.0.0.2:8080",
  });
  assertEquals(decided.policies.map(({ name, namespace }) => `${namespace}/${name}`), [
    "default/ns",
    "root/global",
    "other/selector",
  ]);
  assertEquals(decided.selection, {
    namespace: "default",
    listed: ["other/selector", "default/ns", "default/gone", "root/global"],
  });
});

Deno.test("decideInbound() applies a listed policy once it is known, and none before", () => {
  const workloads = [`${SERVER}, authorizationPolicies: [default/x]`];
  const names = (policies: readonly string[]) =>
    route({ mesh: { workloads, policies }, authority: "10.0.0.2:1" })
      .policies.map(({ name }) => name);
  assertEquals(names([]), []);
  assertEquals(names([policy("x", "default", "WorkloadSelector")]), ["x"]);
});

Deno.test("decideInbound() no longer applies a policy whose scope has become a selector", () => {
  const names = (scope: string) =>
    route({ mesh: { policies: [policy("p", "default", scope)] }, authority: "10.0.0.2:1" })
      .policies.length;
  assertEquals(names("Namespace"), 1);
  assertEquals(names("WorkloadSelector"), 0);
});

// Plaintext captured on its way in (§3.7).

function decidePlain(destination: string, options: { peerIp?: string; mesh?: Mesh } = {}) {
  const state = meshState(options.mesh ?? {});
  return decidePlaintext(new Lookups(state), SETTINGS, state.workloadByUid("server")!, {
    local: { namespace: "default", name: "", serviceAccount: "" },
    peerIp: options.peerIp ?? "10.0.0.1",
    destination: parseSocketAddress(destination)!,
  });
}

function plainRoute(...asked: Parameters<typeof decidePlain>) {
  const decision = decidePlain(...asked);
  if (decision instanceof RouteError) throw decision;
  return decision;
}

Deno.test("decidePlaintext() judges and dials where the peer wanted to go, waypoint or not", () => {
  const behindWaypoint = {
    workloads: [`${SERVER}, waypoint: { destination: /10.0.0.3, hboneMtlsPort: 15008 }`],
  };
  for (const mesh of [{}, behindWaypoint]) {
    const { policyTarget, dial } = plainRoute("10.0.0.2:8080", { mesh });
    assertEquals([policyTarget, dial], [{ ip: "10.0.0.2", port: 8080 }, {
      ip: "10.0.0.2",
      port: 8080,
    }]);
  }
});

Deno.test("decidePlaintext() finds the source by address, the destination is always the local workload", () => {
  const known = plainRoute("10.0.0.2:8080");
  assertEquals([known.source?.uid, known.destination.uid], ["client", "server"]);
  const elsewhere = plainRoute("10.77.0.1:8080", { peerIp: "10.9.9.9" });
  assertEquals([elsewhere.source, elsewhere.destination.uid], [null, "server"]);
});

Deno.test("decidePlaintext() guesses the service by its target port", () => {
  assertEquals(
    plainRoute("10.0.0.2:8080").service?.hostname,
    "server.default.svc.cluster.local",
  );
  assertEquals(plainRoute("10.0.0.2:9999").service, null);
});

Deno.test("decidePlaintext() selects the policies as for HBONE", () => {
  const mesh = {
    workloads: [`${SERVER}, authorizationPolicies: [other/selector]`],
    policies: [
      policy("selector", "other", "WorkloadSelector"),
      policy("ns", "default", "Namespace"),
    ],
  };
  const decided = plainRoute("10.0.0.2:8080", { mesh });
  assertEquals(decided.policies.map(({ name }) => name), ["ns", "selector"]);
  assertEquals(decided.selection, { namespace: "default", listed: ["other/selector"] });
});

Deno.test("decidePlaintext() refuses own ports at any address (I21)", () => {
  for (const destination of ["10.0.0.2:15001", "10.0.0.9:15006", "127.0.0.1:15008"]) {
    const decision = decidePlain(destination);
    assertEquals(
      decision instanceof RouteError && `${decision.code} ${decision.message}`,
      "SELF_CALL attempted recursive call to ourselves",
    );
  }
});
