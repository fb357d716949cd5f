// One question to the Router on its way to its answer: what it waits for, and that it is told once (design §3.4).
import type { Cancel, Done } from "../base/channel.ts";
import type { Clock, Task, Timer } from "../base/clock.ts";
import type { ProxyError } from "../base/errors.ts";
import type { LocalWorkloadName } from "../seam/workload.ts";
import type { Lookups } from "./lookups.ts";
import type { Workload } from "./resources.ts";
import type { Recorder, WaitReason } from "./trace.ts";

/** What is asked, and which waits its answer allows. */
export interface Asked<Value> {
  readonly local: LocalWorkloadName;
  /**
   * What happens when the mesh lacks something and the control plane does not answer in time: refused, or decided
   * without it. Null: nothing is asked for.
   */
  readonly unanswered: "refuse" | "decide" | null;
  /** Held while a policy that the workload names is unknown and may be on its way. */
  readonly needsPolicies: boolean;
  readonly trace: Recorder;
  readonly decide: (look: Lookups, workload: Workload) => Value | ProxyError;
}

/** What the owner of the questions does with them. */
export interface QuestionSteps<Value> {
  /** Decides, or parks it. */
  advance(question: Question<Value>): void;
  /** It waits no more, for whatever reason. */
  onWaited(question: Waiting): void;
}

/** Something that the question is parked for. */
interface Wait {
  readonly reason: WaitReason;
  readonly keys: readonly string[];
  readonly timer: Timer;
  readonly wanted: readonly Cancel[];
}

/** A question as those see it who keep the waiting ones. */
export interface Waiting {
  readonly local: LocalWorkloadName;
  /** Null: it does not wait. */
  readonly waitsFor: WaitReason | null;
  /** What it waited for is there: it is decided again. */
  resume(): void;
}

/** Tells its outcome in a later turn, exactly once, and never after `cancel`. */
export class Question<Value> implements Task, Cancel, Waiting {
  readonly asked: Asked<Value>;
  /** What the mesh lacked was asked for already. */
  wasDemanded = false;
  /** It was held for its policies already. */
  wasHeld = false;
  readonly #steps: QuestionSteps<Value>;
  #done: Done<Value> | null;
  #outcome: Value | ProxyError | null = null;
  #wait: Wait | null = null;

  constructor(asked: Asked<Value>, done: Done<Value>, steps: QuestionSteps<Value>) {
    this.asked = asked;
    this.#done = done;
    this.#steps = steps;
  }

  get local(): LocalWorkloadName {
    return this.asked.local;
  }

  get waitsFor(): WaitReason | null {
    return this.#wait === null ? null : this.#wait.reason;
  }

  park(wait: Wait): void {
    this.#wait = wait;
  }

  resume(): void {
    this.unpark(true);
    this.#steps.advance(this);
  }

  /** Ends the wait; `answered` is false when the time was over first. */
  unpark(answered: boolean): void {
    const wait = this.#wait;
    if (wait === null) return;
    this.#stopWaiting(wait);
    this.asked.trace?.push({ step: "wait", reason: wait.reason, keys: wait.keys, answered });
  }

  settle(outcome: Value | ProxyError, clock: Clock): void {
    this.#outcome = outcome;
    clock.soon(this);
  }

  runTask(): void {
    const done = this.#done;
    this.#done = null;
    done?.(this.#outcome!);
  }

  cancel(): void {
    this.#done = null;
    const wait = this.#wait;
    if (wait === null) return;
    this.#stopWaiting(wait);
  }

  #stopWaiting(wait: Wait): void {
    this.#wait = null;
    this.#steps.onWaited(this);
    wait.timer.cancel();
    for (const wanted of wait.wanted) wanted.cancel();
  }
}
