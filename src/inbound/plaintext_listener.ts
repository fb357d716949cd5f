// The plaintext listener, 15006: what was captured on its way to the local application (spec/data-path §3.7).
import type { SocketAddress } from "../base/address.ts";
import type { Cancel, Channel, Done } from "../base/channel.ts";
import type { ProxyError } from "../base/errors.ts";
import { Roster } from "../base/roster.ts";
import type { ConnectionBudget } from "../hbone/budget.ts";
import type { Component } from "../hbone/component.ts";
import { Intake, type IntakeOwner } from "../hbone/intake.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import type { Listener } from "../net/network.ts";
import type { ConnectionManager } from "./connection_manager.ts";
import { PlaintextConnection } from "./plaintext_connection.ts";

/** Accepts, and starts a {@link PlaintextConnection} for each. */
export class PlaintextServer implements Component, IntakeOwner {
  /** In the lines of a drain; the listener's own line says "inbound plaintext" (spec/config-and-observability §4). */
  readonly name = "inbound passthrough";
  readonly intake: Intake;
  readonly #parts: DataPlaneParts;
  readonly #manager: ConnectionManager;
  readonly #live = new Roster<PlaintextConnection>();

  constructor(parts: DataPlaneParts, budget: ConnectionBudget, manager: ConnectionManager) {
    this.#parts = parts;
    this.#manager = manager;
    this.intake = new Intake(parts, this, { direction: "inbound", budget });
  }

  get connections(): number {
    return this.#live.size;
  }

  get occupied(): boolean {
    return this.#live.size > 0;
  }

  get busy(): boolean {
    return this.occupied;
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
  }

  onAccepted(channel: Channel): void {
    const connection = new PlaintextConnection(
      { channel, spoof: this.intake.transparent },
      this.#manager,
      this.#parts,
      (over) => {
        if (this.#live.delete(over)) this.intake.giveBack();
      },
    );
    this.#live.add(connection);
  }

  finish(done: () => void): void {
    done();
  }
}
