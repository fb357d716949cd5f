// Looks at a file when its directory stirs, where that may be watched, and every second anyway.
import type { Clock } from "./base/clock.ts";

/** Between two looks, in milliseconds. */
export const POLL_MS = 1_000;

/** How long a changed file must stand still before it is read, in milliseconds. */
export const SETTLE_MS = 200;

/** No look follows another one sooner, however much its directory stirs, in milliseconds. */
export const LOOK_MS_MIN = 50;

export interface FileWatchOptions {
  readonly path: string;
  readonly clock: Clock;
  /** Never fails. `settling`: the file changed, and the next look tells whether all of it is written. */
  readonly look: () => Promise<string>;
  readonly pollMs?: number;
  readonly settleMs?: number;
  readonly signal: AbortSignal;
}

/** Looks until `signal` aborts; then it is over at once. Never fails. */
export async function watchFile(options: FileWatchOptions): Promise<void> {
  const { path, clock, signal, pollMs = POLL_MS, settleMs = SETTLE_MS } = options;
  const bell = new Bell(clock, signal);
  const watcher = await openWatcher(folderOf(path));
  const watching = watcher === null ? null : ringFor(watcher, bell);
  while (!signal.aborted) {
    const found = await options.look();
    if (found === "settling") await bell.sleep(settleMs);
    else await bell.wait(LOOK_MS_MIN, pollMs);
  }
  closeQuietly(watcher);
  await watching;
}

/** Wakes a sleeper: by time, by ringing, and for good when the signal aborts. */
class Bell {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #isRung = false;
  #wake: () => void = () => {};

  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
  }

  ring(): void {
    this.#isRung = true;
    this.#wake();
  }

  /** Ringing does not wake; whoever waits next hears it. */
  sleep(ms: number): Promise<void> {
    return this.#pause(ms, false);
  }

  /** At least `msMin`, then until it rings or `ms` are over. */
  async wait(msMin: number, ms: number): Promise<void> {
    await this.#pause(Math.min(msMin, ms), false);
    if (!this.#isRung) await this.#pause(Math.max(0, ms - msMin), true);
    this.#isRung = false;
  }

  #pause(ms: number, isWoken: boolean): Promise<void> {
    if (this.#signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        this.#signal.removeEventListener("abort", end);
        this.#wake = () => {};
        resolve();
      };
      const timer = this.#clock.after(ms, end);
      this.#signal.addEventListener("abort", end);
      if (isWoken) this.#wake = end;
    });
  }
}

/** The folder, not the file: a file that is replaced is another one, and Kubernetes swaps a link beside it. */
export function folderOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash + 1);
}

/** Null where it may not or cannot be watched: looking every second is enough. */
async function openWatcher(folder: string): Promise<Deno.FsWatcher | null> {
  const permission = await Deno.permissions.query({ name: "read", path: folder });
  if (permission.state !== "granted") return null;
  try {
    return Deno.watchFs(folder, { recursive: false });
  } catch {
    return null; // No such folder yet, or the kernel has no watch left.
  }
}

async function ringFor(watcher: Deno.FsWatcher, bell: Bell): Promise<void> {
  try {
    for await (const _event of watcher) bell.ring();
  } catch {
    closeQuietly(watcher); // It is over; looking goes on.
  }
}

function closeQuietly(watcher: Deno.FsWatcher | null): void {
  try {
    watcher?.close();
  } catch {
    // It had closed itself.
  }
}
