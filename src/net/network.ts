// The seam to everything that opens, accepts and secures byte streams (design §3.1).
import type { SocketAddress } from "../base/address.ts";
import type { Cancel, Channel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { CertificateSource, CertifiedKey } from "../tls/certificate.ts";
import type { CertificatePath } from "../tls/chain.ts";
import type { RevocationLists } from "../tls/revocation.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";

export interface ListenOptions {
  /** Connections waiting to be accepted, as asked of the kernel. */
  readonly backlog: number;
  /** TCP keepalive for accepted channels; null leaves it off (spec/data-path §5.3). */
  readonly keepalive: Keepalive | null;
  /** TCP_USER_TIMEOUT of accepted channels, in milliseconds; absent or null leaves the kernel's. */
  readonly userTimeoutMs?: number | null;
  /**
   * Connections come here by redirection: an accepted channel's `local` is where its peer wanted to go, by
   * SO_ORIGINAL_DST, else the socket's own address, as under TPROXY (spec/data-path O2). Default false. A network
   * that cannot ask takes the socket's own address.
   */
  readonly captured?: boolean;
  /** IP_TRANSPARENT: `must` fails the listener where it is refused. Default `never`. */
  readonly transparent?: Transparency;
}

/** Whether a listener is made transparent (`ENABLE_ORIG_SRC`, spec/data-path §3.5). */
export type Transparency = "never" | "try" | "must";

/** TCP keepalive timing (spec/data-path §5.3). A network sets what its runtime lets it. */
export interface Keepalive {
  readonly idleMs: number;
  readonly intervalMs: number;
  readonly probes: number;
}

export interface Listener {
  /** Where it listens, with the port the kernel chose if 0 was asked for. */
  readonly local: SocketAddress;
  /**
   * True where IP_TRANSPARENT was wanted and is known to be set: then accepted channels' peers may be spoofed. A
   * listener handed over may be transparent (TPROXY needs that) and not wanted so (`ENABLE_ORIG_SRC=false`).
   */
  readonly transparent: boolean;
  /** Stops accepting and frees the port. Accepted channels live on. Idempotent. */
  close(): void;
}

export interface DialOptions {
  /** Whole dial, in milliseconds; then `DeadlineError`. */
  readonly timeoutMs: number;
  readonly keepalive: Keepalive | null;
  /** TCP_USER_TIMEOUT, in milliseconds; absent or null leaves the kernel's. */
  readonly userTimeoutMs?: number | null;
  /** Local address to bind to, any port; null for the kernel's choice. */
  readonly sourceIp: string | null;
  /**
   * `sourceIp` is somebody else's: IP_TRANSPARENT and IP_FREEBIND before the bind (spec/identity-and-inpod §11.4).
   * Where it is refused the dial fails with the errno's name. Default false. Only `native` can.
   */
  readonly spoof?: boolean;
}

/** A channel inside mutual TLS whose peer was verified: chain, usage and names (design §3.7). */
export interface SecureChannel extends Channel {
  readonly security: PeerSecurity;
}

export interface PeerSecurity {
  /** Every SPIFFE ID of the peer's leaf, in the order of its SANs; at least one. */
  readonly peerIdentities: readonly SpiffeId[];
  /** "h2", or null where no ALPN was negotiated (allowed by spec/data-path W2). */
  readonly alpn: "h2" | null;
  /** SHA-256 of the peer's leaf, lower-case hex: key for dumps. */
  readonly peerLeafSha256: string;
  /** What was verified, to be judged again by later revocation lists (spec/identity-and-inpod §5.3). */
  readonly peerPath: CertificatePath;
  readonly resumed: boolean;
}

export interface SecureClientOptions {
  readonly certificate: CertifiedKey;
  /** The peer must show one of these; empty always fails (spec/data-path W5). */
  readonly expected: readonly SpiffeId[];
  /** Handshake, in milliseconds. */
  readonly timeoutMs: number;
}

export interface SecureServerOptions {
  /** Asked once per handshake. */
  readonly certificates: CertificateSource;
  readonly timeoutMs: number;
}

/**
 * Opens and accepts byte streams. Implementations: `deno` (the runtime's sockets), `memory` (pipes and a
 * virtual clock), `native` (libc and OpenSSL by FFI). All callbacks obey the rules of `Channel`: never from inside the call.
 */
export interface Network {
  readonly name: "deno" | "memory" | "native";
  /** What its handshakes are judged by; replaced by whoever follows the lists. */
  readonly revocation: RevocationLists;
  /**
   * Accepted channels go to `onChannel`, which owns them; not before `done` was called. Fails with a
   * {@link BindError}, or with an error of its own where the runtime's sandbox forbids it.
   */
  listen(
    address: SocketAddress,
    options: ListenOptions,
    onChannel: (channel: Channel) => void,
    done: Done<Listener>,
  ): Cancel;
  dial(address: SocketAddress, options: DialOptions, done: Done<Channel>): Cancel;
  /** TLS client over any channel. Takes the channel over: on failure or cancel it is reset. */
  secureClient(channel: Channel, options: SecureClientOptions, done: Done<SecureChannel>): Cancel;
  /** TLS server over any channel. Takes the channel over: on failure or cancel it is reset. */
  secureServer(channel: Channel, options: SecureServerOptions, done: Done<SecureChannel>): Cancel;
  /**
   * `dial` and `secureClient` in one, for runtimes that cannot do one after the other. A dial error is a
   * `DialError` so that callers can tell the phases apart.
   */
  dialSecure(
    address: SocketAddress,
    options: DialOptions & { readonly tls: SecureClientOptions },
    done: Done<SecureChannel>,
  ): Cancel;
  /** Open sockets, listeners included: 0 when everything was closed. */
  readonly openSockets: number;
}

/** A listener could not be opened: `failed to bind to address {addr}: {io error}`. `code` is the errno's name. */
export class BindError extends ProxyError {
  readonly code: string;

  /** @param address As it was asked for, with its port. */
  constructor(address: string, cause: ProxyError) {
    super(`failed to bind to address ${address}: ${cause.message}`, { cause });
    this.code = cause.code;
  }
}

/** Says in which phase `dialSecure` failed, with the failure itself as `cause`. */
export class DialError extends ProxyError {
  readonly code: string;
  readonly phase: "connect" | "handshake";
  override readonly cause: ProxyError;

  constructor(phase: "connect" | "handshake", cause: ProxyError) {
    super(cause.message, { cause });
    this.code = cause.code;
    this.phase = phase;
    this.cause = cause;
  }
}
