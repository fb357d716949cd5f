// The data plane's isolate: the entry of a web Worker that has ffi until its libraries and callbacks exist, then nothing.
import { getHeapStatistics } from "node:v8";
import { NativeStartError } from "../net/native/start_error.ts";
import { WakeChannel } from "../net/native/wake_channel.ts";
import {
  type NativeRuntime,
  type NativeRuntimeOptions,
  openNativeRuntime,
} from "../net/native/runtime.ts";
import { ProxyError } from "../base/errors.ts";
import type { WorkerStart } from "./messages.ts";
import { type RuntimeHooks, runWorker, type WorkerRuntime } from "./worker_run.ts";

/** Turns that sockets may need to close after everything that used them is over, and the wait in each, in ms. */
const LAST_TURNS = 100;
const LAST_TURN_MS = 10;

function heap(): { readonly usedBytes: number; readonly limitBytes: number } {
  const { used_heap_size: usedBytes, heap_size_limit: limitBytes } = getHeapStatistics();
  return { usedBytes, limitBytes };
}

function open(options: NativeRuntimeOptions, hooks: RuntimeHooks): WorkerRuntime {
  const runtime = openNativeRuntime(options, hooks);
  const wake = openWake(runtime, hooks);
  Deno.permissions.revokeSync({ name: "ffi" });
  const { network, loop, engine, info } = runtime;
  return {
    network,
    clock: loop.clock,
    pins: engine,
    info,
    wakeFd: wake.remoteFd,
    nextTurn: (task) => loop.nextTurn(task),
    health() {
      const { turns, wakes, turnMaxUs } = loop.stats;
      return {
        loop: { turns, wakes, turnP99Us: loop.stats.turnQuantileUs(0.99), turnMaxUs },
        nativeObjects: Object.fromEntries(runtime.objects.counts),
      };
    },
    pauseAccepts: (paused) => network.pauseAccepts(paused),
    run(stopped) {
      loop.run();
      for (let turn = 0; turn < LAST_TURNS && network.openSockets > 0; turn++) {
        loop.turn(LAST_TURN_MS);
      }
      wake.close();
      stopped();
    },
    stop: () => loop.stop(),
    close: () => runtime.close(),
  };
}

function openWake(runtime: NativeRuntime, hooks: RuntimeHooks): WakeChannel {
  const { libc, loop, objects } = runtime;
  const { onWake, onGone, onBug } = hooks;
  try {
    return new WakeChannel({ libc, loop, objects, onWake, onGone, onFault: onBug });
  } catch (error) {
    if (!(error instanceof ProxyError)) throw error;
    runtime.close();
    throw new NativeStartError(`Cannot start the native network: ${error.message}`, {
      cause: error,
    });
  }
}

self.addEventListener("message", (event) => {
  runWorker((event as MessageEvent<WorkerStart<NativeRuntimeOptions>>).data, open, heap);
}, { once: true });
