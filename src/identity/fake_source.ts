// One workload's certificates from the fake CA, renewed at half life for as long as somebody uses them.
import { assert } from "../base/assert.ts";
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import type { Clock, Task, Timer } from "../base/clock.ts";
import type { CertifiedKey, RotatingCertificateSource } from "../tls/certificate.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import { IdentityError } from "./errors.ts";
import { BACKDATE_MS, type FakeCa, LEAF_LIFETIME_MS } from "./fake_ca.ts";

/** Callers that may wait for the first certificate; a further one is refused at once. */
export const CERTIFICATE_WAITERS_MAX = 10_000;
/** Who may hear of rotations: the data planes that speak for this identity elsewhere. */
export const ROTATION_LISTENERS_MAX = 64;
/** A renewal is never tried sooner than this after the one before (spec/identity-and-inpod §3.2). */
export const RENEWAL_DELAY_MIN_MS = 1000;

interface Waiter extends Cancel, Task {
  done: Done<CertifiedKey> | null;
}

/**
 * {@link RotatingCertificateSource} over a {@link FakeCa}. Asks for nothing before the first `get`; after that a
 * new leaf replaces the old one at half life. `close` ends the renewals: the owner must call it.
 */
export class FakeCertificateSource implements RotatingCertificateSource {
  readonly identity: SpiffeId;
  readonly #ca: Pick<FakeCa, "issue">;
  readonly #clock: Clock;
  readonly #validity: { readonly lifetimeMs: number; readonly backdateMs: number };
  readonly #waiters = new Set<Waiter>();
  readonly #listeners = new Set<{ readonly hear: (certificate: CertifiedKey) => void }>();
  #current: CertifiedKey | null = null;
  #renewal: Timer | null = null;
  #asking: Promise<void> | null = null;
  #failure: IdentityError | null = null;
  #closed = false;

  /**
   * @param options.lifetimeMs Validity of each leaf from its issue on; whole seconds.
   * @param options.backdateMs How far before its issue it begins.
   */
  constructor(
    identity: SpiffeId,
    options: {
      readonly ca: Pick<FakeCa, "issue">;
      readonly clock: Clock;
      readonly lifetimeMs?: number;
      readonly backdateMs?: number;
    },
  ) {
    this.identity = identity;
    this.#ca = options.ca;
    this.#clock = options.clock;
    this.#validity = {
      lifetimeMs: options.lifetimeMs ?? LEAF_LIFETIME_MS,
      backdateMs: options.backdateMs ?? BACKDATE_MS,
    };
  }

  /** The certificate in use, or null before the first was asked for. */
  get current(): CertifiedKey | null {
    return this.#current;
  }

  get(done: Done<CertifiedKey>): Cancel {
    if (this.#waiters.size >= CERTIFICATE_WAITERS_MAX) {
      const refusal = new IdentityError(
        "CERTIFICATE_WAITERS_MAX",
        `${CERTIFICATE_WAITERS_MAX} callers wait for a certificate already`,
      );
      this.#clock.soon({ runTask: () => done(refusal) });
      return NOTHING_TO_CANCEL;
    }
    const waiter: Waiter = {
      done,
      cancel: () => {
        waiter.done = null;
        this.#waiters.delete(waiter);
      },
      runTask: () => this.#answer(waiter),
    };
    this.#waiters.add(waiter);
    const usable = this.#current !== null && this.#current.notAfterMs > this.#clock.wallMs();
    if (usable || this.#closed) this.#clock.soon(waiter);
    else void this.renew();
    return waiter;
  }

  onRotate(hear: (certificate: CertifiedKey) => void): Cancel {
    assert(this.#listeners.size < ROTATION_LISTENERS_MAX, "Data planes of one identity are few");
    const listener = { hear };
    this.#listeners.add(listener);
    return { cancel: () => void this.#listeners.delete(listener) };
  }

  /** Issues a new leaf now; later `get`s give it. Settles when it is in use. */
  renew(): Promise<void> {
    this.#asking ??= this.#renew().finally(() => this.#asking = null);
    return this.#asking;
  }

  /** No further renewals; waiting callers are told. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#renewal?.cancel();
    this.#renewal = null;
    for (const waiter of this.#waiters) this.#clock.soon(waiter);
  }

  async #renew(): Promise<void> {
    try {
      const nowMs = this.#clock.wallMs();
      const issued = await this.#ca.issue(this.identity, { nowMs, ...this.#validity });
      this.#current = issued;
      this.#failure = null;
      if (this.#closed) return;
      this.#clock.soon({ runTask: () => this.#tellOf(issued) });
      this.#renewal?.cancel();
      const halfLifeMs = (issued.notBeforeMs + issued.notAfterMs) / 2;
      const delayMs = Math.max(RENEWAL_DELAY_MIN_MS, halfLifeMs - this.#clock.wallMs());
      this.#renewal = this.#clock.after(delayMs, () => void this.renew());
    } catch (error) {
      // The certificate at hand serves on; whoever waits, or comes after its end, is told.
      const reason = error instanceof Error ? error.message : String(error);
      this.#failure = new IdentityError("CA_FAILED", `failed to create certificate: ${reason}`, {
        cause: error,
      });
    } finally {
      for (const waiter of [...this.#waiters]) this.#answer(waiter);
    }
  }

  #tellOf(issued: CertifiedKey): void {
    for (const { hear } of [...this.#listeners]) hear(issued);
  }

  #answer(waiter: Waiter): void {
    const done = waiter.done;
    if (done === null) return;
    waiter.cancel();
    const current = this.#current;
    if (this.#closed) {
      done(new IdentityError("IDENTITY_CLOSED", "the identity is no longer needed"));
    } else if (current !== null && current.notAfterMs > this.#clock.wallMs()) done(current);
    else done(this.#failure ?? new IdentityError("EXPIRED", "the certificate has expired"));
  }
}
