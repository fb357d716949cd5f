// An established TLS session as a Channel, whatever carries it.
import type { SocketAddress } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { Block, BlockPool } from "../../base/block.ts";
import type { ChannelHandler } from "../../base/channel.ts";
import type { Task } from "../../base/clock.ts";
import type { ProxyError } from "../../base/errors.ts";
import type { PeerSecurity, SecureChannel } from "../network.ts";
import type { ReadBuffer } from "./read_buffer.ts";
import type { CarrierOwner, TlsCarrier } from "./tls_carrier.ts";
import { channelFailure } from "./tls_failures.ts";
import { ENDED, FAILED, type TlsSession, WANTS_READ, WANTS_WRITE } from "./tls_session.ts";
import type { EndsTurn, TurnEnd } from "./turn_end.ts";
import type { Loop } from "./types.ts";
import { UnsentQueue } from "./unsent_queue.ts";

/** Octets taken and not yet encrypted above which `write` answers false. */
export const TLS_UNSENT_BYTES_MAX = 256 * 1024;
/** After a false, `onWritable` comes when no more than this is left. */
export const TLS_UNSENT_BYTES_LOW = 64 * 1024;
/**
 * Octets of a full record of ours, somewhat below the 16 KiB of RFC 8446 §5.1: {@link RECORDS_PER_FLUSH} of them fit
 * into one packet of at most 64 KiB as the kernel makes them, and encrypted, their length is a multiple of 8 (README).
 */
export const RECORD_BYTES_MAX = 16_258;
/** From this much on, full records are made at once instead of at the end of the turn. */
const PUT_OFF_BYTES_MAX = 64 * 1024;
/** Records collected before they go to the carrier in one piece. */
export const RECORDS_PER_FLUSH = 4;
/** Blocks filled for one channel in one turn; then the others have theirs. */
export const TLS_READS_PER_TURN_MAX = 1;
/** Records per block: as many calls of the library, so that a peer with records of one octet cannot hold a turn up. */
export const RECORDS_PER_READ_MAX = 64;

/** What all channels of one engine share. */
export interface TlsChannelShared {
  readonly loop: Loop;
  readonly turnEnd: TurnEnd;
  readonly pool: BlockPool;
  readonly reader: ReadBuffer;
  /** Where small pieces become one record: {@link RECORD_BYTES_MAX} octets. */
  readonly record: Uint8Array<ArrayBuffer>;
  /** Told what a handler threw; its channel is reset. */
  readonly onBug: (thrown: unknown) => void;
}

/**
 * {@link SecureChannel} over a session and what carries it, both of which it owns. Writes of one turn become full
 * records and leave together; at most a fourth of the octets is copied for that. An error is told after the octets that
 * came before it, so a paused channel holds both back.
 *
 * An end without close_notify is an error, whenever it comes: whoever cuts a connection can do that, too.
 */
export class TlsChannel implements SecureChannel, CarrierOwner, EndsTurn, Task {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  readonly security: PeerSecurity;
  readonly #session: TlsSession;
  readonly #carrier: TlsCarrier;
  readonly #shared: TlsChannelShared;
  readonly #unsent: UnsentQueue;
  #handler: ChannelHandler | null = null;
  #paused = false;
  /** The session may have octets, the peer's end, or an error for us. */
  #readable = true;
  /** A session that reads must sometimes write first. */
  #readWantsWrite = false;
  #peerEnded = false;
  /** A record that the session began and could not finish; to be repeated octet for octet. */
  #unfinished: Uint8Array<ArrayBuffer> | null = null;
  /** Nothing is written until the carrier says so. */
  #blocked = false;
  /** … or until there was something to read. */
  #writeWantsRead = false;
  #recordsGathered = 0;
  #turnEndAsked = false;
  #nextTurnAsked = false;
  #full = false;
  #writeEnded = false;
  #endSent = false;
  /** Writing failed; told after the octets that came before. */
  #writeFailure: ProxyError | null = null;
  #closed = false;
  #closeReason: ProxyError | null = null;
  #closeTold = false;

  /** Takes both over; the session has done its handshake. */
  constructor(session: TlsSession, carrier: TlsCarrier, options: {
    readonly security: PeerSecurity;
    readonly shared: TlsChannelShared;
  }) {
    this.peer = carrier.peer;
    this.local = carrier.local;
    this.security = options.security;
    this.#session = session;
    this.#carrier = carrier;
    this.#shared = options.shared;
    this.#unsent = new UnsentQueue(options.shared.pool);
    carrier.watch(this);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Octets taken and not yet encrypted. */
  get unsentBytes(): number {
    return this.#unsent.bytes;
  }

  attach(handler: ChannelHandler): void {
    this.#handler = handler;
    if (this.#closed) return this.#askTurnEnd();
    if (this.#readable) this.#askNextTurn();
  }

  pause(): void {
    this.#paused = true;
    if (!this.#closed) this.#carrier.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#readable && !this.#closed) this.#askNextTurn();
  }

  write(block: Block, start: number, end: number): boolean {
    const over = this.#writeEnded || this.#closed || this.#writeFailure !== null;
    if (over || end <= start) return !this.#full;
    const unsent = this.#unsent;
    if (!this.#blocked && unsent.bytes + end - start >= PUT_OFF_BYTES_MAX) {
      start += this.#sendRecords(block, start, end);
      if (this.#writeFailure !== null) return !this.#full;
    }
    if (start < end) unsent.push(block, start, end);
    if (!this.#blocked) this.#askTurnEnd();
    if (unsent.bytes > TLS_UNSENT_BYTES_MAX) this.#full = true;
    return !this.#full;
  }

  endWrite(): void {
    if (this.#writeEnded || this.#closed) return;
    this.#writeEnded = true;
    if (!this.#blocked) this.#askTurnEnd();
  }

  reset(reason: ProxyError | null): void {
    if (this.#closed) return;
    this.#unsent.clear();
    this.#freeSession();
    this.#carrier.reset();
    this.#closed = true;
    this.#closeReason = reason;
    this.#askTurnEnd();
  }

  onCarrierReadable(): void {
    if (this.#closed) return;
    this.#readable = true;
    // Else two shares of one turn.
    if (!this.#nextTurnAsked) this.#read();
    if (!this.#writeWantsRead || this.#closed) return;
    this.#writeWantsRead = false;
    this.#blocked = false;
    this.#askTurnEnd();
  }

  onCarrierWritable(): void {
    if (this.#closed) return;
    if (this.#readWantsWrite) {
      this.#readWantsWrite = false;
      this.#readable = true;
      this.#askNextTurn();
    }
    if (!this.#blocked) return;
    this.#blocked = false;
    this.#send();
    this.#afterSend();
  }

  /** A bug while handling this channel: it ends, the process goes on. */
  onFault(thrown: unknown): void {
    this.#shared.onBug(thrown);
    this.reset(null);
  }

  /** For the loop only: the next turn after this one's share was used up, or after `resume`. */
  runTask(): void {
    this.#nextTurnAsked = false;
    try {
      this.#read();
    } catch (thrown) {
      this.onFault(thrown);
    }
  }

  /** For {@link TurnEnd} only. */
  endTurn(): void {
    this.#turnEndAsked = false;
    if (this.#closed) return this.#tellClose();
    this.#send();
    this.#afterSend();
  }

  get #flowing(): boolean {
    return this.#handler !== null && !this.#paused && !this.#closed;
  }

  #askNextTurn(): void {
    this.#nextTurnAsked = true;
    this.#shared.loop.nextTurn(this);
  }

  #askTurnEnd(): void {
    if (this.#turnEndAsked) return;
    this.#turnEndAsked = true;
    this.#shared.turnEnd.add(this);
  }

  // Reading.

  /** Delivers what the session has, as far as this turn's share goes. */
  #read(): void {
    const { reader } = this.#shared;
    for (let reads = 0; this.#readable && this.#flowing; reads++) {
      if (this.#peerEnded) {
        // After close_notify only the carrier's failure can follow.
        this.#readable = false;
        const failure = this.#writeFailure ?? this.#carrier.failure;
        if (failure !== null) this.#finish(failure);
        return;
      }
      if (reads === TLS_READS_PER_TURN_MAX) return this.#askNextTurn();
      const block = reader.block;
      const start = reader.start;
      const end = this.#fill(block.bytes, start);
      const outcome = this.#outcome;
      if (end > start) this.#deliver(block, start, end);
      if (outcome > 0 || this.#closed) continue;
      this.#carrier.flush(this.#session.ssl);
      if (outcome === WANTS_READ) {
        if (this.#carrier.refill()) continue;
        this.#readable = false;
        if (this.#writeFailure !== null) this.#finish(this.#writeFailure);
      } else if (outcome === WANTS_WRITE) {
        this.#readable = false;
        this.#readWantsWrite = true;
      } else if (this.#flowing) {
        // Otherwise the session says the same again when the owner goes on.
        this.#inputOver(outcome);
      }
    }
  }

  /** What the session answered last: above zero, it may have more. */
  #outcome = 0;

  /** Reads records into `bytes` from `start` on until it is full or the session has no more; gives the end. */
  #fill(bytes: Uint8Array<ArrayBuffer>, start: number): number {
    let end = start;
    for (let records = 0; records < RECORDS_PER_READ_MAX && end < bytes.length; records++) {
      this.#outcome = this.#session.read(bytes, end, bytes.length - end);
      if (this.#outcome > 0) end += this.#outcome;
      else if (this.#outcome !== WANTS_READ || !this.#carrier.refill()) break;
      else this.#outcome = 1;
    }
    return end;
  }

  #deliver(block: Block, start: number, end: number): void {
    try {
      this.#handler!.onData(block, start, end);
    } catch (thrown) {
      this.onFault(thrown);
    }
    this.#shared.reader.lent(end);
  }

  #inputOver(outcome: number): void {
    assert(outcome === ENDED || outcome === FAILED, "The session is at its end");
    if (outcome === FAILED) {
      const failure = this.#session.failure!;
      const read = channelFailure(failure);
      // The peer's last word is worth more than the broken pipe that we met when we wrote to it.
      const telling = read.code === "TLS_ALERT" ? read : null;
      return this.#finish(telling ?? this.#writeFailure ?? this.#carrier.failure ?? read);
    }
    if (this.#writeFailure !== null) return this.#finish(this.#writeFailure);
    this.#peerEnded = true;
    try {
      this.#handler!.onEnd();
    } catch (thrown) {
      this.onFault(thrown);
    }
    this.#finishInOrder();
  }

  // Writing.

  /**
   * Makes full records of what waits and of `block`, without keeping the block.
   * @returns Octets of the block that were taken; what is left is less than a record, or the carrier is full.
   */
  #sendRecords(block: Block, start: number, end: number): number {
    const { record } = this.#shared;
    let at = start;
    this.#sendUnfinished();
    while (this.#mayWrite && this.#unsent.bytes + end - at >= RECORD_BYTES_MAX) {
      if (this.#unsent.bytes === 0) {
        this.#writeRecord(block.bytes, at, RECORD_BYTES_MAX, true);
        at += RECORD_BYTES_MAX;
        continue;
      }
      const waiting = this.#unsent.end - this.#unsent.start;
      if (waiting >= RECORD_BYTES_MAX) {
        this.#writeWaiting(RECORD_BYTES_MAX, true);
        continue;
      }
      const gathered = this.#takeWaiting(record);
      const more = RECORD_BYTES_MAX - gathered;
      record.set(block.bytes.subarray(at, at + more), gathered);
      at += more;
      this.#writeRecord(record, 0, RECORD_BYTES_MAX, true);
    }
    return at - start;
  }

  /** Sends what waits until the carrier takes no more, then close_notify and the end if they are due. Calls nobody. */
  #send(): void {
    this.#sendUnfinished();
    while (this.#mayWrite && this.#unsent.bytes > 0) {
      const waiting = this.#unsent.end - this.#unsent.start;
      if (waiting >= RECORD_BYTES_MAX || waiting === this.#unsent.bytes) {
        const bytes = Math.min(waiting, RECORD_BYTES_MAX);
        this.#writeWaiting(bytes, bytes < this.#unsent.bytes);
      } else {
        const { record } = this.#shared;
        const bytes = this.#takeWaiting(record);
        this.#writeRecord(record, 0, bytes, this.#unsent.bytes > 0);
      }
    }
    if (this.#mayWrite) this.#flush();
    if (this.#mayWrite && this.#writeEnded && !this.#endSent) this.#sendEnd();
  }

  get #mayWrite(): boolean {
    return !this.#blocked && this.#writeFailure === null && !this.#closed;
  }

  /** Copies up to a record of small pieces to `record`; gives how much. */
  #takeWaiting(record: Uint8Array<ArrayBuffer>): number {
    const unsent = this.#unsent;
    let length = 0;
    while (unsent.bytes > 0 && length < RECORD_BYTES_MAX) {
      const { start } = unsent;
      const bytes = Math.min(unsent.end - start, RECORD_BYTES_MAX - length);
      record.set(unsent.block.bytes.subarray(start, start + bytes), length);
      unsent.sent(bytes);
      length += bytes;
    }
    return length;
  }

  #writeWaiting(bytes: number, more: boolean): void {
    this.#writeRecord(this.#unsent.block.bytes, this.#unsent.start, bytes, more);
    // Unless writing failed, and everything was dropped.
    if (this.#unsent.bytes > 0) this.#unsent.sent(bytes);
  }

  #sendUnfinished(): void {
    if (this.#unfinished === null || !this.#mayWrite) return;
    const again = this.#unfinished;
    this.#unfinished = null;
    this.#writeRecord(again, 0, again.length, this.#unsent.bytes > 0);
  }

  /**
   * Hands one record to the session, which takes it, or keeps a copy to repeat it.
   * @param more Others follow in this turn.
   */
  #writeRecord(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    length: number,
    more: boolean,
  ): void {
    if (more) this.#carrier.gather(this.#session.ssl);
    const taken = this.#session.write(bytes, start, length);
    if (taken !== length) return this.#notTaken(bytes, start, length, taken);
    if (++this.#recordsGathered >= RECORDS_PER_FLUSH) this.#flush();
  }

  #notTaken(bytes: Uint8Array<ArrayBuffer>, start: number, length: number, taken: number): void {
    if (taken === FAILED || taken === ENDED) {
      const failure = this.#session.failure ?? { kind: "eof" };
      return this.#failWriting(this.#carrier.failure ?? channelFailure(failure));
    }
    const kept = Math.max(0, taken);
    this.#unfinished = bytes.slice(start + kept, start + length);
    if (taken > 0) return this.#sendUnfinished();
    this.#blocked = true;
    this.#writeWantsRead = taken === WANTS_READ;
  }

  #flush(): void {
    this.#recordsGathered = 0;
    if (this.#carrier.flush(this.#session.ssl)) return;
    this.#blocked = true;
    if (this.#carrier.failure !== null) this.#failWriting(this.#carrier.failure);
  }

  #sendEnd(): void {
    const outcome = this.#session.shutdown();
    this.#flush();
    if (outcome === WANTS_WRITE || outcome === WANTS_READ) this.#blocked = true;
    if (outcome === FAILED) {
      return this.#failWriting(this.#carrier.failure ?? channelFailure(this.#session.failure!));
    }
    if (!this.#mayWrite) return;
    this.#endSent = true;
    this.#carrier.endWrite();
  }

  /** What is unsent has nowhere to go; what came before is delivered first. */
  #failWriting(error: ProxyError): void {
    if (this.#writeFailure !== null) return;
    this.#writeFailure = error;
    this.#unfinished = null;
    this.#unsent.clear();
    this.#readable = true;
    if (this.#flowing) this.#askNextTurn();
  }

  #afterSend(): void {
    if (this.#closed) return;
    const drained = this.#unsent.bytes <= TLS_UNSENT_BYTES_LOW && this.#writeFailure === null;
    if (this.#full && drained) {
      this.#full = false;
      try {
        this.#handler?.onWritable();
      } catch (thrown) {
        this.onFault(thrown);
      }
    }
    this.#finishInOrder();
  }

  // The end.

  #finishInOrder(): void {
    if (!this.#closed && this.#peerEnded && this.#endSent && this.#writeFailure === null) {
      this.#finish(null);
    }
  }

  #finish(reason: ProxyError | null): void {
    if (this.#closed) return;
    this.#unsent.clear();
    // An alert that the session had for the peer.
    this.#carrier.flush(this.#session.ssl);
    this.#freeSession();
    this.#carrier.close();
    this.#closed = true;
    this.#closeReason = reason;
    this.#tellClose();
  }

  #freeSession(): void {
    this.#carrier.release(this.#session.ssl);
    this.#session.free();
    this.#unfinished = null;
  }

  #tellClose(): void {
    if (this.#closeTold || this.#handler === null) return;
    this.#closeTold = true;
    try {
      this.#handler.onClose(this.#closeReason);
    } catch (thrown) {
      this.#shared.onBug(thrown);
    }
  }
}
