// Whether two resources say the same: what is sent again as it was changes nothing. Pure.

/** Compares plain values: records, lists, maps (in any order) and primitives, of the same declared type. */
export function isSameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) {
    return a !== a && b !== b;
  }
  if (Array.isArray(a)) return Array.isArray(b) && isSameList(a, b);
  if (a instanceof Map) return b instanceof Map && isSameMap(a, b);
  if (Array.isArray(b) || b instanceof Map) return false;
  let fields = 0;
  const other = b as Readonly<Record<string, unknown>>;
  for (const [key, value] of Object.entries(a)) {
    if (!isSameValue(value, other[key])) return false;
    fields++;
  }
  return fields === Object.keys(b).length;
}

function isSameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (!isSameValue(a[at], b[at])) return false;
  return true;
}

function isSameMap(a: ReadonlyMap<unknown, unknown>, b: ReadonlyMap<unknown, unknown>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (!b.has(key) || !isSameValue(value, b.get(key))) return false;
  return true;
}
