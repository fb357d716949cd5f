// Whether the other end of an open stream still lives: asked every 30 s, dead when it says nothing for 10 s.
import type { Clock, Timer } from "../base/clock.ts";

/** Between an answer and the next question. Istiod takes more than one in 15 s for an attack (spec/xds-state-and-dns §1.2). */
export const PROBE_EVERY_MS = 30_000;

/** For an answer. */
export const PROBE_TIMEOUT_MS = 10_000;

/** For TCP to connect (spec/xds-state-and-dns §1.2). */
export const CONNECT_TIMEOUT_MS = 5_000;

/** For a connection and its first answer. */
export const OPEN_TIMEOUT_MS = CONNECT_TIMEOUT_MS + PROBE_TIMEOUT_MS;

/** Questions in a row that could not even be put, where the stream itself says nothing either. */
export const PROBE_FAILURES_MAX = 3;

/** Asks the peer; resolves with any answer, rejects when the question did not get through. */
export type Probe = (signal: AbortSignal) => Promise<void>;

export type Death = "no connection" | "no answer";

/** Watches one stream from its opening to `stop`. */
export class Liveness {
  readonly #clock: Clock;
  readonly #probe: Probe;
  readonly #onDead: (death: Death) => void;
  #timer: Timer | null = null;
  #asking: AbortController | null = null;
  #asked: Promise<void> = Promise.resolve();
  #opening = true;
  #stopped = false;
  #heard = false;
  #failures = 0;

  /** Asks at once; `onDead` is called at most once. */
  constructor(
    options: { readonly clock: Clock; readonly probe: Probe; readonly onDead: (d: Death) => void },
  ) {
    this.#clock = options.clock;
    this.#probe = options.probe;
    this.#onDead = options.onDead;
    this.#ask(OPEN_TIMEOUT_MS);
  }

  /** The stream itself said something: as good as an answer. */
  heard(): void {
    this.#heard = true;
    if (this.#opening) this.#alive();
  }

  /** Resolves when no question is on its way. Idempotent. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.#asking?.abort();
    return this.#asked;
  }

  #ask(timeoutMs: number): void {
    this.#heard = false;
    const asking = this.#asking = new AbortController();
    this.#timer = this.#clock.after(timeoutMs, () => {
      this.#timer = null;
      asking.abort();
      if (this.#heard) this.#alive();
      else this.#die(this.#opening ? "no connection" : "no answer");
    });
    this.#asked = this.#probe(asking.signal).then(
      () => this.#answered(asking),
      () => this.#failed(asking),
    );
  }

  #answered(asking: AbortController): void {
    if (this.#stopped || this.#asking !== asking) return;
    this.#failures = 0;
    this.#alive();
  }

  /** The first question's failure is the stream's own: it says better why, or its time runs out. */
  #failed(asking: AbortController): void {
    if (this.#stopped || this.#asking !== asking || asking.signal.aborted || this.#opening) return;
    // After a GOAWAY questions go elsewhere, while the stream may go on where it is.
    if (!this.#heard && ++this.#failures >= PROBE_FAILURES_MAX) this.#die("no answer");
    else this.#next();
  }

  #alive(): void {
    this.#opening = false;
    this.#next();
  }

  #next(): void {
    if (this.#stopped) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(PROBE_EVERY_MS, () => this.#ask(PROBE_TIMEOUT_MS));
  }

  #die(death: Death): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.#onDead(death);
  }
}
