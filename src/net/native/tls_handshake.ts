// One handshake under way: waits for our certificate, drives the session, and answers once.
import { assert } from "../../base/assert.ts";
import { ProxyError } from "../../base/errors.ts";
import type { Cancel } from "../../base/channel.ts";
import type { Task } from "../../base/clock.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import { rejectedClient, rejectedServer, TlsHandshakeError } from "../../tls/errors.ts";
import type { SecureAttempt } from "../secure_attempt.ts";
import type { CarrierOwner, TlsCarrier } from "./tls_carrier.ts";
import { TlsChannel, type TlsChannelShared } from "./tls_channel.ts";
import {
  clientHandshakeFailure,
  serverCarrierFailure,
  serverHandshakeFailure,
  type SessionFailure,
} from "./tls_failures.ts";
import { type TlsSession, WANTS_READ, WANTS_WRITE } from "./tls_session.ts";

/** What a handshake does with the engine it belongs to. */
export interface HandshakeOptions {
  readonly role: "client" | "server";
  readonly carrier: TlsCarrier;
  readonly attempt: SecureAttempt;
  readonly channels: TlsChannelShared;
  /** @throws {TlsHandshakeError} TLS_MATERIAL */
  readonly newSession: (certificate: CertifiedKey) => TlsSession;
}

/** Owns carrier and session until it hands both to a channel; frees them where the attempt ends otherwise. */
export class TlsHandshake implements CarrierOwner, Task {
  readonly #options: HandshakeOptions;
  #session: TlsSession | null = null;
  #waiting: Cancel | null = null;
  /** The library failed and may have told the peer: an alert must not be overtaken by RST. */
  #alerted = false;

  constructor(options: HandshakeOptions) {
    this.#options = options;
    options.attempt.destroy = () => this.#destroy();
  }

  /** Listens for what happens below, so that a peer that leaves early is noticed. */
  watch(): void {
    const { carrier, attempt, channels } = this.#options;
    try {
      carrier.watch(this);
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error;
      channels.loop.clock.soon({ runTask: () => attempt.fail(error) });
    }
  }

  /** Begins as soon as `waiting` gives a certificate to {@link begin}. */
  waitFor(waiting: Cancel): void {
    if (this.#options.attempt.over) waiting.cancel();
    else this.#waiting = waiting;
  }

  /** In a turn of the loop, not inside a call of the owner's. */
  begin(certificate: CertifiedKey | ProxyError): void {
    const { attempt, carrier, newSession } = this.#options;
    this.#waiting = null;
    if (attempt.over) return;
    if (certificate instanceof ProxyError) return attempt.fail(certificate);
    try {
      this.#session = newSession(certificate);
      carrier.install(this.#session.ssl);
      this.#advance();
    } catch (error) {
      // Nobody above would end this attempt for a bug.
      if (error instanceof TlsHandshakeError) attempt.fail(error);
      else this.onFault(error);
    }
  }

  onCarrierReadable(): void {
    if (this.#session !== null) return this.#advance();
    // Nobody who has ended already can complete a handshake.
    const { carrier, attempt } = this.#options;
    if (carrier.ended && !attempt.over) attempt.fail(this.#failureOf({ kind: "eof" }));
  }

  onCarrierWritable(): void {
    if (this.#session !== null) this.#advance();
  }

  onFault(thrown: unknown): void {
    this.#options.channels.onBug(thrown);
    this.#options.attempt.fail(
      this.#failureOf({
        kind: "library",
        errors: [{ library: 0, reason: 0, text: "internal error" }],
      }),
    );
  }

  /** For a clock only. */
  runTask(): void {
    this.#advance();
  }

  #advance(): void {
    const { attempt, carrier } = this.#options;
    const session = this.#session;
    if (session === null || attempt.over) return;
    for (;;) {
      const outcome = session.handshake();
      carrier.flush(session.ssl);
      if (outcome === 1) return this.#succeed(session);
      if (outcome === WANTS_READ && carrier.refill()) continue;
      if (outcome === WANTS_READ || outcome === WANTS_WRITE) return;
      this.#alerted = true;
      return attempt.fail(this.#whyFailed(session));
    }
  }

  #succeed(session: TlsSession): void {
    const { attempt, carrier, channels } = this.#options;
    const { verdict } = session;
    assert(verdict !== null, "The library asks about every peer");
    // What our verdict did not accept never ends well, whatever the library says.
    if (verdict.kind === "rejected") return attempt.fail(this.#whyFailed(session));
    this.#session = null;
    attempt.destroy = () => {};
    attempt.succeed(
      new TlsChannel(session, carrier, {
        security: {
          peerIdentities: verdict.identities,
          alpn: session.alpn(),
          peerLeafSha256: verdict.leafSha256,
          peerPath: verdict.path,
          resumed: false,
        },
        shared: channels,
      }),
    );
  }

  #whyFailed(session: TlsSession): ProxyError {
    const { role } = this.#options;
    const { verdict, failure } = session;
    if (verdict?.kind === "rejected") {
      return role === "server" ? rejectedClient(verdict.error) : rejectedServer(verdict.error);
    }
    // Without a failure the peer ended in order, before it was anybody.
    return this.#failureOf(failure ?? { kind: "eof" });
  }

  #failureOf(failure: SessionFailure): ProxyError {
    const { role, carrier } = this.#options;
    // The carrier knows better why it ended.
    const below = failure.kind === "eof" ? carrier.failure : null;
    if (role === "server") {
      return below === null ? serverHandshakeFailure(failure) : serverCarrierFailure(below);
    }
    return below ?? clientHandshakeFailure(failure);
  }

  #destroy(): void {
    const { carrier } = this.#options;
    this.#waiting?.cancel();
    this.#waiting = null;
    if (this.#session !== null) {
      carrier.release(this.#session.ssl);
      this.#session.free();
      this.#session = null;
    }
    if (this.#alerted) carrier.close();
    else carrier.reset();
  }
}
