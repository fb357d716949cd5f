// TLS 1.3 on node:tls, both sides, with our own verdict on every peer (spec/deno-runtime §8).
import type { Socket } from "node:net";
import tls from "node:tls";
import type { SocketAddress } from "../../base/address.ts";
import type { Cancel, Channel, Done } from "../../base/channel.ts";
import type { Clock } from "../../base/clock.ts";
import { DeadlineError, ProxyError } from "../../base/errors.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import { rejectedClient, rejectedServer, TlsHandshakeError } from "../../tls/errors.ts";
import { ownTrustDomain } from "../../tls/names.ts";
import type { RevocationLists } from "../../tls/revocation.ts";
import type { PeerVerdict } from "../../tls/verdict.ts";
import { VerdictCache } from "../../tls/verdict_cache.ts";
import type {
  PeerSecurity,
  SecureChannel,
  SecureClientOptions,
  SecureServerOptions,
} from "../network.ts";
import { ChannelDuplex } from "./channel_duplex.ts";
import { clientHandshakeError, type RuntimeError, serverHandshakeError } from "./errors.ts";
import { HANDSHAKES_MAX, SecureAttempt, SecureAttempts } from "../secure_attempt.ts";
import { SocketCarrier, type TlsCarrier } from "./tls_carrier.ts";
import { SocketChannel, type SocketChannelOptions } from "./socket_channel.ts";

/** Pairs of own identity and peer's leaf remembered from full handshakes; the oldest goes first. */
export const INTRODUCTIONS_MAX = 4096;

/** A {@link SocketChannel} on a TLS session whose peer was accepted. */
export class TlsChannel extends SocketChannel implements SecureChannel {
  readonly security: PeerSecurity;

  constructor(socket: Socket, options: SocketChannelOptions, security: PeerSecurity) {
    super(socket, options);
    this.security = security;
  }
}

export interface TlsSessionsOptions {
  readonly clock: Clock;
  readonly revocation: RevocationLists;
  readonly onBug: (error: unknown) => void;
  readonly handshakesMax?: number;
  readonly introductionsMax?: number;
}

/** What carries the session: the bare socket, or a stream over some other channel. */
interface Carrier {
  readonly below: TlsCarrier;
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
}

/** TLS on top of channels, for one data plane. */
export class TlsSessions {
  readonly attempts: SecureAttempts;
  /** Accepted sessions that came in on a ticket, let in or not. */
  sessionsResumed = 0;
  readonly #clock: Clock;
  readonly #onBug: (error: unknown) => void;
  readonly #revocation: RevocationLists;
  readonly #verdicts = new VerdictCache();
  readonly #introductionsMax: number;
  readonly #introductions = new Set<string>();
  /** Kept as long as the certificate they are made from, which is per identity and generation. */
  readonly #contexts = new WeakMap<CertifiedKey, tls.SecureContext>();

  constructor(options: TlsSessionsOptions) {
    this.#clock = options.clock;
    this.#revocation = options.revocation;
    this.#onBug = options.onBug;
    this.#introductionsMax = options.introductionsMax ?? INTRODUCTIONS_MAX;
    this.attempts = new SecureAttempts(options.handshakesMax ?? HANDSHAKES_MAX);
  }

  server(channel: Channel, options: SecureServerOptions, done: Done<SecureChannel>): Cancel {
    const carrier = carry(channel, this.#clock);
    const attempt = this.#begin(carrier, {
      timeoutMs: options.timeoutMs,
      timeoutError: () =>
        new TlsHandshakeError(
          "HANDSHAKE_TIMEOUT",
          'Custom { kind: TimedOut, error: "deadline has elapsed" }',
        ),
      done,
    });
    // Until the TLS library has the socket nobody else listens for its errors.
    const early = (error: RuntimeError) => {
      if (!attempt.over) attempt.fail(serverHandshakeError(error));
    };
    carrier.below.stream.on("error", early);
    carrier.below.stream.on("close", () => early(HANG_UP));
    const waiting = options.certificates.get((certificate) => {
      if (attempt.over) return;
      if (certificate instanceof ProxyError) return attempt.fail(certificate);
      this.#accept(carrier, certificate, attempt);
    });
    const destroy = attempt.destroy;
    if (!attempt.over) {
      attempt.destroy = () => {
        waiting.cancel();
        destroy();
      };
    }
    return attempt;
  }

  client(channel: Channel, options: SecureClientOptions, done: Done<SecureChannel>): Cancel {
    const carrier = carry(channel, this.#clock);
    const { certificate, expected } = options;
    const attempt = this.#begin(carrier, {
      timeoutMs: options.timeoutMs,
      timeoutError: () => new DeadlineError(),
      done,
    });
    const fail = (error: RuntimeError) => {
      if (!attempt.over) attempt.fail(clientHandshakeError(error));
    };
    carrier.below.stream.on("error", fail);
    let session: tls.TLSSocket;
    try {
      session = tls.connect({
        socket: carrier.below.stream,
        // No server name: the peer's address says it all (spec/data-path W3).
        servername: "",
        secureContext: this.#context(certificate),
        ALPNProtocols: ["h2"],
        minVersion: "TLSv1.3",
        rejectUnauthorized: true,
        checkServerIdentity: () => undefined,
      });
    } catch (error) {
      this.#clock.soon({ runTask: () => attempt.fail(materialError(error)) });
      return attempt;
    }
    this.#holds(attempt, carrier, session);
    tolerateUnreadable(session);
    session.on("error", fail);
    session.on("close", () => fail(HANG_UP));
    carrier.below.watch(session, () => fail(HANG_UP));
    session.on("secureConnect", () => {
      if (attempt.over) return;
      const verdict = session.authorized
        ? this.#judge(session, certificate, { role: "server", expected })
        : null;
      if (verdict === null) fail(session.authorizationError as RuntimeError ?? HANG_UP);
      else if (verdict.kind === "rejected") attempt.fail(rejectedServer(verdict.error));
      else this.#deliver(attempt, carrier, session, verdict);
    });
    return attempt;
  }

  #accept(carrier: Carrier, certificate: CertifiedKey, attempt: SecureAttempt): void {
    let session: tls.TLSSocket;
    try {
      session = new tls.TLSSocket(carrier.below.stream as Socket, {
        isServer: true,
        secureContext: this.#context(certificate),
        requestCert: true,
        rejectUnauthorized: true,
        ALPNProtocols: ["h2"],
      });
    } catch (error) {
      return attempt.fail(materialError(error));
    }
    this.#holds(attempt, carrier, session);
    const fail = (error: RuntimeError) => {
      if (!attempt.over) attempt.fail(serverHandshakeError(error));
    };
    session.on("error", fail);
    session.on("close", () => fail(HANG_UP));
    carrier.below.watch(session, () => fail(HANG_UP));
    session.on("secure", () => {
      if (attempt.over) return;
      // The library calls this for refused and for resumed clients too: only our verdict counts.
      if (session.isSessionReused()) this.sessionsResumed++;
      const trustDomain = ownTrustDomain(certificate);
      const verdict = this.#judge(session, certificate, { role: "client", trustDomain });
      if (verdict.kind === "rejected") attempt.fail(rejectedClient(verdict.error));
      else if (!this.#introduced(certificate, verdict.leafSha256, session.isSessionReused())) {
        attempt.fail(new TlsHandshakeError("FOREIGN_TICKET", FOREIGN_TICKET_TEXT));
      } else this.#deliver(attempt, carrier, session, verdict);
    });
  }

  /**
   * The runtime's tickets are good at every server of the isolate. A resumed session is let in only where the
   * same peer once made a full handshake with the same identity of ours.
   */
  #introduced(certificate: CertifiedKey, leafSha256: string, resumed: boolean): boolean {
    const key = `${leafSha256} ${certificate.identity.uri}`;
    if (resumed) return this.#introductions.has(key);
    this.#introductions.delete(key);
    if (this.#introductions.size >= this.#introductionsMax) {
      const oldest = this.#introductions.values().next().value;
      if (oldest !== undefined) this.#introductions.delete(oldest);
    }
    this.#introductions.add(key);
    return true;
  }

  #begin(
    carrier: Carrier,
    options: {
      readonly timeoutMs: number;
      readonly timeoutError: () => ProxyError;
      readonly done: Done<SecureChannel>;
    },
  ): SecureAttempt {
    const attempt = new SecureAttempt(this.attempts, {
      ...options,
      clock: this.#clock,
      destroy: () => void carrier.below.resetAndDestroy(),
    });
    const oldest = this.attempts.add(attempt);
    if (oldest !== null) {
      const text = 'Custom { kind: Other, error: "too many handshakes in progress" }';
      this.#clock.soon({
        runTask: () => oldest.fail(new TlsHandshakeError("HANDSHAKES_MAX", text)),
      });
    }
    return attempt;
  }

  /** From here on the attempt's end ends the session and the socket below it. */
  #holds(attempt: SecureAttempt, carrier: Carrier, session: tls.TLSSocket): void {
    attempt.destroy = () => {
      // FIN after the alert, if the library sent one: RST could overtake it.
      session.destroy();
      carrier.below.stream.destroy();
    };
  }

  #judge(
    session: tls.TLSSocket,
    certificate: CertifiedKey,
    peer: Parameters<VerdictCache["judge"]>[0]["peer"],
  ): PeerVerdict {
    return this.#revocation.judge(this.#verdicts, {
      chainDer: peerChain(session),
      rootsDer: certificate.rootsDer,
      peer,
      nowMs: this.#clock.wallMs(),
    });
  }

  #deliver(
    attempt: SecureAttempt,
    carrier: Carrier,
    session: tls.TLSSocket,
    verdict: Extract<PeerVerdict, { kind: "accepted" }>,
  ): void {
    // Otherwise the runtime keeps later errors of an accepted session to itself.
    (session as unknown as { _releaseControl?: () => boolean })._releaseControl?.();
    const channel = new TlsChannel(session, {
      peer: carrier.peer,
      local: carrier.local,
      clock: this.#clock,
      carrier: carrier.below,
      onBug: this.#onBug,
    }, {
      peerIdentities: verdict.identities,
      alpn: session.alpnProtocol === "h2" ? "h2" : null,
      peerLeafSha256: verdict.leafSha256,
      peerPath: verdict.path,
      resumed: session.isSessionReused(),
    });
    attempt.succeed(channel);
  }

  #context(certificate: CertifiedKey): tls.SecureContext {
    let context = this.#contexts.get(certificate);
    if (context === undefined) {
      context = tls.createSecureContext({
        cert: certificate.chainPem,
        key: certificate.key.pem(),
        ca: certificate.rootsPem,
        minVersion: "TLSv1.3",
      });
      this.#contexts.set(certificate, context);
    }
    return context;
  }
}

const FOREIGN_TICKET_TEXT =
  'Custom { kind: InvalidData, error: General("session ticket of another server") }';

/** Stands for a close without an error. */
const HANG_UP: RuntimeError = new Error("socket hang up");

/** Our own certificate or key cannot be used; `message` follows `ssl error: ` or `tls error: `. */
function materialError(error: unknown): TlsHandshakeError {
  const text = error instanceof Error ? error.message : String(error);
  return new TlsHandshakeError("TLS_MATERIAL", text, { cause: error });
}

/** Takes the socket out of a channel, or wraps the channel as a stream. */
function carry(channel: Channel, clock: Clock): Carrier {
  const { peer, local } = channel;
  const socket = channel instanceof SocketChannel ? channel.detach() : null;
  const below = socket === null ? new ChannelDuplex(channel, clock) : new SocketCarrier(socket);
  return { below, peer, local };
}

/**
 * After the handshake of a client the runtime reads every certificate that the server sent, and what it cannot read it
 * throws out of the socket's reading, where nobody catches it: any server of the mesh could end the process. It goes
 * without then; the verdict reads for itself.
 */
function tolerateUnreadable(session: tls.TLSSocket): void {
  const read = session.getPeerCertificate;
  const tolerant = (detailed?: boolean) => {
    try {
      return read.call(session, detailed as true);
    } catch {
      return {} as tls.DetailedPeerCertificate;
    }
  };
  session.getPeerCertificate = tolerant as typeof session.getPeerCertificate;
}

/** The session's private handle, as far as it shows the presented certificates without building objects. */
interface HandleWithChain {
  readonly _handle?: {
    getPeerCertificateChain?: () => { readonly certificates?: readonly Uint8Array[] } | null;
  };
}

/**
 * The peer's certificates, leaf first: as it sent them where the handle shows them (0.1 ms cheaper), else by
 * the public call, which adds what it finds among our roots. Either way the verdict is ours.
 */
function peerChain(session: tls.TLSSocket): Uint8Array<ArrayBuffer>[] {
  const presented = (session as unknown as HandleWithChain)._handle?.getPeerCertificateChain?.()
    ?.certificates;
  if (presented !== undefined && presented.length > 0) {
    return presented.map((der) => new Uint8Array(der));
  }
  const chain: Uint8Array<ArrayBuffer>[] = [];
  const seen = new Set<object>();
  let at: tls.DetailedPeerCertificate | undefined = session.getPeerCertificate(true);
  while (at?.raw !== undefined && !seen.has(at)) {
    seen.add(at);
    chain.push(new Uint8Array(at.raw));
    at = at.issuerCertificate;
  }
  return chain;
}
