// Two channels joined by a wire that a test can cut to pieces, hold, count and look at.
import type { SocketAddress } from "../../src/base/address.ts";
import { assert } from "../../src/base/assert.ts";
import { adoptBlock, type Block } from "../../src/base/block.ts";
import type { Channel, ChannelHandler } from "../../src/base/channel.ts";
import { NetError, type ProxyError } from "../../src/base/errors.ts";
import type { Clock } from "../../src/base/clock.ts";

export interface PipeOptions {
  /** Octets per delivery; Infinity delivers each write whole. A function is asked before each one. */
  readonly pieceBytes?: number | (() => number);
  /** Undelivered octets from which `write` answers false. Default: never. */
  readonly highWaterBytes?: number;
  /** Keep written blocks until they are delivered, as an asynchronous socket does; default copies at once. */
  readonly keepsBlocks?: boolean;
}

interface Piece {
  readonly block: Block;
  start: number;
  readonly end: number;
}

/** One end of the pipe. What is written here arrives at {@link other}. */
export class PipeEnd implements Channel {
  readonly local: SocketAddress;
  readonly #clock: Pick<Clock, "after">;
  readonly #options: PipeOptions;
  other!: PipeEnd;
  /** Calls of `write` that carried something. */
  writes = 0;
  bytesWritten = 0;
  /** While true, nothing written here arrives at the other end. */
  held = false;
  #queue: Piece[] = [];
  #queuedBytes = 0;
  #owesWritable = false;
  #handler: ChannelHandler | null = null;
  #paused = false;
  #endWritten = false;
  #endArrived = false;
  #closing: { readonly error: ProxyError | null } | null = null;
  #closeTold = false;
  #pumpPending = false;

  constructor(local: SocketAddress, clock: Pick<Clock, "after">, options: PipeOptions) {
    this.local = local;
    this.#clock = clock;
    this.#options = options;
  }

  get peer(): SocketAddress {
    return this.other.local;
  }

  get closed(): boolean {
    return this.#closing !== null;
  }

  /** True once this side was ended by `endWrite`. */
  get endWritten(): boolean {
    return this.#endWritten;
  }

  /** Octets written here and not delivered yet. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  attach(handler: ChannelHandler): void {
    this.#handler = handler;
    this.#paused = false;
    this.other.wake();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.other.wake();
  }

  /** Lets what was held arrive. */
  release(): void {
    this.held = false;
    this.wake();
  }

  write(block: Block, start: number, end: number): boolean {
    assert(start <= end && end <= block.bytes.length && block.references > 0, "Not a live range");
    if (this.#endWritten || this.closed || start === end) return true;
    this.writes++;
    this.bytesWritten += end - start;
    if (this.#options.keepsBlocks === true) {
      block.retain();
      this.#queue.push({ block, start, end });
    } else {
      const copy = adoptBlock(block.bytes.slice(start, end));
      this.#queue.push({ block: copy, start: 0, end: end - start });
    }
    this.#queuedBytes += end - start;
    this.wake();
    if (this.#queuedBytes < (this.#options.highWaterBytes ?? Infinity)) return true;
    this.#owesWritable = true;
    return false;
  }

  endWrite(): void {
    if (this.#endWritten || this.closed) return;
    this.#endWritten = true;
    this.wake();
  }

  reset(reason: ProxyError | null): void {
    if (this.closed) return;
    this.#close(reason);
    if (!this.other.closed) this.other.#close(new NetError("ECONNRESET"));
  }

  /** Schedules delivery to the other end, in a later turn. */
  wake(): void {
    if (this.#pumpPending) return;
    this.#pumpPending = true;
    this.#clock.after(0, () => {
      this.#pumpPending = false;
      this.#pump();
    });
  }

  #close(error: ProxyError | null): void {
    this.#closing = { error };
    for (const { block } of this.#queue.splice(0)) block.release();
    this.#queuedBytes = 0;
    this.#clock.after(0, () => this.#tellClose());
  }

  #tellClose(): void {
    if (this.#closeTold || this.#handler === null) return;
    this.#closeTold = true;
    this.#handler.onClose(this.#closing!.error);
  }

  /** One delivery, then again while there is more. */
  #pump(): void {
    const target = this.other;
    if (target.closed || target.#handler === null || target.#paused || this.held) return;
    const piece = this.#queue[0];
    if (piece !== undefined) {
      const { pieceBytes = Infinity } = this.#options;
      const wanted = typeof pieceBytes === "number" ? pieceBytes : pieceBytes();
      const start = piece.start;
      const end = Math.min(piece.end, start + Math.max(1, wanted));
      piece.start = end;
      if (end === piece.end) this.#queue.shift();
      this.#queuedBytes -= end - start;
      target.#handler.onData(piece.block, start, end);
      if (end === piece.end) piece.block.release();
    }
    if (this.#queue.length > 0) {
      this.wake();
    } else if (this.#endWritten && !target.closed && !target.#endArrived) {
      target.#endArrived = true;
      target.#handler.onEnd();
      this.#closeIfOver();
      target.#closeIfOver();
    } else {
      this.#closeIfOver();
      target.#closeIfOver();
    }
    if (
      this.#owesWritable && !this.closed &&
      this.#queuedBytes * 2 <= (this.#options.highWaterBytes ?? 0)
    ) {
      this.#owesWritable = false;
      this.#handler?.onWritable();
    }
  }

  #closeIfOver(): void {
    if (this.#endWritten && this.#endArrived && this.#queue.length === 0 && !this.closed) {
      this.#close(null);
    }
  }
}

/** Two joined ends. */
export function bytePipe(
  clock: Pick<Clock, "after">,
  options: PipeOptions = {},
): readonly [PipeEnd, PipeEnd] {
  const left = new PipeEnd({ ip: "10.0.0.1", port: 40_000 }, clock, options);
  const right = new PipeEnd({ ip: "10.0.0.2", port: 15_008 }, clock, options);
  left.other = right;
  right.other = left;
  return [left, right];
}
