// A mesh file of two services on one machine and what the Router makes of it (spec/xds-state-and-dns §4.5).
import { assertEquals } from "@std/assert";
import { formatAddress } from "../base/address.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { Route } from "../seam/route.ts";
import { eligibleEndpoints } from "./endpoints.ts";
import { parseMeshFile } from "./mesh_file.ts";
import { MeshState } from "./mesh_state.ts";
import { StateRouter } from "./state_router.ts";

const BOTH = { "default/example.com": { "80": 8080 }, "default/example2.com": { "80": 8080 } };
const own = (name: string, ip: string, protocol: string) => ({
  uid: `cluster1//v1/Pod/default/${name}`,
  name,
  namespace: "default",
  serviceAccount: "default",
  workloadIps: [ip],
  protocol,
  node: "local",
  network: "",
  services: BOTH,
});
const service = (name: string, hostname: string, vip: string, rest = {}) => ({
  name,
  namespace: "default",
  hostname,
  vips: [vip],
  ports: { "80": 8080 },
  canonical: true,
  ...rest,
});

/** As JSON, so that ports are quoted. */
const FILE = JSON.stringify({
  services: [
    service("local", "example.com", "/127.10.0.1", {
      subjectAltNames: ["spiffe://cluster.local/ns/default/sa/local"],
    }),
    service("remote", "example2.com", "remote/127.10.0.2"),
  ],
  policies: [{
    name: "deny-9999",
    namespace: "default",
    scope: "Namespace",
    action: "Allow",
    dryRun: false,
    rules: [[[{ notDestinationPorts: [9999] }]]],
  }],
  workloads: [own("local", "127.0.0.1", "HBONE"), own("local-tcp", "127.0.0.2", "TCP")],
});

const state = new MeshState(parseMeshFile(FILE, { source: "test" }));
const LOCAL = { namespace: "default", name: "local", serviceAccount: "default" };

/** What a connection from 127.0.0.1 comes to. */
function routeTo(ip: string): Route {
  const clock = new VirtualClock();
  const router = new StateRouter({
    state,
    settings: {
      network: "",
      hbonePort: 15008,
      nodeName: "local",
      clusterDomain: "cluster.local",
      internalPorts: new Set(),
    },
    clock,
    log: () => {},
  });
  const outcomes: unknown[] = [];
  const source = { ip: "127.0.0.1", port: 40_000 };
  router.outbound(
    { local: LOCAL, source, destination: { ip, port: 80 } },
    (outcome) => outcomes.push(outcome),
  );
  clock.runUntilIdle();
  if (outcomes[0] instanceof Error) throw outcomes[0];
  return outcomes[0] as Route;
}

const targets = ({ candidates }: Route) =>
  candidates.map(({ hop }) => {
    if (hop.protocol === "NAMED" || hop.protocol === "REFUSED") return hop.protocol;
    return hop.protocol === "TCP" ? `TCP ${formatAddress(hop.peer)}` : `HBONE ${hop.authority}`;
  }).sort();

const BOTH_ENDPOINTS = ["HBONE 127.0.0.1:8080", "TCP 127.0.0.2:8080"];

Deno.test("a mesh file's workload is found by its address, with its service account", () => {
  assertEquals(state.workloadByIp("", "127.0.0.1")?.serviceAccount, "default");
  assertEquals(state.workloadByIp("remote", "127.0.0.1"), null);
});

Deno.test("a mesh file's service leads to the target port, and to peers with its own names", () => {
  const route = routeTo("127.10.0.1");
  assertEquals(targets(route), BOTH_ENDPOINTS);
  const expected = route.candidates.flatMap(({ hop }) =>
    hop.protocol === "HBONE" ? hop.expected.map(({ uri }) => uri) : []
  );
  assertEquals(expected.sort(), [
    "spiffe:///ns/default/sa/default",
    "spiffe://cluster.local/ns/default/sa/local",
  ]);
  const known = state.serviceByIp("", "127.10.0.1", null)!;
  assertEquals(known.subjectAltNames.map(({ uri }) => uri), [
    "spiffe://cluster.local/ns/default/sa/local",
  ]);
});

Deno.test("a VIP of another network leads to the target port of workloads in this one", () => {
  const source = state.workloadByUid("cluster1//v1/Pod/default/local")!;
  const known = state.serviceByIp("remote", "127.10.0.2", null)!;
  const endpoints = eligibleEndpoints(source, known, 80, "standard", null);
  assertEquals(
    endpoints.map(({ workload, targetPort }) => `${workload.ips} ${targetPort}`).sort(),
    ["127.0.0.1 8080", "127.0.0.2 8080"],
  );
  assertEquals(state.serviceByIp("", "127.10.0.2", null), null);
});
