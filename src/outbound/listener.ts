// The captured listener, 15001: whatever the application dialled goes on to where it meant (spec/data-path §2.1).
import type { SocketAddress } from "../base/address.ts";
import type { Cancel, Channel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { ConnectionBudget } from "../hbone/budget.ts";
import type { Component } from "../hbone/component.ts";
import { LimitReached } from "../hbone/errors.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import { HbonePool } from "../hbone/pool.ts";
import type { Listener } from "../net/network.ts";
import { OutboundConnection } from "./connection.ts";

/**
 * Accepts, and starts an {@link OutboundConnection} for each. Until a network knows the original destination,
 * it is the accepted socket's own address, as under TPROXY (O2).
 */
export class OutboundServer implements Component {
  readonly name = "outbound";
  readonly pool: HbonePool;
  readonly #parts: DataPlaneParts;
  readonly #budget: ConnectionBudget;
  readonly #live = new Set<OutboundConnection>();
  #listener: Listener | null = null;
  #onQuiet: (() => void) | null = null;

  constructor(parts: DataPlaneParts, budget: ConnectionBudget) {
    this.#parts = parts;
    this.#budget = budget;
    this.pool = new HbonePool(parts);
  }

  get local(): SocketAddress {
    return this.#listener!.local;
  }

  get connections(): number {
    return this.#live.size;
  }

  get busy(): boolean {
    return this.#live.size > 0 || this.pool.stats.connections > 0;
  }

  listen(address: SocketAddress, done: Done<OutboundServer>): Cancel {
    const { network, limits, settings } = this.#parts;
    return network.listen(
      address,
      { backlog: limits.backlogMax, keepalive: settings.keepalive },
      (channel) => this.#accept(channel),
      (outcome) => {
        if (!(outcome instanceof ProxyError)) this.#listener = outcome;
        done(outcome instanceof ProxyError ? outcome : this);
      },
    );
  }

  drain(onQuiet: () => void): void {
    this.#onQuiet = onQuiet;
    this.#listener?.close();
    this.#parts.clock.soon({ runTask: () => this.#endPoolWhenQuiet() });
  }

  force(reason: ProxyError): void {
    for (const connection of [...this.#live]) connection.terminate(reason);
    this.pool.cut();
  }

  #accept(channel: Channel): void {
    if (this.#onQuiet !== null) {
      channel.reset(null);
      return;
    }
    if (!this.#budget.take()) {
      refuseForBudget(channel, this.#budget, this.#parts);
      return;
    }
    this.#live.add(
      new OutboundConnection(
        {
          channel,
          destination: channel.local,
          listener: "outbound",
          acceptedAtMs: this.#parts.clock.nowMs(),
          early: null,
        },
        this.pool,
        this.#parts,
        (connection) => this.#onOver(connection),
      ),
    );
  }

  #onOver(connection: OutboundConnection): void {
    if (!this.#live.delete(connection)) return;
    this.#budget.giveBack();
    this.#endPoolWhenQuiet();
  }

  /** The pool ends with the last connection of a drained listener (P14). */
  #endPoolWhenQuiet(): void {
    const onQuiet = this.#onQuiet;
    if (onQuiet === null || this.#live.size > 0 || this.pool.stopped) return;
    this.pool.stop(onQuiet);
  }
}

/** Tells why a connection was not served, and resets it. */
export function refuseForBudget(
  channel: Channel,
  budget: ConnectionBudget,
  parts: DataPlaneParts,
): void {
  const error = new LimitReached(
    "CONNECTIONS_FULL",
    `no room for another connection: ${budget.max} are open`,
  );
  parts.events.failedEarly({
    direction: "outbound",
    sourceAddress: channel.peer,
    destinationAddress: channel.local,
    error,
  });
  channel.reset(error);
}
