// Turns a native loop inside an isolate that has an event loop of its own, so that tests may await.
import { clearImmediate, setImmediate } from "node:timers";
import type { Loop } from "../../src/net/native/types.ts";

/** What the pump needs of a loop: `stats.turns` counts the turns that did something. */
export type PumpedLoop = Loop & { readonly stats: { readonly turns: number } };

/** Turns in a row without work after which the pump rests a millisecond between turns. */
export const IDLE_TURNS_MAX = 200;

/**
 * Calls `loop.turn(0)` again and again between the runtime's own events: at once while there is work and for
 * {@link IDLE_TURNS_MAX} turns after it, then every millisecond or so. Dispose of it before the loop.
 */
export class LoopPump implements Disposable {
  readonly #loop: PumpedLoop;
  readonly #step = () => this.#turn();
  #idleTurns = 0;
  #immediate: ReturnType<typeof setImmediate> | null = null;
  #timeout: ReturnType<typeof setTimeout> | null = null;
  #disposed = false;

  constructor(loop: PumpedLoop) {
    this.#loop = loop;
    this.#immediate = setImmediate(this.#step);
  }

  /** Stops at once. Idempotent. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    if (this.#timeout !== null) clearTimeout(this.#timeout);
    this.#immediate = null;
    this.#timeout = null;
  }

  #turn(): void {
    this.#immediate = null;
    this.#timeout = null;
    const turnsBefore = this.#loop.stats.turns;
    this.#loop.turn(0);
    if (this.#disposed) return;
    this.#idleTurns = this.#loop.stats.turns === turnsBefore ? this.#idleTurns + 1 : 0;
    if (this.#idleTurns < IDLE_TURNS_MAX) this.#immediate = setImmediate(this.#step);
    else this.#timeout = setTimeout(this.#step, 1);
  }
}
