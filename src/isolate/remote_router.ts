// The Router as a data plane in another isolate has it: each question a message, each answer a message.
import type { Cancel, Done } from "../base/channel.ts";
import type { Clock } from "../base/clock.ts";
import type { ProxyError } from "../base/errors.ts";
import type { Policy } from "../rbac/policy.ts";
import type { InboundRoute, PolicySelection, Route } from "../seam/route.ts";
import {
  type HostQuestion,
  type InboundQuestion,
  type OutboundQuestion,
  type PlaintextQuestion,
  RouteError,
  type Router,
  type StateChange,
} from "../seam/router.ts";
import type { LocalWorkloadName, WorkloadFacts } from "../seam/workload.ts";
import { AnswerDecoder, type WireAnswer } from "./answer_codec.ts";
import { decodeError, type WireError } from "./errors.ts";
import type { FromDataPlane, Question } from "./messages.ts";

/** Questions of one data-plane isolate that wait for their answer: more than the Router lets wait. */
export const QUESTIONS_MAX = 16_384;

/** An answer as this side reads it, before the one who asked is told. */
type Outcome = unknown | ProxyError;

interface Asked {
  readonly read: (answer: WireAnswer) => unknown;
  readonly done: (outcome: Outcome) => void;
}

/** The questions of all planes of an isolate that are on their way. */
export class Questions {
  readonly #post: (message: FromDataPlane) => void;
  readonly #clock: Clock;
  readonly #decoder = new AnswerDecoder();
  readonly #asked = new Map<number, Asked>();
  #lastNumber = 0;

  constructor(options: {
    readonly post: (message: FromDataPlane) => void;
    readonly clock: Clock;
  }) {
    this.#post = options.post;
    this.#clock = options.clock;
  }

  get waiting(): number {
    return this.#asked.size;
  }

  /** @param read Takes the answer apart; throws for one of the wrong kind. */
  ask<Value>(
    router: number,
    about: Question,
    read: (answer: WireAnswer, decoder: AnswerDecoder) => Value,
    done: Done<Value>,
  ): Cancel {
    if (this.#asked.size >= QUESTIONS_MAX) return this.#refuse(done);
    const question = ++this.#lastNumber;
    this.#asked.set(question, {
      read: (answer) => read(answer, this.#decoder),
      done: done as (outcome: Outcome) => void,
    });
    this.#post({ kind: "ask", router, question, about });
    return {
      cancel: () => {
        if (this.#asked.delete(question)) this.#post({ kind: "cancel", question });
      },
    };
  }

  /** In the turn of the answer's message. */
  answer(question: number, answer: WireAnswer): void {
    const asked = this.#asked.get(question);
    if (asked === undefined) {
      this.#decoder.note(answer);
      return;
    }
    this.#asked.delete(question);
    asked.done(asked.read(answer));
  }

  refuse(question: number, error: WireError): void {
    const asked = this.#asked.get(question);
    this.#asked.delete(question);
    asked?.done(decodeError(error));
  }

  #refuse<Value>(done: Done<Value>): Cancel {
    const text = `too many questions wait for their answer: ${QUESTIONS_MAX}`;
    const refusal = new RouteError("WAITS_FULL", text);
    let tell: Done<Value> | null = done;
    this.#clock.soon({ runTask: () => tell?.(refusal) });
    return { cancel: () => void (tell = null) };
  }
}

/** One Router of the control isolate. */
export class RemoteRouter implements Router {
  readonly #number: number;
  readonly #questions: Questions;
  readonly #listeners = new Set<{ readonly hear: (change: StateChange) => void }>();

  constructor(number: number, questions: Questions) {
    this.#number = number;
    this.#questions = questions;
  }

  localWorkload(local: LocalWorkloadName, done: Done<WorkloadFacts>): Cancel {
    return this.#ask({ kind: "localWorkload", local }, (answer) => {
      return answer.kind === "localWorkload" ? answer.facts : mismatch(answer);
    }, done);
  }

  outbound(question: OutboundQuestion, done: Done<Route>): Cancel {
    return this.#ask({ kind: "outbound", question }, (answer, decoder) => {
      return answer.kind === "outbound" ? decoder.outbound(answer) : mismatch(answer);
    }, done);
  }

  inbound(question: InboundQuestion, done: Done<InboundRoute>): Cancel {
    return this.#ask({ kind: "inbound", question }, (answer, decoder) => {
      return answer.kind === "inbound" ? decoder.inbound(answer) : mismatch(answer);
    }, done);
  }

  inboundPlaintext(question: PlaintextQuestion, done: Done<InboundRoute>): Cancel {
    return this.#ask({ kind: "inboundPlaintext", question }, (answer, decoder) => {
      return answer.kind === "inbound" ? decoder.inbound(answer) : mismatch(answer);
    }, done);
  }

  policies(selection: PolicySelection, done: Done<readonly Policy[]>): Cancel {
    return this.#ask({ kind: "policies", selection }, (answer) => {
      return answer.kind === "policies" ? answer.policies : mismatch(answer);
    }, done);
  }

  resolve(local: LocalWorkloadName, name: string, family: 4 | 6, done: Done<string>): Cancel {
    return this.#ask({ kind: "resolve", local, name, family }, (answer) => {
      return answer.kind === "resolve" ? answer.ip : mismatch(answer);
    }, done);
  }

  onChange(hear: (change: StateChange) => void): Cancel {
    const listener = { hear };
    this.#listeners.add(listener);
    return { cancel: () => void this.#listeners.delete(listener) };
  }

  resolveHost(question: HostQuestion, done: Done<string>): Cancel {
    return this.#ask({ kind: "resolveHost", question }, (answer) => {
      return answer.kind === "resolve" ? answer.ip : mismatch(answer);
    }, done);
  }

  /** The state changed, as the control isolate says. */
  changed(change: StateChange): void {
    for (const listener of [...this.#listeners]) {
      if (this.#listeners.has(listener)) listener.hear(change);
    }
  }

  #ask<Value>(
    about: Question,
    read: (answer: WireAnswer, decoder: AnswerDecoder) => Value,
    done: Done<Value>,
  ): Cancel {
    return this.#questions.ask(this.#number, about, read, done);
  }
}

function mismatch(answer: WireAnswer): never {
  throw new Error(`An answer of kind ${answer.kind} came to another question`);
}
