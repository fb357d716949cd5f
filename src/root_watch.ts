// The file of trust roots that the CA is known by, followed: when it changes, so may the roots that come with certificates.
import { createHash } from "node:crypto";
import type { Clock } from "./base/clock.ts";
import { markOf, readBounded } from "./file_reading.ts";
import { watchFile } from "./file_watch.ts";
import { ROOT_FILE_BYTES_MAX } from "./identity/root_file.ts";

export interface RootWatchOptions {
  readonly path: string;
  readonly clock: Clock;
  /** The file has other bytes than before, and stands still. Whether they are any good is for whoever reads it. */
  readonly onChange: () => void;
  readonly pollMs?: number;
  readonly settleMs?: number;
}

/** Resolves once the file was looked at as it is now; follows it until it is disposed of. Never fails. */
export async function watchRoots(options: RootWatchOptions): Promise<AsyncDisposable> {
  const follower = new RootFollower(options.path, options.onChange);
  await follower.begin();
  const stop = new AbortController();
  const ended = watchFile({ ...options, look: () => follower.look(), signal: stop.signal });
  return {
    [Symbol.asyncDispose]: () => {
      stop.abort();
      return ended;
    },
  };
}

/** One look after the other. */
class RootFollower {
  readonly #path: string;
  readonly #onChange: () => void;
  /** The file when it was last read, and as the last look saw it; null: it was not there. */
  #read: string | null = null;
  #seen: string | null = null;
  /** SHA-256 of what was last read; null: nothing yet. */
  #inUse: string | null = null;

  constructor(path: string, onChange: () => void) {
    this.#path = path;
    this.#onChange = onChange;
  }

  async begin(): Promise<void> {
    const mark = await this.#mark();
    this.#seen = mark;
    await this.#take(mark);
  }

  async look(): Promise<string> {
    const mark = await this.#mark();
    if (mark === null || mark === this.#read) return "unchanged";
    if (mark !== this.#seen) {
      this.#seen = mark;
      return "settling";
    }
    const before = this.#inUse;
    await this.#take(mark);
    if (this.#inUse === before) return "same";
    this.#onChange();
    return "changed";
  }

  async #take(mark: string | null): Promise<void> {
    try {
      const bytes = mark === null ? null : await readBounded(this.#path, ROOT_FILE_BYTES_MAX);
      if (bytes === null) return;
      this.#inUse = createHash("sha256").update(bytes).digest("hex");
      this.#read = mark;
    } catch {
      // Gone between two calls, or not ours to read: looked at again.
    }
  }

  async #mark(): Promise<string | null> {
    try {
      return markOf(await Deno.stat(this.#path));
    } catch {
      return null;
    }
  }
}
