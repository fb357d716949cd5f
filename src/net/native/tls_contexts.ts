// The contexts at hand: pinned ones for as long as their owner says, others as long as they are used.
import type { CertifiedKey } from "../../tls/certificate.ts";
import type { OpenSsl, Pointer } from "./openssl.ts";

/** Contexts kept that nobody pinned; the one not used for longest goes first. About 40 KB each. */
export const UNPINNED_CONTEXTS_MAX = 256;

/**
 * SSL_CTX objects by the certified key they were built from; a rotation makes another key and so another context.
 * What is let go of here lives on in the sessions that were made from it, until the last of them ends.
 */
export class TlsContexts {
  readonly #openssl: OpenSsl;
  readonly #build: (certificate: CertifiedKey) => Pointer;
  readonly #unpinnedMax: number;
  readonly #pinned = new Map<CertifiedKey, Pointer>();
  /** In order of use, the oldest first. */
  readonly #unpinned = new Map<CertifiedKey, Pointer>();

  constructor(options: {
    readonly openssl: OpenSsl;
    /** @throws {TlsHandshakeError} */
    readonly build: (certificate: CertifiedKey) => Pointer;
    readonly unpinnedMax?: number;
  }) {
    this.#openssl = options.openssl;
    this.#build = options.build;
    this.#unpinnedMax = options.unpinnedMax ?? UNPINNED_CONTEXTS_MAX;
  }

  /** Contexts held. */
  get size(): number {
    return this.#pinned.size + this.#unpinned.size;
  }

  /** @throws {TlsHandshakeError} TLS_MATERIAL where the certificate or key cannot be used, or was wiped unpinned. */
  get(certificate: CertifiedKey): Pointer {
    const pinned = this.#pinned.get(certificate);
    if (pinned !== undefined) return pinned;
    let context = this.#unpinned.get(certificate);
    if (context === undefined) context = this.#build(certificate);
    else this.#unpinned.delete(certificate);
    this.#unpinned.set(certificate, context);
    if (this.#unpinned.size > this.#unpinnedMax) {
      const [oldest, unused] = this.#unpinned.entries().next().value!;
      this.#unpinned.delete(oldest);
      this.#openssl.freeContext(unused);
    }
    return context;
  }

  /** Builds the context now, if need be, and keeps it until {@link unpin}. Idempotent. */
  pin(certificate: CertifiedKey): void {
    if (this.#pinned.has(certificate)) return;
    const context = this.#unpinned.get(certificate) ?? this.#build(certificate);
    this.#unpinned.delete(certificate);
    this.#pinned.set(certificate, context);
  }

  /** Lets go of it at once; of an unknown one too. */
  unpin(certificate: CertifiedKey): void {
    const context = this.#pinned.get(certificate);
    if (context === undefined) return;
    this.#pinned.delete(certificate);
    this.#openssl.freeContext(context);
  }

  close(): void {
    for (const contexts of [this.#pinned, this.#unpinned]) {
      for (const context of contexts.values()) this.#openssl.freeContext(context);
      contexts.clear();
    }
  }
}
