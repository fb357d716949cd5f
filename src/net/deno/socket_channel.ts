// One of the runtime's sockets, plain or TLS, as a Channel.
import type { Socket } from "node:net";
import type { SocketAddress } from "../../base/address.ts";
import { type Block, consumeBlock } from "../../base/block.ts";
import type { Channel, ChannelHandler } from "../../base/channel.ts";
import type { Clock, Task } from "../../base/clock.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import { netError, type RuntimeError } from "./errors.ts";
import type { TlsCarrier } from "./tls_carrier.ts";

/** Octets taken and not yet handed to the kernel above which `write` answers false. */
export const UNSENT_BYTES_MAX = 256 * 1024;
/** After a false, `onWritable` comes when no more than this is left. */
const UNSENT_BYTES_LOW = 64 * 1024;
/** Entries already written that are kept before the queue is moved to its front. */
const UNSENT_COMPACTION = 256;

export interface SocketChannelOptions {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  readonly clock: Clock;
  /** What lies below where `socket` is a TLS session, else null. */
  readonly carrier: TlsCarrier | null;
  /** Told what the handler threw: our bug; the channel is reset. */
  readonly onBug: (error: unknown) => void;
}

/**
 * {@link Channel} over a connected socket that nobody has read from; owns it. Reads take the runtime's
 * buffers over and free them at once. The writes of one turn go out together, by reference, in one `writev`.
 */
export class SocketChannel implements Channel, Task {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #carrier: TlsCarrier | null;
  readonly #onBug: (error: unknown) => void;
  #handler: ChannelHandler | null = null;
  #paused = false;
  #attachedBefore = false;
  /** The peer's end: not come, come and not told, told. */
  #peerEnd: "open" | "arrived" | "told" = "open";
  #writeEnded = false;
  #corked = false;
  #scheduled = false;
  /** Blocks being written, oldest first from `#unsentHead`, with the octets of each. */
  readonly #unsent: Block[] = [];
  readonly #unsentSizes: number[] = [];
  #unsentHead = 0;
  #unsentBytes = 0;
  #full = false;
  /** Set once the end is certain. */
  #closed = false;
  #reason: ProxyError | null = null;
  /** The socket is gone: not yet, gone and not told, told. */
  #close: "open" | "arrived" | "told" = "open";
  #detached = false;
  readonly #written = () => this.#onWritten();
  readonly #onSocketData = (chunk: Uint8Array<ArrayBuffer>) => this.#onData(chunk);
  readonly #onSocketEnd = () => this.#onEnd();
  readonly #onSocketError = (error: RuntimeError) => this.#onError(error);
  readonly #onSocketClose = () => this.#onClose();

  constructor(socket: Socket, options: SocketChannelOptions) {
    this.peer = options.peer;
    this.local = options.local;
    this.#socket = socket;
    this.#clock = options.clock;
    this.#carrier = options.carrier;
    this.#onBug = options.onBug;
    socket.pause();
    this.#carrier?.stopReading();
    socket.on("data", this.#onSocketData);
    socket.on("end", this.#onSocketEnd);
    socket.on("error", this.#onSocketError);
    socket.on("close", this.#onSocketClose);
    if (socket.destroyed) this.#onClose();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Octets taken and not yet handed to the kernel. */
  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  attach(handler: ChannelHandler): void {
    this.#handler = handler;
    this.#attachedBefore = true;
    this.#deliver();
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
    this.#carrier?.stopReading();
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
  }

  write(block: Block, start: number, end: number): boolean {
    if (this.#writeEnded || this.#closed || end <= start) return !this.#full;
    const pieceBytesMax = this.#carrier?.writeBytesMax ?? Infinity;
    if (end - start <= pieceBytesMax) {
      if (!this.#corked && pieceBytesMax === Infinity) {
        this.#corked = true;
        this.#socket.cork();
        this.#schedule();
      }
      this.#send(block, start, end);
    } else {
      for (let at = start; at < end; at += pieceBytesMax) {
        this.#send(block, at, Math.min(end, at + pieceBytesMax));
      }
    }
    if (this.#unsentBytes > UNSENT_BYTES_MAX) this.#full = true;
    return !this.#full;
  }

  endWrite(): void {
    if (this.#writeEnded || this.#closed) return;
    this.#writeEnded = true;
    this.#corked = false;
    this.#socket.end();
  }

  reset(reason: ProxyError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reason = reason;
    const carrier = this.#carrier;
    if (carrier === null) this.#socket.resetAndDestroy();
    else {
      carrier.resetAndDestroy();
      this.#socket.destroy();
    }
  }

  /**
   * Gives the bare socket away, for TLS to take over, if that loses nothing: never attached, nothing
   * written, not closed. Null otherwise. Afterwards this object is dead and says nothing more.
   */
  detach(): Socket | null {
    const untouched = !this.#attachedBefore && this.#unsentBytes === 0 && !this.#closed &&
      !this.#writeEnded && this.#carrier === null && this.#peerEnd === "open";
    if (!untouched || this.#detached) return null;
    this.#detached = true;
    this.#closed = true;
    const socket = this.#socket;
    socket.off("data", this.#onSocketData);
    socket.off("end", this.#onSocketEnd);
    socket.off("error", this.#onSocketError);
    socket.off("close", this.#onSocketClose);
    return socket;
  }

  /** For the clock only: the end of a turn in which something was put off. */
  runTask(): void {
    this.#scheduled = false;
    if (this.#corked) {
      this.#corked = false;
      this.#socket.uncork();
    }
    if (this.#close === "arrived") this.#tellClose();
    else if (this.#peerEnd === "arrived" && this.#flowing()) this.#tellEnd();
  }

  #send(block: Block, start: number, end: number): void {
    block.retain();
    this.#unsent.push(block);
    this.#unsentSizes.push(end - start);
    this.#unsentBytes += end - start;
    this.#socket.write(block.bytes.subarray(start, end), this.#written);
  }

  #flowing(): boolean {
    return this.#handler !== null && !this.#paused && !this.#closed;
  }

  /** Lets the socket flow if it may, and puts off what is due from earlier. */
  #deliver(): void {
    if (this.#close === "arrived") this.#schedule();
    if (!this.#flowing()) return;
    if (this.#peerEnd === "open") {
      this.#carrier?.startReading();
      this.#socket.resume();
    } else if (this.#peerEnd === "arrived") this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.soon(this);
  }

  #onData(chunk: Uint8Array<ArrayBuffer>): void {
    if (this.#closed || this.#handler === null) return;
    const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const block = consumeBlock(bytes);
    try {
      this.#handler.onData(block, 0, bytes.length);
    } catch (error) {
      this.#bug(error);
    }
    block.release();
  }

  #onEnd(): void {
    if (this.#peerEnd !== "open" || this.#closed) return;
    if (this.#carrier?.truncated === true) {
      this.#closed = true;
      this.#reason = new NetError("UNEXPECTED_EOF", {
        message: "peer closed connection without sending TLS close_notify",
      });
      this.#socket.destroy();
      return;
    }
    this.#peerEnd = "arrived";
    if (this.#flowing()) this.#tellEnd();
  }

  #tellEnd(): void {
    this.#peerEnd = "told";
    try {
      this.#handler!.onEnd();
    } catch (error) {
      this.#bug(error);
    }
  }

  #onWritten(): void {
    const head = this.#unsentHead;
    const block = this.#unsent[head];
    if (block === undefined) return; // Let go when the socket closed; the runtime reports it late.
    this.#unsentBytes -= this.#unsentSizes[head]!;
    this.#unsentHead = head + 1;
    if (this.#unsentHead === this.#unsent.length) {
      this.#unsent.length = 0;
      this.#unsentSizes.length = 0;
      this.#unsentHead = 0;
    } else if (this.#unsentHead >= UNSENT_COMPACTION) {
      this.#unsent.splice(0, this.#unsentHead);
      this.#unsentSizes.splice(0, this.#unsentHead);
      this.#unsentHead = 0;
    }
    block.release();
    if (!this.#full || this.#unsentBytes > UNSENT_BYTES_LOW || this.#closed) return;
    this.#full = false;
    try {
      this.#handler?.onWritable();
    } catch (error) {
      this.#bug(error);
    }
  }

  #onError(error: RuntimeError): void {
    // The runtime ends a session that failed, and forgets the socket below it.
    this.#carrier?.stream.destroy();
    if (this.#closed) return; // Ours to end, so the reason is ours too.
    this.#closed = true;
    this.#reason = netError(error);
  }

  #onClose(): void {
    if (!this.#closed) {
      this.#closed = true;
      const orderly = this.#writeEnded && this.#peerEnd !== "open";
      this.#reason = orderly ? null : this.#carrier?.closeReason ?? new NetError("ECONNRESET");
    }
    for (let at = this.#unsentHead; at < this.#unsent.length; at++) this.#unsent[at]!.release();
    this.#unsent.length = 0;
    this.#unsentSizes.length = 0;
    this.#unsentHead = 0;
    this.#unsentBytes = 0;
    this.#close = "arrived";
    if (this.#handler !== null) this.#tellClose();
  }

  #tellClose(): void {
    if (this.#handler === null || this.#close !== "arrived") return;
    this.#close = "told";
    try {
      this.#handler.onClose(this.#reason);
    } catch (error) {
      this.#onBug(error);
    }
  }

  /** The handler threw: this connection ends, the process goes on. */
  #bug(error: unknown): void {
    this.#onBug(error);
    this.reset(null);
  }
}
