// A client and a server of our codec on one pipe, with owners that write down what they hear.
import { adoptBlock, type Block, BlockPool } from "../../src/base/block.ts";
import type { ChannelHandler } from "../../src/base/channel.ts";
import type { ProxyError } from "../../src/base/errors.ts";
import { VirtualClock } from "../../src/base/virtual_clock.ts";
import { Http2Connection } from "../../src/h2/connection.ts";
import type { H2Limits } from "../../src/h2/options.ts";
import type {
  H2ConnectionHandler,
  H2ResponseHandler,
  H2Stream,
  HeaderList,
  PeerSettings,
} from "../../src/h2/types.ts";
import { bytePipe, type PipeEnd, type PipeOptions } from "./byte_pipe.ts";

export const CONNECT: HeaderList = [
  { name: ":method", value: "CONNECT" },
  { name: ":authority", value: "10.0.0.2:8080" },
];
export const OK: HeaderList = [{ name: ":status", value: "200" }];

/** A block that nobody lent, with these bytes. */
export function blockOf(bytes: Uint8Array<ArrayBuffer> | string): Block {
  return adoptBlock(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
}

/** Says all of `bytes` on a stream. */
export function say(stream: H2Stream, bytes: Uint8Array<ArrayBuffer> | string): boolean {
  const block = blockOf(bytes);
  const more = stream.write(block, 0, block.bytes.length);
  block.release();
  return more;
}

/** Owner of one stream. */
export class StreamLog implements ChannelHandler {
  readonly stream: H2Stream;
  /** What was heard, in order: "data", "end", "writable", "close", "close CODE". Data runs count once. */
  readonly events: string[] = [];
  bytes = 0;
  /** Bytes received, when `keeps`. */
  text = "";
  keeps = true;
  onBytes: ((block: Block, start: number, end: number) => void) | null = null;
  onFlow: (() => void) | null = null;
  closedWith: ProxyError | null | undefined = undefined;

  constructor(stream: H2Stream) {
    this.stream = stream;
  }

  onData(block: Block, start: number, end: number): void {
    if (this.events.at(-1) !== "data") this.events.push("data");
    this.bytes += end - start;
    if (this.keeps) this.text += new TextDecoder("latin1").decode(block.bytes.subarray(start, end));
    this.onBytes?.(block, start, end);
  }

  onEnd(): void {
    this.events.push("end");
  }

  onWritable(): void {
    this.events.push("writable");
    this.onFlow?.();
  }

  onClose(error: ProxyError | null): void {
    this.closedWith = error;
    this.events.push(error === null ? "close" : `close ${error.code}`);
  }
}

/** Owner of one connection. Streams are attached at once unless `attaches` is false. */
export class ConnectionLog implements H2ConnectionHandler, H2ResponseHandler {
  readonly events: string[] = [];
  readonly streams: StreamLog[] = [];
  readonly settings: PeerSettings[] = [];
  attaches = true;
  onAccept: ((log: StreamLog, headers: HeaderList, endStream: boolean) => void) | null = null;
  onAnswer: ((log: StreamLog, headers: HeaderList, endStream: boolean) => void) | null = null;
  failures: ProxyError[] = [];
  closedWith: ProxyError | null | undefined = undefined;

  onRequest(stream: H2Stream, headers: HeaderList, endStream: boolean): void {
    const log = this.#add(stream);
    this.events.push(`request ${stream.id}`);
    this.onAccept?.(log, headers, endStream);
  }

  onResponse(stream: H2Stream, headers: HeaderList, endStream: boolean): void {
    const log = this.#add(stream);
    this.events.push(`response ${stream.id} ${headers[0]!.value}`);
    this.onAnswer?.(log, headers, endStream);
  }

  onFailure(stream: H2Stream, error: ProxyError): void {
    this.failures.push(error);
    this.events.push(`failure ${stream.id} ${error.code}`);
  }

  onPeerSettings(settings: PeerSettings): void {
    this.settings.push(settings);
  }

  onPong(opaque: Uint8Array): void {
    this.events.push(`pong ${opaque.toHex()}`);
  }

  onGoAway(lastStreamId: number, code: number, debug: string): void {
    this.events.push(`goaway ${lastStreamId} ${code}${debug === "" ? "" : ` ${debug}`}`);
  }

  onHeaderBlock(_open: boolean): void {}

  onIdle(): void {
    this.events.push("idle");
  }

  onClose(error: ProxyError | null): void {
    this.closedWith = error;
    this.events.push(error === null ? "close" : `close ${error.code}`);
  }

  #add(stream: H2Stream): StreamLog {
    const log = new StreamLog(stream);
    this.streams.push(log);
    if (this.attaches) stream.attach(log);
    return log;
  }
}

export interface PairOptions extends PipeOptions {
  readonly clientLimits?: Partial<H2Limits>;
  readonly serverLimits?: Partial<H2Limits>;
  readonly blockBytes?: number;
}

/** Both ends of a connection, and all that is needed to look at them. */
export interface Pair {
  readonly clock: VirtualClock;
  readonly pool: BlockPool;
  readonly client: Http2Connection;
  readonly server: Http2Connection;
  readonly clientLog: ConnectionLog;
  readonly serverLog: ConnectionLog;
  readonly clientEnd: PipeEnd;
  readonly serverEnd: PipeEnd;
  /** Opens a CONNECT and answers it with 200: both owners' logs of the stream. */
  tunnel(): readonly [StreamLog, StreamLog];
  run(): void;
}

export function h2Pair(options: PairOptions = {}): Pair {
  const clock = new VirtualClock();
  const pool = new BlockPool({ blockBytes: options.blockBytes ?? 65_536, idleMax: 8 });
  const [clientEnd, serverEnd] = bytePipe(clock, options);
  const clientLog = new ConnectionLog();
  const serverLog = new ConnectionLog();
  const client = new Http2Connection({
    side: "client",
    transport: clientEnd,
    handler: clientLog,
    clock,
    pool,
    limits: options.clientLimits ?? {},
  });
  const server = new Http2Connection({
    side: "server",
    transport: serverEnd,
    handler: serverLog,
    clock,
    pool,
    limits: options.serverLimits ?? {},
  });
  const run = () => void clock.runUntilIdle();
  const tunnel = () => {
    const accept = serverLog.onAccept;
    serverLog.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
    client.open(CONNECT, clientLog);
    run();
    serverLog.onAccept = accept;
    return [clientLog.streams.at(-1)!, serverLog.streams.at(-1)!] as const;
  };
  return {
    clock,
    pool,
    client,
    server,
    clientLog,
    serverLog,
    clientEnd,
    serverEnd,
    tunnel,
    run,
  };
}
