// The throw-away CA as an authority like any other.
import type { Clock } from "../base/clock.ts";
import type { CertifiedKey } from "../tls/certificate.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { CertificateAuthority } from "./authority.ts";
import { IdentityError } from "./errors.ts";
import { BACKDATE_MS, type FakeCa, LEAF_LIFETIME_MS } from "./fake_ca.ts";

/** Signs with a {@link FakeCa}, by the wall clock's time. Local mode and tests only. */
export class FakeAuthority implements CertificateAuthority {
  readonly #ca: Pick<FakeCa, "issue">;
  readonly #clock: Pick<Clock, "wallMs">;
  readonly #validity: { readonly lifetimeMs: number; readonly backdateMs: number };

  /**
   * @param options.lifetimeMs Validity of each leaf from its issue on; whole seconds.
   * @param options.backdateMs How far before its issue it begins.
   */
  constructor(
    ca: Pick<FakeCa, "issue">,
    options: {
      readonly clock: Pick<Clock, "wallMs">;
      readonly lifetimeMs?: number;
      readonly backdateMs?: number;
    },
  ) {
    const { clock, lifetimeMs = LEAF_LIFETIME_MS, backdateMs = BACKDATE_MS } = options;
    this.#ca = ca;
    this.#clock = clock;
    this.#validity = { lifetimeMs, backdateMs };
  }

  async issue(identity: SpiffeId, signal: AbortSignal): Promise<CertifiedKey> {
    signal.throwIfAborted();
    try {
      return await this.#ca.issue(identity, { nowMs: this.#clock.wallMs(), ...this.#validity });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new IdentityError("CA_FAILED", `failed to create CSR: tls: ${reason}`, {
        cause: error,
      });
    }
  }
}
