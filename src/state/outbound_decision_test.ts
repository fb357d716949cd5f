// Tests of outbound_decision.ts and what it is made of: the tables of spec/data-path §2.2, §2.4 to §2.7.
import { assert, assertEquals } from "@std/assert";
import { formatAddress, parseSocketAddress } from "../base/address.ts";
import { SeededRandom } from "../base/random.ts";
import { drawCandidate } from "../outbound/candidate.ts";
import { atAddress, type Candidate, type NextHop } from "../seam/route.ts";
import { RouteError } from "../seam/router.ts";
import { CompiledServices } from "./compiled_services.ts";
import { eligibleEndpoints } from "./endpoints.ts";
import { Lookups } from "./lookups.ts";
import { parseMeshFile } from "./mesh_file.ts";
import { MeshState } from "./mesh_state.ts";
import { decideOutbound, type OutboundDecision } from "./outbound_decision.ts";

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

interface Asked {
  readonly dial: string;
  /** The source's own IP unless told otherwise. */
  readonly from?: string;
}

function decideIn(state: MeshState, { dial, from = "127.0.0.1" }: Asked): OutboundDecision {
  return decideOutbound(new Lookups(state), SETTINGS, new CompiledServices(), {
    source: state.workloadByUid("source")!,
    sourceIp: from,
    dialled: parseSocketAddress(dial)!,
  });
}

function routeIn(state: MeshState, asked: Asked): Exclude<OutboundDecision, RouteError> {
  const decision = decideIn(state, asked);
  if (decision instanceof RouteError) throw decision;
  return decision;
}

/** A hop whose address is known already. */
function known(hop: Candidate["hop"]): NextHop {
  if (hop.protocol === "NAMED" || hop.protocol === "REFUSED") throw new Error(hop.protocol);
  return hop;
}

function describe(hop: Candidate["hop"]): string {
  if (hop.protocol === "REFUSED") return `REFUSED / ${hop.code} ${hop.message}`;
  if (hop.protocol === "NAMED") {
    return `NAMED ${hop.hostname} IPv${hop.family} ${describe(atAddress(hop, "9.9.9.9"))}`;
  }
  const authority = hop.protocol === "TCP" ? "–" : hop.authority;
  return `${hop.protocol} / ${authority} / ${formatAddress(hop.peer)}`;
}

/** `PROTOCOL / authority / peer` of each candidate, or the code and message of the refusal. */
function decide(mesh: Mesh, dial: string, from?: string): string {
  const asked = from === undefined ? { dial } : { dial, from };
  const decision = decideIn(meshState(mesh), asked);
  if (decision instanceof RouteError) return `${decision.code} ${decision.message}`;
  return decision.candidates.map(({ hop, weight }) =>
    `${describe(hop)}${weight === 1 ? "" : ` ×${Math.round(weight * 1000) / 1000}`}`
  ).join("; ");
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
const WAYPOINT_POD =
  "uid: wp, name: wp, serviceAccount: wp, workloadIps: [127.0.0.10], protocol: HBONE";
/** A waypoint behind a service, found by host name. */
const WAYPOINT_BY_NAME = "waypoint: { destination: ns1/wp.example, hboneMtlsPort: 15008 }";
const WAYPOINT_SERVICE =
  "name: wp, hostname: wp.example, vips: [/127.0.0.50], ports: { 15008: 15008 }";
const WAYPOINT_ENDPOINT = `${WAYPOINT_POD}, services: { ns1/wp.example: {} }`;
const REMOTE =
  "uid: far, name: far, protocol: HBONE, network: remote, services: { ns1/example.com: {} }";
const GATEWAY_BY_IP = "networkGateway: { destination: remote/10.22.1.1, hboneMtlsPort: 15009 }";
const GATEWAY_BY_NAME = "networkGateway: { destination: ns1/ew-gtw, hboneMtlsPort: 15009 }";
const GATEWAY_POD =
  "uid: gw, name: gw, serviceAccount: gw, network: remote, workloadIps: [10.22.1.1], protocol: HBONE";
const NETWORK_FIRST =
  "loadBalancer: { routingPreferences: [Network], mode: Failover, healthPolicy: OnlyHealthy }";

function weighted(...waypoints: readonly (readonly [string, number])[]): string {
  const entries = waypoints.map(([to, weight]) =>
    `{ destination: { destination: ${to}, hboneMtlsPort: 15008 }, weight: ${weight} }`
  );
  return `weightedWaypoints: [${entries.join(", ")}]`;
}

/** `from` is the connection's source IP where it is not the workload's. */
Deno.test.each<{ name: string; mesh: Mesh; dial: string; from?: string; expected: string }>([
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
    name: "row 4: workload with waypoint",
    mesh: { workloads: [`${HBONE}, ${WAYPOINT}`, WAYPOINT_POD] },
    dial: "127.0.0.2:80",
    expected: "HBONE / 127.0.0.2:80 / 127.0.0.10:15008",
  },
  {
    name: "row 4: waypoints are spoken to with HBONE, whatever their record says",
    mesh: { workloads: [`${TCP}, ${WAYPOINT}`, WAYPOINT_POD.replace("HBONE", "TCP")] },
    dial: "127.0.0.2:80",
    expected: "HBONE / 127.0.0.2:80 / 127.0.0.10:15008",
  },
  {
    name: "row 4: dual-stack workload dialled by IPv6, waypoint referenced by IPv4",
    mesh: {
      workloads: [
        `${DUAL}, waypoint: { destination: /127.0.0.11, hboneMtlsPort: 15008 }`,
        'uid: wp, workloadIps: ["ff06::b", 127.0.0.11]',
      ],
    },
    dial: "[ff06::c3]:80",
    expected: "HBONE / [ff06::c3]:80 / 127.0.0.11:15008",
  },
  {
    name: "row 4: a waypoint by host name adapts to the caller's family",
    mesh: {
      workloads: [
        `${DUAL}, ${WAYPOINT_BY_NAME}`,
        WAYPOINT_ENDPOINT.replace("[127.0.0.10]", '[127.0.0.10, "ff06::b"]'),
      ],
      services: [WAYPOINT_SERVICE],
    },
    dial: "[ff06::c3]:80",
    expected: "HBONE / [ff06::c3]:80 / [ff06::b]:15008",
  },
  {
    name: "row 4: a waypoint by its service's VIP keeps to the family of the reference",
    mesh: {
      workloads: [
        `${DUAL}, waypoint: { destination: /127.0.0.50, hboneMtlsPort: 15008 }`,
        WAYPOINT_ENDPOINT.replace("[127.0.0.10]", '["ff06::b", 127.0.0.10]'),
      ],
      services: [WAYPOINT_SERVICE],
    },
    dial: "[ff06::c3]:80",
    expected: "HBONE / [ff06::c3]:80 / 127.0.0.10:15008",
  },
  {
    name: "row 4: the waypoint's address is nobody's",
    mesh: { workloads: [`${HBONE}, ${WAYPOINT}`] },
    dial: "127.0.0.2:80",
    expected: "UNKNOWN_WAYPOINT unknown waypoint: waypoint /127.0.0.10:15008 not found",
  },
  {
    name: "row 4: a waypoint in another network is connected to as it is",
    mesh: {
      workloads: [
        `${HBONE}, waypoint: { destination: remote/10.9.0.1, hboneMtlsPort: 15008 }`,
        "uid: wp, network: remote, workloadIps: [10.9.0.1]",
      ],
    },
    dial: "127.0.0.2:80",
    expected: "HBONE / 127.0.0.2:80 / 10.9.0.1:15008",
  },
  {
    name: "row 4: nobody has the waypoint's host name",
    mesh: { workloads: [`${TCP}, ${WAYPOINT_BY_NAME}`] },
    dial: "127.0.0.2:80",
    expected: "UNKNOWN_WAYPOINT unknown waypoint: waypoint wp.example not found",
  },
  {
    name: "row 4: host names of references are exact in their namespace",
    mesh: {
      workloads: [`${TCP}, ${WAYPOINT_BY_NAME}`, WAYPOINT_ENDPOINT],
      services: [`${WAYPOINT_SERVICE}, namespace: other`],
    },
    dial: "127.0.0.2:80",
    expected: "UNKNOWN_WAYPOINT unknown waypoint: waypoint wp.example not found",
  },
  {
    name: "row 4: the waypoint's service has no endpoint",
    mesh: { workloads: [`${TCP}, ${WAYPOINT_BY_NAME}`], services: [WAYPOINT_SERVICE] },
    dial: "127.0.0.2:80",
    expected: "UNKNOWN_WAYPOINT unknown waypoint: waypoint wp.example not found",
  },
  {
    name: "row 4: a workload as waypoint, by host name",
    mesh: {
      workloads: [`${TCP}, ${WAYPOINT_BY_NAME}`, `${WAYPOINT_POD}, hostname: wp.example`],
    },
    dial: "127.0.0.2:80",
    expected: "HBONE / 127.0.0.2:80 / 127.0.0.10:15008",
  },
  {
    name: "row 4: a waypoint known by name alone",
    mesh: {
      workloads: [
        `${TCP}, ${WAYPOINT_BY_NAME}`,
        WAYPOINT_POD.replace("[127.0.0.10]", "[]") + ", hostname: wp.example",
      ],
    },
    dial: "127.0.0.2:80",
    expected: "NAMED wp.example IPv4 HBONE / 127.0.0.2:80 / 9.9.9.9:15008",
  },
  {
    name: "row 4: a waypoint without address and name",
    mesh: {
      workloads: [
        `${TCP}, ${WAYPOINT_BY_NAME}`,
        `${WAYPOINT_ENDPOINT.replace("[127.0.0.10]", "[]")}, network: remote, ${GATEWAY_BY_IP}`,
      ],
      services: [WAYPOINT_SERVICE],
    },
    dial: "127.0.0.2:80",
    expected:
      "NO_VALID_DESTINATION no valid routing destination for workload: Workload{wp with uid wp (HBONE)}",
  },
  {
    name: "row 5: the source is the waypoint",
    mesh: {
      workloads: [
        `${HBONE}, waypoint: { destination: /127.0.0.1, hboneMtlsPort: 15008 }`,
      ],
    },
    dial: "127.0.0.2:80",
    expected: "HBONE / 127.0.0.2:80 / 127.0.0.2:15008",
  },
  {
    name: "row 5: the source is one of the waypoint's endpoints",
    mesh: {
      workloads: [`${TCP}, ${WAYPOINT_BY_NAME}`, WAYPOINT_ENDPOINT],
      services: [WAYPOINT_SERVICE],
      source: "services: { ns1/wp.example: {} }",
    },
    dial: "127.0.0.2:80",
    expected: "TCP / – / 127.0.0.2:80",
  },
  {
    name: "row 5: the same identity from another address is not the waypoint",
    mesh: {
      workloads: [`${HBONE}, waypoint: { destination: /127.0.0.1, hboneMtlsPort: 15008 }`],
    },
    from: "127.0.0.99",
    dial: "127.0.0.2:80",
    expected: "HBONE / 127.0.0.2:80 / 127.0.0.1:15008",
  },
  {
    name: "row 5: the waypoint's address with another identity is not the waypoint",
    mesh: { workloads: [`${HBONE}, ${WAYPOINT}`, WAYPOINT_POD] },
    from: "127.0.0.10",
    dial: "127.0.0.2:80",
    expected: "HBONE / 127.0.0.2:80 / 127.0.0.10:15008",
  },
  {
    name: "the source's own waypoint and protocol do not matter",
    mesh: { workloads: [TCP], source: `protocol: HBONE, ${WAYPOINT}` },
    dial: "127.0.0.2:80",
    expected: "TCP / – / 127.0.0.2:80",
  },
  {
    name: "row 6: service with waypoint",
    mesh: { workloads: [HBONE, WAYPOINT_POD], services: [WAYPOINT] },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008",
  },
  {
    name: "row 6: nobody asks whether the service has endpoints or the port",
    mesh: { workloads: [WAYPOINT_POD], services: [WAYPOINT] },
    dial: "127.0.0.3:8443",
    expected: "HBONE / 127.0.0.3:8443 / 127.0.0.10:15008",
  },
  {
    name: "row 6: a waypoint with several pods, by their capacities",
    mesh: {
      workloads: [
        `${WAYPOINT_ENDPOINT}, capacity: 3`,
        "uid: wp2, workloadIps: [127.0.0.11], services: { ns1/wp.example: {} }",
      ],
      services: [WAYPOINT_BY_NAME, WAYPOINT_SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008 ×3; HBONE / 127.0.0.3:80 / 127.0.0.11:15008",
  },
  {
    name: "row 6: a waypoint whose service lacks the port, reached through its tunnel",
    mesh: {
      workloads: [`${WAYPOINT_ENDPOINT}, applicationTunnel: { protocol: PROXY, port: 15088 }`],
      services: [WAYPOINT_BY_NAME, WAYPOINT_SERVICE.replace("15008: 15008", "80: 80")],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008",
  },
  {
    name: "row 6: a waypoint whose service lacks the port, without tunnel",
    mesh: {
      workloads: [WAYPOINT_ENDPOINT],
      services: [WAYPOINT_BY_NAME, WAYPOINT_SERVICE.replace("15008: 15008", "80: 80")],
    },
    dial: "127.0.0.3:80",
    expected: "UNKNOWN_WAYPOINT unknown waypoint: waypoint wp.example not found",
  },
  {
    name: "row 6: a waypoint service that passes through has no upstream by address",
    mesh: {
      workloads: [WAYPOINT_ENDPOINT],
      services: [
        "waypoint: { destination: /127.0.0.50, hboneMtlsPort: 15008 }",
        `${WAYPOINT_SERVICE}, ${PASSTHROUGH.replace(/vips: \S+ /, "")}`,
      ],
    },
    dial: "127.0.0.3:80",
    expected: "UNKNOWN_WAYPOINT unknown waypoint: waypoint /127.0.0.50:15008 not found",
  },
  {
    name: "row 6: and has its endpoints by host name",
    mesh: {
      workloads: [WAYPOINT_ENDPOINT],
      services: [
        WAYPOINT_BY_NAME,
        `${WAYPOINT_SERVICE}, ${PASSTHROUGH.replace(/vips: \S+ /, "")}`,
      ],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008",
  },
  {
    name: "row 6: a waypoint that only its namespace sees is found all the same",
    mesh: {
      workloads: [WAYPOINT_ENDPOINT.replace("ns1/wp", "other/wp")],
      services: [
        "waypoint: { destination: other/wp.example, hboneMtlsPort: 15008 }",
        `${WAYPOINT_SERVICE}, namespace: other, visibility: Namespace`,
      ],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008",
  },
  {
    name: "row 6: but not by its address, as the original has it",
    mesh: {
      workloads: [WAYPOINT_ENDPOINT.replace("ns1/wp", "other/wp")],
      services: [
        "waypoint: { destination: /127.0.0.50, hboneMtlsPort: 15008 }",
        `${WAYPOINT_SERVICE}, namespace: other, visibility: Namespace`,
      ],
    },
    dial: "127.0.0.3:80",
    expected: "UNKNOWN_WAYPOINT unknown waypoint: waypoint /127.0.0.50:15008 not found",
  },
  {
    name: "row 6: of two waypoints at one address the source's namespace has its own",
    mesh: {
      workloads: [WAYPOINT_ENDPOINT],
      services: [
        "waypoint: { destination: /127.0.0.50, hboneMtlsPort: 15008 }",
        `${WAYPOINT_SERVICE}, namespace: other, canonical: true`,
        WAYPOINT_SERVICE,
      ],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008",
  },
  {
    name: "row 6: a waypoint that dials a service with itself as waypoint is sent to itself",
    mesh: { services: ["waypoint: { destination: /127.0.0.1, hboneMtlsPort: 15008 }"] },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.1:15008",
  },
  {
    name: "row 6: the waypoint is nobody's address, and the service is not reached without it",
    mesh: { workloads: [HBONE], services: [WAYPOINT] },
    dial: "127.0.0.3:80",
    expected: "UNKNOWN_WAYPOINT unknown waypoint: waypoint /127.0.0.10:15008 not found",
  },
  {
    name: "row 7: service with a waypoint in another network",
    mesh: {
      workloads: [
        `${WAYPOINT_ENDPOINT.replace("[127.0.0.10]", "[]")}, network: remote, ${GATEWAY_BY_IP}`,
        GATEWAY_POD,
      ],
      services: [WAYPOINT_BY_NAME, WAYPOINT_SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "DOUBLEHBONE / example.com:80 / 10.22.1.1:15009",
  },
  {
    name: "row 7: without gateway",
    mesh: {
      workloads: [`${WAYPOINT_ENDPOINT}, network: remote`],
      services: [WAYPOINT_BY_NAME, WAYPOINT_SERVICE],
    },
    dial: "127.0.0.3:80",
    expected:
      "NO_VALID_DESTINATION no valid routing destination for workload: Workload{wp with uid wp (HBONE)}",
  },
  {
    name: "weighted waypoints: each with its pods, in proportion",
    mesh: {
      workloads: [
        `${WAYPOINT_ENDPOINT}, capacity: 1`,
        "uid: wp2, workloadIps: [127.0.0.11], services: { ns1/wp.example: {} }, capacity: 3",
        "uid: canary, workloadIps: [127.0.0.12]",
      ],
      services: [
        `${WAYPOINT_BY_NAME.replace("wp.", "unused.")}, ${
          weighted(["ns1/wp.example", 20], ["/127.0.0.12", 80])
        }`,
        WAYPOINT_SERVICE,
      ],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008 ×5; " +
      "HBONE / 127.0.0.3:80 / 127.0.0.11:15008 ×15; HBONE / 127.0.0.3:80 / 127.0.0.12:15008 ×80",
  },
  {
    name: "weighted waypoints: weight 0 is never drawn",
    mesh: {
      workloads: [HBONE, WAYPOINT_POD],
      services: [weighted(["/127.0.0.99", 0], ["/127.0.0.10", 100])],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008",
  },
  {
    name: "weighted waypoints: one that is nobody is an error when it is drawn",
    mesh: {
      workloads: [HBONE, WAYPOINT_POD],
      services: [weighted(["ns1/gone.example", 25], ["/127.0.0.10", 75])],
    },
    dial: "127.0.0.3:80",
    expected: "REFUSED / UNKNOWN_WAYPOINT unknown waypoint: waypoint gone.example not found ×25; " +
      "HBONE / 127.0.0.3:80 / 127.0.0.10:15008 ×75",
  },
  {
    name: "weighted waypoints: nobody at all is an error at once",
    mesh: {
      workloads: [HBONE],
      services: [weighted(["ns1/gone.example", 25], ["/127.0.0.10", 75])],
    },
    dial: "127.0.0.3:80",
    expected: "UNKNOWN_WAYPOINT unknown waypoint: waypoint gone.example not found",
  },
  {
    name: "weighted waypoints: all 0 is the single one",
    mesh: {
      workloads: [HBONE, WAYPOINT_POD],
      services: [`${WAYPOINT}, ${weighted(["ns1/gone.example", 0], ["/127.0.0.9", 0])}`],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008",
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
    name: "row 10: endpoint in another network, gateway by IP",
    mesh: { workloads: [`${REMOTE}, ${GATEWAY_BY_IP}`, GATEWAY_POD], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "DOUBLEHBONE / example.com:80 / 10.22.1.1:15009",
  },
  {
    name: "row 10: gateway by host name, whose service maps the port",
    mesh: {
      workloads: [
        `${REMOTE}, ${GATEWAY_BY_NAME}`,
        "uid: gw, workloadIps: [127.0.0.5], services: { ns1/ew-gtw: {} }",
      ],
      services: [SERVICE, "hostname: ew-gtw, vips: [], ports: { 15009: 15008 }"],
    },
    dial: "127.0.0.3:80",
    expected: "DOUBLEHBONE / example.com:80 / 127.0.0.5:15008",
  },
  {
    name: "row 10: gateway by host name, a NetworkGateway that is resolved",
    mesh: {
      workloads: [
        `${REMOTE}, ${GATEWAY_BY_NAME}`,
        "uid: NetworkGateway/remote/ew-gtw/15009, network: remote, hostname: ew-gtw",
      ],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "NAMED ew-gtw IPv4 DOUBLEHBONE / example.com:80 / 9.9.9.9:15009",
  },
  {
    name: "row 10: a gateway's service without the port, tunnel or not",
    mesh: {
      workloads: [
        `${REMOTE}, ${GATEWAY_BY_NAME}`,
        "uid: gw, workloadIps: [127.0.0.5], services: { ns1/ew-gtw: {} }, applicationTunnel: { protocol: PROXY, port: 1 }",
      ],
      services: [SERVICE, "hostname: ew-gtw, vips: [], ports: { 80: 80 }"],
    },
    dial: "127.0.0.3:80",
    expected: "UNKNOWN_GATEWAY unknown network gateway: network gateway ew-gtw not found",
  },
  {
    name: "row 10: nobody has the gateway's address",
    mesh: { workloads: [`${REMOTE}, ${GATEWAY_BY_IP}`], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected:
      "UNKNOWN_GATEWAY unknown network gateway: network gateway remote/10.22.1.1:15009 not found",
  },
  {
    name: "row 10: nobody has the gateway's host name",
    mesh: { workloads: [`${REMOTE}, ${GATEWAY_BY_NAME}`], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "UNKNOWN_GATEWAY unknown network gateway: network gateway ew-gtw not found",
  },
  {
    name: "row 10: a gateway without address and name",
    mesh: {
      workloads: [
        `${REMOTE}, ${GATEWAY_BY_NAME}`,
        `uid: gw, name: gw, network: other, services: { ns1/ew-gtw: {} }, ${GATEWAY_BY_IP}`,
      ],
      services: [SERVICE, "hostname: ew-gtw, vips: [], ports: { 15009: 15008 }"],
    },
    dial: "127.0.0.3:80",
    expected:
      "NO_VALID_DESTINATION no valid routing destination for workload: Workload{gw with uid gw (TCP)}",
  },
  {
    name: "row 10: endpoints behind one gateway are one, with their capacities",
    mesh: {
      workloads: [
        `${HBONE}, capacity: 2`,
        `${REMOTE}, ${GATEWAY_BY_IP}, capacity: 3`,
        `${REMOTE.replace("uid: far", "uid: far2")}, ${GATEWAY_BY_IP}, capacity: 5`,
        GATEWAY_POD,
      ],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008 ×2; " +
      "DOUBLEHBONE / example.com:80 / 10.22.1.1:15009 ×8",
  },
  {
    name: "row 10: the endpoints of a gateway share its part",
    mesh: {
      workloads: [
        `${HBONE}, capacity: 2`,
        `${REMOTE}, ${GATEWAY_BY_NAME}, capacity: 8`,
        "uid: gw1, workloadIps: [127.0.0.5], services: { ns1/ew-gtw: {} }, capacity: 1",
        "uid: gw2, workloadIps: [127.0.0.6], services: { ns1/ew-gtw: {} }, capacity: 3",
      ],
      services: [SERVICE, "hostname: ew-gtw, vips: [], ports: { 15009: 15008 }"],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008 ×2; " +
      "DOUBLEHBONE / example.com:80 / 127.0.0.5:15008 ×2; " +
      "DOUBLEHBONE / example.com:80 / 127.0.0.6:15008 ×6",
  },
  {
    name: "row 10: FAILOVER by network takes the local endpoint",
    mesh: {
      workloads: [HBONE, `${REMOTE}, ${GATEWAY_BY_IP}`, GATEWAY_POD],
      services: [NETWORK_FIRST],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
  {
    name: "row 10: FAILOVER by network, the local endpoint is unhealthy",
    mesh: {
      workloads: [`${HBONE}, status: Unhealthy`, `${REMOTE}, ${GATEWAY_BY_IP}`, GATEWAY_POD],
      services: [NETWORK_FIRST],
    },
    dial: "127.0.0.3:80",
    expected: "DOUBLEHBONE / example.com:80 / 10.22.1.1:15009",
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
    name: "row 13: passthrough service with waypoint",
    mesh: { workloads: [WAYPOINT_POD], services: [`${PASSTHROUGH}, ${WAYPOINT}`] },
    dial: "1.2.3.4:80",
    expected: "HBONE / 1.2.3.4:80 / 127.0.0.10:15008",
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
    name: "a workload with the VIP of a service that has no endpoint: as it was dialled (§2.3)",
    mesh: { workloads: ["uid: other, workloadIps: [127.0.0.3]"], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: "TCP / – / 127.0.0.3:80",
  },
  {
    name: "a workload with the VIP of a service: its endpoint's own waypoint counts (step 4)",
    mesh: {
      workloads: [
        "uid: other, workloadIps: [127.0.0.3]",
        `${HBONE}, ${WAYPOINT}`,
        HBONE.replace("uid: web", "uid: web2").replace("127.0.0.2", "127.0.0.7"),
        WAYPOINT_POD,
      ],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "HBONE / 127.0.0.3:80 / 127.0.0.10:15008; " +
      "HBONE / 127.0.0.7:8080 / 127.0.0.7:15008",
  },
  {
    name: "a workload with the VIP of a service whose endpoint is in another network",
    mesh: {
      workloads: [
        "uid: other, workloadIps: [127.0.0.3]",
        `${REMOTE}, ${GATEWAY_BY_IP}`,
        GATEWAY_POD,
      ],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "NO_SERVICE_FOR_TARGET no service for target address: 127.0.0.3:80",
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
    name: "L10: a plain endpoint known by name alone",
    mesh: {
      workloads: ["uid: e, hostname: e.example, services: { ns1/example.com: {} }"],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "NAMED e.example IPv4 TCP / – / 9.9.9.9:8080",
  },
  {
    name: "L10: an HBONE endpoint known by name alone",
    mesh: {
      workloads: [
        "uid: e, hostname: e.example, protocol: HBONE, services: { ns1/example.com: {} }",
      ],
      services: ['vips: ["/fd00::3"]'],
    },
    dial: "[fd00::3]:80",
    expected: "NAMED e.example IPv6 HBONE / 9.9.9.9:8080 / 9.9.9.9:15008",
  },
  {
    name: "L10: no address of the service's family, but a name",
    mesh: {
      workloads: [`${TCP}, hostname: e.example`],
      services: ["ipFamilies: IPv6"],
    },
    dial: "127.0.0.3:80",
    expected: "NAMED e.example IPv4 TCP / – / 9.9.9.9:8080",
  },
  {
    name: "L10: no address of the service's family and no name",
    mesh: { workloads: [TCP], services: ["ipFamilies: IPv6"] },
    dial: "127.0.0.3:80",
    expected:
      "NO_VALID_DESTINATION no valid routing destination for workload: Workload{web with uid web (TCP)}",
  },
  {
    name: "row 11: drawn among others that can be reached",
    mesh: {
      workloads: [
        HBONE,
        "uid: far, name: far, network: remote, workloadIps: [127.0.0.7], services: { ns1/example.com: {} }",
      ],
      services: [SERVICE],
    },
    dial: "127.0.0.3:80",
    expected: "REFUSED / NO_VALID_DESTINATION no valid routing destination for workload: " +
      "Workload{far with uid far (TCP)}; HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  },
])("decideOutbound() $name", ({ mesh, dial, from, expected }) => {
  assertEquals(decide(mesh, dial, from), expected);
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
  O: "uid: O, workloadIps: [10.0.0.4], network: other, locality: { region: reg, zone: zone, subzone: '' }",
};

Deno.test.each([
  { network: "", region: "reg", zone: "zone", failover: "M", strict: "M" },
  { network: "", region: "reg", zone: "", failover: "A M", strict: "" },
  { network: "", region: "no-match", zone: "no-match", failover: "A M N", strict: "" },
  { network: "no-match", region: "reg", zone: "zone", failover: "M O", strict: "" },
  { network: "no-match", region: "no-match", zone: "no-match", failover: "A M N O", strict: "" },
])(
  "eligibleEndpoints() from network $network, $region, $zone",
  ({ network, region, zone, failover, strict }) => {
    const workloads = Object.values(LOCAL).map((text) =>
      `${text}, services: { ns1/example.com: {} }`
    );
    const source = `network: "${network}", ` +
      `locality: { region: ${region}, zone: "${zone}", subzone: "" }`;
    for (const [mode, expected] of [["Failover", failover], ["Strict", strict]]) {
      const services = [
        `loadBalancer: { routingPreferences: [Network, Region, Zone], mode: ${mode}, healthPolicy: OnlyHealthy }`,
      ];
      const state = meshState({ workloads, services, source });
      const service = state.serviceByIp("", "127.0.0.3", null)!;
      const uids = eligibleEndpoints(state.workloadByUid("source")!, service, 80)
        .map(({ workload }) => workload.uid);
      assertEquals(uids.sort().join(" "), expected, mode);
    }
  },
);

/** The port examples of spec/xds-state-and-dns §3.9, and what else the port rules say. */
Deno.test.each<
  {
    name: string;
    ports: string;
    own: string;
    tunnel?: string;
    port: number;
    standard: number | null;
    waypoint: number | null;
  }
>([
  {
    name: "its own map",
    ports: "{ 80: 0 }",
    own: "{ 80: 9090 }",
    port: 80,
    standard: 9090,
    waypoint: 9090,
  },
  {
    name: "the service's target",
    ports: "{ 80: 8080 }",
    own: "{}",
    port: 80,
    standard: 8080,
    waypoint: 8080,
  },
  {
    name: "a tunnel with a port, where the target is 0",
    ports: "{ 80: 0 }",
    own: "{}",
    tunnel: "{ protocol: PROXY, port: 15088 }",
    port: 80,
    standard: null,
    waypoint: 80,
  },
  {
    name: "a tunnel with a port, where the service lacks it",
    ports: "{ 80: 80 }",
    own: "{}",
    tunnel: "{ protocol: NONE, port: 15088 }",
    port: 81,
    standard: null,
    waypoint: 81,
  },
  {
    name: "a tunnel without a port",
    ports: "{ 80: 0 }",
    own: "{}",
    tunnel: "{ protocol: PROXY }",
    port: 80,
    standard: null,
    waypoint: null,
  },
  { name: "nothing", ports: "{ 80: 80 }", own: "{}", port: 81, standard: null, waypoint: null },
  {
    name: "its own map, where the service lacks the port",
    ports: "{}",
    own: "{ 81: 8181 }",
    tunnel: "{ protocol: NONE }",
    port: 81,
    standard: null,
    waypoint: 8181,
  },
])(
  "eligibleEndpoints() takes the port from $name",
  ({ ports, own, tunnel, port, standard, waypoint }) => {
    const more = tunnel === undefined ? "" : `, applicationTunnel: ${tunnel}`;
    const state = meshState({
      workloads: [`uid: w, workloadIps: [10.0.0.1], services: { ns1/example.com: ${own} }${more}`],
      services: [`ports: ${ports}`],
    });
    const service = state.serviceByIp("", "127.0.0.3", null)!;
    const target = (mode: "standard" | "waypoint") =>
      eligibleEndpoints(state.workloadByUid("source")!, service, port, mode)[0]?.targetPort ?? null;
    assertEquals([target("standard"), target("waypoint")], [standard, waypoint]);
  },
);

interface Names {
  readonly outer: readonly string[];
  readonly inner: readonly string[] | null;
}

/** The identities that the first candidate's peer must show. */
function namesOf(state: MeshState, dial: string): Names {
  const hop = known(routeIn(state, { dial }).candidates[0]!.hop);
  const uris = (ids: readonly { readonly uri: string }[]) => ids.map(({ uri }) => uri);
  if (hop.protocol === "TCP") return { outer: [], inner: null };
  const inner = hop.protocol === "DOUBLEHBONE" ? uris(hop.innerExpected) : null;
  return { outer: uris(hop.expected), inner };
}

const NAMES = "subjectAltNames: [spiffe://td/ns/x/sa/y, not-spiffe]";

Deno.test.each<{ name: string; mesh: Mesh; dial: string; expected: Names }>([
  {
    name: "row 3: the workload's",
    mesh: { workloads: [HBONE], services: [NAMES] },
    dial: "127.0.0.2:80",
    expected: { outer: ["spiffe://td/ns/ns1/sa/sa"], inner: null },
  },
  {
    name: "row 4: the waypoint's",
    mesh: { workloads: [`${HBONE}, ${WAYPOINT}`, WAYPOINT_POD] },
    dial: "127.0.0.2:80",
    expected: { outer: ["spiffe://td/ns/ns1/sa/wp"], inner: null },
  },
  {
    name: "row 6: the waypoint service's, then the waypoint's; never the service's",
    mesh: {
      workloads: [WAYPOINT_ENDPOINT],
      services: [
        `${WAYPOINT_BY_NAME}, subjectAltNames: [spiffe://td/ns/no/sa/no]`,
        `${WAYPOINT_SERVICE}, ${NAMES}`,
      ],
    },
    dial: "127.0.0.3:80",
    expected: { outer: ["spiffe://td/ns/x/sa/y", "spiffe://td/ns/ns1/sa/wp"], inner: null },
  },
  {
    name: "row 7: outside the gateway's, inside the waypoint service's",
    mesh: {
      workloads: [`${WAYPOINT_ENDPOINT}, network: remote, ${GATEWAY_BY_IP}`, GATEWAY_POD],
      services: [WAYPOINT_BY_NAME, `${WAYPOINT_SERVICE}, ${NAMES}`],
    },
    dial: "127.0.0.3:80",
    expected: { outer: ["spiffe://td/ns/ns1/sa/gw"], inner: ["spiffe://td/ns/x/sa/y"] },
  },
  {
    name: "row 8: the service's, then the workload's",
    mesh: { workloads: [HBONE], services: [NAMES] },
    dial: "127.0.0.3:80",
    expected: { outer: ["spiffe://td/ns/x/sa/y", "spiffe://td/ns/ns1/sa/sa"], inner: null },
  },
  {
    name: "row 10: outside the gateway service's and the gateway's, inside the service's",
    mesh: {
      workloads: [
        `${REMOTE}, ${GATEWAY_BY_NAME}`,
        "uid: gw, serviceAccount: gw, workloadIps: [127.0.0.5], services: { ns1/ew-gtw: {} }",
      ],
      services: [
        NAMES,
        "hostname: ew-gtw, vips: [], ports: { 15009: 15008 }, subjectAltNames: [spiffe://td/ns/g/sa/g]",
      ],
    },
    dial: "127.0.0.3:80",
    expected: {
      outer: ["spiffe://td/ns/g/sa/g", "spiffe://td/ns/ns1/sa/gw"],
      inner: ["spiffe://td/ns/x/sa/y"],
    },
  },
  {
    name: "row 10: a service without names, inside nobody's",
    mesh: { workloads: [`${REMOTE}, ${GATEWAY_BY_IP}`, GATEWAY_POD], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: { outer: ["spiffe://td/ns/ns1/sa/gw"], inner: [] },
  },
  {
    name: "names from a file as they are, empty ones too",
    mesh: { workloads: [`${HBONE}, trustDomain: "", serviceAccount: ""`] },
    dial: "127.0.0.2:80",
    expected: { outer: ["spiffe:///ns/ns1/sa/"], inner: null },
  },
])("decideOutbound() expects the names of $name", ({ mesh, dial, expected }) => {
  assertEquals(namesOf(meshState(mesh), dial), expected);
});

/** Source, destination and service as telemetry sees them. */
Deno.test.each<{ name: string; mesh: Mesh; dial: string; expected: readonly (string | null)[] }>([
  {
    name: "a service's endpoint",
    mesh: { workloads: [HBONE], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: ["source", "web", "example.com"],
  },
  {
    name: "a workload",
    mesh: { workloads: [HBONE], services: [SERVICE] },
    dial: "127.0.0.2:80",
    expected: ["source", "web", null],
  },
  {
    name: "row 4: the waypoint, no service",
    mesh: { workloads: [`${HBONE}, ${WAYPOINT}`, WAYPOINT_POD] },
    dial: "127.0.0.2:80",
    expected: ["source", "wp", null],
  },
  {
    name: "row 6: the waypoint, for the service that was meant",
    mesh: { workloads: [WAYPOINT_ENDPOINT], services: [WAYPOINT_BY_NAME, WAYPOINT_SERVICE] },
    dial: "127.0.0.3:80",
    expected: ["source", "wp", "example.com"],
  },
  {
    name: "row 10: the gateway, for the service that was meant",
    mesh: { workloads: [`${REMOTE}, ${GATEWAY_BY_IP}`, GATEWAY_POD], services: [SERVICE] },
    dial: "127.0.0.3:80",
    expected: ["source", "gw", "example.com"],
  },
  {
    name: "row 12: nobody",
    mesh: { services: [PASSTHROUGH] },
    dial: "1.2.3.4:80",
    expected: ["source", null, null],
  },
  { name: "row 1: nobody", mesh: {}, dial: "9.9.9.9:80", expected: ["source", null, null] },
])("decideOutbound() tells telemetry of $name", ({ mesh, dial, expected }) => {
  const { source, candidates, service } = routeIn(meshState(mesh), { dial });
  assertEquals(
    [source.uid, candidates[0]!.destination?.uid ?? null, service?.hostname ?? null],
    expected,
  );
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
  // The endpoint in NETWORK is in another network than the source, and NETWORK has no such service.
  assertEquals(
    decide(mesh, "127.0.0.3:80"),
    "REFUSED / NO_SERVICE_FOR_TARGET no service for target address: 127.0.0.3:80; " +
      "HBONE / 127.0.0.2:8080 / 127.0.0.2:15008",
  );
  assertEquals(decide(mesh, "127.0.0.7:80"), "TCP / – / 127.0.0.7:80");
});

Deno.test("decideOutbound() asks for waypoints and passthrough in NETWORK, for upstreams in the source's", () => {
  const source = "network: n2";
  // A service with a waypoint that only NETWORK knows.
  assertEquals(
    decide(
      { workloads: [`${WAYPOINT_POD}, network: n2`], services: [WAYPOINT], source },
      "127.0.0.3:80",
    ),
    "UNKNOWN_WAYPOINT unknown waypoint: waypoint /127.0.0.10:15008 not found",
  );
  assertEquals(
    decide({
      workloads: [`${WAYPOINT_POD}, network: n2`],
      services: [WAYPOINT.replace("/127", "n2/127")],
      source,
    }, "127.0.0.3:80"),
    "HBONE / 127.0.0.3:80 / 127.0.0.10:15008",
  );
  // A service that only NETWORK knows has no upstream where the source is.
  assertEquals(
    decide({ workloads: [HBONE], services: [SERVICE], source }, "127.0.0.3:80"),
    "NO_HEALTHY_UPSTREAM no healthy upstream: 127.0.0.3:80",
  );
});

// Draws, with the data plane's own draw.

/** Upper 0.1 % points of the χ² distribution, by degrees of freedom. */
const CHI_SQUARE = [0, 10.83, 13.82, 16.27, 18.47, 20.52];
const DRAWS = 20_000;

/** Draws with a fixed seed and compares with the shares, by χ². */
function checkDraws(mesh: Mesh, dial: string, shares: Readonly<Record<string, number>>): void {
  const { candidates } = routeIn(meshState(mesh), { dial });
  const random = new SeededRandom(7);
  const drawn = new Map<string, number>();
  for (let draw = 0; draw < DRAWS; draw++) {
    const { hop } = drawCandidate(candidates, random);
    const name = hop.protocol === "REFUSED" ? "refused" : formatAddress(known(hop).peer);
    drawn.set(name, (drawn.get(name) ?? 0) + 1);
  }
  const sum = Object.values(shares).reduce((total, share) => total + share, 0);
  let chiSquare = 0;
  for (const [name, share] of Object.entries(shares)) {
    const expected = DRAWS * share / sum;
    const seen = drawn.get(name) ?? 0;
    drawn.delete(name);
    if (share === 0) assertEquals(seen, 0, name);
    else chiSquare += (seen - expected) ** 2 / expected;
  }
  assertEquals([...drawn.keys()], [], "Nothing else is drawn");
  const freedom = Object.values(shares).filter((share) => share > 0).length - 1;
  assert(chiSquare <= CHI_SQUARE[freedom]!, `χ² ${chiSquare} for ${freedom} degrees of freedom`);
}

const pod = (ip: string, more = "") =>
  `uid: "p${ip}", workloadIps: [${ip}], services: { ns1/example.com: {} }${
    more === "" ? "" : `, ${more}`
  }`;

Deno.test("a draw among capacities 3 and 1 gives 75 % and 25 %, and 0 never", () => {
  checkDraws(
    {
      workloads: [
        pod("10.0.0.1", "capacity: 3"),
        pod("10.0.0.2"),
        pod("10.0.0.3", "capacity: 0"),
      ],
      services: [SERVICE],
    },
    "127.0.0.3:80",
    { "10.0.0.1:8080": 3, "10.0.0.2:8080": 1, "10.0.0.3:8080": 0 },
  );
});

Deno.test.each([
  { weights: [100, 0], expected: [100, 0, 0] },
  { weights: [0, 100], expected: [0, 100, 0] },
  { weights: [0, 0], expected: [0, 0, 1] },
  { weights: [75, 25], expected: [75, 25, 0] },
])("a draw among weighted waypoints $weights", ({ weights, expected }) => {
  const [first, second, single] = expected;
  checkDraws(
    {
      workloads: ["a", "b", "c"].map((uid, at) => `uid: ${uid}, workloadIps: [10.0.1.${at + 1}]`),
      services: [
        `waypoint: { destination: /10.0.1.3, hboneMtlsPort: 15008 }, ${
          weighted(["/10.0.1.1", weights[0]!], ["/10.0.1.2", weights[1]!])
        }`,
      ],
    },
    "127.0.0.3:80",
    { "10.0.1.1:15008": first!, "10.0.1.2:15008": second!, "10.0.1.3:15008": single! },
  );
});

Deno.test("a draw among weighted waypoints and then their pods, one of them nobody", () => {
  checkDraws(
    {
      workloads: [
        "uid: a, workloadIps: [10.0.1.1], services: { ns1/wp.example: {} }, capacity: 1",
        "uid: b, workloadIps: [10.0.1.2], services: { ns1/wp.example: {} }, capacity: 2",
        "uid: c, workloadIps: [10.0.1.3]",
      ],
      services: [
        weighted(["ns1/wp.example", 60], ["/10.0.1.3", 30], ["ns1/gone.example", 10]),
        WAYPOINT_SERVICE,
      ],
    },
    "127.0.0.3:80",
    { "10.0.1.1:15008": 20, "10.0.1.2:15008": 40, "10.0.1.3:15008": 30, refused: 10 },
  );
});

Deno.test("a draw with failover takes the best rank only, and among those by capacity", () => {
  const workloads = [
    pod("10.0.0.1", "locality: { region: r, zone: z, subzone: '' }, capacity: 2"),
    pod("10.0.0.2", "locality: { region: r, zone: z, subzone: '' }"),
    pod("10.0.0.3", "locality: { region: r, zone: other, subzone: '' }, capacity: 5"),
    pod("10.0.0.4", "capacity: 5"),
  ];
  const failover = {
    services: [
      "loadBalancer: { routingPreferences: [Network, Region, Zone], mode: Failover, healthPolicy: OnlyHealthy }",
    ],
    source: "locality: { region: r, zone: z, subzone: '' }",
  };
  checkDraws({ workloads, ...failover }, "127.0.0.3:80", {
    "10.0.0.1:8080": 2,
    "10.0.0.2:8080": 1,
    "10.0.0.3:8080": 0,
    "10.0.0.4:8080": 0,
  });
  const unhealthy = workloads.map((text, at) => at < 2 ? `${text}, status: Unhealthy` : text);
  checkDraws({ workloads: unhealthy, ...failover }, "127.0.0.3:80", {
    "10.0.0.3:8080": 1,
    "10.0.0.4:8080": 0,
  });
});
