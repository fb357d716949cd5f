// The other tunnel dialer: TLS by `Deno.connectTls`, verdict on the certificate by a symbol (spec/deno-runtime §9.3).
import { parseIp, type SocketAddress } from "../../base/address.ts";
import type { Cancel, Done } from "../../base/channel.ts";
import type { Clock } from "../../base/clock.ts";
import { DeadlineError, NetError, ProxyError } from "../../base/errors.ts";
import { rejectedServer, TlsHandshakeError } from "../../tls/errors.ts";
import type { RevocationLists } from "../../tls/revocation.ts";
import { VerdictCache } from "../../tls/verdict_cache.ts";
import {
  DialError,
  type DialOptions,
  type SecureChannel,
  type SecureClientOptions,
} from "../network.ts";
import { DenoConnChannel } from "./deno_conn_channel.ts";
import {
  clientHandshakeError,
  isPermissionMissing,
  netError,
  PermissionMissingError,
  type RuntimeError,
} from "./errors.ts";

/** What was asked cannot be done with `TUNNEL_DIALER=deno`. */
export class DenoDialerError extends ProxyError {
  readonly code = "DENO_DIALER";
}

/** The private method that shows the peer's certificates; undefined where this runtime has none. */
function peerCertificateMethod(conn: object): (() => unknown) | undefined {
  for (let at: object | null = conn; at !== null; at = Object.getPrototypeOf(at)) {
    for (const symbol of Object.getOwnPropertySymbols(at)) {
      if (symbol.description !== "getPeerCertificate") continue;
      const method: unknown = (conn as Record<symbol, unknown>)[symbol];
      if (typeof method === "function") return () => method.call(conn, true);
    }
  }
  return undefined;
}

/** The peer's certificates, leaf first; null where the runtime does not show them. */
function peerChain(conn: Deno.TlsConn): Uint8Array<ArrayBuffer>[] | null {
  let at = peerCertificateMethod(conn)?.() as
    | { raw?: Uint8Array; issuerCertificate?: unknown }
    | null
    | undefined;
  if (at?.raw === undefined) return null;
  const chain: Uint8Array<ArrayBuffer>[] = [];
  const seen = new Set<unknown>();
  while (at?.raw !== undefined && !seen.has(at)) {
    seen.add(at);
    chain.push(new Uint8Array(at.raw));
    at = at.issuerCertificate as typeof at;
  }
  return chain;
}

/** Variables that add roots to the runtime's own store. */
const ROOT_ADDING_VARIABLES = ["DENO_CERT", "NODE_EXTRA_CA_CERTS"] as const;

/**
 * Why this process must not dial with `Deno.connectTls`, as one sentence, or null if it may. Asked once at
 * start, by whoever was told `TUNNEL_DIALER=deno`. Looks at the environment (needs `--allow-env` for
 * DENO_TLS_CA_STORE, DENO_CERT and NODE_EXTRA_CA_CERTS) and at a connection to itself, as the runtime shows its
 * class of TLS connections in no other way.
 * @param probe A loopback address that this process may listen on and connect to; free again afterwards.
 */
export async function denoDialerRefusal(
  probe: SocketAddress = { ip: "127.0.0.1", port: 0 },
): Promise<string | null> {
  try {
    if (Deno.env.get("DENO_TLS_CA_STORE") !== "") {
      return "TUNNEL_DIALER=deno trusts public certificate authorities unless the proxy is started with " +
        "DENO_TLS_CA_STORE= (set and empty)";
    }
    for (const name of ROOT_ADDING_VARIABLES) {
      if ((Deno.env.get(name) ?? "") !== "") {
        return `TUNNEL_DIALER=deno trusts what ${name} names: unset it`;
      }
    }
    if (await showsPeerCertificate(probe)) return null;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return `TUNNEL_DIALER=deno cannot be checked: ${reason}`;
  }
  return "TUNNEL_DIALER=deno needs a runtime that shows the peer's certificate, and this one " +
    `(Deno ${Deno.version.deno}) does not: use TUNNEL_DIALER=node`;
}

async function showsPeerCertificate({ ip, port }: SocketAddress): Promise<boolean> {
  const listener = Deno.listen({ hostname: ip, port });
  try {
    const [accepted, conn] = await Promise.all([
      listener.accept(),
      Deno.connectTls({ hostname: ip, port: listener.addr.port }),
    ]);
    accepted.close();
    const shown = peerCertificateMethod(conn) !== undefined;
    // A connection that never began its handshake ends with an error that says nothing new.
    await conn.handshake().catch(() => {});
    conn.close();
    return shown;
  } finally {
    listener.close();
  }
}

export interface DenoDialerOptions {
  readonly clock: Clock;
  readonly revocation: RevocationLists;
  readonly onBug: (error: unknown) => void;
  /** Told when a descriptor is taken or given back. */
  readonly onOpened: () => void;
  readonly onClosed: () => void;
}

/** Dials with `Deno.connectTls` and judges whom it reached. */
export class DenoDialer {
  readonly #options: DenoDialerOptions;
  readonly #verdicts = new VerdictCache();

  constructor(options: DenoDialerOptions) {
    this.#options = options;
  }

  dial(
    address: SocketAddress,
    options: DialOptions & { readonly tls: SecureClientOptions },
    done: Done<SecureChannel>,
  ): Cancel {
    const attempt = new Attempt(this.#options, this.#verdicts, options.tls, done);
    if (options.sourceIp !== null) {
      attempt.refuse("Deno.connectTls cannot choose its source address: use TUNNEL_DIALER=node");
    } else void attempt.run(address, options.timeoutMs);
    return attempt;
  }
}

class Attempt implements Cancel {
  readonly #options: DenoDialerOptions;
  readonly #verdicts: VerdictCache;
  readonly #tls: SecureClientOptions;
  #done: Done<SecureChannel> | null;
  #conn: Deno.TlsConn | null = null;

  constructor(
    options: DenoDialerOptions,
    verdicts: VerdictCache,
    tls: SecureClientOptions,
    done: Done<SecureChannel>,
  ) {
    this.#options = options;
    this.#verdicts = verdicts;
    this.#tls = tls;
    this.#done = done;
  }

  cancel(): void {
    this.#done = null;
    this.#close();
  }

  refuse(sentence: string): void {
    this.#options.clock.soon({
      runTask: () => this.#fail("connect", new DenoDialerError(sentence)),
    });
  }

  async run(address: SocketAddress, timeoutMs: number): Promise<void> {
    const conn = await this.#connect(address, timeoutMs);
    if (conn === null) return;
    const alpn = await this.#handshake(conn);
    if (alpn === undefined || this.#done === null) return;
    const chainDer = peerChain(conn);
    if (chainDer === null) {
      const text = "the runtime does not show the peer's certificate: use TUNNEL_DIALER=node";
      return this.#fail("handshake", new DenoDialerError(text));
    }
    const verdict = this.#options.revocation.judge(this.#verdicts, {
      chainDer,
      rootsDer: this.#tls.certificate.rootsDer,
      peer: { role: "server", expected: this.#tls.expected },
      nowMs: this.#options.clock.wallMs(),
    });
    if (verdict.kind === "rejected") return this.#fail("handshake", rejectedServer(verdict.error));
    const done = this.#done;
    this.#done = null;
    done(
      new DenoConnChannel(conn, {
        peer: address,
        local: localAddress(conn),
        clock: this.#options.clock,
        onBug: this.#options.onBug,
        onClosed: this.#options.onClosed,
        security: {
          peerIdentities: verdict.identities,
          alpn,
          peerLeafSha256: verdict.leafSha256,
          peerPath: verdict.path,
          resumed: false,
        },
      }),
    );
  }

  async #connect(address: SocketAddress, timeoutMs: number): Promise<Deno.TlsConn | null> {
    const timer = this.#options.clock.after(
      timeoutMs,
      () => this.#fail("connect", new DeadlineError()),
    );
    try {
      const { certificate } = this.#tls;
      const conn = await Deno.connectTls({
        hostname: address.ip,
        port: address.port,
        caCerts: [certificate.rootsPem],
        cert: certificate.chainPem,
        key: certificate.key.pem(),
        alpnProtocols: ["h2"],
        // SPIFFE names are not host names: our verdict looks at them.
        unsafelyDisableHostnameVerification: true,
      });
      this.#options.onOpened();
      this.#conn = conn;
      if (this.#done === null) this.#close();
      return this.#done === null ? null : conn;
    } catch (error) {
      this.#fail("connect", connectError(error as RuntimeError, address));
      return null;
    } finally {
      timer.cancel();
    }
  }

  /** What ALPN gave; undefined after a failure. */
  async #handshake(conn: Deno.TlsConn): Promise<"h2" | null | undefined> {
    const timer = this.#options.clock.after(
      this.#tls.timeoutMs,
      () => this.#fail("handshake", new DeadlineError()),
    );
    try {
      const { alpnProtocol } = await conn.handshake();
      return alpnProtocol === "h2" ? "h2" : null;
    } catch (error) {
      this.#fail("handshake", handshakeError(error as RuntimeError));
      return undefined;
    } finally {
      timer.cancel();
    }
  }

  #fail(phase: "connect" | "handshake", error: ProxyError): void {
    const done = this.#done;
    this.#done = null;
    this.#close();
    done?.(new DialError(phase, error));
  }

  #close(): void {
    if (this.#conn === null) return;
    this.#conn.close();
    this.#conn = null;
    this.#options.onClosed();
  }
}

function localAddress(conn: Deno.TlsConn): SocketAddress {
  const { hostname, port } = conn.localAddr as Deno.NetAddr;
  return { ip: parseIp(hostname) ?? hostname, port };
}

function connectError(error: RuntimeError, address: SocketAddress): ProxyError {
  if (!isPermissionMissing(error)) return netError(error);
  const text = `${address.ip}:${address.port}`;
  return new PermissionMissingError(`--allow-net=${text}`, `connect to ${text}`, { cause: error });
}

/** This runtime's words are the library's own; only the certificate errors carry meaning for us. */
function handshakeError(error: RuntimeError): ProxyError {
  const certificate = /invalid peer certificate: .*/.exec(error.message);
  if (certificate !== null) {
    return new TlsHandshakeError("PEER_CERTIFICATE", certificate[0], { cause: error });
  }
  const mapped = clientHandshakeError(error);
  if (mapped instanceof NetError && mapped.code === "UNEXPECTED_EOF") {
    return new TlsHandshakeError("HANDSHAKE_EOF", "tls handshake eof", { cause: error });
  }
  return mapped;
}
