// One SSL object: who owns it, what may be done with it, and how it failed.
import { assert } from "../../base/assert.ts";
import type { PeerVerdict } from "../../tls/verdict.ts";
import { nativeBytes } from "./native_bytes.ts";
import { KINDS, type OpenSsl, type Pointer, SSL_ERROR } from "./openssl.ts";
import type { SessionInCall, TlsCallbacks } from "./tls_callbacks.ts";
import { libraryFailure, type SessionFailure } from "./tls_failures.ts";

/** Results of operations; above zero: octets, or done. */
export const WANTS_READ = -1;
export const WANTS_WRITE = -2;
/** The peer's close_notify. */
export const ENDED = -3;
/** For good: {@link TlsSession.failure} says why. */
export const FAILED = -4;

/**
 * Handshake messages (KeyUpdate, NewSessionTicket) that a peer may send per {@link LATE_WINDOW_MS} after the handshake.
 * Each costs a key schedule; an honest peer changes keys after hundreds of gigabytes. One that asks for an answer counts
 * twice.
 */
export const LATE_MESSAGES_MAX = 64;
export const LATE_WINDOW_MS = 60_000;

const SSL_RECEIVED_SHUTDOWN = 2;

/** What all sessions of one engine share. */
export interface SessionShared {
  readonly openssl: OpenSsl;
  readonly callbacks: TlsCallbacks;
  readonly nowMs: () => number;
}

/** One side of one TLS connection. Whoever holds it frees it, once. */
export class TlsSession implements SessionInCall {
  readonly check: SessionInCall["check"];
  verdict: PeerVerdict | null = null;
  /** Set by the first operation that answered {@link FAILED}. */
  failure: SessionFailure | null = null;
  readonly #shared: SessionShared;
  #ssl: Pointer | null;
  #lateMessages = 0;
  #lateWindowMs = 0;
  #flooded = false;

  /**
   * @param context An SSL_CTX; the library keeps it alive as long as the session.
   * @param options.role Ours.
   */
  constructor(context: Pointer, options: {
    readonly role: "client" | "server";
    readonly check: SessionInCall["check"];
    readonly shared: SessionShared;
  }) {
    this.#shared = options.shared;
    this.check = options.check;
    const { openssl } = options.shared;
    const made = openssl.made(KINDS.session, openssl.ssl.SSL_new(context));
    assert(made !== null, "Out of memory");
    this.#ssl = made;
    if (options.role === "client") openssl.ssl.SSL_set_connect_state(made);
    else openssl.ssl.SSL_set_accept_state(made);
  }

  /** The SSL object, for {@link TlsCarrier}s. */
  get ssl(): Pointer {
    assert(this.#ssl !== null, "A freed session is not used");
    return this.#ssl;
  }

  /** @returns 1 when it is done. */
  handshake(): number {
    const { openssl, callbacks } = this.#shared;
    openssl.crypto.ERR_clear_error();
    callbacks.current = this;
    const result = openssl.ssl.SSL_do_handshake(this.ssl);
    callbacks.current = null;
    if (result !== 1) return this.#outcome(result);
    openssl.ssl.SSL_set_info_callback(this.ssl, callbacks.info);
    return 1;
  }

  /** Reads up to `length` octets of at most one record to `bytes[start …]`. */
  read(bytes: Uint8Array<ArrayBuffer>, start: number, length: number): number {
    assert(length > 0 && start >= 0 && start + length <= bytes.length, "Range outside its buffer");
    if (this.failure !== null && !isErrno(this.failure)) return FAILED;
    const { openssl, callbacks } = this.#shared;
    openssl.crypto.ERR_clear_error();
    callbacks.current = this;
    const into = start === 0 ? bytes : bytes.subarray(start);
    const result = openssl.ssl.SSL_read(this.ssl, into, length);
    callbacks.current = null;
    return result > 0 ? result : this.#outcome(result);
  }

  /**
   * Encrypts up to one record of `bytes[start …]`.
   * @returns Octets taken. After {@link WANTS_WRITE} or {@link WANTS_READ} the same octets must come again.
   */
  write(bytes: Uint8Array<ArrayBuffer>, start: number, length: number): number {
    assert(length > 0 && start >= 0 && start + length <= bytes.length, "Range outside its buffer");
    const { openssl } = this.#shared;
    openssl.crypto.ERR_clear_error();
    const from = start === 0 ? bytes : bytes.subarray(start);
    const result = openssl.ssl.SSL_write(this.ssl, from, length);
    return result > 0 ? result : this.#outcome(result);
  }

  /** Sends close_notify. @returns 1 when it is on its way. */
  shutdown(): number {
    const { openssl } = this.#shared;
    openssl.crypto.ERR_clear_error();
    const result = openssl.ssl.SSL_shutdown(this.ssl);
    return result >= 0 ? 1 : this.#outcome(result);
  }

  /** "h2", or null where nothing was agreed on; nothing else is ever offered or chosen. */
  alpn(): "h2" | null {
    this.#shared.openssl.ssl.SSL_get0_alpn_selected(this.ssl, ALPN_AT, ALPN_LENGTH);
    return ALPN_LENGTH[0] === 2 ? "h2" : null;
  }

  lateMessage(): void {
    const nowMs = this.#shared.nowMs();
    if (this.#lateMessages === 0 || nowMs - this.#lateWindowMs >= LATE_WINDOW_MS) {
      this.#lateMessages = 0;
      this.#lateWindowMs = nowMs;
    }
    if (++this.#lateMessages <= LATE_MESSAGES_MAX || this.#flooded) return;
    this.#flooded = true;
    // The library reads on until it finds data; this makes it stop at the next record.
    this.#shared.openssl.ssl.SSL_set_shutdown(this.ssl, SSL_RECEIVED_SHUTDOWN);
  }

  /** Idempotent. */
  free(): void {
    if (this.#ssl === null) return;
    const { openssl } = this.#shared;
    openssl.ssl.SSL_free(this.#ssl);
    openssl.objects.freed(KINDS.session);
    this.#ssl = null;
  }

  #outcome(result: number): number {
    const { openssl } = this.#shared;
    const error = openssl.ssl.SSL_get_error(this.ssl, result);
    if (this.#flooded) return this.#fail({ kind: "flood" });
    switch (error) {
      case SSL_ERROR.wantRead:
        return WANTS_READ;
      case SSL_ERROR.wantWrite:
        return WANTS_WRITE;
      case SSL_ERROR.zeroReturn:
        return ENDED;
      case SSL_ERROR.syscall: {
        const errno = openssl.errno();
        return this.#fail(errno === 0 ? { kind: "eof" } : { kind: "errno", errno });
      }
      default:
        return this.#fail(libraryFailure(openssl.takeErrors()));
    }
  }

  #fail(failure: SessionFailure): number {
    // What the peer said last is worth more than the socket's errno, which may come first where we write.
    if (this.failure === null || (isErrno(this.failure) && failure.kind === "library")) {
      this.failure = failure;
    }
    return FAILED;
  }
}

function isErrno({ kind }: SessionFailure): boolean {
  return kind === "errno";
}

/** Where the library puts the address and the length of what was chosen. */
const ALPN_AT = nativeBytes(8);
const ALPN_LENGTH = new Uint32Array(nativeBytes(4).buffer);
