// Values of an index where nearly every key has one: the list is made when a second one comes. Pure.

/** Never an empty list, never a list of one. */
export type OneOrMore<Item extends object> = Item | readonly Item[];

export function firstOf<Item extends object>(items: OneOrMore<Item>): Item {
  return isList(items) ? items[0]! : items;
}

export function isList<Item extends object>(items: OneOrMore<Item>): items is readonly Item[] {
  return Array.isArray(items);
}

/** With `item` before the first that `isAfter` says comes after it, as do all behind that one; else at the end. */
export function withItem<Item extends object>(
  items: OneOrMore<Item> | undefined,
  item: Item,
  isAfter: (other: Item) => boolean,
): OneOrMore<Item> {
  if (items === undefined) return item;
  const list = isList(items) ? items : [items];
  let at = isAfter(list[0]!) ? 0 : list.length;
  while (at > 0 && isAfter(list[at - 1]!)) at--;
  return [...list.slice(0, at), item, ...list.slice(at)];
}

/** Null: nothing is left. */
export function withoutItem<Item extends object>(
  items: OneOrMore<Item>,
  item: Item,
): OneOrMore<Item> | null {
  if (!isList(items)) return items === item ? null : items;
  const left = items.filter((other) => other !== item);
  return left.length === 1 ? left[0]! : left;
}
