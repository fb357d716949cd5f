// A certificate authority of our own, for local mode and tests: in memory, or shared through a folder.
import { createPrivateKey, createPublicKey } from "node:crypto";
import { ProxyError } from "../base/errors.ts";
import type { CertifiedKey } from "../tls/certificate.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import { certificateDer, certificatesPem, certifiedKey, generateLeafKey } from "./leaf_key.ts";
import * as x509 from "./x509.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** Validity of a root made here. */
export const ROOT_LIFETIME_MS = 3650 * DAY_MS;
/** Validity of a leaf unless asked otherwise, from now. */
export const LEAF_LIFETIME_MS = DAY_MS;
/** How far before now a certificate begins, for peers whose clock is behind. */
export const BACKDATE_MS = 2 * 60 * 1000;

/** Folder or contents of a shared root cannot be used. */
export class FakeCaError extends ProxyError {
  readonly code = "FAKE_CA";
}

/** How a key signs. */
type SigningAlgorithm = EcdsaParams & EcKeyImportParams | RsaHashedImportParams;

interface RootKey {
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly algorithm: SigningAlgorithm;
}

/** Signs leafs for whoever asks: a throw-away trust root, never for production. */
export class FakeCa {
  readonly #root: x509.X509Certificate;
  readonly #key: RootKey;
  #generation = 0;

  private constructor(root: x509.X509Certificate, key: RootKey) {
    this.#root = root;
    this.#key = key;
  }

  /** A new root that lives as long as this object. */
  static async create(options: { readonly nowMs: number }): Promise<FakeCa> {
    const key = await readKey(await newKeyPem());
    return new FakeCa(await selfSign(key, options.nowMs), key);
  }

  /**
   * The root in `folder` (`root-cert.pem`, `root-key.pem`), made there where absent: whoever comes first
   * makes it, even of several processes starting at once. The key is readable by its owner alone.
   * @throws {FakeCaError} if the files cannot be read, written or do not belong together.
   */
  static async open(folder: string, options: { readonly nowMs: number }): Promise<FakeCa> {
    const keyPath = `${folder}/root-key.pem`;
    const rootPath = `${folder}/root-cert.pem`;
    const key = await readKey(await readOrMake(keyPath, newKeyPem), keyPath);
    const rootPem = await readOrMake(
      rootPath,
      async () => certificatesPem([await selfSign(key, options.nowMs)]),
    );
    const root = await attempt(
      `read a certificate from ${rootPath}`,
      () => Promise.resolve(new x509.X509Certificate(rootPem)),
    );
    const spki = new Uint8Array(await crypto.subtle.exportKey("spki", key.publicKey));
    if (!sameBytes(new Uint8Array(root.publicKey.rawData), spki)) {
      throw new FakeCaError(
        `${keyPath} is not the key of ${rootPath}: remove both, or bring its pair`,
      );
    }
    return new FakeCa(root, key);
  }

  get rootPem(): string {
    return certificatesPem([this.#root]);
  }

  get rootDer(): Uint8Array<ArrayBuffer> {
    return certificateDer(this.#root);
  }

  /**
   * A fresh key and leaf for `identity`, valid for both sides of TLS, from a little before
   * `validity.nowMs` until `lifetimeMs` after it (whole seconds, rounded down).
   */
  async issue(
    identity: SpiffeId,
    validity: {
      readonly nowMs: number;
      readonly lifetimeMs?: number;
      readonly backdateMs?: number;
    },
  ): Promise<CertifiedKey> {
    const { nowMs, lifetimeMs = LEAF_LIFETIME_MS, backdateMs = BACKDATE_MS } = validity;
    const keys = await generateLeafKey();
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject: [],
      // As it is written there: the same name in another string type would not be the issuer's.
      issuer: this.#root.subjectName,
      notBefore: new Date(nowMs - backdateMs),
      notAfter: new Date(nowMs + lifetimeMs),
      publicKey: keys.publicKey,
      signingKey: this.#key.privateKey,
      signingAlgorithm: this.#key.algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          x509.ExtendedKeyUsage.clientAuth,
        ]),
        // Critical, as the subject is empty (RFC 5280 §4.2.1.6).
        new x509.SubjectAlternativeNameExtension([{ type: "url", value: identity.uri }], true),
      ],
    });
    return await certifiedKey({
      identity,
      privateKey: keys.privateKey,
      chain: [leaf],
      roots: [this.#root],
      generation: ++this.#generation,
    });
  }
}

async function newKeyPem(): Promise<string> {
  const pair = await generateLeafKey();
  const der = await crypto.subtle.exportKey("pkcs8", pair.privateKey);
  return x509.PemConverter.encode(der, "PRIVATE KEY") + "\n";
}

/** PKCS#8 or SEC 1 text of an EC (P-256, P-384) or RSA key. */
async function readKey(pem: string, path = "the new key"): Promise<RootKey> {
  return await attempt(`read a private key from ${path}`, async () => {
    const key = createPrivateKey(pem);
    const algorithm = signingAlgorithm(key.asymmetricKeyType, key.asymmetricKeyDetails?.namedCurve);
    const pkcs8 = new Uint8Array(key.export({ type: "pkcs8", format: "der" }));
    const spki = new Uint8Array(createPublicKey(pem).export({ type: "spki", format: "der" }));
    return {
      algorithm,
      privateKey: await crypto.subtle.importKey("pkcs8", pkcs8, algorithm, false, ["sign"]),
      publicKey: await crypto.subtle.importKey("spki", spki, algorithm, true, ["verify"]),
    };
  });
}

function signingAlgorithm(type: string | undefined, curve: string | undefined): SigningAlgorithm {
  if (type === "ec" && (curve === "prime256v1" || curve === "P-256")) {
    return { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  }
  if (type === "ec" && (curve === "secp384r1" || curve === "P-384")) {
    return { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" };
  }
  if (type === "rsa") return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  throw new FakeCaError(
    `a root key must be EC P-256, EC P-384 or RSA, this one is ${type} ${curve}`,
  );
}

async function selfSign(key: RootKey, nowMs: number): Promise<x509.X509Certificate> {
  return await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: "O=Throw-away mesh root",
    issuer: "O=Throw-away mesh root",
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + ROOT_LIFETIME_MS),
    publicKey: key.publicKey,
    signingKey: key.privateKey,
    signingAlgorithm: key.algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(key.publicKey),
    ],
  });
}

/** 16 random octets in hex, positive as DER wants it. */
function newSerial(): string {
  const octets = crypto.getRandomValues(new Uint8Array(16));
  octets[0] = (octets[0]! & 0x7f) | 0x40;
  return [...octets].map((octet) => octet.toString(16).padStart(2, "0")).join("");
}

/**
 * The text of `path`, or else what `make` gives, put there whole: written beside it, then linked to its
 * name, which fails if somebody else was first; then theirs counts.
 */
async function readOrMake(path: string, make: () => Promise<string>): Promise<string> {
  const there = await readIfThere(path);
  if (there !== null) return there;
  const made = await make();
  const draft = `${path}.${crypto.randomUUID()}`;
  return await attempt(`write ${path}`, async () => {
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(draft, made, { createNew: true, mode: 0o600 });
    try {
      await Deno.link(draft, path);
      return made;
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      return await Deno.readTextFile(path);
    } finally {
      await Deno.remove(draft);
    }
  });
}

async function readIfThere(path: string): Promise<string | null> {
  return await attempt(`read ${path}`, async () => {
    try {
      return await Deno.readTextFile(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return null;
      throw error;
    }
  });
}

/** Runs `act`; what it throws becomes a FakeCaError that says what we tried. Key material never shows. */
async function attempt<Value>(what: string, act: () => Promise<Value>): Promise<Value> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof FakeCaError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new FakeCaError(`Cannot ${what}: ${reason}`, { cause: error });
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}
