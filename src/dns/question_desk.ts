// Takes questions: from the cache, with one that is under way already, or with an exchange of its own.
import type { Cancel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { Answer, Question } from "./answer.ts";
import { AnswerCache, questionKey } from "./answer_cache.ts";
import { Exchange, type ExchangeParts, NoAnswerError } from "./exchange.ts";
import { NameServers } from "./name_servers.ts";
import type { ResolverParts } from "./parts.ts";

/** Different questions under way: each has a socket or two. */
export const QUESTIONS_MAX = 64;

/** Different questions that wait for one of those to end. */
export const QUESTIONS_WAITING_MAX = 1_024;

/** Questions that nobody answered are not asked again for so long, in milliseconds (RFC 9520 §3.2). */
export const FAILURE_KEPT_MS = 1_000;

/** Failures remembered. */
export const FAILURES_MAX = 1_024;

interface Asked {
  readonly question: Question;
  readonly waiters: Set<Done<Answer>>;
  /** Null while it waits for its turn. */
  exchange: Exchange | null;
}

interface Failure {
  readonly error: ProxyError;
  readonly untilMs: number;
}

/** What a question ends with is told to everybody who asked it; it goes on, for the cache, when all of them have left. */
export class QuestionDesk {
  readonly #parts: ExchangeParts;
  readonly cache: AnswerCache;
  readonly #asked = new Map<string, Asked>();
  readonly #waiting: Asked[] = [];
  readonly #failures = new Map<string, Failure>();
  #underWay = 0;

  constructor(parts: ResolverParts) {
    this.#parts = { ...parts, servers: new NameServers(parts.config.servers, parts.clock) };
    this.cache = new AnswerCache(parts.clock);
  }

  /** Questions under way or waiting. */
  get pending(): number {
    return this.#asked.size;
  }

  /** `done` hears the answer or a `ProxyError`, in a later turn. */
  ask(question: Question, done: Done<Answer>): Cancel {
    const key = questionKey(question);
    const known = this.cache.get(question) ?? this.#failureOf(key);
    if (known !== null) return this.#later(known, done);
    let asked = this.#asked.get(key);
    if (asked === undefined) {
      if (this.#asked.size >= QUESTIONS_MAX + QUESTIONS_WAITING_MAX) {
        const text = `more than ${QUESTIONS_MAX + QUESTIONS_WAITING_MAX} questions at once`;
        return this.#later(new NoAnswerError(text, { isSilence: true }), done);
      }
      asked = { question, waiters: new Set(), exchange: null };
      this.#asked.set(key, asked);
      if (this.#underWay < QUESTIONS_MAX) this.#start(asked);
      else this.#waiting.push(asked);
    }
    const { waiters } = asked;
    const waiter: Done<Answer> = (outcome) => done(outcome);
    waiters.add(waiter);
    return { cancel: () => void waiters.delete(waiter) };
  }

  /** Ends everything; nobody is told. */
  close(): void {
    for (const { exchange } of this.#asked.values()) exchange?.cancel();
    this.#asked.clear();
    this.#waiting.length = 0;
    this.#underWay = 0;
  }

  #start(asked: Asked): void {
    this.#underWay++;
    asked.exchange = new Exchange(
      asked.question,
      this.#parts,
      (outcome) => this.#ended(asked, outcome),
    );
  }

  #ended(asked: Asked, outcome: Answer | ProxyError): void {
    const key = questionKey(asked.question);
    this.#asked.delete(key);
    this.#underWay--;
    if (outcome instanceof ProxyError) this.#remember(key, outcome);
    else this.cache.put(asked.question, outcome);
    this.#startNext();
    for (const waiter of asked.waiters) waiter(outcome);
  }

  /** Those that everybody left while they waited need not be asked. */
  #startNext(): void {
    while (this.#underWay < QUESTIONS_MAX && this.#waiting.length > 0) {
      const next = this.#waiting.shift()!;
      if (next.waiters.size > 0) this.#start(next);
      else this.#asked.delete(questionKey(next.question));
    }
  }

  #failureOf(key: string): ProxyError | null {
    const failure = this.#failures.get(key);
    if (failure === undefined) return null;
    if (failure.untilMs > this.#parts.clock.nowMs()) return failure.error;
    this.#failures.delete(key);
    return null;
  }

  #remember(key: string, error: ProxyError): void {
    this.#failures.delete(key);
    this.#failures.set(key, { error, untilMs: this.#parts.clock.nowMs() + FAILURE_KEPT_MS });
    if (this.#failures.size > FAILURES_MAX) {
      this.#failures.delete(this.#failures.keys().next().value!);
    }
  }

  #later(known: Answer | ProxyError, done: Done<Answer>): Cancel {
    let isCancelled = false;
    this.#parts.clock.soon({
      runTask: () => {
        if (!isCancelled) done(known);
      },
    });
    return { cancel: () => void (isCancelled = true) };
  }
}
