// Tests of state_router.ts: waiting, changes, names, and that the order of the file does not matter.
import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AssertionFailure } from "../base/assert.ts";
import { ProxyError } from "../base/errors.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { Policy } from "../rbac/policy.ts";
import type { InboundRoute, Route } from "../seam/route.ts";
import { RouteError, type StateChange } from "../seam/router.ts";
import type { LocalWorkloadName, WorkloadFacts } from "../seam/workload.ts";
import { parseMeshFile } from "./mesh_file.ts";
import { MeshState } from "./mesh_state.ts";
import {
  LISTENERS_MAX,
  type RouterSettings,
  StateRouter,
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

  constructor(text = MESH, settings: Partial<RouterSettings> = {}, workloadWaitsMax?: number) {
    this.router = new StateRouter({
      state: state(text),
      settings: { ...SETTINGS, ...settings },
      clock: this.clock,
      log: (level, scope, message) => this.lines.push(`${level} ${scope} ${message}`),
      ...(workloadWaitsMax === undefined ? {} : { workloadWaitsMax }),
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
    const bench = new Bench("workloads: []", {}, waitsMax);
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
