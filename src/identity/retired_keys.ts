// Keys that were replaced: wiped once nobody can be about to sign with them.
import type { Clock, Timer } from "../base/clock.ts";
import type { PrivateKey } from "../tls/private_key.ts";

/** A replaced key is kept so long: whoever got it before may still be dialling. */
export const RETIRED_KEPT_MS = 60_000;

/**
 * One timer for each key. Their number follows from the rotations of {@link RETIRED_KEPT_MS}, of which an identity
 * has one a second at most.
 */
export class RetiredKeys {
  readonly #clock: Clock;
  readonly #timers = new Map<PrivateKey, Timer>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#timers.size;
  }

  /** Wipes `key` after a while. */
  add(key: PrivateKey): void {
    if (this.#timers.has(key)) return;
    this.#timers.set(key, this.#clock.after(RETIRED_KEPT_MS, () => this.#wipe(key)));
  }

  /** Wipes all of them now. */
  close(): void {
    for (const key of [...this.#timers.keys()]) this.#wipe(key);
  }

  #wipe(key: PrivateKey): void {
    this.#timers.get(key)?.cancel();
    this.#timers.delete(key);
    key.wipe();
  }
}
