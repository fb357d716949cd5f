// Tests of state_router.ts: waiting, changes, names, and that the order of the file does not matter.
import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AssertionFailure } from "../base/assert.ts";
import type { Cancel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import { SeededRandom } from "../base/random.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { Policy } from "../rbac/policy.ts";
import type { InboundRoute, Route } from "../seam/route.ts";
import { RouteError, type StateChange } from "../seam/router.ts";
import type { LocalWorkloadName, WorkloadFacts } from "../seam/workload.ts";
import { parseMeshFile } from "./mesh_file.ts";
import { MeshState } from "./mesh_state.ts";
import type { HostAskedLabels, HostResolver } from "./host_resolver.ts";
import type { OnDemand } from "./on_demand.ts";
import {
  type Explained,
  LISTENERS_MAX,
  ON_DEMAND_WAIT_MS,
  POLICIES_TOLD_MAX,
  POLICY_HOLD_MS,
  type RouterSettings,
  StateRouter,
  type StateRouterOptions,
  WORKLOAD_WAIT_MS,
  WORKLOAD_WAITS_MAX,
} from "./state_router.ts";

const SETTINGS: RouterSettings = {
  network: "",
  hbonePort: 15008,
  nodeName: null,
  clusterDomain: "cluster.local",
  internalPorts: new Set([15001, 15006, 15008]),
};

const CLIENT: LocalWorkloadName = { namespace: "default", name: "client", serviceAccount: "sa" };

const MESH = `
workloads:
  - { uid: nameless, namespace: default, workloadIps: [127.0.0.9], services: {} }
  - { uid: client, name: client, namespace: default, serviceAccount: sa, workloadIps: [127.0.0.1], services: {} }
  - { uid: web, name: web, namespace: shop, serviceAccount: web, workloadIps: [127.0.0.2, "fd00::2"],
      protocol: HBONE, hostname: web.example, services: { shop/web.shop.svc.cluster.local: {} } }
services:
  - { name: web, namespace: shop, hostname: web.shop.svc.cluster.local, vips: [/127.0.10.2, "/fd00::10"], ports: { 80: 8080 } }
  - { name: own, namespace: default, hostname: own.default.svc.cluster.local, vips: [/127.0.10.3], ports: { 80: 8080 } }
  - { name: all, namespace: shop, hostname: "*.wildcard.example", vips: [/127.0.10.4], ports: { 80: 8080 } }
  - { name: headless, namespace: shop, hostname: headless.shop.svc.cluster.local, vips: [], ports: { 80: 8080 },
      endpoints: { web: { workloadUid: web, port: {}, status: Healthy } } }
  - { name: loud, namespace: shop, hostname: LOUD.shop.svc.cluster.local, vips: [/127.0.10.6], ports: {} }
  - { name: private, namespace: shop, hostname: private.shop.svc.cluster.local, vips: [/127.0.10.5], ports: {}, visibility: Namespace }
`;

function state(text: string): MeshState {
  return new MeshState(parseMeshFile(text, { source: "test" }));
}

function refusal(outcome: unknown): string[] {
  if (!(outcome instanceof RouteError)) throw new Error("Expected a refusal");
  return [outcome.code, outcome.message];
}

class Bench {
  readonly clock = new VirtualClock();
  readonly lines: string[] = [];
  readonly router: StateRouter;

  constructor(
    text = MESH,
    settings: Partial<RouterSettings> = {},
    more: Partial<StateRouterOptions> = {},
  ) {
    this.router = new StateRouter({
      state: state(text),
      settings: { ...SETTINGS, ...settings },
      clock: this.clock,
      log: (level, scope, message) => this.lines.push(`${level} ${scope} ${message}`),
      ...more,
    });
  }

  /** Asks and runs the turn; the answer, which must come exactly once. */
  ask<Value>(
    question: (done: (outcome: Value | ProxyError) => void) => unknown,
  ): Value | ProxyError {
    const outcomes: (Value | ProxyError)[] = [];
    question((outcome) => outcomes.push(outcome));
    assertEquals(outcomes.length, 0, "never in the caller's own turn");
    this.clock.runUntilIdle();
    assertEquals(outcomes.length, 1);
    return outcomes[0]!;
  }

  /** The same, for an answer. */
  answer<Value>(question: (done: (outcome: Value | ProxyError) => void) => unknown): Value {
    const outcome = this.ask(question);
    if (outcome instanceof ProxyError) throw outcome;
    return outcome;
  }

  /** The same, for a refusal: code and message. */
  refusal(question: (done: (outcome: unknown) => void) => unknown): string[] {
    return refusal(this.ask(question));
  }

  resolve(name: string, family: 4 | 6 = 4, local = CLIENT): string {
    const outcome = this.ask<string>((done) => this.router.resolve(local, name, family, done));
    return outcome instanceof RouteError ? outcome.code : outcome as string;
  }
}

Deno.test("StateRouter.inboundPlaintext() waits for the local workload, but not to refuse a call to ourselves", () => {
  const bench = new Bench("workloads: []\n");
  const ask = (port: number, done: (outcome: InboundRoute | ProxyError) => void) =>
    bench.router.inboundPlaintext(
      { local: CLIENT, peerIp: "10.0.0.9", destination: { ip: "127.0.0.1", port } },
      done,
    );
  assertEquals(bench.refusal((done) => ask(15006, done))[0], "SELF_CALL");
  const routes: (InboundRoute | ProxyError)[] = [];
  ask(8080, (outcome) => routes.push(outcome));
  bench.clock.advance(WORKLOAD_WAIT_MS - 1);
  assertEquals([bench.router.waiting, routes.length], [1, 0]);
  bench.router.replace(state(MESH), { policies: false });
  bench.clock.runUntilIdle();
  const [route] = routes;
  if (route === undefined || route instanceof ProxyError) throw new Error("Expected a route");
  assertEquals([route.generation, route.dial.port, route.destination.uid], [2, 8080, "client"]);
});

Deno.test("StateRouter finds the local workload by namespace, name and service account", () => {
  const bench = new Bench();
  const facts = bench.answer<WorkloadFacts>((done) => bench.router.localWorkload(CLIENT, done));
  assertEquals(facts.uid, "client");
  for (const wrong of [{ namespace: "x" }, { name: "x" }, { serviceAccount: "x" }]) {
    bench.router.localWorkload({ ...CLIENT, ...wrong }, () => {});
    bench.clock.runUntilIdle();
  }
  assertEquals(bench.router.waiting, 3);
  bench.clock.advance(WORKLOAD_WAIT_MS);
  assertEquals(bench.router.waiting, 0);
});

Deno.test("StateRouter finds the local workload only on its own node", () => {
  const mesh = MESH.replace("name: client,", "name: client, node: n2,");
  const here = new Bench(mesh, { nodeName: "n2" });
  here.answer<WorkloadFacts>((done) => here.router.localWorkload(CLIENT, done));
  const there = new Bench(mesh, { nodeName: "n1" });
  there.router.localWorkload(CLIENT, () => {});
  assertEquals(there.router.waiting, 1);
});

Deno.test("StateRouter gives up on an unknown workload after WORKLOAD_WAIT_MS", () => {
  const bench = new Bench("workloads: []");
  const outcomes: (WorkloadFacts | ProxyError)[] = [];
  bench.router.localWorkload(CLIENT, (outcome) => outcomes.push(outcome));
  bench.clock.advance(WORKLOAD_WAIT_MS - 1);
  assertEquals(outcomes.length, 0);
  bench.clock.advance(1);
  assertEquals(refusal(outcomes[0]), [
    "WORKLOAD_UNKNOWN",
    "failed to fetch information about local workload: sa.default (client)",
  ]);
  assertEquals(bench.lines, [
    "warn ztunnel::state timed out waiting for workload 'sa.default (client)' from xds",
  ]);
  assertEquals(bench.clock.pendingTimers, 0);
});

Deno.test("StateRouter ends the wait when the right workload arrives, and not before", () => {
  const bench = new Bench("workloads: []");
  const outcomes: unknown[] = [];
  bench.router.localWorkload(CLIENT, (outcome) => outcomes.push(outcome));
  bench.clock.advance(1000);
  bench.router.replace(state(MESH.replaceAll("name: client,", "name: other,")), {
    policies: false,
  });
  bench.clock.advance(1000);
  assertEquals(outcomes.length, 0);
  bench.router.replace(state(MESH), { policies: false });
  assertEquals(outcomes.length, 0, "in a later turn");
  bench.clock.runUntilIdle();
  assertEquals((outcomes[0] as { uid: string }).uid, "client");
  assertEquals([bench.clock.pendingTimers, bench.router.waiting], [0, 0]);
});

Deno.test("StateRouter forgets a cancelled question, waiting or answered", () => {
  const bench = new Bench("workloads: []");
  const outcomes: unknown[] = [];
  const hear = (outcome: unknown) => void outcomes.push(outcome);
  const waiting = bench.router.localWorkload(CLIENT, hear);
  waiting.cancel();
  assertEquals([bench.clock.pendingTimers, bench.router.waiting], [0, 0]);
  const settled = bench.router.localWorkload(CLIENT, hear);
  bench.router.replace(state(MESH), { policies: false });
  settled.cancel();
  const answered = bench.router.localWorkload(CLIENT, hear);
  answered.cancel();
  answered.cancel();
  bench.clock.runUntilIdle();
  assertEquals(outcomes, []);
});

Deno.test.each([-1, 0, 1])(
  "StateRouter lets WORKLOAD_WAITS_MAX questions wait: %d more",
  (more) => {
    assertEquals(WORKLOAD_WAITS_MAX, 10_000);
    const waitsMax = 5;
    const bench = new Bench("workloads: []", {}, { workloadWaitsMax: waitsMax });
    const codes: string[] = [];
    for (let asked = 0; asked < waitsMax + more; asked++) {
      bench.router.localWorkload(CLIENT, (outcome) => codes.push((outcome as RouteError).code));
    }
    bench.clock.runUntilIdle();
    assertEquals(bench.router.waiting, Math.min(waitsMax, waitsMax + more));
    assertEquals(codes, more > 0 ? ["WAITS_FULL"] : []);
    bench.clock.advance(WORKLOAD_WAIT_MS);
    assertEquals(
      codes.filter((code) => code === "WORKLOAD_UNKNOWN").length,
      waitsMax + Math.min(more, 0),
    );
  },
);

Deno.test("StateRouter refuses calls to the proxy's own ports on loopback, without waiting", () => {
  const bench = new Bench("workloads: []");
  for (const ip of ["127.0.0.1", "127.9.9.9", "::1"]) {
    for (const port of SETTINGS.internalPorts) {
      const error = bench.refusal((done) =>
        bench.router.outbound({
          local: CLIENT,
          source: { ip: "127.0.0.1", port: 1 },
          destination: { ip, port },
        }, done)
      );
      assertEquals(error, ["SELF_CALL", "attempted recursive call to ourselves"]);
    }
  }
});

Deno.test("StateRouter lets calls to the same ports elsewhere pass", () => {
  const bench = new Bench();
  for (const destination of [{ ip: "10.0.0.1", port: 15008 }, { ip: "127.0.0.1", port: 15021 }]) {
    const route = bench.answer<Route>((done) =>
      bench.router.outbound(
        { local: CLIENT, source: { ip: "127.0.0.1", port: 1 }, destination },
        done,
      )
    );
    assertEquals(route.candidates[0]!.hop.protocol, "TCP");
  }
});

Deno.test.each([
  { name: "web.shop.svc.cluster.local", expected: "127.0.10.2" },
  { name: "web.shop.svc.cluster.local.", expected: "127.0.10.2" },
  { name: "WEB.Shop.svc.cluster.local", expected: "127.0.10.2" },
  { name: "web.shop.svc", expected: "127.0.10.2" },
  { name: "web.shop", expected: "127.0.10.2" },
  { name: "own", expected: "127.0.10.3" },
  { name: "any.wildcard.example", expected: "127.0.10.4" },
  { name: "headless.shop", expected: "127.0.0.2" },
  { name: "web.example", expected: "127.0.0.2" },
  { name: "client", expected: "127.0.0.1" },
  { name: "client.default", expected: "127.0.0.1" },
  { name: "loud.shop", expected: "127.0.10.6" },
  { name: "web", expected: "NAME_NOT_RESOLVED" },
  { name: "private.shop", expected: "NAME_NOT_RESOLVED" },
  { name: "nobody.example", expected: "NAME_NOT_RESOLVED" },
  { name: "", expected: "NAME_NOT_RESOLVED" },
])("StateRouter.resolve() of %j", ({ name, expected }) => {
  assertEquals(new Bench().resolve(name), expected);
});

Deno.test("StateRouter.resolve() prefers the asked family and the asker's namespace", () => {
  const bench = new Bench();
  assertEquals(bench.resolve("web.shop", 6), "fd00::10");
  assertEquals(bench.resolve("own", 6), "127.0.10.3");
  assertEquals(bench.resolve("headless.shop", 6), "fd00::2");
  const local = { namespace: "shop", name: "x", serviceAccount: "x" };
  assertEquals(bench.resolve("web", 4, local), "127.0.10.2");
  assertEquals(bench.resolve("private", 4, local), "127.0.10.5");
});

Deno.test("StateRouter.resolve() gives the addresses of the asker's network", () => {
  const mesh = MESH.replace("name: client,", "name: client, network: n2,")
    .replace("vips: [/127.0.10.3]", "vips: [/127.0.10.3, n2/127.0.11.3]");
  assertEquals(new Bench(mesh).resolve("own"), "127.0.11.3");
  assertEquals(new Bench(mesh).resolve("web.shop"), "NAME_NOT_RESOLVED");
});

Deno.test("StateRouter tells listeners of every change, until they cancel", () => {
  const bench = new Bench();
  const heard: StateChange[] = [];
  const before = bench.router.generation;
  const subscription = bench.router.onChange((change) => heard.push(change));
  bench.router.replace(state(MESH), { policies: false });
  bench.router.replace(state(MESH), { policies: true });
  subscription.cancel();
  bench.router.replace(state(MESH), { policies: true });
  assertEquals(heard, [
    { generation: before + 1, policies: false, touched: null },
    { generation: before + 2, policies: true, touched: null },
  ]);
});

Deno.test("StateRouter takes LISTENERS_MAX listeners", () => {
  const bench = new Bench();
  const subscriptions = Array.from(
    { length: LISTENERS_MAX },
    () => bench.router.onChange(() => {}),
  );
  assertThrows(() => bench.router.onChange(() => {}), AssertionFailure);
  subscriptions[0]!.cancel();
  bench.router.onChange(() => {}).cancel();
});

Deno.test("StateRouter stamps routes with its generation", () => {
  const bench = new Bench();
  const question = {
    local: CLIENT,
    source: { ip: "127.0.0.1", port: 1 },
    destination: { ip: "127.0.10.2", port: 80 },
  };
  const first = bench.answer<Route>((done) => bench.router.outbound(question, done));
  bench.router.replace(state(MESH), { policies: false });
  const second = bench.answer<Route>((done) => bench.router.outbound(question, done));
  assertEquals(first.generation, 1);
  assertEquals(second, { ...first, generation: 2 });
});

Deno.test("StateRouter warns once of a policy that nobody knows, and of names it drops", () => {
  const bench = new Bench(
    MESH.replace("uid: web,", "uid: web, authorizationPolicies: [shop/gone],") +
      "  - { name: x, namespace: x, hostname: x, vips: [], ports: {}, subjectAltNames: [spiffe://a] }\n",
  );
  for (let asked = 0; asked < 2; asked++) {
    bench.ask<InboundRoute>((done) =>
      bench.router.inbound({
        local: { namespace: "shop", name: "web", serviceAccount: "web" },
        localIp: "127.0.0.2",
        peerIp: "127.0.0.1",
        authority: { kind: "address", address: { ip: "127.0.0.2", port: 8080 } },
        forwardedHost: null,
        fromGateway: false,
      }, done)
    );
  }
  assertEquals(bench.lines, [
    "warn ztunnel::state ignoring a subject alternative name of service x/x: invalid spiffe identity: spiffe://a",
    "warn ztunnel::state skipping unknown policy shop/gone",
  ]);
});

Deno.test.each([
  { name: "just under", count: POLICIES_TOLD_MAX - 1, more: 0 },
  { name: "at", count: POLICIES_TOLD_MAX, more: 0 },
  { name: "just over", count: POLICIES_TOLD_MAX + 1, more: 1 },
  { name: "far over", count: 1_000, more: 990 },
])(
  "StateRouter tells of POLICIES_TOLD_MAX unknown policies, and how many more: $name",
  ({ count, more }) => {
    const names = Array.from({ length: count }, (_, at) => `shop/p${at}`);
    const bench = new Bench(
      MESH.replace("uid: web,", `uid: web, authorizationPolicies: [${names.join(", ")}],`),
    );
    bench.router.policyProgress("addresses");
    bench.router.inbound({
      local: { namespace: "shop", name: "web", serviceAccount: "web" },
      localIp: "127.0.0.2",
      peerIp: "127.0.0.1",
      authority: { kind: "address", address: { ip: "127.0.0.2", port: 8080 } },
      forwardedHost: null,
      fromGateway: false,
    }, () => {});
    bench.clock.advance(POLICY_HOLD_MS);
    const told = names.slice(0, POLICIES_TOLD_MAX);
    const and = more > 0 ? ` and ${more} more` : "";
    assertEquals(bench.lines, [
      `warn ztunnel::state no answer about policies within 1000 ms: ${told.join(", ")}${and}`,
      ...told.map((name) => `warn ztunnel::state skipping unknown policy ${name}`),
      ...more > 0 ? [`warn ztunnel::state skipping ${more} more unknown policies`] : [],
    ]);
  },
);

Deno.test("StateRouter.policies() means what the state says now", () => {
  const policy = (name: string, scope: string) =>
    `  - { name: ${name}, namespace: shop, scope: ${scope}, action: Deny, dryRun: false, rules: [] }\n`;
  const bench = new Bench(
    `policies:\n${policy("a", "WorkloadSelector")}${policy("b", "Namespace")}`,
  );
  const selection = { namespace: "shop", listed: ["shop/a", "shop/gone"] };
  const names = () => {
    const policies = bench.answer<readonly Policy[]>((done) =>
      bench.router.policies(selection, done)
    );
    return policies.map(({ name }) => name);
  };
  assertEquals(names(), ["b", "a"]);
  bench.router.replace(state(`policies:\n${policy("a", "WorkloadSelector")}`), { policies: true });
  assertEquals(names(), ["a"]);
});

Deno.test("StateRouter's policies of a workload are one list, so that they compile once", () => {
  const bench = new Bench();
  const ask = () =>
    bench.ask<InboundRoute>((done) =>
      bench.router.inbound({
        local: CLIENT,
        localIp: "127.0.0.1",
        peerIp: "127.0.0.2",
        authority: { kind: "address", address: { ip: "127.0.0.1", port: 8080 } },
        forwardedHost: null,
        fromGateway: false,
      }, done)
    ) as InboundRoute;
  assertStrictEquals(ask().policies, ask().policies);
});

// Names of services and PREFERED_SERVICE_NAMESPACE (§5.4).

Deno.test.each([
  { name: "the asker's namespace first", namespaces: "default ns2 preferred", expected: "default" },
  { name: "the preferred one else", namespaces: "ns2 preferred", expected: "preferred" },
  { name: "a canonical one before it", namespaces: "ns3! preferred", expected: "ns3" },
  { name: "the asker's before a canonical one", namespaces: "default ns2!", expected: "default" },
  { name: "the last canonical one", namespaces: "ns2! ns3! ns4", expected: "ns3" },
  { name: "the first of the others", namespaces: "ns3 ns4", expected: "ns3" },
  { name: "one without VIPs is none", namespaces: "default- ns2", expected: "ns2" },
])("StateRouter.resolve() of a name in several namespaces: $name", ({ namespaces, expected }) => {
  const all = namespaces.split(" ").map((text, at) => ({
    name: "s",
    namespace: text.replace(/[!-]$/, ""),
    hostname: "shared.example",
    vips: text.endsWith("-") ? [] : [`/127.0.20.${at}`],
    ports: {},
    canonical: text.endsWith("!"),
  }));
  const bench = new Bench(JSON.stringify({ services: all }), { preferredNamespace: "preferred" });
  const at = all.findIndex(({ namespace }) => namespace === expected);
  assertEquals(bench.resolve("shared.example"), `127.0.20.${at}`);
});

Deno.test("StateRouter routes and takes host names without PREFERED_SERVICE_NAMESPACE", () => {
  const services = ["ns2", "preferred"].map((namespace, at) => ({
    name: "s",
    namespace,
    hostname: "shared.example",
    vips: ["/127.0.20.1"],
    ports: { 80: 8080 + at },
  }));
  const workloads = [
    {
      uid: "client",
      ...CLIENT,
      workloadIps: ["127.0.0.1"],
      services: { "ns2/shared.example": {}, "preferred/shared.example": {} },
    },
  ];
  const text = JSON.stringify({ workloads, services });
  const bench = new Bench(text, { preferredNamespace: "preferred" });
  const route = bench.answer<Route>((done) =>
    bench.router.outbound(outboundTo("127.0.20.1", 80), done)
  );
  assertEquals(route.service?.namespace, "ns2");
});

// Workloads known by name (§3.11).

/** Tells what it is told to, in a later turn. */
class FakeHosts implements HostResolver {
  readonly asked: string[] = [];
  cancelled = 0;
  answer: readonly string[] | ProxyError = [];
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  resolve(hostname: string, done: Done<readonly string[]>): Cancel {
    this.asked.push(hostname);
    const timer = this.#clock.after(10, () => done(this.answer));
    return {
      cancel: () => {
        this.cancelled++;
        timer.cancel();
      },
    };
  }
}

const HOST_QUESTION = {
  local: CLIENT,
  hostname: "ext.example",
  workloadUid: "ext",
  family: 4,
} as const;

class HostBench {
  readonly clock = new VirtualClock();
  readonly hosts = new FakeHosts(this.clock);
  readonly labels: HostAskedLabels[] = [];
  readonly router: StateRouter;

  constructor(text = MESH) {
    this.router = new StateRouter({
      state: state(text),
      settings: SETTINGS,
      clock: this.clock,
      log: () => {},
      random: new SeededRandom(1),
      hosts: this.hosts,
      onHostAsked: (labels) => this.labels.push(labels),
    });
  }

  /** The address, or the text of the refusal. */
  ask(answer: readonly string[] | ProxyError, family: 4 | 6 = 4): string {
    this.hosts.answer = answer;
    const outcomes: (string | ProxyError)[] = [];
    this.router.resolveHost({ ...HOST_QUESTION, family }, (outcome) => outcomes.push(outcome));
    assertEquals(outcomes, []);
    this.clock.advance(10);
    assertEquals(outcomes.length, 1);
    const [outcome] = outcomes;
    return outcome instanceof RouteError ? `${outcome.code} ${outcome.message}` : `${outcome}`;
  }
}

Deno.test.each<{ name: string; answer: string[]; family: 4 | 6; expected: string[] }>([
  {
    name: "the asked family",
    answer: ["1.1.1.1", "2001:db8::1", "1.1.1.2"],
    family: 4,
    expected: ["1.1.1.1", "1.1.1.2"],
  },
  {
    name: "IPv6 where it is asked",
    answer: ["1.1.1.1", "2001:db8::1"],
    family: 6,
    expected: ["2001:db8::1"],
  },
  {
    name: "the other family where there is no choice",
    answer: ["1.1.1.1", "1.1.1.2"],
    family: 6,
    expected: ["1.1.1.1", "1.1.1.2"],
  },
])("StateRouter.resolveHost() draws among $name", ({ answer, family, expected }) => {
  const bench = new HostBench();
  const drawn = Array.from({ length: 50 }, () => bench.ask(answer, family));
  assertEquals([...new Set(drawn)].sort(), expected);
});

Deno.test("StateRouter.resolveHost() words what it could not resolve", () => {
  const bench = new HostBench();
  assertEquals(
    bench.ask(new RouteError("NAME_NOT_RESOLVED", "whatever")),
    "NAME_NOT_RESOLVED no ip addresses were resolved for workload: ext",
  );
  assertEquals(
    bench.ask([]),
    "NAME_NOT_RESOLVED ip addresses were resolved for workload ext, but valid dns response had no A/AAAA records",
  );
  const without = new Bench();
  assertEquals(
    without.refusal((done) => without.router.resolveHost(HOST_QUESTION, done)),
    ["NAME_NOT_RESOLVED", "no ip addresses were resolved for workload: ext"],
  );
});

Deno.test("StateRouter.resolveHost() counts each question before it is asked, with who asks", () => {
  const more =
    "workloadName: cl, canonicalName: cn, canonicalRevision: v1, clusterId: C, trustDomain: td,";
  const bench = new HostBench(MESH.replace("uid: client,", `uid: client, ${more}`));
  bench.ask(["1.1.1.1"]);
  bench.ask(["1.1.1.1"]);
  assertEquals(bench.labels.length, 2);
  assertEquals(bench.labels[0], {
    source_workload: "cl",
    source_canonical_service: "cn",
    source_canonical_revision: "v1",
    source_workload_namespace: "default",
    source_principal: "spiffe://td/ns/default/sa/sa",
    source_app: "cn",
    source_version: "v1",
    source_cluster: "C",
    hostname: "ext.example",
  });
  bench.router.replace(state("workloads: []"), { policies: false });
  bench.ask(["1.1.1.1"]);
  assertEquals([bench.labels[2]!.source_workload, bench.labels[2]!.hostname], ["", "ext.example"]);
});

Deno.test("StateRouter.resolveHost() forgets a cancelled question, resolving or resolved", () => {
  const bench = new HostBench();
  const outcomes: unknown[] = [];
  bench.router.resolveHost(HOST_QUESTION, (outcome) => outcomes.push(outcome)).cancel();
  assertEquals([bench.hosts.cancelled, bench.clock.pendingTimers], [1, 0]);
  // Resolved in this turn, to be told in the next.
  const now: HostResolver = {
    resolve(_, done) {
      done(["1.1.1.1"]);
      return { cancel() {} };
    },
  };
  const { router, clock } = new Bench(MESH, {}, { hosts: now });
  router.resolveHost(HOST_QUESTION, (outcome) => outcomes.push(outcome)).cancel();
  clock.runUntilIdle();
  assertEquals(outcomes, []);
});

// On demand (§1.9).

class FakeOnDemand implements OnDemand {
  readonly wanted = new Map<string, () => void>();
  readonly keys: string[] = [];

  want(key: string, done: () => void): Cancel {
    this.keys.push(key);
    this.wanted.set(key, done);
    return { cancel: () => void this.wanted.delete(key) };
  }

  answer(key: string): void {
    const done = this.wanted.get(key)!;
    this.wanted.delete(key);
    done();
  }
}

const ANOTHER =
  "  - { uid: late, namespace: shop, workloadIps: [10.9.9.9], protocol: HBONE, services: {} }\n";
const LATER = MESH.replace("services:\n", `${ANOTHER}services:\n`);

function outboundTo(ip: string, port = 80) {
  const source = { ip: "127.0.0.1", port: 1 };
  return { local: CLIENT, source, destination: { ip, port } };
}

class DemandBench extends Bench {
  readonly onDemand: FakeOnDemand;

  constructor(text = MESH, more: Partial<StateRouterOptions> = {}) {
    const onDemand = new FakeOnDemand();
    super(text, {}, { onDemand, ...more });
    this.onDemand = onDemand;
  }

  /** Where outcomes go. */
  routes(ip: string): (Route | ProxyError)[] {
    const outcomes: (Route | ProxyError)[] = [];
    this.router.outbound(outboundTo(ip), (outcome) => outcomes.push(outcome));
    this.clock.runUntilIdle();
    return outcomes;
  }
}

Deno.test("StateRouter asks for an address it does not know, and decides once more", () => {
  const bench = new DemandBench();
  const outcomes = bench.routes("10.9.9.9");
  assertEquals([outcomes.length, bench.onDemand.keys], [0, ["/10.9.9.9"]]);
  assertEquals([bench.router.waiting, bench.router.waitCounts.begun["on-demand"]], [1, 1]);
  bench.router.replace(state(LATER), { policies: false });
  bench.clock.runUntilIdle();
  assertEquals(outcomes.length, 0, "only once the key was answered for");
  bench.onDemand.answer("/10.9.9.9");
  assertEquals(outcomes.length, 0, "in a later turn");
  bench.clock.runUntilIdle();
  const [route] = outcomes as [Route];
  assertEquals([route.candidates[0]!.hop.protocol, route.generation], ["HBONE", 2]);
  assertEquals([bench.router.waiting, bench.clock.pendingTimers], [0, 0]);
});

Deno.test("StateRouter takes for unknown what the control plane does not know, and asks anew each time", () => {
  const bench = new DemandBench();
  for (let time = 1; time <= 2; time++) {
    const outcomes = bench.routes("10.9.9.9");
    bench.onDemand.answer("/10.9.9.9");
    bench.clock.runUntilIdle();
    const route = outcomes[0] as Route;
    assertEquals([route.candidates[0]!.hop.protocol, route.isProvisional], ["TCP", true]);
    assertEquals(bench.onDemand.keys.length, time);
  }
});

Deno.test("StateRouter lets a route be remembered that was made from what is known", () => {
  const known = new DemandBench(LATER).routes("10.9.9.9");
  const complete = new DemandBench(MESH, { onDemand: null }).routes("10.9.9.9");
  for (const [route] of [known, complete]) assertEquals((route as Route).isProvisional, undefined);
});

Deno.test("StateRouter refuses to guess when the control plane does not answer within ON_DEMAND_WAIT_MS", () => {
  const bench = new DemandBench();
  const outcomes = bench.routes("10.9.9.9");
  bench.clock.advance(ON_DEMAND_WAIT_MS - 1);
  assertEquals(outcomes.length, 0);
  bench.clock.advance(1);
  assertEquals(refusal(outcomes[0]), [
    "WORKLOAD_UNKNOWN",
    "no answer from the control plane about /10.9.9.9",
  ]);
  assertEquals([bench.onDemand.wanted.size, bench.router.waiting], [0, 0]);
  assertEquals(bench.router.waitCounts.timedOut["on-demand"], 1);
});

Deno.test("StateRouter asks for nothing that is known, nor without on-demand", () => {
  const bench = new DemandBench();
  assertEquals(bench.routes("127.0.10.2").length, 1);
  assertEquals(bench.routes("127.0.0.2").length, 1);
  assertEquals(bench.onDemand.keys, []);
  const without = new Bench();
  without.answer<Route>((done) => without.router.outbound(outboundTo("10.9.9.9"), done));
});

Deno.test.each([
  { by: "address", destination: "/10.9.9.9", key: "/10.9.9.9" },
  { by: "host name", destination: "shop/late.example", key: "shop/late.example" },
])("StateRouter asks for a workload's waypoint by $by, to see whether the source is it", ({
  destination,
  key,
}) => {
  const waypoint = `waypoint: { destination: ${destination}, hboneMtlsPort: 15008 }`;
  const bench = new DemandBench(MESH.replace("uid: web,", `uid: web, ${waypoint},`));
  bench.routes("127.0.0.2");
  assertEquals(bench.onDemand.keys, [key]);
});

Deno.test("StateRouter asks for no waypoint of a service and for no gateway", () => {
  const waypoint = "waypoint: { destination: /10.9.9.9, hboneMtlsPort: 15008 }";
  const bench = new DemandBench(MESH.replace("name: own,", `name: own, ${waypoint},`));
  assertEquals(refusal(bench.routes("127.0.10.3")[0])[0], "UNKNOWN_WAYPOINT");
  assertEquals(bench.onDemand.keys, []);
});

function inboundFrom(peerIp: string, authority = "127.0.0.1") {
  return {
    local: CLIENT,
    localIp: "127.0.0.1",
    peerIp,
    authority: { kind: "address", address: { ip: authority, port: 8080 } },
    forwardedHost: null,
    fromGateway: false,
  } as const;
}

Deno.test("StateRouter asks who an inbound peer is, and goes on without when nobody answers", () => {
  const bench = new DemandBench();
  const outcomes: (InboundRoute | ProxyError)[] = [];
  bench.router.inbound(inboundFrom("10.9.9.9"), (outcome) => outcomes.push(outcome));
  bench.router.inboundPlaintext(
    { local: CLIENT, peerIp: "10.9.9.8", destination: { ip: "127.0.0.1", port: 8080 } },
    (outcome) => outcomes.push(outcome),
  );
  assertEquals(bench.onDemand.keys, ["/10.9.9.9", "/10.9.9.8"]);
  bench.clock.advance(ON_DEMAND_WAIT_MS);
  assertEquals(outcomes.map((outcome) => (outcome as InboundRoute).source), [null, null]);
});

Deno.test("StateRouter asks for an inbound authority's address before it refuses it", () => {
  const bench = new DemandBench();
  const outcomes: (InboundRoute | ProxyError)[] = [];
  const ask = () =>
    bench.router.inbound(inboundFrom("127.0.0.2", "10.9.9.9"), (outcome) => outcomes.push(outcome));
  ask();
  assertEquals(bench.onDemand.keys, ["/10.9.9.9"]);
  bench.onDemand.answer("/10.9.9.9");
  bench.clock.runUntilIdle();
  assertEquals(refusal(outcomes[0])[0], "IP_MISMATCH");
  ask();
  const waypoint = "protocol: HBONE, waypoint: { destination: /127.0.0.1, hboneMtlsPort: 15008 }";
  bench.router.replace(
    state(LATER.replace("protocol: HBONE, services: {} }\n", `${waypoint}, services: {} }\n`)),
    {
      policies: false,
    },
  );
  bench.onDemand.answer("/10.9.9.9");
  bench.clock.runUntilIdle();
  assertEquals((outcomes[1] as InboundRoute).policyTarget, { ip: "127.0.0.1", port: 8080 });
});

Deno.test("StateRouter waits for all it asked for, and takes back what is cancelled", () => {
  const bench = new DemandBench();
  const outcomes: unknown[] = [];
  const question = inboundFrom("10.9.9.8", "10.9.9.9");
  const waypoint = "waypoint: { destination: /127.0.0.1, hboneMtlsPort: 15008 }";
  const known = MESH.replace("uid: nameless,", `uid: nameless, ${waypoint},`);
  // The authority is unknown, so the peer is not looked up before it is known.
  bench.router.inbound(question, (outcome) => outcomes.push(outcome));
  assertEquals([...bench.onDemand.wanted.keys()], ["/10.9.9.9"]);
  bench.router.replace(state(known.replace("127.0.0.9", "10.9.9.9")), { policies: false });
  bench.onDemand.answer("/10.9.9.9");
  bench.clock.runUntilIdle();
  assertEquals((outcomes[0] as InboundRoute).source, null, "asked for once, decided once more");
  bench.router.inbound(question, (outcome) => outcomes.push(outcome)).cancel();
  assertEquals(
    [bench.onDemand.wanted.size, bench.router.waiting, bench.clock.pendingTimers, outcomes.length],
    [0, 0, 0, 1],
  );
});

Deno.test("StateRouter counts waits of every kind against WORKLOAD_WAITS_MAX", () => {
  const bench = new DemandBench(MESH, { workloadWaitsMax: 2 });
  bench.router.localWorkload({ ...CLIENT, name: "nobody" }, () => {});
  bench.router.outbound(outboundTo("10.9.9.9"), () => {});
  assertEquals(refusal(bench.routes("10.9.9.9")[0]), [
    "WAITS_FULL",
    "too many connections wait for their route: 2",
  ]);
  assertEquals(bench.onDemand.keys.length, 1, "nothing is asked for in vain");
});

// Unknown policies (§1.7).

const NAMES_POLICY = MESH.replace(
  "uid: client,",
  "uid: client, authorizationPolicies: [default/p, default/q],",
);
const KNOWS_POLICY = NAMES_POLICY +
  ["p", "q"].map((name) =>
    `  - { name: ${name}, namespace: default, scope: WorkloadSelector, action: Deny, dryRun: false, rules: [] }\n`
  ).reduce((all, one) => all + one, "policies:\n");

class HoldBench extends Bench {
  readonly outcomes: (InboundRoute | ProxyError)[] = [];

  constructor() {
    super(NAMES_POLICY);
  }

  /** An HBONE connection and a plain one. */
  askBoth(): Cancel[] {
    const hear = (outcome: InboundRoute | ProxyError) => void this.outcomes.push(outcome);
    const destination = { ip: "127.0.0.1", port: 8080 };
    const asked = [
      this.router.inbound(inboundFrom("127.0.0.2"), hear),
      this.router.inboundPlaintext({ local: CLIENT, peerIp: "127.0.0.2", destination }, hear),
    ];
    this.clock.runUntilIdle();
    return asked;
  }

  get policyCounts(): number[] {
    return this.outcomes.map((outcome) => (outcome as InboundRoute).policies.length);
  }
}

Deno.test("StateRouter holds inbound connections for policies that a push has yet to bring", () => {
  const bench = new HoldBench();
  bench.router.policyProgress("addresses");
  bench.askBoth();
  assertEquals([bench.outcomes.length, bench.router.waiting], [0, 2]);
  bench.router.replace(state(KNOWS_POLICY), { policies: true });
  bench.clock.runUntilIdle();
  assertEquals(bench.outcomes.length, 0, "until the policies are said to be there");
  bench.router.policyProgress("policies");
  bench.clock.runUntilIdle();
  assertEquals([bench.policyCounts, bench.router.waiting], [[2, 2], 0]);
  assertEquals(bench.router.waitCounts.begun["unknown-policy"], 2);
  assertEquals([bench.lines, bench.clock.pendingTimers], [[], 0]);
});

Deno.test("StateRouter holds those who waited for the workload that names the policies, too", () => {
  const bench = new HoldBench();
  bench.router.replace(state("workloads: []"), { policies: false });
  bench.router.policyProgress("policies");
  bench.askBoth();
  bench.router.replace(state(NAMES_POLICY), { policies: false });
  bench.clock.runUntilIdle();
  assertEquals([bench.outcomes.length, bench.router.waiting], [0, 2]);
  bench.router.policyProgress("addresses");
  bench.router.replace(state(KNOWS_POLICY), { policies: true });
  bench.router.policyProgress("policies");
  bench.clock.runUntilIdle();
  assertEquals(bench.policyCounts, [2, 2]);
});

Deno.test("StateRouter decides with what is known after POLICY_HOLD_MS, and does not hold for it again", () => {
  const bench = new HoldBench();
  bench.router.policyProgress("addresses");
  bench.askBoth();
  bench.clock.advance(POLICY_HOLD_MS - 1);
  assertEquals(bench.outcomes.length, 0);
  bench.clock.advance(1);
  assertEquals(bench.policyCounts, [0, 0]);
  assertEquals(bench.router.waitCounts.timedOut["unknown-policy"], 2);
  assertEquals(bench.lines, [
    "warn ztunnel::state no answer about policies within 1000 ms: default/p, default/q",
    "warn ztunnel::state skipping unknown policy default/p",
    "warn ztunnel::state skipping unknown policy default/q",
  ]);
  bench.router.policyProgress("addresses");
  bench.askBoth();
  assertEquals(bench.outcomes.length, 4, "at once");
});

Deno.test("StateRouter does not hold where policies were answered, nor for a mesh from a file", () => {
  const bench = new HoldBench();
  bench.askBoth();
  assertEquals(bench.outcomes.length, 2);
  bench.router.policyProgress("addresses");
  bench.router.policyProgress("policies");
  bench.askBoth();
  assertEquals([bench.outcomes.length, bench.router.waitCounts.begun["unknown-policy"]], [4, 0]);
});

Deno.test("StateRouter holds neither refusals nor outgoing connections, and forgets who cancels", () => {
  const bench = new HoldBench();
  bench.router.policyProgress("addresses");
  bench.answer<Route>((done) => bench.router.outbound(outboundTo("127.0.0.2"), done));
  const mismatch = bench.refusal((done) =>
    bench.router.inbound(inboundFrom("127.0.0.2", "10.1.1.1"), done)
  );
  assertEquals(mismatch[0], "IP_MISMATCH");
  for (const asked of bench.askBoth()) asked.cancel();
  bench.router.policyProgress("policies");
  bench.clock.runUntilIdle();
  assertEquals(
    [bench.outcomes.length, bench.router.waiting, bench.clock.pendingTimers],
    [0, 0, 0],
  );
});

// Changes and traces.

Deno.test("StateRouter tells what a change touched, and lets waits be when no workload came", () => {
  const bench = new Bench("workloads: []");
  const heard: StateChange[] = [];
  bench.router.onChange((change) => heard.push(change));
  const outcomes: unknown[] = [];
  bench.router.localWorkload(CLIENT, (outcome) => outcomes.push(outcome));
  bench.router.replace(state(MESH), { policies: false, touched: ["a /1.1.1.1"], local: false });
  bench.clock.runUntilIdle();
  assertEquals([heard[0]!.touched, outcomes.length], [["a /1.1.1.1"], 0]);
  bench.router.replace(state(MESH), { policies: false, touched: null, local: true });
  bench.clock.runUntilIdle();
  assertEquals([heard[1]!.touched, outcomes.length], [null, 1]);
});

Deno.test("StateRouter explains an outbound decision with what it waited for, and answers the same", () => {
  const bench = new DemandBench();
  const question = outboundTo("10.9.9.9");
  const heard: Explained<Route>[] = [];
  const hear = (outcome: Explained<Route> | ProxyError) => {
    if (!(outcome instanceof ProxyError)) heard.push(outcome);
  };
  bench.router.explainOutbound(question, hear);
  bench.router.replace(state(LATER), { policies: false });
  bench.onDemand.answer("/10.9.9.9");
  bench.clock.runUntilIdle();
  const route = bench.answer<Route>((done) => bench.router.outbound(question, done));
  assertEquals(heard.length, 1);
  assertEquals(heard[0]!.outcome, route);
  assertEquals(heard[0]!.trace.map(({ step }) => step), [
    ...["lookup", "rule", "candidate", "wait"],
    // As it is now known as a workload, a service is looked for before it.
    ...["lookup", "lookup", "rule", "candidate"],
  ]);
  assertEquals(heard[0]!.trace[3], {
    step: "wait",
    reason: "on-demand",
    keys: ["/10.9.9.9"],
    answered: true,
  });
  bench.router.explainOutbound(outboundTo("127.0.0.1", 15008), hear);
  bench.clock.runUntilIdle();
  assertEquals([refusal(heard[1]!.outcome)[0], heard[1]!.trace], ["SELF_CALL", []]);
});

Deno.test("StateRouter explains an inbound decision, a refusal too", () => {
  const bench = new Bench();
  const explain = (authority: string) =>
    bench.answer<Explained<InboundRoute>>((done) =>
      bench.router.explainInbound(inboundFrom("127.0.0.2", authority), done)
    );
  const accepted = explain("127.0.0.1");
  assertEquals(
    accepted.outcome,
    bench.answer<InboundRoute>((done) => bench.router.inbound(inboundFrom("127.0.0.2"), done)),
  );
  assertEquals(accepted.trace[0], { step: "check", check: "V2", accepted: true });
  const refused = explain("10.1.1.1");
  assertEquals(refusal(refused.outcome)[0], "IP_MISMATCH");
  assertEquals(refused.trace.at(-1), { step: "check", check: "V5", accepted: false });
});

Deno.test("StateRouter explains that a workload was never known", () => {
  const bench = new Bench("workloads: []");
  const heard: Explained<Route>[] = [];
  bench.router.explainOutbound(outboundTo("10.9.9.9"), (outcome) => {
    if (!(outcome instanceof ProxyError)) heard.push(outcome);
  });
  bench.clock.advance(WORKLOAD_WAIT_MS);
  assertEquals(refusal(heard[0]!.outcome)[0], "WORKLOAD_UNKNOWN");
  assertEquals(heard[0]!.trace, [
    { step: "wait", reason: "local-workload", keys: ["default/client"], answered: false },
  ]);
});

// Order of the file.

const ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "10.1.0.1", "10.1.0.2"];
const namespaces = ["a", "b"];
const hostnames = ["h1.example", "h2.example"];

const workloadArbitrary = fc.record({
  uid: fc.constantFrom("", "c//Pod/a/x", "c//Pod/b/y", "we/1", "we/2"),
  name: fc.constantFrom("x", "y", "client"),
  namespace: fc.constantFrom(...namespaces, "default"),
  serviceAccount: fc.constantFrom("sa", "other"),
  workloadIps: fc.subarray(ips),
  protocol: fc.constantFrom("TCP", "HBONE"),
  networkMode: fc.constantFrom("Standard", "Standard", "HostNetwork"),
  capacity: fc.nat(3),
  services: fc.dictionary(
    fc.constantFrom("a/h1.example", "b/h1.example", "a/h2.example"),
    fc.constantFrom({}, { 80: 8080 }, { 80: 9090 }),
  ),
});
const serviceArbitrary = fc.record({
  name: fc.constant("s"),
  namespace: fc.constantFrom(...namespaces),
  hostname: fc.constantFrom(...hostnames),
  vips: fc.subarray(ips.map((ip) => `/${ip}`)),
  cidrVips: fc.subarray(["10.1.0.0/16", "10.1.0.0/24", "10.0.0.0/8"]).map((cidrs) =>
    cidrs.map((cidr) => ({ network: "", cidr }))
  ),
  ports: fc.constantFrom({}, { 80: 8080 }, { 80: 0 }),
  canonical: fc.boolean(),
  visibility: fc.constantFrom("Public", "Namespace"),
});
const meshArbitrary = fc.record({
  workloads: fc.array(workloadArbitrary, { maxLength: 8 }).map((all) =>
    all.filter(({ uid }, at) => uid === "" || all.findIndex((other) => other.uid === uid) === at)
  ),
  services: fc.uniqueArray(serviceArbitrary, {
    maxLength: 6,
    selector: ({ namespace, hostname }) => `${namespace}/${hostname}`,
  }),
});

Deno.test("StateRouter's answers do not depend on the order of the file", () => {
  const local = { namespace: "default", name: "client", serviceAccount: "sa" };
  const client = {
    uid: "zz",
    ...local,
    workloadIps: ["10.9.9.9"],
    services: {},
  };
  const answers = (mesh: { workloads: unknown[]; services: unknown[] }) => {
    const bench = new Bench(JSON.stringify(mesh));
    return [
      ...ips.map((ip) =>
        bench.ask<Route>((done) =>
          bench.router.outbound({
            local,
            source: { ip: "10.9.9.9", port: 1 },
            destination: { ip, port: 80 },
          }, done)
        )
      ),
      ...[...hostnames, "x.a", "y"].map((name) => bench.resolve(name, 4, local)),
      ...ips.map((ip) =>
        bench.ask<InboundRoute>((done) =>
          bench.router.inbound({
            local,
            localIp: "10.9.9.9",
            peerIp: ip,
            authority: { kind: "hostname", hostname: "h1.example", port: 80 },
            forwardedHost: null,
            fromGateway: false,
          }, done)
        )
      ),
    ].map((answer) => answer instanceof ProxyError ? answer.message : answer);
  };
  fc.assert(
    fc.property(meshArbitrary, fc.infiniteStream(fc.nat()), (mesh, keys) => {
      const shuffle = <Item>(items: readonly Item[]): Item[] =>
        items.map((item) => ({ item, key: keys.next().value! }))
          .sort((a, b) => a.key - b.key)
          .map(({ item }) => item);
      const workloads = [
        ...mesh.workloads.filter(({ namespace }) => namespace !== "default"),
        client,
      ];
      const shuffled = { workloads: shuffle(workloads), services: shuffle(mesh.services) };
      assertEquals(answers(shuffled), answers({ workloads, services: mesh.services }));
    }),
    { numRuns: 300 },
  );
});
