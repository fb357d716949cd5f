// Answers remembered by their question until the state they were compiled from is stale. Equal questions wait together.
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import type { Clock, Task } from "../base/clock.ts";
import { ProxyError } from "../base/errors.ts";
import { RouteError } from "../seam/router.ts";

/** Who may wait for answers of one cache: more than a data plane may hold connections. */
export const ANSWER_WAITERS_MAX = 131_072;

export interface AnswerCacheOptions<Answer> {
  readonly clock: Clock;
  /** Answers kept; the one kept longest goes first. */
  readonly entriesMax: number;
  /** Sum of the weights of the answers kept. */
  readonly weightMax: number;
  /** 1 or more, in proportion to an answer's memory. */
  readonly weigh: (answer: Answer) => number;
}

interface Entry<Answer> {
  readonly answer: Answer;
  readonly weight: number;
}

/** A question on its way, with all who asked it. */
interface Pending<Answer> {
  readonly waiters: Set<Waiter<Answer>>;
  asked: Cancel;
}

/** Errors are told to those who wait, and not remembered. */
export class AnswerCache<Answer extends { readonly generation: number }> {
  readonly #options: AnswerCacheOptions<Answer>;
  readonly #entries = new Map<string, Entry<Answer>>();
  readonly #pending = new Map<string, Pending<Answer>>();
  #weight = 0;
  #waiting = 0;
  /** The state's generation, as far as it was told. */
  #generation = -1;
  #newestKept = -1;

  constructor(options: AnswerCacheOptions<Answer>) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Sum of the weights of the answers kept. */
  get weight(): number {
    return this.#weight;
  }

  /** Those who wait for an answer. */
  get waiting(): number {
    return this.#waiting;
  }

  /** The answer at hand, in a later call; else that of `ask`, which is asked once for all who ask the same. */
  get(key: string, ask: (done: Done<Answer>) => Cancel, done: Done<Answer>): Cancel {
    const entry = this.#entries.get(key);
    if (entry !== undefined) return this.#answer(done, entry.answer);
    if (this.#waiting >= ANSWER_WAITERS_MAX) {
      const text = `too many connections wait for their route: ${ANSWER_WAITERS_MAX}`;
      return this.#answer(done, new RouteError("WAITS_FULL", text));
    }
    const known = this.#pending.get(key);
    const pending: Pending<Answer> = known ?? { waiters: new Set(), asked: NOTHING_TO_CANCEL };
    const waiter = new Waiter(done, (gone) => this.#leave(key, pending, gone));
    pending.waiters.add(waiter);
    this.#waiting++;
    if (known === undefined) {
      this.#pending.set(key, pending);
      pending.asked = ask((outcome) => this.#settle(key, pending, outcome));
    }
    return waiter;
  }

  /** The state is of this generation now: answers from older ones are forgotten, also those still on their way. */
  advance(generation: number): void {
    this.#generation = generation;
    // Whoever waits gets what was asked for before the change; whoever asks from now on does not.
    this.#pending.clear();
    if (this.#newestKept < generation) {
      this.#entries.clear();
      this.#weight = 0;
      return;
    }
    for (const [key, { answer }] of this.#entries) {
      if (answer.generation < generation) this.#forget(key);
    }
  }

  #settle(key: string, pending: Pending<Answer>, outcome: Answer | ProxyError): void {
    if (this.#pending.get(key) === pending) this.#pending.delete(key);
    if (!(outcome instanceof ProxyError)) this.#keep(key, outcome);
    const { clock } = this.#options;
    this.#waiting -= pending.waiters.size;
    for (const waiter of pending.waiters) waiter.settle(outcome, clock);
    pending.waiters.clear();
  }

  #leave(key: string, pending: Pending<Answer>, waiter: Waiter<Answer>): void {
    if (!pending.waiters.delete(waiter)) return;
    this.#waiting--;
    if (pending.waiters.size > 0) return;
    if (this.#pending.get(key) === pending) this.#pending.delete(key);
    pending.asked.cancel();
  }

  #keep(key: string, answer: Answer): void {
    if (answer.generation < this.#generation) return;
    const weight = this.#options.weigh(answer);
    const { entriesMax, weightMax } = this.#options;
    if (weight > weightMax) return;
    this.#forget(key);
    while (this.#entries.size >= entriesMax || this.#weight + weight > weightMax) {
      this.#forget(this.#entries.keys().next().value!);
    }
    this.#entries.set(key, { answer, weight });
    this.#weight += weight;
    this.#newestKept = Math.max(this.#newestKept, answer.generation);
  }

  #forget(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#weight -= entry.weight;
  }

  #answer(done: Done<Answer>, outcome: Answer | ProxyError): Cancel {
    const waiter = new Waiter(done, null);
    waiter.settle(outcome, this.#options.clock);
    return waiter;
  }
}

/** One who asked; told at the end of the turn in which the answer is there. */
class Waiter<Answer> implements Task, Cancel {
  readonly #onGone: ((waiter: Waiter<Answer>) => void) | null;
  #done: Done<Answer> | null;
  #outcome: Answer | ProxyError | null = null;

  constructor(done: Done<Answer>, onGone: ((waiter: Waiter<Answer>) => void) | null) {
    this.#done = done;
    this.#onGone = onGone;
  }

  settle(outcome: Answer | ProxyError, clock: Clock): void {
    this.#outcome = outcome;
    clock.soon(this);
  }

  runTask(): void {
    const done = this.#done;
    this.#done = null;
    done?.(this.#outcome!);
  }

  cancel(): void {
    this.#done = null;
    if (this.#outcome === null) this.#onGone?.(this);
  }
}
