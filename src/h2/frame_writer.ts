// Frames → the transport: small ones are gathered and leave together, large payloads pass by reference.
import { assert } from "../base/assert.ts";
import { adoptBlock, type Block, type BlockPool } from "../base/block.ts";
import type { Channel } from "../base/channel.ts";
import { copyBytes } from "../base/copy_bytes.ts";
import {
  DEFAULT_FRAME_BYTES,
  encodeFrameHeader,
  encodeUint32,
  FLAG,
  FRAME,
} from "./frame_header.ts";
import { FRAME_HEADER_BYTES } from "./frame_header.ts";
import { type HpackEncoder, maxEncodedBytes } from "./hpack/encoder.ts";
import type { HeaderList } from "./types.ts";

/** A payload from this size on is handed to the transport as it is; a shorter one is cheaper to copy. */
export const PASSED_PAYLOAD_BYTES_MIN = 4096;

/** PING and SETTINGS answers queued while the transport takes nothing (design §5). */
export const CONTROL_REPLIES_MAX = 128;

/** All frames queued while the transport takes nothing: a peer that asks and never reads. */
export const CONTROL_BYTES_MAX = 1_048_576;

/** A flush this short is copied out for a transport that keeps blocks, lest it keeps a whole one for it. */
const SHORT_FLUSH_BYTES_MAX = 4096;

export class FrameWriter {
  readonly #transport: Channel;
  readonly #pool: BlockPool;
  /** Frames gathered since the last flush: `[0, #bytes)` of the block. */
  #block: Block | null = null;
  #bytes = 0;
  /** The DATA frame that ends the gathered bytes and may still grow: its stream, or 0. */
  #dataStreamId = 0;
  #dataStart = 0;
  #transportWritable = true;
  /** Whether the transport kept the last block it was given. */
  #transportKeeps = false;
  #frameBytesMax = DEFAULT_FRAME_BYTES;
  #repliesHeld = 0;
  #bytesHeld = 0;

  constructor(transport: Channel, pool: BlockPool) {
    assert(pool.blockBytes >= DEFAULT_FRAME_BYTES, "Output blocks hold a frame");
    this.#transport = transport;
    this.#pool = pool;
  }

  /** False while the transport asks to wait. Control frames may be written all the same. */
  get writable(): boolean {
    return this.#transportWritable;
  }

  /** True when more was queued for a transport that takes nothing than an honest peer can cause. */
  get isOverloaded(): boolean {
    return this.#repliesHeld > CONTROL_REPLIES_MAX || this.#bytesHeld > CONTROL_BYTES_MAX;
  }

  /** True when {@link flush} has something to do. */
  get hasGathered(): boolean {
    return this.#block !== null;
  }

  /** The peer's SETTINGS_MAX_FRAME_SIZE. */
  setFrameBytesMax(bytes: number): void {
    this.#frameBytesMax = bytes;
  }

  onTransportWritable(): void {
    this.#transportWritable = true;
    this.#repliesHeld = 0;
    this.#bytesHeld = 0;
  }

  /** Octets that are not frames: the client's preface. */
  raw(bytes: Uint8Array): void {
    const target = this.#reserve(bytes.length);
    copyBytes(bytes, 0, bytes.length, target, this.#bytes);
    this.#bytes += bytes.length;
  }

  settings(payload: Uint8Array): void {
    this.#control(FRAME.SETTINGS, 0, 0, payload, 0, payload.length);
  }

  settingsAck(): void {
    this.#countReply();
    this.#begin(FRAME.SETTINGS, FLAG.ACK, 0, 0);
  }

  /** Eight octets at `start` of `opaque`, which are copied. */
  ping(opaque: Uint8Array, start: number): void {
    this.#control(FRAME.PING, 0, 0, opaque, start, start + 8);
  }

  pong(opaque: Uint8Array, start: number): void {
    this.#countReply();
    this.#control(FRAME.PING, FLAG.ACK, 0, opaque, start, start + 8);
  }

  goAway(lastStreamId: number, code: number): void {
    const offset = this.#begin(FRAME.GOAWAY, 0, 0, 8);
    encodeUint32(this.#block!.bytes, offset, lastStreamId);
    encodeUint32(this.#block!.bytes, offset + 4, code);
  }

  resetStream(streamId: number, code: number): void {
    const offset = this.#begin(FRAME.RST_STREAM, 0, streamId, 4);
    encodeUint32(this.#block!.bytes, offset, code);
  }

  windowUpdate(streamId: number, bytes: number): void {
    const offset = this.#begin(FRAME.WINDOW_UPDATE, 0, streamId, 4);
    encodeUint32(this.#block!.bytes, offset, bytes);
  }

  /** HEADERS, with CONTINUATION where the peer's frame size asks for it. */
  headers(streamId: number, headers: HeaderList, encoder: HpackEncoder, endStream: boolean): void {
    const block = new Uint8Array(maxEncodedBytes(headers));
    const end = encoder.encode(headers, block, 0);
    const frameBytes = Math.min(this.#frameBytesMax, this.#pool.blockBytes - FRAME_HEADER_BYTES);
    let start = 0;
    do {
      const stop = Math.min(end, start + frameBytes);
      const flags = (stop === end ? FLAG.END_HEADERS : 0) |
        (start === 0 && endStream ? FLAG.END_STREAM : 0);
      const type = start === 0 ? FRAME.HEADERS : FRAME.CONTINUATION;
      this.#control(type, flags, streamId, block, start, stop);
      start = stop;
    } while (start < end);
  }

  /**
   * One DATA frame (or more of the last one) with `[start, end)` of `block`, not empty and within the
   * peer's frame size and windows.
   */
  data(streamId: number, block: Block, start: number, end: number, endStream: boolean): void {
    const bytes = end - start;
    const flags = endStream ? FLAG.END_STREAM : 0;
    if (bytes >= PASSED_PAYLOAD_BYTES_MIN) {
      const target = this.#reserve(FRAME_HEADER_BYTES);
      encodeFrameHeader(target, this.#bytes, bytes, FRAME.DATA, flags, streamId);
      this.#bytes += FRAME_HEADER_BYTES;
      this.flush();
      if (!this.#transport.write(block, start, end)) this.#transportWritable = false;
      return;
    }
    if (this.#dataStreamId === streamId && this.#extendData(block.bytes, start, end, flags)) return;
    const target = this.#reserve(FRAME_HEADER_BYTES + bytes);
    this.#dataStart = this.#bytes;
    this.#dataStreamId = endStream ? 0 : streamId;
    encodeFrameHeader(target, this.#bytes, bytes, FRAME.DATA, flags, streamId);
    copyBytes(block.bytes, start, end, target, this.#bytes + FRAME_HEADER_BYTES);
    this.#bytes += FRAME_HEADER_BYTES + bytes;
  }

  /** END_STREAM: on the stream's last DATA frame if that has not left yet, else on an empty one. */
  end(streamId: number): void {
    if (this.#dataStreamId === streamId) {
      this.#block!.bytes[this.#dataStart + 4] = FLAG.END_STREAM;
      this.#dataStreamId = 0;
    } else {
      this.#begin(FRAME.DATA, FLAG.END_STREAM, streamId, 0);
    }
  }

  /** Hands what was gathered to the transport. */
  flush(): void {
    let block = this.#block;
    if (block === null) return;
    const bytes = this.#bytes;
    this.#block = null;
    this.#bytes = 0;
    this.#dataStreamId = 0;
    if (this.#transportKeeps && bytes <= SHORT_FLUSH_BYTES_MAX) {
      const exact = adoptBlock(block.bytes.slice(0, bytes));
      block.release();
      block = exact;
    }
    if (!this.#transport.write(block, 0, bytes)) this.#transportWritable = false;
    if (block.references > 1) this.#transportKeeps = true;
    block.release();
  }

  /** Drops what was gathered; nothing can be sent any more. */
  dispose(): void {
    this.#block?.release();
    this.#block = null;
    this.#bytes = 0;
    this.#dataStreamId = 0;
  }

  #extendData(source: Uint8Array, start: number, end: number, flags: number): boolean {
    const target = this.#block!.bytes;
    const bytes = end - start;
    const payloadBytes = this.#bytes - this.#dataStart - FRAME_HEADER_BYTES + bytes;
    if (payloadBytes > this.#frameBytesMax || this.#bytes + bytes > target.length) return false;
    copyBytes(source, start, end, target, this.#bytes);
    this.#bytes += bytes;
    encodeFrameHeader(
      target,
      this.#dataStart,
      payloadBytes,
      FRAME.DATA,
      flags,
      this.#dataStreamId,
    );
    if (flags !== 0) this.#dataStreamId = 0;
    return true;
  }

  #countReply(): void {
    if (!this.#transportWritable) this.#repliesHeld++;
  }

  #control(
    type: number,
    flags: number,
    streamId: number,
    payload: Uint8Array,
    start: number,
    end: number,
  ): void {
    const offset = this.#begin(type, flags, streamId, end - start);
    copyBytes(payload, start, end, this.#block!.bytes, offset);
  }

  /** Writes a frame header with room for its payload; returns where the payload goes. */
  #begin(type: number, flags: number, streamId: number, payloadBytes: number): number {
    const target = this.#reserve(FRAME_HEADER_BYTES + payloadBytes);
    const offset = this.#bytes;
    encodeFrameHeader(target, offset, payloadBytes, type, flags, streamId);
    this.#bytes += FRAME_HEADER_BYTES + payloadBytes;
    this.#dataStreamId = 0;
    if (!this.#transportWritable) this.#bytesHeld += FRAME_HEADER_BYTES + payloadBytes;
    return offset + FRAME_HEADER_BYTES;
  }

  /** Memory with `bytes` octets free at `#bytes`. */
  #reserve(bytes: number): Uint8Array {
    assert(bytes <= this.#pool.blockBytes, "A gathered frame fits into a block");
    if (this.#block !== null && this.#bytes + bytes > this.#block.bytes.length) this.flush();
    this.#block ??= this.#pool.take();
    return this.#block.bytes;
  }
}
