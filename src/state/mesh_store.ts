// The mesh as it changes: takes updates one after the other, in pieces that leave the event loop free (design §3.4).
import { assert } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { ProxyError } from "../base/errors.ts";
import type { Events } from "../seam/events.ts";
import { type DraftScope, MeshDraft, MeshIndexes } from "./mesh_draft.ts";
import { MeshState } from "./mesh_state.ts";
import type { MeshSink, MeshUpdate } from "./mesh_update.ts";
import type { MeshResources } from "./resources.ts";

/** Milliseconds of work in one turn; a turn is longer by at most one resource, and what listeners take. */
export const SLICE_MS = 5;

/** Updates that wait or are being applied. Whoever waits for `done` before the next one has one. */
export const QUEUED_UPDATES_MAX = 64;

/** Updates come faster than they are applied, and nobody waits for `done`. The update was not taken. */
export class StoreFullError extends ProxyError {
  readonly code = "STORE_FULL";

  constructor(queuedMax: number) {
    super(`Cannot queue an update of the mesh: ${queuedMax} wait already`);
  }
}

/** What readers are told when the snapshot has been replaced. */
export interface MeshStoreChange {
  readonly state: MeshState;
  /** Policies changed: live connections are to be judged again (spec/data-path R1). */
  readonly policies: boolean;
  /** As `StateChange.touched`: the keys of seam/dependency.ts that changed; null: all may have. */
  readonly touched: readonly string[] | null;
  /** A workload came or changed: whoever waits for a local one looks again (spec/xds-state-and-dns §3.7). */
  readonly local: boolean;
}

export interface MeshStoreOptions {
  readonly clock: Clock;
  /** Called once for each update that changed something, before its `done`. */
  readonly onChange: (change: MeshStoreChange) => void;
  readonly log?: Events["log"];
  /** {@link SLICE_MS} */
  readonly sliceMs?: number;
  /** {@link QUEUED_UPDATES_MAX} */
  readonly queuedMax?: number;
}

interface Job {
  readonly scope: DraftScope;
  readonly run: (draft: MeshDraft) => Generator<void, void, void>;
  readonly done: () => void;
}

/** A job that has begun. */
interface Work {
  readonly draft: MeshDraft;
  readonly steps: Generator<void, void, void>;
}

/** Owns the newest snapshot. Readers see each update at once and whole. */
export class MeshStore implements MeshSink {
  readonly #clock: Clock;
  readonly #onChange: (change: MeshStoreChange) => void;
  readonly #warn: (line: string) => void;
  readonly #sliceMs: number;
  readonly #queuedMax: number;
  readonly #jobs: Job[] = [];
  /** Of the first job. */
  #work: Work | null = null;
  #timer: Timer | null = null;
  #closed = false;
  #state = new MeshState(MeshIndexes.empty());

  constructor(options: MeshStoreOptions) {
    const { clock, onChange, log, sliceMs = SLICE_MS, queuedMax = QUEUED_UPDATES_MAX } = options;
    this.#clock = clock;
    this.#onChange = onChange;
    this.#warn = (line) => log?.("warn", "ztunnel::state", line);
    this.#sliceMs = sliceMs;
    this.#queuedMax = queuedMax;
  }

  /** The snapshot that readers see now. */
  get state(): MeshState {
    return this.#state;
  }

  /** Updates that wait or are being applied. */
  get queued(): number {
    return this.#jobs.length;
  }

  /**
   * Takes one response. Resources that say what they said before change nothing.
   * @throws {StoreFullError}
   */
  apply(update: MeshUpdate, done: () => void): void {
    this.#add({ scope: update.kind, run: (draft) => draft.apply(update), done });
  }

  /**
   * Forgets all and takes these, as a local file says them (§4.1).
   * @throws {StoreFullError}
   */
  replaceAll(resources: MeshResources, done: () => void): void {
    this.#add({ scope: "everything", run: (draft) => draft.fill(resources), done });
  }

  /** Stops. What is queued is dropped, its `done` never called; the snapshot stays readable. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.#jobs.length = 0;
    this.#work = null;
  }

  #add(job: Job): void {
    assert(!this.#closed, "A closed store takes no updates");
    if (this.#jobs.length >= this.#queuedMax) throw new StoreFullError(this.#queuedMax);
    this.#jobs.push(job);
    this.#schedule();
  }

  /** Not `soon`: others must have their turn between two slices. */
  #schedule(): void {
    if (this.#timer !== null || this.#jobs.length === 0) return;
    this.#timer = this.#clock.after(0, () => {
      this.#timer = null;
      try {
        this.#runSlice();
      } finally {
        this.#schedule();
      }
    });
  }

  #runSlice(): void {
    const endMs = this.#clock.nowMs() + this.#sliceMs;
    do {
      const job = this.#jobs[0];
      if (job === undefined) return;
      this.#work ??= this.#begin(job);
      const { draft, steps } = this.#work;
      let isLast = true;
      try {
        isLast = steps.next().done === true;
      } finally {
        // Also when it threw: its draft is dropped, and the next job gets its turn.
        if (isLast) {
          this.#work = null;
          this.#jobs.shift();
        }
      }
      if (isLast) this.#publish(job, draft);
    } while (this.#clock.nowMs() < endMs);
  }

  #begin(job: Job): Work {
    const draft = new MeshDraft(this.#state.indexes, { scope: job.scope, warn: this.#warn });
    return { draft, steps: job.run(draft) };
  }

  #publish({ scope, done }: Job, draft: MeshDraft): void {
    this.#state = new MeshState(draft.finish());
    const { touched } = draft;
    if (touched === null || touched.length > 0) {
      const policies = scope !== "addresses";
      this.#onChange({ state: this.#state, policies, touched, local: draft.hasNewWorkload });
    }
    done();
  }
}
