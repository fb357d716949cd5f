// A Channel dressed as a Node stream, for the TLS library: TLS over an HTTP/2 stream, for example.
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { adoptBlock, type Block } from "../../base/block.ts";
import type { Channel, ChannelHandler } from "../../base/channel.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { ProxyError } from "../../base/errors.ts";
import { inputEnded, type TlsCarrier } from "./tls_carrier.ts";

/** One write to a TLS session above; more than the library's batch of 48 KiB can get lost at the end. */
const SESSION_WRITE_BYTES_MAX = 16 * 1024;

/** How long a channel may take to end after the session on it did. */
const LINGER_MS = 5000;

/**
 * Node's `Duplex` over any channel, which it takes over. Bytes are copied on the way in, as the stream keeps
 * them for an unknown time; on the way out the library's own buffers go by reference.
 */
export class ChannelDuplex extends Duplex implements ChannelHandler, TlsCarrier {
  readonly writeBytesMax = SESSION_WRITE_BYTES_MAX;
  readonly #channel: Channel;
  readonly #clock: Clock;
  #linger: Timer | null = null;
  #abort = false;
  #writeDone: (() => void) | null = null;
  #closeReason: ProxyError | null = null;
  #over = false;
  #held = false;
  #wanted = false;
  #truncated = false;

  constructor(channel: Channel, clock: Clock) {
    super({ allowHalfOpen: true, autoDestroy: true });
    this.#channel = channel;
    this.#clock = clock;
    channel.pause();
    channel.attach(this);
  }

  get stream(): Duplex {
    return this;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  get closeReason(): ProxyError | null {
    return this.#closeReason;
  }

  watch(session: TLSSocket, onTruncated: () => void): void {
    this.prependOnceListener("end", () => {
      if (inputEnded(session)) return;
      this.#truncated = true;
      onTruncated();
    });
  }

  stopReading(): void {
    this.#held = true;
    if (!this.#over) this.#channel.pause();
  }

  startReading(): void {
    this.#held = false;
    if (this.#wanted && !this.#over) this.#channel.resume();
  }

  resetAndDestroy(): void {
    this.#abort = true;
    this.destroy();
  }

  override _read(): void {
    this.#wanted = true;
    if (!this.#held && !this.#over) this.#channel.resume();
  }

  override _write(
    chunk: Uint8Array<ArrayBuffer>,
    _encoding: string,
    done: (error?: Error | null) => void,
  ): void {
    const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const block = adoptBlock(bytes);
    const more = this.#channel.write(block, 0, bytes.length);
    block.release();
    if (more || this.#channel.closed) done();
    else this.#writeDone = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#channel.endWrite();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#over) {
      if (this.#abort || error !== null) this.#channel.reset(null);
      else this.#leave();
    }
    done(error);
  }

  onData(block: Block, start: number, end: number): void {
    if (this.destroyed || this.push(block.bytes.slice(start, end))) return;
    this.#wanted = false;
    this.#channel.pause();
  }

  onEnd(): void {
    if (!this.destroyed) this.push(null);
  }

  onWritable(): void {
    const done = this.#writeDone;
    this.#writeDone = null;
    done?.();
  }

  onClose(error: ProxyError | null): void {
    this.#over = true;
    this.#closeReason = error;
    this.#linger?.cancel();
    this.onWritable();
    if (!this.destroyed) this.destroy(error ?? undefined);
  }

  /** The session is over in order: what it wrote last still goes out, then the peer may end. */
  #leave(): void {
    this.#channel.endWrite();
    this.#channel.resume();
    this.#linger = this.#clock.after(LINGER_MS, () => this.#channel.reset(null));
  }
}
