// Turning away an application whose TCP handshake already succeeded (spec/data-path §2.1).
import type { Block } from "../base/block.ts";
import type { Channel, ChannelHandler } from "../base/channel.ts";
import type { Timer } from "../base/clock.ts";
import type { ProxyError } from "../base/errors.ts";
import type { DataPlaneParts } from "./parts.ts";

/** How long unread bytes get to show themselves before we send FIN, in ms. */
const LOOK_MS = 10;

type State =
  | { readonly kind: "looking"; readonly timer: Timer }
  | { readonly kind: "ended"; readonly timer: Timer }
  | { readonly kind: "over" };

/**
 * Closes as a kernel closes a socket that nobody read: RST if the application has sent something, else FIN,
 * and RST if it does not close in return within `limits.dismissMsMax`. `onGone` follows the channel's end.
 */
export function dismiss(channel: Channel, parts: DataPlaneParts, onGone: () => void): Dismissal {
  return new Dismissal(channel, parts, onGone);
}

export class Dismissal implements ChannelHandler {
  readonly #channel: Channel;
  readonly #onGone: () => void;
  #state: State;

  constructor(channel: Channel, parts: DataPlaneParts, onGone: () => void) {
    const { clock, limits } = parts;
    this.#channel = channel;
    this.#onGone = onGone;
    this.#state = {
      kind: "looking",
      timer: clock.after(LOOK_MS, () => {
        this.#state = {
          kind: "ended",
          timer: clock.after(limits.dismissMsMax, () => this.now(null)),
        };
        channel.endWrite();
      }),
    };
    channel.attach(this);
    channel.resume();
  }

  /** Ends it at once. */
  now(reason: ProxyError | null): void {
    this.#channel.reset(reason);
  }

  onData(_block: Block, _start: number, _end: number): void {
    this.#channel.reset(null);
  }

  onEnd(): void {
    this.#channel.endWrite();
  }

  onWritable(): void {}

  onClose(_error: ProxyError | null): void {
    if (this.#state.kind !== "over") this.#state.timer.cancel();
    this.#state = { kind: "over" };
    this.#onGone();
  }
}
