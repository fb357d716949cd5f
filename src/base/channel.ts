// A full-duplex byte stream, whatever carries it: TCP socket, TLS session, HTTP/2 stream.
import type { SocketAddress } from "./address.ts";
import type { Block } from "./block.ts";
import type { ProxyError } from "./errors.ts";

/**
 * What a channel's owner hears. Calls come one at a time, in a turn of the loop; never from inside a
 * call that the owner makes to the same channel (so `resume()` does not deliver before it returns).
 */
export interface ChannelHandler {
  /**
   * Bytes `start` (inclusive) to `end` (exclusive) of `block` arrived; `end > start`. They are lent
   * for the duration of the call: retain the block to keep them. Never called while paused.
   */
  onData(block: Block, start: number, end: number): void;
  /** The peer will send nothing more (FIN, close_notify, END_STREAM). After all data; never while paused. */
  onEnd(): void;
  /** A `write` had answered false; now all of it is on its way and more is welcome. */
  onWritable(): void;
  /**
   * Both directions are over and nothing follows. Null after an orderly end of both; otherwise why.
   * Exactly once, also after our own `reset`. May come while paused and with data undelivered.
   */
  onClose(error: ProxyError | null): void;
}

/**
 * One end of a byte stream (design §3.2). No call throws for what the peer or the network did; that
 * arrives as `onClose`. Whoever got the channel owns it and ends it, by `endWrite` and the peer's end,
 * or by `reset`.
 */
export interface Channel {
  /** The peer's address, canonical. For an HTTP/2 stream, its connection's. */
  readonly peer: SocketAddress;
  /** Our address, canonical. */
  readonly local: SocketAddress;
  /** True from the moment `onClose` is certain (it may not have been called yet). */
  readonly closed: boolean;
  /**
   * Names the handler and starts delivery, in a later turn. Before the first call the channel is
   * paused. A second call moves the channel to another handler: nothing is lost, nothing repeated.
   */
  attach(handler: ChannelHandler): void;
  /** Stops `onData` and `onEnd` at once. Bytes received meanwhile are bounded by the layer below. */
  pause(): void;
  resume(): void;
  /**
   * Takes all of the range (keeping the block itself where it must) and says whether more is welcome
   * now. After false, wait for `onWritable`; what is written before that is taken all the same, so
   * a caller that ignores the answer is the one who makes memory unbounded. Nothing happens after
   * `endWrite`, `reset` or the end. `start === end` is allowed and writes nothing.
   */
  write(block: Block, start: number, end: number): boolean;
  /** After what was written: FIN, close_notify or END_STREAM. Idempotent. */
  endWrite(): void;
  /**
   * Ends both directions at once: RST, or RST_STREAM. What was not yet sent is lost. `onClose(reason)`
   * follows in a later turn. Idempotent.
   */
  reset(reason: ProxyError | null): void;
}

/** Stops something that was started with a completion callback; the callback will not be called. */
export interface Cancel {
  cancel(): void;
}

/** For what completed at once, or cannot be stopped. */
export const NOTHING_TO_CANCEL: Cancel = { cancel() {} };

/** A completion: called exactly once, in a later turn, unless cancelled. Distinguish by `instanceof ProxyError`. */
export type Done<Value> = (outcome: Value | ProxyError) => void;
