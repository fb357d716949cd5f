// One of our connections opposite hand-made frames: for what an honest peer would never send.
import { adoptBlock, BlockPool } from "../../src/base/block.ts";
import type { ChannelHandler } from "../../src/base/channel.ts";
import { VirtualClock } from "../../src/base/virtual_clock.ts";
import { Http2Connection } from "../../src/h2/connection.ts";
import { h2CodeOf } from "../../src/h2/errors.ts";
import {
  decodeStreamId,
  decodeUint32,
  encodeFrameHeader,
  FLAG,
  FRAME,
} from "../../src/h2/frame_header.ts";
import { PREFACE } from "../../src/h2/frame_reader.ts";
import { HpackDecoder } from "../../src/h2/hpack/decoder.ts";
import { HpackEncoder, maxEncodedBytes } from "../../src/h2/hpack/encoder.ts";
import type { H2Limits } from "../../src/h2/options.ts";
import type { HeaderList } from "../../src/h2/types.ts";
import { bytePipe, type PipeEnd, type PipeOptions } from "./byte_pipe.ts";
import { ConnectionLog } from "./h2_pair.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A frame as octets; `payload` may be text. */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array | string = "",
): Bytes {
  const body = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  const bytes = new Uint8Array(9 + body.length);
  encodeFrameHeader(bytes, 0, body.length, type, flags, streamId);
  bytes.set(body, 9);
  return bytes;
}

export function uint32(value: number): Bytes {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((bytes, part) => bytes + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

export function data(streamId: number, payload: Uint8Array | string, flags = 0): Bytes {
  return frame(FRAME.DATA, flags, streamId, payload);
}

/** DATA with `paddingBytes` (0 to 255) of padding. */
export function paddedData(
  streamId: number,
  payload: string,
  paddingBytes: number,
  flags = 0,
): Bytes {
  const body = concat(
    Uint8Array.of(paddingBytes),
    new TextEncoder().encode(payload),
    new Uint8Array(paddingBytes),
  );
  return frame(FRAME.DATA, flags | FLAG.PADDED, streamId, body);
}

/** Settings as `[id, value]`. */
export function settings(...pairs: readonly (readonly [number, number])[]): Bytes {
  return frame(
    FRAME.SETTINGS,
    0,
    0,
    concat(...pairs.map(([id, value]) => concat(Uint8Array.of(0, id), uint32(value)))),
  );
}

export function windowUpdate(streamId: number, increment: number): Bytes {
  return frame(FRAME.WINDOW_UPDATE, 0, streamId, uint32(increment));
}

export function reset(streamId: number, code: number): Bytes {
  return frame(FRAME.RST_STREAM, 0, streamId, uint32(code));
}

export function goAway(lastStreamId: number, code: number, debug = ""): Bytes {
  return frame(
    FRAME.GOAWAY,
    0,
    0,
    concat(
      uint32(lastStreamId),
      uint32(code),
      new TextEncoder().encode(debug),
    ),
  );
}

/** The far side of the pipe: sends octets, and writes down what our connection sends, a line per frame. */
export class RawPeer implements ChannelHandler {
  readonly #end: PipeEnd;
  readonly #encoder = new HpackEncoder();
  readonly #decoder = new HpackDecoder({ tableBytesMax: 4096 });
  readonly #clock: VirtualClock;
  #unread = new Uint8Array(0);
  #skipBytes: number;
  /** Everything received, in octets. */
  received = new Uint8Array(0);
  /** `HEADERS 1 END_STREAM :status=200`, `DATA 1 5`, `RST_STREAM 1 CANCEL`, … */
  lines: string[] = [];
  ended = false;
  closed = false;

  constructor(end: PipeEnd, clock: VirtualClock, prefaceBytes: number) {
    this.#end = end;
    this.#clock = clock;
    this.#skipBytes = prefaceBytes;
    end.attach(this);
  }

  /** Sends octets and lets everything happen. */
  send(...parts: readonly Uint8Array[]): void {
    const block = adoptBlock(concat(...parts));
    this.#end.write(block, 0, block.bytes.length);
    block.release();
    this.#clock.runUntilIdle();
  }

  /** A HEADERS frame with END_HEADERS. */
  headers(streamId: number, headers: HeaderList, flags = 0): Bytes {
    return frame(FRAME.HEADERS, flags | FLAG.END_HEADERS, streamId, this.block(headers));
  }

  /** A header block. Each one must be sent, in order. */
  block(headers: HeaderList): Bytes {
    const bytes = new Uint8Array(maxEncodedBytes(headers));
    return bytes.slice(0, this.#encoder.encode(headers, bytes, 0));
  }

  /** The lines since the last call. */
  take(): string[] {
    return this.lines.splice(0);
  }

  endWrite(): void {
    this.#end.endWrite();
    this.#clock.runUntilIdle();
  }

  /** Stops reading, so that our connection's transport fills. */
  stopReading(): void {
    this.#end.other.held = true;
  }

  onData({ bytes }: { readonly bytes: Uint8Array }, start: number, end: number): void {
    this.received = concat(this.received, bytes.subarray(start, end));
    this.#unread = concat(this.#unread, bytes.subarray(start, end));
    if (this.#skipBytes > 0) {
      const skipped = Math.min(this.#skipBytes, this.#unread.length);
      this.#skipBytes -= skipped;
      this.#unread = this.#unread.slice(skipped);
    }
    while (this.#unread.length >= 9) {
      const whole = 9 + (decodeUint32(this.#unread, 0) >>> 8);
      if (this.#unread.length < whole) return;
      this.lines.push(this.#describe(this.#unread.subarray(0, whole)));
      this.#unread = this.#unread.slice(whole);
    }
  }

  onEnd(): void {
    this.ended = true;
  }

  onWritable(): void {}

  onClose(): void {
    this.closed = true;
  }

  #describe(bytes: Uint8Array): string {
    const type = bytes[3]!;
    const flags = bytes[4]!;
    const id = decodeStreamId(bytes, 5);
    const end = flags & FLAG.END_STREAM ? " END_STREAM" : "";
    switch (type) {
      case FRAME.DATA:
        return `DATA ${id} ${bytes.length - 9}${end}`;
      case FRAME.HEADERS: {
        const fields: string[] = [];
        this.#decoder.decode(bytes, 9, bytes.length, {
          onHeader: (name, value) => void fields.push(`${name}=${value}`),
        });
        return `HEADERS ${id}${end} ${fields.join(" ")}`;
      }
      case FRAME.RST_STREAM:
        return `RST_STREAM ${id} ${h2CodeOf(decodeUint32(bytes, 9))}`;
      case FRAME.SETTINGS:
        return flags & FLAG.ACK ? "SETTINGS ACK" : "SETTINGS";
      case FRAME.PING:
        return `${flags & FLAG.ACK ? "PONG" : "PING"} ${bytes.subarray(9).toHex()}`;
      case FRAME.GOAWAY:
        return `GOAWAY ${decodeStreamId(bytes, 9)} ${h2CodeOf(decodeUint32(bytes, 13))}`;
      case FRAME.WINDOW_UPDATE:
        return `WINDOW_UPDATE ${id} ${decodeUint32(bytes, 9)}`;
      default:
        return `type ${type}`;
    }
  }
}

export interface RawOptions extends PipeOptions {
  readonly limits?: Partial<H2Limits>;
  /** Settings the raw peer begins with; null begins with nothing at all. */
  readonly settings?: readonly (readonly [number, number])[] | null;
}

export interface RawSetup {
  readonly connection: Http2Connection;
  readonly log: ConnectionLog;
  readonly peer: RawPeer;
  readonly clock: VirtualClock;
  readonly pool: BlockPool;
  /** Our connection's end of the pipe. */
  readonly end: PipeEnd;
  run(): void;
}

function setUp(side: "client" | "server", options: RawOptions): RawSetup {
  const clock = new VirtualClock();
  const pool = new BlockPool({ blockBytes: 65_536, idleMax: 8 });
  const [end, peerEnd] = bytePipe(clock, options);
  const log = new ConnectionLog();
  const connection = new Http2Connection({
    side,
    transport: end,
    handler: log,
    clock,
    pool,
    limits: options.limits ?? {},
  });
  const peer = new RawPeer(peerEnd, clock, side === "client" ? PREFACE.length : 0);
  const given = options.settings === undefined ? [] : options.settings;
  clock.runUntilIdle();
  if (given !== null) {
    if (side === "server") peer.send(PREFACE, settings(...given));
    else peer.send(settings(...given));
    peer.take();
  }
  return { connection, log, peer, clock, pool, end, run: () => void clock.runUntilIdle() };
}

/** Our server; the raw peer is a client that has said preface and SETTINGS. */
export function serverWithRawClient(options: RawOptions = {}): RawSetup {
  return setUp("server", options);
}

/** Our client; the raw peer is a server that has said SETTINGS. */
export function clientWithRawServer(options: RawOptions = {}): RawSetup {
  return setUp("client", options);
}
