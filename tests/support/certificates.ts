// Certificates that no honest CA would issue, and the chains around them, made anew for each test.
import { certifiedKey, generateLeafKey, LEAF_KEY_ALGORITHM } from "../../src/identity/leaf_key.ts";
import * as x509 from "../../src/identity/x509.ts";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { parseSpiffeId, spiffeId } from "../../src/tls/spiffe_id.ts";

const HOUR_MS = 3_600_000;
export const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
export const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

/** What a certificate says; a good leaf for both sides unless told otherwise. */
export interface OddOptions {
  /** URI names in order, as text or raw octets. Default: one good SPIFFE name. */
  readonly uris?: readonly (string | Uint8Array)[];
  /** Other general names before the URIs, DER. */
  readonly otherNames?: readonly Uint8Array[];
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  /** Extended key usages; null leaves the extension out. */
  readonly usages?: readonly string[] | null;
  readonly isCa?: boolean;
  readonly pathLength?: number;
  readonly subject?: string;
  readonly extraExtensions?: readonly x509.Extension[];
  /** Leaves the basic-constraints extension out. */
  readonly plainForm?: boolean;
}

/** One element of DER: tag, length, contents. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const length = contents.reduce((sum, { length }) => sum + length, 0);
  const head = length < 0x80
    ? [tag, length]
    : length < 0x100
    ? [tag, 0x81, length]
    : [tag, 0x82, length >> 8, length & 255];
  const element = new Uint8Array(head.length + length);
  element.set(head);
  let at = head.length;
  for (const content of contents) {
    element.set(content, at);
    at += content.length;
  }
  return element;
}

export function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export const GOOD_URI = "spiffe://cluster.local/ns/default/sa/odd";

/** A root, or an intermediate below one, that signs whatever it is asked to. */
export class OddCa {
  readonly certificate: x509.X509Certificate;
  /** Intermediates from this one up, without the root. */
  readonly chain: readonly x509.X509Certificate[];
  readonly root: x509.X509Certificate;
  readonly #keys: CryptoKeyPair;

  private constructor(
    certificate: x509.X509Certificate,
    keys: CryptoKeyPair,
    above: OddCa | null,
  ) {
    this.certificate = certificate;
    this.#keys = keys;
    this.root = above?.root ?? certificate;
    this.chain = above === null ? [] : [certificate, ...above.chain];
  }

  static async root(options: OddOptions = {}): Promise<OddCa> {
    const keys = await generateLeafKey();
    const subject = options.subject ?? "CN=odd root";
    const ca = { isCa: true, usages: null, uris: [], ...options };
    return new OddCa(await sign(keys, subject, keys.privateKey, { ...ca, subject }), keys, null);
  }

  /** @param sameKeyAs Whose key it certifies anew; else one of its own. */
  async intermediate(options: OddOptions = {}, sameKeyAs?: OddCa): Promise<OddCa> {
    const keys = sameKeyAs === undefined ? await generateLeafKey() : sameKeyAs.#keys;
    const subject = options.subject ?? `CN=odd intermediate ${this.chain.length}`;
    const ca = { isCa: true, usages: null, uris: [], ...options };
    const issuer = this.certificate.subject;
    const certificate = await sign(keys, issuer, this.#keys.privateKey, { ...ca, subject });
    return new OddCa(certificate, keys, this);
  }

  /** PKCS#8, to sign lists of revoked certificates with. */
  async privateKeyDer(): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await crypto.subtle.exportKey("pkcs8", this.#keys.privateKey));
  }

  /** A leaf with its key, chain and our root, whatever it says. */
  async leaf(options: OddOptions = {}): Promise<CertifiedKey> {
    const keys = await generateLeafKey();
    const issuer = this.certificate.subject;
    const certificate = await sign(keys, issuer, this.#keys.privateKey, options);
    const first = (options.uris ?? [GOOD_URI])[0];
    return await certifiedKey({
      identity: named(first),
      privateKey: keys.privateKey,
      chain: [certificate, ...this.chain],
      roots: [this.root],
      generation: 1,
    });
  }
}

/** The SPIFFE ID of a name, or one that nobody has. */
function named(uri: string | Uint8Array | undefined) {
  try {
    return parseSpiffeId(String(uri));
  } catch {
    return spiffeId({ trustDomain: "nobody", namespace: "nobody", serviceAccount: "nobody" });
  }
}

async function sign(
  keys: CryptoKeyPair,
  issuer: string,
  signingKey: CryptoKey,
  options: OddOptions,
): Promise<x509.X509Certificate> {
  const now = Date.now();
  const { usages = [SERVER_AUTH, CLIENT_AUTH], uris = [GOOD_URI], otherNames = [] } = options;
  const extensions: x509.Extension[] = [];
  if (options.plainForm !== true) {
    extensions.push(
      new x509.BasicConstraintsExtension(options.isCa ?? false, options.pathLength, true),
    );
  }
  if (usages !== null) extensions.push(new x509.ExtendedKeyUsageExtension([...usages]));
  const names = [
    ...otherNames,
    ...uris.map((uri) => der(0x86, typeof uri === "string" ? ascii(uri) : uri)),
  ];
  if (names.length > 0) {
    extensions.push(new x509.Extension("2.5.29.17", false, der(0x30, ...names)));
  }
  extensions.push(...options.extraExtensions ?? []);
  return await x509.X509CertificateGenerator.create({
    serialNumber: crypto.randomUUID().replaceAll("-", "").replace(/^./, "4"),
    subject: options.subject ?? "CN=odd leaf",
    issuer,
    notBefore: new Date(options.notBeforeMs ?? now - HOUR_MS),
    notAfter: new Date(options.notAfterMs ?? now + HOUR_MS),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: LEAF_KEY_ALGORITHM,
    extensions,
  });
}
