// Certificates of all identities this process speaks for: asked for once, refreshed in time, shared by all who wait
// (spec/identity-and-inpod §3).
import { assert } from "../base/assert.ts";
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import type { Clock, Task, Timer } from "../base/clock.ts";
import { ProxyError } from "../base/errors.ts";
import { type Random, randomPoint } from "../base/random.ts";
import type { CertifiedKey, RotatingCertificateSource } from "../tls/certificate.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { CertificateAuthority } from "./authority.ts";
import {
  afterFailure,
  afterIssue,
  fetchOutcome,
  heldBy,
  REFRESH_WAIT_MIN_MS,
  refreshAtMs,
  type Standing,
  stateText,
} from "./certificate_state.ts";
import { IdentityError } from "./errors.ts";
import type { IdentityLog } from "./log.ts";
import { PRIORITY, type Priority, RequestQueue } from "./request_queue.ts";
import { RetiredKeys } from "./retired_keys.ts";

/** Requests that the CA has of us at one time. */
export const CA_REQUESTS_MAX = 8;
/** Identities known at one time: far above what a node can run. */
export const IDENTITIES_MAX = 10_000;
/** Callers that may wait for the first certificate of one identity; a further one is refused at once. */
export const CERTIFICATE_WAITERS_MAX = 10_000;
/** Prefetches that may wait for their turn; further ones are left to whoever needs them first. */
export const PREFETCH_QUEUE_MAX = 256;
/** Who may hear of one identity's rotations: the data planes that speak for it elsewhere. */
export const ROTATION_LISTENERS_MAX = 64;
/** How often the wall clock is looked at: a step is noticed after so long at the latest. */
export const WALL_CHECK_MS = 30_000;
/** A wall clock that has moved less than this against the steady one was not set. */
export const CLOCK_STEP_MIN_MS = 1000;

const SCOPE = "ztunnel::identity::manager";

/** A dump's row. */
export interface DumpedCertificate {
  readonly identity: SpiffeId;
  /** `Available`, `Initializing` or `Unavailable: <error>`. */
  readonly state: string;
  /** Null unless available. */
  readonly current: CertifiedKey | null;
}

export interface CertificateManagerOptions {
  readonly authority: CertificateAuthority;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: IdentityLog;
  /** Requests at one time, 1 or more. */
  readonly slots?: number;
}

interface Waiter extends Cancel {
  done: Done<CertifiedKey> | null;
}

interface Entry {
  readonly identity: SpiffeId;
  readonly waiters: Set<Waiter>;
  standing: Standing;
  /** No refresh before, whatever the wall clock does. In ms of the clock that never jumps. */
  refreshMinMs: number;
  /** Somebody wanted it anew while a request was under way: its answer may be of before. */
  isOutdated: boolean;
}

interface Listener {
  readonly hear: (certificate: CertifiedKey) => void;
}

/**
 * One per process. Each identity has one request under way or in the queue at any time, from the first fetch until it
 * is forgotten. Hand out {@link source}s, never the manager: whoever has one gets one identity and no other (§1.2).
 */
export class CertificateManager {
  readonly #authority: CertificateAuthority;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: IdentityLog;
  readonly #slots: number;
  /** By SPIFFE text. */
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #queue = new RequestQueue();
  readonly #inFlight = new Set<string>();
  readonly #retired: RetiredKeys;
  readonly #stop = new AbortController();
  #timer: Timer | null = null;
  #timerDueMs = Infinity;
  /** The wall clock less the steady one, when it was last set. */
  #wallOffsetMs: number;

  constructor(options: CertificateManagerOptions) {
    const { authority, clock, random, log, slots = CA_REQUESTS_MAX } = options;
    assert(Number.isInteger(slots) && slots >= 1, "Without a slot nothing is ever asked for");
    this.#authority = authority;
    this.#clock = clock;
    this.#random = random;
    this.#log = log;
    this.#slots = slots;
    this.#retired = new RetiredKeys(clock);
    this.#wallOffsetMs = clock.wallMs() - clock.nowMs();
  }

  /** What the listeners of one workload get: its own identity, fetched because a connection needs it. */
  source(identity: SpiffeId): RotatingCertificateSource {
    return {
      identity,
      get: (done) => this.fetch(identity, PRIORITY.realTime, done),
      onRotate: (hear) => this.#listen(identity, hear),
    };
  }

  /**
   * Gives the certificate, or waits for the first one. Answered in a turn of its own; fails with the stored error
   * while the CA fails, and with `CERTIFICATE_EXPIRED` after the end of a certificate that could not be replaced.
   */
  fetch(identity: SpiffeId, priority: Priority, done: Done<CertifiedKey>): Cancel {
    const entry = this.#entries.get(identity.uri) ?? this.#enter(identity, priority);
    if (entry instanceof IdentityError) return this.#refuse(entry, done);
    const outcome = fetchOutcome(entry.standing.state, this.#clock.wallMs());
    if (outcome === null) return this.#wait(entry, priority, done);
    const waiter: Waiter = { done, cancel: () => void (waiter.done = null) };
    this.#clock.soon(answer(waiter, outcome));
    if (outcome instanceof IdentityError) this.#noticeStep();
    return waiter;
  }

  /** Asks for a certificate that a connection will need soon. Nothing to do where the identity is known. */
  prefetch(identity: SpiffeId): void {
    if (this.#entries.has(identity.uri)) return;
    const refusal = this.#queue.count(PRIORITY.warmup) >= PREFETCH_QUEUE_MAX
      ? new IdentityError("PREFETCH_QUEUE_MAX", `${PREFETCH_QUEUE_MAX} prefetches wait already`)
      : this.#enter(identity, PRIORITY.warmup);
    if (!(refusal instanceof IdentityError) || this.#stop.signal.aborted) return;
    this.#log("warn", SCOPE, "certificate is not fetched in advance", {
      identity: identity.uri,
      error: refusal.message,
    });
  }

  /**
   * What vouches for certificates has changed: asks for each of them anew, as soon as slots are free, and once more where
   * a request is under way. Those at hand serve on until then. Waits after failures end, too: the CA may have failed only
   * because it was not trusted.
   */
  renewAll(): void {
    const nowMs = this.#clock.nowMs();
    for (const entry of this.#entries.values()) {
      const queued = this.#queue.get(entry.identity.uri);
      if (queued === null) {
        entry.isOutdated = true;
        continue;
      }
      const dueMs = Math.max(entry.refreshMinMs, nowMs);
      if (dueMs < queued.dueMs) this.#queue.put({ ...queued, dueMs });
    }
    this.#dispatch();
  }

  /** No workload here has this identity any longer. Who waits is told; who comes later starts over. */
  forget(identity: SpiffeId): void {
    const entry = this.#entries.get(identity.uri);
    if (entry === undefined) return;
    this.#entries.delete(identity.uri);
    this.#queue.remove(identity.uri);
    this.#retire(heldBy(entry.standing.state));
    this.#answerAll(entry, noLongerNeeded());
    this.#arm();
  }

  /** Sorted by identity. */
  dump(): readonly DumpedCertificate[] {
    const wallMs = this.#clock.wallMs();
    return [...this.#entries.values()]
      .sort((a, b) => a.identity.uri < b.identity.uri ? -1 : 1)
      .map(({ identity, standing: { state } }) => {
        const outcome = fetchOutcome(state, wallMs);
        const current = outcome instanceof IdentityError ? null : outcome;
        return { identity, state: stateText(state, wallMs), current };
      });
  }

  /** Ends requests and refreshes, tells who waits, wipes every key: whoever uses them must have ended. Idempotent. */
  close(): void {
    this.#stop.abort(noLongerNeeded());
    this.#queue.clear();
    for (const { identity } of [...this.#entries.values()]) this.forget(identity);
    this.#retired.close();
    this.#listeners.clear();
  }

  #enter(identity: SpiffeId, priority: Priority): Entry | IdentityError {
    if (this.#stop.signal.aborted) return noLongerNeeded();
    if (this.#entries.size >= IDENTITIES_MAX) {
      return new IdentityError("IDENTITIES_MAX", `${IDENTITIES_MAX} identities are known already`);
    }
    const entry: Entry = {
      identity,
      waiters: new Set(),
      standing: { state: { kind: "initializing", priority }, retry: null, early: null },
      refreshMinMs: 0,
      isOutdated: false,
    };
    this.#entries.set(identity.uri, entry);
    // After a forget, the request from before it may be under way still: its answer does.
    if (!this.#inFlight.has(identity.uri)) this.#request(entry, priority, 0);
    this.#dispatch();
    return entry;
  }

  #wait(entry: Entry, priority: Priority, done: Done<CertifiedKey>): Cancel {
    if (entry.waiters.size >= CERTIFICATE_WAITERS_MAX) {
      const message = `${CERTIFICATE_WAITERS_MAX} callers wait for a certificate already`;
      return this.#refuse(new IdentityError("CERTIFICATE_WAITERS_MAX", message), done);
    }
    const waiter: Waiter = {
      done,
      cancel: () => {
        waiter.done = null;
        entry.waiters.delete(waiter);
      },
    };
    entry.waiters.add(waiter);
    const queued = this.#queue.get(entry.identity.uri);
    if (queued !== null && queued.priority < priority) this.#queue.put({ ...queued, priority });
    return waiter;
  }

  #refuse(error: IdentityError, done: Done<CertifiedKey>): Cancel {
    this.#clock.soon({ runTask: () => done(error) });
    return NOTHING_TO_CANCEL;
  }

  #listen({ uri }: SpiffeId, hear: Listener["hear"]): Cancel {
    const listeners = this.#listeners.get(uri) ?? new Set();
    assert(listeners.size < ROTATION_LISTENERS_MAX, "Data planes of one identity are few");
    this.#listeners.set(uri, listeners);
    const listener = { hear };
    listeners.add(listener);
    return {
      cancel: () => {
        listeners.delete(listener);
        if (listeners.size === 0 && this.#listeners.get(uri) === listeners) {
          this.#listeners.delete(uri);
        }
      },
    };
  }

  #request({ identity }: Entry, priority: Priority, waitMs: number): void {
    this.#queue.put({ key: identity.uri, priority, dueMs: this.#clock.nowMs() + waitMs });
  }

  /** Starts what is due, as far as slots are free. */
  #dispatch(): void {
    while (this.#inFlight.size < this.#slots) {
      const next = this.#queue.take(this.#clock.nowMs());
      if (next === null) break;
      const { identity } = this.#entries.get(next.key)!;
      this.#inFlight.add(next.key);
      void this.#ask(identity);
    }
    this.#arm();
  }

  /** Never rejects. */
  async #ask(identity: SpiffeId): Promise<void> {
    let outcome: CertifiedKey | IdentityError;
    try {
      outcome = await this.#authority.issue(identity, this.#stop.signal);
    } catch (thrown) {
      outcome = asIdentityError(thrown);
    }
    this.#inFlight.delete(identity.uri);
    const entry = this.#entries.get(identity.uri);
    if (entry !== undefined) this.#apply(entry, outcome);
    else if (!(outcome instanceof IdentityError)) outcome.key.wipe();
    if (!this.#stop.signal.aborted) this.#dispatch();
  }

  #apply(entry: Entry, outcome: CertifiedKey | IdentityError): void {
    const [nowMs, wallMs] = [this.#clock.nowMs(), this.#clock.wallMs()];
    const moment = { nowMs, wallMs, draw: randomPoint(this.#random, 1) };
    const before = heldBy(entry.standing.state);
    const step = outcome instanceof IdentityError
      ? afterFailure(entry.standing, outcome, moment)
      : afterIssue(entry.standing, outcome, moment);
    const { waitMs: stepWaitMs, ...standing } = step;
    const waitMs = entry.isOutdated ? Math.min(stepWaitMs, REFRESH_WAIT_MIN_MS) : stepWaitMs;
    entry.isOutdated = false;
    entry.standing = standing;
    entry.refreshMinMs = nowMs + REFRESH_WAIT_MIN_MS;
    this.#request(entry, PRIORITY.background, waitMs);
    const held = heldBy(standing.state);
    if (held !== before) this.#retire(before);
    if (!(outcome instanceof IdentityError)) {
      if (held === outcome) this.#tellOf(outcome);
      else outcome.key.wipe(); // Refused: nobody has seen it.
    }
    this.#logStep(entry, outcome, waitMs);
    this.#answerAll(entry, fetchOutcome(standing.state, wallMs)!);
  }

  #tellOf(certificate: CertifiedKey): void {
    const listeners = this.#listeners.get(certificate.identity.uri);
    if (listeners === undefined) return;
    this.#clock.soon({
      runTask: () => {
        for (const listener of [...listeners]) {
          if (listeners.has(listener)) listener.hear(certificate);
        }
      },
    });
  }

  #logStep(
    { identity, standing: { state, retry } }: Entry,
    outcome: CertifiedKey | IdentityError,
    waitMs: number,
  ): void {
    const about = { identity: identity.uri, next_request_seconds: Math.round(waitMs / 1000) };
    if (retry === null) return this.#log("debug", SCOPE, "certificate issued", about);
    const error = outcome instanceof IdentityError
      ? outcome.message
      : state.kind === "unavailable"
      ? state.error.message
      : "the CA gave a certificate that is not valid now";
    const kept = state.kind === "available";
    const text = kept
      ? "certificate request failed, the certificate at hand serves on"
      : "certificate request failed";
    this.#log("warn", SCOPE, text, { ...about, error, failures: retry.failures });
  }

  #answerAll(entry: Entry, outcome: CertifiedKey | IdentityError): void {
    for (const waiter of entry.waiters) this.#clock.soon(answer(waiter, outcome));
    entry.waiters.clear();
  }

  #retire(certificate: CertifiedKey | null): void {
    if (certificate !== null) this.#retired.add(certificate.key);
  }

  /** A wall clock that was set makes certificates due sooner; the other direction changes nothing. */
  #noticeStep(): void {
    const [nowMs, wallMs] = [this.#clock.nowMs(), this.#clock.wallMs()];
    const movedMs = wallMs - nowMs - this.#wallOffsetMs;
    if (Math.abs(movedMs) < CLOCK_STEP_MIN_MS) return;
    this.#wallOffsetMs += movedMs;
    this.#log("info", SCOPE, "the system's time has changed", {
      seconds: Math.round(movedMs / 1000),
    });
    for (const { identity: { uri: key }, standing, refreshMinMs } of this.#entries.values()) {
      const held = heldBy(standing.state);
      const queued = this.#queue.get(key);
      // Waits after a failure are short, whatever the time.
      if (held === null || queued === null || standing.retry !== null) continue;
      const dueMs = Math.max(refreshMinMs, nowMs + refreshAtMs(held) - wallMs);
      if (dueMs < queued.dueMs) this.#queue.put({ ...queued, dueMs });
    }
    this.#dispatch();
  }

  /** One timer: for the next request that could start, and to look at the wall clock. */
  #arm(): void {
    if (this.#entries.size === 0) {
      this.#timer?.cancel();
      this.#timer = null;
      return;
    }
    const nowMs = this.#clock.nowMs();
    const startMs = this.#inFlight.size < this.#slots ? this.#queue.nextDueMs : Infinity;
    const dueMs = Math.min(startMs, nowMs + WALL_CHECK_MS);
    if (this.#timer !== null && this.#timerDueMs <= dueMs) return;
    this.#timer?.cancel();
    this.#timerDueMs = dueMs;
    this.#timer = this.#clock.after(Math.max(0, dueMs - nowMs), () => {
      this.#timer = null;
      this.#noticeStep();
      this.#dispatch();
    });
  }
}

function answer(waiter: Waiter, outcome: CertifiedKey | IdentityError): Task {
  return {
    runTask: () => {
      const { done } = waiter;
      waiter.done = null;
      done?.(outcome);
    },
  };
}

function noLongerNeeded(): IdentityError {
  return new IdentityError("IDENTITY_FORGOTTEN", "the identity is no longer needed");
}

function asIdentityError(thrown: unknown): IdentityError {
  if (thrown instanceof IdentityError) return thrown;
  if (thrown instanceof ProxyError) {
    return new IdentityError(thrown.code, thrown.message, { cause: thrown });
  }
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new IdentityError("CA_FAILED", `failed to create certificate: ${reason}`, {
    cause: thrown,
  });
}
