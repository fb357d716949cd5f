// The file of trust roots that the CA is known by, followed: when it changes, so may the roots that come with certificates.
import { createHash } from "node:crypto";
import type { Clock } from "./base/clock.ts";
import { type FileLook, StillFile } from "./file_reading.ts";
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
  const follower = new RootFollower(options);
  if (await follower.look() === "settling") await follower.look(); // As it is now, still or not.
  const look = async () => {
    const found = await follower.look();
    if (found === "changed") options.onChange();
    return found;
  };
  const stop = new AbortController();
  const ended = watchFile({ ...options, look, signal: stop.signal });
  return {
    [Symbol.asyncDispose]: () => {
      stop.abort();
      return ended;
    },
  };
}

/** One look after the other. */
class RootFollower {
  readonly #file: StillFile;
  /** SHA-256 of what was last read; null: nothing yet. */
  #inUse: string | null = null;

  constructor({ path, clock }: Pick<RootWatchOptions, "path" | "clock">) {
    this.#file = new StillFile(path, clock, ROOT_FILE_BYTES_MAX);
  }

  async look(): Promise<"unchanged" | "settling" | "changed"> {
    let found: FileLook;
    try {
      found = await this.#file.look();
    } catch {
      this.#file.forget();
      return "unchanged"; // Gone, or not ours to read: looked at again.
    }
    if (typeof found === "string") return found;
    if (found.kind !== "read") return "unchanged";
    const digest = createHash("sha256").update(found.bytes).digest("hex");
    if (digest === this.#inUse) return "unchanged";
    this.#inUse = digest;
    return "changed";
  }
}
