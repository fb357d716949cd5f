// Counts native objects that are alive, so that a test can ask for zero.
import { assert } from "../../base/assert.ts";
import type { LiveObjects } from "./types.ts";

/** {@link LiveObjects} as a table of counts; a kind whose count returns to zero leaves it. */
export class CountedObjects implements LiveObjects {
  readonly #counts = new Map<string, number>();

  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  made(kind: string): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
  }

  freed(kind: string): void {
    const count = this.#counts.get(kind) ?? 0;
    assert(count > 0, `Freed more often than made: ${kind}`);
    if (count === 1) this.#counts.delete(kind);
    else this.#counts.set(kind, count - 1);
  }
}
