// Tests of persistent_map.ts: against a plain Map, with keys whose hashes collide, and that old maps stay as they were.
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { MapOwner, PersistentMap } from "./persistent_map.ts";

function contents(map: PersistentMap<number>): Record<string, number> {
  const found: [string, number][] = [];
  map.forEach((value, key) => found.push([key, value]));
  return Object.fromEntries(found.sort(([a], [b]) => a < b ? -1 : 1));
}

function expected(map: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...map].sort(([a], [b]) => a < b ? -1 : 1));
}

/** Three texts with the same hash, found by trying; and two more pairs. */
const COLLIDING = collidingTexts();

function collidingTexts(): string[] {
  // The stirring at the end of the hash can be undone, so equal FNV-1a states are all that is needed.
  const state = (text: string) => {
    let hash = 0x811c9dc5;
    for (let at = 0; at < text.length; at++) {
      hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
    }
    return hash;
  };
  const seen = new Map<number, string>();
  const pairs: string[] = [];
  for (let n = 0; pairs.length < 6; n++) {
    const text = `${n.toString(36)}k`;
    const before = seen.get(state(text));
    if (before === undefined) seen.set(state(text), text);
    else pairs.push(before, text);
  }
  return pairs;
}

const keys = fc.constantFrom(
  ...COLLIDING,
  ...Array.from({ length: 60 }, (_, n) => `cluster//Pod/ns/${n}`),
);
const steps = fc.array(
  fc.record({
    key: keys,
    value: fc.integer({ min: 0, max: 3 }),
    remove: fc.boolean(),
    owned: fc.boolean(),
  }),
  { maxLength: 200 },
);

Deno.test("PersistentMap says what a Map says, and the maps before it stay as they were", () => {
  fc.assert(fc.property(steps, (steps) => {
    const plain = new Map<string, number>();
    let map = PersistentMap.empty<number>();
    let owner = new MapOwner();
    const past: { map: PersistentMap<number>; content: Record<string, number> }[] = [];
    for (const { key, value, remove, owned } of steps) {
      if (!owned) {
        past.push({ map, content: expected(plain) });
        owner = new MapOwner();
      }
      map = remove ? map.delete(key, owner) : map.set(key, value, owned ? owner : null);
      if (remove) plain.delete(key);
      else plain.set(key, value);
      assertEquals(map.get(key), plain.get(key));
      assertEquals(map.size, plain.size);
    }
    assertEquals(contents(map), expected(plain));
    for (const { map, content } of past) assertEquals(contents(map), content);
  }));
});

Deno.test("PersistentMap.values() has the same order for the same content, whatever happened before", () => {
  const names = Array.from({ length: 500 }, (_, n) => `w${n}`);
  const straight = names.reduce((map, key) => map.set(key, key), PersistentMap.empty<string>());
  let winding = PersistentMap.empty<string>();
  for (const key of [...names].reverse()) winding = winding.set(key, "").set(`${key}x`, "");
  for (const key of names) winding = winding.delete(`${key}x`).set(key, key);
  assertEquals(winding.values(), straight.values());
});

Deno.test("PersistentMap finds keys whose hashes are the same", () => {
  let map = PersistentMap.empty<number>();
  COLLIDING.forEach((key, at) => map = map.set(key, at));
  COLLIDING.forEach((key, at) => assertEquals(map.get(key), at));
  assertEquals(map.get("other"), undefined);
  for (const key of COLLIDING) map = map.delete(key);
  assertStrictEquals(map, PersistentMap.empty());
});

Deno.test("PersistentMap stays the same object when nothing changes", () => {
  const map = PersistentMap.empty<number>().set("a", 1);
  assertStrictEquals(map.set("a", 1), map);
  assertStrictEquals(map.delete("b"), map);
  assert(map.set("a", 2) !== map);
});
