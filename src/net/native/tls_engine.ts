// TLS on OpenSSL, both sides, over sockets and over any other channel, for one data plane.
import { BlockPool } from "../../base/block.ts";
import type { Cancel, Channel, Done } from "../../base/channel.ts";
import { DeadlineError, type ProxyError } from "../../base/errors.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import { TlsHandshakeError } from "../../tls/errors.ts";
import { ownTrustDomain } from "../../tls/names.ts";
import { RevocationLists } from "../../tls/revocation.ts";
import type { PeerRule } from "../../tls/verdict.ts";
import { VerdictCache } from "../../tls/verdict_cache.ts";
import type { SecureChannel, SecureClientOptions, SecureServerOptions } from "../network.ts";
import { HANDSHAKES_MAX, SecureAttempt, SecureAttempts } from "../secure_attempt.ts";
import { ChannelCarrier } from "./channel_carrier.ts";
import type { CryptoPolicy } from "./crypto_policy.ts";
import type { Libc } from "./libc.ts";
import { nativeBytes } from "./native_bytes.ts";
import type { OpenSsl } from "./openssl.ts";
import { ReadBuffer } from "./read_buffer.ts";
import { SocketCarrier } from "./socket_carrier.ts";
import { TcpChannel } from "./tcp_channel.ts";
import { TlsCallbacks } from "./tls_callbacks.ts";
import type { TlsCarrier } from "./tls_carrier.ts";
import { RECORD_BYTES_MAX, type TlsChannelShared } from "./tls_channel.ts";
import { buildContext } from "./tls_context.ts";
import { TlsContexts } from "./tls_contexts.ts";
import { TlsHandshake } from "./tls_handshake.ts";
import { type SessionShared, TlsSession } from "./tls_session.ts";
import { TurnEnd } from "./turn_end.ts";
import type { LiveObjects, Loop } from "./types.ts";
import { WriteGather } from "./write_gather.ts";

/** Octets per block that sessions read into: what arrived in one turn is one range (README). */
const READ_BLOCK_BYTES = 256 * 1024;
/** Free blocks kept of these. */
const READ_BLOCKS_IDLE_MAX = 16;
/** Octets per block that small pieces are packed into. */
const PACK_BYTES = 64 * 1024;
/** Free blocks kept of these. */
const PACKS_IDLE_MAX = 64;

export interface TlsEngineOptions {
  readonly openssl: OpenSsl;
  readonly libc: Libc;
  readonly loop: Loop;
  readonly objects: LiveObjects;
  readonly policy: CryptoPolicy;
  /** Verdicts remembered; a cache of its own by default. */
  readonly verdicts?: VerdictCache;
  /** Handshakes under way at once; then the oldest is refused. */
  readonly handshakesMax?: number;
  /** Contexts kept that nobody pinned. */
  readonly unpinnedContextsMax?: number;
  /** Told what a callback or handler threw; what it belonged to was ended. */
  readonly onBug: (thrown: unknown) => void;
}

/**
 * Makes secure channels. To be made at start, since callbacks need the ffi permission; works without it from then on.
 * Every channel and handshake is over before {@link close}.
 */
export class TlsEngine {
  readonly attempts: SecureAttempts;
  readonly revocation = new RevocationLists();
  readonly #loop: Loop;
  readonly #callbacks: TlsCallbacks;
  readonly #contexts: TlsContexts;
  readonly #gather: WriteGather;
  readonly #sessions: SessionShared;
  readonly #channels: TlsChannelShared;
  readonly #carriers: {
    readonly openssl: OpenSsl;
    readonly libc: Libc;
    readonly gather: WriteGather;
    readonly clock: Loop["clock"];
    readonly pool: BlockPool;
    readonly turnEnd: TurnEnd;
  };

  constructor(options: TlsEngineOptions) {
    const { openssl, libc, loop, policy, onBug } = options;
    const { clock } = loop;
    this.#loop = loop;
    this.attempts = new SecureAttempts(options.handshakesMax ?? HANDSHAKES_MAX);
    const callbacks = new TlsCallbacks({
      openssl,
      libc,
      verdicts: options.verdicts ?? new VerdictCache(),
      revocation: this.revocation,
      wallMs: () => clock.wallMs(),
      verifyInLibrary: policy.verifyInLibrary,
      onBug,
    });
    this.#callbacks = callbacks;
    this.#contexts = new TlsContexts({
      openssl,
      build: (certificate) => buildContext(certificate, { openssl, policy, callbacks }),
      ...options.unpinnedContextsMax === undefined
        ? {}
        : { unpinnedMax: options.unpinnedContextsMax },
    });
    this.#gather = new WriteGather(openssl);
    this.#sessions = { openssl, callbacks, nowMs: () => clock.nowMs() };
    const pool = new BlockPool({ blockBytes: PACK_BYTES, idleMax: PACKS_IDLE_MAX });
    const blocks = new BlockPool({ blockBytes: READ_BLOCK_BYTES, idleMax: READ_BLOCKS_IDLE_MAX });
    const turnEnd = new TurnEnd(clock);
    this.#channels = {
      loop,
      turnEnd,
      pool,
      reader: new ReadBuffer(blocks),
      record: nativeBytes(RECORD_BYTES_MAX),
      onBug,
    };
    this.#carriers = { openssl, libc, gather: this.#gather, clock, pool, turnEnd };
  }

  /** SSL_CTX objects held. */
  get contexts(): number {
    return this.#contexts.size;
  }

  /** Builds the context of `certificate` now and keeps it until {@link unpin}; its key may be wiped afterwards. */
  pin(certificate: CertifiedKey): void {
    this.#contexts.pin(certificate);
  }

  /** Open connections keep what they need. */
  unpin(certificate: CertifiedKey): void {
    this.#contexts.unpin(certificate);
  }

  /** As `Network.secureClient`. */
  client(channel: Channel, options: SecureClientOptions, done: Done<SecureChannel>): Cancel {
    const { certificate, expected } = options;
    const { attempt, handshake } = this.#begin(channel, {
      role: "client",
      timeoutMs: options.timeoutMs,
      timeoutError: () => new DeadlineError(),
      rule: () => ({ role: "server", expected }),
      done,
    });
    this.#loop.clock.soon({ runTask: () => handshake.begin(certificate) });
    return attempt;
  }

  /** As `Network.secureServer`. */
  server(channel: Channel, options: SecureServerOptions, done: Done<SecureChannel>): Cancel {
    const { attempt, handshake } = this.#begin(channel, {
      role: "server",
      timeoutMs: options.timeoutMs,
      timeoutError: () =>
        new TlsHandshakeError(
          "HANDSHAKE_TIMEOUT",
          'Custom { kind: TimedOut, error: "deadline has elapsed" }',
        ),
      rule: (certificate) => ({ role: "client", trustDomain: ownTrustDomain(certificate) }),
      done,
    });
    handshake.waitFor(options.certificates.get((outcome) => handshake.begin(outcome)));
    return attempt;
  }

  /** Everything made here is over by now. */
  close(): void {
    this.#contexts.close();
    this.#gather.close();
    this.#channels.reader.close();
    this.#callbacks.close();
  }

  #begin(channel: Channel, options: {
    readonly role: "client" | "server";
    readonly timeoutMs: number;
    readonly timeoutError: () => ProxyError;
    readonly rule: (certificate: CertifiedKey) => PeerRule;
    readonly done: Done<SecureChannel>;
  }): { readonly attempt: SecureAttempt; readonly handshake: TlsHandshake } {
    const { role, rule } = options;
    const { clock } = this.#loop;
    const attempt = new SecureAttempt(this.attempts, { ...options, clock, destroy: () => {} });
    const oldest = this.attempts.add(attempt);
    if (oldest !== null) {
      const text = 'Custom { kind: Other, error: "too many handshakes in progress" }';
      clock.soon({ runTask: () => oldest.fail(new TlsHandshakeError("HANDSHAKES_MAX", text)) });
    }
    const handshake = new TlsHandshake({
      role,
      carrier: this.#carry(channel),
      attempt,
      channels: this.#channels,
      newSession: (certificate) =>
        new TlsSession(this.#contexts.get(certificate), {
          role,
          check: { rootsDer: certificate.rootsDer, peer: rule(certificate) },
          shared: this.#sessions,
        }),
    });
    handshake.watch();
    return { attempt, handshake };
  }

  /** Takes the socket out of a channel, or works on top of it. */
  #carry(channel: Channel): TlsCarrier {
    const socket = channel instanceof TcpChannel ? channel.takeSocket() : null;
    return socket === null
      ? new ChannelCarrier(channel, this.#carriers)
      : new SocketCarrier(socket, this.#carriers);
  }
}
