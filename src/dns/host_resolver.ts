// The addresses of a host name, as this machine is told to find them (spec/xds-state-and-dns §3.11).
import { isIpv6, parseIp } from "../base/address.ts";
import type { Cancel, Done } from "../base/channel.ts";
import type { Timer } from "../base/clock.ts";
import { ProxyError } from "../base/errors.ts";
import type { Answer, RecordType } from "./answer.ts";
import { NameError } from "./errors.ts";
import { NoAnswerError } from "./exchange.ts";
import { isUnder, namesToAsk, parseHostName } from "./host_name.ts";
import type { Hosts } from "./hosts_file.ts";
import type { ResolverParts } from "./parts.ts";
import { QuestionDesk } from "./question_desk.ts";

/** Look-ups at once, of all connections together. */
export const LOOKUPS_MAX = 10_000;

/** One look-up, all names of the search list together, in milliseconds. */
export const LOOKUP_MS_MAX = 30_000;

/** Once one family has addresses, the other one may take so long still, in milliseconds. */
export const OTHER_FAMILY_MS = 300;

const LOCALHOST = ["127.0.0.1", "::1"];
const NEVER_EXIST = ["invalid", "onion"];

export interface HostResolverOptions extends ResolverParts {
  readonly hosts: Hosts;
  /** False: nobody asks for AAAA, and IPv6 addresses of the hosts file do not count. */
  readonly ipv6Enabled: boolean;
}

/** Finds addresses by literal, `localhost`, the hosts file and name servers, in this order. */
export class HostResolver {
  readonly #options: HostResolverOptions;
  readonly #desk: QuestionDesk;
  readonly #lookups = new Set<Lookup>();

  constructor(options: HostResolverOptions) {
    this.#options = options;
    this.#desk = new QuestionDesk(options);
  }

  /** Questions on the way or waiting: bounded by `QUESTIONS_MAX` and `QUESTIONS_WAITING_MAX`. */
  get pendingQuestions(): number {
    return this.#desk.pending;
  }

  /**
   * All A and AAAA answers, canonical, each once. An empty list: the name exists, without addresses. Fails with a
   * {@link NameError}. `done` is called in a later turn.
   */
  resolve(hostname: string, done: Done<readonly string[]>): Cancel {
    const local = this.#local(hostname);
    if (local !== null) return this.#later(local, done);
    if (this.#lookups.size >= LOOKUPS_MAX) {
      const error = new NameError(hostname, `more than ${LOOKUPS_MAX} look-ups at once`);
      return this.#later(error, done);
    }
    const lookup = new Lookup(hostname, this.#options, this.#desk, (outcome) => {
      this.#lookups.delete(lookup);
      done(outcome);
    });
    this.#lookups.add(lookup);
    return {
      cancel: () => {
        this.#lookups.delete(lookup);
        lookup.cancel();
      },
    };
  }

  /** Ends all look-ups and questions; nobody is told. */
  close(): void {
    for (const lookup of this.#lookups) lookup.cancel();
    this.#lookups.clear();
    this.#desk.close();
  }

  /** What needs no name server. */
  #local(hostname: string): readonly string[] | NameError | null {
    const ip = parseIp(hostname);
    if (ip !== null) return [ip];
    const name = parseHostName(hostname);
    if (name === null) return new NameError(hostname, "it is no host name");
    if (isUnder(name, "localhost")) return this.#usable(LOCALHOST);
    const { hosts } = this.#options;
    const names = namesToAsk(name, {
      isWhole: hostname.endsWith("."),
      config: this.#options.config,
    });
    for (const candidate of [name, ...names]) {
      const ips = hosts.get(candidate);
      if (ips !== undefined) return this.#usable(ips);
    }
    if (NEVER_EXIST.some((parent) => isUnder(name, parent))) {
      return new NameError(hostname, "no such name");
    }
    return null;
  }

  #usable(ips: readonly string[]): readonly string[] {
    return this.#options.ipv6Enabled ? ips : ips.filter((ip) => !isIpv6(ip));
  }

  #later(known: readonly string[] | ProxyError, done: Done<readonly string[]>): Cancel {
    let isCancelled = false;
    this.#options.clock.soon({
      runTask: () => {
        if (!isCancelled) done(known);
      },
    });
    return { cancel: () => void (isCancelled = true) };
  }
}

/** One look-up: a name of the list after the other, both families of each at once. */
class Lookup implements Cancel {
  readonly #hostname: string;
  readonly #names: string[];
  readonly #types: readonly RecordType[];
  readonly #options: HostResolverOptions;
  readonly #desk: QuestionDesk;
  readonly #done: Done<readonly string[]>;
  readonly #deadline: Timer;
  #otherFamily: Timer | null = null;
  #questions: Cancel[] = [];
  /** Of the name that is being asked for, by type. */
  #outcomes = new Map<RecordType, Answer | ProxyError>();
  /** Some name exists, without addresses. */
  #existsEmpty = false;
  #lastError: ProxyError | null = null;

  constructor(
    hostname: string,
    options: HostResolverOptions,
    desk: QuestionDesk,
    done: Done<readonly string[]>,
  ) {
    this.#hostname = hostname;
    this.#options = options;
    this.#desk = desk;
    this.#done = done;
    this.#types = options.ipv6Enabled ? ["A", "AAAA"] : ["A"];
    this.#names = namesToAsk(parseHostName(hostname)!, {
      isWhole: hostname.endsWith("."),
      config: options.config,
    });
    this.#deadline = options.clock.after(LOOKUP_MS_MAX, () => {
      this.#end(new NameError(hostname, `no answer within ${LOOKUP_MS_MAX} ms`));
    });
    this.#askNext();
  }

  cancel(): void {
    this.#deadline.cancel();
    this.#leaveName();
  }

  #askNext(): void {
    const name = this.#names.shift();
    if (name === undefined) return this.#exhausted();
    this.#leaveName();
    this.#questions = this.#types.map((type) =>
      this.#desk.ask({ name, type }, (outcome) => this.#answered(type, outcome))
    );
  }

  #leaveName(): void {
    this.#otherFamily?.cancel();
    this.#otherFamily = null;
    for (const question of this.#questions) question.cancel();
    this.#questions = [];
    this.#outcomes = new Map();
  }

  #answered(type: RecordType, outcome: Answer | ProxyError): void {
    this.#outcomes.set(type, outcome);
    const addresses = this.#addresses();
    if (this.#outcomes.size === this.#types.length) {
      if (addresses.length > 0) this.#end(addresses);
      else this.#nameFailed();
    } else if (addresses.length > 0) {
      this.#otherFamily = this.#options.clock.after(
        OTHER_FAMILY_MS,
        () => this.#end(this.#addresses()),
      );
    }
  }

  /** In the order of the types, whichever came first. */
  #addresses(): string[] {
    const found = this.#types.flatMap((type) => {
      const outcome = this.#outcomes.get(type);
      return outcome === undefined || outcome instanceof ProxyError ? [] : outcome.addresses;
    });
    return [...new Set(found)];
  }

  /** Silence ends the search: nobody would answer the next name either. */
  #nameFailed(): void {
    const outcomes = [...this.#outcomes.values()];
    const errors = outcomes.filter((outcome) => outcome instanceof ProxyError);
    this.#lastError = errors[0] ?? this.#lastError;
    if (errors.length < outcomes.length) {
      this.#existsEmpty ||= outcomes.some((outcome) =>
        !(outcome instanceof ProxyError) && outcome.kind === "OK"
      );
    } else if (errors.some((error) => error instanceof NoAnswerError && error.isSilence)) {
      return this.#exhausted();
    }
    this.#askNext();
  }

  #exhausted(): void {
    if (this.#existsEmpty) return this.#end([]);
    const error = this.#lastError;
    const reason = error === null ? "no such name" : error.message;
    this.#end(
      new NameError(this.#hostname, reason, error === null ? undefined : { cause: error }),
    );
  }

  #end(outcome: readonly string[] | NameError): void {
    this.cancel();
    this.#done(outcome);
  }
}
