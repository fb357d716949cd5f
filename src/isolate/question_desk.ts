// Where the control isolate answers the questions of a data plane elsewhere.
import type { Cancel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import type { Router } from "../seam/router.ts";
import { AnswerEncoder, type WireAnswer } from "./answer_codec.ts";
import { encodeError, MessageError } from "./errors.ts";
import type { Question, ToDataPlane } from "./messages.ts";
import { QUESTIONS_MAX } from "./remote_router.ts";

/** Asks the Router for one data-plane isolate and posts what it says. */
export class QuestionDesk {
  readonly #post: (message: ToDataPlane) => void;
  readonly #encoder: AnswerEncoder;
  readonly #open = new Map<number, Cancel>();

  constructor(options: {
    readonly post: (message: ToDataPlane) => void;
    readonly random: Random;
  }) {
    this.#post = options.post;
    this.#encoder = new AnswerEncoder(options.random);
  }

  /** Questions that have no answer yet. */
  get waiting(): number {
    return this.#open.size;
  }

  /** @throws {MessageError} where a question's number is in use, or too many wait. */
  ask(router: Router, question: number, about: Question): void {
    if (this.#open.has(question)) throw new MessageError(`Question ${question} is asked twice`);
    if (this.#open.size >= QUESTIONS_MAX) {
      throw new MessageError(`Too many questions are asked: ${QUESTIONS_MAX} wait already`);
    }
    this.#open.set(question, this.#begin(router, question, about));
  }

  cancel(question: number): void {
    this.#open.get(question)?.cancel();
    this.#open.delete(question);
  }

  /** Nobody waits for anything any longer. */
  close(): void {
    for (const cancel of this.#open.values()) cancel.cancel();
    this.#open.clear();
  }

  #begin(router: Router, question: number, about: Question): Cancel {
    switch (about.kind) {
      case "localWorkload":
        return router.localWorkload(
          about.local,
          this.#done(question, (facts) => ({ kind: "localWorkload", facts })),
        );
      case "outbound":
        return router.outbound(
          about.question,
          this.#done(question, (route) => this.#encoder.outbound(route)),
        );
      case "inbound":
        return router.inbound(
          about.question,
          this.#done(question, (route) => this.#encoder.inbound(route)),
        );
      case "inboundPlaintext":
        return router.inboundPlaintext(
          about.question,
          this.#done(question, (route) => this.#encoder.inbound(route)),
        );
      case "policies":
        return router.policies(
          about.selection,
          this.#done(question, (policies) => ({ kind: "policies", policies })),
        );
      case "resolve":
        return router.resolve(
          about.local,
          about.name,
          about.family,
          this.#done(question, (ip) => ({ kind: "resolve", ip })),
        );
      case "resolveHost":
        return router.resolveHost(
          about.question,
          this.#done(question, (ip) => ({ kind: "resolve", ip })),
        );
    }
  }

  #done<Value>(question: number, encode: (value: Value) => WireAnswer): Done<Value> {
    return (outcome) => {
      this.#open.delete(question);
      if (outcome instanceof ProxyError) {
        this.#post({ kind: "refusal", question, error: encodeError(outcome) });
      } else this.#post({ kind: "answer", question, answer: encode(outcome as Value) });
    };
  }
}
