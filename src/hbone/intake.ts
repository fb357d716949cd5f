// What all listeners of a data plane have in common: opening, room for one more, and the end when nothing is left.
import type { SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import type { Cancel, Channel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { Listener, ListenOptions } from "../net/network.ts";
import type { ConnectionBudget } from "./budget.ts";
import { LimitReached } from "./errors.ts";
import type { DataPlaneParts } from "./parts.ts";

/** Whoever serves what an {@link Intake} accepts. */
export interface IntakeOwner {
  /** Anything it accepted and did not end yet; pooled connections aside. */
  readonly occupied: boolean;
  /** Takes the channel over. Not called any more once a drain began. */
  onAccepted(channel: Channel): void;
  /** The last step of a drain, once, when nothing is occupied: calls `done` when it is made. */
  finish(done: () => void): void;
}

export interface IntakeOptions {
  readonly direction: "outbound" | "inbound";
  /** One is taken for each accepted channel, and given back by {@link Intake.giveBack}; null: not counted here. */
  readonly budget: ConnectionBudget | null;
}

/** A listener from the first bind to the last connection's end (spec/data-path §0.1, §6.1). */
export class Intake {
  readonly #parts: DataPlaneParts;
  readonly #owner: IntakeOwner;
  readonly #options: IntakeOptions;
  #listener: Listener | null = null;
  #onQuiet: (() => void) | null = null;
  #finishing = false;

  constructor(parts: DataPlaneParts, owner: IntakeOwner, options: IntakeOptions) {
    this.#parts = parts;
    this.#owner = owner;
    this.#options = options;
  }

  /** Where it listens, once it does. */
  get local(): SocketAddress {
    assert(this.#listener !== null, "Asked before it was open");
    return this.#listener.local;
  }

  /** The listener may accept for addresses of others, so what it accepted may be passed on in its peer's name. */
  get transparent(): boolean {
    return this.#listener?.transparent ?? false;
  }

  /** Backlog and transparency are the data plane's; the rest is the listener's own (spec/data-path §5.3). */
  listen(
    address: SocketAddress,
    options: Omit<ListenOptions, "backlog" | "transparent">,
    done: Done<Listener>,
  ): Cancel {
    const { network, limits, settings } = this.#parts;
    return network.listen(
      address,
      { ...options, backlog: limits.backlogMax, transparent: settings.originalSource },
      (channel) => this.#accept(channel),
      (outcome) => {
        if (!(outcome instanceof ProxyError)) this.#listener = outcome;
        done(outcome);
      },
    );
  }

  /** Frees the port; `onQuiet` follows in a later turn, when the owner has finished. Once. */
  drain(onQuiet: () => void): void {
    assert(this.#onQuiet === null, "A listener is drained once");
    this.#onQuiet = onQuiet;
    this.#listener?.close();
    this.#parts.clock.soon({ runTask: () => this.settle() });
  }

  /** One that was accepted is over: room for another. */
  giveBack(): void {
    this.#options.budget!.giveBack();
    this.settle();
  }

  /** To be called whenever something of the owner's ended: looks whether that was the last of a drain. */
  settle(): void {
    if (this.#onQuiet === null || this.#finishing || this.#owner.occupied) return;
    this.#finishing = true;
    this.#owner.finish(this.#onQuiet);
  }

  #accept(channel: Channel): void {
    if (this.#onQuiet !== null) {
      channel.reset(null); // Accepted before the listener was closed, told after.
      return;
    }
    const { budget } = this.#options;
    if (budget === null || budget.take()) this.#owner.onAccepted(channel);
    else this.#refuse(channel, budget);
  }

  /** Tells why a connection was not served, and resets it. */
  #refuse(channel: Channel, budget: ConnectionBudget): void {
    const text = `no room for another connection: ${budget.max} are open`;
    const error = new LimitReached("CONNECTIONS_FULL", text);
    this.#parts.events.failedEarly({
      direction: this.#options.direction,
      sourceAddress: channel.peer,
      destinationAddress: channel.local,
      error,
    });
    channel.reset(error);
  }
}
