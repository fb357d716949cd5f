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

/** What a connection is for. */
export type ClientConnectionRole =
  /** In the pool, under this key, which is kept here so that leaving needs no search. */
  | { readonly key: string; readonly carrier: null }
  /** Inside a stream of `carrier`, for one tunnel; ends without GOAWAY (W28). */
  | { readonly key: null; readonly carrier: ClientConnection };

/** Owns its transport. Lives from the end of the handshake until `onConnectionClosed`. */
export class ClientConnection extends Listed implements H2ConnectionHandler, PingTarget {
  readonly security: PeerSecurity;
  readonly role: ClientConnectionRole;
  readonly #parts: DataPlaneParts;
  readonly #owner: ClientConnectionOwner;
  readonly #h2: H2Connection;
  readonly #pings: PingKeeper;
  /** Connections inside streams of this one. */
  #carried = 0;
  /** True once no more streams will be opened: then it closes with its last stream. */
  #released = false;
  /** Runs once all is said, see {@link onEnding}. */
  #closing: Timer | null = null;

  constructor(
    channel: SecureChannel,
    role: ClientConnectionRole,
    parts: DataPlaneParts,
    owner: ClientConnectionOwner,
  ) {
    super();
    this.security = channel.security;
    this.role = role;
    this.#parts = parts;
    this.#owner = owner;
    this.#h2 = parts.http2("client", channel, this);
    this.#pings = new PingKeeper(parts.clock, this, parts.limits);
    if (role.carrier !== null) role.carrier.#carried++;
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

  /** True while a stream is open that is not merely what another connection ends in. */
  get occupied(): boolean {
    return this.#h2.openStreams > this.#carried;
  }

  /** Nobody opens streams here any more: closes at once if there are none, else after the last (W27). */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    if (this.#h2.openStreams === 0) this.#drain();
  }

  /** Drops the transport without GOAWAY; its streams hear `reason` (W28). */
  abort(reason: ProxyError | null): void {
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
    if (this.#released) this.#drain();
  }

  onClose(_error: ProxyError | null): void {
    this.#released = true;
    this.#stopTimers();
    const { carrier } = this.role;
    if (carrier !== null) carrier.#carried--;
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

  #drain(): void {
    this.#h2.drain({ silent: this.role.carrier !== null });
  }

  #stopTimers(): void {
    this.#pings.stop();
    this.#closing?.cancel();
    this.#closing = null;
  }
}
