// Channels with something left to do at the end of the turn: one task for all of them.
import type { Clock, Task } from "../../base/clock.ts";

/** What {@link TurnEnd} calls. A fault in one must not keep the others from their turn. */
export interface EndsTurn {
  endTurn(): void;
  onFault(thrown: unknown): void;
}

/** Collects who wants the end of this turn; one that asks while it runs is still heard in this turn. */
export class TurnEnd implements Task {
  readonly #clock: Clock;
  readonly #waiting: EndsTurn[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(who: EndsTurn): void {
    if (this.#waiting.push(who) === 1) this.#clock.soon(this);
  }

  runTask(): void {
    const waiting = this.#waiting;
    for (let at = 0; at < waiting.length; at++) {
      const who = waiting[at]!;
      try {
        who.endTurn();
      } catch (thrown) {
        who.onFault(thrown);
      }
    }
    waiting.length = 0;
  }
}
