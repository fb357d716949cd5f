// What runs in the data-plane isolate, given a way to open its runtime: the first message in, then the loop.
import { receiveMessageOnPort } from "node:worker_threads";
import type { Clock, Task } from "../base/clock.ts";
import { ProxyError } from "../base/errors.ts";
import { SystemRandom } from "../base/random.ts";
import type { Network } from "../net/network.ts";
import { cutText } from "./errors.ts";
import type {
  DataPlaneHealth,
  DataPlaneInfo,
  FromDataPlane,
  ToDataPlane,
  WorkerStart,
} from "./messages.ts";
import type { CertificatePins } from "./remote_certificates.ts";
import { WorkerSide } from "./worker_side.ts";

/** Messages handled in one turn of the loop; the others wait for the next, after a look at the sockets. */
export const TURN_MESSAGES_MAX = 256;

/** What a runtime calls back; none of it before it is open. */
export interface RuntimeHooks {
  /** The control isolate has posted something. */
  readonly onWake: () => void;
  /** The control isolate is gone. */
  readonly onGone: () => void;
  /** A bug, caught where the loop calls in. */
  readonly onBug: (thrown: unknown) => void;
  /** A sentence for the operator. */
  readonly onWarning: (text: string) => void;
  /** A connection was refused for want of descriptors. */
  readonly onRefused: (connectionsMax: number) => void;
}

/** What data planes run on, ready. */
export interface WorkerRuntime {
  readonly network: Network;
  readonly clock: Clock;
  readonly pins: CertificatePins;
  readonly info: DataPlaneInfo;
  /** The control isolate's end of the wake-up channel; -1 where this side looks for messages by itself. */
  readonly wakeFd: number;
  /** Runs `task` in the loop's next turn. */
  nextTurn(task: Task): void;
  pauseAccepts(paused: boolean): void;
  health(): DataPlaneHealth;
  /** Turns until `stop`, then calls `stopped`. */
  run(stopped: () => void): void;
  stop(): void;
  /** Closes everything, outside of any turn; says how many native objects are left, by kind. */
  close(): Readonly<Record<string, number>>;
}

/**
 * Opens the runtime, says so, and runs until the control isolate wants the end.
 * @param open Throws a {@link ProxyError} where it cannot; its message is what the operator reads.
 * @param heap Octets of this isolate's heap.
 */
export function runWorker<Options>(
  start: WorkerStart<Options>,
  open: (options: Options, hooks: RuntimeHooks) => WorkerRuntime,
  heap: () => { readonly usedBytes: number; readonly limitBytes: number },
): void {
  new WorkerRun(start, heap).begin(open);
}

class WorkerRun<Options> implements Task {
  readonly #start: WorkerStart<Options>;
  readonly #flag: Int32Array;
  readonly #heap: () => { readonly usedBytes: number; readonly limitBytes: number };
  #runtime: WorkerRuntime | null = null;
  #side: WorkerSide | null = null;

  constructor(
    start: WorkerStart<Options>,
    heap: () => { readonly usedBytes: number; readonly limitBytes: number },
  ) {
    this.#start = start;
    this.#flag = new Int32Array(start.wakeFlag);
    this.#heap = heap;
  }

  begin(open: (options: Options, hooks: RuntimeHooks) => WorkerRuntime): void {
    let runtime: WorkerRuntime;
    try {
      runtime = open(this.#start.runtime, {
        onWake: () => this.#onWake(),
        onGone: () => this.#runtime?.stop(),
        onBug: (thrown) => this.#side?.bug(thrown),
        onWarning: (text) => this.#side?.log("warn", "ztunnel::net", text),
        onRefused: (connectionsMax) => this.#side?.refused(connectionsMax),
      });
    } catch (thrown) {
      if (!(thrown instanceof ProxyError)) throw thrown;
      this.#post({ kind: "failed", code: thrown.code, message: cutText(thrown.message) });
      return;
    }
    this.#runtime = runtime;
    this.#side = new WorkerSide({
      network: runtime.network,
      clock: runtime.clock,
      random: new SystemRandom(),
      pins: runtime.pins,
      logLevel: this.#start.logLevel,
      post: (message) => this.#post(message),
      pauseAccepts: (paused) => runtime.pauseAccepts(paused),
      heap: this.#heap,
      health: () => runtime.health(),
      onQuiet: () => runtime.stop(),
    });
    this.#post({ kind: "opened", wakeFd: runtime.wakeFd, info: runtime.info });
    runtime.run(() => this.#post({ kind: "closed", leaked: runtime.close() }));
  }

  /** The loop's next turn: there were more messages than one turn takes. */
  runTask(): void {
    this.#receive();
  }

  #onWake(): void {
    // Before the look: what is posted from now on comes with an octet of its own.
    Atomics.exchange(this.#flag, 0, 0);
    this.#receive();
  }

  #receive(): void {
    for (let handled = 0; handled < TURN_MESSAGES_MAX; handled++) {
      const received = receiveMessageOnPort(this.#start.port as never);
      if (received === undefined) return;
      try {
        this.#side!.receive(received.message as ToDataPlane);
      } catch (thrown) {
        this.#side!.bug(thrown);
      }
    }
    this.#runtime!.nextTurn(this);
  }

  #post(message: FromDataPlane): void {
    this.#start.port.postMessage(message);
  }
}
