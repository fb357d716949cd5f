// One TLS handshake under way: its deadline, its cancellation and the one answer it gives.
import type { Cancel, Done } from "../base/channel.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { ProxyError } from "../base/errors.ts";
import type { SecureChannel } from "./network.ts";

/** TLS handshakes in progress per data plane (design §5); then the oldest is refused. */
export const HANDSHAKES_MAX = 1024;

/**
 * A handshake that answers `done` once: by `succeed`, by `fail`, or not at all after `cancel`. `destroy` is
 * called exactly once unless it succeeded.
 */
export class SecureAttempt implements Cancel {
  readonly #set: SecureAttempts;
  readonly #done: Done<SecureChannel>;
  readonly #timer: Timer;
  #over = false;
  /** Frees whatever the attempt holds by now; replaced as it goes on. */
  destroy: () => void;

  constructor(set: SecureAttempts, options: {
    readonly clock: Clock;
    readonly timeoutMs: number;
    readonly timeoutError: () => ProxyError;
    readonly destroy: () => void;
    readonly done: Done<SecureChannel>;
  }) {
    this.#set = set;
    this.#done = options.done;
    this.destroy = options.destroy;
    this.#timer = options.clock.after(
      options.timeoutMs,
      () => this.fail(options.timeoutError()),
    );
  }

  get over(): boolean {
    return this.#over;
  }

  succeed(channel: SecureChannel): void {
    if (!this.#finish()) return;
    this.#done(channel);
  }

  fail(error: ProxyError): void {
    if (!this.#finish()) return;
    this.destroy();
    this.#done(error);
  }

  cancel(): void {
    if (this.#finish()) this.destroy();
  }

  #finish(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#timer.cancel();
    this.#set.remove(this);
    return true;
  }
}

/** All handshakes under way, oldest first. */
export class SecureAttempts {
  readonly #handshakesMax: number;
  readonly #underWay = new Set<SecureAttempt>();
  #refused = 0;

  constructor(handshakesMax: number) {
    this.#handshakesMax = handshakesMax;
  }

  get underWay(): number {
    return this.#underWay.size;
  }

  /** Handshakes given up because of the limit, since start. */
  get refused(): number {
    return this.#refused;
  }

  /** Takes one in; gives the oldest that must be refused for it, or null. */
  add(attempt: SecureAttempt): SecureAttempt | null {
    let oldest: SecureAttempt | null = null;
    if (this.#underWay.size >= this.#handshakesMax) {
      oldest = this.#underWay.values().next().value ?? null;
      if (oldest !== null) {
        this.#underWay.delete(oldest);
        this.#refused++;
      }
    }
    this.#underWay.add(attempt);
    return oldest;
  }

  remove(attempt: SecureAttempt): void {
    this.#underWay.delete(attempt);
  }
}
