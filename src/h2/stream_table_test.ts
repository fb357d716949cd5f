import { assertEquals } from "@std/assert";
import { SeededRandom } from "../base/random.ts";
import { StreamTable } from "./stream_table.ts";

interface Named {
  readonly id: number;
}

function idsOf(table: StreamTable<Named>): number[] {
  return table.streams().map(({ id }) => id);
}

Deno.test("StreamTable finds what it was given and nothing else", () => {
  const table = new StreamTable<Named>();
  const stream = { id: 5 };
  table.add(stream);
  assertEquals([table.get(5) === stream, table.get(3), table.size], [true, null, 1]);
});

Deno.test("StreamTable says whether it had what is taken out", () => {
  const table = new StreamTable<Named>();
  table.add({ id: 1 });
  assertEquals([table.delete(3), table.delete(1), table.delete(1)], [false, true, false]);
  assertEquals([table.get(1), table.size], [null, 0]);
});

Deno.test("StreamTable lists by id, whatever came first", () => {
  const table = new StreamTable<Named>();
  for (const id of [9, 1, 2147483647, 5]) table.add({ id });
  assertEquals(idsOf(table), [1, 5, 9, 2147483647]);
});

Deno.test("StreamTable forgets all", () => {
  const table = new StreamTable<Named>();
  for (let id = 1; id < 1000; id += 2) table.add({ id });
  table.clear();
  assertEquals([table.size, idsOf(table), table.get(1)], [0, [], null]);
});

Deno.test.each([
  { name: "consecutive ids", idOf: (n: number) => 2 * n + 1 },
  { name: "ids that skip", idOf: (n: number) => 4096 * n + 1 },
  { name: "ids up to the largest", idOf: (n: number) => 2 ** 31 - 1 - 2 * n },
])("StreamTable agrees with a Map through 20,000 changes: $name", ({ idOf }) => {
  const random = new SeededRandom(4);
  const table = new StreamTable<Named>();
  const model = new Map<number, Named>();
  for (let change = 0; change < 20_000; change++) {
    // Grows to hundreds, then shrinks to nothing, again and again.
    const wanted = change % 4000 < 2000 ? 0.6 : 0.35;
    const id = idOf(random.uint32() % 1000);
    const adds = random.uint32() / 2 ** 32 < wanted;
    if (adds && !model.has(id)) {
      const stream = { id };
      table.add(stream);
      model.set(id, stream);
    } else if (!adds) {
      assertEquals(table.delete(id), model.delete(id));
    }
    assertEquals(table.get(id), model.get(id) ?? null);
    assertEquals(table.size, model.size);
    if (change % 500 === 0) assertEquals(idsOf(table), [...model.keys()].sort((a, b) => a - b));
  }
});
