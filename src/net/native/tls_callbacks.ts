// The three functions of ours that the TLS library calls: is this peer who it must be, which protocol, and a count.
import { assert } from "../../base/assert.ts";
import { CHAIN_CERTIFICATES_MAX } from "../../tls/chain.ts";
import { CERTIFICATE_BYTES_MAX } from "../../tls/certificate_der.ts";
import { PeerRejectedError, type PeerRejection } from "../../tls/errors.ts";
import type { RevocationLists } from "../../tls/revocation.ts";
import type { JudgeOptions, PeerVerdict } from "../../tls/verdict.ts";
import type { VerdictCache } from "../../tls/verdict_cache.ts";
import type { Libc } from "./libc.ts";
import { nativeBytes } from "./native_bytes.ts";
import { KINDS, type OpenSsl, type Pointer } from "./openssl.ts";

/** The session that the library is working on, as far as the callbacks concern it. */
export interface SessionInCall {
  /** What its peer must show. */
  readonly check: Pick<JudgeOptions, "rootsDer" | "peer">;
  verdict: PeerVerdict | null;
  /** Another handshake message of an established session was read. */
  lateMessage(): void;
}

/** `X509_V_ERR_…` (x509_vfy.h). */
const CERT_UNSPECIFIED = 1;
/** Not one of the library's: it says certificate_unknown for those it does not know. */
const CERT_UNNAMED = 1000;

/**
 * What the library is told, for the alert of spec/identity-and-inpod §4.4. The rest of the table's right side is the
 * library's own (`ssl_x509err2alert`): 48, 45, 43, 42, 51, and 46 for what it does not know.
 */
const LIBRARY_REASONS: Readonly<Record<PeerRejection, number>> = {
  NO_CERTIFICATE: CERT_UNNAMED,
  UNKNOWN_ISSUER: 20,
  EXPIRED: 10,
  NOT_VALID_YET: 10,
  WRONG_USAGE: 26,
  BAD_ENCODING: 28,
  UNKNOWN_CRITICAL_EXTENSION: 28,
  BAD_SIGNATURE: 7,
  CA_AS_LEAF: CERT_UNNAMED,
  NAME_CONSTRAINTS: CERT_UNNAMED,
  CHAIN_TOO_LONG: CERT_UNNAMED,
  WRONG_TRUST_DOMAIN: CERT_UNNAMED,
  REVOKED: 23,
  // The library's word for what its application found: handshake_failure.
  CRL_UNUSABLE: 50,
  WRONG_IDENTITY: CERT_UNNAMED,
};

/** The library's own findings that have a code of ours; the others are BAD_SIGNATURE with its words. */
const LIBRARY_FINDINGS: Readonly<Record<number, readonly [PeerRejection, string]>> = {
  2: ["UNKNOWN_ISSUER", "UnknownIssuer"],
  18: ["UNKNOWN_ISSUER", "UnknownIssuer"],
  19: ["UNKNOWN_ISSUER", "UnknownIssuer"],
  20: ["UNKNOWN_ISSUER", "UnknownIssuer"],
  21: ["UNKNOWN_ISSUER", "UnknownIssuer"],
  7: ["BAD_SIGNATURE", "BadSignature"],
  26: ["WRONG_USAGE", "InvalidPurpose"],
};

/** X509_V_FLAG_NO_CHECK_TIME | X509_V_FLAG_PARTIAL_CHAIN: times are ours to judge, and any root is an anchor. */
const LIBRARY_CHECK_FLAGS = 0x280000n;

/** `SSL_CB_EXIT` (ssl.h): the handshake's state machine stops; after the handshake that is once per message. */
const INFO_EXIT = 2;

/** Answers to an ALPN offer (ssl.h). */
const ALPN_CHOSEN = 0;
const ALPN_FATAL = 2;
/** Octets of an offer that are looked at; it must fit a hello, which the library bounds. */
export const ALPN_BYTES_MAX = 4096;

const POINTER = "pointer" as const;
const VERIFY = { parameters: [POINTER, POINTER], result: "i32" } as const;
const ALPN = {
  parameters: [POINTER, POINTER, POINTER, POINTER, "u32", POINTER],
  result: "i32",
} as const;
const INFO = { parameters: [POINTER, "i32", "i32"], result: "void" } as const;

export interface TlsCallbacksOptions {
  readonly openssl: OpenSsl;
  readonly libc: Libc;
  readonly verdicts: VerdictCache;
  readonly revocation: RevocationLists;
  /** Epoch milliseconds. */
  readonly wallMs: () => number;
  /** True: the library has to find a path of its own, with its own signature checks. */
  readonly verifyInLibrary: boolean;
  /** Told what one of our functions threw; the peer was refused. */
  readonly onBug: (thrown: unknown) => void;
}

/**
 * Made at start, because a callback needs the ffi permission; they go on working without it and touch C memory through
 * bound functions only. All contexts share them. None lets an exception into C.
 */
export class TlsCallbacks {
  /** To be set around each call of the library that may call back. */
  current: SessionInCall | null = null;
  readonly verify: Pointer;
  readonly alpn: Pointer;
  readonly info: Pointer;
  readonly #options: TlsCallbacksOptions;
  readonly #callbacks: readonly { close(): void }[];
  readonly #encoded = nativeBytes(CERTIFICATE_BYTES_MAX);
  readonly #encodedAt: bigint;
  /** Where the library begins to write; it moves that on. */
  readonly #cursorBytes = nativeBytes(8);
  readonly #cursor = new BigUint64Array(this.#cursorBytes.buffer);
  readonly #offer = nativeBytes(ALPN_BYTES_MAX);
  /** What we choose, and where that lies. */
  readonly #h2 = nativeBytes(2);
  readonly #h2At: Uint8Array<ArrayBuffer>;
  readonly #h2Length = Uint8Array.of(2);

  constructor(options: TlsCallbacksOptions) {
    this.#options = options;
    this.#encodedAt = options.libc.addressOf(this.#encoded);
    this.#h2.set([0x68, 0x32]);
    this.#h2At = new Uint8Array(BigUint64Array.of(options.libc.addressOf(this.#h2)).buffer);
    const verify = new Deno.UnsafeCallback(VERIFY, (store) => this.#verify(store));
    const alpn = new Deno.UnsafeCallback(
      ALPN,
      (_ssl, out, outLength, offer, length) => this.#choose(out, outLength, offer, length),
    );
    const info = new Deno.UnsafeCallback(INFO, (_ssl, where) => {
      if ((where & INFO_EXIT) !== 0) this.#countLate();
    });
    this.verify = verify.pointer;
    this.alpn = alpn.pointer;
    this.info = info.pointer;
    this.#callbacks = [verify, alpn, info];
    for (const _ of this.#callbacks) options.openssl.objects.made(KINDS.callback);
  }

  /** No context made with them may be used afterwards. */
  close(): void {
    for (const callback of this.#callbacks) {
      callback.close();
      this.#options.openssl.objects.freed(KINDS.callback);
    }
  }

  #countLate(): void {
    try {
      this.current?.lateMessage();
    } catch (thrown) {
      this.#report(thrown);
    }
  }

  /** Nothing may be thrown into C, not even by whoever is told. */
  #report(thrown: unknown): void {
    try {
      this.#options.onBug(thrown);
    } catch {
      // There is nobody left to tell.
    }
  }

  #verify(store: Deno.PointerValue): number {
    const { openssl } = this.#options;
    try {
      assert(store !== null && this.current !== null, "Only a session of ours is verified");
      return this.#judge(store, this.current);
    } catch (thrown) {
      this.#report(thrown);
      if (store !== null) openssl.crypto.X509_STORE_CTX_set_error(store, CERT_UNSPECIFIED);
      return 0;
    }
  }

  #judge(store: Pointer, session: SessionInCall): number {
    const { openssl: { crypto }, verdicts, revocation, wallMs, verifyInLibrary } = this.#options;
    const chainDer = this.#presented(store);
    const verdict = revocation.judge(verdicts, { ...session.check, chainDer, nowMs: wallMs() });
    if (verdict.kind === "accepted" && verifyInLibrary) {
      const error = this.#libraryObjection(store);
      if (error !== null) {
        session.verdict = { kind: "rejected", error };
        return 0;
      }
    }
    session.verdict = verdict;
    if (verdict.kind === "accepted") return 1;
    crypto.X509_STORE_CTX_set_error(store, LIBRARY_REASONS[verdict.error.code]);
    return 0;
  }

  /** The chain as it was sent, leaf first; what is too large or unreadable is an empty certificate. */
  #presented(store: Pointer): Uint8Array<ArrayBuffer>[] {
    const { crypto } = this.#options.openssl;
    const stack = crypto.X509_STORE_CTX_get0_untrusted(store);
    if (stack === null) return [];
    const chain: Uint8Array<ArrayBuffer>[] = [];
    // One more than is acceptable, so that the verdict sees that there are too many.
    const count = Math.min(crypto.OPENSSL_sk_num(stack), CHAIN_CERTIFICATES_MAX + 1);
    for (let at = 0; at < count; at++) {
      const certificate = crypto.OPENSSL_sk_value(stack, at);
      const bytes = certificate === null ? 0 : crypto.certificateBytes(certificate, null);
      if (certificate === null || bytes <= 0 || bytes > CERTIFICATE_BYTES_MAX) {
        chain.push(new Uint8Array(0));
        continue;
      }
      this.#cursor[0] = this.#encodedAt;
      const written = crypto.encodeCertificate(certificate, this.#cursorBytes);
      assert(written === bytes, "A certificate's length does not change");
      chain.push(this.#encoded.slice(0, bytes));
    }
    return chain;
  }

  /** What the library itself has against the chain; null: nothing. */
  #libraryObjection(store: Pointer): PeerRejectedError | null {
    const { openssl } = this.#options;
    const { crypto } = openssl;
    const parameters = crypto.X509_STORE_CTX_get0_param(store);
    assert(parameters !== null, "A verification has parameters");
    crypto.X509_VERIFY_PARAM_set_flags(parameters, LIBRARY_CHECK_FLAGS);
    if (crypto.X509_verify_cert(store) === 1) return null;
    const reason = crypto.X509_STORE_CTX_get_error(store);
    if (reason === 0) crypto.X509_STORE_CTX_set_error(store, CERT_UNSPECIFIED);
    const known = LIBRARY_FINDINGS[reason];
    if (known !== undefined) {
      return new PeerRejectedError(known[0], { display: known[1], debug: known[1] });
    }
    const words = crypto.X509_verify_cert_error_string(BigInt(reason));
    const text = `Other(OtherError(${words === null ? reason : openssl.textAt(words)}))`;
    return new PeerRejectedError("BAD_SIGNATURE", { display: text, debug: text });
  }

  #choose(
    out: Deno.PointerValue,
    outLength: Deno.PointerValue,
    offer: Deno.PointerValue,
    length: number,
  ): number {
    try {
      const { libc } = this.#options;
      const bytes = Math.min(length, ALPN_BYTES_MAX);
      libc.memcpyFrom(offer, this.#offer, bytes);
      if (!offersH2(this.#offer, bytes)) return ALPN_FATAL;
      libc.memcpyTo(out, this.#h2At, 8);
      libc.memcpyTo(outLength, this.#h2Length, 1);
      return ALPN_CHOSEN;
    } catch (thrown) {
      this.#report(thrown);
      return ALPN_FATAL;
    }
  }
}

/** Whether `h2` is in a list of names, each after an octet with its length (RFC 7301 §3.1). */
export function offersH2(list: Uint8Array, bytes: number): boolean {
  for (let at = 0; at < bytes; at += 1 + list[at]!) {
    const isH2 = list[at] === 2 && at + 2 < bytes && list[at + 1] === 0x68 && list[at + 2] === 0x32;
    if (isH2) return true;
  }
  return false;
}
