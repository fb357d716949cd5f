// What changes of state have touched, and whether an answer from before them is stale.
import type { Dependencies } from "../seam/route.ts";

/** Dependencies of one answer that are looked at; one of more is stale after every change. */
export const DEPENDENCIES_MAX = 64;
/** Dependencies remembered; beyond, every answer from before is taken for stale. */
export const RECENT_TOUCHES_MAX = 65_536;

/** Knows of every change since {@link forget}, as far as it has room. */
export class RecentTouches {
  /** The generation of the last change of each. */
  readonly #touchedAt = new Map<string, number>();
  /** Answers from before this generation are stale, whatever they depend on. */
  #allStaleBefore = -1;
  /** The last change's. */
  #generation = -1;

  get size(): number {
    return this.#touchedAt.size;
  }

  /** @param touched Null: everything. */
  note(generation: number, touched: readonly string[] | null): void {
    this.#generation = Math.max(this.#generation, generation);
    if (touched !== null && this.#touchedAt.size + touched.length <= RECENT_TOUCHES_MAX) {
      for (const dependency of touched) this.#touchedAt.set(dependency, generation);
      return;
    }
    this.#touchedAt.clear();
    this.#allStaleBefore = Math.max(this.#allStaleBefore, generation);
  }

  /** No answer from before is on its way any longer. */
  forget(): void {
    this.#touchedAt.clear();
  }

  isStale(answer: { readonly generation: number; readonly dependsOn: Dependencies }): boolean {
    const { generation, dependsOn } = answer;
    if (generation >= this.#generation) return false;
    if (generation < this.#allStaleBefore || dependsOn.length > DEPENDENCIES_MAX) return true;
    for (const dependency of dependsOn) {
      if ((this.#touchedAt.get(dependency) ?? -1) > generation) return true;
    }
    return false;
  }
}
