// Values nobody can change by accident, all the way down. Pure.

/**
 * Freezes plain objects, lists, maps and sets, and what they hold, in place. Maps and sets keep their data where
 * Object.freeze() does not reach: their writing methods throw instead.
 * @param value Without cycles; as deep as the call stack allows, which is the reader's to bound.
 */
export function freeze<Value extends object>(value: Value): Value {
  if (value instanceof Map) {
    for (const member of value.values()) freezeMember(member);
    forbid(value, ["set", "delete", "clear"]);
  } else if (value instanceof Set) {
    for (const member of value) freezeMember(member);
    forbid(value, ["add", "delete", "clear"]);
  } else {
    for (const member of Object.values(value)) freezeMember(member);
  }
  return Object.freeze(value);
}

function freezeMember(member: unknown): void {
  if (typeof member === "object" && member !== null && !Object.isFrozen(member)) freeze(member);
}

function forbid(collection: object, methods: readonly string[]): void {
  if (Object.isFrozen(collection)) return;
  const refuse = () => {
    throw new TypeError("Settings cannot be changed");
  };
  for (const name of methods) Object.defineProperty(collection, name, { value: refuse });
}
