// Tests of same_value.ts.
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { service, workload } from "./resource_samples.ts";
import { isSameValue } from "./same_value.ts";

Deno.test("isSameValue() of a resource and its copy is true, of one with another field false", () => {
  const one = workload({
    ips: ["10.0.0.1"],
    services: new Map([["ns/h", new Map([[80, 8080]])]]),
    waypoint: { kind: "address", network: "", ip: "10.0.0.9", port: 15008 },
  });
  assertEquals(isSameValue(one, structuredClone(one)), true);
  const others: Partial<typeof one>[] = [
    { ips: ["10.0.0.2"] },
    { ips: ["10.0.0.1", "10.0.0.2"] },
    { ips: [] },
    { services: new Map([["ns/h", new Map([[80, 8081]])]]) },
    { services: new Map([["ns/i", new Map([[80, 8080]])]]) },
    { services: new Map() },
    { waypoint: null },
    { waypoint: { kind: "address", network: "", ip: "10.0.0.9", port: 15009 } },
    { locality: { region: "r", zone: "", subzone: "" } },
    { capacity: 2 },
  ];
  for (const other of others) {
    assertEquals(isSameValue(one, { ...one, ...other }), false, Object.keys(other)[0]);
    assertEquals(isSameValue({ ...one, ...other }, one), false, Object.keys(other)[0]);
  }
});

Deno.test("isSameValue() takes maps in any order, lists in theirs", () => {
  const a = service({ ports: new Map([[80, 1], [81, 2]]), subjectAltNames: ["a", "b"] });
  const turned = new Map([[81, 2], [80, 1]]);
  assertEquals(isSameValue(a, { ...a, ports: turned }), true);
  assertEquals(isSameValue(a, { ...a, subjectAltNames: ["b", "a"] }), false);
});

Deno.test("isSameValue() of any two values is whether their text is the same", () => {
  const value = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom(null, 0, 1, "", "0", true),
      fc.array(tie("value"), { maxLength: 2 }),
      fc.dictionary(fc.constantFrom("a", "b"), tie("value"), { noNullPrototype: true }),
    ),
  })).value;
  const sorted = (value: unknown) =>
    JSON.stringify(
      value,
      (_, inner) =>
        inner !== null && typeof inner === "object" && !Array.isArray(inner)
          ? Object.fromEntries(Object.entries(inner).sort())
          : inner,
    );
  fc.assert(fc.property(value, value, (a, b) => {
    assertEquals(isSameValue(a, b), sorted(a) === sorted(b));
    assertEquals(isSameValue(a, structuredClone(a)), true);
  }));
});
