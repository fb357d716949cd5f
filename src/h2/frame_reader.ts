// Bytes from the peer → frames, whatever way the bytes were cut. Rules of a single frame live here.
import { assert } from "../base/assert.ts";
import type { Block } from "../base/block.ts";
import { copyBytes } from "../base/copy_bytes.ts";
import { type H2Code, H2ConnectionError } from "./errors.ts";
import {
  decodeFrameHeader,
  decodeStreamId,
  decodeUint32,
  FLAG,
  FRAME,
  FRAME_HEADER_BYTES,
  FrameHeader,
} from "./frame_header.ts";
import { HEADER_EXCESS_FACTOR } from "./header_collector.ts";
import { SETTING_BYTES } from "./settings.ts";

/** What a client sends before its first frame (RFC 9113 §3.4). */
export const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** CONTINUATION frames in one header block (design §5). */
export const CONTINUATIONS_MAX = 16;

/** Octets of one SETTINGS frame: 2,730 settings, and six exist. */
export const SETTINGS_BYTES_MAX = 16_384;

/** Octets of a GOAWAY's debug data that are kept; the rest is skipped. */
export const DEBUG_BYTES_MAX = 1024;

/** A buffer that was drained keeps at most this much (design §5). */
export const IDLE_BUFFER_BYTES_MAX = 65_536;

/** Octets of PING's opaque data, and of GOAWAY before its debug data. */
const PING_BYTES = 8;
const GOAWAY_BYTES = 8;
const PRIORITY_BYTES = 5;

/**
 * Hears frames in order. Ranges are lent for the call. DATA is not collected: one `onDataFrame`, then
 * parts and padding as they arrive, then `onDataEnd`.
 */
export interface FrameSink {
  /** `payloadBytes` counts for flow control: data and padding. */
  onDataFrame(streamId: number, payloadBytes: number): void;
  onDataPart(block: Block, start: number, end: number): void;
  /** Octets of padding and of its length; they are nobody's to consume. */
  onPadding(bytes: number): void;
  onDataEnd(endStream: boolean): void;
  /** A HEADERS frame began; its block follows by `onHeaderBlock`. */
  onHeaderBlockStart(streamId: number): void;
  /** A whole header block. `dependsOn`: the stream that PRIORITY names, -1 without one. */
  onHeaderBlock(
    streamId: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    endStream: boolean,
    dependsOn: number,
  ): void;
  onPriority(streamId: number, dependsOn: number): void;
  onStreamReset(streamId: number, code: number): void;
  /** Whole settings, {@link SETTING_BYTES} each. */
  onSettings(bytes: Uint8Array, start: number, end: number): void;
  onPing(bytes: Uint8Array, start: number): void;
  onPong(bytes: Uint8Array, start: number): void;
  onGoAway(lastStreamId: number, code: number, debug: string): void;
  /** `increment` may be 0, which is a fault of the stream or connection. */
  onWindowUpdate(streamId: number, increment: number): void;
  /** A frame whose fault costs only its stream. */
  onFrameFault(streamId: number, code: H2Code, detail: string): void;
}

const enum Reading {
  Preface,
  Header,
  PaddingLength,
  Data,
  DataPadding,
  Payload,
  Skip,
}

export class FrameReader {
  readonly #sink: FrameSink;
  readonly #frameBytesMax: number;
  readonly #blockBytesMax: number;
  readonly #header = new FrameHeader();
  #state: Reading;
  #stopped = false;
  #sawSettings = false;
  /** Octets of the present part (data, padding, payload, skipped) still to come. */
  #leftBytes = 0;
  #paddingBytes = 0;
  /** Skipped after the payload that is kept. */
  #skipBytes = 0;
  /** The start of a frame header or control payload whose end has not arrived. */
  #carry = new Uint8Array(FRAME_HEADER_BYTES);
  #carryBytes = 0;
  #prefaceBytes = 0;
  /** The header block being collected: its stream, or 0. */
  #blockStreamId = 0;
  #block = new Uint8Array(0);
  #blockBytes = 0;
  #blockEndsStream = false;
  #blockDependsOn = -1;
  #continuations = 0;

  constructor(
    side: "client" | "server",
    sink: FrameSink,
    limits: { readonly frameBytesMax: number; readonly headerListBytesMax: number },
  ) {
    this.#sink = sink;
    this.#frameBytesMax = limits.frameBytesMax;
    this.#blockBytesMax = limits.headerListBytesMax * HEADER_EXCESS_FACTOR;
    this.#state = side === "server" ? Reading.Preface : Reading.Header;
  }

  /** Memory held for what has not arrived completely, in octets. */
  get heldBytes(): number {
    return this.#carry.length + this.#block.length;
  }

  /** No sink call follows; for use from inside one. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * Reads `[start, end)` of `block`, which is lent.
   * @throws {H2ConnectionError} for what ends the connection; then the reader must not be used again.
   */
  receive(block: Block, start: number, end: number): void {
    const bytes = block.bytes;
    let at = start;
    while (!this.#stopped) {
      switch (this.#state) {
        case Reading.Header:
          if (this.#carryBytes === 0 && end - at >= FRAME_HEADER_BYTES) {
            decodeFrameHeader(bytes, at, this.#header);
            at += FRAME_HEADER_BYTES;
          } else {
            if (at === end) return;
            at = this.#fillCarry(FRAME_HEADER_BYTES, bytes, at, end);
            if (this.#carryBytes < FRAME_HEADER_BYTES) return;
            decodeFrameHeader(this.#carry, 0, this.#header);
            this.#carryBytes = 0;
          }
          this.#beginFrame();
          break;
        case Reading.Data: {
          const part = Math.min(this.#leftBytes, end - at);
          if (part > 0) {
            this.#leftBytes -= part;
            at += part;
            this.#sink.onDataPart(block, at - part, at);
          }
          if (this.#leftBytes > 0) return;
          if (this.#stopped) return;
          this.#leftBytes = this.#paddingBytes;
          this.#state = Reading.DataPadding;
          break;
        }
        case Reading.DataPadding: {
          const part = Math.min(this.#leftBytes, end - at);
          this.#leftBytes -= part;
          at += part;
          if (this.#leftBytes > 0) return;
          this.#state = Reading.Header;
          this.#sink.onDataEnd((this.#header.flags & FLAG.END_STREAM) !== 0);
          break;
        }
        case Reading.PaddingLength:
          if (at === end) return;
          this.#beginPaddedData(bytes[at++]!);
          break;
        case Reading.Payload: {
          const wanted = this.#leftBytes;
          if (this.#carryBytes === 0 && end - at >= wanted) {
            at += wanted;
            this.#endPayload(bytes, at - wanted, at);
          } else {
            at = this.#fillCarry(wanted, bytes, at, end);
            if (this.#carryBytes < wanted) return;
            this.#carryBytes = 0;
            this.#endPayload(this.#carry, 0, wanted);
            if (this.#carry.length > IDLE_BUFFER_BYTES_MAX) {
              this.#carry = new Uint8Array(FRAME_HEADER_BYTES);
            }
          }
          break;
        }
        case Reading.Skip: {
          const part = Math.min(this.#leftBytes, end - at);
          this.#leftBytes -= part;
          at += part;
          if (this.#leftBytes > 0) return;
          this.#state = Reading.Header;
          break;
        }
        case Reading.Preface:
          at = this.#readPreface(bytes, at, end);
          if (this.#state === Reading.Preface) return;
          break;
      }
    }
  }

  #readPreface(bytes: Uint8Array, at: number, end: number): number {
    while (at < end && this.#prefaceBytes < PREFACE.length) {
      if (bytes[at++] !== PREFACE[this.#prefaceBytes++]) {
        throw protocolError("Cannot start HTTP/2: the client's preface is something else");
      }
    }
    if (this.#prefaceBytes === PREFACE.length) this.#state = Reading.Header;
    return at;
  }

  /** Rules that need the frame header only (RFC 9113 §6, frame by frame), then how to read the payload. */
  #beginFrame(): void {
    const { payloadBytes, type, flags, streamId } = this.#header;
    if (payloadBytes > this.#frameBytesMax) {
      throw frameSizeError(
        `Cannot accept frame: payload is ${payloadBytes} bytes, limit is ${this.#frameBytesMax}`,
      );
    }
    if (!this.#sawSettings) {
      if (type !== FRAME.SETTINGS || (flags & FLAG.ACK) !== 0) {
        throw protocolError(`Cannot start HTTP/2: first frame is type ${type}, not SETTINGS`);
      }
      this.#sawSettings = true;
    }
    if (
      this.#blockStreamId !== 0 &&
      (type !== FRAME.CONTINUATION || streamId !== this.#blockStreamId)
    ) {
      throw protocolError(
        `Cannot accept frame of type ${type} inside the header block of stream ${this.#blockStreamId}`,
      );
    }
    switch (type) {
      case FRAME.DATA:
        return this.#beginData(payloadBytes, flags, streamId);
      case FRAME.HEADERS:
        needStream(streamId, "HEADERS");
        this.#checkBlock(payloadBytes);
        this.#sink.onHeaderBlockStart(streamId);
        this.#blockStreamId = streamId;
        return this.#needPayload(payloadBytes);
      case FRAME.CONTINUATION:
        if (this.#blockStreamId === 0) {
          throw protocolError(
            `Cannot accept CONTINUATION on stream ${streamId}: no HEADERS before`,
          );
        }
        if (++this.#continuations > CONTINUATIONS_MAX) {
          throw calmError(`Cannot accept header block: over ${CONTINUATIONS_MAX} CONTINUATIONs`);
        }
        this.#checkBlock(payloadBytes);
        return this.#needPayload(payloadBytes);
      case FRAME.PRIORITY:
        needStream(streamId, "PRIORITY");
        if (payloadBytes !== PRIORITY_BYTES) {
          const detail = `Cannot accept PRIORITY: payload is ${payloadBytes} bytes, not 5`;
          this.#skip(payloadBytes);
          return this.#sink.onFrameFault(streamId, "FRAME_SIZE_ERROR", detail);
        }
        return this.#needPayload(payloadBytes);
      case FRAME.RST_STREAM:
        needStream(streamId, "RST_STREAM");
        needSize(payloadBytes === 4, "RST_STREAM", payloadBytes);
        return this.#needPayload(payloadBytes);
      case FRAME.SETTINGS:
        needConnection(streamId, "SETTINGS");
        needSize(
          (flags & FLAG.ACK) === 0 ? payloadBytes % SETTING_BYTES === 0 : payloadBytes === 0,
          "SETTINGS",
          payloadBytes,
        );
        if (payloadBytes > SETTINGS_BYTES_MAX) {
          throw calmError(`Cannot accept SETTINGS of ${payloadBytes} bytes`);
        }
        return this.#needPayload(payloadBytes);
      case FRAME.PUSH_PROMISE: // A client may not send it, and a server was told not to.
        throw protocolError("Cannot accept PUSH_PROMISE: push is off");
      case FRAME.PING:
        needConnection(streamId, "PING");
        needSize(payloadBytes === PING_BYTES, "PING", payloadBytes);
        return this.#needPayload(payloadBytes);
      case FRAME.GOAWAY: {
        needConnection(streamId, "GOAWAY");
        needSize(payloadBytes >= GOAWAY_BYTES, "GOAWAY", payloadBytes);
        const kept = Math.min(payloadBytes, GOAWAY_BYTES + DEBUG_BYTES_MAX);
        this.#needPayload(kept);
        this.#skipBytes = payloadBytes - kept;
        return;
      }
      case FRAME.WINDOW_UPDATE:
        needSize(payloadBytes === 4, "WINDOW_UPDATE", payloadBytes);
        return this.#needPayload(payloadBytes);
      default: // RFC 9113 §5.5
        return this.#skip(payloadBytes);
    }
  }

  #beginData(payloadBytes: number, flags: number, streamId: number): void {
    needStream(streamId, "DATA");
    this.#paddingBytes = 0;
    this.#leftBytes = payloadBytes;
    if ((flags & FLAG.PADDED) === 0) {
      this.#state = Reading.Data;
    } else {
      if (payloadBytes === 0) {
        throw frameSizeError("Cannot accept DATA: no room for padding length");
      }
      this.#state = Reading.PaddingLength;
    }
    this.#sink.onDataFrame(streamId, payloadBytes);
  }

  #beginPaddedData(paddingBytes: number): void {
    const dataBytes = this.#leftBytes - 1 - paddingBytes;
    if (dataBytes < 0) throw protocolError("Cannot accept DATA: padding exceeds the payload");
    this.#paddingBytes = paddingBytes;
    this.#leftBytes = dataBytes;
    this.#state = Reading.Data;
    this.#sink.onPadding(1 + paddingBytes);
  }

  #needPayload(bytes: number): void {
    this.#leftBytes = bytes;
    this.#skipBytes = 0;
    this.#state = Reading.Payload;
  }

  #skip(bytes: number): void {
    this.#leftBytes = bytes;
    this.#state = Reading.Skip;
  }

  /** A control frame's payload is complete. */
  #endPayload(bytes: Uint8Array, start: number, end: number): void {
    const { type, flags, streamId } = this.#header;
    if (this.#skipBytes > 0) this.#skip(this.#skipBytes);
    else this.#state = Reading.Header;
    switch (type) {
      case FRAME.HEADERS:
        return this.#endHeaders(bytes, start, end);
      case FRAME.CONTINUATION:
        this.#collect(bytes, start, end);
        if ((flags & FLAG.END_HEADERS) !== 0) this.#endBlock(this.#block, 0, this.#blockBytes);
        return;
      case FRAME.PRIORITY:
        return this.#sink.onPriority(streamId, decodeStreamId(bytes, start));
      case FRAME.RST_STREAM:
        return this.#sink.onStreamReset(streamId, decodeUint32(bytes, start));
      case FRAME.SETTINGS:
        if ((flags & FLAG.ACK) === 0) this.#sink.onSettings(bytes, start, end);
        return; // The peer's ACK changes nothing: our settings were in force from the start.
      case FRAME.PING:
        return (flags & FLAG.ACK) === 0
          ? this.#sink.onPing(bytes, start)
          : this.#sink.onPong(bytes, start);
      case FRAME.GOAWAY: {
        const debug = new TextDecoder().decode(bytes.subarray(start + GOAWAY_BYTES, end));
        return this.#sink.onGoAway(
          decodeStreamId(bytes, start),
          decodeUint32(bytes, start + 4),
          debug,
        );
      }
      case FRAME.WINDOW_UPDATE: // The top bit is reserved, as in a stream id.
        return this.#sink.onWindowUpdate(streamId, decodeStreamId(bytes, start));
      default:
        assert(false, "Only known frames have their payload kept");
    }
  }

  /** The payload of HEADERS: padding and priority around the first fragment (RFC 9113 §6.2). */
  #endHeaders(bytes: Uint8Array, start: number, end: number): void {
    const { flags } = this.#header;
    const padded = (flags & FLAG.PADDED) !== 0;
    const prioritized = (flags & FLAG.PRIORITY) !== 0;
    if (end - start < (padded ? 1 : 0) + (prioritized ? PRIORITY_BYTES : 0)) {
      throw frameSizeError("Cannot accept HEADERS: payload is too short for its flags");
    }
    const paddingBytes = padded ? bytes[start++]! : 0;
    this.#blockDependsOn = -1;
    if (prioritized) {
      this.#blockDependsOn = decodeStreamId(bytes, start);
      start += PRIORITY_BYTES;
    }
    if (end - start < paddingBytes) {
      throw protocolError("Cannot accept HEADERS: padding exceeds the payload");
    }
    end -= paddingBytes;
    this.#blockEndsStream = (flags & FLAG.END_STREAM) !== 0;
    this.#continuations = 0;
    if ((flags & FLAG.END_HEADERS) !== 0) this.#endBlock(bytes, start, end);
    else this.#collect(bytes, start, end);
  }

  #endBlock(bytes: Uint8Array, start: number, end: number): void {
    const streamId = this.#blockStreamId;
    this.#blockStreamId = 0;
    this.#blockBytes = 0;
    this.#sink.onHeaderBlock(
      streamId,
      bytes,
      start,
      end,
      this.#blockEndsStream,
      this.#blockDependsOn,
    );
    if (this.#block.length > IDLE_BUFFER_BYTES_MAX) this.#block = new Uint8Array(0);
  }

  #checkBlock(payloadBytes: number): void {
    if (this.#blockBytes + payloadBytes > this.#blockBytesMax) {
      throw calmError(`Cannot accept header block: over ${this.#blockBytesMax} bytes`);
    }
  }

  #collect(bytes: Uint8Array, start: number, end: number): void {
    const total = this.#blockBytes + end - start;
    if (total > this.#block.length) this.#block = grown(this.#block, this.#blockBytes, total);
    copyBytes(bytes, start, end, this.#block, this.#blockBytes);
    this.#blockBytes = total;
  }

  /** Takes bytes until the carry has `wanted`, growing with what arrives rather than what was announced. */
  #fillCarry(wanted: number, bytes: Uint8Array, at: number, end: number): number {
    const stop = Math.min(end, at + wanted - this.#carryBytes);
    const total = this.#carryBytes + stop - at;
    if (total > this.#carry.length) this.#carry = grown(this.#carry, this.#carryBytes, total);
    copyBytes(bytes, at, stop, this.#carry, this.#carryBytes);
    this.#carryBytes = total;
    return stop;
  }
}

/** A longer copy of the first `bytes` octets, with room for `bytesMin`. */
function grown(buffer: Uint8Array, bytes: number, bytesMin: number): Uint8Array<ArrayBuffer> {
  const longer = new Uint8Array(Math.max(bytesMin, buffer.length * 2, 256));
  copyBytes(buffer, 0, bytes, longer, 0);
  return longer;
}

function protocolError(detail: string): H2ConnectionError {
  return new H2ConnectionError(detail, { code: "PROTOCOL_ERROR" });
}

function frameSizeError(detail: string): H2ConnectionError {
  return new H2ConnectionError(detail, { code: "FRAME_SIZE_ERROR" });
}

function calmError(detail: string): H2ConnectionError {
  return new H2ConnectionError(detail, { code: "ENHANCE_YOUR_CALM" });
}

function needStream(streamId: number, name: string): void {
  if (streamId === 0) throw protocolError(`Cannot accept ${name} on stream 0`);
}

function needConnection(streamId: number, name: string): void {
  if (streamId !== 0) throw protocolError(`Cannot accept ${name} on stream ${streamId}`);
}

function needSize(right: boolean, name: string, payloadBytes: number): void {
  if (!right) throw frameSizeError(`Cannot accept ${name}: payload is ${payloadBytes} bytes`);
}
