// One question to all name servers: two at a time, then the next, then all of them again; aliases are followed.
import { formatAddress, type SocketAddress } from "../base/address.ts";
import type { Cancel, Done } from "../base/channel.ts";
import { DeadlineError, ProxyError } from "../base/errors.ts";
import type { Answer, Question } from "./answer.ts";
import type { NameServers } from "./name_servers.ts";
import type { ResolverParts } from "./parts.ts";
import { type Conclusion, ServerAttempt } from "./server_attempt.ts";
import { ALIASES_MAX, TTL_MS_MAX } from "./wire.ts";

/** Servers asked at the same time (spec/xds-state-and-dns §5.6). */
export const SERVERS_ASKED_MAX = 2;

/** Nobody gave an answer; the message says what the last one said or did not say. */
export class NoAnswerError extends ProxyError {
  readonly code = "NO_ANSWER";
  /** False: a server answered, though not usefully. Then another name may fare better. */
  readonly isSilence: boolean;

  constructor(message: string, options: ErrorOptions & { readonly isSilence: boolean }) {
    super(message, options);
    this.isSilence = options.isSilence;
  }
}

export interface ExchangeParts extends ResolverParts {
  readonly servers: NameServers;
}

/** Runs until somebody knows or nobody is left to ask: `attempts` + 1 tries of every server, for each name of a chain. */
export class Exchange implements Cancel {
  readonly #parts: ExchangeParts;
  readonly #done: Done<Answer>;
  readonly #running = new Set<Cancel>();
  #question: Question;
  #aliases = 0;
  #ttlMs = TTL_MS_MAX;
  #left: SocketAddress[] = [];
  #tries = 0;
  #isSilence = true;
  #last: NoAnswerError | null = null;

  constructor(question: Question, parts: ExchangeParts, done: Done<Answer>) {
    this.#question = question;
    this.#parts = parts;
    this.#done = done;
    this.#ask();
  }

  cancel(): void {
    for (const attempt of this.#running) attempt.cancel();
    this.#running.clear();
  }

  /** Fills the free places; with nobody left and nobody running, tries again or gives up. */
  #ask(): void {
    if (this.#left.length === 0 && this.#running.size === 0) {
      if (this.#tries > this.#parts.config.attempts) return this.#done(this.#last!);
      this.#tries++;
      this.#left = this.#parts.servers.ranked();
    }
    while (this.#running.size < SERVERS_ASKED_MAX && this.#left.length > 0) {
      this.#askServer(this.#left.shift()!);
    }
  }

  #askServer(server: SocketAddress): void {
    const { clock, servers } = this.#parts;
    const startMs = clock.nowMs();
    const attempt = new ServerAttempt(this.#question, server, this.#parts, (outcome) => {
      this.#running.delete(attempt);
      const isReply = !(outcome instanceof ProxyError);
      servers.heard(server, isReply ? clock.nowMs() - startMs : null);
      if (!isReply || outcome.kind === "refused") this.#failed(server, outcome);
      else this.#concluded(outcome);
    });
    this.#running.add(attempt);
  }

  #failed(server: SocketAddress, outcome: ProxyError | Conclusion): void {
    const name = `name server ${formatAddress(server)}`;
    if (!(outcome instanceof ProxyError)) {
      this.#isSilence = false;
      const rcode = outcome.kind === "refused" ? outcome.rcode : outcome.kind;
      this.#last = new NoAnswerError(`${name} answers ${rcode}`, { isSilence: false });
    } else {
      const what = outcome instanceof DeadlineError
        ? `no answer from ${name} within ${this.#parts.config.timeoutMs} ms`
        : `${name}: ${outcome.message}`;
      this.#last = new NoAnswerError(what, { cause: outcome, isSilence: this.#isSilence });
    }
    this.#ask();
  }

  #concluded(outcome: Exclude<Conclusion, { kind: "refused" }>): void {
    this.cancel();
    if (outcome.kind === "answer") {
      const { answer } = outcome;
      return this.#done({ ...answer, ttlMs: Math.min(answer.ttlMs, this.#ttlMs) });
    }
    if (++this.#aliases > ALIASES_MAX) {
      const text = `more than ${ALIASES_MAX} aliases, the last one ${outcome.to}`;
      return this.#done(new NoAnswerError(text, { isSilence: false }));
    }
    this.#ttlMs = Math.min(this.#ttlMs, outcome.ttlMs);
    this.#question = { ...this.#question, name: outcome.to };
    this.#left = [];
    this.#tries = 0;
    this.#ask();
  }
}
