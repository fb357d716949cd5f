// The SOCKS5 listener, 15080: the way in for programs that nothing captures (spec/data-path §3.8).
import type { SocketAddress } from "../base/address.ts";
import type { Cancel, Channel, Done } from "../base/channel.ts";
import type { ProxyError } from "../base/errors.ts";
import { Roster } from "../base/roster.ts";
import type { ConnectionBudget } from "../hbone/budget.ts";
import type { Component } from "../hbone/component.ts";
import { DrainError } from "../hbone/errors.ts";
import { Intake, type IntakeOwner } from "../hbone/intake.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import { HbonePool } from "../hbone/pool.ts";
import type { Listener } from "../net/network.ts";
import { type EarlyBytes, OutboundConnection } from "./connection.ts";
import { SocksNegotiation, type SocksOutcome } from "./socks5_negotiation.ts";

/** Negotiates, then hands on to an {@link OutboundConnection}. Has a pool of its own (P1). */
export class Socks5Server implements Component, IntakeOwner, SocksOutcome {
  readonly name = "socks5";
  readonly pool: HbonePool;
  readonly intake: Intake;
  readonly #parts: DataPlaneParts;
  readonly #negotiating = new Roster<SocksNegotiation>();
  readonly #live = new Roster<OutboundConnection>();

  constructor(parts: DataPlaneParts, budget: ConnectionBudget) {
    this.#parts = parts;
    this.pool = new HbonePool(parts);
    this.intake = new Intake(parts, this, { direction: "outbound", budget });
  }

  get connections(): number {
    return this.#negotiating.size + this.#live.size;
  }

  get occupied(): boolean {
    return this.connections > 0;
  }

  get busy(): boolean {
    return this.occupied || this.pool.stats.connections > 0;
  }

  listen(address: SocketAddress, done: Done<Listener>): Cancel {
    return this.intake.listen(address, { keepalive: null }, done);
  }

  /** Clients still negotiating have no connection to finish: they are cut. */
  drain(onQuiet: () => void): void {
    this.intake.drain(onQuiet);
    for (const negotiation of this.#negotiating.members()) negotiation.terminate(new DrainError());
  }

  force(reason: ProxyError): void {
    for (const negotiation of this.#negotiating.members()) negotiation.terminate(reason);
    for (const connection of this.#live.members()) connection.terminate(reason);
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
          if (this.#live.delete(connection)) this.intake.giveBack();
        },
      ),
    );
  }

  onSocksOver(negotiation: SocksNegotiation): void {
    if (this.#negotiating.delete(negotiation)) this.intake.giveBack();
  }

  onAccepted(channel: Channel): void {
    this.#negotiating.add(new SocksNegotiation(channel, this.#parts, this));
  }

  finish(done: () => void): void {
    this.pool.stop(done);
  }
}
