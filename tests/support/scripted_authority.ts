// A CA under the test's hand, whose certificates nobody could use, and time that lets promises settle.
import type { VirtualClock } from "../../src/base/virtual_clock.ts";
import type { CertificateAuthority } from "../../src/identity/authority.ts";
import { IdentityError } from "../../src/identity/errors.ts";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { PrivateKey } from "../../src/tls/private_key.ts";
import type { SpiffeId } from "../../src/tls/spiffe_id.ts";

/** One request that reached it. */
export interface AuthorityCall {
  readonly identity: SpiffeId;
  readonly atMs: number;
}

/** Answers after `takesMs` with what its fields say at that moment. */
export class ScriptedAuthority implements CertificateAuthority {
  readonly calls: AuthorityCall[] = [];
  readonly issued: CertifiedKey[] = [];
  /** Infinity: only when the caller gives up. */
  takesMs = 0;
  /** Null: it gives certificates. */
  failure: Error | null = null;
  /** When certificates begin and end, by the wall clock's time at the answer. */
  validity = (wallMs: number): readonly [notBeforeMs: number, notAfterMs: number] => [
    wallMs,
    wallMs + 86_400_000,
  ];
  /** Requests without an answer. */
  open = 0;
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  /** Names of who was asked for, in order. */
  get names(): string[] {
    return this.calls.map(({ identity }) => identity.serviceAccount);
  }

  async issue(identity: SpiffeId, signal: AbortSignal): Promise<CertifiedKey> {
    this.calls.push({ identity, atMs: this.#clock.nowMs() });
    this.open++;
    try {
      await this.#delay(signal);
    } finally {
      this.open--;
    }
    if (this.failure !== null) throw this.failure;
    const [notBeforeMs, notAfterMs] = this.validity(this.#clock.wallMs());
    const certificate: CertifiedKey = {
      identity,
      chainDer: [],
      chainPem: "",
      key: new PrivateKey(new Uint8Array([1])),
      rootsDer: [],
      rootsPem: "",
      notBeforeMs,
      notAfterMs,
      generation: this.issued.length + 1,
    };
    this.issued.push(certificate);
    return certificate;
  }

  #delay(signal: AbortSignal): Promise<void> {
    if (this.takesMs === 0) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = this.takesMs === Infinity ? null : this.#clock.after(this.takesMs, resolve);
    signal.addEventListener("abort", () => {
      timer?.cancel();
      reject(new IdentityError("ABORTED", "the caller has given up"));
    }, { once: true });
    return promise;
  }
}

/** Runs what promises and turns have to do now. */
export async function settle(clock: VirtualClock): Promise<void> {
  for (let round = 0; round < 8; round++) {
    await Promise.resolve();
    clock.runUntilIdle();
  }
}

/** Lets `deltaMs` pass, with promises settling at each moment where something happens. */
export async function pass(clock: VirtualClock, deltaMs: number): Promise<void> {
  const endMs = clock.nowMs() + deltaMs;
  await settle(clock);
  while (clock.advanceToNext(endMs)) await settle(clock);
  clock.advance(endMs - clock.nowMs());
}
