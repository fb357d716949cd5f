// One stream as its owner sees it: a Channel for DATA with headers around it.
import type { SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import type { Block, BlockPool } from "../base/block.ts";
import type { ChannelHandler } from "../base/channel.ts";
import { ChunkQueue } from "../base/chunk_queue.ts";
import type { ProxyError } from "../base/errors.ts";
import { H2StreamError } from "./errors.ts";
import { ReceiveWindow, SendWindow } from "./flow_window.ts";
import type { Scheduled } from "./send_scheduler.ts";
import { afterReceivedEnd, afterSentEnd, canReceive, type StreamState } from "./stream_state.ts";
import type { H2ResponseHandler, H2Stream, HeaderList } from "./types.ts";

/** What a stream asks of its connection. Nothing here calls back into a handler. */
export interface StreamOwner {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  readonly pool: BlockPool;
  /** Takes the range; true when all of it is on its way and more is welcome. */
  sendData(stream: Http2Stream, block: Block, start: number, end: number): boolean;
  sendEnd(stream: Http2Stream): void;
  sendResponse(stream: Http2Stream, headers: HeaderList, endStream: boolean): void;
  /** RST_STREAM for an owner that gives up. */
  sendReset(stream: Http2Stream, reason: ProxyError | null): void;
  /** `bytes` received octets left: taken by the consumer, or dropped. */
  returnCredit(stream: Http2Stream, bytes: number): void;
  /** Calls {@link Http2Stream.attend} later in this turn. */
  callLater(stream: Http2Stream): void;
  /** A stream that the peer had reset was noticed by its owner. */
  accountReset(): void;
}

/**
 * The stream keeps two lives apart: the protocol's ({@link state}, moved by the connection) and what its
 * owner was told. Bytes that arrived before an orderly end are still delivered after it.
 */
export class Http2Stream implements H2Stream, Scheduled {
  readonly id: number;
  readonly #owner: StreamOwner;
  state: StreamState;
  /** See {@link Scheduled}. */
  scheduled = false;
  /** True while the connection has this stream on its list for {@link attend}. */
  awaitsCall = false;
  readonly sendWindow: SendWindow;
  readonly receiveWindow: ReceiveWindow;
  /** Written and not yet sent. */
  toSend: ChunkQueue | null = null;
  /** END_STREAM follows {@link toSend}. */
  endsAfterSend = false;
  /** A `write` answered false and `onWritable` is owed. */
  owesWritable = false;
  /** Server: response sent. Client: final response received. */
  responded = false;
  /** Octets of content still announced by content-length; -1 where nothing was. */
  contentBytesLeft = -1;
  /** Peer's reset that its owner has not noticed yet (design §5). */
  resetUnaccounted = false;
  /** Client: what `open` was given, until the answer is delivered. */
  request: HeaderList | null = null;
  readonly #responseHandler: H2ResponseHandler | null;
  #answerPending: boolean;

  #handler: ChannelHandler | null = null;
  #paused = false;
  /** Data goes straight to the handler: attached, not paused, nothing queued. */
  #flowing = false;
  #received: ChunkQueue | null = null;
  #endReceived = false;
  #endDelivered = false;
  #writableDue = false;
  /** Both directions are over; what is left is to tell. */
  #over = false;
  /** Set with {@link #over} when undelivered data is lost. */
  #abrupt = false;
  #failure: ProxyError | null = null;
  #closeDelivered = false;

  /** @param responseHandler Client only. */
  constructor(
    id: number,
    owner: StreamOwner,
    state: StreamState,
    windows: { readonly sendBytes: number; readonly receiveBytes: number },
    responseHandler: H2ResponseHandler | null,
  ) {
    this.id = id;
    this.#owner = owner;
    this.state = state;
    this.sendWindow = new SendWindow(windows.sendBytes);
    this.receiveWindow = new ReceiveWindow(windows.receiveBytes);
    this.#responseHandler = responseHandler;
    this.#answerPending = responseHandler !== null;
  }

  get peer(): SocketAddress {
    return this.#owner.peer;
  }

  get local(): SocketAddress {
    return this.#owner.local;
  }

  get closed(): boolean {
    return this.#over;
  }

  /** Octets received and not yet taken by the owner. */
  get receivedBytes(): number {
    return this.#received === null ? 0 : this.#received.bytes;
  }

  // What the owner calls.

  attach(handler: ChannelHandler): void {
    if (this.#handler === null) this.#paused = false; // A later one takes the channel as it is.
    this.#handler = handler;
    this.#flowing = false;
    this.#owner.callLater(this);
  }

  pause(): void {
    this.#paused = true;
    this.#flowing = false;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#owner.callLater(this);
  }

  respond(headers: HeaderList, { endStream }: { readonly endStream: boolean }): void {
    this.#noticeReset();
    if (this.#over) return;
    assert(this.#responseHandler === null, "Only a server responds");
    assert(!this.responded, "A stream has one response");
    this.responded = true;
    this.#owner.sendResponse(this, headers, endStream);
  }

  write(block: Block, start: number, end: number): boolean {
    // To a stream that is over, writing is like writing to a broken pipe: taken, and lost.
    if (this.#over || this.endsAfterSend) return true;
    assert(this.responded || this.#responseHandler !== null, "The response goes before its data");
    if (start === end) return !this.owesWritable;
    if (this.#owner.sendData(this, block, start, end)) return true;
    this.owesWritable = true;
    return false;
  }

  endWrite(): void {
    if (this.#over || this.endsAfterSend) return;
    assert(this.responded || this.#responseHandler !== null, "The response goes before its end");
    this.endsAfterSend = true;
    this.#owner.sendEnd(this);
  }

  reset(reason: ProxyError | null): void {
    this.#noticeReset();
    if (!this.#over) this.#owner.sendReset(this, reason);
    else if (!this.#abrupt && !this.#endDelivered) this.#abandon(reason); // Bytes still wait here.
  }

  // What the connection calls; `receive…` and `answer` reach the handler directly.

  /** Keeps written bytes until there is a window, and room below. */
  queue(block: Block, start: number, end: number): void {
    this.toSend ??= new ChunkQueue(this.#owner.pool);
    this.toSend.append(block, start, end);
  }

  get hasQueued(): boolean {
    return this.toSend !== null && !this.toSend.isEmpty;
  }

  /** All that was written is on its way. */
  noteDrained(): void {
    if (!this.owesWritable) return;
    this.owesWritable = false;
    if (this.endsAfterSend) return;
    this.#writableDue = true;
    this.#owner.callLater(this);
  }

  receive(block: Block, start: number, end: number): void {
    if (this.#flowing) {
      this.#handler!.onData(block, start, end);
      this.#owner.returnCredit(this, end - start);
    } else {
      this.#received ??= new ChunkQueue(this.#owner.pool);
      this.#received.append(block, start, end);
    }
  }

  /** END_STREAM arrived. The caller calls {@link settle} when that was the last of both. */
  receiveEnd(): void {
    this.state = afterReceivedEnd(this.state);
    this.#endReceived = true;
    if (this.#flowing) {
      this.#endDelivered = true;
      this.#handler!.onEnd();
    } else {
      this.#owner.callLater(this);
    }
  }

  /** END_STREAM was sent. */
  noteEndSent(): void {
    this.state = afterSentEnd(this.state);
  }

  /** Client: the final response. */
  answer(headers: HeaderList, endStream: boolean): void {
    this.responded = true;
    this.#answerPending = false;
    this.#responseHandler!.onResponse(this, headers, endStream);
  }

  /** Both directions have ended in order, or the peer ended both (RST_STREAM with NO_ERROR or CANCEL). */
  settle(): void {
    if (this.#over) return;
    this.state = "closed";
    this.#over = true;
    this.#endReceived = true;
    this.#dropQueue(this.toSend);
    this.#owner.callLater(this);
  }

  /** Both directions end at once and what was not delivered is lost. */
  fail(failure: ProxyError | null): void {
    if (this.#over) return;
    this.state = "closed";
    this.#over = true;
    this.#dropQueue(this.toSend);
    this.#abandon(failure);
  }

  #abandon(failure: ProxyError | null): void {
    this.#abrupt = true;
    this.#flowing = false;
    this.#failure = failure;
    const lost = this.receivedBytes;
    this.#dropQueue(this.#received);
    if (lost > 0) this.#owner.returnCredit(this, lost);
    this.#owner.callLater(this);
  }

  /** Tells the owner what is due. Called from the connection's task, never inside an owner's call. */
  attend(): void {
    if (this.#over && this.#answerPending) {
      this.#answerPending = false;
      this.#responseHandler!.onFailure(this, this.#failure ?? cancelled());
    }
    if (this.#handler === null) return;
    if (this.#writableDue) {
      this.#writableDue = false;
      if (!this.#over) this.#handler.onWritable();
    }
    const deliverable = !this.#flowing || this.#endReceived;
    if (deliverable && !this.#abrupt && !this.#paused && !this.#endDelivered) this.#deliver();
    if (this.#over && !this.#closeDelivered && (this.#abrupt || this.#endDelivered)) {
      this.#closeDelivered = true;
      this.#noticeReset();
      this.#handler.onClose(this.#failure);
    }
  }

  /** Delivers what waited, then lets data flow. Stops where the handler pauses, moves or resets. */
  #deliver(): void {
    this.#flowing = true;
    const queue = this.#received;
    while (this.#flowing && queue !== null && !queue.isEmpty) {
      const start = queue.headStart;
      const end = queue.headEnd;
      const block = queue.shift();
      this.#handler!.onData(block, start, end);
      block.release();
      this.#owner.returnCredit(this, end - start);
    }
    if (this.#flowing && this.#endReceived) {
      this.#endDelivered = true;
      this.#handler!.onEnd();
    }
  }

  #noticeReset(): void {
    if (!this.resetUnaccounted) return;
    this.resetUnaccounted = false;
    this.#owner.accountReset();
  }

  #dropQueue(queue: ChunkQueue | null): void {
    if (queue !== null) queue.clear();
  }

  /** True while the peer's DATA is wanted. */
  get isReceiving(): boolean {
    return canReceive(this.state);
  }
}

/** What a client is told of a request that it gave up itself. */
function cancelled(): H2StreamError {
  return new H2StreamError("", { code: "CANCEL", origin: "sent by user" });
}
