// Revocation lists of `CRL_PATH` for as long as the process runs: read before anything is served, then followed.
import type { Clock } from "./base/clock.ts";
import { CrlFollower, type CrlFollowerOptions } from "./crl_follower.ts";
import { watchFile } from "./file_watch.ts";

export interface CrlWatchOptions extends CrlFollowerOptions {
  readonly clock: Clock;
  readonly pollMs?: number;
  readonly settleMs?: number;
}

/**
 * Resolves once the file was read, where it is there; from then on `onLists` hears of each new content, until it is
 * disposed of. What is wrong with the file changes nothing. Never fails.
 */
export async function watchCrls(options: CrlWatchOptions): Promise<AsyncDisposable> {
  const follower = new CrlFollower(options);
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
