// The seam to datagrams: what the resolver, and later the DNS proxy, send and receive by.
import type { SocketAddress } from "../base/address.ts";
import type { Cancel, Done } from "../base/channel.ts";
import type { ProxyError } from "../base/errors.ts";

/** What a socket's owner hears, one call at a time, in a turn of the loop; nothing after `close`. */
export interface UdpHandler {
  /** A whole datagram. The bytes are lent for the call: copy to keep. Anybody may have sent it. */
  onDatagram(bytes: Uint8Array, source: SocketAddress): void;
  /** A send failed, or the socket did; it stays open. */
  onError(error: ProxyError): void;
}

export interface UdpSocket {
  /** Where it is bound, with the port that was chosen if 0 was asked for. */
  readonly local: SocketAddress;
  /** Sends one datagram. The bytes are lent for the call. What comes of it is not told, except as `onError`. */
  send(bytes: Uint8Array, target: SocketAddress): void;
  /** Idempotent. */
  close(): void;
}

/** Opens sockets that are bound and not connected: the owner looks at each datagram's source itself. */
export interface UdpNetwork {
  /**
   * Binds a socket; with port 0 to one that the kernel draws. Fails with a `BindError`, with EMFILE where too many
   * are open, or with an error of its own where the runtime's sandbox forbids it.
   */
  openUdp(local: SocketAddress, handler: UdpHandler, done: Done<UdpSocket>): Cancel;
  /** 0 when everything was closed. */
  readonly openUdpSockets: number;
}
