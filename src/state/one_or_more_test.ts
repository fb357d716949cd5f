// Tests of one_or_more.ts.
import { assertEquals, assertStrictEquals } from "@std/assert";
import { firstOf, type OneOrMore, withItem, withoutItem } from "./one_or_more.ts";

interface Item {
  readonly rank: number;
}

const [low, high, high2] = [{ rank: 1 }, { rank: 2 }, { rank: 2 }];
const before = (item: Item) => (other: Item) => other.rank <= item.rank;

function put(...items: readonly Item[]): OneOrMore<Item> {
  let list: OneOrMore<Item> | undefined;
  for (const item of items) list = withItem(list, item, before(item));
  return list!;
}

Deno.test("withItem() makes a list of the second item, and puts each in its place", () => {
  assertStrictEquals(put(low), low);
  assertEquals(put(low, high), [high, low]);
  assertEquals(put(high, low), [high, low]);
  const three = put(high, low, high2);
  assertStrictEquals(firstOf(three), high2);
  assertEquals(three, [high2, high, low]);
});

Deno.test("withItem() puts an item at the end that nobody comes after", () => {
  assertEquals(withItem(put(high), low, () => false), [high, low]);
});

Deno.test("withoutItem() takes one item away by identity, and makes no list of one or none", () => {
  const three = put(high, low, high2);
  const two = withoutItem(three, high)!;
  assertEquals([firstOf(two) === high2, two], [true, [high2, low]]);
  assertStrictEquals(withoutItem(two, low), high2);
  assertEquals(withoutItem(high2, high2), null);
  assertStrictEquals(withoutItem(high2, high), high2);
  assertEquals(three, [high2, high, low]);
});
