// TLS as far as the proxy can tell, without cryptography: chains travel by value and are judged for real.
import type { SocketAddress } from "../../base/address.ts";
import { adoptBlock, type Block } from "../../base/block.ts";
import type { Cancel, Channel, ChannelHandler, Done } from "../../base/channel.ts";
import { NOTHING_TO_CANCEL } from "../../base/channel.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { NetError, ProxyError } from "../../base/errors.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import {
  type PeerRejectedError,
  rejectedClient,
  rejectedServer,
  TlsHandshakeError,
} from "../../tls/errors.ts";
import type { PeerRule } from "../../tls/verdict.ts";
import type { RevocationLists } from "../../tls/revocation.ts";
import type { VerdictCache } from "../../tls/verdict_cache.ts";
import type {
  PeerSecurity,
  SecureChannel,
  SecureClientOptions,
  SecureServerOptions,
} from "../network.ts";
import {
  decodeFlight,
  encodeAlert,
  encodeFlight,
  type Flight,
  type HandshakeMessage,
  HandshakeReader,
} from "./memory_tls_messages.ts";

/** What a session needs of the fabric. */
export interface MemoryTlsWorld {
  readonly clock: Clock;
  readonly verdicts: VerdictCache;
  readonly revocation: RevocationLists;
}

/** The protocol both sides offer. */
const ALPN = "h2";

/**
 * `handshake`: nobody owns the secured channel yet. `ticket`: a client that is done but has not heard whether the
 * server accepts its certificate, as in TLS 1.3. `open`: bytes pass as they are.
 */
type Phase = "handshake" | "ticket" | "open";

/** What both sides share: a channel over another one, and the time limit. */
abstract class MemoryTlsSession implements SecureChannel, ChannelHandler, Cancel {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  protected readonly world: MemoryTlsWorld;
  protected readonly inner: Channel;
  protected phase: Phase = "handshake";
  /** Stops whatever the handshake waits for. */
  protected waiting: Cancel = NOTHING_TO_CANCEL;
  readonly #done: Done<SecureChannel>;
  readonly #timeoutMs: number;
  readonly #reader = new HandshakeReader();
  #timer: Timer | null = null;
  #security: PeerSecurity | null = null;
  #finished = false;
  #handler: ChannelHandler | null = null;
  #paused = false;
  #leftover: { readonly block: Block; readonly start: number; readonly end: number } | null = null;
  #leftoverTimer: Timer | null = null;
  /** The end, come before anybody was attached; and the turn that tells it. */
  #ended: { readonly error: ProxyError | null } | null = null;
  #endedTimer: Timer | null = null;

  constructor(
    world: MemoryTlsWorld,
    inner: Channel,
    timeoutMs: number,
    done: Done<SecureChannel>,
  ) {
    this.world = world;
    this.inner = inner;
    this.peer = inner.peer;
    this.local = inner.local;
    this.#timeoutMs = timeoutMs;
    this.#done = done;
  }

  get security(): PeerSecurity {
    if (this.#security === null) throw new TypeError("Security is known after the handshake");
    return this.#security;
  }

  get closed(): boolean {
    return this.inner.closed;
  }

  start(): void {
    this.#timer = this.world.clock.after(this.#timeoutMs, () => {
      this.fail(new TlsHandshakeError("HANDSHAKE_TIMEOUT", "deadline has elapsed"));
    });
    this.inner.attach(this);
  }

  cancel(): void {
    if (this.#finished) return;
    this.#stopWaiting();
    this.inner.reset(null);
  }

  attach(handler: ChannelHandler): void {
    this.#handler = handler;
    if (this.#ended === null) return this.#resumeInner();
    const { error } = this.#ended;
    this.#endedTimer ??= this.world.clock.after(0, () => this.#handler!.onClose(error));
  }

  pause(): void {
    this.#paused = true;
    this.inner.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#resumeInner();
  }

  write(block: Block, start: number, end: number): boolean {
    return this.inner.write(block, start, end);
  }

  endWrite(): void {
    this.inner.endWrite();
  }

  reset(reason: ProxyError | null): void {
    this.#dropLeftover();
    this.inner.reset(reason);
  }

  onData(block: Block, start: number, end: number): void {
    if (this.phase === "open") return this.#handler!.onData(block, start, end);
    const used = start + this.#reader.push(block.bytes.subarray(start, end));
    const message = this.#reader.take();
    if (message === null) return;
    this.onMessage(message);
    if (used < end && !this.inner.closed) this.#onRest(block, used, end);
  }

  onEnd(): void {
    if (this.#handler !== null) this.#handler.onEnd();
    else this.fail(new TlsHandshakeError("HANDSHAKE_EOF", this.eofText));
  }

  onWritable(): void {
    this.#handler?.onWritable();
  }

  onClose(error: ProxyError | null): void {
    this.#dropLeftover();
    if (!this.#finished) {
      this.#stopWaiting();
      this.#done(error ?? new TlsHandshakeError("HANDSHAKE_EOF", this.eofText));
    } else if (this.#handler !== null) this.#handler.onClose(error);
    else this.#ended = { error };
  }

  /** How this side words an end in the middle of the handshake. */
  protected abstract readonly eofText: string;

  /** One whole message of the peer came. */
  protected abstract onMessage(message: HandshakeMessage): void;

  /** Writes a handshake message. */
  protected send(bytes: Uint8Array<ArrayBuffer>): void {
    const block = adoptBlock(bytes);
    this.inner.write(block, 0, bytes.length);
    block.release();
  }

  /** The handshake came to nothing; the peer hears an alert where `alert` is given. */
  protected fail(error: ProxyError, alert?: string): void {
    if (this.#finished) return this.inner.reset(error);
    this.#stopWaiting();
    if (alert !== undefined) this.send(encodeAlert(alert));
    this.inner.reset(error);
    this.#done(error);
  }

  /** The peer is who it must be: the owner gets the channel, paused. */
  protected succeed(security: PeerSecurity, phase: Phase): void {
    this.#security = security;
    this.phase = phase;
    this.#stopWaiting();
    this.inner.pause();
    this.#done(this);
  }

  /** Asks the real verdict. */
  protected judge(
    chain: Flight,
    own: CertifiedKey,
    peer: PeerRule,
  ): PeerSecurity | PeerRejectedError {
    const verdict = this.world.revocation.judge(this.world.verdicts, {
      chainDer: chain.chainDer,
      rootsDer: own.rootsDer,
      peer,
      nowMs: this.world.clock.wallMs(),
    });
    if (verdict.kind === "rejected") return verdict.error;
    return {
      peerIdentities: verdict.identities,
      alpn: chain.alpn.includes(ALPN) ? ALPN : null,
      peerLeafSha256: verdict.leafSha256,
      peerPath: verdict.path,
      resumed: false,
    };
  }

  /** Bytes behind a handshake message: the next message, or the owner's. */
  #onRest(block: Block, start: number, end: number): void {
    if (this.phase === "open" && this.#handler !== null && !this.#paused) {
      this.#handler.onData(block, start, end);
    } else if (this.phase === "open") {
      block.retain();
      this.#leftover = { block, start, end };
    } else {
      this.onData(block, start, end);
    }
  }

  #resumeInner(): void {
    if (this.#handler === null || this.#paused) return;
    if (this.#leftover === null) return this.inner.resume();
    this.#leftoverTimer ??= this.world.clock.after(0, () => {
      this.#leftoverTimer = null;
      const rest = this.#leftover;
      if (rest === null || this.#paused) return;
      this.#leftover = null;
      this.#handler!.onData(rest.block, rest.start, rest.end);
      rest.block.release();
      this.#resumeInner();
    });
  }

  #dropLeftover(): void {
    this.#leftoverTimer?.cancel();
    this.#leftoverTimer = null;
    this.#leftover?.block.release();
    this.#leftover = null;
  }

  #stopWaiting(): void {
    this.#finished = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.waiting.cancel();
    this.waiting = NOTHING_TO_CANCEL;
  }
}

/** The side that dialled: hello, then the server's flight is judged, then its own chain goes out. */
export class MemoryTlsClient extends MemoryTlsSession {
  protected readonly eofText = "tls handshake eof";
  readonly #options: SecureClientOptions;

  constructor(
    world: MemoryTlsWorld,
    inner: Channel,
    options: SecureClientOptions,
    done: Done<SecureChannel>,
  ) {
    super(world, inner, options.timeoutMs, done);
    this.#options = options;
  }

  override start(): void {
    super.start();
    this.send(encodeFlight("hello", { alpn: [ALPN], chainDer: [] }));
  }

  protected onMessage(message: HandshakeMessage): void {
    if (message.type === "alert") {
      this.fail(new TlsHandshakeError("TLS_ALERT", `received fatal alert: ${message.text}`));
    } else if (this.phase === "ticket" && message.type === "accepted") {
      this.phase = "open";
    } else if (this.phase === "handshake" && message.type === "certificates") {
      this.#onServerFlight(message.payload);
    } else {
      this.fail(new TlsHandshakeError("TLS_PROTOCOL", "received unexpected message"));
    }
  }

  #onServerFlight(payload: Uint8Array): void {
    const flight = decodeFlight(payload);
    if (flight === null) {
      return this.fail(new TlsHandshakeError("TLS_PROTOCOL", "received corrupt message"));
    }
    const { certificate, expected } = this.#options;
    const security = this.judge(flight, certificate, { role: "server", expected });
    if (security instanceof ProxyError) {
      return this.fail(rejectedServer(security), "CertificateUnknown");
    }
    this.send(encodeFlight("certificates", { alpn: [], chainDer: certificate.chainDer }));
    this.succeed(security, "ticket");
  }
}

/** The side that accepted: fetches its certificate when the hello is here, and judges the client last. */
export class MemoryTlsServer extends MemoryTlsSession {
  protected readonly eofText = 'Custom { kind: UnexpectedEof, error: "tls handshake eof" }';
  readonly #options: SecureServerOptions;
  #certificate: CertifiedKey | null = null;
  #alpn: readonly string[] = [];
  #helloSeen = false;

  constructor(
    world: MemoryTlsWorld,
    inner: Channel,
    options: SecureServerOptions,
    done: Done<SecureChannel>,
  ) {
    super(world, inner, options.timeoutMs, done);
    this.#options = options;
  }

  protected onMessage(message: HandshakeMessage): void {
    if (message.type === "alert") {
      const text = `Custom { kind: InvalidData, error: AlertReceived(${message.text}) }`;
      this.fail(new TlsHandshakeError("TLS_ALERT", text));
    } else if (message.type === "hello" && !this.#helloSeen) {
      this.#onHello(message.payload);
    } else if (message.type === "certificates" && this.#certificate !== null) {
      this.#onClientFlight(message.payload, this.#certificate);
    } else {
      this.#failNotTls();
    }
  }

  #onHello(payload: Uint8Array): void {
    const hello = decodeFlight(payload);
    if (hello === null) return this.#failNotTls();
    this.#helloSeen = true;
    if (hello.alpn.length > 0 && !hello.alpn.includes(ALPN)) {
      const text = "Custom { kind: InvalidData, error: NoApplicationProtocol }";
      return this.fail(new TlsHandshakeError("NO_ALPN", text), "NoApplicationProtocol");
    }
    this.#alpn = hello.alpn;
    this.waiting = this.#options.certificates.get((certificate) => {
      this.waiting = NOTHING_TO_CANCEL;
      if (certificate instanceof ProxyError) return this.fail(certificate, "InternalError");
      this.#certificate = certificate;
      const alpn = this.#alpn.length > 0 ? [ALPN] : [];
      this.send(encodeFlight("certificates", { alpn, chainDer: certificate.chainDer }));
    });
  }

  #onClientFlight(payload: Uint8Array, certificate: CertifiedKey): void {
    const flight = decodeFlight(payload);
    if (flight === null) return this.#failNotTls();
    const { trustDomain } = this.#options.certificates.identity;
    const withAlpn = { alpn: this.#alpn, chainDer: flight.chainDer };
    const security = this.judge(withAlpn, certificate, { role: "client", trustDomain });
    if (security instanceof ProxyError) {
      return this.fail(rejectedClient(security), "CertificateUnknown");
    }
    this.send(encodeFlight("accepted", { alpn: [], chainDer: [] }));
    this.succeed(security, "open");
  }

  #failNotTls(): void {
    const text = "Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }";
    this.fail(new TlsHandshakeError("NOT_TLS", text, { cause: new NetError("EPROTO") }));
  }
}
