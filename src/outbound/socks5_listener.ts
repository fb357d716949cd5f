// The SOCKS5 listener, 15080: the way in for programs that nothing captures (spec/data-path §3.8).
import type { SocketAddress } from "../base/address.ts";
import type { Cancel, Channel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { ConnectionBudget } from "../hbone/budget.ts";
import type { Component } from "../hbone/component.ts";
import { DrainError } from "../hbone/errors.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import { HbonePool } from "../hbone/pool.ts";
import type { Listener } from "../net/network.ts";
import { type EarlyBytes, OutboundConnection } from "./connection.ts";
import { refuseForBudget } from "./listener.ts";
import { SocksNegotiation, type SocksOutcome } from "./socks5_negotiation.ts";

/** Negotiates, then hands on to an {@link OutboundConnection}. Has a pool of its own (P1). */
export class Socks5Server implements Component, SocksOutcome {
  readonly name = "socks5";
  readonly pool: HbonePool;
  readonly #parts: DataPlaneParts;
  readonly #budget: ConnectionBudget;
  readonly #negotiating = new Set<SocksNegotiation>();
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
    return this.#negotiating.size + this.#live.size;
  }

  get busy(): boolean {
    return this.connections > 0 || this.pool.stats.connections > 0;
  }

  listen(address: SocketAddress, done: Done<Socks5Server>): Cancel {
    const { network, limits } = this.#parts;
    return network.listen(
      address,
      { backlog: limits.backlogMax, keepalive: null },
      (channel) => this.#accept(channel),
      (outcome) => {
        if (!(outcome instanceof ProxyError)) this.#listener = outcome;
        done(outcome instanceof ProxyError ? outcome : this);
      },
    );
  }

  /** Clients still negotiating have no connection to finish: they are cut. */
  drain(onQuiet: () => void): void {
    this.#onQuiet = onQuiet;
    this.#listener?.close();
    for (const negotiation of [...this.#negotiating]) negotiation.terminate(new DrainError());
    this.#parts.clock.soon({ runTask: () => this.#endPoolWhenQuiet() });
  }

  force(reason: ProxyError): void {
    for (const negotiation of [...this.#negotiating]) negotiation.terminate(reason);
    for (const connection of [...this.#live]) connection.terminate(reason);
    this.pool.cut();
  }

  onSocksTarget(
    negotiation: SocksNegotiation,
    destination: SocketAddress,
    early: EarlyBytes | null,
  ): void {
    this.#negotiating.delete(negotiation);
    this.#live.add(
      new OutboundConnection(
        {
          channel: negotiation.channel,
          destination,
          listener: "socks5",
          acceptedAtMs: negotiation.acceptedAtMs,
          early,
        },
        this.pool,
        this.#parts,
        (connection) => {
          if (this.#live.delete(connection)) this.#onOneOver();
        },
      ),
    );
  }

  onSocksOver(negotiation: SocksNegotiation): void {
    if (this.#negotiating.delete(negotiation)) this.#onOneOver();
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
    this.#negotiating.add(new SocksNegotiation(channel, this.#parts, this));
  }

  #onOneOver(): void {
    this.#budget.giveBack();
    this.#endPoolWhenQuiet();
  }

  #endPoolWhenQuiet(): void {
    const onQuiet = this.#onQuiet;
    if (onQuiet === null || this.connections > 0 || this.pool.stopped) return;
    this.pool.stop(onQuiet);
  }
}
