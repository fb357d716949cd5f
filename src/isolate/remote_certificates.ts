// The certificates of one plane inside the data-plane isolate: what was pushed, imported and wiped.
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import type { Clock, Task, Timer } from "../base/clock.ts";
import { ProxyError } from "../base/errors.ts";
import type { CertificateSource, CertifiedKey } from "../tls/certificate.ts";
import { PrivateKey } from "../tls/private_key.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import { RemoteError } from "./errors.ts";
import type { WireCertificate } from "./messages.ts";

/** Callers that may wait for a certificate; a further one is refused. */
export const REMOTE_WAITERS_MAX = 10_000;
/** A replaced certificate's contexts stay so long, in ms: whoever got it before the rotation may still be dialling. */
export const REPLACED_PINNED_MS = 60_000;
/** Certificates of one plane whose contexts exist at one time. */
export const PINNED_MAX = 4;

/** Where TLS contexts are built from a certificate and kept: then its key is not needed any longer. */
export interface CertificatePins {
  /** Throws a {@link ProxyError} for material that TLS cannot use. */
  pin(certificate: CertifiedKey): void;
  unpin(certificate: CertifiedKey): void;
}

export interface RemoteCertificatesOptions {
  readonly identity: SpiffeId;
  readonly clock: Clock;
  readonly pins: CertificatePins;
  /** Asks the control isolate for a certificate, or for the reason why there is none. */
  readonly want: () => void;
}

interface Waiter extends Cancel, Task {
  done: Done<CertifiedKey> | null;
}

/** Gives what it holds; else it asks, and all who wait get the same answer. */
export class RemoteCertificates implements CertificateSource {
  readonly identity: SpiffeId;
  readonly #options: RemoteCertificatesOptions;
  readonly #waiters = new Set<Waiter>();
  /** Oldest first. */
  readonly #replaced: { readonly certificate: CertifiedKey; readonly timer: Timer }[] = [];
  #current: CertifiedKey | null = null;
  /** The newest one that came could not be used, for this reason. */
  #refusal: ProxyError | null = null;
  /** The control isolate will say something: true from the start, it pushes the first by itself. */
  #awaited = true;

  constructor(options: RemoteCertificatesOptions) {
    this.#options = options;
    this.identity = options.identity;
  }

  /** Certificates with contexts: 0 after {@link close}. */
  get pinned(): number {
    return this.#replaced.length + (this.#current === null ? 0 : 1);
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  get(done: Done<CertifiedKey>): Cancel {
    if (this.#waiters.size >= REMOTE_WAITERS_MAX) {
      const refusal = new RemoteError({
        name: "IdentityError",
        code: "CERTIFICATE_WAITERS_MAX",
        message: `${REMOTE_WAITERS_MAX} callers wait for a certificate already`,
      });
      this.#options.clock.soon({ runTask: () => done(refusal) });
      return NOTHING_TO_CANCEL;
    }
    const waiter: Waiter = {
      done,
      cancel: () => {
        waiter.done = null;
        this.#waiters.delete(waiter);
      },
      runTask: () => {
        const outcome = this.#usable() ?? this.#refusal;
        if (outcome !== null) this.#answer(waiter, outcome);
        else if (waiter.done !== null && !this.#awaited) this.#askAgain(); // It has expired since.
      },
    };
    this.#waiters.add(waiter);
    if (this.#usable() !== null || this.#refusal !== null) this.#options.clock.soon(waiter);
    else if (!this.#awaited) {
      this.#awaited = true;
      this.#options.want();
    }
    return waiter;
  }

  /** Imports a certificate and wipes its key; says why where it cannot be used, and then the one before serves on. */
  receive(wire: WireCertificate): ProxyError | null {
    const { keyDer, ...rest } = wire;
    const certificate: CertifiedKey = { ...rest, key: new PrivateKey(keyDer) };
    this.#awaited = false;
    this.#refusal = null;
    try {
      this.#options.pins.pin(certificate);
      this.#replace(certificate);
    } catch (thrown) {
      if (!(thrown instanceof ProxyError)) throw thrown;
      this.#refusal = thrown;
    } finally {
      certificate.key.wipe();
    }
    const outcome = this.#usable() ?? this.#refusal;
    if (outcome !== null) this.#answerAll(outcome);
    else if (this.#waiters.size > 0) this.#askAgain(); // What came has expired already.
    return this.#refusal;
  }

  /** There is none, and why. Who comes later asks again. */
  fail(error: ProxyError): void {
    this.#awaited = false;
    this.#answerAll(error);
  }

  /** Frees every context. The plane is over: nobody asks again. */
  close(): void {
    for (const waiter of [...this.#waiters]) waiter.cancel();
    if (this.#current !== null) this.#options.pins.unpin(this.#current);
    this.#current = null;
    while (this.#replaced.length > 0) this.#unpinOldest();
  }

  #usable(): CertifiedKey | null {
    const current = this.#current;
    return current !== null && current.notAfterMs > this.#options.clock.wallMs() ? current : null;
  }

  #replace(certificate: CertifiedKey): void {
    const before = this.#current;
    this.#current = certificate;
    if (before === null) return;
    const timer = this.#options.clock.after(REPLACED_PINNED_MS, () => this.#unpinOldest());
    this.#replaced.push({ certificate: before, timer });
    if (this.pinned > PINNED_MAX) this.#unpinOldest();
  }

  #unpinOldest(): void {
    const oldest = this.#replaced.shift()!;
    oldest.timer.cancel();
    this.#options.pins.unpin(oldest.certificate);
  }

  #askAgain(): void {
    this.#awaited = true;
    this.#options.want();
  }

  #answerAll(outcome: CertifiedKey | ProxyError): void {
    for (const waiter of [...this.#waiters]) this.#answer(waiter, outcome);
  }

  #answer(waiter: Waiter, outcome: CertifiedKey | ProxyError): void {
    const done = waiter.done;
    waiter.cancel();
    done?.(outcome);
  }
}
