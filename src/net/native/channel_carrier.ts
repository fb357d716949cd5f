// TLS inside any other channel: records go through memory BIOs, pressure goes through pause() and write().
import type { SocketAddress } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { Block, BlockPool } from "../../base/block.ts";
import type { Channel, ChannelHandler } from "../../base/channel.ts";
import { ChunkQueue } from "../../base/chunk_queue.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { ProxyError } from "../../base/errors.ts";
import type { OpenSsl, Pointer } from "./openssl.ts";
import type { CarrierOwner, TlsCarrier } from "./tls_carrier.ts";
import type { EndsTurn, TurnEnd } from "./turn_end.ts";

/** Octets received and not yet asked for, above which the channel is paused. */
export const INCOMING_BYTES_MAX = 64 * 1024;
/** Octets given to the session at a time. */
const FEED_BYTES_MAX = 32 * 1024;
/** How long the channel may take to end after the session did, in milliseconds. */
export const CARRIER_END_MS = 1000;

/** `BIO_CTRL_PENDING`, `BIO_C_SET_BUF_MEM_EOF_RETURN` (bio.h). */
const PENDING = 10;
const SET_EOF_RETURN = 130;

/** What all carriers on channels share. */
export interface ChannelCarrierShared {
  readonly openssl: OpenSsl;
  readonly clock: Clock;
  readonly pool: BlockPool;
  readonly turnEnd: TurnEnd;
}

/** {@link TlsCarrier} on a channel, which it owns. */
export class ChannelCarrier implements TlsCarrier, ChannelHandler, EndsTurn {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  ended = false;
  failure: ProxyError | null = null;
  readonly #channel: Channel;
  readonly #shared: ChannelCarrierShared;
  readonly #incoming: ChunkQueue;
  #owner: CarrierOwner | null = null;
  /** Both belong to the session. */
  #input: Pointer | null = null;
  #output: Pointer | null = null;
  #endFed = false;
  #paused = false;
  #full = false;
  #writeEnded = false;
  #closing: Timer | null = null;
  #over = false;
  #turnEndAsked = false;

  constructor(channel: Channel, shared: ChannelCarrierShared) {
    this.peer = channel.peer;
    this.local = channel.local;
    this.#channel = channel;
    this.#shared = shared;
    this.#incoming = new ChunkQueue(shared.pool);
  }

  watch(owner: CarrierOwner): void {
    const first = this.#owner === null;
    this.#owner = owner;
    if (first) this.#channel.attach(this);
  }

  install(ssl: Pointer): void {
    const { ssl: libssl, crypto } = this.#shared.openssl;
    const input = crypto.BIO_new(crypto.BIO_s_mem());
    const output = crypto.BIO_new(crypto.BIO_s_mem());
    assert(input !== null && output !== null, "Out of memory");
    // An empty input means "later", until the channel ends.
    crypto.bioControl(input, SET_EOF_RETURN, -1, null);
    libssl.SSL_set0_rbio(ssl, input);
    libssl.SSL_set0_wbio(ssl, output);
    this.#input = input;
    this.#output = output;
  }

  onData(block: Block, start: number, end: number): void {
    if (this.#owner === null) return;
    this.#incoming.append(block, start, end);
    if (this.#incoming.bytes >= INCOMING_BYTES_MAX) this.pause();
    this.#askTurnEnd();
  }

  onEnd(): void {
    this.ended = true;
    this.#askTurnEnd();
  }

  onWritable(): void {
    this.#full = false;
    this.#owner?.onCarrierWritable();
  }

  onClose(error: ProxyError | null): void {
    this.ended = true;
    this.failure = error;
    this.#over = true;
    this.#closing?.cancel();
    this.#closing = null;
    this.#askTurnEnd();
  }

  /**
   * For {@link TurnEnd} only. Not while the channel below delivers: it lends a part of the same buffer that the session
   * would read into.
   */
  endTurn(): void {
    this.#turnEndAsked = false;
    this.#owner?.onCarrierReadable();
  }

  onFault(thrown: unknown): void {
    this.#owner?.onFault(thrown);
  }

  refill(): boolean {
    if (this.#input === null) return false;
    const { crypto } = this.#shared.openssl;
    if (this.#incoming.isEmpty) {
      this.#resume();
      if (!this.ended || this.#endFed) return false;
      this.#endFed = true;
      crypto.bioControl(this.#input, SET_EOF_RETURN, 0, null);
      return true;
    }
    const start = this.#incoming.headStart;
    const bytes = Math.min(this.#incoming.headEnd - start, FEED_BYTES_MAX);
    const from = this.#incoming.headBlock.bytes.subarray(start, start + bytes);
    const taken = crypto.BIO_write(this.#input, from, bytes);
    assert(taken === bytes, "Out of memory");
    this.#incoming.consume(bytes);
    if (this.#incoming.bytes < INCOMING_BYTES_MAX) this.#resume();
    return true;
  }

  pause(): void {
    if (this.#paused || this.#incoming.bytes < INCOMING_BYTES_MAX) return;
    this.#paused = true;
    this.#channel.pause();
  }

  /** Memory gathers by itself. */
  gather(): void {}

  flush(): boolean {
    if (this.#output === null) return true;
    const { openssl: { crypto }, pool } = this.#shared;
    while (crypto.bioControl(this.#output, PENDING, 0, null) > 0) {
      const block = pool.take();
      const bytes = crypto.BIO_read(this.#output, block.bytes, block.bytes.length);
      assert(bytes > 0, "A memory BIO gives what it has");
      if (!this.#channel.write(block, 0, bytes)) this.#full = true;
      block.release();
    }
    return !this.#full;
  }

  endWrite(): void {
    if (this.#writeEnded) return;
    this.#writeEnded = true;
    this.#channel.endWrite();
  }

  release(): void {
    this.#input = null;
    this.#output = null;
    this.#incoming.clear();
  }

  close(): void {
    this.#owner = null;
    this.#incoming.clear();
    if (this.#over || this.#closing !== null) return;
    this.endWrite();
    this.#resume();
    this.#closing = this.#shared.clock.after(CARRIER_END_MS, () => this.#channel.reset(null));
  }

  reset(): void {
    this.#owner = null;
    this.#incoming.clear();
    this.#closing?.cancel();
    this.#closing = null;
    if (!this.#over) this.#channel.reset(null);
  }

  #askTurnEnd(): void {
    if (this.#turnEndAsked) return;
    this.#turnEndAsked = true;
    this.#shared.turnEnd.add(this);
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#channel.resume();
  }
}
