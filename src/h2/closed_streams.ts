// How the latest streams ended: late frames on them mean different things (RFC 9113 §5.1, "closed").

/** Streams remembered: more than may be open at once, so that a mass reset fits. */
export const CLOSED_STREAMS_MAX = 256;

/** "ended": END_STREAM both ways. */
export type HowClosed = "ended" | "resetByUs" | "resetByPeer";

export class ClosedStreams {
  readonly #how = new Map<number, HowClosed>();

  /** Remembers `streamId`, forgetting the oldest when there are too many. */
  add(streamId: number, how: HowClosed): void {
    this.#how.set(streamId, how);
    if (this.#how.size <= CLOSED_STREAMS_MAX) return;
    for (const oldest of this.#how.keys()) {
      this.#how.delete(oldest);
      return;
    }
  }

  /** "unknown" for a stream that never was, or was long ago. */
  howClosed(streamId: number): HowClosed | "unknown" {
    return this.#how.get(streamId) ?? "unknown";
  }
}
