// Tests of freeze.ts.
import { assertEquals, assertThrows } from "@std/assert";
import { freeze } from "./freeze.ts";

Deno.test("freeze() reaches objects and lists at any depth", () => {
  const frozen = freeze({ a: { b: [{ c: 1 }] } });
  for (const part of [frozen, frozen.a, frozen.a.b, frozen.a.b[0]!]) {
    assertEquals(Object.isFrozen(part), true);
  }
  assertThrows(() => frozen.a.b[0]!.c = 2, TypeError);
});

Deno.test("freeze() keeps maps and sets from being written, and what they hold", () => {
  const frozen = freeze({ map: new Map([["a", { b: 1 }]]), set: new Set([{ c: 1 }]) });
  assertThrows(() => frozen.map.set("x", { b: 2 }), TypeError);
  assertThrows(() => frozen.map.delete("a"), TypeError);
  assertThrows(() => frozen.map.clear(), TypeError);
  assertThrows(() => frozen.set.add({ c: 2 }), TypeError);
  assertThrows(() => frozen.set.delete([...frozen.set][0]!), TypeError);
  assertThrows(() => frozen.set.clear(), TypeError);
  assertThrows(() => frozen.map.get("a")!.b = 2, TypeError);
  assertThrows(() => [...frozen.set][0]!.c = 2, TypeError);
});

Deno.test("freeze() leaves maps and sets as they read, and what it froze may be frozen again", () => {
  const map = new Map([["a", 1]]);
  const set = new Set([1]);
  const frozen = freeze(freeze({ map, set }));
  assertEquals([frozen.map.get("a"), frozen.set.has(1)], [1, true]);
  assertEquals([new Map(frozen.map), structuredClone(frozen.map)], [map, map]);
  assertEquals(new Set(frozen.set).add(2).size, 2);
});
