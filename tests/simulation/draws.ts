// Random choices of a simulation, all from one seed.
import { randomBelow, SeededRandom } from "../../src/base/random.ts";

export class Draws extends SeededRandom {
  /** 0 to `limit`-1. */
  below(limit: number): number {
    return randomBelow(this, limit);
  }

  /** `first` to `last`, both included. */
  between(first: number, last: number): number {
    return first + randomBelow(this, last - first + 1);
  }

  /** True once in `times` draws. */
  oneIn(times: number): boolean {
    return randomBelow(this, times) === 0;
  }

  pick<Value>(values: readonly Value[]): Value {
    return values[randomBelow(this, values.length)]!;
  }
}
