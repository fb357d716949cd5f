// The dependencies that an update touches, up to what is worth naming.
import { TOUCHED_MAX } from "../seam/router.ts";

/** Gathers keys of seam/dependency.ts; beyond {@link TOUCHED_MAX} it means everything. */
export class Touched {
  #keys: Set<string> | null;

  /** @param options.everything True where naming is pointless: the whole mesh is replaced. */
  constructor({ everything }: { readonly everything: boolean }) {
    this.#keys = everything ? null : new Set();
  }

  add(key: string): void {
    if (this.#keys === null) return;
    this.#keys.add(key);
    if (this.#keys.size > TOUCHED_MAX) this.#keys = null;
  }

  /** Null: anything may have changed. */
  keys(): readonly string[] | null {
    return this.#keys === null ? null : [...this.#keys];
  }
}
