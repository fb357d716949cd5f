// Certificates written in DER by hand, so that each octet can be wrong; keys are made anew in each process.
import { Buffer } from "node:buffer";
import { constants, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { PrivateKey } from "../../src/tls/private_key.ts";
import { parseSpiffeId } from "../../src/tls/spiffe_id.ts";
import { element } from "./crls.ts";

export type Der = Uint8Array<ArrayBuffer>;

const HOUR_MS = 3_600_000;

/** The workload that the odd peers of these tests say they are. */
export const ODD_URI = "spiffe://cluster.local/ns/default/sa/odd";

export const OIDS = {
  commonName: "2.5.4.3",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  issuerAltName: "2.5.29.18",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  certificatePolicies: "2.5.29.32",
  extendedKeyUsage: "2.5.29.37",
  anyUsage: "2.5.29.37.0",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
  codeSigning: "1.3.6.1.5.5.7.3.3",
} as const;

export interface Keys {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

type KeyKind = "p256" | "p384" | "p521" | "ed25519" | "rsa1024" | "rsa2048";

const keysMade = new Map<string, Keys>();

/** One pair per kind and name, made when first wanted: RSA takes its time. */
export function keysOf(kind: KeyKind, name = ""): Keys {
  let keys = keysMade.get(kind + name);
  if (keys === undefined) keysMade.set(kind + name, keys = makeKeys(kind));
  return keys;
}

function makeKeys(kind: KeyKind): Keys {
  switch (kind) {
    case "p256":
      return generateKeyPairSync("ec", { namedCurve: "P-256" });
    case "p384":
      return generateKeyPairSync("ec", { namedCurve: "P-384" });
    case "p521":
      return generateKeyPairSync("ec", { namedCurve: "P-521" });
    case "ed25519":
      return generateKeyPairSync("ed25519");
    case "rsa1024":
      return generateKeyPairSync("rsa", { modulusLength: 1024 });
    case "rsa2048":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
  }
}

const NULL = element(0x05);
const SHA256 = element(0x30, oid("2.16.840.1.101.3.4.2.1"));

/** Algorithm identifiers, and how node:crypto makes such signatures. */
const SIGNATURES = {
  "ecdsa-sha256": { id: [oid("1.2.840.10045.4.3.2")], digest: "sha256", pss: false },
  "ecdsa-sha384": { id: [oid("1.2.840.10045.4.3.3")], digest: "sha384", pss: false },
  "ecdsa-sha512": { id: [oid("1.2.840.10045.4.3.4")], digest: "sha512", pss: false },
  "ecdsa-sha1": { id: [oid("1.2.840.10045.4.1")], digest: "sha1", pss: false },
  "rsa-sha256": { id: [oid("1.2.840.113549.1.1.11"), NULL], digest: "sha256", pss: false },
  "rsa-sha1": { id: [oid("1.2.840.113549.1.1.5"), NULL], digest: "sha1", pss: false },
  "rsa-pss": {
    id: [
      oid("1.2.840.113549.1.1.10"),
      element(
        0x30,
        element(0xa0, SHA256),
        element(0xa1, element(0x30, oid("1.2.840.113549.1.1.8"), SHA256)),
        element(0xa2, element(0x02, Uint8Array.of(32))),
      ),
    ],
    digest: "sha256",
    pss: true,
  },
  "ed25519": { id: [oid("1.3.101.112")], digest: null, pss: false },
} as const;

export type SignatureName = keyof typeof SIGNATURES;

/** Who signs: a name and a key, whatever certificates there are of them. */
export interface Issuer {
  readonly name: Der;
  readonly keys: Keys;
  readonly algorithm: SignatureName;
}

/** What a certificate says; a good leaf of {@link ODD_URI} unless told otherwise. */
export interface CertificateParts {
  /** As encoded: 0 is version 1, which is then left out. Default 2, version 3. */
  readonly version?: number;
  /** Contents of the INTEGER. */
  readonly serial?: Uint8Array;
  readonly subject?: Der;
  /** Whole elements. */
  readonly notBefore?: Der;
  readonly notAfter?: Der;
  readonly keys?: Keys;
  /** After the subject's key: unique identifiers. */
  readonly uniqueIds?: readonly Der[];
  /** Null: none at all. */
  readonly extensions?: readonly Der[] | null;
  /** What the outside says of the signature, where it is something else than the inside. */
  readonly outerAlgorithm?: SignatureName;
}

/** A Certificate (RFC 5280 §4.1). */
export function certificate(by: Issuer, parts: CertificateParts = {}): Der {
  const { version = 2, extensions = leafExtensions(), keys = keysOf("p256", "leaf") } = parts;
  const algorithm = algorithmId(by.algorithm);
  const body = element(
    0x30,
    ...version === 0 ? [] : [element(0xa0, element(0x02, Uint8Array.of(version)))],
    element(0x02, parts.serial ?? randomSerial()),
    algorithm,
    by.name,
    element(0x30, parts.notBefore ?? utc(-HOUR_MS), parts.notAfter ?? utc(HOUR_MS)),
    parts.subject ?? name("odd leaf"),
    new Uint8Array(keys.publicKey.export({ format: "der", type: "spki" })),
    ...parts.uniqueIds ?? [],
    ...extensions === null ? [] : [element(0xa3, element(0x30, ...extensions))],
  );
  const outer = parts.outerAlgorithm === undefined ? algorithm : algorithmId(parts.outerAlgorithm);
  return element(0x30, body, outer, element(0x03, Uint8Array.of(0), signed(body, by)));
}

function signed(body: Uint8Array, { algorithm, keys }: Issuer): Der {
  const { digest, pss } = SIGNATURES[algorithm];
  const key = pss
    ? { key: keys.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
    : keys.privateKey;
  return new Uint8Array(sign(digest, body, key));
}

function algorithmId(algorithm: SignatureName): Der {
  return element(0x30, ...SIGNATURES[algorithm].id);
}

function randomSerial(): Uint8Array {
  const serial = crypto.getRandomValues(new Uint8Array(16));
  serial[0] = serial[0]! & 0x3f | 0x40;
  return serial;
}

/** A CA that signs whatever it is asked to. */
export class HandMadeCa implements Issuer {
  readonly name: Der;
  readonly keys: Keys;
  readonly algorithm: SignatureName;
  /** Its own certificate. */
  readonly der: Der;

  constructor(
    commonName: string,
    options: {
      readonly above?: Issuer;
      readonly keys?: Keys;
      readonly algorithm?: SignatureName;
      readonly parts?: CertificateParts;
    } = {},
  ) {
    this.name = name(commonName);
    this.keys = options.keys ?? keysOf("p256", commonName);
    this.algorithm = options.algorithm ?? "ecdsa-sha256";
    this.der = certificate(options.above ?? this, {
      subject: this.name,
      keys: this.keys,
      extensions: [basicConstraints({ isCa: true })],
      ...options.parts,
    });
  }
}

/** A Name with one common name. */
export function name(commonName: string): Der {
  const text = element(0x0c, new TextEncoder().encode(commonName));
  return element(0x30, element(0x31, element(0x30, oid(OIDS.commonName), text)));
}

/** UTCTime, so long from now. */
export function utc(fromNowMs: number): Der {
  const digits = new Date(Date.now() + fromNowMs).toISOString().slice(2, 19).replace(/\D/g, "");
  return element(0x17, octets(`${digits}Z`));
}

/** One octet per character. */
export function octets(text: string): Der {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function oid(dotted: string): Der {
  const [first, second, ...rest] = dotted.split(".").map(Number);
  const arcs = [first! * 40 + second!, ...rest];
  return element(0x06, Uint8Array.from(arcs.flatMap(base128)));
}

function base128(arc: number): number[] {
  const digits = [arc & 0x7f];
  for (let left = arc >>> 7; left > 0; left >>>= 7) digits.unshift(left & 0x7f | 0x80);
  return digits;
}

export function extension(dotted: string, value: Uint8Array, critical = false): Der {
  const flag = critical ? [element(0x01, Uint8Array.of(0xff))] : [];
  return element(0x30, oid(dotted), ...flag, element(0x04, value));
}

export function basicConstraints(
  options: { readonly isCa: boolean; readonly pathLength?: number },
): Der {
  const ca = options.isCa ? [element(0x01, Uint8Array.of(0xff))] : [];
  const most = options.pathLength;
  const length = most === undefined ? [] : [element(0x02, Uint8Array.of(most))];
  return extension(OIDS.basicConstraints, element(0x30, ...ca, ...length), true);
}

export function usages(...dotted: readonly string[]): Der {
  return extension(OIDS.extendedKeyUsage, element(0x30, ...dotted.map(oid)));
}

/** @param bits The first octet of the BIT STRING's value. */
export function keyUsage(bits: number): Der {
  return extension(OIDS.keyUsage, element(0x03, Uint8Array.of(0, bits)), true);
}

export function uri(text: string | Uint8Array): Der {
  return element(0x86, typeof text === "string" ? octets(text) : text);
}

export function dns(text: string): Der {
  return element(0x82, octets(text));
}

export function altNames(names: readonly Uint8Array[], critical = false): Der {
  return extension(OIDS.subjectAltName, element(0x30, ...names), critical);
}

/** What a good leaf has, with other names or usages, and more behind them. */
export function leafExtensions(
  options: {
    readonly names?: readonly Uint8Array[] | null;
    readonly usages?: readonly string[] | null;
    readonly more?: readonly Der[];
  } = {},
): Der[] {
  const { names = [uri(ODD_URI)], usages: used = [OIDS.serverAuth, OIDS.clientAuth] } = options;
  return [
    basicConstraints({ isCa: false }),
    ...used === null ? [] : [usages(...used)],
    ...names === null ? [] : [altNames(names)],
    ...options.more ?? [],
  ];
}

/** The form that a network takes its own certificate in. */
export function certifiedKeyOf(
  chainDer: readonly Der[],
  { privateKey }: Keys,
  rootsDer: readonly Der[],
): CertifiedKey {
  return {
    identity: parseSpiffeId(ODD_URI),
    chainDer,
    chainPem: chainDer.map(pem).join(""),
    key: new PrivateKey(
      new Uint8Array(Buffer.from(privateKey.export({ format: "der", type: "pkcs8" }))),
    ),
    rootsDer,
    rootsPem: rootsDer.map(pem).join(""),
    notBeforeMs: Date.now() - HOUR_MS,
    notAfterMs: Date.now() + HOUR_MS,
    generation: 1,
  };
}

function pem(der: Uint8Array): string {
  const body = der.toBase64().replace(/.{64}(?!$)/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;
}
