// One SSL_CTX per certified key of ours, for both sides: what each session of that identity starts from.
import { TlsHandshakeError } from "../../tls/errors.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import type { CryptoPolicy } from "./crypto_policy.ts";
import type { OpenSsl, Pointer } from "./openssl.ts";
import type { TlsCallbacks } from "./tls_callbacks.ts";

/** Roots whose subjects a client is told as hints; more would swell every handshake. */
export const ROOT_HINTS_MAX = 64;

/**
 * Octets that one read takes from a socket at most: three full records. The library moves all that it has read ahead
 * once per record, so more costs more than the calls it saves (README). The buffer exists only while it holds something
 * (RELEASE_BUFFERS).
 */
export const READ_AHEAD_BYTES = 50 * 1024;

/** `SSL_CTRL_…`, `SSL_MODE_…`, `SSL_OP_…`, `SSL_VERIFY_…` (ssl.h). */
const CONTROL = {
  mode: 33,
  readAhead: 41,
  sessionCache: 44,
  addToChain: 89,
  groups: 92,
  minVersion: 123,
  maxVersion: 124,
} as const;
const MODE_PARTIAL_WRITE = 0x1n;
const MODE_MOVING_WRITE_BUFFER = 0x2n;
/** Else the library sends what it finds by itself behind a leaf without intermediates: a root of the store. */
const MODE_NO_AUTO_CHAIN = 0x8n;
const MODE_RELEASE_BUFFERS = 0x10n;
const OPTION_NO_TICKET = 1n << 14n;
const OPTION_NO_COMPRESSION = 1n << 17n;
/** Neither sent nor read (RFC 8879, OpenSSL 3.2 and later): a peer would choose how much work a chain is. */
const OPTION_NO_CERTIFICATE_COMPRESSION = 1n << 32n | 1n << 33n;
const OPTION_SERVER_PREFERENCE = 1n << 22n;
const OPTION_NO_RENEGOTIATION = 1n << 30n;
const VERIFY_PEER_OR_FAIL = 3;
/** 112 bits: RSA from 2,048 bits on, no SHA-1, whatever the library was built with. */
const SECURITY_LEVEL = 2;

const H2_OFFER = Uint8Array.of(2, 0x68, 0x32);

/**
 * Builds the context of `certificate`: versions, suites and groups of the policy, leaf and intermediates (never the
 * root), our roots as hints for clients, a peer's certificate demanded on both sides and judged by `callbacks`, `h2` by
 * ALPN; no tickets, resumption, compression, renegotiation or early data (spec/identity-and-inpod §4.1). The key is
 * imported: the caller may wipe it afterwards.
 * @returns An SSL_CTX that the caller frees with `OpenSsl.freeContext`; sessions made from it keep it alive.
 * @throws {TlsHandshakeError} TLS_MATERIAL where certificate or key cannot be used.
 */
export function buildContext(
  certificate: CertifiedKey,
  { openssl, policy, callbacks }: {
    readonly openssl: OpenSsl;
    readonly policy: CryptoPolicy;
    readonly callbacks: TlsCallbacks;
  },
): Pointer {
  const { ssl } = openssl;
  openssl.clearErrors();
  const context = openssl.newContext();
  if (context === null) throw material(openssl, "no memory for a context");
  try {
    setProtocol(context, openssl, policy);
    setMaterial(context, openssl, certificate);
    setPeerChecks(context, openssl, certificate, policy);
    ssl.SSL_CTX_set_cert_verify_callback(context, callbacks.verify, null);
    ssl.SSL_CTX_set_alpn_select_cb(context, callbacks.alpn, null);
    return context;
  } catch (error) {
    openssl.freeContext(context);
    throw error;
  } finally {
    openssl.clearErrors();
  }
}

function setProtocol(context: Pointer, openssl: OpenSsl, policy: CryptoPolicy): void {
  const { ssl } = openssl;
  const control = (command: number, value: bigint) =>
    Number(ssl.contextControl(context, command, value, null));
  need(openssl, control(CONTROL.minVersion, BigInt(policy.minVersion)), "lowest version");
  need(openssl, control(CONTROL.maxVersion, BigInt(policy.maxVersion)), "highest version");
  ssl.SSL_CTX_set_security_level(context, SECURITY_LEVEL);
  need(openssl, ssl.SSL_CTX_set_ciphersuites(context, text(policy.tls13Suites)), "suites");
  if (policy.tls12Suites !== null) {
    const result = ssl.SSL_CTX_set_cipher_list(context, text(policy.tls12Suites));
    need(openssl, result, "TLS 1.2 suites");
  }
  const groups = ssl.contextControlText(context, CONTROL.groups, 0n, text(policy.groups));
  need(openssl, Number(groups), "groups");
  need(openssl, 1 - ssl.SSL_CTX_set_alpn_protos(context, H2_OFFER, H2_OFFER.length), "ALPN");
  ssl.SSL_CTX_set_options(
    context,
    OPTION_NO_TICKET | OPTION_NO_COMPRESSION | OPTION_NO_CERTIFICATE_COMPRESSION |
      OPTION_SERVER_PREFERENCE | OPTION_NO_RENEGOTIATION,
  );
  need(openssl, ssl.SSL_CTX_set_num_tickets(context, 0n), "no tickets");
  control(CONTROL.sessionCache, 0n);
  control(
    CONTROL.mode,
    MODE_PARTIAL_WRITE | MODE_MOVING_WRITE_BUFFER | MODE_NO_AUTO_CHAIN | MODE_RELEASE_BUFFERS,
  );
  control(CONTROL.readAhead, 1n);
  ssl.SSL_CTX_set_default_read_buffer_len(context, BigInt(READ_AHEAD_BYTES));
}

function setMaterial(context: Pointer, openssl: OpenSsl, certificate: CertifiedKey): void {
  const { ssl } = openssl;
  const [leafDer, ...intermediatesDer] = certificate.chainDer;
  if (leafDer === undefined) throw material(openssl, "no certificate");
  withCertificate(leafDer, openssl, (leaf) => {
    need(openssl, ssl.SSL_CTX_use_certificate(context, leaf), "certificate");
  });
  for (const der of intermediatesDer) {
    withCertificate(der, openssl, (issuer) => {
      // 1: the context takes a reference of its own.
      const added = ssl.contextControl(context, CONTROL.addToChain, 1n, issuer);
      need(openssl, Number(added), "intermediate certificate");
    });
  }
  if (certificate.key.isWiped) throw material(openssl, "the private key was wiped already");
  const key = certificate.key.use((pkcs8) => openssl.privateKey(pkcs8));
  if (key === null) throw material(openssl, "cannot read the private key");
  try {
    need(openssl, ssl.SSL_CTX_use_PrivateKey(context, key), "private key");
    need(openssl, ssl.SSL_CTX_check_private_key(context), "private key of this certificate");
  } finally {
    openssl.freePrivateKey(key);
  }
}

function setPeerChecks(
  context: Pointer,
  openssl: OpenSsl,
  certificate: CertifiedKey,
  policy: CryptoPolicy,
): void {
  const { ssl, crypto } = openssl;
  ssl.SSL_CTX_set_verify(context, VERIFY_PEER_OR_FAIL, null);
  const store = ssl.SSL_CTX_get_cert_store(context);
  let hints = 0;
  for (const der of certificate.rootsDer) {
    // The verdict passes over roots that cannot be read, too.
    const root = openssl.certificate(der);
    if (root === null) continue;
    if (++hints <= ROOT_HINTS_MAX) ssl.SSL_CTX_add_client_CA(context, root);
    if (policy.verifyInLibrary && store !== null) crypto.X509_STORE_add_cert(store, root);
    openssl.freeCertificate(root);
  }
}

function withCertificate(
  der: Uint8Array<ArrayBuffer>,
  openssl: OpenSsl,
  use: (certificate: Pointer) => void,
): void {
  const certificate = openssl.certificate(der);
  if (certificate === null) throw material(openssl, "cannot read the certificate");
  try {
    use(certificate);
  } finally {
    openssl.freeCertificate(certificate);
  }
}

function need(openssl: OpenSsl, result: number, what: string): void {
  if (result !== 1) throw material(openssl, `cannot set ${what}`);
}

/** `message` follows `ssl error: ` or `tls error: `. */
function material(openssl: OpenSsl, what: string): TlsHandshakeError {
  const said = openssl.takeErrors().at(-1)?.text;
  return new TlsHandshakeError("TLS_MATERIAL", said === undefined ? what : `${what}: ${said}`);
}

function text(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${value}\0`);
}
