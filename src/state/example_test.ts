// The example mesh says what its comments say.
import { assertEquals } from "@std/assert";
import { judge } from "../rbac/judge.ts";
import { RouteError } from "../seam/router.ts";
import { decideOutbound } from "./outbound_decision.ts";
import { parseMeshFile } from "./mesh_file.ts";
import { CompiledServices } from "./compiled_services.ts";
import { Lookups } from "./lookups.ts";
import { MeshState } from "./mesh_state.ts";
import { resolveName } from "./names.ts";

const text = Deno.readTextFileSync(new URL("../../examples/local.yaml", import.meta.url));
const mesh = parseMeshFile(text, { source: "examples/local.yaml" });
const state = new MeshState(mesh);
const local = { namespace: "default", name: "client", serviceAccount: "client" };
const client = state.localWorkload(local, null)!;

Deno.test("examples/local.yaml has the caller, two servers with proxies and one without", () => {
  assertEquals(mesh.warnings, []);
  assertEquals(state.warnings, []);
  assertEquals(mesh.workloads.map(({ name, ips, protocol }) => [name, ips[0], protocol]), [
    ["client", "127.0.0.2", "HBONE"],
    ["legacy", "127.0.0.5", "TCP"],
    ["orders", "127.0.0.4", "HBONE"],
    ["web", "127.0.0.3", "HBONE"],
  ]);
});

Deno.test.each([
  { name: "web.shop.svc.cluster.local", hop: "HBONE 127.0.0.3:15008 127.0.0.3:8080" },
  { name: "orders.shop", hop: "HBONE 127.0.0.4:15008 127.0.0.4:8080" },
  { name: "legacy.shop", hop: "TCP 127.0.0.5:8080" },
])("examples/local.yaml leads from $name to its server", ({ name, hop }) => {
  const settings = { network: "", clusterDomain: "cluster.local", preferredNamespace: null };
  const ip = resolveName(state, settings, local, name, 4)!;
  const decision = decideOutbound(
    new Lookups(state),
    { network: "", hbonePort: 15008 },
    new CompiledServices(),
    { source: client, sourceIp: client.ips[0]!, dialled: { ip, port: 80 } },
  );
  if (decision instanceof RouteError) throw decision;
  const { hop: next } = decision.candidates[0]!;
  if (next.protocol === "NAMED" || next.protocol === "REFUSED") throw new Error(next.protocol);
  const authority = next.protocol === "TCP" ? "" : ` ${next.authority}`;
  assertEquals(`${next.protocol} ${next.peer.ip}:${next.peer.port}${authority}`, hop);
});

Deno.test.each([
  { from: "client", to: "web", expected: "allow" },
  { from: "client", to: "orders", expected: "deny" },
  { from: "web", to: "orders", expected: "allow" },
])("examples/local.yaml: $from to $to is $expected", ({ from, to, expected }) => {
  const workload = (name: string) => state.workloads.find((one) => one.name === name)!;
  const verdict = judge(state.policiesOf(workload(to)).policies, {
    identity: state.facts(workload(from)).identity,
    sourceIp: workload(from).ips[0]!,
    destinationIp: workload(to).ips[0]!,
    destinationPort: 8080,
  });
  assertEquals(verdict.kind, expected);
});
