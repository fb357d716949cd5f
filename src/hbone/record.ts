// The life of one connection as the events tell it: opened once, closed once (spec/config-and-observability §6.4).
import { assert } from "../base/assert.ts";
import type { ProxyError } from "../base/errors.ts";
import type { ConnectionFacts, ConnectionRecord, Events, ResponseFlag } from "../seam/events.ts";
import { flagOf } from "./errors.ts";
import type { DataPlaneParts } from "./parts.ts";

/** Counts its bytes; its owner closes it whatever happens. */
export class OpenRecord implements ConnectionRecord {
  readonly facts: ConnectionFacts;
  bytesToServer = 0;
  bytesToClient = 0;
  mark = -1;
  readonly #events: Events;
  readonly #startedAtMs: number;
  #closed = false;

  /** @param startedAtMs When the connection was accepted, or the request arrived, in clock milliseconds. */
  constructor(facts: ConnectionFacts, startedAtMs: number, parts: DataPlaneParts) {
    this.facts = facts;
    this.#events = parts.events;
    this.#startedAtMs = startedAtMs;
    this.#events.opened(this);
  }

  /** @param flag Where the error's own is not the right one. */
  close(error: ProxyError | null, nowMs: number, flag: ResponseFlag = flagOf(error)): void {
    assert(!this.#closed, "A record is closed once");
    this.#closed = true;
    this.#events.closed(this, { durationMs: nowMs - this.#startedAtMs, flag, error });
  }
}
