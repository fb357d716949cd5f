// /config_dump: shapes and omissions of spec/config-and-observability §5.7.
import { assertEquals } from "@std/assert";
import type { PolicyMatch } from "../rbac/policy.ts";
import {
  type ConfigDump,
  type DumpService,
  type DumpWorkload,
  policyJson,
  renderConfigDump,
} from "./config_dump.ts";

const VERSION = {
  version: "0.1.0",
  gitRevision: "unknown",
  rustVersion: "deno",
  buildProfile: "release",
  buildStatus: "Clean",
  istioVersion: "1.30.0",
  cryptoProvider: "tls",
};

function dump(changes: Partial<ConfigDump> = {}): ConfigDump {
  return {
    config: {},
    version: VERSION,
    workloads: [],
    services: [],
    policies: [],
    certificates: [],
    ...changes,
  };
}

function workload(changes: Partial<DumpWorkload> = {}): DumpWorkload {
  return {
    uid: "Kubernetes//Pod/default/echo-1",
    name: "echo-1",
    namespace: "default",
    workloadIps: ["10.0.0.2"],
    protocol: "HBONE",
    networkMode: "Standard",
    status: "Healthy",
    clusterId: "Kubernetes",
    capacity: 1,
    ...changes,
  };
}

function service(changes: Partial<DumpService> = {}): DumpService {
  return {
    name: "echo",
    namespace: "default",
    hostname: "echo.default.svc.cluster.local",
    vips: ["/10.96.0.10"],
    ports: { "80": 8080 },
    endpoints: {},
    subjectAltNames: [],
    canonical: true,
    visibility: "Public",
    ...changes,
  };
}

const NO_MATCH: PolicyMatch = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

Deno.test("renderConfigDump() of nothing has every key, sorted, and no final newline", () => {
  const text = renderConfigDump(dump());
  assertEquals(Object.keys(JSON.parse(text)), [
    "certificates",
    "config",
    "policies",
    "services",
    "stagedServices",
    "staticConfig",
    "version",
    "workloads",
  ]);
  assertEquals(JSON.parse(text).staticConfig, { policies: [], services: [], workloads: [] });
  assertEquals(text.startsWith('{\n  "certificates": [],\n  "config": {},\n'), true);
  assertEquals(text.endsWith("}"), true);
});

Deno.test("renderConfigDump() sorts keys at every level and lists by their names", () => {
  const text = renderConfigDump(dump({
    config: { b: { d: 1, c: [{ z: 1, y: null }] }, a: "x" },
    workloads: [workload({ uid: "b" }), workload({ uid: "a" })],
    services: [service({ hostname: "b" }), service({ hostname: "a" })],
    policies: ["z/a", "b/b", "b/a"].map((key) => ({
      namespace: key.split("/")[0]!,
      name: key.split("/")[1]!,
      action: "Allow",
      scope: "Namespace",
      dryRun: false,
      rules: [],
    })),
    workloadState: {},
  }));
  const parsed = JSON.parse(text);
  assertEquals(JSON.stringify(parsed.config), '{"a":"x","b":{"c":[{"y":null,"z":1}],"d":1}}');
  assertEquals(parsed.workloads.map(({ uid }: { uid: string }) => uid), ["a", "b"]);
  assertEquals(parsed.services.map(({ hostname }: { hostname: string }) => hostname), ["a", "b"]);
  assertEquals(
    parsed.policies.map((one: { namespace: string; name: string }) => one.namespace + one.name),
    ["ba", "bb", "za"],
  );
  assertEquals(parsed.workloadState, {});
});

Deno.test("renderConfigDump() leaves out what a workload has not", () => {
  const empty = workload({
    uid: "",
    trustDomain: "",
    network: "",
    nativeTunnel: false,
    authorizationPolicies: [],
    services: [],
    locality: { region: "", zone: "", subzone: "" },
    waypoint: undefined,
  });
  assertEquals(JSON.parse(renderConfigDump(dump({ workloads: [empty] }))).workloads, [{
    capacity: 1,
    clusterId: "Kubernetes",
    name: "echo-1",
    namespace: "default",
    networkMode: "Standard",
    protocol: "HBONE",
    status: "Healthy",
    workloadIps: ["10.0.0.2"],
  }]);
});

Deno.test("renderConfigDump() keeps what a workload and a service have", () => {
  const full = workload({
    waypoint: { destination: "ns/wp.ns.svc.cluster.local", hboneMtlsPort: 15008 },
    applicationTunnel: { protocol: "PROXY", port: null },
    locality: { region: "r", zone: "", subzone: "" },
    nativeTunnel: true,
    clusterId: "",
  });
  const whole = service({
    endpoints: { u: { workloadUid: "u", port: { "80": 8080 }, status: "Healthy" } },
    cidrVips: [{ network: "", cidr: "10.0.0.0/24" }],
    weightedWaypoints: [],
  });
  const parsed = JSON.parse(renderConfigDump(dump({ workloads: [full], services: [whole] })));
  assertEquals(parsed.workloads, [full]);
  const { weightedWaypoints: _, ...kept } = whole;
  assertEquals(parsed.services, [kept]);
});

Deno.test("policyJson() writes matches as the original names them", () => {
  const rules = [[[
    {
      ...NO_MATCH,
      namespaces: [{ kind: "exact", text: "a" }, { kind: "prefix", text: "b" }] as const,
      notPrincipals: [{ kind: "suffix", text: "c" }, { kind: "presence" }] as const,
      serviceAccounts: [{ namespace: "ns", serviceAccount: "sa" }],
      sourceIps: [{ ip: "10.0.0.0", prefixBits: 8 }, { ip: "fd00::1", prefixBits: 128 }],
      notDestinationPorts: [80],
    },
    NO_MATCH,
  ]]];
  const json = policyJson({
    name: "p",
    namespace: "ns",
    scope: "WorkloadSelector",
    action: "Deny",
    dryRun: true,
    rules,
  });
  assertEquals(json, {
    action: "Deny",
    dryRun: true,
    name: "p",
    namespace: "ns",
    rules: [[[
      {
        namespaces: [{ Exact: "a" }, { Prefix: "b" }],
        notPrincipals: [{ Suffix: "c" }, { Presence: [] }],
        serviceAccounts: [{ namespace: "ns", serviceAccount: "sa" }],
        sourceIps: ["10.0.0.0/8", "fd00::1/128"],
        notDestinationPorts: [80],
      },
      {},
    ]]],
    scope: "WorkloadSelector",
  });
});

Deno.test("renderConfigDump() never shows a private key", () => {
  const secret = "-----BEGIN EC PRIVATE KEY-----\nAAAA";
  const text = renderConfigDump(dump({ config: { deep: [{ key: secret, kept: "x" }] } }));
  assertEquals(JSON.parse(text).config, {
    deep: [{ key: "[redacted: private key]", kept: "x" }],
  });
});
