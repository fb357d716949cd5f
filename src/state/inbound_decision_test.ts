// Tests of inbound_decision.ts: spec/data-path §3.3, §3.4, §3.6 and §4.2.
import { assertEquals } from "@std/assert";
import { parseSocketAddress } from "../base/address.ts";
import { type InboundQuestion, RouteError } from "../seam/router.ts";
import {
  decideInbound,
  decidePlaintext,
  type InboundDecision,
  type InboundSettings,
} from "./inbound_decision.ts";
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
    state,
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

const SERVER_ATTACHED = SERVER + ", waypoint: { destination: /10.0.0.3, hboneMtlsPort: 15008 }";
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
    name: "V4 not yet: the server at its waypoint",
    to: "10.0.0.3",
    mesh: { workloads: [CLIENT, SERVER_ATTACHED, WAYPOINT] },
    authority: "10.0.0.2:8080",
    expected: "IP_MISMATCH ip mismatch: 10.0.0.3 != 10.0.0.2",
  },
  {
    name: "V3 not yet: an application tunnel, another IP",
    mesh: { workloads: [`${SERVER}, applicationTunnel: { protocol: NONE }`] },
    authority: "10.0.0.9:8080",
    expected: "IP_MISMATCH ip mismatch: 10.0.0.2 != 10.0.0.9",
  },
  {
    name: "V3 not yet: an application tunnel, its own IP",
    mesh: { workloads: [`${SERVER}, applicationTunnel: { protocol: PROXY, port: 15088 }`] },
    authority: "10.0.0.2:8080",
    expected: "NO_VALID_DESTINATION unsupported feature: application tunnel of workload server",
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
  return decidePlaintext(state, SETTINGS, state.workloadByUid("server")!, {
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
