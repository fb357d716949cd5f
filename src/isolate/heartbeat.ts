// Is the other isolate alive? It is asked now and then, and anything it says is an answer (design §6).
import type { Clock, Timer } from "../base/clock.ts";

/** How often the data plane is asked, in ms: an idle one wakes for it less than twice per second. */
export const PING_EVERY_MS = 2500;
/** Silence that means dead, in ms. */
export const SILENCE_MS_MAX = 5000;
/**
 * After that, how long a message that has already arrived may take to be read, in ms: the one who was busy may have
 * been this isolate.
 */
export const SILENCE_GRACE_MS = 200;

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** Asks; an answer is told by `heard`. */
  readonly ping: () => void;
  /** Once, after {@link SILENCE_MS_MAX} of silence. */
  readonly onSilent: () => void;
}

/** Beats from its construction until `stop`, or until it told of silence. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #heardMs: number;
  #ping: Timer;
  #watch: Timer;

  constructor(options: HeartbeatOptions) {
    const { clock } = options;
    this.#options = options;
    this.#heardMs = clock.nowMs();
    this.#ping = clock.after(PING_EVERY_MS, () => this.#beat());
    this.#watch = clock.after(SILENCE_MS_MAX, () => this.#judge());
  }

  /** The other isolate said something. */
  heard(): void {
    this.#heardMs = this.#options.clock.nowMs();
  }

  stop(): void {
    this.#ping.cancel();
    this.#watch.cancel();
  }

  #beat(): void {
    this.#ping = this.#options.clock.after(PING_EVERY_MS, () => this.#beat());
    this.#options.ping();
  }

  #judge(): void {
    const { clock } = this.#options;
    const leftMs = this.#heardMs + SILENCE_MS_MAX - clock.nowMs();
    if (leftMs > 0) {
      this.#watch = clock.after(leftMs, () => this.#judge());
      return;
    }
    const heardMs = this.#heardMs;
    this.#watch = clock.after(SILENCE_GRACE_MS, () => {
      if (this.#heardMs > heardMs) return this.#judge();
      this.stop();
      this.#options.onSilent();
    });
  }
}
