// One HBONE connection that we accepted: HTTP/2, PING, its deadlines, drain and revocation (spec/data-path §1.9).
import type { Timer } from "../base/clock.ts";
import type { ProxyError } from "../base/errors.ts";
import { Listed } from "../base/roster.ts";
import { H2_CODE_NUMBERS } from "../h2/errors.ts";
import type {
  H2Connection,
  H2ConnectionHandler,
  H2Stream,
  HeaderList,
  PeerSettings,
} from "../h2/types.ts";
import type { SecureChannel } from "../net/network.ts";
import { LimitReached, PeerRevoked, PingTimeout } from "./errors.ts";
import type { DataPlaneParts } from "./parts.ts";
import { PingKeeper, type PingTarget } from "./ping.ts";

/** What the inbound listener hears about its connections. */
export interface ServerConnectionOwner {
  /** A complete request, whatever its method. Its DATA waits in the window until the stream is resumed. */
  onServerRequest(
    connection: ServerConnection,
    stream: H2Stream,
    headers: HeaderList,
    endStream: boolean,
  ): void;
  /** A request that never came to be one: malformed, or its headers above the limit. It has its answer. */
  onServerRefused(connection: ServerConnection, error: ProxyError): void;
  /** It is over; exactly once, last. Null after an orderly end. */
  onServerClosed(connection: ServerConnection, error: ProxyError | null): void;
}

/** Owns its transport from the end of the handshake until `onServerClosed`. */
export class ServerConnection extends Listed implements H2ConnectionHandler, PingTarget {
  readonly channel: SecureChannel;
  /** Requests so far, refused ones included. */
  requests = 0;
  readonly #parts: DataPlaneParts;
  readonly #owner: ServerConnectionOwner;
  readonly #h2: H2Connection;
  readonly #pings: PingKeeper;
  /** Until the first whole request (design §5: header block of a CONNECT). */
  #firstRequest: Timer | null;
  /** While a header block has begun and not ended. */
  #openBlock: Timer | null = null;
  /** Runs once all is said, see {@link onEnding}. */
  #closing: Timer | null = null;

  constructor(channel: SecureChannel, parts: DataPlaneParts, owner: ServerConnectionOwner) {
    super();
    this.channel = channel;
    this.#parts = parts;
    this.#owner = owner;
    this.#h2 = parts.http2("server", channel, this);
    this.#pings = new PingKeeper(parts.clock, this, parts.limits);
    this.#firstRequest = parts.clock.after(parts.limits.headerBlockMsMax, () => {
      this.#firstRequest = null;
      this.#close("NO_ERROR", headerTimeout(parts.limits.headerBlockMsMax));
    });
  }

  get openStreams(): number {
    return this.#h2.openStreams;
  }

  get heldBytes(): number {
    return this.#h2.heldBytes;
  }

  /** GOAWAY; streams run on and the connection ends with the last one (W23). */
  drain(): void {
    this.#h2.drain();
  }

  /** At the drain's deadline: dropped, streams hear `reason` (W24). */
  abort(reason: ProxyError): void {
    this.#h2.abort(reason);
  }

  /** The peer's certificate was revoked: GOAWAY(NO_ERROR), streams torn down (W25). */
  revoke(): void {
    this.#close("NO_ERROR", new PeerRevoked());
  }

  /** A bug while handling this connection. */
  fail(reason: ProxyError): void {
    this.#close("INTERNAL_ERROR", reason);
  }

  ping(opaque: Uint8Array): void {
    this.#h2.ping(opaque);
  }

  onPingTimeout(): void {
    this.#parts.events.log("debug", "ztunnel::proxy::h2::server", "HBONE ping timeout/error");
    this.#close("NO_ERROR", new PingTimeout());
  }

  onRequest(stream: H2Stream, headers: HeaderList, endStream: boolean): void {
    this.#firstRequest?.cancel();
    this.#firstRequest = null;
    this.requests++;
    this.#owner.onServerRequest(this, stream, headers, endStream);
  }

  onRequestRefused(_streamId: number, error: ProxyError): void {
    this.#firstRequest?.cancel();
    this.#firstRequest = null;
    this.requests++;
    this.#owner.onServerRefused(this, error);
  }

  onPeerSettings(_settings: PeerSettings): void {}

  onPong(opaque: Uint8Array): void {
    this.#pings.onPong(opaque);
  }

  onGoAway(_lastStreamId: number, _code: number, _debug: string): void {}

  onHeaderBlock(open: boolean): void {
    this.#openBlock?.cancel();
    this.#openBlock = null;
    if (!open) return;
    const { headerBlockMsMax } = this.#parts.limits;
    this.#openBlock = this.#parts.clock.after(headerBlockMsMax, () => {
      this.#openBlock = null;
      this.#close("ENHANCE_YOUR_CALM", headerTimeout(headerBlockMsMax));
    });
  }

  onIdle(): void {}

  onClose(error: ProxyError | null): void {
    this.#stopTimers();
    this.#closing?.cancel();
    this.#closing = null;
    this.#owner.onServerClosed(this, error);
  }

  /** A peer that takes neither our GOAWAY nor our end does not keep us. */
  onEnding(reason: ProxyError | null): void {
    this.#stopTimers();
    const { goAwayMsMax, lingerMsMax } = this.#parts.limits;
    this.#closing ??= this.#parts.clock.after(reason === null ? lingerMsMax : goAwayMsMax, () => {
      this.#closing = null;
      this.#h2.abort(null);
    });
  }

  #close(code: keyof typeof H2_CODE_NUMBERS, reason: ProxyError): void {
    this.#h2.close(H2_CODE_NUMBERS[code], reason);
  }

  #stopTimers(): void {
    this.#pings.stop();
    this.#firstRequest?.cancel();
    this.#firstRequest = null;
    this.#openBlock?.cancel();
    this.#openBlock = null;
  }
}

function headerTimeout(limitMs: number): LimitReached {
  return new LimitReached("HEADER_TIMEOUT", `no complete request headers within ${limitMs} ms`);
}
