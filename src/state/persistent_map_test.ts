// Tests of persistent_map.ts: against a plain Map, with keys whose hashes collide, and that old maps stay as they were.
import { assert, assertEquals, assertNotEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { hashText, MapOwner, PersistentMap } from "./persistent_map.ts";

function contents(map: PersistentMap<number>): Record<string, number> {
  const found: [string, number][] = [];
  map.forEach((value, key) => found.push([key, value]));
  return Object.fromEntries(found.sort(([a], [b]) => a < b ? -1 : 1));
}

function expected(map: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...map].sort(([a], [b]) => a < b ? -1 : 1));
}

/** Six pairs of texts with the same hash, found by trying. */
const COLLIDING = collidingTexts();

function collidingTexts(): string[] {
  const seen = new Map<number, string>();
  const pairs: string[] = [];
  for (let n = 0; pairs.length < 12; n++) {
    const text = `${n.toString(36)}k`;
    const before = seen.get(hashText(text));
    if (before === undefined) seen.set(hashText(text), text);
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

/** 2^`blocks` texts with the same hash under `seed`: pairs of blocks that lead from one state to the same next one. */
function chosenTexts(seed: number, blocks: number): string[] {
  let texts = [""];
  for (let block = 0; block < blocks; block++) {
    const prefix = texts[0]!;
    const seen = new Map<number, string>();
    let pair: readonly string[] | null = null;
    for (let n = 0; pair === null; n++) {
      const text = (n * 7_919 + 36 ** 4).toString(36).slice(-5);
      const hash = hashText(prefix + text, seed);
      const other = seen.get(hash);
      if (other !== undefined && other !== text) pair = [other, text];
      seen.set(hash, text);
    }
    texts = texts.flatMap((text) => pair!.map((next) => text + next));
  }
  return texts;
}

Deno.test("hashText() scatters under one seed what was chosen to meet under another", () => {
  const texts = chosenTexts(1, 8);
  const different = (seed: number) => new Set(texts.map((text) => hashText(text, seed))).size;
  assertEquals([texts.length, new Set(texts).size, different(1)], [256, 256, 1]);
  // Seeds that share their low bits too.
  for (const seed of [2, 129, 0x8001, 0x1000_0001, -1]) {
    assert(different(seed) >= 250, `${different(seed)} of 256 under ${seed}`);
  }
});

Deno.test("hashText() of the process has a seed of its own", () => {
  const texts = ["a", "b", "ns/host.example"];
  const unseeded = texts.map((text) => hashText(text, 0x811c9dc5 | 0));
  assertNotEquals(texts.map((text) => hashText(text)), unseeded);
});
