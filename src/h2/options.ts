// What an HTTP/2 connection is made of, and the figures it may be told.
import type { BlockPool } from "../base/block.ts";
import type { Channel } from "../base/channel.ts";
import type { Clock } from "../base/clock.ts";
import type { H2ConnectionHandler } from "./types.ts";

/** What we advertise and enforce. Octets, except where a name says otherwise. */
export interface H2Limits {
  /** SETTINGS_INITIAL_WINDOW_SIZE; 1 to 2^31-1. Default 4 MiB. */
  readonly streamWindowBytes: number;
  /** Receive window of the connection; 65,535 to 2^31-1. Default 16 MiB: four unread streams stall nobody. */
  readonly connectionWindowBytes: number;
  /** SETTINGS_MAX_FRAME_SIZE; 2^14 to 2^24-1. Default 1 MiB. */
  readonly frameBytesMax: number;
  /** SETTINGS_MAX_HEADER_LIST_SIZE. Default 16 KiB for a client, 64 KiB for a server. */
  readonly headerListBytesMax: number;
  /** Server: SETTINGS_MAX_CONCURRENT_STREAMS. Default 200. */
  readonly concurrentStreamsMax: number;
}

export interface H2ConnectionOptions {
  readonly side: "client" | "server";
  /** Owned by the connection from here on; it attaches itself. */
  readonly transport: Channel;
  readonly handler: H2ConnectionHandler;
  readonly clock: Pick<Clock, "nowMs" | "soon">;
  /** For output and for small pieces of input that must wait. At least 16 KiB per block. */
  readonly pool: BlockPool;
  readonly limits?: Partial<H2Limits>;
}

export function limitsFor(side: "client" | "server", given: Partial<H2Limits> = {}): H2Limits {
  return {
    streamWindowBytes: 4_194_304,
    connectionWindowBytes: 16_777_216,
    frameBytesMax: 1_048_576,
    headerListBytesMax: side === "client" ? 16_384 : 65_536,
    concurrentStreamsMax: 200,
    ...given,
  };
}
