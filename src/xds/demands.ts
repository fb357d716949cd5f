// Lookups that wait for the control plane's word on one key each: on-demand mode (spec/xds-state-and-dns §1.9).
import type { Cancel } from "../base/channel.ts";
import type { Clock } from "../base/clock.ts";

/** Keys without an answer, waited for or not. The next lookup is told at once that there is none. */
export const DEMANDS_MAX = 10_000;

/** Lookups that wait, for all keys together; the next one is told at once. */
export const WAITERS_MAX = 10_000;

interface Demand {
  /** All of them: the original forgets all but the last. */
  readonly waiters: Set<() => void>;
  /** It went out, on whatever stream. */
  sent: boolean;
  /** Asking put it among the versions. */
  readonly noted: boolean;
}

/** Who waits for what. A key stays, once it was sent, until an answer names it. */
export class Demands {
  readonly #clock: Clock;
  readonly #onNew: (key: string) => boolean;
  readonly #onForgotten: (key: string) => void;
  readonly #demands = new Map<string, Demand>();
  /** Keys to send, in order. */
  readonly #unsent = new Set<string>();
  /** Keys that were sent and nobody waits for any more, oldest first. */
  readonly #abandoned = new Set<string>();
  #wakeSender: (() => void) | null = null;
  #waiting = 0;

  /**
   * @param options.onNew A key is asked for that was not before; says whether something is to be undone, later, by
   * @param options.onForgotten Nobody waits for the key any more, and no answer is expected.
   */
  constructor(
    options: {
      readonly clock: Clock;
      readonly onNew: (key: string) => boolean;
      readonly onForgotten: (key: string) => void;
    },
  ) {
    this.#clock = options.clock;
    this.#onNew = options.onNew;
    this.#onForgotten = options.onForgotten;
  }

  /** Keys without an answer. */
  get keys(): number {
    return this.#demands.size;
  }

  /** Calls `done` once, in a later turn: after an answer, or at once when more wait than may. */
  want(key: string, done: () => void): Cancel {
    if (this.#waiting === WAITERS_MAX) return this.#clock.after(0, done);
    let demand = this.#demands.get(key);
    if (demand === undefined) {
      if (this.#demands.size === DEMANDS_MAX && !this.#forgetAbandoned()) {
        return this.#clock.after(0, done);
      }
      demand = { waiters: new Set(), sent: false, noted: this.#onNew(key) };
      this.#demands.set(key, demand);
      this.#unsent.add(key);
      this.release();
    }
    this.#abandoned.delete(key);
    const waiter = () => done();
    demand.waiters.add(waiter);
    this.#waiting++;
    return { cancel: () => this.#cancel(key, waiter) };
  }

  /** A response named the key, readers see it now: everybody looks again, in a later turn. */
  answered(key: string): void {
    const demand = this.#demands.get(key);
    if (demand === undefined) return;
    this.#demands.delete(key);
    this.#unsent.delete(key);
    this.#abandoned.delete(key);
    this.#waiting -= demand.waiters.size;
    for (const waiter of demand.waiters) waiter();
  }

  /** A key to send, or a promise that ends when there may be one. */
  next(): string | Promise<void> {
    for (const key of this.#unsent) {
      this.#unsent.delete(key);
      this.#demands.get(key)!.sent = true;
      return key;
    }
    return new Promise((resolve) => this.#wakeSender = resolve);
  }

  /** Ends the sender's wait. */
  release(): void {
    this.#wakeSender?.();
    this.#wakeSender = null;
  }

  #cancel(key: string, waiter: () => void): void {
    const demand = this.#demands.get(key);
    if (demand === undefined || !demand.waiters.delete(waiter)) return;
    this.#waiting--;
    if (demand.waiters.size > 0) return;
    if (demand.sent) this.#abandoned.add(key);
    else this.#forget(key);
  }

  #forgetAbandoned(): boolean {
    for (const key of this.#abandoned) {
      this.#forget(key);
      return true;
    }
    return false;
  }

  #forget(key: string): void {
    const noted = this.#demands.get(key)!.noted;
    this.#demands.delete(key);
    this.#unsent.delete(key);
    this.#abandoned.delete(key);
    if (noted) this.#onForgotten(key);
  }
}
