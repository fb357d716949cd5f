// Tests of outbound_decision.ts and endpoints.ts: the tables of spec/data-path §2.2, §2.4 and §2.5.
import { assertEquals } from "@std/assert";
import { parseSocketAddress } from "../base/address.ts";
import type { Candidate, NextHop } from "../seam/route.ts";
import { RouteError } from "../seam/router.ts";
import { parseMeshFile } from "./mesh_file.ts";
import { MeshState } from "./mesh_state.ts";
import { decideOutbound } from "./outbound_decision.ts";

const SETTINGS = { network: "", hbonePort: 15008 };

interface Mesh {
  /** YAML flow mappings, without the braces and the required rest. */
  readonly workloads?: readonly string[];
  readonly services?: readonly string[];
  /** More of the source, which is 127.0.0.1 in namespace ns1. */
  readonly source?: string;
}

function meshState({ workloads = [], services = [], source = "" }: Mesh): MeshState {
  const item = (text: string, defaults: Readonly<Record<string, string>>) => {
    const rest = Object.entries(defaults).filter(([key]) => !new RegExp(`\\b${key}:`).test(text))
      .map(([key, value]) => `${key}: ${value}`);
    return `  - { ${[text, ...rest].filter((part) => part !== "").join(", ")} }\n`;
  };
  const workload = (text: string) =>
    item(text, {
      namespace: "ns1",
      trustDomain: "td",
      serviceAccount: "sa",
      workloadIps: "[]",
      services: "{}",
    });
  const service = (text: string) =>
    item(text, {
      name: "svc",
      namespace: "ns1",
      hostname: "example.com",
      vips: "[/127.0.0.3]",
      ports: "{ 80: 8080 }",
    });
  const text = "workloads:\n" +
    workload(
      `uid: source, name: source${source === "" ? "" : `, ${source}`}, workloadIps: [127.0.0.1]`,
    ) +
    workloads.map(workload).join("") +
    (services.length === 0 ? "" : `services:\n${services.map(service).join("")}`);
  return new MeshState(parseMeshFile(text, { source: "test" }));
}

/** A hop whose address is known already. */
function known(hop: Candidate["hop"]): NextHop {
  if (hop.protocol === "NAMED" || hop.protocol === "REFUSED") throw new Error(hop.protocol);
  return hop;
}

/** `PROTOCOL / authority / peer` of each candidate, or the code and message of the refusal. */
function decide(mesh: Mesh, dial: string): string {
  const state = meshState(mesh);
  const decision = decideOutbound(
    state,
    SETTINGS,
    state.workloadByUid("source")!,
    parseSocketAddress(dial)!,
  );
  if (decision instanceof RouteError) return `${decision.code} ${decision.message}`;
  return decision.candidates.map(({ hop: drawn, weight }) => {
    const hop = known(drawn);
    const peer = hop.peer.ip.includes(":") ? `[${hop.peer.ip}]` : hop.peer.ip;
    const authority = hop.protocol === "TCP" ? "–" : hop.authority;
    const times = weight === 1 ? "" : ` ×${weight}`;
    return `${hop.protocol} / ${authority} / ${peer}:${hop.peer.port}${times}`;
  }).join("; ");
}

const HBONE =
  "uid: web, name: web, workloadIps: [127.0.0.2], protocol: HBONE, services: { ns1/example.com: {} }";
const TCP = "uid: web, name: web, workloadIps: [127.0.0.2], services: { ns1/example.com: {} }";
const DUAL =
  'uid: web, workloadIps: [127.0.0.2, "ff06::c3"], protocol: HBONE, services: { ns1/example.com: {} }';
const SERVICE = "name: svc";
const PASSTHROUGH =
  "vips: [/1.2.3.4], loadBalancer: { routingPreferences: [], mode: Passthrough, healthPolicy: AllowAll }";
const WAYPOINT = "waypoint: { destination: /127.0.0.10, hboneMtlsPort: 15008 }";
const NO_WAYPOINTS = "not found (waypoints are not supported yet)";

Deno.test.each<{ name: string; mesh: Mesh; dial: string; expected: string }>([
  { name: "row 1: unknown IP", mesh: {}, dial: "1.2.3.4:80", expected: "TCP / – / 1.2.3.4:80" },
  {
    name: "row 2: workload without tunnel",
    mesh: { workloads: [TCP] },
    dial: "127.0.0.2:80",
    expected: "TCP / – / 127.0.0.2:80",
  },
  {
    name: "row 2: workload without tunnel, on another node",
    mesh: { workloads: [`${TCP}, node: remote`] },
    dial: "127.0.0.2:80",
    expected: "TCP / – / 127.0.0.2:80",
  },
  {
    name: "row 3: workload with HBONE",
    mesh: { workloads: [HBONE] },
    dial: "127.0.0.2:80",
    expected: "HBONE / 127.0.0.2:80 / 127.0.0.2:15008",
  },
  {
    name: "row 3: workload with HBONE, on another node",
    mesh: { workloads: [`${HBONE}, node: remote`] },
    dial: "127.0.0.2:80",
    expected: "HBONE / 127.0.0.2:80 / 127.0.0.2:15008",
  },
  {
    name: "row 3: IPv6",
    mesh: { workloads: [DUAL] },
    dial: "[ff06::c3]:80",
    expected: "HBONE / [ff06::c3]:80 / [ff06::c3]:15008",
  },
  {
    name: "row 4: workload with waypoint, refused",
    mesh: { workloads: [`${HBONE}, ${WAYPOINT}`] },
    dial: "127.0.0.2:80",
    expected: `UNKNOWN_WAYPOINT unknown waypoint: waypoint /127.0.0.10:15008 ${NO_WAYPOINTS}`,
  },
  {
    name: "row 4: plain workload with waypoint, refused",
    mesh: {
      workloads: [`${TCP}, waypoint: { destination: ns1/wp.example, hboneMtlsPort: 15008 }`],
    },
    dial: "127.0.0.2:80",
    expected: `UNKNOWN_WAYPOINT unknown waypoint: waypoint wp.example ${NO_WAYPOINTS}`,
  },
  {
    name: "the source's own waypoint and protocol do not matter",
    mesh: { workloads: [TCP], source: `protocol: HBONE, ${WAYPOINT}` },
    dial: "127.0.0.2:80",
    expected: "TCP / – / 127.0.0.2:80",
  },
  {
    name: "row 6: service with waypoint, refused",
    mesh: { workloads: [HBONE], services: [WAYPOINT] },
    dial: "127.0.0.3:80",
    expected: `UNKNOWN_WAYPOINT unknown waypoint: waypoint /127.0.0.10:15008 ${NO_WAYPOINTS}`,
  },
  {
    name: "row 6: service with a weighted waypoint, refused",
    mesh: {
      workloads: [HBONE],
      services: [
        "weightedWaypoints: [{ destination: { destination: ns1/a, hboneMtlsPort: 1 }, weight: 0 }, { destination: { destination: ns1/b, hboneMtlsPort: 1 }, weight: 1 }]",
      ],
    },
    dial: "127.0.0.3:80",
    expected: `UNKNOWN_WAYPOINT unknown waypoint: waypoint b ${NO_WAYPOINTS}`,
  },
  {
    name: "weighted waypoints without weight are none",
    mesh: {
      workloads: [HBONE],
      services: [
        "weightedWaypoints: [{ destination: { destination: ns1/a, hboneMtlsPort: 1 }, weight: 0 }]",
      ],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
  {
    name: "row 8: service, endpoint with HBONE",
    mesh: { workloads: [HBONE], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
  {
    name: "row 9: service, plain endpoint",
    mesh: { workloads: [TCP], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "TCP / – / 127.0.0.2:8080",
  },
  {
    name: "row 10: endpoint in another network with a gateway, refused",
    mesh: {
      workloads: [
        `${HBONE}, network: remote, networkGateway: { destination: remote/10.22.1.1, hboneMtlsPort: 15009 }`,
      ],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected:
      "UNKNOWN_GATEWAY unknown network gateway: network gateway remote/10.22.1.1:15009 not found (other networks are not supported yet)",
  },
  {
    name: "row 11: endpoint in another network without gateway",
    mesh: { workloads: [`${HBONE}, network: remote`], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected:
      "NO_VALID_DESTINATION no valid routing destination for workload: Workload{web with uid web (HBONE)}",
  },
  {
    name: "row 12: passthrough service",
    mesh: { services: [PASSTHROUGH] },
    dial: "1.2.3.4:80",
    expected: "TCP / – / 1.2.3.4:80",
  },
  {
    name: "row 12: passthrough service with endpoints",
    mesh: { workloads: [HBONE], services: [PASSTHROUGH] },
    dial: "1.2.3.4:80",
    expected: "TCP / – / 1.2.3.4:80",
  },
  {
    name: "row 13: passthrough service with waypoint, refused",
    mesh: { services: [`${PASSTHROUGH}, ${WAYPOINT}`] },
    dial: "1.2.3.4:80",
    expected: `UNKNOWN_WAYPOINT unknown waypoint: waypoint /127.0.0.10:15008 ${NO_WAYPOINTS}`,
  },
  {
    name: "row 14: service without endpoints",
    mesh: { services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "NO_HEALTHY_UPSTREAM no healthy upstream: 127.0.0.3:80",
  },
  {
    name: "row 14: port not in the service",
    mesh: { workloads: [HBONE], services: [SERVICE] },
    dial: "127.0.0.3:81",
    expected: "NO_HEALTHY_UPSTREAM no healthy upstream: 127.0.0.3:81",
  },
  {
    name: "row 14: IPv6 VIP",
    mesh: { services: ['vips: ["/fd00::3"]'] },
    dial: "[fd00::3]:80",
    expected: "NO_HEALTHY_UPSTREAM no healthy upstream: [fd00::3]:80",
  },
  {
    name: "row 15: the endpoint's own waypoint is ignored",
    mesh: { workloads: [`${HBONE}, ${WAYPOINT}`], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
  {
    name: "row 17: host network, by its IP",
    mesh: { workloads: [`${HBONE}, networkMode: HostNetwork`], services: [SERVICE] },
    dial: "127.0.0.2:80",
    expected: "TCP / – / 127.0.0.2:80",
  },
  {
    name: "row 17: host network, through its service",
    mesh: {
      workloads: [
        `${HBONE.replace("HBONE", "TCP")}, networkMode: HostNetwork`,
        "uid: pod2, workloadIps: [127.0.0.2], networkMode: HostNetwork",
      ],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "TCP / – / 127.0.0.2:8080",
  },
  {
    name: "row 17: service not visible here",
    mesh: {
      workloads: [HBONE.replace("ns1/", "ns-a/")],
      services: ["namespace: ns-a, visibility: Namespace"],
    },
    dial: "127.0.0.3:80",
    expected: "TCP / – / 127.0.0.3:80",
  },
  {
    name: "not visible here, but a network of another service is",
    mesh: {
      workloads: [HBONE],
      services: [
        "namespace: ns-a, visibility: Namespace",
        "vips: [], cidrVips: [{ network: '', cidr: 127.0.0.0/29 }]",
      ],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
  {
    name: "a VIP shared by two namespaces means the client's",
    mesh: {
      workloads: [HBONE],
      services: ["namespace: ns-a, canonical: true", "namespace: ns1"],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
  {
    name: "a VIP that is also a workload means the service's endpoint",
    mesh: {
      workloads: [HBONE, "uid: other, workloadIps: [127.0.0.3], protocol: HBONE"],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
  {
    name: "a service without endpoints is never a workload with its VIP in plaintext",
    mesh: { workloads: ["uid: other, workloadIps: [127.0.0.3]"], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "NO_HEALTHY_UPSTREAM no healthy upstream: 127.0.0.3:80",
  },
  {
    name: "L4: named port, only the pod that maps it",
    mesh: {
      workloads: [
        "uid: a, workloadIps: [127.0.0.7], services: { ns1/example.com: { 80: 1234 } }",
        "uid: b, workloadIps: [127.0.0.8], services: { ns1/example.com: {} }",
      ],
      services: ["ports: { 80: 0 }"],
    },
    dial: "127.0.0.3:80",
    expected: "TCP / – / 127.0.0.7:1234",
  },
  {
    name: "L4: the endpoint's own port before the service's",
    mesh: {
      workloads: [HBONE.replace("{} }", "{ 80: 9090 } }")],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:9090 / 127.0.0.2:15008",
  },
  {
    name: "L5: an unhealthy endpoint",
    mesh: { workloads: [`${HBONE}, status: Unhealthy`], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "NO_HEALTHY_UPSTREAM no healthy upstream: 127.0.0.3:80",
  },
  {
    name: "L5: an unhealthy endpoint that is allowed",
    mesh: {
      workloads: [`${HBONE}, status: Unhealthy`],
      services: [
        "loadBalancer: { routingPreferences: [], mode: Standard, healthPolicy: AllowAll }",
      ],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
  {
    name: "L9: weights are capacities, and 0 is never chosen",
    mesh: {
      workloads: [
        `${HBONE}, capacity: 3`,
        "uid: x1, workloadIps: [127.0.0.7], services: { ns1/example.com: {} }",
        "uid: x2, workloadIps: [127.0.0.8], services: { ns1/example.com: {} }, capacity: 0",
      ],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008 ×3; TCP / – / 127.0.0.7:8080",
  },
  {
    name: "L9: all weights 0",
    mesh: { workloads: [`${HBONE}, capacity: 0`], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "NO_HEALTHY_UPSTREAM no healthy upstream: 127.0.0.3:80",
  },
  {
    name: "L2: an endpoint of the file without workload is skipped",
    mesh: {
      services: ["endpoints: { gone: { workloadUid: gone, port: {}, status: Healthy } }"],
    },
    dial: "127.0.0.3:80",
    expected: "NO_HEALTHY_UPSTREAM no healthy upstream: 127.0.0.3:80",
  },
  {
    name: "an endpoint of the file",
    mesh: {
      workloads: [HBONE.replace("ns1/example.com: {}", "")],
      services: ["endpoints: { web: { workloadUid: web, port: { 80: 81 }, status: Healthy } }"],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:81 / 127.0.0.2:15008",
  },
  {
    name: "L3: an endpoint without IP in the same network",
    mesh: {
      workloads: ["uid: e, services: { ns1/example.com: {} }"],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "NO_HEALTHY_UPSTREAM no healthy upstream: 127.0.0.3:80",
  },
  {
    name: "an endpoint by name is refused",
    mesh: {
      workloads: ["uid: e, hostname: e.example, services: { ns1/example.com: {} }"],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected:
      "NO_VALID_DESTINATION no ip addresses were resolved for workload: e (workloads by name are not supported yet)",
  },
  {
    name: "endpoints that cannot be reached yet are left out while others can",
    mesh: {
      workloads: [
        HBONE,
        "uid: far, network: remote, workloadIps: [127.0.0.7], services: { ns1/example.com: {} }",
      ],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
])("decideOutbound() $name", ({ mesh, dial, expected }) => {
  assertEquals(decide(mesh, dial), expected);
});

Deno.test.each([
  { families: "IPv6", vip: "127.0.0.3", expected: "[ff06::c3]" },
  { families: "IPv4", vip: "127.0.0.3", expected: "127.0.0.2" },
  { families: "Dual", vip: "127.0.0.3", expected: "127.0.0.2" },
  { families: "Dual", vip: "fd00::3", expected: "[ff06::c3]" },
  { families: "IPv4", vip: "fd00::3", expected: "127.0.0.2" },
])("decideOutbound() L10: $families service dialled as $vip", ({ families, vip, expected }) => {
  const services = [`vips: ["/${vip}"], ipFamilies: ${families}`];
  const dial = vip.includes(":") ? `[${vip}]:80` : `${vip}:80`;
  assertEquals(
    decide({ workloads: [DUAL], services }, dial),
    `HBONE / ${expected}:8080 / ${expected}:15008`,
  );
});

Deno.test("decideOutbound() L10: automatic families, the only family there is, the dialled IP", () => {
  assertEquals(
    decide({ workloads: [TCP], services: ['vips: ["/fd00::3"]'] }, "[fd00::3]:80"),
    "TCP / – / 127.0.0.2:8080",
  );
  const two = TCP.replace("[127.0.0.2]", "[127.0.0.2, 127.0.0.9]");
  assertEquals(
    decide({ workloads: [two], services: ["vips: [/127.0.0.9]"] }, "127.0.0.9:80"),
    "TCP / – / 127.0.0.9:8080",
  );
});

// Locality (L6 to L8), the table of spec/xds-state-and-dns §3.10.
const LOCAL = {
  M: "uid: M, workloadIps: [10.0.0.1], locality: { region: reg, zone: zone, subzone: '' }",
  A: "uid: A, workloadIps: [10.0.0.2], locality: { region: reg, zone: not-zone, subzone: '' }",
  N: "uid: N, workloadIps: [10.0.0.3]",
  E: "uid: E",
};

Deno.test.each([
  { region: "reg", zone: "zone", failover: "10.0.0.1", strict: "10.0.0.1" },
  { region: "reg", zone: "", failover: "10.0.0.1 10.0.0.2", strict: "none" },
  { region: "no-match", zone: "no-match", failover: "10.0.0.1 10.0.0.2 10.0.0.3", strict: "none" },
])("decideOutbound() from $region, $zone", ({ region, zone, failover, strict }) => {
  const workloads = Object.values(LOCAL).map((text) =>
    `${text}, services: { ns1/example.com: {} }`
  );
  const source = `locality: { region: ${region}, zone: "${zone}", subzone: "" }`;
  for (const [mode, expected] of [["Failover", failover], ["Strict", strict]]) {
    const services = [
      `loadBalancer: { routingPreferences: [Network, Region, Zone], mode: ${mode}, healthPolicy: OnlyHealthy }`,
    ];
    const state = meshState({ workloads, services, source });
    const dialled = { ip: "127.0.0.3", port: 80 };
    const decision = decideOutbound(state, SETTINGS, state.workloadByUid("source")!, dialled);
    const ips = decision instanceof RouteError
      ? "none"
      : decision.candidates.map(({ hop }) => known(hop).peer.ip).sort().join(" ");
    assertEquals(ips, expected, mode);
  }
});

Deno.test("decideOutbound() expects the service's names, then the workload's", () => {
  const names = "subjectAltNames: [spiffe://td/ns/x/sa/y, not-spiffe]";
  const state = meshState({ workloads: [HBONE], services: [names] });
  const source = state.workloadByUid("source")!;
  const expected = (ip: string) => {
    const decision = decideOutbound(state, SETTINGS, source, { ip, port: 80 });
    if (decision instanceof RouteError) throw decision;
    const { hop } = decision.candidates[0]!;
    return hop.protocol === "HBONE" ? hop.expected.map(({ uri }) => uri) : [];
  };
  assertEquals(expected("127.0.0.3"), ["spiffe://td/ns/x/sa/y", "spiffe://td/ns/ns1/sa/sa"]);
  assertEquals(expected("127.0.0.2"), ["spiffe://td/ns/ns1/sa/sa"]);
});

Deno.test("decideOutbound() takes names from a file as they are, empty ones too", () => {
  const nameless = `${HBONE}, trustDomain: "", serviceAccount: ""`;
  const state = meshState({ workloads: [nameless] });
  const dialled = { ip: "127.0.0.2", port: 80 };
  const decision = decideOutbound(state, SETTINGS, state.workloadByUid("source")!, dialled);
  if (decision instanceof RouteError) throw decision;
  const { hop } = decision.candidates[0]!;
  assertEquals(hop.protocol === "HBONE" && hop.expected[0]!.uri, "spiffe:///ns/ns1/sa/");
});

Deno.test("decideOutbound() tells telemetry who is behind the hop", () => {
  const state = meshState({
    workloads: [HBONE],
    services: [SERVICE, PASSTHROUGH.replace("vips", "hostname: p, vips")],
  });
  const ask = (ip: string) => {
    const decision = decideOutbound(state, SETTINGS, state.workloadByUid("source")!, {
      ip,
      port: 80,
    });
    if (decision instanceof RouteError) throw decision;
    return [
      decision.source.uid,
      decision.candidates[0]!.destination?.uid ?? null,
      decision.service?.hostname ?? null,
    ];
  };
  assertEquals(ask("127.0.0.3"), ["source", "web", "example.com"]);
  assertEquals(ask("127.0.0.2"), ["source", "web", null]);
  assertEquals(ask("1.2.3.4"), ["source", null, null]);
  assertEquals(ask("9.9.9.9"), ["source", null, null]);
});

Deno.test("decideOutbound() asks for upstreams in the source's network", () => {
  const mesh = {
    workloads: [
      `${HBONE}, network: n2`,
      HBONE.replace("uid: web", "uid: here").replace("127.0.0.2", "127.0.0.7"),
    ],
    services: ["vips: [n2/127.0.0.3]"],
    source: "network: n2",
  };
  assertEquals(decide(mesh, "127.0.0.3:80"), "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008");
  assertEquals(decide(mesh, "127.0.0.7:80"), "TCP / – / 127.0.0.7:80");
});
