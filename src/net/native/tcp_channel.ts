// A TCP socket as a Channel: reads and writes straight to the kernel, edge-triggered, no promise and no closure per chunk.
import type { SocketAddress } from "../../base/address.ts";
import type { Block, BlockPool } from "../../base/block.ts";
import type { Channel, ChannelHandler } from "../../base/channel.ts";
import type { Task } from "../../base/clock.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, SHUT_WR } from "./constants.ts";
import { EAGAIN, EINTR, netErrorOf } from "./errno.ts";
import type { Libc } from "./libc.ts";
import type { RawSocket } from "./raw_socket.ts";
import type { ReadBuffer } from "./read_buffer.ts";
import type { EndsTurn, TurnEnd } from "./turn_end.ts";
import type { Loop, Watcher } from "./types.ts";
import { UnsentQueue } from "./unsent_queue.ts";

/** Octets taken and not yet handed to the kernel above which `write` answers false. */
export const UNSENT_BYTES_MAX = 256 * 1024;
/** After a false, `onWritable` comes when no more than this is left. */
export const UNSENT_BYTES_LOW = 64 * 1024;
/** From this much on, what was put off to the end of the turn is sent at once. */
const PUT_OFF_BYTES_MAX = 64 * 1024;
/** From this much on, a channel has had its share of the turn; then the others have theirs. */
export const READ_BYTES_PER_TURN_MAX = 256 * 1024;

/** What all channels of a network share. */
export interface TcpShared {
  readonly libc: Libc;
  readonly loop: Loop;
  readonly turnEnd: TurnEnd;
  /** Blocks that small pieces are packed into. */
  readonly packs: BlockPool;
  readonly reader: ReadBuffer;
  /** Told what a handler threw; its channel is reset. */
  readonly onBug: (thrown: unknown) => void;
}

/**
 * {@link Channel} over a connected socket, which it owns. An error of the socket is told after the bytes that came
 * before it; so a paused channel holds both back, as an HTTP/2 stream does. The first write of a turn goes to the
 * kernel at once, what follows in the same turn goes out together at its end.
 */
export class TcpChannel implements Channel, Watcher, Task, EndsTurn {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  readonly #socket: RawSocket;
  readonly #shared: TcpShared;
  readonly #unsent: UnsentQueue;
  #handler: ChannelHandler | null = null;
  #paused = false;
  /** The kernel may have bytes, the peer's end, or an error for us. */
  #readable = false;
  /** The kernel said that something follows the bytes: then a short read does not mean that nothing is left. */
  #endAhead = false;
  #peerEnded = false;
  /** The kernel takes nothing more until it says so. */
  #blocked = false;
  /** The first write of this turn was made. */
  #wroteThisTurn = false;
  #turnEndAsked = false;
  #full = false;
  #writeEnded = false;
  #finSent = false;
  /** The socket failed; told after the bytes that came before. Nothing is sent any more. */
  #failure: ProxyError | null = null;
  #closed = false;
  #closeReason: ProxyError | null = null;
  #closeTold = false;

  constructor(socket: RawSocket, shared: TcpShared) {
    this.peer = socket.peer;
    this.local = socket.local;
    this.#socket = socket;
    this.#shared = shared;
    this.#unsent = new UnsentQueue(shared.packs);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Octets taken and not yet handed to the kernel. */
  get unsentBytes(): number {
    return this.#unsent.bytes;
  }

  attach(handler: ChannelHandler): void {
    this.#handler = handler;
    if (this.#closed) return this.#askTurnEnd();
    this.#ensureWatched();
    if (this.#readable) this.#shared.loop.nextTurn(this);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#readable && !this.#closed) this.#shared.loop.nextTurn(this);
  }

  write(block: Block, start: number, end: number): boolean {
    if (this.#writeEnded || this.#closed || this.#failure !== null || end <= start) {
      return !this.#full;
    }
    const unsent = this.#unsent;
    if (!this.#wroteThisTurn && !this.#blocked && unsent.bytes === 0) {
      this.#wroteThisTurn = true;
      this.#askTurnEnd();
      start += this.#send(block, start, end);
      if (start === end || this.#closed || this.#failure !== null) return !this.#full;
    }
    unsent.push(block, start, end);
    if (!this.#blocked) {
      if (unsent.bytes >= PUT_OFF_BYTES_MAX) this.#flush();
      else this.#askTurnEnd();
    }
    if (unsent.bytes > UNSENT_BYTES_MAX) this.#full = true;
    return !this.#full;
  }

  endWrite(): void {
    if (this.#writeEnded || this.#closed) return;
    this.#writeEnded = true;
    if (this.#unsent.bytes === 0) this.#sendFin();
    this.#askTurnEnd();
  }

  reset(reason: ProxyError | null): void {
    if (this.#closed) return;
    this.#unsent.clear();
    this.#socket.reset();
    this.#closed = true;
    this.#closeReason = reason;
    this.#askTurnEnd();
  }

  /**
   * Gives the socket away, for TLS to take over, if that loses nothing: never attached, nothing written, not closed.
   * Null otherwise. Afterwards this object is dead and says nothing more.
   */
  takeSocket(): RawSocket | null {
    const untouched = this.#handler === null && !this.#socket.watched && !this.#wroteThisTurn &&
      !this.#writeEnded && !this.#closed && this.#unsent.bytes === 0;
    if (!untouched) return null;
    this.#closed = true;
    this.#closeTold = true;
    return this.#socket;
  }

  onReady(events: number): void {
    if (this.#closed) return;
    if ((events & EPOLLERR) !== 0) {
      const errno = this.#shared.libc.soError(this.#socket.fd);
      if (errno !== 0) this.#fail(netErrorOf(errno));
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) {
      this.#readable = true;
      if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.#endAhead = true;
    }
    if ((events & EPOLLOUT) !== 0 && this.#blocked) {
      this.#blocked = false;
      this.#flush();
    }
    this.#settle();
    this.#read();
  }

  /** A bug while handling this socket: it ends, the process goes on. */
  onFault(thrown: unknown): void {
    this.#shared.onBug(thrown);
    this.reset(null);
  }

  /** For the loop only: the next turn after this one's share was used up, or after `resume`. */
  runTask(): void {
    this.#read();
  }

  /** For {@link TurnEnd} only. */
  endTurn(): void {
    this.#turnEndAsked = false;
    this.#wroteThisTurn = false;
    if (this.#closed) return this.#tellClose();
    if (!this.#blocked && this.#unsent.bytes > 0) this.#flush();
    this.#settle();
  }

  get #flowing(): boolean {
    return this.#handler !== null && !this.#paused && !this.#closed;
  }

  #askTurnEnd(): void {
    if (this.#turnEndAsked) return;
    this.#turnEndAsked = true;
    this.#shared.turnEnd.add(this);
  }

  #ensureWatched(): void {
    if (this.#socket.watched || !this.#socket.open) return;
    try {
      this.#socket.watch(this);
    } catch (error) {
      if (!(error instanceof NetError)) throw error;
      // The kernel watches no more sockets: this one is lost, its owner hears why.
      this.reset(error);
    }
  }

  /** Delivers what the kernel has, as far as this turn's share goes. */
  #read(): void {
    const { libc, loop, reader } = this.#shared;
    const handler = this.#handler;
    let readBytes = 0;
    while (this.#readable && this.#flowing && !this.#peerEnded) {
      if (this.#handler !== handler || readBytes >= READ_BYTES_PER_TURN_MAX) {
        return loop.nextTurn(this);
      }
      const block = reader.block;
      const start = reader.start;
      const room = block.bytes.length - start;
      const count = libc.read(this.#socket.fd, block.bytes, start, room);
      if (count > 0) {
        readBytes += count;
        if (count < room && !this.#endAhead) this.#readable = false;
        this.#deliver(block, start, start + count);
      } else if (count === 0) {
        this.#readable = false;
        this.#peerEnd();
      } else if (count === -EAGAIN) {
        this.#readable = false;
      } else if (count !== -EINTR) {
        this.#finish(this.#failure ?? netErrorOf(-count));
      }
    }
  }

  #deliver(block: Block, start: number, end: number): void {
    try {
      this.#handler!.onData(block, start, end);
    } catch (thrown) {
      this.onFault(thrown);
    }
    this.#shared.reader.lent(end);
  }

  #peerEnd(): void {
    if (this.#failure !== null) return this.#finish(this.#failure);
    this.#peerEnded = true;
    try {
      this.#handler!.onEnd();
    } catch (thrown) {
      this.onFault(thrown);
    }
    this.#finishIfOver();
  }

  /** Hands a range to the kernel; gives how much of it went. */
  #send(block: Block, start: number, end: number): number {
    const count = this.#shared.libc.write(this.#socket.fd, block.bytes, start, end - start);
    if (count === end - start) return count;
    if (count === -EINTR) return 0;
    if (count < 0 && count !== -EAGAIN) {
      this.#fail(netErrorOf(-count));
      return 0;
    }
    this.#blocked = true;
    this.#ensureWatched();
    return count < 0 ? 0 : count;
  }

  /** Sends what waits until the kernel takes no more, then FIN if that is due. Calls nobody. */
  #flush(): void {
    const unsent = this.#unsent;
    while (unsent.bytes > 0 && !this.#blocked && this.#failure === null && !this.#closed) {
      const count = this.#send(unsent.block, unsent.start, unsent.end);
      // What failed was let go of already.
      if (count > 0 && unsent.bytes > 0) unsent.sent(count);
    }
    if (this.#writeEnded && unsent.bytes === 0) this.#sendFin();
  }

  /** Tells what follows from the state: more is welcome, or both directions are over. */
  #settle(): void {
    if (this.#closed) return;
    if (this.#full && this.#failure === null && this.#unsent.bytes <= UNSENT_BYTES_LOW) {
      this.#full = false;
      try {
        this.#handler?.onWritable();
      } catch (thrown) {
        this.onFault(thrown);
      }
    }
    this.#finishIfOver();
  }

  #sendFin(): void {
    if (this.#finSent || this.#failure !== null || this.#closed) return;
    this.#finSent = true;
    // A socket that is already broken says so by itself.
    this.#shared.libc.shutdown(this.#socket.fd, SHUT_WR);
  }

  /** Notes why the socket is over. What is unsent has nowhere to go; what came before is delivered first. */
  #fail(error: ProxyError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    this.#unsent.clear();
    this.#readable = true;
    this.#endAhead = true;
    if (this.#flowing) this.#shared.loop.nextTurn(this);
  }

  /** Once the peer ended and all was delivered, our FIN is the end of both, and so is a failure. */
  #finishIfOver(): void {
    if (this.#peerEnded && (this.#finSent || this.#failure !== null)) this.#finish(this.#failure);
  }

  #finish(reason: ProxyError | null): void {
    if (this.#closed) return;
    this.#unsent.clear();
    this.#socket.close();
    this.#closed = true;
    this.#closeReason = reason;
    this.#tellClose();
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
