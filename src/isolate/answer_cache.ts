// Answers remembered by their question until a change touches what they depend on. Equal questions wait together.
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import type { Clock, Task } from "../base/clock.ts";
import { ProxyError } from "../base/errors.ts";
import { DEPENDENCIES_MAX, RecentTouches } from "../hbone/recent_touches.ts";
import type { Dependencies } from "../seam/route.ts";
import { RouteError, type StateChange } from "../seam/router.ts";
import { DependencyIndex } from "./dependency_index.ts";

/** Who may wait for answers of one cache: more than a data plane may hold connections. */
export const ANSWER_WAITERS_MAX = 131_072;

/** Answers that a change makes be forgotten one by one; where it touched more, all are, which takes no time. */
export const FORGOTTEN_EACH_MAX = 2_048;

export interface AnswerCacheOptions<Answer> {
  readonly clock: Clock;
  /** Answers kept; the one kept longest goes first. */
  readonly entriesMax: number;
  /** Sum of the weights of the answers kept. */
  readonly weightMax: number;
  /** Dependencies of all answers kept. */
  readonly linksMax: number;
  /** 1 or more, in proportion to an answer's memory. */
  readonly weigh: (answer: Answer) => number;
}

/** What a cache must know of what it keeps. */
export interface Cacheable {
  readonly generation: number;
  readonly dependsOn: Dependencies;
  /** As in `Route`. */
  readonly isProvisional?: true;
}

interface Entry<Answer> {
  readonly key: string;
  readonly answer: Answer;
  readonly weight: number;
  readonly dependsOn: Dependencies;
}

/** A question on its way, with all who asked it. */
interface Pending<Answer> {
  readonly waiters: Set<Waiter<Answer>>;
  asked: Cancel;
}

/** Errors are told to those who wait, and not remembered. */
export class AnswerCache<Answer extends Cacheable> {
  readonly #options: AnswerCacheOptions<Answer>;
  readonly #entries = new Map<string, Entry<Answer>>();
  readonly #index = new DependencyIndex<Entry<Answer>>();
  readonly #touches = new RecentTouches();
  readonly #pending = new Map<string, Pending<Answer>>();
  #weight = 0;
  #waiting = 0;
  /** The youngest answer kept since the start. */
  #newestKept = -1;
  /** Questions on their way, also those that nobody may join any more. */
  #underWay = 0;

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

  /** Dependencies noted for the answers kept. */
  get links(): number {
    return this.#index.links;
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
      this.#underWay++;
      pending.asked = ask((outcome) => this.#settle(key, pending, outcome));
    }
    return waiter;
  }

  /** Answers that the change made stale are forgotten, also those still on their way. */
  change({ generation, touched }: Pick<StateChange, "generation" | "touched">): void {
    // Whoever waits gets what was asked for before the change; whoever asks from now on does not.
    this.#pending.clear();
    if (this.#underWay > 0 || touched === null) this.#touches.note(generation, touched);
    if (touched !== null && this.#index.count(touched) <= FORGOTTEN_EACH_MAX) {
      this.#index.touch(touched, (entry) => this.#drop(entry, generation));
    } else if (touched !== null || this.#newestKept < generation) this.#clear();
    else for (const entry of this.#entries.values()) this.#drop(entry, generation);
  }

  #settle(key: string, pending: Pending<Answer>, outcome: Answer | ProxyError): void {
    if (this.#pending.get(key) === pending) this.#pending.delete(key);
    if (!(outcome instanceof ProxyError)) this.#keep(key, outcome);
    this.#arrived();
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
    this.#arrived();
  }

  /** A question is no longer on its way. */
  #arrived(): void {
    if (--this.#underWay === 0) this.#touches.forget();
  }

  #keep(key: string, answer: Answer): void {
    if (answer.isProvisional === true || this.#touches.isStale(answer)) return;
    const known = this.#entries.get(key);
    if (known !== undefined) {
      if (known.answer.generation > answer.generation) return;
      this.#forget(known);
    }
    const { entriesMax, weightMax, linksMax, weigh } = this.#options;
    const weight = weigh(answer);
    if (weight > weightMax) return;
    const entry = { key, answer, weight, dependsOn: answer.dependsOn };
    const links = Math.min(DEPENDENCIES_MAX, answer.dependsOn.length);
    while (
      this.#entries.size >= entriesMax || this.#weight + weight > weightMax ||
      (this.#index.links + links > linksMax && this.#entries.size > 0)
    ) this.#forget(this.#entries.values().next().value!);
    this.#entries.set(key, entry);
    this.#index.add(entry);
    this.#weight += weight;
    this.#newestKept = Math.max(this.#newestKept, answer.generation);
  }

  /** One that knows of the change already stays. */
  #drop(entry: Entry<Answer>, generation: number): void {
    if (entry.answer.generation < generation) this.#forget(entry);
  }

  #clear(): void {
    this.#entries.clear();
    this.#index.clear();
    this.#weight = 0;
  }

  #forget(entry: Entry<Answer>): void {
    if (this.#entries.get(entry.key) === entry) this.#entries.delete(entry.key);
    this.#index.remove(entry);
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
