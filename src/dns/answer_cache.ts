// Answers while they are good: bounded, the one not used for longest goes first.
import type { Clock } from "../base/clock.ts";
import type { Answer, Question } from "./answer.ts";

/** Answers kept (spec/xds-state-and-dns §3.11). */
export const ANSWERS_MAX = 4_096;

interface Kept {
  readonly answer: Answer;
  readonly untilMs: number;
}

export class AnswerCache {
  readonly #clock: Clock;
  readonly #answersMax: number;
  /** In the order of use. */
  readonly #kept = new Map<string, Kept>();

  constructor(clock: Clock, answersMax: number = ANSWERS_MAX) {
    this.#clock = clock;
    this.#answersMax = answersMax;
  }

  get size(): number {
    return this.#kept.size;
  }

  /** Null: unknown, or not good any more. */
  get(question: Question): Answer | null {
    const key = questionKey(question);
    const kept = this.#kept.get(key);
    if (kept === undefined) return null;
    this.#kept.delete(key);
    if (kept.untilMs <= this.#clock.nowMs()) return null;
    this.#kept.set(key, kept);
    return kept.answer;
  }

  put(question: Question, answer: Answer): void {
    const key = questionKey(question);
    this.#kept.delete(key);
    if (answer.ttlMs <= 0) return;
    this.#kept.set(key, { answer, untilMs: this.#clock.nowMs() + answer.ttlMs });
    if (this.#kept.size > this.#answersMax) this.#kept.delete(this.#kept.keys().next().value!);
  }
}

export function questionKey({ type, name }: Question): string {
  return `${type} ${name}`;
}
