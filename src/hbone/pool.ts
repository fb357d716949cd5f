// Connections to HBONE peers, shared by requests that may share them (spec/data-path §2.8, rows P1-P15).
import type { SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import type { Cancel, Done } from "../base/channel.ts";
import type { Task, Timer } from "../base/clock.ts";
import { DeadlineError, ProxyError } from "../base/errors.ts";
import { Roster } from "../base/roster.ts";
import type { H2Stream, HeaderList } from "../h2/types.ts";
import { DialError, type PeerSecurity, type SecureChannel } from "../net/network.ts";
import type { CertifiedKey } from "../tls/certificate.ts";
import { rejectedServer } from "../tls/errors.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import { type AcceptedConnect, openTunnel } from "./client.ts";
import { ClientConnection, type ClientConnectionOwner } from "./client_connection.ts";
import {
  IdentityFailure,
  IoFailure,
  LimitReached,
  NetworkPolicyTimeout,
  type PathError,
  PeerRevoked,
  PoolDraining,
  TlsSetupFailure,
} from "./errors.ts";
import { type DataPlaneParts, sourceFor } from "./parts.ts";

/** A tunnel wanted: which connection would do, and the CONNECT to send on it. */
export interface TunnelRequest {
  readonly peer: SocketAddress;
  /** The peer must show one of these (W5); the order belongs to the key (P2). */
  readonly expected: readonly SpiffeId[];
  /** The application's address: never shared between sources (P2). */
  readonly sourceIp: string;
  /** See `connectHeaders`. */
  readonly headers: HeaderList;
}

/** A tunnel that was accepted with 200. The receiver owns the stream. */
export interface Tunnel {
  readonly stream: H2Stream;
  readonly headers: HeaderList;
  /** What it is a stream of; not the receiver's to end. */
  readonly connection: ClientConnection;
}

export interface PoolStats {
  /** Connections alive, whether pooled, only finishing their streams, or inside a stream of another. */
  readonly connections: number;
  readonly pooled: number;
  readonly openStreams: number;
  /** Payload received and waiting in the windows of all connections. */
  readonly heldBytes: number;
  /** Keys with a pooled connection, an attempt or a waiter. */
  readonly keys: number;
  readonly attempts: number;
  readonly waiting: number;
}

/** The key of P2 as unambiguous text. */
export function poolKey(source: SpiffeId, request: TunnelRequest): string {
  const { peer, sourceIp, expected } = request;
  // Addresses have no spaces, and each name is told from the next by its length.
  let key = `${peer.ip} ${peer.port} ${sourceIp} ${source.uri.length} ${source.uri}`;
  for (const { uri } of expected) key += ` ${uri.length} ${uri}`;
  return key;
}

/** A connection that others may use, and when it was used last (P9). */
interface Pooled {
  readonly connection: ClientConnection;
  usedAtMs: number;
  idleTimer: Timer;
}

/** One connection attempt: certificate, then TCP and TLS. */
interface Attempt {
  /** Who fails with it; the others try again on their own (P11). */
  readonly owner: Request;
  step: Cancel;
  timer: Timer | null;
}

/** Everything about one key. Exists while any of its fields holds something. */
interface Group {
  readonly key: string;
  readonly pooled: Pooled[];
  readonly waiting: Set<Request>;
  attempt: Attempt | null;
}

/**
 * The pool of one listener of one data plane (P1). Tells nobody but the requester of failures and caches none.
 * The whole of it ends with {@link stop}.
 */
export class HbonePool implements ClientConnectionOwner {
  readonly #parts: DataPlaneParts;
  readonly #groups = new Map<string, Group>();
  readonly #connections = new Roster<ClientConnection>();
  /** Pooled ones, least recently used first (P10). */
  readonly #pooled = new Map<ClientConnection, Pooled>();
  /** The last one of {@link #pooled}, or one that left it since. */
  #latest: ClientConnection | null = null;
  #waiting = 0;
  #attempts = 0;
  #stopped = false;
  #isCut = false;
  #onQuiet: (() => void) | null = null;

  constructor(parts: DataPlaneParts) {
    this.#parts = parts;
  }

  get stats(): PoolStats {
    let openStreams = 0;
    let heldBytes = 0;
    for (const { h2 } of this.#connections.members()) {
      openStreams += h2.openStreams;
      heldBytes += h2.heldBytes;
    }
    return {
      connections: this.#connections.size,
      pooled: this.#pooled.size,
      openStreams,
      heldBytes,
      keys: this.#groups.size,
      attempts: this.#attempts,
      waiting: this.#waiting,
    };
  }

  /** Opens a tunnel on a pooled connection, or on a new one. Errors are `PathError`. */
  connect(request: TunnelRequest, done: Done<Tunnel>): Cancel {
    const pending = new Request(this, this.#parts, request, done);
    if (this.#stopped) {
      pending.failSoon(new PoolDraining());
      return pending;
    }
    const group = this.#group(poolKey(this.#parts.certificates.identity, request));
    const connection = group.waiting.size === 0 ? this.#take(group) : null;
    if (connection !== null) {
      this.#use(group, connection, pending);
    } else if (this.#waiting >= this.#parts.limits.poolWaitersMax) {
      const { poolWaitersMax } = this.#parts.limits;
      pending.failSoon(
        new LimitReached(
          "POOL_WAITERS_FULL",
          `no room to wait for a connection: ${poolWaitersMax} others are waiting`,
        ),
      );
      this.#forgetIfEmpty(group);
    } else {
      this.#enqueue(group, pending);
      if (group.attempt === null) this.#startAttempt(group, pending);
    }
    return pending;
  }

  /**
   * Starts HTTP/2 on a channel inside a stream of `carrier` (spec/data-path §1.11): revoked, drained and counted as the
   * pool's other connections are, and shared with nobody. Takes the channel over. Not after {@link stop}.
   */
  adopt(channel: SecureChannel, carrier: ClientConnection): ClientConnection {
    assert(!this.#stopped, "Nothing begins in a pool that ends");
    const connection = new ClientConnection(channel, { key: null, carrier }, this.#parts, this);
    this.#connections.add(connection);
    return connection;
  }

  /** Drops every connection whose peer the predicate names, streams included (W28); says how many. */
  revoke(isRevoked: (peer: PeerSecurity) => boolean): number {
    let dropped = 0;
    for (const connection of this.#connections.members()) {
      if (!isRevoked(connection.security)) continue;
      this.#leave(connection);
      connection.abort(new PeerRevoked());
      dropped++;
    }
    return dropped;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /**
   * Ends the pool (P14): waiting requests fail, attempts are cancelled, connections with streams are dropped without
   * GOAWAY (W28). Those without end in order, since the last bytes of their last streams may still be on their
   * way, in the stream of another connection perhaps; {@link cut} does not wait for that. `onQuiet` is called once nothing is left, in a later turn. Once only.
   */
  stop(onQuiet: () => void): void {
    assert(!this.#stopped, "A pool is stopped once");
    this.#stopped = true;
    this.#onQuiet = onQuiet;
    for (const group of [...this.#groups.values()]) {
      this.#endAttempt(group, { cancel: true });
      for (const pending of [...group.waiting]) {
        this.#dequeue(group, pending);
        pending.failSoon(new PoolDraining());
      }
      this.#forgetIfEmpty(group);
    }
    for (const connection of this.#connections.members()) {
      this.#leave(connection);
      if (this.#isCut || connection.occupied) connection.abort(new PoolDraining());
      else connection.release();
    }
    this.#parts.clock.soon({ runTask: () => this.#reportQuiet() });
  }

  /** The time for an orderly end is over, also for connections that {@link stop} is yet to find. Idempotent. */
  cut(): void {
    this.#isCut = true;
    if (!this.#stopped) return;
    for (const connection of this.#connections.members()) connection.abort(new PoolDraining());
  }

  onConnectionRetired(connection: ClientConnection): void {
    this.#leave(connection);
    connection.release();
  }

  onConnectionClosed(connection: ClientConnection): void {
    this.#leave(connection);
    this.#connections.delete(connection);
    this.#reportQuiet();
  }

  /** For {@link Request} only: it no longer waits for a connection. */
  abandon(pending: Request): void {
    const group = pending.group;
    if (group === null) return;
    this.#dequeue(group, pending);
    if (group.waiting.size === 0) this.#endAttempt(group, { cancel: true });
    this.#forgetIfEmpty(group);
  }

  #reportQuiet(): void {
    if (!this.#stopped || this.#connections.size > 0) return;
    const onQuiet = this.#onQuiet;
    this.#onQuiet = null;
    onQuiet?.();
  }

  #group(key: string): Group {
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { key, pooled: [], waiting: new Set(), attempt: null };
      this.#groups.set(key, group);
    }
    return group;
  }

  /** Groups hold memory for as long as they hold something else (Q4 of the spec, not copied). */
  #forgetIfEmpty(group: Group): void {
    if (group.attempt === null && group.pooled.length === 0 && group.waiting.size === 0) {
      this.#groups.delete(group.key);
    }
  }

  #enqueue(group: Group, pending: Request): void {
    group.waiting.add(pending);
    this.#waiting++;
    pending.waitIn(group);
  }

  #dequeue(group: Group, pending: Request): void {
    if (!group.waiting.delete(pending)) return;
    this.#waiting--;
    pending.waitOver();
  }

  /** A pooled connection that takes another stream; those that do not are thrown out on the way (P5). */
  #take(group: Group): ClientConnection | null {
    for (;;) {
      const pooled = group.pooled.at(-1);
      if (pooled === undefined) return null;
      if (pooled.connection.usable) return pooled.connection;
      this.#unpool(group, pooled); // The group stays known: whoever asks is about to use it.
      pooled.connection.release();
    }
  }

  /** Opens the stream, then keeps the connection unless this stream filled it (P7). */
  #use(group: Group, connection: ClientConnection, pending: Request): void {
    pending.open(connection);
    if (connection.full) {
      this.#leave(connection);
      connection.release();
      return;
    }
    const nowMs = this.#parts.clock.nowMs();
    const known = this.#pooled.get(connection);
    if (known !== undefined) {
      known.usedAtMs = nowMs;
      if (this.#latest !== connection) {
        this.#pooled.delete(connection);
        this.#pooled.set(connection, known);
        this.#latest = connection;
      }
      return;
    }
    const pooled: Pooled = { connection, usedAtMs: nowMs, idleTimer: this.#idleTimer(connection) };
    this.#pooled.set(connection, pooled);
    this.#latest = connection;
    group.pooled.push(pooled);
    if (this.#pooled.size > this.#parts.limits.poolConnectionsMax) {
      const oldest = this.#pooled.keys().next().value!;
      this.#leave(oldest);
      oldest.release();
    }
  }

  #idleTimer(connection: ClientConnection, delayMs = this.#parts.limits.poolIdleMs): Timer {
    return this.#parts.clock.after(delayMs, () => {
      const pooled = this.#pooled.get(connection);
      if (pooled === undefined) return;
      const restMs = pooled.usedAtMs + this.#parts.limits.poolIdleMs - this.#parts.clock.nowMs();
      if (restMs > 0) {
        pooled.idleTimer = this.#idleTimer(connection, restMs);
        return;
      }
      this.#leave(connection);
      connection.release();
    });
  }

  /** Takes a connection out of the pool, for good (P7, P9). Its streams go on. */
  #leave(connection: ClientConnection): void {
    const pooled = this.#pooled.get(connection);
    if (pooled === undefined) return;
    const group = this.#groups.get(connection.role.key!);
    assert(group !== undefined, "A pooled connection's key is known");
    this.#unpool(group, pooled);
    this.#forgetIfEmpty(group);
  }

  #unpool(group: Group, pooled: Pooled): void {
    this.#pooled.delete(pooled.connection);
    if (this.#latest === pooled.connection) this.#latest = null;
    pooled.idleTimer.cancel();
    const at = group.pooled.indexOf(pooled);
    assert(at >= 0, "A pooled connection is in its group");
    group.pooled.splice(at, 1);
  }

  #startAttempt(group: Group, owner: Request): void {
    const { certificates, clock, limits } = this.#parts;
    const attempt: Attempt = {
      owner,
      step: certificates.get((outcome) => this.#onCertificate(group, attempt, outcome)),
      timer: clock.after(limits.certificateMsMax, () => {
        attempt.step.cancel();
        this.#attemptFailed(group, new IdentityFailure(new DeadlineError()));
      }),
    };
    group.attempt = attempt;
    this.#attempts++;
  }

  /** Forgets the attempt; with `cancel` also stops it. */
  #endAttempt(group: Group, { cancel }: { readonly cancel: boolean }): void {
    const attempt = group.attempt;
    if (attempt === null) return;
    group.attempt = null;
    this.#attempts--;
    attempt.timer?.cancel();
    if (cancel) attempt.step.cancel();
  }

  #onCertificate(group: Group, attempt: Attempt, outcome: CertifiedKey | ProxyError): void {
    assert(group.attempt === attempt, "A cancelled step calls nobody");
    attempt.timer?.cancel();
    attempt.timer = null;
    if (outcome instanceof ProxyError) {
      this.#attemptFailed(group, new IdentityFailure(outcome));
      return;
    }
    try {
      this.#dial(group, attempt, outcome);
    } catch (thrown) {
      this.#attemptFailed(group, this.#parts.faults.caught(thrown, "hbone/pool"));
    }
  }

  #dial(group: Group, attempt: Attempt, certificate: CertifiedKey): void {
    const { network, limits, settings } = this.#parts;
    const { peer, expected } = attempt.owner.request;
    attempt.step = network.dialSecure(peer, {
      timeoutMs: limits.connectMsMax,
      keepalive: settings.keepalive,
      userTimeoutMs: settings.userTimeoutMs,
      sourceIp: sourceFor(settings, peer.ip),
      tls: { certificate, expected, timeoutMs: limits.handshakeMsMax },
    }, (secured) => this.#onSecured(group, attempt, secured));
  }

  #onSecured(group: Group, attempt: Attempt, outcome: SecureChannel | ProxyError): void {
    assert(group.attempt === attempt, "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) {
      this.#attemptFailed(group, dialFailure(outcome));
      return;
    }
    const revoked = this.#parts.network.revocation.findRevoked(outcome.security.peerPath, "server");
    if (revoked !== null) {
      outcome.reset(null); // The lists changed while its handshake was under way.
      this.#attemptFailed(group, new IoFailure(rejectedServer(revoked)));
      return;
    }
    let connection: ClientConnection;
    try {
      connection = new ClientConnection(
        outcome,
        { key: group.key, carrier: null },
        this.#parts,
        this,
      );
    } catch (thrown) {
      const error = this.#parts.faults.caught(thrown, "hbone/pool");
      outcome.reset(error);
      this.#attemptFailed(group, error);
      return;
    }
    this.#endAttempt(group, { cancel: false });
    this.#connections.add(connection);
    this.#serve(group, connection);
  }

  /** The first stream of a new connection may be opened whatever the peer's limit; then the others come. */
  #serve(group: Group, fresh: ClientConnection): void {
    let connection: ClientConnection | null = fresh;
    for (const pending of [...group.waiting]) {
      if (connection === null) {
        this.#startAttempt(group, pending);
        return;
      }
      this.#dequeue(group, pending);
      this.#use(group, connection, pending);
      connection = this.#take(group);
    }
    if (fresh.h2.openStreams === 0) fresh.release();
    this.#forgetIfEmpty(group);
  }

  /** Fails the owner, if it still waits; the next in line tries on its own (P11). */
  #attemptFailed(group: Group, error: PathError): void {
    const owner = group.attempt!.owner;
    this.#endAttempt(group, { cancel: false });
    if (group.waiting.has(owner)) {
      this.#dequeue(group, owner);
      owner.fail(error);
    }
    const next = group.waiting.values().next().value;
    if (next !== undefined && group.attempt === null) this.#startAttempt(group, next);
    this.#forgetIfEmpty(group);
  }
}

/** Tells the phases of `dialSecure` apart for the access log (P12, spec/config-and-observability §7.6). */
function dialFailure(error: ProxyError): PathError {
  if (!(error instanceof DialError)) return new IoFailure(error);
  const { phase, cause } = error;
  const timedOut = cause.code === "DEADLINE_ELAPSED" || cause.code === "ETIMEDOUT";
  if (phase === "connect" && timedOut) return new NetworkPolicyTimeout(cause);
  return cause.code === "TLS_MATERIAL" ? new TlsSetupFailure(cause) : new IoFailure(cause);
}

type RequestState =
  | { readonly kind: "new" }
  | { readonly kind: "waiting"; readonly group: Group; readonly timer: Timer }
  | { readonly kind: "opening"; readonly cancel: Cancel }
  | { readonly kind: "over" };

/** One call of {@link HbonePool.connect}. */
class Request implements Cancel, Task {
  readonly request: TunnelRequest;
  readonly #pool: HbonePool;
  readonly #parts: DataPlaneParts;
  readonly #done: Done<Tunnel>;
  #state: RequestState = { kind: "new" };
  #failure: PathError | null = null;

  constructor(
    pool: HbonePool,
    parts: DataPlaneParts,
    request: TunnelRequest,
    done: Done<Tunnel>,
  ) {
    this.#pool = pool;
    this.#parts = parts;
    this.request = request;
    this.#done = done;
  }

  get group(): Group | null {
    return this.#state.kind === "waiting" ? this.#state.group : null;
  }

  waitIn(group: Group): void {
    const timer = this.#parts.clock.after(this.#parts.limits.poolWaitMsMax, () => {
      this.#pool.abandon(this);
      this.fail(new IoFailure(new DeadlineError()));
    });
    this.#state = { kind: "waiting", group, timer };
  }

  waitOver(): void {
    assert(this.#state.kind === "waiting", "Only a waiting request stops waiting");
    this.#state.timer.cancel();
    this.#state = { kind: "new" };
  }

  /** Sends the CONNECT; the outcome goes to the requester. */
  open(connection: ClientConnection): void {
    const cancel = openTunnel(
      connection.h2,
      this.request.headers,
      this.#parts,
      (outcome: AcceptedConnect | ProxyError) => {
        this.#state = { kind: "over" };
        this.#done(
          outcome instanceof ProxyError
            ? outcome
            : { stream: outcome.stream, headers: outcome.headers, connection },
        );
      },
    );
    this.#state = { kind: "opening", cancel };
  }

  /** Reports a failure, from a turn of its own. */
  fail(error: PathError): void {
    this.#state = { kind: "over" };
    try {
      this.#done(error);
    } catch (thrown) {
      this.#parts.faults.caught(thrown, "hbone/pool");
    }
  }

  failSoon(error: PathError): void {
    this.#failure = error;
    this.#parts.clock.soon(this);
  }

  runTask(): void {
    if (this.#state.kind !== "over") this.fail(this.#failure!);
  }

  cancel(): void {
    const state = this.#state;
    if (state.kind === "waiting") this.#pool.abandon(this);
    this.#state = { kind: "over" };
    if (state.kind === "opening") state.cancel.cancel();
  }
}
