// What is known about one identity's certificate, and what each answer of the CA makes of it (spec/identity-and-inpod
// §3.1-3.3). Pure.
import type { CertifiedKey } from "../tls/certificate.ts";
import { IdentityError } from "./errors.ts";
import type { Priority } from "./request_queue.ts";
import { nextRetry, type Retry, retryWaitMs } from "./retry_wait.ts";

/** A certificate is never asked for again sooner than this after the answer before. */
export const REFRESH_WAIT_MIN_MS = 1000;

export type CertificateState =
  /** The first answer is awaited. `priority` is that of whoever asked first. */
  | { readonly kind: "initializing"; readonly priority: Priority }
  | { readonly kind: "available"; readonly certificate: CertifiedKey }
  /** `held` expired before the CA failed. It is kept: the clock that says so may be wrong, and be set right. */
  | {
    readonly kind: "unavailable";
    readonly error: IdentityError;
    readonly held: CertifiedKey | null;
  };

/** All that decides what happens next to one identity. */
export interface Standing {
  readonly state: CertificateState;
  /** Failures since the last certificate. */
  readonly retry: Retry | null;
  /** Certificates in a row that were past their refresh time when they came. */
  readonly early: Retry | null;
}

/** The moment of an answer. */
export interface Moment {
  readonly nowMs: number;
  readonly wallMs: number;
  /** 0 to less than 1, for jitter. */
  readonly draw: number;
}

/** What an answer leads to: the new standing, and how long until the CA is asked again. */
export interface Step extends Standing {
  readonly waitMs: number;
}

/** The certificate at hand, valid or not. */
export function heldBy(state: CertificateState): CertifiedKey | null {
  if (state.kind === "available") return state.certificate;
  return state.kind === "unavailable" ? state.held : null;
}

/** What a fetch is told at once; null: it waits. */
export function fetchOutcome(
  state: CertificateState,
  wallMs: number,
): CertifiedKey | IdentityError | null {
  const held = heldBy(state);
  if (held !== null && !isExpired(held, wallMs)) return held;
  if (state.kind === "unavailable") return state.error;
  if (held === null) return null;
  return new IdentityError(
    "CERTIFICATE_EXPIRED",
    `the certificate has expired at ${timeText(held.notAfterMs)}`,
  );
}

/** When the certificate should be replaced, epoch ms: half its life, or its end where that lies before its start. */
export function refreshAtMs({ notBeforeMs, notAfterMs }: CertifiedKey): number {
  return notAfterMs < notBeforeMs ? notAfterMs : notBeforeMs + (notAfterMs - notBeforeMs) / 2;
}

/**
 * The CA gave a certificate. One that has expired is a failure, and so is one that is not valid yet while one that is
 * valid is at hand: nothing that works is given up for it.
 */
export function afterIssue(before: Standing, issued: CertifiedKey, moment: Moment): Step {
  const refusal = refusalOf(issued, heldBy(before.state), moment.wallMs);
  if (refusal !== null) return afterFailure(before, refusal, moment);
  const state = { kind: "available", certificate: issued } as const;
  const { nowMs, wallMs, draw } = moment;
  const untilHalfMs = refreshAtMs(issued) - wallMs;
  if (untilHalfMs > 0) {
    // By a clock of ours that is behind the CA's, half life would come too late.
    const halfLifeMs = Math.abs(issued.notAfterMs - issued.notBeforeMs) / 2;
    const waitMs = Math.max(REFRESH_WAIT_MIN_MS, Math.min(untilHalfMs, halfLifeMs));
    return { state, retry: null, early: null, waitMs };
  }
  // A CA near its own end gives only such: asked again at once it would be asked without a pause.
  // Half of what is left leaves time for another attempt.
  const early = nextRetry(before.early, nowMs);
  const halfOfRestMs = (issued.notAfterMs - wallMs) / 2;
  const waitMs = Math.min(retryWaitMs(early, nowMs, draw), halfOfRestMs);
  return { state, retry: null, early, waitMs: Math.max(REFRESH_WAIT_MIN_MS, waitMs) };
}

/** The CA failed. A certificate that has not expired serves on, and the CA is asked again at its end at the latest. */
export function afterFailure(before: Standing, error: IdentityError, moment: Moment): Step {
  const { nowMs, wallMs, draw } = moment;
  const { early } = before;
  const retry = nextRetry(before.retry, nowMs);
  const waitMs = retryWaitMs(retry, nowMs, draw);
  const held = heldBy(before.state);
  if (held === null || isExpired(held, wallMs)) {
    return { state: { kind: "unavailable", error, held }, retry, early, waitMs };
  }
  const state = { kind: "available", certificate: held } as const;
  return { state, retry, early, waitMs: Math.min(waitMs, held.notAfterMs - wallMs) };
}

/** The state as the dump words it (§3.6): what a fetch would meet. */
export function stateText(state: CertificateState, wallMs: number): string {
  const outcome = fetchOutcome(state, wallMs);
  if (outcome === null) return "Initializing";
  return outcome instanceof IdentityError ? `Unavailable: ${outcome.message}` : "Available";
}

function refusalOf(
  issued: CertifiedKey,
  held: CertifiedKey | null,
  wallMs: number,
): IdentityError | null {
  const { notBeforeMs, notAfterMs } = issued;
  if (!Number.isFinite(notBeforeMs) || !Number.isFinite(notAfterMs)) {
    return new IdentityError("CERTIFICATE_TIMES", "the CA gave a certificate without valid times");
  }
  if (isExpired(issued, wallMs)) {
    return new IdentityError(
      "CERTIFICATE_EXPIRED",
      `the CA gave a certificate that has expired at ${timeText(notAfterMs)}`,
    );
  }
  const isHeldValid = held !== null && held.notBeforeMs <= wallMs && !isExpired(held, wallMs);
  if (notBeforeMs > wallMs && isHeldValid) {
    return new IdentityError(
      "CERTIFICATE_NOT_YET_VALID",
      `the CA gave a certificate that is not valid before ${timeText(notBeforeMs)}`,
    );
  }
  return null;
}

function isExpired({ notAfterMs }: CertifiedKey, wallMs: number): boolean {
  return notAfterMs <= wallMs;
}

function timeText(epochMs: number): string {
  const time = new Date(epochMs);
  return Number.isNaN(time.getTime()) ? `${epochMs} ms` : time.toISOString();
}
