// Changes of a Router's state on their way to the data plane: at once, or together where they come thick and fast.
import type { Clock, Timer } from "../base/clock.ts";
import { type StateChange, TOUCHED_MAX } from "../seam/router.ts";

/** Changes are told so often at most, in ms: a message costs both isolates more than what it says. */
export const CHANGES_TOLD_MS = 2;

/**
 * Merges the changes that follow one that was just told. An answer must not overtake a change that it knows of: whoever
 * posts one calls {@link tell} before.
 */
export class ChangeGather {
  readonly #clock: Clock;
  readonly #post: (change: StateChange) => void;
  #waiting: StateChange | null = null;
  #timer: Timer | null = null;

  constructor(clock: Clock, post: (change: StateChange) => void) {
    this.#clock = clock;
    this.#post = post;
  }

  add(change: StateChange): void {
    this.#waiting = this.#waiting === null ? change : merged(this.#waiting, change);
    if (this.#timer === null) this.#tellAndRest();
  }

  /** What waits goes out now. */
  tell(): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) this.#post(waiting);
  }

  close(): void {
    this.#waiting = null;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #tellAndRest(): void {
    if (this.#waiting === null) return;
    this.tell();
    this.#timer = this.#clock.after(CHANGES_TOLD_MS, () => {
      this.#timer = null;
      this.#tellAndRest();
    });
  }
}

function merged(first: StateChange, second: StateChange): StateChange {
  return {
    generation: second.generation,
    policies: first.policies || second.policies,
    touched: union(first.touched, second.touched),
  };
}

/** Of too many, everything. */
function union(
  first: readonly string[] | null,
  second: readonly string[] | null,
): readonly string[] | null {
  if (first === null || second === null) return null;
  const both = new Set(first);
  for (const each of second) both.add(each);
  return both.size > TOUCHED_MAX ? null : [...both];
}
