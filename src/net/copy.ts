// Joins two channels until both directions are over: half-close, back-pressure, byte counts, and nothing else.
import { assert } from "../base/assert.ts";
import type { Block } from "../base/block.ts";
import type { Channel, ChannelHandler } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";

/** Payload octets per direction, as accepted by the next channel; rises while the copy runs. */
export interface CopyCounters {
  bytesToServer: number;
  bytesToClient: number;
}

export interface CopyOptions {
  /** The side the connection came from. Owned by the copy from `start` on. */
  readonly client: Channel;
  /** The side it goes to. Owned by the copy from `start` on. */
  readonly server: Channel;
  readonly counters: CopyCounters;
  /**
   * Called once, when both channels are closed: null for an ok end, a {@link CopyError}, or the reason given to
   * {@link Copy.stop}.
   */
  readonly done: (error: ProxyError | null) => void;
}

/** `send` is client to server, `receive` server to client. */
export type CopyDirection = "send" | "receive";

/**
 * A direction ended in something other than its end: `send: io error: …`, `receive: io error: …`, with `while
 * closing connection: ` before it when only the half-close was left (spec/data-path C7).
 */
export class CopyError extends ProxyError {
  readonly code: string;
  readonly direction: CopyDirection;

  constructor(direction: CopyDirection, cause: ProxyError, options: { readonly closing: boolean }) {
    const closing = options.closing ? "while closing connection: " : "";
    super(`${closing}${direction}: io error: ${cause.message}`, { cause });
    this.code = cause.code;
    this.direction = direction;
  }
}

/**
 * Ends that count as the end of data: not connected, unexpected EOF, reset, broken pipe (spec/data-path C6), and
 * their HTTP/2 kin (W12, W13).
 */
const ORDINARY_ENDS: ReadonlySet<string> = new Set([
  "ENOTCONN",
  "UNEXPECTED_EOF",
  "ECONNRESET",
  "EPIPE",
  "NO_ERROR",
  "CANCEL",
  "STREAM_CLOSED",
]);

/**
 * Copies between two channels (spec/data-path §5.1). The directions are independent: the end of one is a half-close
 * of its target and leaves the other running; so is an error (C3), and a reset of one side is never passed on as a
 * reset while the other side has nothing to say (W14). A side that still sends to one that is gone is reset: its
 * bytes have nowhere to go, and the original's socket would answer them with RST too.
 *
 * At most what the source hands over before a pause takes effect is under way per direction; the rest waits in the
 * channels (C5, W16). No time-outs (C9). Bytes that came before `start` wait in the channels and are not lost.
 */
export class Copy {
  readonly #options: CopyOptions;
  readonly #client: CopySide;
  readonly #server: CopySide;
  #started = false;
  #stopped: ProxyError | null = null;
  #failure: ProxyError | null = null;

  constructor(options: CopyOptions) {
    this.#options = options;
    this.#client = new CopySide(this, options.client, "send");
    this.#server = new CopySide(this, options.server, "receive");
    this.#client.other = this.#server;
    this.#server.other = this.#client;
  }

  /** Attaches to both channels. Once. */
  start(): void {
    assert(!this.#started, "A copy starts once");
    this.#started = true;
    this.#client.start();
    this.#server.start();
  }

  /**
   * Ends both directions at once with a reset of both channels (policy change, drain, revocation). `done(reason)`
   * follows in a later turn, unless the copy had ended already. The first reason counts.
   */
  stop(reason: ProxyError): void {
    assert(this.#started, "Only a started copy can be stopped");
    this.#stopped ??= reason;
    this.#options.client.reset(reason);
    this.#options.server.reset(reason);
  }

  /** For {@link CopySide}: octets of `direction` went to the next channel. */
  count(direction: CopyDirection, bytes: number): void {
    if (direction === "send") this.#options.counters.bytesToServer += bytes;
    else this.#options.counters.bytesToClient += bytes;
  }

  /** For {@link CopySide}: a direction failed. What is sent counts before what is received, then what came first. */
  fail(error: CopyError): void {
    const known = this.#failure;
    const replaces = known instanceof CopyError && known.direction === "receive" &&
      error.direction === "send";
    if (known === null || replaces) this.#failure = error;
  }

  /** For {@link CopySide}: a channel is closed. */
  sideClosed(): void {
    if (!this.#client.closed || !this.#server.closed) return;
    this.#options.done(this.#stopped ?? this.#failure);
  }
}

/** One channel of the two, and the direction that it is the source of. */
class CopySide implements ChannelHandler {
  /** True once the channel has told its end. */
  closed = false;
  other!: CopySide;
  readonly #copy: Copy;
  readonly #channel: Channel;
  readonly #direction: CopyDirection;
  /** No more bytes come from this channel. */
  #ended = false;
  /** A write to this channel answered false, and it has not been told writable since. */
  #full = false;
  /** The other side is gone: reset this one as soon as what was written to it is on its way. Its bytes are dropped. */
  #abandoned = false;

  constructor(copy: Copy, channel: Channel, direction: CopyDirection) {
    this.#copy = copy;
    this.#channel = channel;
    this.#direction = direction;
  }

  start(): void {
    this.#channel.attach(this);
  }

  onData(block: Block, start: number, end: number): void {
    if (this.#abandoned) return;
    const target = this.other;
    if (target.closed) return this.#abandon();
    // A channel that is closed but has not said so yet takes nothing; its onClose() decides about us.
    const alive = !target.#channel.closed;
    const more = alive && target.#channel.write(block, start, end);
    if (alive) this.#copy.count(this.#direction, end - start);
    if (more) return;
    target.#full = true;
    this.#channel.pause();
  }

  onEnd(): void {
    this.#ended = true;
    this.other.#channel.endWrite();
  }

  onWritable(): void {
    this.#full = false;
    if (this.#abandoned && !this.#ended) this.#channel.reset(null);
    else if (this.other.closed) this.#channel.endWrite();
    else this.other.#channel.resume();
  }

  onClose(error: ProxyError | null): void {
    this.closed = true;
    if (error !== null && !ORDINARY_ENDS.has(error.code)) this.#copy.fail(this.#failureOf(error));
    if (!this.other.closed) this.#leaveOther();
    this.#copy.sideClosed();
  }

  /** The channel closed before the other one: what becomes of that? */
  #leaveOther(): void {
    const other = this.other;
    // While it is full the half-close waits for onWritable(), so that both this and a reset come after the bytes.
    if (!this.#ended && !other.#full) other.#channel.endWrite();
    // It waits for us to take bytes that it has already begun to send.
    if (this.#full && !other.#ended) other.#abandon();
  }

  /** Nobody takes this channel's bytes any more. */
  #abandon(): void {
    if (!this.#full) return this.#channel.reset(null);
    // Reading on and dropping, since a paused channel may be unable to say that it is over (an HTTP/2 stream that
    // the peer has reset holds its bytes and its end back).
    this.#abandoned = true;
    this.#channel.resume();
  }

  /** A channel that fails ends the direction it is the source of; if that is over, the one it is the target of. */
  #failureOf(error: ProxyError): CopyError {
    if (!this.#ended) return new CopyError(this.#direction, error, { closing: false });
    return new CopyError(this.other.#direction, error, { closing: this.other.#ended });
  }
}
