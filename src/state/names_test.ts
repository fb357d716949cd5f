// Tests of names.ts: the expansion of spec/xds-state-and-dns §5.4. Whole lookups: state_router_test.ts.
import { assertEquals } from "@std/assert";
import { expandName, wildcardLadder } from "./names.ts";

const SUFFIX = "svc.cluster.local";

Deno.test.each([
  { name: "name", expected: [`name.ns1.${SUFFIX}`] },
  { name: "name.ns2", expected: [`name.ns2.${SUFFIX}`, `name.ns2.ns1.${SUFFIX}`] },
  { name: "name.ns2.svc", expected: [`name.ns2.${SUFFIX}`, `name.ns2.svc.${SUFFIX}`] },
  { name: "name.ns2.not-svc", expected: [`name.ns2.not-svc.${SUFFIX}`] },
  { name: "pod.sub.ns.svc", expected: [`pod.sub.ns.${SUFFIX}`] },
  { name: "pod.sub.ns.not-svc", expected: [] },
  { name: "name.ns2.svc.cluster", expected: [] },
  { name: "name.ns2.svc.cluster.local", expected: [] },
  { name: "www.google.com", expected: [`www.google.com.${SUFFIX}`] },
])("expandName() of $name", ({ name, expected }) => {
  assertEquals(expandName(name, "ns1", "cluster.local"), expected);
});

Deno.test("wildcardLadder() goes down to the top label", () => {
  assertEquals(wildcardLadder("svc1.ns1.svc.cluster.local"), [
    "svc1.ns1.svc.cluster.local",
    "*.ns1.svc.cluster.local",
    "*.svc.cluster.local",
    "*.cluster.local",
    "*.local",
  ]);
  assertEquals(wildcardLadder("one"), ["one"]);
});
