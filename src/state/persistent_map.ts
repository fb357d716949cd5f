// A map that is never changed: a new one shares all but the path to what differs (a hash array mapped trie).

/** Bits of the hash that one level of the trie consumes. */
const LEVEL_BITS = 5;
const LEVEL_MASK = 31;
/** From this shift on the hash is used up: what still collides lies in a list. */
const LIST_SHIFT = 35;

/**
 * Who may change nodes in place: what was made under an owner is its own until it is forgotten. Whoever passes one
 * keeps only the newest map of each line, since older ones change with it.
 */
export class MapOwner {}

/** Pairs of key and value; the key null means that the value is a node one level down. */
class MapNode {
  readonly owner: MapOwner | null;
  /** Which of 32 places are taken; unused in a list. */
  bitmap: number;
  /** Key, value, key, value…, in the order of their places; exactly as long as needed. */
  slots: unknown[];

  constructor(owner: MapOwner | null, bitmap: number, slots: unknown[]) {
    this.owner = owner;
    this.bitmap = bitmap;
    this.slots = slots;
  }
}

const EMPTY_NODE = new MapNode(null, 0, []);

/**
 * Texts → values, in no order that means anything. Costs about 30 bytes an entry beside key and value; a change
 * copies some 500 bytes, or nearly nothing under an owner.
 */
export class PersistentMap<Value> {
  readonly size: number;
  readonly #root: MapNode;

  /** Call {@link PersistentMap.empty}. */
  private constructor(root: MapNode, size: number) {
    this.#root = root;
    this.size = size;
  }

  static empty<Value>(): PersistentMap<Value> {
    return EMPTY_MAP as PersistentMap<Value>;
  }

  /** For {@link PersistentMap.empty} only. */
  static make(): PersistentMap<never> {
    return new PersistentMap<never>(EMPTY_NODE, 0);
  }

  get(key: string): Value | undefined {
    const hash = hashText(key);
    let node = this.#root;
    for (let shift = 0; shift < LIST_SHIFT; shift += LEVEL_BITS) {
      const bit = 1 << (hash >>> shift & LEVEL_MASK);
      if ((node.bitmap & bit) === 0) return undefined;
      const at = placeOf(node.bitmap, bit);
      const found = node.slots[at];
      if (found !== null) return found === key ? node.slots[at + 1] as Value : undefined;
      node = node.slots[at + 1] as MapNode;
    }
    const at = listPlace(node, key);
    return at < 0 ? undefined : node.slots[at + 1] as Value;
  }

  /** A map that has `value` at `key`; this one if it has it already. */
  set(key: string, value: Value, owner: MapOwner | null = null): PersistentMap<Value> {
    grown = 0;
    const root = put(this.#root, owner, 0, hashText(key), key, value);
    if (root === this.#root && owner === null) return this;
    return new PersistentMap<Value>(root, this.size + grown);
  }

  /** A map without `key`; this one if it has none. */
  delete(key: string, owner: MapOwner | null = null): PersistentMap<Value> {
    grown = 0;
    const root = remove(this.#root, owner, 0, hashText(key), key);
    if (grown === 0) return this;
    return root === null ? EMPTY_MAP : new PersistentMap<Value>(root, this.size - 1);
  }

  forEach(visit: (value: Value, key: string) => void): void {
    walk(this.#root, visit as (value: unknown, key: string) => void);
  }

  /** All values, newly gathered. */
  values(): Value[] {
    const values: Value[] = [];
    this.forEach((value) => values.push(value));
    return values;
  }
}

const EMPTY_MAP = PersistentMap.make();

/** What the last `put` added (1 or 0) or the last `remove` took (-1 or 0): recursion returns nodes. */
let grown = 0;

/** Drawn once for the process: host names and uids are chosen by others, who must not know which of them meet. */
const SEED = crypto.getRandomValues(new Int32Array(1))[0]!;

/**
 * FNV-1a over UTF-16 units, its bits stirred so that the low ones depend on all; at each step, since what a unit does would
 * else depend on the seed's low seven bits alone. Exported for tests.
 */
export function hashText(text: string, seed: number = SEED): number {
  let hash = seed;
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
    hash ^= hash >>> 15;
  }
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  return hash ^ hash >>> 13;
}

/** Where the pair of `bit` is, or would be. */
function placeOf(bitmap: number, bit: number): number {
  let bits = bitmap & (bit - 1);
  bits -= bits >>> 1 & 0x55555555;
  bits = (bits & 0x33333333) + (bits >>> 2 & 0x33333333);
  return (Math.imul(bits + (bits >>> 4) & 0x0f0f0f0f, 0x01010101) >>> 24) * 2;
}

function listPlace(node: MapNode, key: string): number {
  for (let at = 0; at < node.slots.length; at += 2) if (node.slots[at] === key) return at;
  return -1;
}

function put(
  node: MapNode,
  owner: MapOwner | null,
  shift: number,
  hash: number,
  key: string,
  value: unknown,
): MapNode {
  if (shift >= LIST_SHIFT) {
    const at = listPlace(node, key);
    if (at >= 0) return withValue(node, owner, at, key, value);
    grown = 1;
    return withSlots(node, owner, 0, inserted(node.slots, node.slots.length, key, value));
  }
  const bit = 1 << (hash >>> shift & LEVEL_MASK);
  const at = placeOf(node.bitmap, bit);
  if ((node.bitmap & bit) === 0) {
    grown = 1;
    return withSlots(node, owner, node.bitmap | bit, inserted(node.slots, at, key, value));
  }
  const found = node.slots[at] as string | null;
  if (found === key) return withValue(node, owner, at, key, value);
  const below = shift + LEVEL_BITS;
  if (found === null) {
    const child = put(node.slots[at + 1] as MapNode, owner, below, hash, key, value);
    return withValue(node, owner, at, null, child);
  }
  const fresh = new MapNode(owner, 0, []);
  const first = put(fresh, owner, below, hashText(found), found, node.slots[at + 1]);
  const child = put(first, owner, below, hash, key, value);
  grown = 1;
  return withValue(node, owner, at, null, child);
}

/** Null: nothing is left. */
function remove(
  node: MapNode,
  owner: MapOwner | null,
  shift: number,
  hash: number,
  key: string,
): MapNode | null {
  if (shift >= LIST_SHIFT) {
    const at = listPlace(node, key);
    return at < 0 ? node : withoutPair(node, owner, 0, at);
  }
  const bit = 1 << (hash >>> shift & LEVEL_MASK);
  if ((node.bitmap & bit) === 0) return node;
  const at = placeOf(node.bitmap, bit);
  const found = node.slots[at] as string | null;
  if (found === key) return withoutPair(node, owner, bit, at);
  if (found !== null) return node;
  const before = node.slots[at + 1] as MapNode;
  const child = remove(before, owner, shift + LEVEL_BITS, hash, key);
  if (grown === 0) return node;
  if (child === null) return withoutPair(node, owner, bit, at);
  // A child with one pair is no child: the same content has the same shape.
  if (child.slots.length === 2 && child.slots[0] !== null) {
    return withValue(node, owner, at, child.slots[0] as string, child.slots[1]);
  }
  return withValue(node, owner, at, null, child);
}

function withValue(
  node: MapNode,
  owner: MapOwner | null,
  at: number,
  key: string | null,
  value: unknown,
): MapNode {
  if (node.slots[at] === key && node.slots[at + 1] === value) return node;
  const own = owner !== null && node.owner === owner;
  const slots = own ? node.slots : node.slots.slice();
  slots[at] = key;
  slots[at + 1] = value;
  return own ? node : new MapNode(owner, node.bitmap, slots);
}

function withSlots(
  node: MapNode,
  owner: MapOwner | null,
  bitmap: number,
  slots: unknown[],
): MapNode {
  if (owner === null || node.owner !== owner) return new MapNode(owner, bitmap, slots);
  node.bitmap = bitmap;
  node.slots = slots;
  return node;
}

function withoutPair(
  node: MapNode,
  owner: MapOwner | null,
  bit: number,
  at: number,
): MapNode | null {
  grown = -1;
  const { slots } = node;
  if (slots.length === 2) return null;
  const fewer = new Array<unknown>(slots.length - 2);
  for (let from = 0; from < at; from++) fewer[from] = slots[from];
  for (let from = at + 2; from < slots.length; from++) fewer[from - 2] = slots[from];
  return withSlots(node, owner, node.bitmap & ~bit, fewer);
}

/** A new array of the exact length: `splice` and `push` leave room that nobody uses. */
function inserted(slots: readonly unknown[], at: number, key: string, value: unknown): unknown[] {
  const more = new Array<unknown>(slots.length + 2);
  for (let from = 0; from < at; from++) more[from] = slots[from];
  more[at] = key;
  more[at + 1] = value;
  for (let from = at; from < slots.length; from++) more[from + 2] = slots[from];
  return more;
}

function walk(node: MapNode, visit: (value: unknown, key: string) => void): void {
  const { slots } = node;
  for (let at = 0; at < slots.length; at += 2) {
    const key = slots[at] as string | null;
    if (key === null) walk(slots[at + 1] as MapNode, visit);
    else visit(slots[at + 1], key);
  }
}
