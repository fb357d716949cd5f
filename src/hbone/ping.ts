// Keeps one HTTP/2 connection honest: PING, wait for PONG, or call it dead (spec/data-path W20, W29).
import type { Clock, Timer } from "../base/clock.ts";
import type { DataPlaneLimits } from "./limits.ts";

/** The payload every ztunnel sends; nothing depends on it but traces look familiar. */
export const PING_PAYLOAD: Uint8Array = Uint8Array.of(
  0x3b,
  0x7c,
  0xdb,
  0x7a,
  0x0b,
  0x87,
  0x16,
  0xb4,
);

type State =
  | { readonly kind: "resting"; readonly timer: Timer }
  | { readonly kind: "waiting"; readonly timer: Timer }
  | { readonly kind: "stopped" };

/** What the keeper does to its connection. */
export interface PingTarget {
  ping(opaque: Uint8Array): void;
  /** No PONG in time. The keeper has stopped. */
  onPingTimeout(): void;
}

/**
 * Sends the first PING one interval after it was made (right after the handshake), the next one interval
 * after each PONG, whatever else moves on the connection.
 */
export class PingKeeper {
  readonly #clock: Clock;
  readonly #limits: Pick<DataPlaneLimits, "pingEveryMs" | "pongMsMax">;
  readonly #target: PingTarget;
  #state: State;

  constructor(
    clock: Clock,
    target: PingTarget,
    limits: Pick<DataPlaneLimits, "pingEveryMs" | "pongMsMax">,
  ) {
    this.#clock = clock;
    this.#limits = limits;
    this.#target = target;
    this.#state = this.#rest();
  }

  /** To be called with every PONG; those with another payload are not ours. */
  onPong(opaque: Uint8Array): void {
    if (this.#state.kind !== "waiting") return;
    for (let index = 0; index < PING_PAYLOAD.length; index++) {
      if (opaque[index] !== PING_PAYLOAD[index]) return;
    }
    this.#state.timer.cancel();
    this.#state = this.#rest();
  }

  /** Releases the timer; nothing is called after it. Idempotent. */
  stop(): void {
    if (this.#state.kind !== "stopped") this.#state.timer.cancel();
    this.#state = { kind: "stopped" };
  }

  #rest(): State {
    const timer = this.#clock.after(this.#limits.pingEveryMs, () => {
      this.#state = {
        kind: "waiting",
        timer: this.#clock.after(this.#limits.pongMsMax, () => {
          this.#state = { kind: "stopped" };
          this.#target.onPingTimeout();
        }),
      };
      this.#target.ping(PING_PAYLOAD);
    });
    return { kind: "resting", timer };
  }
}
