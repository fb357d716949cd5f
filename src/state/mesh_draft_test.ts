// Tests of mesh_draft.ts: what one response after the other makes of the mesh (spec/xds-state-and-dns §3.4–3.6, §6).
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { eligibleEndpoints } from "./endpoints.ts";
import { MeshDraft, MeshIndexes, REMOVALS_TOLD_MAX } from "./mesh_draft.ts";
import { MeshState } from "./mesh_state.ts";
import type { MeshUpdate } from "./mesh_update.ts";
import {
  addresses,
  backs,
  policies,
  policy,
  ports,
  service,
  workload,
} from "./resource_samples.ts";
import type { Service, Workload } from "./resources.ts";

/** A mesh that changes, one response at a time. */
class Mesh {
  state = new MeshState(MeshIndexes.empty());
  readonly warnings: string[] = [];

  apply(...updates: readonly MeshUpdate[]): this {
    for (const update of updates) {
      const warn = (line: string) => this.warnings.push(line);
      const draft = new MeshDraft(this.state.indexes, { scope: update.kind, warn });
      for (const _ of draft.apply(update)) continue;
      this.state = new MeshState(draft.finish());
    }
    return this;
  }

  set(...resources: readonly (Workload | Service)[]): this {
    return this.apply(addresses(resources));
  }

  remove(...names: readonly string[]): this {
    return this.apply(addresses([], names));
  }

  /** Of service `ns/hostname`, as `uid port→target` and with "-" in front when unhealthy. */
  endpoints(hostname = "s.example"): string[] | null {
    const found = this.state.byNamespacedHostname("ns", hostname);
    if (found?.kind !== "service") return null;
    return [...found.known.endpoints.values()].map(({ workload, ports, healthy }) =>
      `${healthy ? "" : "-"}${workload.uid} ${[...ports].flat().join("→")}`
    );
  }

  staged(): Record<string, string[]> {
    const entries = [...this.state.stagedServices].map(([key, endpoints]) =>
      [key, endpoints.map(({ workload }) => workload.uid)] as const
    );
    return Object.fromEntries(entries);
  }

  /** Those of service `hostname` that may be chosen for port 80, as `uid:port`. */
  eligible(hostname: string): string[] {
    const found = this.state.byNamespacedHostname("ns", hostname);
    if (found?.kind !== "service") return [];
    return eligibleEndpoints(workload(), found.known, 80).map(({ workload, targetPort }) =>
      `${workload.uid}:${targetPort}`
    ).sort();
  }
}

const POD = workload({ uid: "cluster1//Pod/default/a", ips: ["127.0.0.1"] });
const ENTRY = workload({
  uid: "cluster1/networking.istio.io/WorkloadEntry/default/b",
  ips: ["127.0.0.1"],
});
const MEMBER = workload({ uid: "ep1", ips: ["10.0.0.1"], services: backs("ns/s.example") });
const vip = (ip: string, network = "") => ({ network, ip });

// §3.4

Deno.test("An address that two workloads have goes back to the other when the better one leaves", () => {
  for (const both of [[POD, ENTRY], [ENTRY, POD]]) {
    const mesh = new Mesh().set(...both);
    const uid = () => mesh.state.workloadByIp("", "127.0.0.1")?.uid ?? null;
    assertEquals(uid(), POD.uid);
    mesh.remove(POD.uid);
    assertEquals(uid(), ENTRY.uid);
    mesh.remove(ENTRY.uid);
    assertEquals(uid(), null);
  }
});

Deno.test("Of workloads of equal rank the one sent last has the address, also when it is sent again as it was", () => {
  const [x, y] = [
    workload({ uid: "x", ips: ["10.0.0.1"] }),
    workload({ uid: "y", ips: ["10.0.0.1"] }),
  ];
  const mesh = new Mesh().set(x, y);
  const uid = () => mesh.state.workloadByIp("", "10.0.0.1")?.uid;
  assertEquals(uid(), "y");
  mesh.set(structuredClone(x));
  assertEquals(uid(), "x");
});

Deno.test("A host-network workload has no address, but is an endpoint", () => {
  const host = { ...MEMBER, ips: ["10.0.0.9"], networkMode: "HostNetwork" as const };
  const mesh = new Mesh().set(host, service());
  assertEquals(mesh.state.workloadByIp("", "10.0.0.9"), null);
  assertEquals(mesh.state.workloadByUid("ep1")?.uid, "ep1");
  assertEquals(mesh.eligible("s.example"), ["ep1:8080"]);
});

Deno.test("An update of a workload takes everything of the old one away", () => {
  const before = workload({
    uid: "u",
    name: "old",
    hostname: "old.example",
    ips: ["10.0.0.1"],
    services: backs("ns/s.example"),
  });
  const after = workload({ uid: "u", name: "new", ips: ["10.0.0.2"] });
  const { state } = new Mesh().set(before, service(), after);
  const named = (name: string) =>
    state.localWorkload({ namespace: "ns", name, serviceAccount: "default" }, null);
  assertEquals([named("old"), named("new")?.uid], [null, "u"]);
  assertEquals(state.workloadByIp("", "10.0.0.1"), null);
  assertEquals(state.workloadByIp("", "10.0.0.2")?.uid, "u");
  assertEquals(state.byNamespacedHostname("ns", "old.example"), null);
  assertEquals(state.services[0]!.endpoints.size, 0);
  assertEquals(state.workloads.length, 1);
});

Deno.test.each([
  { name: "/invalid", warns: 1 },
  { name: "invalid", warns: 1 },
  { name: "ns/unknown.example", warns: 1 },
  { name: "cluster//Pod/ns/unknown", warns: 0 },
])("Removing $name changes nothing and warns $warns times", ({ name, warns }) => {
  const mesh = new Mesh().set(POD, service());
  mesh.remove(name);
  assertEquals([mesh.state.workloads.length, mesh.state.services.length], [1, 1]);
  assertEquals(mesh.warnings.length, warns);
});

Deno.test("A removed name means the workload of that uid before the service of that key", () => {
  const mesh = new Mesh().set(workload({ uid: "ns/s.example" }), service());
  mesh.remove("ns/s.example");
  assertEquals([mesh.state.workloads.length, mesh.state.services.length], [0, 1]);
  mesh.remove("ns/s.example");
  assertEquals(mesh.state.services.length, 0);
  assertEquals(mesh.warnings, []);
});

// §3.5

Deno.test("A workload before its service is staged, and an endpoint once the service is there", () => {
  const mesh = new Mesh().set(workload({ uid: "w", services: backs("ns/svc1") }));
  assertEquals(mesh.staged(), { "ns/svc1": ["w"] });
  mesh.set(service({ hostname: "svc1", vips: [vip("127.0.1.1")] }));
  assertEquals(mesh.staged(), {});
  const known = mesh.state.serviceByIp("", "127.0.1.1", null)!;
  assertEquals([...known.endpoints.values()].map(({ workload }) => workload.uid), ["w"]);
  assertEquals(mesh.endpoints("svc1"), ["w 80→8080"]);
});

Deno.test("A service sent again keeps its endpoints and has only its new VIPs", () => {
  const mesh = new Mesh().set(MEMBER, service({ vips: [vip("127.0.1.1")] }));
  const hostname = (ip: string) => mesh.state.serviceByIp("", ip, null)?.service.hostname ?? null;
  mesh.set(service({ vips: [vip("127.0.1.1"), vip("127.0.1.2")] }));
  assertEquals([hostname("127.0.1.1"), hostname("127.0.1.2")], ["s.example", "s.example"]);
  assertEquals(mesh.endpoints(), ["ep1 80→8080"]);
  mesh.set(service({ vips: [vip("127.0.1.1")] }));
  assertEquals([hostname("127.0.1.1"), hostname("127.0.1.2")], ["s.example", null]);
  assertEquals(mesh.endpoints(), ["ep1 80→8080"]);
});

Deno.test("Unhealthy endpoints are chosen where the service allows all, from when it does so", () => {
  const services = backs("ns/normal", "ns/allow");
  const allowAll = { routingPreferences: [], mode: "Standard", healthPolicy: "AllowAll" } as const;
  const mesh = new Mesh().set(
    workload({ uid: "uid1", ips: ["10.0.0.1"], services, status: "Unhealthy" }),
    workload({ uid: "uid2", ips: ["10.0.0.2"], services }),
    service({ hostname: "normal" }),
    service({ hostname: "allow", loadBalancer: allowAll }),
  );
  assertEquals(mesh.eligible("normal"), ["uid2:8080"]);
  assertEquals(mesh.eligible("allow"), ["uid1:8080", "uid2:8080"]);
  mesh.set(service({ hostname: "allow" }));
  assertEquals(mesh.eligible("allow"), ["uid2:8080"]);
  // The original would go on with one (§6).
  mesh.set(service({ hostname: "allow", loadBalancer: allowAll }));
  assertEquals(mesh.eligible("allow"), ["uid1:8080", "uid2:8080"]);
});

Deno.test("An endpoint that turns unhealthy leaves the choice, and comes back", () => {
  const mesh = new Mesh().set(MEMBER, service());
  mesh.set({ ...MEMBER, status: "Unhealthy" });
  assertEquals([mesh.endpoints(), mesh.eligible("s.example")], [["-ep1 80→8080"], []]);
  mesh.set(MEMBER);
  assertEquals(mesh.eligible("s.example"), ["ep1:8080"]);
});

Deno.test("A workload sent with other ports is one endpoint, with those", () => {
  const mesh = new Mesh().set(MEMBER, service());
  mesh.set({ ...MEMBER, services: new Map([["ns/s.example", ports(90, 9090)]]) });
  assertEquals(mesh.endpoints(), ["ep1 90→9090"]);
});

Deno.test("One response that sets and removes a workload leaves no endpoint of it", () => {
  const mesh = new Mesh().set(MEMBER, service());
  mesh.apply(addresses([{ ...MEMBER, node: "n" }], ["ep1"]));
  assertEquals([mesh.endpoints(), mesh.state.workloads], [[], []]);
});

Deno.test("Staged endpoints leave with their workloads, the last one with the entry", () => {
  const mesh = new Mesh().set(MEMBER, { ...MEMBER, uid: "ep2" });
  assertEquals(mesh.staged(), { "ns/s.example": ["ep1", "ep2"] });
  mesh.remove("ep1");
  assertEquals(mesh.staged(), { "ns/s.example": ["ep2"] });
  mesh.remove("ep2");
  assertEquals(mesh.staged(), {});
  mesh.remove("ep2");
  assertEquals(mesh.staged(), {});
});

Deno.test("A service removed and sent again has the endpoints of the workloads that name it", () => {
  const mesh = new Mesh().set(MEMBER, service({ vips: [vip("10.9.0.1")] })).remove("ns/s.example");
  assertEquals(mesh.endpoints(), null);
  assertEquals(mesh.state.serviceByIp("", "10.9.0.1", null), null);
  assertEquals(mesh.state.serviceByHostname("s.example", null), null);
  mesh.set(service());
  assertEquals(mesh.endpoints(), ["ep1 80→8080"]);
});

Deno.test("50 workloads with their service in the middle of the response are its endpoints, none staged", () => {
  const one = (n: number) => ({ ...MEMBER, uid: `w${n}` });
  const all = Array.from({ length: 50 }, (_, n) => one(n));
  const mesh = new Mesh().set(...all.slice(0, 25), service(), ...all.slice(25));
  assertEquals([mesh.endpoints()?.length, mesh.staged()], [50, {}]);
});

Deno.test("Two services of a namespace with one VIP: the later has it, the other when that is gone", () => {
  const a = service({ hostname: "a", vips: [vip("10.9.0.1")] });
  const b = service({ hostname: "b", vips: [vip("10.9.0.1")] });
  const mesh = new Mesh().set(a, b);
  const hostname = () => mesh.state.serviceByIp("", "10.9.0.1", null)?.service.hostname ?? null;
  assertEquals(hostname(), "b");
  mesh.set({ ...a, canonical: true });
  assertEquals(hostname(), "a");
  mesh.remove("ns/a");
  assertEquals(hostname(), "b");
  mesh.remove("ns/b");
  assertEquals(hostname(), null);
});

Deno.test("A service sent again goes to the end of the list, one whose endpoints change keeps its place", () => {
  const of = (namespace: string) => service({ namespace, vips: [vip("10.9.0.1")] });
  const mesh = new Mesh().set(of("a"), of("b"));
  const first = () => mesh.state.serviceByIp("", "10.9.0.1", "other")?.service.namespace;
  mesh.set(workload({ services: backs("a/s.example") }));
  assertEquals(first(), "a");
  mesh.set(structuredClone(of("a")));
  assertEquals(first(), "b");
});

Deno.test("A service found by its network has the endpoints it has now", () => {
  const cidr = { network: "", cidr: { ip: "10.0.0.0", prefixBits: 24 } };
  const mesh = new Mesh().set(service({ cidrVips: [cidr] })).set(MEMBER);
  assertEquals(mesh.state.serviceByIp("", "10.0.0.5", null)?.endpoints.size, 1);
  mesh.remove("ns/s.example");
  assertEquals(mesh.state.serviceByIp("", "10.0.0.5", null), null);
});

Deno.test("A network counts with its host bits cut off, and once for a service that gives it twice", () => {
  const network = (ip: string) => ({ network: "", cidr: { ip, prefixBits: 24 } });
  const both = service({ cidrVips: [network("10.0.0.1"), network("10.0.0.2")] });
  const mesh = new Mesh().set(both);
  assertEquals(mesh.state.serviceByIp("", "10.0.0.200", null)?.service.name, "s");
  mesh.remove("ns/s.example");
  assertEquals(mesh.state.serviceByIp("", "10.0.0.200", null), null);
});

Deno.test("Endpoints that a service names come and go with their workloads, which may know better", () => {
  const named = { workloadUid: "ep1", ports: ports(80, 1), status: "Healthy" as const };
  const unnamed = { ...MEMBER, services: backs() };
  const mesh = new Mesh().set(service({ endpoints: [named] }));
  assertEquals(mesh.endpoints(), []);
  mesh.set(unnamed);
  assertEquals(mesh.endpoints(), ["ep1 80→1"]);
  mesh.set(MEMBER);
  assertEquals(mesh.endpoints(), ["ep1 80→8080"]);
  mesh.set(unnamed);
  assertEquals(mesh.endpoints(), ["ep1 80→1"]);
  mesh.set(service());
  assertEquals(mesh.endpoints(), []);
  mesh.set(service({ endpoints: [named] })).remove("ep1");
  assertEquals(mesh.endpoints(), []);
});

// §3.6

Deno.test("A policy whose scope changes leaves its namespace, and is found by key still", () => {
  const mesh = new Mesh().apply(policies([policy()]));
  const applied = (listed: string[]) =>
    mesh.state.select({ namespace: "ns", listed }).policies.map(({ name }) => name);
  assertEquals(applied([]), ["p"]);
  mesh.apply(policies([policy({ scope: "WorkloadSelector" })]));
  assertEquals([applied([]), applied(["ns/p"])], [[], ["p"]]);
  mesh.apply(policies([], ["ns/p"]));
  assertEquals([applied(["ns/p"]), mesh.state.policies], [[], []]);
});

Deno.test("A policy is known by the name of its resource", () => {
  const mesh = new Mesh().apply({
    kind: "policies",
    set: [{ name: "root/static", policy: policy({ scope: "WorkloadSelector" }) }],
    removed: [],
  });
  const { policies: found, unknown } = mesh.state.select({
    namespace: "ns",
    listed: ["root/static", "ns/p"],
  });
  assertEquals([found.length, unknown], [1, ["ns/p"]]);
});

Deno.test("Policies of a namespace come by key, then the global ones, then those listed, each once", () => {
  const mesh = new Mesh().apply(policies([
    policy({ name: "b" }),
    policy({ name: "g", namespace: "root", scope: "Global" }),
    policy({ name: "a" }),
    policy({ name: "z", scope: "WorkloadSelector" }),
    policy({ name: "other", namespace: "other" }),
  ]));
  const { policies: found } = mesh.state.select({ namespace: "ns", listed: ["ns/z", "ns/a"] });
  assertEquals(found.map(({ name }) => name), ["a", "b", "g", "z"]);
});

// Identity of what others hold on to.

Deno.test("facts() of a workload stay the same object while they say the same", () => {
  const mesh = new Mesh().set(MEMBER);
  const facts = () => mesh.state.facts(mesh.state.workloadByUid("ep1")!);
  const before = facts();
  mesh.set({ ...MEMBER, status: "Unhealthy" }, { ...MEMBER, status: "Healthy", node: "n" });
  assertStrictEquals(facts(), before);
  mesh.set({ ...MEMBER, canonicalRevision: "v2" });
  assert(facts() !== before);
  assertEquals(facts().canonicalRevision, "v2");
});

Deno.test("policiesOf() a workload stays the same object while the same apply", () => {
  const mesh = new Mesh().set(MEMBER).apply(policies([policy()]));
  const applied = () => mesh.state.policiesOf(mesh.state.workloadByUid("ep1")!);
  const before = applied();
  const old = mesh.state;
  mesh.set({ ...MEMBER, status: "Unhealthy" });
  mesh.apply(policies([policy({ namespace: "elsewhere" })], ["ns/unknown"]));
  assertStrictEquals(applied(), before);
  mesh.apply(policies([policy({ name: "q" })]));
  assertEquals(applied().policies.length, 2);
  mesh.set({ ...MEMBER, authorizationPolicies: ["ns/listed"] });
  assertEquals(applied().unknown, ["ns/listed"]);
  assertStrictEquals(old.policiesOf(old.workloadByUid("ep1")!), before);
});

Deno.test("A workload or service sent again as it was stays the same object", () => {
  const mesh = new Mesh().set(MEMBER, service());
  const found = () => [mesh.state.workloadByUid("ep1"), mesh.state.services[0]];
  const [one, known] = found();
  mesh.set(structuredClone(MEMBER), structuredClone(service()));
  assertStrictEquals(found()[0], one);
  assertStrictEquals(found()[1], known);
});

// §3.15

Deno.test("Dumps are sorted by uid, by host name, by key and by staged service", () => {
  const { state } = new Mesh().set(
    workload({ uid: "b", services: backs("ns/z", "ns/y") }),
    workload({ uid: "a", services: backs("ns/y") }),
    service({ hostname: "n" }),
    service({ hostname: "m", namespace: "y" }),
    service({ hostname: "m", namespace: "x" }),
  ).apply(policies([policy({ name: "q" }), policy()]));
  assertEquals(state.workloads.map(({ uid }) => uid), ["a", "b"]);
  assertEquals(
    state.services.map(({ service }) => `${service.namespace}/${service.hostname}`),
    ["x/m", "y/m", "ns/n"],
  );
  assertEquals(state.policies.map(({ name }) => name), ["p", "q"]);
  assertEquals(
    [...state.stagedServices].map(([key, endpoints]) => [key, endpoints.length]),
    [["ns/y", 2], ["ns/z", 1]],
  );
});

Deno.test.each([
  { name: "just under", count: REMOVALS_TOLD_MAX - 1, lines: REMOVALS_TOLD_MAX - 1 },
  { name: "at", count: REMOVALS_TOLD_MAX, lines: REMOVALS_TOLD_MAX },
  { name: "just over", count: REMOVALS_TOLD_MAX + 1, lines: REMOVALS_TOLD_MAX + 1 },
  { name: "far over", count: 1_000, lines: REMOVALS_TOLD_MAX + 1 },
])(
  "Of names that nobody knows, REMOVALS_TOLD_MAX are told, and how many more: $name",
  ({ count, lines }) => {
    const { warnings } = new Mesh().remove(
      ...Array.from({ length: count }, (_, at) => at % 2 === 0 ? `ns/h${at}` : `h${at}`),
    );
    assertEquals(warnings.length, lines);
    if (lines <= REMOVALS_TOLD_MAX) return;
    const more = `tried to remove ${count - REMOVALS_TOLD_MAX} more resources that were not found`;
    assertEquals(warnings.at(-1), more);
  },
);
