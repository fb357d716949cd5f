// The last fence: a bug in one connection's handling ends that connection only (design §6).
import type { Events } from "../seam/events.ts";
import { InternalError } from "./errors.ts";

/**
 * Counts and logs exceptions caught where the data plane's code is called into: a channel's handler, a
 * completion, a timer. The caller then ends its own connection with the error it gets back.
 */
export class Faults {
  readonly #events: Events;
  #count = 0;

  constructor(events: Events) {
    this.#events = events;
  }

  /** Exceptions so far: 0 in a program without bugs. */
  get count(): number {
    return this.#count;
  }

  /** Logs a thrown value with its stack. `where` names the place in our code. */
  caught(thrown: unknown, where: string): InternalError {
    this.#count++;
    const stack = thrown instanceof Error ? thrown.stack ?? thrown.message : String(thrown);
    this.#events.log("error", "ztunnel::proxy", `bug while handling a connection in ${where}`, {
      error: stack,
    });
    return new InternalError();
  }
}
