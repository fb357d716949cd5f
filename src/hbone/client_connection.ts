// One HBONE connection that we opened: HTTP/2, PING, and when it may close (spec/data-path §1.9, §2.8).
import type { Timer } from "../base/clock.ts";
import type { ProxyError } from "../base/errors.ts";
import { Listed } from "../base/roster.ts";
import type { H2Connection, H2ConnectionHandler, H2Stream, PeerSettings } from "../h2/types.ts";
import type { PeerSecurity, SecureChannel } from "../net/network.ts";
import { PingTimeout } from "./errors.ts";
import type { DataPlaneParts } from "./parts.ts";
import { PingKeeper, type PingTarget } from "./ping.ts";

/** What the pool hears about its connections. */
export interface ClientConnectionOwner {
  /** GOAWAY came: no stream may be opened any more. */
  onConnectionRetired(connection: ClientConnection): void;
  /** It is over; exactly once, last. */
  onConnectionClosed(connection: ClientConnection): void;
}

/** Owns its transport. Lives from the end of the handshake until `onConnectionClosed`. */
export class ClientConnection extends Listed implements H2ConnectionHandler, PingTarget {
  readonly security: PeerSecurity;
  /** The pool's key, kept here so that leaving the pool needs no search. */
  readonly key: string;
  readonly #parts: DataPlaneParts;
  readonly #owner: ClientConnectionOwner;
  readonly #h2: H2Connection;
  readonly #pings: PingKeeper;
  /** True once no more streams will be opened: then it closes with its last stream. */
  #released = false;
  /** Runs once all is said, see {@link onEnding}. */
  #closing: Timer | null = null;

  constructor(
    channel: SecureChannel,
    key: string,
    parts: DataPlaneParts,
    owner: ClientConnectionOwner,
  ) {
    super();
    this.security = channel.security;
    this.key = key;
    this.#parts = parts;
    this.#owner = owner;
    this.#h2 = parts.http2("client", channel, this);
    this.#pings = new PingKeeper(parts.clock, this, parts.limits);
  }

  get h2(): H2Connection {
    return this.#h2;
  }

  /** True while another stream may be opened: no GOAWAY, not full, not released. */
  get usable(): boolean {
    return !this.#released && this.#h2.acceptsStreams && !this.full;
  }

  /** Our limit, or the peer's if that is lower and known (P6). */
  get full(): boolean {
    const peerMax = this.#h2.peerSettings?.maxConcurrentStreams ?? Infinity;
    return this.#h2.openStreams >=
      Math.max(1, Math.min(this.#parts.limits.poolStreamsMax, peerMax));
  }

  /** Nobody opens streams here any more: closes at once if there are none, else after the last (W27). */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    if (this.#h2.openStreams === 0) this.#h2.drain();
  }

  /** Drops the transport without GOAWAY; its streams hear `reason` (W28). */
  abort(reason: ProxyError): void {
    this.#released = true;
    this.#stopTimers();
    this.#h2.abort(reason);
  }

  ping(opaque: Uint8Array): void {
    this.#h2.ping(opaque);
  }

  onPingTimeout(): void {
    this.#parts.events.log("warn", "ztunnel::proxy::h2::client", "HBONE ping timeout/error");
    this.abort(new PingTimeout());
  }

  onRequest(stream: H2Stream): void {
    // A client connection gets no requests; h2/ treats one as a connection error before it comes here.
    stream.reset(null);
  }

  onPeerSettings(_settings: PeerSettings): void {}

  onPong(opaque: Uint8Array): void {
    this.#pings.onPong(opaque);
  }

  onGoAway(_lastStreamId: number, _code: number, _debug: string): void {
    this.#owner.onConnectionRetired(this);
  }

  onHeaderBlock(_open: boolean): void {}

  onIdle(): void {
    if (this.#released) this.#h2.drain();
  }

  onClose(_error: ProxyError | null): void {
    this.#released = true;
    this.#stopTimers();
    this.#owner.onConnectionClosed(this);
  }

  /** A peer that does not end in return does not keep us. */
  onEnding(reason: ProxyError | null): void {
    this.#stopTimers();
    const { goAwayMsMax, lingerMsMax } = this.#parts.limits;
    this.#closing = this.#parts.clock.after(reason === null ? lingerMsMax : goAwayMsMax, () => {
      this.#closing = null;
      this.#h2.abort(null);
    });
  }

  #stopTimers(): void {
    this.#pings.stop();
    this.#closing?.cancel();
    this.#closing = null;
  }
}
