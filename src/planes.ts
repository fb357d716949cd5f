// Opens data planes where the configuration wants them: in this isolate, or in one of their own with FFI alone.
import type { Clock } from "./base/clock.ts";
import { ProxyError } from "./base/errors.ts";
import { SystemRandom } from "./base/random.ts";
import { SystemClock } from "./base/system_clock.ts";
import type { NativeSettings } from "./config/config.ts";
import { startDataPlane } from "./dataplane.ts";
import { type HostedPlaneOptions, startNativeHost } from "./isolate/host.ts";
import type { DataPlaneHealth, DataPlaneInfo } from "./isolate/messages.ts";
import type { RunningPlane } from "./isolate/plane.ts";
import type { NativeRuntimeOptions } from "./net/native/runtime.ts";
import type { DenoNetwork } from "./net/deno/deno_network.ts";
import type { Logger } from "./telemetry/logger.ts";
import type { CrlSet } from "./tls/crl.ts";
import type { RevocationCounts } from "./tls/revocation.ts";
import type { LogLevel } from "./seam/events.ts";

/** Data planes of one process. Disposed of after its planes were stopped. */
export interface Planes extends AsyncDisposable {
  /** What the native network runs on; null on the runtime's own sockets. */
  readonly native: DataPlaneInfo | null;
  /** How the native network's loop does, as of the last heartbeat; null without. */
  readonly health: DataPlaneHealth | null;
  /** Peers refused, and connections ended, because of revocation lists. */
  readonly revocation: RevocationCounts;
  /** Takes revocation lists into use, in place of those before, for connections there are and will be. */
  replaceLists(lists: CrlSet): void;
  /** Rejects with a {@link DataPlaneDeath} when the data planes are gone; never resolves. */
  readonly death: Promise<never>;
  /** Whether a listener on `port` would learn where a captured connection wanted to go. */
  captures(port: number): boolean;
  /** Resolves once the plane listens. */
  open(options: HostedPlaneOptions): Promise<RunningPlane>;
}

/** The data-plane isolate crashed, fell silent or ran out of memory: the process ends with it (design §6). */
export class DataPlaneDeath extends ProxyError {
  readonly code = "DATA_PLANE_DEATH";

  constructor(reason: string) {
    super(`the data plane is gone: ${reason}`);
  }
}

/** Planes in this isolate, on a network of the runtime's own sockets. */
export function planesHere(network: DenoNetwork, clock: Clock): Planes {
  return {
    native: null,
    health: null,
    get revocation() {
      return network.revocation.counts;
    },
    replaceLists: (lists) => network.revocation.replace(lists),
    captures: (port) => network.inheritedWaiting.some((local) => local.port === port),
    death: new Promise(() => {}),
    open: (options) =>
      new Promise((resolve, reject) =>
        startDataPlane(
          { ...options, network, clock, random: new SystemRandom() },
          (outcome) => outcome instanceof ProxyError ? reject(outcome) : resolve(outcome),
        )
      ),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/**
 * What the runtime must be allowed to read to start the worker, whose modules need that where the program's own do
 * not (spec/deno-runtime §6): the sources, or the worker's file beside a bundle.
 */
export function workerSources(): string {
  const { pathname } = new URL(
    import.meta.url.endsWith(".ts") ? "." : "data_plane_worker.js",
    import.meta.url,
  );
  return decodeURIComponent(pathname);
}

/** What the worker needs of its process. */
export interface WorkerProcess {
  readonly logger: Logger;
  /** The most that the log's filter lets through now. */
  readonly logLevel: () => LogLevel;
  readonly clock: Clock;
  /** `DESCRIPTORS_MAX`; null: the kernel is asked. */
  readonly descriptorsMax: number | null;
  /** Listeners handed over. */
  readonly inheritedFds: readonly number[];
  /** Connections were refused because too many are open, `count` since the last call. */
  readonly onRefused: (count: number, connectionsMax: number) => void;
}

/**
 * Planes in a web Worker that has FFI and nothing else.
 * @throws {NativeStartError} if a library, a system call or a capability is missing.
 */
export async function planesInWorker(
  settings: NativeSettings,
  process: WorkerProcess,
): Promise<Planes> {
  const { logger, clock } = process;
  const death = Promise.withResolvers<never>();
  death.promise.catch(() => {}); // Heard by whoever waits; nobody may be waiting yet.
  const host = await startNativeHost<NativeRuntimeOptions>({
    runtime: runtimeOptions(settings, process),
    log: (level, scope, message, fields) => logger.log(level, scope, message, fields),
    logLevel: process.logLevel,
    onRefused: process.onRefused,
    onDeath: (reason) => death.reject(new DataPlaneDeath(reason)),
    clock,
  });
  return {
    native: host.info,
    get health() {
      return host.health;
    },
    get revocation() {
      return host.revocation;
    },
    replaceLists: (lists) => host.replaceLists(lists),
    death: death.promise,
    captures: () => true,
    open: (options) =>
      new Promise((resolve, reject) =>
        host.openPlane(
          options,
          (outcome) => outcome instanceof ProxyError ? reject(outcome) : resolve(outcome),
        )
      ),
    [Symbol.asyncDispose]: async () => {
      const left = Object.entries(await host.close());
      if (left.length > 0) {
        logger.log("warn", "ztunnel::app", "the data plane left native objects behind", {
          objects: left.map(([kind, count]) => `${kind}=${count}`).join(" "),
        });
      }
    },
  };
}

/**
 * Opens the native network, sees what it runs on, and closes it.
 * @throws {NativeStartError} as {@link planesInWorker}.
 */
export async function inspectNative(settings: NativeSettings): Promise<DataPlaneInfo> {
  const host = await startNativeHost<NativeRuntimeOptions>({
    runtime: runtimeOptions(settings, { descriptorsMax: null, inheritedFds: [] }),
    log: () => {},
    onDeath: () => {},
    clock: new SystemClock(),
  });
  const { info } = host;
  await host.close();
  return info;
}

/** Dedicated mode marks upstream sockets only, and shares no port (spec/identity-and-inpod §11.1). */
function runtimeOptions(
  settings: NativeSettings,
  process: Pick<WorkerProcess, "descriptorsMax" | "inheritedFds">,
): NativeRuntimeOptions {
  const { descriptorsMax, inheritedFds } = process;
  return { ...settings, descriptorsMax, inheritedFds, markListeners: false, reusePort: false };
}
