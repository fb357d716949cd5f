// The header that starts every HTTP/2 frame. Pure: buffering is FrameReader's, I/O is net/'s.
import { assert } from "../base/assert.ts";

/** Octets in a frame header (RFC 9113 §4.1). */
export const FRAME_HEADER_BYTES = 9;

/** The largest frame that needs no permission by SETTINGS_MAX_FRAME_SIZE (RFC 9113 §4.2). */
export const DEFAULT_FRAME_BYTES = 16_384;

/** Frame types (RFC 9113 §6). Others are skipped (§5.5). */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

/** Frame flags; what a bit means depends on the type. */
export const FLAG = {
  ACK: 0x1,
  END_STREAM: 0x1,
  END_HEADERS: 0x4,
  PADDED: 0x8,
  PRIORITY: 0x20,
} as const;

/** Filled in place, so that a frame costs no allocation. */
export class FrameHeader {
  /** Octets after the header, 0 to 2^24-1. */
  payloadBytes = 0;
  /** 0 to 255. */
  type = 0;
  flags = 0;
  /** 31 bits; 0 means the connection itself. */
  streamId = 0;
}

/** Decodes the frame header at `offset` of `source` into `header`. */
export function decodeFrameHeader(source: Uint8Array, offset: number, header: FrameHeader): void {
  assert(source.length - offset >= FRAME_HEADER_BYTES, "Caller waits for a whole header");
  header.payloadBytes = source[offset]! << 16 | source[offset + 1]! << 8 | source[offset + 2]!;
  header.type = source[offset + 3]!;
  header.flags = source[offset + 4]!;
  header.streamId = decodeStreamId(source, offset + 5);
}

/** Writes a frame header of {@link FRAME_HEADER_BYTES} octets to `target` at `offset`. */
export function encodeFrameHeader(
  target: Uint8Array,
  offset: number,
  payloadBytes: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  target[offset] = payloadBytes >>> 16;
  target[offset + 1] = payloadBytes >>> 8;
  target[offset + 2] = payloadBytes;
  target[offset + 3] = type;
  target[offset + 4] = flags;
  encodeUint32(target, offset + 5, streamId);
}

/** 31 bits, big-endian. The reserved top bit is ignored on receipt; kept, it would make the id negative. */
export function decodeStreamId(source: Uint8Array, offset: number): number {
  return (source[offset]! & 0x7f) << 24 | source[offset + 1]! << 16 | source[offset + 2]! << 8 |
    source[offset + 3]!;
}

/** Big-endian, 0 to 2^32-1. */
export function decodeUint32(source: Uint8Array, offset: number): number {
  return (source[offset]! << 24 | source[offset + 1]! << 16 | source[offset + 2]! << 8 |
    source[offset + 3]!) >>> 0;
}

export function encodeUint32(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value >>> 24;
  target[offset + 1] = value >>> 16;
  target[offset + 2] = value >>> 8;
  target[offset + 3] = value;
}
