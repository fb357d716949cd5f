// The data plane in an isolate of its own: a web Worker that has ffi and nothing else (design §4; deno-runtime §9.3).
import { Socket } from "node:net";
import type { Done } from "../base/channel.ts";
import type { Clock } from "../base/clock.ts";
import { SystemRandom } from "../base/random.ts";
import type { Events, LogLevel } from "../seam/events.ts";
import type { CrlSet } from "../tls/crl.ts";
import type { RevocationCounts } from "../tls/revocation.ts";
import { ControlSide, type HostedPlane, type HostedPlaneOptions } from "./control_side.ts";
import { DataPlaneStartError, MessageError } from "./errors.ts";
import { checkMessage } from "./message_check.ts";
import type {
  DataPlaneHealth,
  DataPlaneInfo,
  FromDataPlane,
  ToDataPlane,
  WorkerStart,
} from "./messages.ts";

export type { HostedPlane, HostedPlaneOptions };

/** From the worker's start to its first message, in ms: libraries are opened and tested. */
export const START_MS_MAX = 30_000;
/** From the request to close to the worker's last message, in ms. */
export const CLOSE_MS_MAX = 10_000;

/** Ffi alone: it is given up by the worker itself once its libraries and callbacks exist. */
const WORKER_PERMISSIONS = {
  ffi: true,
  net: false,
  read: false,
  write: false,
  env: false,
  run: false,
  sys: false,
  import: false,
} as const;

const OCTET = Uint8Array.of(1);

export interface NativeHostOptions<RuntimeOptions> {
  /** Copied to the worker, which opens the runtime from it. */
  readonly runtime: RuntimeOptions;
  /** Lines about the data plane's isolate itself; its planes have events of their own. */
  readonly log: Events["log"];
  /** {@link ControlSide} */
  readonly logLevel?: () => LogLevel;
  readonly onRefused?: (count: number, connectionsMax: number) => void;
  /**
   * The data plane is lost, and why: crashed, silent for 5 s, out of heap. Once. Its sockets and native memory are
   * beyond help (design §6): the process ends with exit 1.
   */
  readonly onDeath: (reason: string) => void;
  readonly clock: Clock;
  /** The worker's module; by default the one beside this file. */
  readonly workerUrl?: URL;
  /** Whether this isolate gives ffi up once the worker has what it needs. Default true. */
  readonly revokeFfi?: boolean;
}

/** A data-plane isolate that runs. */
export interface NativeHost {
  readonly info: DataPlaneInfo;
  /** Bugs caught in the worker outside of any plane's own count. */
  readonly bugs: number;
  /** As of the last heartbeat; null before the first. */
  readonly health: DataPlaneHealth | null;
  /** {@link ControlSide.revocation} */
  readonly revocation: RevocationCounts;
  /** {@link ControlSide.replaceLists} */
  replaceLists(lists: CrlSet): void;
  /** Opens a plane there; `done` follows when its listeners are open. */
  openPlane(options: HostedPlaneOptions, done: Done<HostedPlane>): void;
  /** Stops what runs there and ends the worker; gives native objects that were left, by kind. */
  close(): Promise<Readonly<Record<string, number>>>;
}

/**
 * Where the worker's module is: beside this one in the sources; in a bundle, which is one file, beside that under
 * the name `data_plane_worker.js`.
 */
export function workerModule(ownUrl: string): URL {
  const name = ownUrl.endsWith(".ts") ? "data_plane_worker.ts" : "data_plane_worker.js";
  return new URL(name, ownUrl);
}

/**
 * Starts the worker and waits until it has opened its libraries.
 * @throws {DataPlaneStartError} with one sentence where it cannot; nothing stays open then.
 */
export async function startNativeHost<RuntimeOptions>(
  options: NativeHostOptions<RuntimeOptions>,
): Promise<NativeHost> {
  const host = new WorkerHost(options);
  try {
    await host.opened;
  } catch (error) {
    host.end();
    throw error;
  }
  if (options.revokeFfi ?? true) Deno.permissions.revokeSync({ name: "ffi" });
  return host;
}

class WorkerHost<RuntimeOptions> implements NativeHost {
  readonly opened: Promise<void>;
  readonly #options: NativeHostOptions<RuntimeOptions>;
  readonly #port: MessagePort;
  /** Ours only where the worker did not live to take it. */
  readonly #workerPort: MessagePort;
  readonly #flag: Int32Array;
  readonly #worker: Worker | null;
  readonly #opening = Promise.withResolvers<void>();
  #info: DataPlaneInfo | null = null;
  #side: ControlSide | null = null;
  #wake: Socket | null = null;

  constructor(options: NativeHostOptions<RuntimeOptions>) {
    this.#options = options;
    const { clock } = options;
    const startTimer = clock.after(
      START_MS_MAX,
      () => this.#failStart("START_TIMEOUT", `it said nothing within ${START_MS_MAX / 1000} s`),
    );
    this.opened = this.#opening.promise.finally(() => startTimer.cancel());
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#workerPort = port2;
    port1.onmessage = ({ data }) => this.#receive(data);
    const wakeFlag = new SharedArrayBuffer(4);
    this.#flag = new Int32Array(wakeFlag);
    this.#worker = this.#openWorker(options.workerUrl ?? workerModule(import.meta.url));
    const start: WorkerStart<RuntimeOptions> = {
      port: port2,
      wakeFlag,
      runtime: options.runtime,
      logLevel: options.logLevel?.() ?? "trace",
    };
    this.#worker?.postMessage(start, [port2]);
  }

  get info(): DataPlaneInfo {
    return this.#info!;
  }

  get bugs(): number {
    return this.#side!.bugs;
  }

  get health(): DataPlaneHealth | null {
    return this.#side!.health;
  }

  get revocation(): RevocationCounts {
    return this.#side!.revocation;
  }

  replaceLists(lists: CrlSet): void {
    this.#side!.replaceLists(lists);
  }

  openPlane(options: HostedPlaneOptions, done: Done<HostedPlane>): void {
    this.#side!.openPlane(options, done);
  }

  close(): Promise<Readonly<Record<string, number>>> {
    return new Promise((resolve) => {
      const limit = this.#options.clock.after(
        CLOSE_MS_MAX,
        () => this.#side!.died(`it did not close within ${CLOSE_MS_MAX / 1000} s`),
      );
      this.#side!.close((leaked) => {
        limit.cancel();
        this.end();
        resolve(leaked);
      });
    });
  }

  /** Ends the worker and frees what this side holds of it. Idempotent. */
  end(): void {
    this.#worker?.terminate();
    this.#port.close();
    this.#workerPort.close();
    this.#wake?.destroy();
    this.#wake = null;
  }

  /** Null where this isolate may not give ffi away. */
  #openWorker(url: URL): Worker | null {
    const options = {
      type: "module",
      name: "data plane",
      deno: { permissions: WORKER_PERMISSIONS },
    } as const;
    let worker: Worker;
    try {
      worker = new Worker(url, options);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      this.#failStart("NO_FFI", "it needs the whole ffi permission (--allow-ffi without a path)");
      return null;
    }
    worker.onerror = (event) => {
      event.preventDefault(); // Else the process would end here, without a word of ours.
      this.#crashed(event.message);
    };
    worker.onmessageerror = () => this.#crashed("a message could not be read");
    return worker;
  }

  #receive(data: unknown): void {
    if (this.#side !== null) this.#side.receive(data);
    else this.#receiveFirst(data);
  }

  #receiveFirst(data: unknown): void {
    let message: FromDataPlane;
    try {
      message = checkMessage(data);
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      return this.#failStart(error.code, error.message);
    }
    if (message.kind === "failed") {
      this.#opening.reject(new DataPlaneStartError(message.code, message.message));
    } else if (message.kind === "opened") this.#run(message.wakeFd, message.info);
    else this.#failStart("BAD_MESSAGE", `it began with a message of kind ${message.kind}`);
  }

  #run(wakeFd: number, info: DataPlaneInfo): void {
    this.#info = info;
    if (wakeFd >= 0) {
      this.#wake = new Socket({ fd: wakeFd, readable: false, writable: true });
      // A worker that is gone is noticed by its silence; what it said last may still be on its way.
      this.#wake.on("error", () => {});
    }
    const { clock, log, logLevel, onRefused, onDeath } = this.#options;
    this.#side = new ControlSide({
      clock,
      random: new SystemRandom(),
      post: (message, transfer) => this.#post(message, transfer),
      log,
      ...(logLevel === undefined ? {} : { logLevel }),
      ...(onRefused === undefined ? {} : { onRefused }),
      onDeath: (reason) => {
        this.end();
        onDeath(reason);
      },
    });
    this.#opening.resolve();
  }

  /** Many posts cost one octet: the flag says that one is on its way. */
  #post(message: ToDataPlane, transfer: readonly ArrayBuffer[] = []): void {
    this.#port.postMessage(message, [...transfer]);
    if (Atomics.exchange(this.#flag, 0, 1) === 0) this.#wake?.write(OCTET);
  }

  #crashed(text: string): void {
    const [message = text] = text.split("\n");
    if (this.#side === null) this.#failStart("WORKER_FAILED", message);
    else this.#side.died(`it crashed: ${message}`);
  }

  #failStart(code: string, reason: string): void {
    const text = `Cannot start the data plane's isolate: ${reason}`;
    this.#opening.reject(new DataPlaneStartError(code, text));
  }
}
