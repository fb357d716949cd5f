// How many application connections a data plane may hold; one count for all its listeners (design §5).
import { assert } from "../base/assert.ts";

/** Whoever takes one gives it back at its end. */
export class ConnectionBudget {
  readonly max: number;
  #taken = 0;
  #refused = 0;

  constructor(max: number) {
    this.max = max;
  }

  get taken(): number {
    return this.#taken;
  }

  /** Connections refused because the budget was spent. */
  get refused(): number {
    return this.#refused;
  }

  /** False when there is none left: refuse the new one, keep the old ones. */
  take(): boolean {
    if (this.#taken >= this.max) {
      this.#refused++;
      return false;
    }
    this.#taken++;
    return true;
  }

  giveBack(): void {
    assert(this.#taken > 0, "More connections given back than taken");
    this.#taken--;
  }
}
