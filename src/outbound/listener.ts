// The captured listener, 15001: whatever the application dialled goes on to where it meant (spec/data-path §2.1).
import type { SocketAddress } from "../base/address.ts";
import type { Cancel, Channel, Done } from "../base/channel.ts";
import type { ProxyError } from "../base/errors.ts";
import { Roster } from "../base/roster.ts";
import type { ConnectionBudget } from "../hbone/budget.ts";
import type { Component } from "../hbone/component.ts";
import { Intake, type IntakeOwner } from "../hbone/intake.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import { HbonePool } from "../hbone/pool.ts";
import type { Listener } from "../net/network.ts";
import { OutboundConnection } from "./connection.ts";

/** Accepts, and starts an {@link OutboundConnection} for each, to its original destination (O2). */
export class OutboundServer implements Component, IntakeOwner {
  readonly name = "outbound";
  readonly pool: HbonePool;
  readonly intake: Intake;
  readonly #parts: DataPlaneParts;
  readonly #live = new Roster<OutboundConnection>();

  constructor(parts: DataPlaneParts, budget: ConnectionBudget) {
    this.#parts = parts;
    this.pool = new HbonePool(parts);
    this.intake = new Intake(parts, this, { direction: "outbound", budget });
  }

  get connections(): number {
    return this.#live.size;
  }

  get occupied(): boolean {
    return this.#live.size > 0;
  }

  get busy(): boolean {
    return this.occupied || this.pool.stats.connections > 0;
  }

  listen(address: SocketAddress, done: Done<Listener>): Cancel {
    const { keepalive, userTimeoutMs } = this.#parts.settings;
    return this.intake.listen(address, { keepalive, userTimeoutMs, captured: true }, done);
  }

  drain(onQuiet: () => void): void {
    this.intake.drain(onQuiet);
  }

  force(reason: ProxyError): void {
    for (const connection of this.#live.members()) connection.terminate(reason);
    this.pool.cut();
  }

  onAccepted(channel: Channel): void {
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
        (connection) => {
          if (this.#live.delete(connection)) this.intake.giveBack();
        },
      ),
    );
  }

  /** The pool ends with the last connection of a drained listener (P14). */
  finish(done: () => void): void {
    this.pool.stop(done);
  }
}
