// Tests of compiled_services.ts: what is remembered, for whom, and how much.
import { assertEquals, assertStrictEquals } from "@std/assert";
import type { Candidate } from "../seam/route.ts";
import {
  COMPILED_CANDIDATES_MAX,
  CompiledServices,
  type CompiledUpstreams,
} from "./compiled_services.ts";
import { MeshState } from "./mesh_state.ts";
import { service, workload } from "./resource_samples.ts";
import type { LoadBalancer } from "./resources.ts";

const SOURCE = workload({ uid: "source", node: "n1" });
const DIALLED = { ip: "10.1.0.1", port: 80 };

function known(loadBalancer: LoadBalancer | null = null) {
  const services = [service({ loadBalancer })];
  return new MeshState({ workloads: [], services, policies: [] }).services[0]!;
}

function compiled(candidates: number): CompiledUpstreams {
  const candidate: Candidate = {
    weight: 1,
    hop: { protocol: "TCP", peer: DIALLED },
    destination: null,
  };
  return { direct: Array.from({ length: candidates }, () => candidate), remote: [] };
}

Deno.test("CompiledServices remembers by service, address and port", () => {
  const memo = new CompiledServices();
  const [one, other, kept] = [known(), known(), compiled(1)];
  assertEquals(memo.get(one, SOURCE, DIALLED), undefined);
  memo.keep(one, SOURCE, DIALLED, kept);
  assertStrictEquals(memo.get(one, SOURCE, { ...DIALLED }), kept);
  assertEquals(memo.get(other, SOURCE, DIALLED), undefined);
  assertEquals(memo.get(one, SOURCE, { ...DIALLED, port: 81 }), undefined);
  assertEquals(memo.get(one, SOURCE, { ...DIALLED, ip: "10.1.0.2" }), undefined);
});

const FAILOVER: LoadBalancer = {
  mode: "Failover",
  routingPreferences: ["Node"],
  healthPolicy: "OnlyHealthy",
};

Deno.test.each([
  { name: "without load balancer, its network", loadBalancer: null, node: true, network: false },
  {
    name: "in standard mode, its network",
    loadBalancer: { ...FAILOVER, mode: "Standard" as const },
    node: true,
    network: false,
  },
  {
    name: "with ranks, its whole place",
    loadBalancer: FAILOVER,
    node: false,
    network: false,
  },
])("CompiledServices asks of a source $name", ({ loadBalancer, node, network }) => {
  const memo = new CompiledServices();
  const one = known(loadBalancer);
  memo.keep(one, SOURCE, DIALLED, compiled(1));
  const isKnown = (more: { node?: string; network?: string }) =>
    memo.get(one, workload({ ...SOURCE, ...more }), DIALLED) !== undefined;
  assertEquals([isKnown({}), isKnown({ node: "n2" }), isKnown({ network: "n2" })], [
    true,
    node,
    network,
  ]);
});

Deno.test.each([
  { size: 8, kept: true, later: true },
  { size: 9, kept: true, later: true },
  { size: 10, kept: true, later: false },
])(
  "CompiledServices keeps COMPILED_CANDIDATES_MAX candidates: $size and 10 of 20",
  ({ size, kept, later }) => {
    assertEquals(COMPILED_CANDIDATES_MAX, 131_072);
    const memo = new CompiledServices({ candidatesMax: 20 });
    const one = known();
    memo.keep(one, SOURCE, DIALLED, compiled(size));
    assertEquals(memo.get(one, SOURCE, DIALLED) !== undefined, kept);
    // One more is counted for the entry itself.
    const second = { ...DIALLED, port: 81 };
    memo.keep(one, SOURCE, second, compiled(9));
    assertEquals(memo.get(one, SOURCE, second) !== undefined, true);
    assertEquals(memo.get(one, SOURCE, DIALLED) !== undefined, later);
    assertEquals(memo.size, later ? size + 11 : 10);
  },
);

Deno.test("CompiledServices does not keep what is over the bound alone", () => {
  const memo = new CompiledServices({ candidatesMax: 20 });
  const one = known();
  memo.keep(one, SOURCE, DIALLED, compiled(20));
  assertEquals([memo.get(one, SOURCE, DIALLED), memo.size], [undefined, 0]);
  memo.keep(one, SOURCE, DIALLED, compiled(19));
  assertEquals(memo.size, 20);
});
