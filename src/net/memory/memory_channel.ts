// One end of a simulated TCP connection.
import type { SocketAddress } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { Block } from "../../base/block.ts";
import type { Channel, ChannelHandler } from "../../base/channel.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import type { Keepalive } from "../network.ts";
import type { LinkPlan } from "./link_plan.ts";
import type { Pipe } from "./pipe.ts";
import type { PoisonedBlockPool } from "./poisoned_pool.ts";

/** Linux gives up retransmitting after about this long (tcp_retries2 = 15), in milliseconds. */
export const RETRANSMIT_GIVE_UP_MS = 924_600;

export interface MemoryChannelParts {
  readonly clock: Clock;
  readonly pool: PoisonedBlockPool;
  readonly plan: LinkPlan;
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  /** What this end reads, and what it writes. */
  readonly incoming: Pipe;
  readonly outgoing: Pipe;
  readonly keepalive: Keepalive | null;
  /** Called once, when the socket is gone. */
  readonly onGone: () => void;
}

/** Bytes that the kernel had no room for; their block is held. */
interface Waiting {
  readonly block: Block;
  start: number;
  readonly end: number;
}

/**
 * A {@link Channel} over two {@link Pipe}s. Events (readable, writable, closed) are timers of 0 ms or of the
 * arrival time: each runs in a turn of its own and the order between channels is the clock's.
 */
export class MemoryChannel implements Channel {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  readonly #parts: MemoryChannelParts;
  #other: MemoryChannel | null = null;
  #handler: ChannelHandler | null = null;
  #paused = false;
  readonly #waiting: Waiting[] = [];
  #owesWritable = false;
  #peerEnded = false;
  #writeEnded = false;
  #finSent = false;
  #closed = false;
  #closeError: ProxyError | null = null;
  #closeTold = false;
  #cut = false;
  #readTimer: Timer | null = null;
  #readDueMs = Infinity;
  #writeTimer: Timer | null = null;
  #closeTimer: Timer | null = null;
  #giveUpTimer: Timer | null = null;
  #giveUpAtMs = Infinity;

  constructor(parts: MemoryChannelParts) {
    this.#parts = parts;
    this.peer = parts.peer;
    this.local = parts.local;
  }

  /** Tells both ends of each other; before anything else. */
  static join(a: MemoryChannel, b: MemoryChannel): void {
    a.#other = b;
    b.#other = a;
  }

  get closed(): boolean {
    return this.#closed;
  }

  attach(handler: ChannelHandler): void {
    this.#handler = handler;
    if (this.#closed) return this.#tellClose();
    this.#planRead();
    this.#planWrite();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#planRead();
  }

  write(block: Block, start: number, end: number): boolean {
    assert(start >= 0 && start <= end && end <= block.bytes.length, "Range lies inside the block");
    assert(block.references > 0, "A freed block cannot be written");
    if (this.#closed || this.#writeEnded) return false;
    let taken = 0;
    if (this.#waiting.length === 0 && start < end) {
      taken = this.#parts.outgoing.accept(block.bytes, start, end, this.#nowMs);
      this.#afterSend();
    }
    if (start + taken < end) {
      block.retain();
      this.#waiting.push({ block, start: start + taken, end });
    }
    if (this.#waiting.length === 0) return true;
    this.#owesWritable = true;
    return false;
  }

  endWrite(): void {
    if (this.#closed || this.#writeEnded) return;
    this.#writeEnded = true;
    this.#owesWritable = false;
    if (this.#waiting.length === 0) this.#sendFin();
    if (this.#finSent && this.#peerEnded) this.#terminate(null);
  }

  reset(reason: ProxyError | null): void {
    if (this.#closed) return;
    this.#parts.outgoing.reset(this.#nowMs);
    this.#other!.#planRead();
    this.#terminate(reason);
  }

  /** The fabric's RST, or its silence, reached this end's kernel. For `Link` only. */
  noticePlanChange(cut: boolean): void {
    if (this.#closed) return;
    if (cut && !this.#cut) {
      this.#cut = true;
      this.#planGiveUp();
    }
    this.#planRead();
  }

  get #nowMs(): number {
    return this.#parts.clock.nowMs();
  }

  /** After bytes, FIN or RST went out: the other end may have something to read. */
  #afterSend(): void {
    this.#other!.#planRead();
    if (this.#cut) this.#planGiveUp();
  }

  #sendFin(): void {
    this.#finSent = true;
    this.#parts.outgoing.finish(this.#nowMs);
    this.#afterSend();
  }

  /** Makes sure that a read event comes when there is something to tell, and none when there is not. */
  #planRead(): void {
    if (this.#closed) return;
    const incoming = this.#parts.incoming;
    const listening = this.#handler !== null && !this.#paused;
    // FIN is told once; after it only a RST can come.
    const nextMs = listening && !this.#peerEnded ? incoming.nextMs : incoming.resetMs;
    if (nextMs === this.#readDueMs) return;
    if (nextMs > this.#readDueMs && this.#readDueMs <= this.#nowMs) return; // Fires, sees nothing, plans again.
    this.#readTimer?.cancel();
    this.#readDueMs = nextMs;
    this.#readTimer = nextMs === Infinity
      ? null
      : this.#parts.clock.after(Math.max(0, nextMs - this.#nowMs), () => this.#onReadable());
  }

  #onReadable(): void {
    this.#readTimer = null;
    this.#readDueMs = Infinity;
    const incoming = this.#parts.incoming;
    const nowMs = this.#nowMs;
    const listening = this.#handler !== null && !this.#paused;
    const readable = listening && incoming.hasArrived(nowMs);
    if (incoming.wasReset(nowMs) && (!readable || this.#parts.plan.resetDropsUnread)) {
      this.#terminate(new NetError("ECONNRESET"));
      return;
    }
    if (readable) {
      this.#deliver();
    } else if (listening && !this.#peerEnded && incoming.hasEnded(nowMs)) {
      this.#peerEnded = true;
      this.#handler!.onEnd();
      if (this.#finSent && !this.#closed) this.#terminate(null);
    }
    this.#planRead();
  }

  #deliver(): void {
    const block = this.#parts.pool.take();
    const end = this.#parts.incoming.read(block.bytes, 0, this.#nowMs);
    this.#parts.pool.noteUsed(block, end);
    this.#other!.#planWrite();
    try {
      this.#handler!.onData(block, 0, end);
    } finally {
      block.release();
    }
  }

  /** Makes sure that waiting bytes move, and `onWritable` is told, in an event of their own. */
  #planWrite(): void {
    if (this.#closed || this.#writeTimer !== null) return;
    if (this.#waiting.length === 0 && !(this.#owesWritable && this.#handler !== null)) return;
    this.#writeTimer = this.#parts.clock.after(0, () => this.#onRoom());
  }

  #onRoom(): void {
    this.#writeTimer = null;
    let moved = false;
    while (this.#waiting.length > 0) {
      const first = this.#waiting[0]!;
      const taken = this.#parts.outgoing.accept(
        first.block.bytes,
        first.start,
        first.end,
        this.#nowMs,
      );
      moved ||= taken > 0;
      first.start += taken;
      if (first.start < first.end) break;
      this.#waiting.shift();
      first.block.release();
    }
    if (moved) this.#afterSend();
    if (this.#waiting.length > 0) return;
    if (this.#writeEnded) {
      if (!this.#finSent) this.#sendFin();
      if (this.#peerEnded) this.#terminate(null);
    } else if (this.#owesWritable && this.#handler !== null) {
      this.#owesWritable = false;
      this.#handler.onWritable();
    }
  }

  /** After a silent cut: what Linux does when nobody answers. */
  #planGiveUp(): void {
    const keepalive = this.#parts.keepalive;
    const keepaliveMs = keepalive === null
      ? Infinity
      : keepalive.idleMs + keepalive.intervalMs * keepalive.probes;
    const unsent = this.#waiting.length > 0 || this.#finSent ||
      this.#parts.outgoing.hasUnacknowledged(this.#nowMs);
    const giveUpMs = Math.min(keepaliveMs, unsent ? RETRANSMIT_GIVE_UP_MS : Infinity);
    // Nobody may ever know, with neither keepalive nor bytes sent: the connection hangs, as real ones do.
    if (this.#nowMs + giveUpMs >= this.#giveUpAtMs) return;
    this.#giveUpTimer?.cancel();
    this.#giveUpAtMs = this.#nowMs + giveUpMs;
    this.#giveUpTimer = this.#parts.clock.after(giveUpMs, () => {
      this.#parts.outgoing.reset(this.#nowMs);
      this.#terminate(new NetError("ETIMEDOUT"));
    });
  }

  #terminate(error: ProxyError | null): void {
    assert(!this.#closed, "A channel ends once");
    this.#closed = true;
    this.#closeError = error;
    for (const { block } of this.#waiting) block.release();
    this.#waiting.length = 0;
    for (const timer of [this.#readTimer, this.#writeTimer, this.#giveUpTimer]) timer?.cancel();
    this.#parts.incoming.abandon();
    this.#other!.#planWrite();
    this.#parts.onGone();
    this.#tellClose();
  }

  #tellClose(): void {
    if (this.#handler === null || this.#closeTold || this.#closeTimer !== null) return;
    this.#closeTimer = this.#parts.clock.after(0, () => {
      this.#closeTold = true;
      this.#handler!.onClose(this.#closeError);
    });
  }
}
