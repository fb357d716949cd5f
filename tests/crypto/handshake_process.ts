// A process with ffi alone that starts as a data plane does, gives ffi up, and lets two sessions shake hands in memory.
// Reads a HandshakeTask from stdin, prints a HandshakeReport, or a refusal to start.
import type { PeerRule, PeerVerdict } from "../../src/tls/verdict.ts";
import { TlsHandshakeError } from "../../src/tls/errors.ts";
import { PrivateKey } from "../../src/tls/private_key.ts";
import { parseSpiffeId } from "../../src/tls/spiffe_id.ts";
import { RevocationLists } from "../../src/tls/revocation.ts";
import { VerdictCache } from "../../src/tls/verdict_cache.ts";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { type CryptoPolicy, cryptoPolicy } from "../../src/net/native/crypto_policy.ts";
import { FipsProvider } from "../../src/net/native/fips.ts";
import type { FipsSettings } from "../../src/net/native/fips_config.ts";
import { Libc } from "../../src/net/native/libc.ts";
import { checkLibraries, findLibraries } from "../../src/net/native/libraries.ts";
import { libcFolders } from "../../src/net/native/library_folders.ts";
import { CountedObjects } from "../../src/net/native/live_objects.ts";
import { nativeBytes } from "../../src/net/native/native_bytes.ts";
import { openLibrary } from "../../src/net/native/open_library.ts";
import { OpenSsl, type Pointer } from "../../src/net/native/openssl.ts";
import { NativeStartError } from "../../src/net/native/start_error.ts";
import { TlsCallbacks } from "../../src/net/native/tls_callbacks.ts";
import { buildContext } from "../../src/net/native/tls_context.ts";
import { TlsSession, WANTS_READ } from "../../src/net/native/tls_session.ts";
import { type ClientHello, parseClientHello } from "./client_hello.ts";

/** What to start with, and for whom. */
export interface HandshakeTask {
  readonly openSslLibDir: string | null;
  readonly tls12: boolean;
  readonly pqc: boolean;
  readonly fips: FipsSettings | null;
  /** PEM; the server's, and so the expected, identity. */
  readonly certificate: {
    readonly identity: string;
    readonly certPem: string;
    readonly keyPem: string;
    readonly rootPem: string;
  };
  /** Loads the FIPS provider and then passes its library context by, as a mistake would. */
  readonly passByProvider?: boolean;
  /** Another root in the place of the one that came with the certificate: nobody is acceptable then. */
  readonly strangeRootPem?: string;
}

/** What became of it. */
export type HandshakeReport = { readonly refused: string } | HandshakeDone;

export interface HandshakeDone extends HandshakeSeen {
  readonly refused: null;
  /** Version text of the library. */
  readonly library: string;
  readonly fips: string | null;
  /** Native objects left over, by kind. */
  readonly leaked: Readonly<Record<string, number>>;
}

/** A handshake as seen from between both sides; pairs are of client and server. */
export interface HandshakeSeen {
  readonly hello: ClientHello;
  readonly done: boolean;
  readonly failures: readonly (string | null)[];
  readonly version: string;
  readonly suite: string;
  /** As `SSL_get_negotiated_group`: a NID, or the protocol's number with the top bits set where there is none. */
  readonly group: number;
  /** The peer's leaf and names, or the reason for refusing it. */
  readonly verdicts: readonly (string | null)[];
  /** Octets that the server sent after its last handshake message: tickets, if there were any. */
  readonly octetsAfterHandshake: number;
}

const SSL_CTRL_GET_NEGOTIATED_GROUP = 134;
const EXTRA = {
  SSL_get_version: { parameters: ["pointer"], result: "pointer" },
  SSL_get_current_cipher: { parameters: ["pointer"], result: "pointer" },
  SSL_CIPHER_get_name: { parameters: ["pointer"], result: "pointer" },
  SSL_ctrl: { parameters: ["pointer", "i32", "i64", "pointer"], result: "i64" },
} as const;

function start(task: HandshakeTask): HandshakeReport {
  using libc = Libc.open();
  const objects = new CountedObjects();
  const folders = libcFolders(libc);
  const paths = findLibraries({
    openSslLibDir: task.openSslLibDir,
    arch: Deno.build.arch,
    folders,
  });
  const library = checkLibraries(paths);
  const openssl = OpenSsl.open(paths, objects);
  let provider: FipsProvider | null = null;
  if (task.fips !== null) {
    provider = FipsProvider.load({ ...task.fips, libcrypto: paths.libcrypto, folders, objects });
    if (!task.passByProvider) openssl.enter(provider);
  }
  const policy = cryptoPolicy({
    tls12: task.tls12,
    pqc: task.pqc,
    fips: provider?.state ?? null,
    library,
  });
  const callbacks = new TlsCallbacks({
    openssl,
    libc,
    verdicts: new VerdictCache(),
    revocation: new RevocationLists(),
    wallMs: () => Date.now(),
    verifyInLibrary: policy.verifyInLibrary,
    onBug: reportError,
  });
  const extra = openLibrary(paths.libssl, EXTRA);
  Deno.permissions.revokeSync({ name: "ffi" });
  const seen = new MemoryHandshake(task, { openssl, policy, callbacks }).run(extra.symbols);
  callbacks.close();
  provider?.close();
  openssl.close();
  extra.close();
  return {
    refused: null,
    library: library.text,
    fips: policy.fips?.text ?? null,
    ...seen,
    leaked: Object.fromEntries(objects.counts),
  };
}

type Extra = Deno.DynamicLibrary<typeof EXTRA>["symbols"];

interface Parts {
  readonly openssl: OpenSsl;
  readonly policy: CryptoPolicy;
  readonly callbacks: TlsCallbacks;
}

/** A session and its two memory BIOs, which it owns. */
interface Side {
  readonly session: TlsSession;
  readonly incoming: Pointer;
  readonly outgoing: Pointer;
}

/** Both sides in one place: a client and a server of one identity. */
class MemoryHandshake {
  readonly #openssl: OpenSsl;
  readonly #context: Pointer;
  readonly #client: Side;
  readonly #server: Side;

  constructor(task: HandshakeTask, parts: Parts) {
    this.#openssl = parts.openssl;
    const certificate = certifiedKey(task);
    this.#context = buildContext(certificate, parts);
    const { identity, rootsDer } = certificate;
    const { trustDomain } = identity;
    const roots = task.strangeRootPem === undefined ? rootsDer : [pemToDer(task.strangeRootPem)];
    const side = (role: "client" | "server", peer: PeerRule): Side => {
      const shared = { ...parts, nowMs: () => performance.now() };
      const session = new TlsSession(this.#context, {
        role,
        check: { rootsDer: roots, peer },
        shared,
      });
      const [incoming, outgoing] = [this.#memoryBio(), this.#memoryBio()];
      parts.openssl.ssl.SSL_set0_rbio(session.ssl, incoming);
      parts.openssl.ssl.SSL_set0_wbio(session.ssl, outgoing);
      return { session, incoming, outgoing };
    };
    this.#client = side("client", { role: "server", expected: [identity] });
    this.#server = side("server", { role: "client", trustDomain });
  }

  run(extra: Extra): HandshakeSeen {
    const sides = [this.#client, this.#server];
    let results = sides.map(() => WANTS_READ);
    let hello: Uint8Array | null = null;
    let late = new Uint8Array(0);
    // As many as a handshake with HelloRetryRequest needs, and some.
    for (let round = 0; round < 8; round++) {
      const before = results;
      results = results.map((result, at) =>
        result === WANTS_READ ? sides[at]!.session.handshake() : result
      );
      const sent = this.#carry(this.#client, this.#server);
      hello ??= sent;
      late = this.#carry(this.#server, this.#client);
      if (before.every((result) => result !== WANTS_READ)) break;
    }
    const { ssl } = this.#client.session;
    const suite = extra.SSL_get_current_cipher(ssl);
    const seen = {
      hello: parseClientHello(hello!),
      done: results.every((result) => result === 1),
      failures: sides.map(({ session }) => session.failure && JSON.stringify(session.failure)),
      version: this.#openssl.textAt(extra.SSL_get_version(ssl)!),
      suite: suite === null ? "" : this.#openssl.textAt(extra.SSL_CIPHER_get_name(suite)!),
      group: Number(extra.SSL_ctrl(ssl, SSL_CTRL_GET_NEGOTIATED_GROUP, 0n, null)),
      verdicts: sides.map(({ session }) => verdictText(session.verdict)),
      octetsAfterHandshake: late.length,
    };
    for (const { session } of sides) session.free();
    this.#openssl.freeContext(this.#context);
    return seen;
  }

  #memoryBio(): Pointer {
    const bio = this.#openssl.crypto.BIO_new(this.#openssl.crypto.BIO_s_mem()!);
    if (bio === null) throw new Error("No memory for a BIO");
    return bio;
  }

  /** Moves what one side wrote to where the other reads, and gives it. */
  #carry(from: Side, to: Side): Uint8Array<ArrayBuffer> {
    const { crypto } = this.#openssl;
    const bytes = nativeBytes(65_536);
    const length = Math.max(0, crypto.BIO_read(from.outgoing, bytes, bytes.length));
    if (length > 0) crypto.BIO_write(to.incoming, bytes, length);
    return bytes.slice(0, length);
  }
}

function certifiedKey({ certificate }: HandshakeTask): CertifiedKey {
  const { identity, certPem, keyPem, rootPem } = certificate;
  return {
    identity: parseSpiffeId(identity),
    chainDer: [pemToDer(certPem)],
    chainPem: certPem,
    key: new PrivateKey(pemToDer(keyPem)),
    rootsDer: [pemToDer(rootPem)],
    rootsPem: rootPem,
    notBeforeMs: 0,
    notAfterMs: Number.MAX_SAFE_INTEGER,
    generation: 1,
  };
}

function pemToDer(pem: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromBase64(pem.replace(/-----[^-]+-----/g, ""));
}

function verdictText(verdict: PeerVerdict | null): string | null {
  if (verdict === null) return null;
  if (verdict.kind === "rejected") return verdict.error.code;
  return verdict.identities.map(({ uri }) => uri).join(",");
}

if (import.meta.main) {
  const task: HandshakeTask = JSON.parse(await new Response(Deno.stdin.readable).text());
  const report = reportOf(task);
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(report)));
}

function reportOf(task: HandshakeTask): HandshakeReport {
  try {
    return start(task);
  } catch (error) {
    if (!(error instanceof NativeStartError || error instanceof TlsHandshakeError)) throw error;
    return { refused: error.message };
  }
}
