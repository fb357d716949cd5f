// The fast path: OpenSSL reads and writes the descriptor itself, edge-triggered.
import type { SocketAddress } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { NetError } from "../../base/errors.ts";
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, SHUT_WR } from "./constants.ts";
import { ECONNRESET, netErrorOf } from "./errno.ts";
import type { Libc } from "./libc.ts";
import type { OpenSsl, Pointer } from "./openssl.ts";
import type { RawSocket } from "./raw_socket.ts";
import type { CarrierOwner, TlsCarrier } from "./tls_carrier.ts";
import type { Watcher } from "./types.ts";
import type { WriteGather } from "./write_gather.ts";

/** `BIO_CTRL_FLUSH`, `BIO_FLAGS_SHOULD_RETRY` (bio.h). */
const FLUSH = 11;
const SHOULD_RETRY = 0x08;

/** What all carriers on sockets share. */
export interface SocketCarrierShared {
  readonly openssl: OpenSsl;
  readonly libc: Libc;
  readonly gather: WriteGather;
}

/** {@link TlsCarrier} on a socket, which it owns. */
export class SocketCarrier implements TlsCarrier, Watcher {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  ended = false;
  failure: NetError | null = null;
  readonly #socket: RawSocket;
  readonly #shared: SocketCarrierShared;
  #owner: CarrierOwner | null = null;
  /** Belongs to the session, which reads from it and, unless it gathers, writes to it. */
  #bio: Pointer | null = null;
  /** Lent: between the session and the socket. */
  #gathering: Pointer | null = null;

  constructor(socket: RawSocket, shared: SocketCarrierShared) {
    this.peer = socket.peer;
    this.local = socket.local;
    this.#socket = socket;
    this.#shared = shared;
  }

  watch(owner: CarrierOwner): void {
    this.#owner = owner;
    if (!this.#socket.watched) this.#socket.watch(this);
  }

  install(ssl: Pointer): void {
    const { ssl: libssl, crypto } = this.#shared.openssl;
    const bio = crypto.BIO_new_socket(this.#socket.fd, 0);
    assert(bio !== null, "Out of memory");
    crypto.BIO_up_ref(bio);
    libssl.SSL_set0_rbio(ssl, bio);
    libssl.SSL_set0_wbio(ssl, bio);
    this.#bio = bio;
  }

  onReady(events: number): void {
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.#noteEnd(events);
    const readable = (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0;
    // Writing first: what is read is often answered, and the answer must not overtake.
    if ((events & (EPOLLOUT | EPOLLERR)) !== 0) this.#owner?.onCarrierWritable();
    if (readable) this.#owner?.onCarrierReadable();
  }

  onFault(thrown: unknown): void {
    this.#owner?.onFault(thrown);
  }

  refill(): boolean {
    return false;
  }

  /** The kernel holds what is not read. */
  pause(): void {}

  gather(ssl: Pointer): void {
    if (this.#gathering !== null) return;
    const { openssl, gather } = this.#shared;
    const buffer = gather.take();
    // Each holder has its reference: the session and we of the buffer, the buffer and the session's reading of the socket.
    openssl.crypto.BIO_up_ref(this.#bio!);
    openssl.crypto.BIO_push(buffer, this.#bio!);
    openssl.crypto.BIO_up_ref(buffer);
    openssl.ssl.SSL_set0_wbio(ssl, buffer);
    this.#gathering = buffer;
  }

  flush(ssl: Pointer): boolean {
    if (this.#gathering === null) return true;
    const { crypto } = this.#shared.openssl;
    if (crypto.bioControl(this.#gathering, FLUSH, 0, null) > 0) {
      this.#stopGathering(ssl, true);
      return true;
    }
    if (crypto.BIO_test_flags(this.#gathering, SHOULD_RETRY) === 0) {
      this.failure ??= netErrorOf(this.#shared.openssl.errno() || ECONNRESET);
      this.ended = true;
    }
    return false;
  }

  endWrite(): void {
    // A socket that is already broken says so by itself.
    if (this.#socket.open) this.#shared.libc.shutdown(this.#socket.fd, SHUT_WR);
  }

  release(ssl: Pointer): void {
    if (this.#gathering !== null) this.#stopGathering(ssl, false);
    this.#bio = null;
  }

  close(): void {
    this.#owner = null;
    this.#socket.close();
  }

  reset(): void {
    this.#owner = null;
    this.#socket.reset();
  }

  #stopGathering(ssl: Pointer, empty: boolean): void {
    const { openssl, gather } = this.#shared;
    const buffer = this.#gathering!;
    this.#gathering = null;
    openssl.crypto.BIO_pop(buffer);
    openssl.ssl.SSL_set0_wbio(ssl, this.#bio!);
    gather.giveBack(buffer, empty);
  }

  #noteEnd(events: number): void {
    this.ended = true;
    if ((events & EPOLLERR) === 0 || !this.#socket.open) return;
    // Asking takes the error away: the session would only see an end.
    const errno = this.#shared.libc.soError(this.#socket.fd);
    if (errno !== 0) this.failure ??= netErrorOf(errno);
  }
}
