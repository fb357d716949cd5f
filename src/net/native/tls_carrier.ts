// What lies below a TLS session: a socket, or any other channel.
import type { SocketAddress } from "../../base/address.ts";
import type { NetError, ProxyError } from "../../base/errors.ts";
import type { Pointer } from "./openssl.ts";

/** Whoever works on the session; hears of the carrier in turns of the loop only. */
export interface CarrierOwner {
  /** There may be more for the session to read, or the carrier's end or failure. */
  onCarrierReadable(): void;
  /** A {@link TlsCarrier.flush} had not sent all; now it may go on. */
  onCarrierWritable(): void;
  /** A bug while handling this carrier. */
  onFault(thrown: unknown): void;
}

/**
 * Carries the records of one session. Whoever holds it ends it by {@link close} or {@link reset}, after which it calls
 * nobody.
 */
export interface TlsCarrier {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  /** The peer will send nothing more, as far as known; or the carrier failed. */
  readonly ended: boolean;
  /** Why the carrier failed. */
  readonly failure: NetError | ProxyError | null;
  /** Names who hears from now on, and begins. Throws `NetError` where the kernel refuses. */
  watch(owner: CarrierOwner): void;
  /** Puts itself below `ssl`, which owns that half from then on. */
  install(ssl: Pointer): void;
  /** The session wants to read more. True: there was more, try again; false: `onCarrierReadable` will tell. */
  refill(): boolean;
  /** The owner will not read for a while: what the peer sends must not pile up here. */
  pause(): void;
  /** Several records will be written before the next {@link flush}. */
  gather(ssl: Pointer): void;
  /** Sends what the session wrote. False: not all of it, `onCarrierWritable` will tell. */
  flush(ssl: Pointer): boolean;
  /** The session writes no more: FIN, or the channel's end. After a complete flush. */
  endWrite(): void;
  /** To be called before the session is freed. */
  release(ssl: Pointer): void;
  /** Ends both directions in order: what was flushed still arrives. Idempotent. */
  close(): void;
  /** Ends both directions at once. Idempotent. */
  reset(): void;
}
