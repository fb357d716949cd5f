// What must be done before this process is ready, by name (spec/config-and-observability §4.2).
import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../telemetry/logger.ts";
import { formatElapsed } from "./elapsed.ts";

const SCOPE = "ztunnel::readiness";

/** The names that probes and scripts see. */
export type ReadinessTaskName = "state manager" | "proxy" | "dns proxy" | "workload proxy manager";

export interface ReadinessTask {
  readonly name: ReadinessTaskName;
  /** Done, for now. Logged; nothing happens if it was not pending. */
  complete(): void;
  /** To be done (again): the CNI agent was lost, a pod proxy waits for a retry. */
  reopen(): void;
}

/** Ready is when nothing is pending, so register every task before the server answers. */
export class Readiness {
  readonly #logger: Pick<Logger, "log">;
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #startMs: number;
  readonly #registered = new Set<ReadinessTaskName>();
  readonly #pending = new Set<ReadinessTaskName>();

  /** Elapsed time counts from here: make it where the process starts. */
  constructor(
    options: { readonly logger: Pick<Logger, "log">; readonly clock: Pick<Clock, "nowMs"> },
  ) {
    this.#logger = options.logger;
    this.#clock = options.clock;
    this.#startMs = options.clock.nowMs();
  }

  /** Names of what is pending, sorted. Empty means ready. */
  get pending(): readonly ReadinessTaskName[] {
    return [...this.#pending].sort();
  }

  /** Adds a task, pending. Each name once. */
  register(name: ReadinessTaskName): ReadinessTask {
    assert(!this.#registered.has(name), `Readiness task '${name}' is registered already`);
    this.#registered.add(name);
    this.#pending.add(name);
    return {
      name,
      complete: () => this.#complete(name),
      reopen: () => {
        this.#pending.add(name);
      },
    };
  }

  #complete(name: ReadinessTaskName): void {
    if (!this.#pending.delete(name)) return;
    const elapsed = formatElapsed(this.#clock.nowMs() - this.#startMs);
    const left = this.#pending.size;
    const rest = left === 0 ? "marking server ready" : `still awaiting ${left} tasks`;
    this.#logger.log("info", SCOPE, `Task '${name}' complete (${elapsed}), ${rest}`);
  }
}
