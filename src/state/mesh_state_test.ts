// Tests of mesh_state.ts: the lookups of spec/xds-state-and-dns §3.4, §3.5, §3.7 and §3.8.
import { assertEquals, assertStrictEquals } from "@std/assert";
import { parseMeshFile } from "./mesh_file.ts";
import { MeshState } from "./mesh_state.ts";

/** Items are YAML flow mappings without braces, with what is required added. */
function meshState(
  mesh: { readonly workloads?: readonly string[]; readonly services?: readonly string[] },
): MeshState {
  const { workloads = [], services = [] } = mesh;
  const item = (text: string, defaults: Readonly<Record<string, string>>) => {
    const rest = Object.entries(defaults).filter(([key]) => !new RegExp(`\\b${key}:`).test(text))
      .map(([key, value]) => `${key}: ${value}`);
    return `  - { ${[text, ...rest].join(", ")} }\n`;
  };
  const text = (workloads.length === 0 ? "" : "workloads:\n") +
    workloads.map((one) => item(one, { namespace: "ns", workloadIps: "[]", services: "{}" })).join(
      "",
    ) +
    (services.length === 0 ? "" : "services:\n") +
    services.map((one) =>
      item(one, { name: "s", namespace: "ns", hostname: "h", vips: "[]", ports: "{ 80: 8080 }" })
    ).join("");
  return new MeshState(parseMeshFile(text === "" ? "{}" : text, { source: "test" }));
}

Deno.test("MeshState.workloadByIp() means the pod before the entry of the same address", () => {
  const pod = "uid: cluster1//Pod/default/a, workloadIps: [127.0.0.1]";
  const entry =
    "uid: cluster1/networking.istio.io/WorkloadEntry/default/b, workloadIps: [127.0.0.1]";
  const uid = (...workloads: string[]) =>
    meshState({ workloads }).workloadByIp("", "127.0.0.1")?.uid ?? null;
  assertEquals(uid(pod, entry), "cluster1//Pod/default/a");
  assertEquals(uid(entry), "cluster1/networking.istio.io/WorkloadEntry/default/b");
  assertEquals(uid(), null);
  assertEquals(
    uid(`${entry}, protocol: HBONE`, pod),
    "cluster1//Pod/default/a",
    "pod before HBONE",
  );
  assertEquals(
    uid(pod, "uid: c//Pod/x, workloadIps: [127.0.0.1], protocol: HBONE"),
    "c//Pod/x",
    "pod with HBONE before pod",
  );
  const twins = ["uid: x, workloadIps: [127.0.0.1]", "uid: y, workloadIps: [127.0.0.1]"];
  assertEquals(uid(...twins), "y", "equal rank: the last by uid");
});

Deno.test("MeshState.workloadByIp() does not find host-network workloads, nor other networks", () => {
  const state = meshState({
    workloads: [
      "uid: host, workloadIps: [10.0.0.9], networkMode: HostNetwork",
      "uid: other, workloadIps: [10.0.0.8], network: n2",
    ],
  });
  assertEquals(state.workloadByIp("", "10.0.0.9"), null);
  assertEquals(state.workloadByUid("host")?.uid, "host");
  assertEquals(state.workloadByIp("", "10.0.0.8"), null);
  assertEquals(state.workloadByIp("n2", "10.0.0.8")?.uid, "other");
});

Deno.test("MeshState.workloadByUid() does not know the empty uid", () => {
  assertEquals(meshState({ workloads: ["name: a"] }).workloadByUid(""), null);
});

Deno.test("MeshState.byIp() means the workload before the service", () => {
  const state = meshState({
    workloads: ["uid: w, workloadIps: [127.0.0.1]"],
    services: ["vips: [/127.0.0.1, /127.0.0.2]"],
  });
  assertEquals(state.byIp("", "127.0.0.1", null)?.kind, "workload");
  assertEquals(state.byIp("", "127.0.0.2", null)?.kind, "service");
  assertEquals(state.byIp("", "127.0.0.3", null), null);
});

Deno.test("MeshState.byNamespacedHostname() means the service of that namespace, else a workload", () => {
  const state = meshState({
    workloads: ["uid: w, hostname: h", "uid: v, hostname: only-workload"],
    services: ["namespace: ns"],
  });
  assertEquals(state.byNamespacedHostname("ns", "h")?.kind, "service");
  assertEquals(state.byNamespacedHostname("ns", "only-workload")?.kind, "workload");
  assertEquals(state.byNamespacedHostname("other", "h"), null);
});

const vipIn = (namespace: string, more = "") => `namespace: ${namespace}, vips: [/10.0.0.5]${more}`;

Deno.test.each<
  { name: string; services: string[]; client: string | null; expected: string | null }
>([
  {
    name: "the client's namespace",
    services: [vipIn("a"), vipIn("b")],
    client: "b",
    expected: "b",
  },
  { name: "else the first", services: [vipIn("a"), vipIn("b")], client: "c", expected: "a" },
  { name: "no client: the first", services: [vipIn("a"), vipIn("b")], client: null, expected: "a" },
  {
    name: "else the last canonical one",
    services: [vipIn("a"), vipIn("b", ", canonical: true"), vipIn("c", ", canonical: true")],
    client: "x",
    expected: "c",
  },
  {
    name: "the client's namespace before a canonical one",
    services: [vipIn("a"), vipIn("b", ", canonical: true")],
    client: "a",
    expected: "a",
  },
  {
    name: "not one that is private to another namespace",
    services: [vipIn("a", ", visibility: Namespace"), vipIn("b")],
    client: "c",
    expected: "b",
  },
  {
    name: "a private one from inside",
    services: [vipIn("a", ", visibility: Namespace"), vipIn("b")],
    client: "a",
    expected: "a",
  },
  {
    name: "a private one where nobody in particular asks",
    services: [vipIn("a", ", visibility: Namespace")],
    client: null,
    expected: "a",
  },
  {
    name: "none",
    services: [vipIn("a", ", visibility: Namespace")],
    client: "c",
    expected: null,
  },
])(
  "MeshState.serviceByIp() and serviceByHostname() choose $name",
  ({ services, client, expected }) => {
    const state = meshState({ services });
    const namespace = (known: ReturnType<MeshState["serviceByIp"]>) =>
      known?.service.namespace ?? null;
    assertEquals(namespace(state.serviceByIp("", "10.0.0.5", client)), expected);
    assertEquals(namespace(state.serviceByHostname("h", client)), expected);
  },
);

const cidrIn = (namespace: string, cidr: string, more = "") =>
  `namespace: ${namespace}, cidrVips: [{ network: "", cidr: "${cidr}" }]${more}`;

Deno.test.each<{
  name: string;
  services: string[];
  ip?: string;
  network?: string;
  client?: string;
  expected: string | null;
}>([
  {
    name: "the exact VIP before a network",
    services: [vipIn("a"), cidrIn("b", "10.0.0.0/24")],
    expected: "a",
  },
  {
    name: "the network beside the VIP",
    services: [vipIn("a"), cidrIn("b", "10.0.0.0/24")],
    ip: "10.0.0.6",
    expected: "b",
  },
  {
    name: "a network where the exact VIP is private",
    services: [vipIn("a", ", visibility: Namespace"), cidrIn("b", "10.0.0.0/16")],
    client: "b",
    expected: "b",
  },
  {
    name: "the longest prefix",
    services: [cidrIn("a", "10.0.0.0/16"), cidrIn("b", "10.0.0.0/24")],
    expected: "b",
  },
  {
    name: "the client's namespace before the longest prefix",
    services: [cidrIn("a", "10.0.0.0/16"), cidrIn("b", "10.0.0.0/24")],
    client: "a",
    expected: "a",
  },
  {
    name: "a canonical one of equals",
    services: [cidrIn("a", "10.0.0.0/24"), cidrIn("b", "10.0.0.0/24", ", canonical: true")],
    expected: "b",
  },
  {
    name: "the first of equals",
    services: [cidrIn("a", "10.0.0.0/24"), cidrIn("b", "10.0.0.0/24")],
    expected: "a",
  },
  {
    name: "none in another network",
    services: [cidrIn("a", "10.0.0.0/8")],
    network: "b",
    expected: null,
  },
  {
    name: "no IPv4 one for IPv6",
    services: [cidrIn("a", "0.0.0.0/0")],
    ip: "fd00::1",
    expected: null,
  },
  { name: "an IPv6 one", services: [cidrIn("a", "fd00::/64")], ip: "fd00::1", expected: "a" },
])("MeshState.serviceByIp() chooses $name", ({ services, ip, network, client, expected }) => {
  const known = meshState({ services }).serviceByIp(network ?? "", ip ?? "10.0.0.5", client ?? "z");
  assertEquals(known?.service.namespace ?? null, expected);
});

Deno.test("MeshState gives one of a namespace's services with the same VIP, the last", () => {
  const state = meshState({
    services: ["hostname: a, vips: [/10.0.0.5]", "hostname: b, vips: [/10.0.0.5]"],
  });
  assertEquals(state.serviceByIp("", "10.0.0.5", "ns")?.service.hostname, "b");
});

Deno.test("MeshState knows services with several VIPs by each", () => {
  const state = meshState({ services: ["vips: [/127.0.1.1, /127.0.1.2]"] });
  assertEquals(state.serviceByIp("", "127.0.1.1", null)?.service.hostname, "h");
  assertEquals(state.serviceByIp("", "127.0.1.2", null)?.service.hostname, "h");
  assertEquals(state.serviceByIp("", "127.0.1.3", null), null);
});

Deno.test("MeshState gathers endpoints from workloads and the file; the workload's word counts", () => {
  const state = meshState({
    workloads: [
      "uid: a, services: { ns/h: { 80: 1 } }",
      "uid: b, services: { ns/h: {} }, status: Unhealthy",
      "uid: c",
      "uid: d, services: { other/h: {} }",
    ],
    services: [
      "endpoints: { a: { workloadUid: a, port: { 80: 2 }, status: Unhealthy }, c: { workloadUid: c, port: { 80: 3 }, status: Healthy } }",
    ],
  });
  const endpoints = [...state.services[0]!.endpoints.values()];
  assertEquals(
    endpoints.map(({ workload, ports, healthy }) => [workload.uid, ports.get(80), healthy])
      .sort(),
    [["a", 1, true], ["b", undefined, false], ["c", 3, true]],
  );
});

Deno.test("MeshState describes a workload for telemetry, the same object each time", () => {
  const state = meshState({
    workloads: [
      "uid: u, name: n, trustDomain: td, serviceAccount: sa, workloadType: CronJob, workloadName: wn, " +
      "canonicalName: cn, canonicalRevision: cr, clusterId: c, locality: { region: r, zone: z, subzone: s }",
    ],
  });
  const workload = state.workloadByUid("u")!;
  assertEquals(state.facts(workload), {
    uid: "u",
    name: "n",
    namespace: "ns",
    trustDomain: "td",
    serviceAccount: "sa",
    identity: {
      trustDomain: "td",
      namespace: "ns",
      serviceAccount: "sa",
      uri: "spiffe://td/ns/ns/sa/sa",
    },
    workloadType: "cronjob",
    workloadName: "wn",
    canonicalName: "cn",
    canonicalRevision: "cr",
    clusterId: "c",
    region: "r",
    zone: "z",
  });
  assertStrictEquals(state.facts(workload), state.facts(workload));
});
