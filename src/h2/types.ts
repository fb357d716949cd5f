// The shape of an HTTP/2 connection that carries CONNECT tunnels, as hbone/ uses it.
import type { Channel } from "../base/channel.ts";
import type { ProxyError } from "../base/errors.ts";

/** One header field; names lower case, pseudo-headers first and with their colon. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

export type HeaderList = readonly HeaderField[];

/** What the peer advertised, with RFC 9113 §6.5.2's defaults for what it did not. */
export interface PeerSettings {
  /** Infinity where the peer set no limit. */
  readonly maxConcurrentStreams: number;
  readonly initialWindowBytes: number;
  readonly maxFrameBytes: number;
  readonly maxHeaderListBytes: number;
  readonly headerTableBytes: number;
}

/** A stream: a {@link Channel} for DATA, with headers around it. */
export interface H2Stream extends Channel {
  readonly id: number;
  /**
   * Server: sends the response HEADERS; at most once. With `endStream` nothing else can be written, and if
   * the request side is still open it is ended with RST_STREAM(NO_ERROR) (spec/data-path §1.7).
   */
  respond(headers: HeaderList, options: { readonly endStream: boolean }): void;
}

/** Client: hears the answer to a request, in a later turn. After it, DATA goes to the attached handler. */
export interface H2ResponseHandler {
  /** Final response (1xx are skipped). `endStream` means no DATA will follow. */
  onResponse(stream: H2Stream, headers: HeaderList, endStream: boolean): void;
  /** The stream ended before any response: reset, GOAWAY, connection lost, or headers above our limit. */
  onFailure(stream: H2Stream, error: ProxyError): void;
}

/** What a connection's owner hears; never from inside one of its own calls to the connection. */
export interface H2ConnectionHandler {
  /**
   * Server: a complete, valid request. DATA that came with it waits inside the window until the stream is
   * attached and resumed. `endStream`: the client has ended its side already.
   */
  onRequest(stream: H2Stream, headers: HeaderList, endStream: boolean): void;
  /**
   * Server: a request was refused before it got to `onRequest`: malformed, header list above our limit, or more
   * streams than allowed. The peer has its answer; `detail` of the error says what was wrong.
   */
  onRequestRefused?(streamId: number, error: ProxyError): void;
  /** The peer's first SETTINGS, then each later change. */
  onPeerSettings(settings: PeerSettings): void;
  /** Answer to our PING; the eight octets are lent. */
  onPong(opaque: Uint8Array): void;
  /** The peer will accept no more streams; those above `lastStreamId` fail as refused. */
  onGoAway(lastStreamId: number, code: number, debug: string): void;
  /** A header block began (true) or was completed (false), for the 10 s limit of design §5. */
  onHeaderBlock(open: boolean): void;
  /** The number of open streams fell to zero. */
  onIdle(): void;
  /**
   * All is said: what is written goes out, then the transport's end, and `onClose` follows when the peer ends too. A
   * peer need not do that, nor read; an owner who will not wait for ever sets a limit here and calls `abort`.
   * `reason` is null for an orderly end: then the last bytes of finished streams may still be on their way, and
   * `abort` would lose them.
   */
  onEnding?(reason: ProxyError | null): void;
  /** The connection is over; every stream has been or will be told in the same turn. Exactly once, last. */
  onClose(error: ProxyError | null): void;
}

export interface H2Connection {
  /** Streams open in either direction, half-closed ones included. */
  readonly openStreams: number;
  /** False after GOAWAY in either direction, or the end. */
  readonly acceptsStreams: boolean;
  readonly peerSettings: PeerSettings | null;
  /** DATA octets received that no owner has taken yet and nobody has dropped: 0 without streams, or window is lost. */
  readonly heldBytes: number;
  /** Client: opens a CONNECT. Waits inside the connection while the peer's stream limit is reached. */
  open(headers: HeaderList, handler: H2ResponseHandler): H2Stream;
  /** Sends PING with eight octets, which are copied. */
  ping(opaque: Uint8Array): void;
  /**
   * Graceful end. Server: GOAWAY(2^31-1) and PING, then GOAWAY(last id) after its PONG; streams run on, and the
   * transport ends with the last one. Client: opens no more, GOAWAY(NO_ERROR) and end once idle; with `silent` the end
   * alone (spec/data-path W28: the connection inside a tunnel).
   */
  drain(options?: { readonly silent?: boolean }): void;
  /** GOAWAY with `code`, then ends: every stream is told `reason`, the transport ends after the write. */
  close(code: number, reason: ProxyError | null): void;
  /** No GOAWAY: resets the transport at once (spec/data-path W21, W28). */
  abort(reason: ProxyError | null): void;
}
