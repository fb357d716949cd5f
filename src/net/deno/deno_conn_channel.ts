// A `Deno.TlsConn` as a Channel: the runtime's promises stay inside this file.
import type { SocketAddress } from "../../base/address.ts";
import { type Block, BlockPool } from "../../base/block.ts";
import type { ChannelHandler } from "../../base/channel.ts";
import type { Clock, Task } from "../../base/clock.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import type { PeerSecurity, SecureChannel } from "../network.ts";
import { netError, type RuntimeError } from "./errors.ts";
import { UNSENT_BYTES_MAX } from "./socket_channel.ts";

const BLOCK_BYTES = 64 * 1024;
/** Pieces from this size on are written by themselves; smaller ones are gathered. */
const GATHER_BYTES_BELOW = 16 * 1024;

/** Read buffers and gathering buffers of all connections of this kind. */
const POOL = new BlockPool({ blockBytes: BLOCK_BYTES, idleMax: 64 });

interface Piece {
  readonly block: Block;
  readonly start: number;
  readonly end: number;
}

export interface DenoConnChannelOptions {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  readonly clock: Clock;
  readonly security: PeerSecurity;
  readonly onBug: (error: unknown) => void;
  /** Called once, when the connection's descriptor is free again. */
  readonly onClosed: () => void;
}

/**
 * {@link SecureChannel} over a connection of `Deno.connectTls`, which it owns. One read and one write are under
 * way at a time. It cannot send RST: a reset is a close.
 */
export class DenoConnChannel implements SecureChannel, Task {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  readonly security: PeerSecurity;
  readonly #conn: Deno.TlsConn;
  readonly #options: DenoConnChannelOptions;
  #handler: ChannelHandler | null = null;
  #paused = false;
  #scheduled = false;
  #reading = false;
  /** Read and not delivered, as the handler paused meanwhile. */
  #held: Piece | null = null;
  #peerEnd: "open" | "arrived" | "told" = "open";
  #writing = false;
  readonly #unsent: Piece[] = [];
  #unsentBytes = 0;
  #full = false;
  #writeEnded = false;
  #finSent = false;
  #closed = false;
  #reason: ProxyError | null = null;
  #closeTold = false;

  constructor(conn: Deno.TlsConn, options: DenoConnChannelOptions) {
    this.#conn = conn;
    this.#options = options;
    this.peer = options.peer;
    this.local = options.local;
    this.security = options.security;
  }

  get closed(): boolean {
    return this.#closed;
  }

  attach(handler: ChannelHandler): void {
    this.#handler = handler;
    this.#schedule();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  write(block: Block, start: number, end: number): boolean {
    if (this.#writeEnded || this.#closed || end <= start) return !this.#full;
    block.retain();
    this.#unsent.push({ block, start, end });
    this.#unsentBytes += end - start;
    if (this.#unsentBytes > UNSENT_BYTES_MAX) this.#full = true;
    this.#schedule();
    return !this.#full;
  }

  endWrite(): void {
    if (this.#writeEnded || this.#closed) return;
    this.#writeEnded = true;
    this.#schedule();
  }

  reset(reason: ProxyError | null): void {
    this.#end(reason);
  }

  /** For the clock only: whatever the last calls made possible. */
  runTask(): void {
    this.#scheduled = false;
    if (this.#closed) return this.#tellClose();
    if (!this.#writing && (this.#unsent.length > 0 || this.#writeEnded)) void this.#write();
    if (!this.#flowing()) return;
    if (this.#held !== null) {
      const { block, start, end } = this.#held;
      this.#held = null;
      this.#tellData(block, start, end);
    } else if (this.#peerEnd === "arrived") this.#tellEnd();
    if (this.#flowing() && !this.#reading && this.#peerEnd === "open") void this.#read();
  }

  #flowing(): boolean {
    return this.#handler !== null && !this.#paused && !this.#closed;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#options.clock.soon(this);
  }

  async #read(): Promise<void> {
    this.#reading = true;
    while (this.#flowing() && this.#held === null) {
      const block = POOL.take();
      let octets: number | null;
      try {
        octets = await this.#conn.read(block.bytes);
      } catch (error) {
        block.release();
        this.#reading = false;
        return this.#end(netError(error as RuntimeError));
      }
      if (this.#closed) return block.release();
      if (octets === null) {
        block.release();
        this.#peerEnd = "arrived";
        this.#reading = false;
        if (this.#flowing()) this.#tellEnd();
        return;
      }
      if (octets === 0) block.release();
      else if (this.#flowing()) this.#tellData(block, 0, octets);
      else this.#held = { block, start: 0, end: octets };
    }
    this.#reading = false;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    try {
      while (this.#unsent.length > 0 && !this.#closed) {
        const next = this.#next();
        let at = next.start;
        try {
          while (at < next.end) {
            at += await this.#conn.write(next.block.bytes.subarray(at, next.end));
          }
        } finally {
          next.block.release();
        }
        this.#unsentBytes -= next.end - next.start;
        if (this.#full && this.#unsentBytes <= UNSENT_BYTES_MAX / 4 && !this.#closed) {
          this.#full = false;
          this.#call(() => this.#handler?.onWritable());
        }
      }
      if (this.#writeEnded && !this.#finSent && !this.#closed) {
        this.#finSent = true;
        await this.#conn.closeWrite();
      }
    } catch (error) {
      this.#writing = false;
      return this.#end(netError(error as RuntimeError));
    }
    this.#writing = false;
    if (this.#unsent.length > 0) this.#schedule();
    this.#endIfBothOver();
  }

  /** The next piece to write; small ones are gathered, so that Nagle's algorithm does not part them. */
  #next(): Piece {
    const first = this.#unsent.shift()!;
    const second = this.#unsent[0];
    if (second === undefined || first.end - first.start >= GATHER_BYTES_BELOW) return first;
    const gathered = POOL.take();
    let length = 0;
    let piece: Piece | undefined = first;
    do {
      const { block, start, end }: Piece = piece;
      const taken = Math.min(end - start, BLOCK_BYTES - length);
      gathered.bytes.set(block.bytes.subarray(start, start + taken), length);
      length += taken;
      if (piece !== first) this.#unsent.shift();
      if (taken === end - start) block.release();
      else this.#unsent.unshift({ block, start: start + taken, end });
      piece = this.#unsent[0];
    } while (piece !== undefined && length < BLOCK_BYTES);
    return { block: gathered, start: 0, end: length };
  }

  #tellData(block: Block, start: number, end: number): void {
    this.#call(() => this.#handler!.onData(block, start, end));
    block.release();
  }

  #tellEnd(): void {
    this.#peerEnd = "told";
    this.#call(() => this.#handler!.onEnd());
    this.#endIfBothOver();
  }

  #endIfBothOver(): void {
    if (this.#finSent && !this.#writing && this.#peerEnd === "told") this.#end(null);
  }

  #end(reason: ProxyError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reason = reason;
    try {
      this.#conn.close();
    } catch (error) {
      // The runtime closes a connection by itself after some errors, and then throws here.
      if (!(error instanceof Deno.errors.BadResource)) this.#options.onBug(error);
    }
    for (const { block } of this.#unsent) block.release();
    this.#unsent.length = 0;
    this.#held?.block.release();
    this.#held = null;
    this.#options.onClosed();
    this.#schedule();
  }

  #tellClose(): void {
    if (this.#handler === null || this.#closeTold) return;
    this.#closeTold = true;
    try {
      this.#handler.onClose(this.#reason);
    } catch (error) {
      this.#options.onBug(error);
    }
  }

  #call(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#options.onBug(error);
      this.#end(new NetError("CANCELLED", { message: "internal error" }));
    }
  }
}
