// SETTINGS (RFC 9113 §6.5): what we say, and what the peer's octets mean.
import { H2ConnectionError } from "./errors.ts";
import { DEFAULT_WINDOW_BYTES, WINDOW_BYTES_MAX } from "./flow_window.ts";
import { decodeUint32, DEFAULT_FRAME_BYTES, encodeUint32 } from "./frame_header.ts";
import type { H2Limits } from "./options.ts";
import type { PeerSettings } from "./types.ts";

/** Octets of one setting. */
export const SETTING_BYTES = 6;

/** Identifiers (RFC 9113 §6.5.2). Others are skipped. */
const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const;

const FRAME_BYTES_LIMIT = 2 ** 24 - 1;

/** What holds until the peer's first SETTINGS. */
export const DEFAULT_PEER_SETTINGS: PeerSettings = {
  maxConcurrentStreams: Infinity,
  initialWindowBytes: DEFAULT_WINDOW_BYTES,
  maxFrameBytes: DEFAULT_FRAME_BYTES,
  maxHeaderListBytes: Infinity,
  headerTableBytes: 4096,
};

/** Our SETTINGS payload, in exactly the order of spec/data-path §1.2. */
export function encodeLocalSettings(side: "client" | "server", limits: H2Limits): Uint8Array {
  const first = side === "client"
    ? [SETTING.ENABLE_PUSH, 0]
    : [SETTING.MAX_CONCURRENT_STREAMS, limits.concurrentStreamsMax];
  const pairs = [
    first,
    [SETTING.INITIAL_WINDOW_SIZE, limits.streamWindowBytes],
    [SETTING.MAX_FRAME_SIZE, limits.frameBytesMax],
    [SETTING.MAX_HEADER_LIST_SIZE, limits.headerListBytesMax],
  ];
  const payload = new Uint8Array(pairs.length * SETTING_BYTES);
  pairs.forEach(([id, value], index) => {
    payload[index * SETTING_BYTES + 1] = id!;
    encodeUint32(payload, index * SETTING_BYTES + 2, value!);
  });
  return payload;
}

/**
 * What the peer's settings are after the payload `source[start, end)`; later values win.
 * @param side Ours. A server that asks for push is a fault, a client may.
 * @throws {H2ConnectionError} for a value that RFC 9113 §6.5.2 forbids.
 */
export function applyPeerSettings(
  before: PeerSettings,
  source: Uint8Array,
  start: number,
  end: number,
  side: "client" | "server",
): PeerSettings {
  const after = { ...before };
  for (let offset = start; offset < end; offset += SETTING_BYTES) {
    const value = decodeUint32(source, offset + 2);
    switch (source[offset]! << 8 | source[offset + 1]!) {
      case SETTING.HEADER_TABLE_SIZE:
        after.headerTableBytes = value;
        break;
      case SETTING.ENABLE_PUSH:
        if (value > 1 || (value === 1 && side === "client")) {
          throw forbidden("ENABLE_PUSH", value, "PROTOCOL_ERROR");
        }
        break;
      case SETTING.MAX_CONCURRENT_STREAMS:
        after.maxConcurrentStreams = value;
        break;
      case SETTING.INITIAL_WINDOW_SIZE:
        if (value > WINDOW_BYTES_MAX) {
          throw forbidden("INITIAL_WINDOW_SIZE", value, "FLOW_CONTROL_ERROR");
        }
        after.initialWindowBytes = value;
        break;
      case SETTING.MAX_FRAME_SIZE:
        if (value < DEFAULT_FRAME_BYTES || value > FRAME_BYTES_LIMIT) {
          throw forbidden("MAX_FRAME_SIZE", value, "PROTOCOL_ERROR");
        }
        after.maxFrameBytes = value;
        break;
      case SETTING.MAX_HEADER_LIST_SIZE:
        after.maxHeaderListBytes = value;
        break;
      default: // RFC 9113 §6.5.2: unknown settings are ignored.
    }
  }
  return after;
}

function forbidden(
  name: string,
  value: number,
  code: "PROTOCOL_ERROR" | "FLOW_CONTROL_ERROR",
): H2ConnectionError {
  return new H2ConnectionError(`Cannot accept SETTINGS_${name} of ${value}`, { code });
}
