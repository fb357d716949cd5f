// What we believe about our own code. Peers never trip these: their input was checked on entry.

/** Thrown when our own code is wrong. Never for peers, networks or policies. */
export class AssertionFailure extends Error {
  override readonly name = "AssertionFailure";
}

/** @throws {AssertionFailure} if `condition` is false: a bug in this program. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}

/** Marks a place that the types say cannot be reached. */
export function unreachable(value: never): never {
  throw new AssertionFailure(`Unreachable value: ${String(value)}`);
}
