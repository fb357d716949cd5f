// An HTTP/2 connection for CONNECT tunnels: joins reader, writer, streams and limits.
import type { SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import type { Block, BlockPool } from "../base/block.ts";
import type { Channel } from "../base/channel.ts";
import type { Clock } from "../base/clock.ts";
import { NetError, type ProxyError } from "../base/errors.ts";
import { AbuseBudget, STREAM_ERRORS_MAX } from "./abuse_budget.ts";
import { ClosedStreams } from "./closed_streams.ts";
import { CreditKeeper } from "./credit_keeper.ts";
import { DataSender } from "./data_sender.ts";
import {
  H2_CODE_NUMBERS,
  type H2Code,
  h2CodeOf,
  H2ConnectionError,
  H2StreamError,
} from "./errors.ts";
import { DEFAULT_WINDOW_BYTES } from "./flow_window.ts";
import { FrameReader, type FrameSink, PREFACE } from "./frame_reader.ts";
import { FrameWriter } from "./frame_writer.ts";
import { HeaderCollector } from "./header_collector.ts";
import { HpackDecoder } from "./hpack/decoder.ts";
import { HpackEncoder } from "./hpack/encoder.ts";
import { HpackError } from "./hpack/errors.ts";
import { type H2ConnectionOptions, type H2Limits, limitsFor } from "./options.ts";
import { judgeRequest, judgeResponse, trailersFault } from "./request_rules.ts";
import { applyPeerSettings, DEFAULT_PEER_SETTINGS, encodeLocalSettings } from "./settings.ts";
import { Http2Stream, type StreamOwner } from "./stream.ts";
import { StreamTable } from "./stream_table.ts";
import type {
  H2Connection,
  H2ConnectionHandler,
  H2ResponseHandler,
  H2Stream,
  HeaderField,
  HeaderList,
  PeerSettings,
} from "./types.ts";

/** Requests that wait for the peer's stream limit; one more fails as refused. */
export const WAITING_STREAMS_MAX = 1024;

/** Resets by the peer, of requests not answered, that their owners have not noticed yet (design §5). */
export const PENDING_RESETS_MAX = 20;

/** The largest stream id (RFC 9113 §5.1.1); in GOAWAY it means "none refused yet". */
const STREAM_ID_LIMIT = 2 ** 31 - 1;

/** Our PING between the two GOAWAYs of a drain; told from the owner's by its octets. */
const DRAIN_PING = Uint8Array.of(0x64, 0x72, 0x61, 0x69, 0x6e, 0x69, 0x6e, 0x67);

/** "ending": GOAWAY and the transport's end are sent, input is dropped until the peer ends too. */
type Phase = "running" | "ending" | "closed";

/** "announced": a server said GOAWAY(2^31-1) and awaits the PONG. "final": no new stream is taken. */
type Drain = "none" | "announced" | "final";

/**
 * Speaks HTTP/2 on `options.transport` from the moment it is made. Its owner knows it as H2Connection;
 * the other public methods are for the reader and the streams of this folder.
 *
 * After `close`, a drain or a fault the transport's own end is awaited, and `onClose` comes with it. Nothing in this
 * folder has a timer: an owner who will not wait calls `abort`.
 */
export class Http2Connection implements H2Connection, FrameSink, StreamOwner {
  readonly pool: BlockPool;
  readonly #side: "client" | "server";
  readonly #transport: Channel;
  readonly #handler: H2ConnectionHandler;
  readonly #clock: Pick<Clock, "nowMs" | "soon">;
  readonly #limits: H2Limits;
  readonly #reader: FrameReader;
  readonly #writer: FrameWriter;
  readonly #decoder = new HpackDecoder({ tableBytesMax: DEFAULT_PEER_SETTINGS.headerTableBytes });
  readonly #encoder = new HpackEncoder();
  readonly #collector: HeaderCollector;
  readonly #budget = new AbuseBudget();

  #phase: Phase = "running";
  #drain: Drain = "none";
  /** A client's drain says no GOAWAY. */
  #silent = false;
  #settings: PeerSettings = DEFAULT_PEER_SETTINGS;
  #settingsSeen = false;
  #goAwayReceived: H2ConnectionError | null = null;
  /** Why the connection ends, for its owner and its streams. */
  #reason: ProxyError | null = null;

  readonly #streams = new StreamTable<Http2Stream>();
  readonly #closedStreams = new ClosedStreams();
  /** Ours, not yet announced, oldest first. */
  readonly #waiting: Http2Stream[] = [];
  #nextId = 1;
  #lastPeerId = 0;
  /** The last stream found by id: DATA frames come in runs. */
  #found: Http2Stream | null = null;
  /** Who gets the DATA frame being read; null when it is dropped. */
  #dataStream: Http2Stream | null = null;
  #pendingResets = 0;

  readonly #sender: DataSender;
  readonly #credit: CreditKeeper;

  /** Streams to be called in the task; swapped with the spare list while it runs. */
  #toCall: Http2Stream[] = [];
  #spareList: Http2Stream[] = [];
  #idleDue = false;
  #endingDue = false;
  #closeDue = false;
  #taskPending = false;
  readonly #task = { runTask: () => this.#runTask() };

  constructor(options: H2ConnectionOptions) {
    this.#side = options.side;
    this.#transport = options.transport;
    this.#handler = options.handler;
    this.#clock = options.clock;
    this.pool = options.pool;
    this.#limits = limitsFor(options.side, options.limits);
    this.#reader = new FrameReader(options.side, this, this.#limits);
    this.#writer = new FrameWriter(options.transport, options.pool);
    this.#collector = new HeaderCollector(this.#limits.headerListBytesMax);
    this.#sender = new DataSender(this.#writer, (stream) => this.#dropIfClosed(stream));
    this.#credit = new CreditKeeper(this.#writer, this.#limits.connectionWindowBytes);
    this.#start();
    options.transport.attach({
      onData: (block, start, end) => this.#receive(block, start, end),
      onEnd: () => this.#onTransportEnd(),
      onWritable: () => this.#onTransportWritable(),
      onClose: (error) => this.#onTransportClose(error),
    });
  }

  get peer(): SocketAddress {
    return this.#transport.peer;
  }

  get local(): SocketAddress {
    return this.#transport.local;
  }

  get openStreams(): number {
    return this.#streams.size + this.#waiting.length;
  }

  get acceptsStreams(): boolean {
    return this.#phase === "running" && this.#drain === "none" && this.#goAwayReceived === null &&
      this.#nextId <= STREAM_ID_LIMIT;
  }

  get peerSettings(): PeerSettings | null {
    return this.#settingsSeen ? this.#settings : null;
  }

  get heldBytes(): number {
    return this.#credit.heldBytes;
  }

  // What the owner calls.

  open(headers: HeaderList, handler: H2ResponseHandler): H2Stream {
    assert(this.#side === "client", "Only a client opens streams");
    const refused = !this.acceptsStreams || this.#waiting.length >= WAITING_STREAMS_MAX;
    const stream = new Http2Stream(refused ? 0 : this.#nextId, this, "waiting", {
      sendBytes: this.#settings.initialWindowBytes,
      receiveBytes: this.#limits.streamWindowBytes,
    }, handler);
    if (refused) {
      const detail = "Cannot open a stream: the connection takes no more";
      stream.fail(new H2StreamError(detail, { code: "REFUSED_STREAM", unprocessed: true }));
      return stream;
    }
    this.#nextId += 2;
    stream.request = headers;
    this.#waiting.push(stream);
    this.#announceWaiting();
    return stream;
  }

  ping(opaque: Uint8Array): void {
    assert(opaque.length === 8, "PING carries eight octets");
    if (this.#phase !== "running") return;
    this.#writer.ping(opaque, 0);
    this.#schedule();
  }

  drain({ silent = false }: { readonly silent?: boolean } = {}): void {
    if (this.#phase !== "running" || this.#drain !== "none") return;
    if (this.#side === "server") {
      this.#drain = "announced";
      this.#writer.goAway(STREAM_ID_LIMIT, H2_CODE_NUMBERS.NO_ERROR);
      this.#writer.ping(DRAIN_PING, 0);
    } else {
      this.#drain = "final";
      this.#silent = silent;
    }
    this.#schedule();
  }

  close(code: number, reason: ProxyError | null): void {
    if (this.#phase !== "running") return;
    this.#end(code, reason);
  }

  abort(reason: ProxyError | null): void {
    if (this.#phase === "closed") return;
    this.#reason ??= reason;
    this.#phase = "ending";
    this.#reader.stop();
    this.#failStreams(reason);
    this.#writer.dispose();
    this.#transport.reset(reason);
  }

  // The turn's task: everything that must not happen inside an owner's call, and the one write.

  #schedule(): void {
    if (this.#taskPending) return;
    this.#taskPending = true;
    this.#clock.soon(this.#task);
  }

  #runTask(): void {
    this.#taskPending = false;
    if (this.#phase === "running") this.#sender.pump();
    const streams = this.#toCall;
    this.#toCall = this.#spareList;
    let called = 0;
    try {
      while (called < streams.length) {
        const stream = streams[called++]!;
        stream.awaitsCall = false;
        stream.attend();
      }
    } finally { // After an exception, which is one owner's bug, the others get their call all the same.
      for (const stream of streams.splice(called)) {
        stream.awaitsCall = false;
        this.callLater(stream);
      }
      streams.length = 0;
      this.#spareList = streams;
    }
    if (this.#idleDue) {
      this.#idleDue = false;
      if (this.openStreams === 0 && this.#phase === "running") this.#handler.onIdle();
    }
    this.#endIfDrained();
    if (this.#endingDue) {
      this.#endingDue = false;
      if (this.#phase === "ending") this.#handler.onEnding?.(this.#reason);
    }
    if (this.#phase === "running" && this.#writer.writable) this.#writer.flush();
    if (this.#closeDue && this.#toCall.length === 0) {
      this.#closeDue = false;
      this.#handler.onClose(this.#reason);
    } else if (this.#closeDue) {
      this.#schedule();
    }
  }

  callLater(stream: Http2Stream): void {
    if (stream.awaitsCall) return;
    stream.awaitsCall = true;
    this.#toCall.push(stream);
    this.#schedule();
  }

  // Sending.

  #start(): void {
    if (this.#side === "client") this.#writer.raw(PREFACE);
    this.#writer.settings(encodeLocalSettings(this.#side, this.#limits));
    const extra = this.#limits.connectionWindowBytes - DEFAULT_WINDOW_BYTES;
    assert(extra >= 0, "The connection window cannot be made smaller");
    if (extra > 0) this.#writer.windowUpdate(0, extra);
    this.#schedule();
  }

  sendData(stream: Http2Stream, block: Block, start: number, end: number): boolean {
    this.#schedule();
    return this.#sender.send(stream, block, start, end);
  }

  sendEnd(stream: Http2Stream): void {
    if (stream.hasQueued || stream.state === "waiting") return; // The last DATA will say it.
    this.#writer.end(stream.id);
    this.#schedule();
    stream.noteEndSent();
    this.#dropIfClosed(stream);
  }

  sendResponse(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    this.#writer.headers(stream.id, headers, this.#encoder, endStream);
    this.#schedule();
    if (!endStream) return;
    stream.noteEndSent();
    if (stream.state === "closed") {
      this.#drop(stream, "ended");
    } else { // Spec/data-path §1.7: what is left of the request is not wanted.
      this.#writer.resetStream(stream.id, H2_CODE_NUMBERS.NO_ERROR);
      this.#drop(stream, "resetByUs");
    }
    stream.fail(null);
  }

  sendReset(stream: Http2Stream, reason: ProxyError | null): void {
    if (stream.state === "waiting") {
      this.#waiting.splice(this.#waiting.indexOf(stream), 1);
      this.#noteMaybeIdle();
    } else if (stream.state !== "closed") {
      // Spec/data-path W15: a server that has said everything just needs no more input.
      const code = reason instanceof H2StreamError
        ? reason.code
        : this.#side === "server" && stream.state === "halfClosedLocal"
        ? "NO_ERROR"
        : "CANCEL";
      this.#writer.resetStream(stream.id, H2_CODE_NUMBERS[code]);
      this.#drop(stream, "resetByUs");
    }
    stream.fail(reason);
    this.#schedule();
  }

  #resumeSending(stream: Http2Stream): void {
    this.#sender.resume(stream);
    this.#schedule();
  }

  /** Client: announces waiting requests while the peer's stream limit allows it. */
  #announceWaiting(): void {
    if (this.#phase !== "running") return;
    while (
      this.#waiting.length > 0 && this.#streams.size < this.#settings.maxConcurrentStreams
    ) {
      const stream = this.#waiting.shift()!;
      stream.state = "open";
      this.#streams.add(stream);
      this.#writer.headers(stream.id, stream.request!, this.#encoder, false);
      stream.request = null;
      if (stream.hasQueued) this.#resumeSending(stream);
      else if (stream.endsAfterSend) this.sendEnd(stream);
      this.#schedule();
    }
  }

  returnCredit(stream: Http2Stream, bytes: number): void {
    if (this.#credit.give(stream, bytes)) this.#schedule();
  }

  #dropBytes(bytes: number): void {
    if (this.#credit.drop(bytes)) this.#schedule();
  }

  #onTransportWritable(): void {
    if (this.#phase !== "running") return;
    this.#writer.onTransportWritable();
    this.#credit.onTransportWritable();
    this.#schedule();
  }

  // The end.

  /** GOAWAY, every stream told, and the transport ended after the write. */
  #end(code: number, reason: ProxyError | null): void {
    this.#reason ??= reason;
    const said = (this.#side === "server" && this.#drain === "final" && code === 0) ||
      (this.#silent && code === 0);
    if (!said) this.#writer.goAway(this.#lastPeerId, code);
    this.#phase = "ending";
    this.#endingDue = true;
    this.#reader.stop();
    this.#failStreams(reason);
    this.#writer.flush();
    this.#transport.endWrite();
  }

  #failStreams(reason: ProxyError | null): void {
    this.#sender.clear();
    this.#credit.stop();
    for (const stream of this.#waiting.splice(0)) stream.fail(reason);
    for (const stream of this.#streams.streams()) stream.fail(reason);
    this.#streams.clear();
    this.#found = null;
    this.#dataStream = null;
    this.#schedule();
  }

  /** After a drain or the peer's GOAWAY, the last stream takes the connection with it (W23, W26, W27). */
  #endIfDrained(): void {
    if (this.#phase !== "running" || this.openStreams > 0) return;
    if (this.#drain === "final" || (this.#goAwayReceived !== null && this.#drain === "none")) {
      this.#end(H2_CODE_NUMBERS.NO_ERROR, null);
    }
  }

  #onTransportEnd(): void {
    if (this.#phase !== "running") return; // Both sides have ended; onClose follows.
    this.#phase = "ending";
    this.#endingDue = true;
    this.#reader.stop();
    if (this.openStreams > 0) this.#reason ??= this.#goneReason();
    this.#failStreams(this.#reason);
    this.#writer.flush();
    this.#transport.endWrite();
  }

  #onTransportClose(error: ProxyError | null): void {
    assert(this.#phase !== "closed", "A channel closes once");
    this.#reader.stop();
    if (this.#reason === null) {
      this.#reason = error ?? (this.openStreams > 0 ? this.#goneReason() : null);
    }
    this.#phase = "closed";
    this.#failStreams(this.#reason);
    this.#writer.dispose();
    this.#closeDue = true;
    this.#schedule();
  }

  /** Why streams end when the peer just leaves. */
  #goneReason(): ProxyError {
    const said = this.#goAwayReceived;
    return said !== null && said.code !== "NO_ERROR" ? said : new NetError("UNEXPECTED_EOF", {
      message: "unexpected end of file",
    });
  }

  // Receiving.

  #receive(block: Block, start: number, end: number): void {
    if (this.#phase !== "running") return;
    try {
      this.#reader.receive(block, start, end);
      if (this.#writer.isOverloaded) {
        throw new H2ConnectionError("Cannot queue more replies: the peer does not read", {
          code: "ENHANCE_YOUR_CALM",
        });
      }
    } catch (error) {
      this.#onFault(error);
    }
  }

  #onFault(error: unknown): void {
    const fault = error instanceof HpackError
      ? new H2ConnectionError(error.message, { code: "COMPRESSION_ERROR", cause: error })
      : error;
    if (!(fault instanceof H2ConnectionError)) throw error; // Our bug; the loop's dispatch has it.
    if (this.#phase !== "running") return;
    if (this.#writer.isOverloaded) this.abort(fault); // A GOAWAY would not be read either.
    else this.#end(H2_CODE_NUMBERS[fault.code], fault);
  }

  #find(streamId: number): Http2Stream | null {
    const found = this.#found;
    if (found !== null && found.id === streamId) return found;
    const stream = this.#streams.get(streamId);
    if (stream === null) return null;
    this.#found = stream;
    return stream;
  }

  /** True when neither side has used `streamId` yet (RFC 9113 §5.1, "idle"). */
  #isIdle(streamId: number): boolean {
    return (streamId & 1) === 1 && this.#side === "client"
      ? streamId >= this.#nextId || this.#waiting.length > 0 && streamId >= this.#waiting[0]!.id
      : (streamId & 1) === 0 || streamId > this.#lastPeerId;
  }

  #needUsed(streamId: number, frame: string): void {
    if (this.#isIdle(streamId) && !this.#ignores(streamId)) {
      throw new H2ConnectionError(`Cannot accept ${frame} on idle stream ${streamId}`, {
        code: "PROTOCOL_ERROR",
      });
    }
  }

  onDataFrame(streamId: number, payloadBytes: number): void {
    this.#dataStream = null;
    if (!this.#credit.charge(payloadBytes)) {
      throw new H2ConnectionError(
        `Cannot accept DATA of ${payloadBytes} bytes: connection window has ${this.#credit.windowBytes}`,
        { code: "FLOW_CONTROL_ERROR" },
      );
    }
    const stream = this.#find(streamId);
    if (stream === null) {
      this.#needUsed(streamId, "DATA");
      // What was on its way when we reset the stream is no fault of the peer's.
      if (this.#closedStreams.howClosed(streamId) !== "resetByUs" && !this.#ignores(streamId)) {
        this.#fault(streamId, "STREAM_CLOSED", "Cannot accept DATA: the stream is closed");
      }
    } else if (!stream.isReceiving) {
      this.#fault(streamId, "STREAM_CLOSED", "Cannot accept DATA: the peer ended the stream");
    } else if (this.#side === "client" && !stream.responded) {
      this.#fault(streamId, "PROTOCOL_ERROR", "Cannot accept DATA: no response before");
    } else if (!stream.receiveWindow.charge(payloadBytes)) {
      const detail =
        `Cannot accept DATA of ${payloadBytes} bytes: window has ${stream.receiveWindow.bytes}`;
      this.#fault(streamId, "FLOW_CONTROL_ERROR", detail);
    } else {
      this.#dataStream = stream;
    }
  }

  onDataPart(block: Block, start: number, end: number): void {
    const stream = this.#dataStream;
    if (stream === null || !stream.isReceiving) {
      this.#dropBytes(end - start);
    } else if (stream.contentBytesLeft < 0) {
      stream.receive(block, start, end);
    } else {
      this.#receiveContent(stream, block, start, end);
    }
  }

  /** DATA of a request that announced a content-length (never a CONNECT). */
  #receiveContent(stream: Http2Stream, block: Block, start: number, end: number): void {
    if (end - start > stream.contentBytesLeft) {
      this.#dropBytes(end - start);
      this.#fault(stream.id, "PROTOCOL_ERROR", "Cannot accept DATA: more than content-length");
    } else {
      stream.contentBytesLeft -= end - start;
      stream.receive(block, start, end);
    }
  }

  onPadding(bytes: number): void {
    if (this.#dataStream !== null) this.returnCredit(this.#dataStream, bytes);
    else this.#dropBytes(bytes);
  }

  onDataEnd(endStream: boolean): void {
    const stream = this.#dataStream;
    this.#dataStream = null;
    if (endStream && stream !== null && stream.isReceiving) this.#receiveEnd(stream);
  }

  #receiveEnd(stream: Http2Stream): void {
    if (stream.contentBytesLeft > 0) {
      this.#fault(stream.id, "PROTOCOL_ERROR", "Cannot end stream: less than content-length");
      return;
    }
    stream.receiveEnd();
    this.#dropIfClosed(stream);
  }

  onHeaderBlockStart(streamId: number): void {
    if ((streamId & 1) === 0) {
      throw new H2ConnectionError(`Cannot accept HEADERS on stream ${streamId}: even id`, {
        code: "PROTOCOL_ERROR",
      });
    }
    if (this.#side === "client") this.#needUsed(streamId, "HEADERS");
    this.#handler.onHeaderBlock(true);
  }

  onHeaderBlock(
    streamId: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    endStream: boolean,
    dependsOn: number,
  ): void {
    // Every block is decoded, also one that nobody wants: the HPACK state depends on it.
    this.#decoder.decode(bytes, start, end, this.#collector);
    const over = this.#collector.isOver;
    const headers = this.#collector.take();
    this.#handler.onHeaderBlock(false);
    if (this.#phase !== "running") return;
    const stream = this.#find(streamId);
    if (stream !== null) {
      this.#receiveHeaders(stream, headers, over, endStream, dependsOn === streamId);
    } else if (this.#side === "server" && streamId > this.#lastPeerId) {
      this.#receiveRequest(streamId, headers, over, endStream, dependsOn === streamId);
    } else if (!this.#ignores(streamId)) {
      this.#receiveLateHeaders(streamId);
    }
  }

  /** HEADERS on a stream that is over. */
  #receiveLateHeaders(streamId: number): void {
    switch (this.#closedStreams.howClosed(streamId)) {
      case "resetByUs":
        return;
      case "resetByPeer":
        return this.#fault(streamId, "STREAM_CLOSED", "Cannot accept HEADERS after RST_STREAM");
      case "ended":
        throw new H2ConnectionError(`Cannot accept HEADERS on closed stream ${streamId}`, {
          code: "STREAM_CLOSED",
        });
      case "unknown":
        throw new H2ConnectionError(
          `Cannot accept HEADERS on stream ${streamId}: ids reached ${this.#lastPeerId}`,
          { code: "PROTOCOL_ERROR" },
        );
    }
  }

  #receiveRequest(
    streamId: number,
    headers: HeaderField[],
    over: boolean,
    endStream: boolean,
    dependsOnItself: boolean,
  ): void {
    if (this.#drain === "final") return; // Above the last id we promised: not looked at.
    this.#lastPeerId = streamId;
    if (dependsOnItself) {
      return this.#refuse(streamId, "PROTOCOL_ERROR", "Cannot accept stream: depends on itself");
    }
    if (this.#streams.size >= this.#limits.concurrentStreamsMax) {
      return this.#refuse(streamId, "REFUSED_STREAM", "Cannot accept stream: too many are open");
    }
    if (over) return this.#refuseHeaders(streamId, endStream);
    const verdict = judgeRequest(headers, endStream);
    if (verdict.kind === "malformed") {
      return this.#refuse(streamId, "PROTOCOL_ERROR", `Cannot accept request: ${verdict.why}`);
    }
    const stream = new Http2Stream(streamId, this, "open", {
      sendBytes: this.#settings.initialWindowBytes,
      receiveBytes: this.#limits.streamWindowBytes,
    }, null);
    stream.contentBytesLeft = verdict.contentBytes;
    this.#streams.add(stream);
    this.#found = stream;
    if (endStream) stream.receiveEnd();
    this.#handler.onRequest(stream, headers, endStream);
  }

  /** A request that its owner never gets to see. */
  #refuse(streamId: number, code: H2Code, detail: string): void {
    this.#handler.onRequestRefused?.(streamId, new H2StreamError(detail, { code }));
    this.#fault(streamId, code, detail);
  }

  /** A header list above our limit: 431, and the stream is over (design §5). */
  #refuseHeaders(streamId: number, endStream: boolean): void {
    const headers = [{ name: ":status", value: "431" }];
    this.#writer.headers(streamId, headers, this.#encoder, true);
    if (!endStream) this.#writer.resetStream(streamId, H2_CODE_NUMBERS.NO_ERROR);
    this.#closedStreams.add(streamId, "resetByUs");
    const detail = "Cannot accept request: its header list is above our limit";
    this.#handler.onRequestRefused?.(
      streamId,
      new H2StreamError(detail, { code: "ENHANCE_YOUR_CALM" }),
    );
    this.#chargeBudget();
    this.#schedule();
  }

  /** HEADERS on a stream that exists: a response, or trailers. */
  #receiveHeaders(
    stream: Http2Stream,
    headers: HeaderField[],
    over: boolean,
    endStream: boolean,
    dependsOnItself: boolean,
  ): void {
    const { id } = stream;
    if (dependsOnItself) {
      this.#fault(id, "PROTOCOL_ERROR", "Cannot accept HEADERS: stream depends on itself");
    } else if (!stream.isReceiving) {
      this.#fault(id, "STREAM_CLOSED", "Cannot accept HEADERS: the peer ended the stream");
    } else if (over) {
      this.#fault(id, "REFUSED_STREAM", "Cannot accept headers: the list is above our limit");
    } else if (this.#side === "client" && !stream.responded) {
      this.#receiveResponse(stream, headers, endStream);
    } else {
      const why = endStream ? trailersFault(headers) : "trailers do not end the stream";
      if (why !== null) this.#fault(id, "PROTOCOL_ERROR", `Cannot accept trailers: ${why}`);
      else this.#receiveEnd(stream);
    }
  }

  #receiveResponse(stream: Http2Stream, headers: HeaderField[], endStream: boolean): void {
    const verdict = judgeResponse(headers, endStream);
    if (verdict.kind === "malformed") {
      this.#fault(stream.id, "PROTOCOL_ERROR", `Cannot accept response: ${verdict.why}`);
    } else if (verdict.kind === "final") {
      stream.answer(headers, endStream);
      if (endStream && stream.isReceiving) this.#receiveEnd(stream);
    }
  }

  onPriority(streamId: number, dependsOn: number): void {
    if (streamId !== dependsOn) return; // Priorities are not used (RFC 9113 §5.3.2).
    this.onFrameFault(streamId, "PROTOCOL_ERROR", "Cannot accept PRIORITY: depends on itself");
  }

  onFrameFault(streamId: number, code: H2Code, detail: string): void {
    // RST_STREAM may not be sent on an idle stream (RFC 9113 §6.4).
    if (this.#isIdle(streamId)) throw new H2ConnectionError(detail, { code });
    this.#fault(streamId, code, detail);
  }

  onStreamReset(streamId: number, codeNumber: number): void {
    this.#needUsed(streamId, "RST_STREAM");
    const stream = this.#find(streamId);
    if (stream === null) return;
    this.#drop(stream, "resetByPeer");
    if (this.#side === "server" && !stream.responded) {
      stream.resetUnaccounted = true;
      this.#pendingResets++;
    }
    const code = h2CodeOf(codeNumber);
    // Spec/data-path W12: these two end the reader's data without an error. Before a response there is no
    // reader: an owner who keeps the stream paused while it dials hears at once that nobody waits any more.
    if ((code === "NO_ERROR" || code === "CANCEL") && stream.responded) {
      stream.settle();
    } else {
      const unprocessed = code === "REFUSED_STREAM";
      stream.fail(new H2StreamError("", { code, origin: "received", unprocessed }));
    }
    if (this.#pendingResets > PENDING_RESETS_MAX) {
      throw new H2ConnectionError(`Cannot accept more than ${PENDING_RESETS_MAX} resets at once`, {
        code: "ENHANCE_YOUR_CALM",
      });
    }
  }

  accountReset(): void {
    this.#pendingResets--;
  }

  onSettings(bytes: Uint8Array, start: number, end: number): void {
    const before = this.#settings;
    const after = applyPeerSettings(before, bytes, start, end, this.#side);
    this.#settings = after;
    this.#settingsSeen = true;
    this.#writer.settingsAck();
    this.#schedule();
    this.#sender.setFrameBytesMax(after.maxFrameBytes);
    if (after.headerTableBytes !== before.headerTableBytes) {
      this.#encoder.setPeerTableBytes(after.headerTableBytes);
    }
    const change = after.initialWindowBytes - before.initialWindowBytes;
    if (change !== 0) {
      for (const stream of this.#streams.streams()) this.#resizeWindow(stream, change);
      for (const stream of this.#waiting) this.#resizeWindow(stream, change);
    }
    this.#announceWaiting();
    this.#handler.onPeerSettings(after);
  }

  #resizeWindow(stream: Http2Stream, change: number): void {
    if (!stream.sendWindow.add(change)) {
      throw new H2ConnectionError(`Cannot resize the window of stream ${stream.id}: overflow`, {
        code: "FLOW_CONTROL_ERROR",
      });
    }
    this.#resumeSending(stream);
  }

  onPing(bytes: Uint8Array, start: number): void {
    this.#writer.pong(bytes, start);
    this.#schedule();
  }

  onPong(bytes: Uint8Array, start: number): void {
    if (this.#drain === "announced" && DRAIN_PING.every((octet, i) => octet === bytes[start + i])) {
      this.#drain = "final";
      this.#writer.goAway(this.#lastPeerId, H2_CODE_NUMBERS.NO_ERROR);
      this.#schedule();
      return;
    }
    this.#handler.onPong(bytes.subarray(start, start + 8));
  }

  onGoAway(lastStreamId: number, codeNumber: number, debug: string): void {
    const code = h2CodeOf(codeNumber);
    const said = { code, origin: "received", unprocessed: true } as const;
    this.#goAwayReceived = new H2ConnectionError(debug, { code, origin: "received" });
    if (this.#side === "client") {
      for (const stream of this.#waiting.splice(0)) stream.fail(new H2ConnectionError(debug, said));
      for (const stream of this.#streams.streams()) {
        if (stream.id <= lastStreamId) continue;
        this.#drop(stream, "resetByUs");
        stream.fail(new H2ConnectionError(debug, said));
      }
    }
    this.#schedule();
    this.#handler.onGoAway(lastStreamId, codeNumber, debug);
  }

  onWindowUpdate(streamId: number, increment: number): void {
    if (streamId === 0) {
      if (increment === 0 || !this.#sender.addCredit(increment)) {
        throw new H2ConnectionError(`Cannot add ${increment} to the connection window`, {
          code: increment === 0 ? "PROTOCOL_ERROR" : "FLOW_CONTROL_ERROR",
        });
      }
      this.#schedule();
      return;
    }
    this.#needUsed(streamId, "WINDOW_UPDATE");
    const stream = this.#find(streamId);
    if (stream === null) return;
    if (increment === 0 || !stream.sendWindow.add(increment)) {
      const code = increment === 0 ? "PROTOCOL_ERROR" : "FLOW_CONTROL_ERROR";
      this.#fault(streamId, code, `Cannot add ${increment} to the window`);
      return;
    }
    this.#resumeSending(stream);
  }

  // Streams.

  /** True for frames above the last id of a final GOAWAY. */
  #ignores(streamId: number): boolean {
    return this.#side === "server" && this.#drain === "final" && streamId > this.#lastPeerId &&
      (streamId & 1) === 1;
  }

  /** The peer broke a rule that costs its stream, which may be over already. */
  #fault(streamId: number, code: H2Code, detail: string): void {
    const stream = this.#find(streamId);
    this.#writer.resetStream(streamId, H2_CODE_NUMBERS[code]);
    this.#schedule();
    if (stream === null) {
      this.#closedStreams.add(streamId, "resetByUs");
    } else {
      this.#drop(stream, "resetByUs");
      stream.fail(new H2StreamError(detail, { code }));
    }
    this.#chargeBudget();
  }

  #chargeBudget(): void {
    if (!this.#budget.charge(this.#clock.nowMs())) {
      throw new H2ConnectionError(`Cannot accept more than ${STREAM_ERRORS_MAX} stream errors`, {
        code: "ENHANCE_YOUR_CALM",
      });
    }
  }

  #dropIfClosed(stream: Http2Stream): void {
    if (stream.state !== "closed" || this.#streams.get(stream.id) !== stream) return;
    this.#drop(stream, "ended");
    stream.settle();
  }

  /** Takes a stream out of everything; its slot is free. */
  #drop(stream: Http2Stream, how: "ended" | "resetByUs" | "resetByPeer"): void {
    this.#streams.delete(stream.id);
    this.#closedStreams.add(stream.id, how);
    this.#sender.remove(stream);
    this.#credit.forget(stream);
    if (this.#found === stream) this.#found = null;
    this.#announceWaiting();
    this.#noteMaybeIdle();
  }

  #noteMaybeIdle(): void {
    if (this.openStreams > 0) return;
    this.#idleDue = true;
    this.#schedule();
  }
}
