// Tests of trace.ts and lookups.ts: what a decision says of itself, to the word, and what it depends on, to the key.
import { assertEquals } from "@std/assert";
import { parseSocketAddress } from "../base/address.ts";
import { RouteError } from "../seam/router.ts";
import { CompiledServices } from "./compiled_services.ts";
import { decideInbound, type InboundDecision } from "./inbound_decision.ts";
import { Lookups } from "./lookups.ts";
import { MeshState } from "./mesh_state.ts";
import { decideOutbound } from "./outbound_decision.ts";
import { backs, policy, ports, service, workload } from "./resource_samples.ts";
import type { GatewayAddress, MeshResources, Service, Workload } from "./resources.ts";
import type { TraceStep } from "./trace.ts";

const SETTINGS = { network: "", hbonePort: 15008, internalPorts: new Set([15008]) };
const SOURCE = workload({ uid: "source", name: "source", ips: ["10.0.0.1"] });
const WEB = workload({
  uid: "web",
  ips: ["10.0.0.2"],
  protocol: "HBONE",
  services: backs("ns/s.example"),
});
const SHOP = service({ vips: [{ network: "", ip: "10.1.0.1" }] });

const toHost = (hostname: string): GatewayAddress => ({
  kind: "hostname",
  namespace: "ns",
  hostname,
  port: 15008,
});

function stateOf(some: Partial<MeshResources>): MeshState {
  const { workloads = [], services = [], policies = [] } = some;
  return new MeshState({ workloads: [SOURCE, ...workloads], services, policies });
}

interface Outbound {
  readonly workloads?: readonly Workload[];
  readonly services?: readonly Service[];
  readonly dial: string;
}

function outbound({ dial, ...mesh }: Outbound) {
  const trace: TraceStep[] = [];
  const state = stateOf(mesh);
  const decision = decideOutbound(new Lookups(state, trace), SETTINGS, new CompiledServices(), {
    source: SOURCE,
    sourceIp: "10.0.0.1",
    dialled: parseSocketAddress(dial)!,
  });
  return { trace, dependsOn: decision instanceof RouteError ? null : decision.dependsOn };
}

/** One line for each step, short enough to read. */
function lines(trace: readonly TraceStep[]): string[] {
  return trace.map(({ step, ...rest }) =>
    `${step}: ${Object.entries(rest).map(([name, value]) => `${name}=${value}`).join(" ")}`
  );
}

Deno.test("a trace of an unknown address", () => {
  const { trace, dependsOn } = outbound({ dial: "9.9.9.9:80" });
  assertEquals(trace, [
    { step: "lookup", question: "destination", key: "/9.9.9.9", found: "nothing", name: null },
    { step: "rule", rule: "passthrough", detail: null },
    {
      step: "candidate",
      protocol: "TCP",
      target: "9.9.9.9:80",
      authority: null,
      workload: null,
      share: 1,
    },
  ]);
  assertEquals(dependsOn, ["l ns/source/default", "a /9.9.9.9", "c "]);
});

Deno.test("a trace of a service says of every endpoint why it may be drawn or not", () => {
  const pod = (uid: string, more: Partial<Workload> = {}) =>
    workload({ uid, ips: ["10.0.0.9"], services: backs("ns/s.example"), ...more });
  const { trace, dependsOn } = outbound({
    workloads: [
      pod("lower"),
      pod("good", { locality: { region: "r", zone: "", subzone: "" }, capacity: 3 }),
      pod("sick", { status: "Unhealthy" }),
      pod("nowhere", { ips: [] }),
      pod("idle", { locality: { region: "r", zone: "", subzone: "" }, capacity: 0 }),
      pod("late"),
      pod("far", { network: "n2", locality: { region: "r", zone: "", subzone: "" } }),
      pod("portless", { services: new Map([["ns/s.example", new Map()]]) }),
    ],
    services: [
      service({
        ...SHOP,
        ports: ports(80, 0),
        loadBalancer: {
          mode: "Failover",
          healthPolicy: "OnlyHealthy",
          routingPreferences: ["Cluster", "Subzone"],
        },
      }),
    ],
    dial: "10.1.0.1:80",
  });
  assertEquals(lines(trace), [
    "lookup: question=destination key=/10.1.0.1 found=service name=ns/s.example",
    "endpoint: service=ns/s.example workload=sick taken=false reason=unhealthy",
    "endpoint: service=ns/s.example workload=nowhere taken=false reason=no-address",
    "endpoint: service=ns/s.example workload=portless taken=false reason=port-not-mapped",
    "endpoint: service=ns/s.example workload=lower taken=true reason=eligible",
    "endpoint: service=ns/s.example workload=good taken=true reason=eligible",
    "endpoint: service=ns/s.example workload=idle taken=false reason=capacity-zero",
    "endpoint: service=ns/s.example workload=late taken=true reason=eligible",
    "endpoint: service=ns/s.example workload=far taken=true reason=eligible",
    "rule: rule=service-endpoint detail=null",
    "candidate: protocol=TCP target=10.0.0.9:8080 authority=null workload=lower share=0.16666666666666666",
    "candidate: protocol=TCP target=10.0.0.9:8080 authority=null workload=good share=0.5",
    "candidate: protocol=TCP target=10.0.0.9:8080 authority=null workload=late share=0.16666666666666666",
    "candidate: protocol=REFUSED target=no valid routing destination for workload: Workload{w with uid far (TCP)} " +
    "authority=null workload=far share=0.16666666666666666",
  ]);
  assertEquals(dependsOn, ["l ns/source/default", "a /10.1.0.1", "s ns/s.example"]);
});

Deno.test.each<{ mode: "Strict" | "Failover"; here: string; there: string }>([
  { mode: "Strict", here: "eligible", there: "locality-not-strict" },
  { mode: "Failover", here: "eligible", there: "locality-lower" },
])("a trace of $mode says which endpoints are too far", ({ mode, here, there }) => {
  const at = (region: string) => ({ locality: { region, zone: "", subzone: "" } });
  const { trace } = outbound({
    // The near one after a far one, and before another.
    workloads: ["1", "2", "3"].map((uid) =>
      workload({ ...WEB, uid, ...at(uid === "2" ? "" : "elsewhere") })
    ),
    services: [
      service({
        ...SHOP,
        loadBalancer: { mode, healthPolicy: "OnlyHealthy", routingPreferences: ["Region"] },
      }),
    ],
    dial: "10.1.0.1:80",
  });
  const reasons = trace.filter((step) => step.step === "endpoint")
    .map(({ workload, reason }) => [workload, reason]).sort();
  assertEquals(reasons, [["1", there], ["2", here], ["3", there]]);
});

Deno.test("a trace of weighted waypoints says which were taken", () => {
  const { trace, dependsOn } = outbound({
    workloads: [
      workload({
        uid: "wp",
        ips: ["10.0.0.3"],
        services: new Map([["ns/wp.example", ports(15008, 15008)]]),
      }),
      workload({ uid: "untunnelled", ips: ["10.0.0.4"], services: backs("ns/old.example") }),
    ],
    services: [
      service({
        ...SHOP,
        waypoint: toHost("single.example"),
        weightedWaypoints: [
          { destination: toHost("wp.example"), weight: 3 },
          { destination: toHost("gone.example"), weight: 1 },
          { destination: toHost("old.example"), weight: 0 },
        ],
      }),
      service({ hostname: "wp.example", ports: ports(15008, 15008) }),
      service({ hostname: "old.example" }),
    ],
    dial: "10.1.0.1:80",
  });
  assertEquals(lines(trace), [
    "lookup: question=destination key=/10.1.0.1 found=service name=ns/s.example",
    "waypoint: reference=wp.example weight=3 taken=true reason=weighted",
    "waypoint: reference=gone.example weight=1 taken=true reason=weighted",
    "waypoint: reference=old.example weight=0 taken=false reason=weight-zero",
    "waypoint: reference=single.example weight=1 taken=false reason=weights-instead",
    "lookup: question=reference key=ns/wp.example found=service name=ns/wp.example",
    "endpoint: service=ns/wp.example workload=wp taken=true reason=eligible",
    "lookup: question=reference key=ns/gone.example found=nothing name=null",
    "rule: rule=service-waypoint detail=null",
    "candidate: protocol=HBONE target=10.0.0.3:15008 authority=10.1.0.1:80 workload=wp share=0.75",
    "candidate: protocol=REFUSED target=unknown waypoint: waypoint gone.example not found " +
    "authority=null workload=null share=0.25",
  ]);
  assertEquals(dependsOn, [
    "l ns/source/default",
    "a /10.1.0.1",
    "s ns/s.example",
    "s ns/wp.example",
    "s ns/gone.example",
  ]);
});

Deno.test.each([
  {
    name: "taken",
    waypoint: toHost("wp.example"),
    taken: true,
    reason: "only",
  },
  {
    name: "not taken by the waypoint itself",
    waypoint: { kind: "address" as const, network: "", ip: "10.0.0.1", port: 15008 },
    taken: false,
    reason: "source-is-waypoint",
  },
])("a trace says that a workload's waypoint is $name", ({ waypoint, taken, reason }) => {
  const { trace } = outbound({
    workloads: [
      workload({ ...WEB, waypoint }),
      workload({ uid: "wp", ips: ["10.0.0.3"], hostname: "wp.example" }),
    ],
    dial: "10.0.0.2:80",
  });
  const steps = trace.filter((step) => step.step === "waypoint");
  assertEquals(steps.map(({ taken, reason }) => ({ taken, reason })), [{ taken, reason }]);
});

Deno.test("a trace says that a waypoint does not count for a service's traffic", () => {
  const { trace } = outbound({
    workloads: [workload({ ...WEB, waypoint: toHost("wp.example"), networkMode: "HostNetwork" })],
    services: [service({ ...SHOP, loadBalancer: null })],
    dial: "10.1.0.1:80",
  });
  // Row 15 is decided without a look at it.
  assertEquals(trace.filter(({ step }) => step === "waypoint"), []);
  assertEquals(trace.filter((step) => step.step === "rule").map(({ rule }) => rule), [
    "service-endpoint",
  ]);
});

Deno.test("a trace names the names of workloads that are known by name alone, and refusals", () => {
  const named = outbound({
    workloads: [workload({ ...WEB, ips: [], hostname: "web.example" })],
    services: [SHOP],
    dial: "10.1.0.1:80",
  });
  assertEquals(
    lines(named.trace).at(-1),
    "candidate: protocol=NAMED target=web.example:15008 authority=web.example:8080 workload=web share=1",
  );
  const refused = outbound({ services: [SHOP], dial: "10.1.0.1:80" });
  assertEquals(
    lines(refused.trace).at(-1),
    "rule: rule=refused detail=no healthy upstream: 10.1.0.1:80",
  );
});

// Inbound.

function inbound(some: Partial<MeshResources>, local: Workload, authority: string) {
  const trace: TraceStep[] = [];
  const address = parseSocketAddress(authority);
  const [hostname, port] = authority.split(":");
  const decision: InboundDecision = decideInbound(
    new Lookups(stateOf({ ...some, workloads: [local, ...some.workloads ?? []] }), trace),
    SETTINGS,
    local,
    {
      local: { namespace: "ns", name: "w", serviceAccount: "default" },
      localIp: "10.0.0.2",
      peerIp: "10.0.0.1",
      authority: address === null
        ? { kind: "hostname", hostname: hostname!, port: Number(port) }
        : { kind: "address", address },
      forwardedHost: null,
      fromGateway: false,
    },
  );
  return {
    lines: lines(trace),
    dependsOn: decision instanceof RouteError ? null : decision.dependsOn,
  };
}

Deno.test("a trace of an inbound connection: its address, its peer, its policies", () => {
  const local = { ...WEB, authorizationPolicies: ["ns/gone"] };
  const asked = inbound({ services: [SHOP], policies: [policy()] }, local, "10.0.0.2:8080");
  assertEquals(asked.lines, [
    "check: check=V2 accepted=true",
    "port: port=8080 from=authority",
    "policy: policy=ns/p known=true",
    "policy: policy=ns/gone known=false",
    "lookup: question=peer key=/10.0.0.1 found=workload name=source",
  ]);
  assertEquals(asked.dependsOn, [
    "l ns/w/default",
    "n ns",
    "n ",
    "p ns/gone",
    "a /10.0.0.1",
    "s ns/s.example",
  ]);
});

Deno.test("a trace of an inbound host name and a tunnel's port", () => {
  const local = { ...WEB, applicationTunnel: { protocol: "PROXY", port: 15088 } } as const;
  const asked = inbound({ services: [SHOP] }, local, "s.example:80");
  assertEquals(asked.lines.slice(0, 4), [
    "check: check=V1 accepted=true",
    "lookup: question=authority key=s.example found=service name=ns/s.example",
    "port: port=8080 from=endpoint",
    "port: port=15088 from=application-tunnel",
  ]);
  const byService = inbound({ services: [SHOP] }, { ...WEB, services: new Map() }, "s.example:80");
  assertEquals(byService.lines[2], "port: port=8080 from=service");
});

Deno.test("a trace of a waypoint in front of others, and of one that is not", () => {
  const behind = workload({ uid: "behind", ips: ["10.0.0.5"], waypoint: toHost("s.example") });
  const asked = inbound({ workloads: [behind], services: [SHOP] }, WEB, "10.0.0.5:80");
  assertEquals(asked.lines.slice(0, 3), [
    "lookup: question=authority-address key=/10.0.0.5 found=workload name=behind",
    "lookup: question=waypoint key=ns/s.example found=service name=ns/s.example",
    "check: check=V4 accepted=true",
  ]);
  assertEquals(inbound({}, WEB, "10.0.0.6:80").lines, [
    "lookup: question=authority-address key=/10.0.0.6 found=nothing name=null",
    "check: check=V5 accepted=false",
  ]);
});
