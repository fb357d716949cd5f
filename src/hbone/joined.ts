// The last step of both halves: the application's channel and the next hop's, copied until both end.
import type { Channel } from "../base/channel.ts";
import type { ProxyError } from "../base/errors.ts";
import { Copy, CopyError } from "../net/copy.ts";
import { PathError } from "./errors.ts";
import type { DataPlaneParts } from "./parts.ts";
import type { OpenRecord } from "./record.ts";

/** A running copy, as its connection holds it. */
export interface Joined {
  /** Resets both channels; `done(reason)` follows in a later turn. */
  terminate(reason: ProxyError): void;
}

/**
 * Joins two channels, which it owns from here on, and counts into `record`. `done` is called once, when both
 * are closed: null for an ok end. Where one was ended for a reason that has its own words (revocation, drain),
 * that reason is the error, not the broken copy it caused.
 */
export function joinChannels(
  client: Channel,
  server: Channel,
  record: OpenRecord,
  parts: DataPlaneParts,
  done: (error: ProxyError | null) => void,
): Joined {
  const copy = new Copy({
    client,
    server,
    counters: record,
    done: (error) => {
      const reason = error instanceof CopyError && error.cause instanceof PathError
        ? error.cause
        : error;
      try {
        done(reason);
      } catch (thrown) {
        parts.faults.caught(thrown, "hbone/joined");
      }
    },
  });
  copy.start();
  // Either may have been paused while there was nobody to take its bytes.
  client.resume();
  server.resume();
  return { terminate: (reason) => copy.stop(reason) };
}
