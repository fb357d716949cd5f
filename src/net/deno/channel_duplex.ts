// A Channel dressed as a Node stream, for the TLS library: TLS over an HTTP/2 stream, for example.
import { Duplex } from "node:stream";
import { adoptBlock, type Block } from "../../base/block.ts";
import type { Channel, ChannelHandler } from "../../base/channel.ts";
import type { ProxyError } from "../../base/errors.ts";

/**
 * Node's `Duplex` over any channel, which it takes over. Bytes are copied on the way in, as the stream keeps
 * them for an unknown time; on the way out the library's own buffers go by reference.
 */
export class ChannelDuplex extends Duplex implements ChannelHandler {
  readonly #channel: Channel;
  #writeDone: ((error?: Error | null) => void) | null = null;
  /** Why the channel closed, if it was for a reason. */
  closeReason: ProxyError | null = null;
  #over = false;

  constructor(channel: Channel) {
    super({ allowHalfOpen: true, autoDestroy: true });
    this.#channel = channel;
    channel.pause();
    channel.attach(this);
  }

  override _read(): void {
    if (!this.#over) this.#channel.resume();
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
    if (!this.#over) this.#channel.reset(null);
    done(error);
  }

  /** As `net.Socket` has it: the channel below is reset with nothing more said. */
  resetAndDestroy(): this {
    return this.destroy();
  }

  onData(block: Block, start: number, end: number): void {
    if (!this.push(block.bytes.slice(start, end))) this.#channel.pause();
  }

  onEnd(): void {
    this.push(null);
  }

  onWritable(): void {
    const done = this.#writeDone;
    this.#writeDone = null;
    done?.();
  }

  onClose(error: ProxyError | null): void {
    this.#over = true;
    this.closeReason = error;
    this.onWritable();
    if (!this.destroyed) this.destroy(error ?? undefined);
  }
}
