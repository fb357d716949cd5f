// How the latest streams ended: late frames on them mean different things (RFC 9113 §5.1, "closed").

/** Streams remembered: more than may be open at once, so that a mass reset fits. */
export const CLOSED_STREAMS_MAX = 256;

/** "ended": END_STREAM both ways. */
export type HowClosed = "ended" | "resetByUs" | "resetByPeer";

/** A ring: late frames are rare, so they search it, and ends of streams cost a store. */
export class ClosedStreams {
  readonly #ids: number[] = [];
  readonly #hows: HowClosed[] = [];
  /** The oldest, once all places are taken. */
  #next = 0;

  /** Remembers `streamId`, forgetting the oldest when there are too many. */
  add(streamId: number, how: HowClosed): void {
    this.#ids[this.#next] = streamId;
    this.#hows[this.#next] = how;
    this.#next = this.#next + 1 === CLOSED_STREAMS_MAX ? 0 : this.#next + 1;
  }

  /** The latest reason; "unknown" for a stream that never was, or was long ago. */
  howClosed(streamId: number): HowClosed | "unknown" {
    const count = this.#ids.length;
    for (let back = 1; back <= count; back++) {
      const at = (this.#next - back + count) % count;
      if (this.#ids[at] === streamId) return this.#hows[at]!;
    }
    return "unknown";
  }
}
