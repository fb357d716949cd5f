// A data-plane worker without native code: planes on a memory network of its own, messages looked for by a timer.
// What goes wrong with it is chosen by its options.
import { ProxyError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { SystemClock } from "../../src/base/system_clock.ts";
import { runWorker, type WorkerRuntime } from "../../src/isolate/worker_run.ts";
import type { WorkerStart } from "../../src/isolate/messages.ts";
import { PERFECT_LINK } from "../../src/net/memory/link_plan.ts";
import { MemoryFabric } from "../../src/net/memory/memory_fabric.ts";

/** `after` ones happen a moment after the start. */
export interface PretendOptions {
  readonly fate:
    | "runs"
    | "cannot start"
    | "throws at start"
    | "says nonsense at start"
    | "throws after"
    | "hangs after"
    | "quits after"
    | "says nonsense after"
    | "bug after";
}

class Refused extends ProxyError {
  readonly code = "NATIVE_START";
}

const AFTER_MS = 20;
const LOOK_EVERY_MS = 2;

function open(
  { fate }: PretendOptions,
  hooks: Parameters<typeof runWorker>[1] extends (options: never, hooks: infer Hooks) => unknown
    ? Hooks
    : never,
): WorkerRuntime {
  if (fate === "cannot start") throw new Refused("Cannot open libssl.so.3: not found");
  if (fate === "throws at start") throw new Error("boom at start");
  const clock = new SystemClock();
  const fabric = new MemoryFabric({
    clock,
    random: new SeededRandom(1),
    plan: () => PERFECT_LINK,
  });
  let look: ReturnType<typeof setInterval> | null = null;
  let stopped: () => void = () => {};
  return {
    network: fabric.network({ label: "host", ips: ["10.0.0.1"] }),
    clock,
    pins: { pin() {}, unpin() {} },
    info: { openssl: "none", fips: null, policy: "default" },
    wakeFd: -1,
    nextTurn: (task) => void setTimeout(() => task.runTask()),
    health: () => ({
      loop: { turns: 0, wakes: 0, turnP99Us: 0, turnMaxUs: 0 },
      nativeObjects: {},
    }),
    pauseAccepts() {},
    run: (whenStopped) => {
      stopped = whenStopped;
      look = setInterval(hooks.onWake, LOOK_EVERY_MS);
      if (fate === "bug after") setTimeout(() => hooks.onBug(new Error("boom")), AFTER_MS);
    },
    stop: () => {
      if (look !== null) clearInterval(look);
      stopped();
    },
    close: () => ({ sockets: fabric.openSockets }),
  };
}

self.addEventListener("message", (event) => {
  const start = (event as MessageEvent<WorkerStart<PretendOptions>>).data;
  const { fate } = start.runtime;
  if (fate === "says nonsense at start") {
    return start.port.postMessage({ kind: "planeEnded", plane: 1 });
  }
  runWorker(start, open, () => ({ usedBytes: 1, limitBytes: 10 }));
  setTimeout(() => {
    if (fate === "throws after") throw new Error("boom");
    if (fate === "quits after") self.close();
    if (fate === "says nonsense after") start.port.postMessage("nonsense");
    // deno-lint-ignore no-empty
    if (fate === "hangs after") { while (true) {} }
  }, AFTER_MS);
}, { once: true });
