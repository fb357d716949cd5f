// Lists of revoked certificates, good ones and odd ones, written in DER by hand and signed by whoever is asked to.
import { Buffer } from "node:buffer";
import { createPrivateKey, type KeyObject, sign } from "node:crypto";
import { parseCertificate } from "../../src/tls/certificate_der.ts";
import type { OddCa } from "./certificates.ts";

/** What a list says; nothing is revoked unless told otherwise. */
export interface CrlOptions {
  /** DER of the certificates that it lists. */
  readonly revoked?: readonly Uint8Array<ArrayBuffer>[];
  /** Serials (contents of the INTEGER) that it lists after those. */
  readonly serials?: readonly Uint8Array[];
  /** Extensions of the last entry, whole DER elements. */
  readonly entryExtensions?: readonly Uint8Array[];
  /** Extensions of the list. */
  readonly extensions?: readonly Uint8Array[];
  readonly thisUpdateMs?: number;
  /** Null: it does not say. */
  readonly nextUpdateMs?: number | null;
  /** 1: no version, no extensions. */
  readonly version?: 1 | 2 | 3;
  /** The signature's algorithm, dotted. */
  readonly algorithm?: "ecdsa-sha256" | "rsa-sha256" | "ed25519" | "ecdsa-sha1";
}

export interface CrlSigner {
  /** The certificate that it is issued as, DER. */
  readonly certificate: Uint8Array<ArrayBuffer>;
  readonly key: KeyObject;
}

const HOUR_MS = 3_600_000;

const ALGORITHMS = {
  "ecdsa-sha256": { oid: [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], digest: "sha256" },
  "ecdsa-sha1": { oid: [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], digest: "sha1" },
  "rsa-sha256": { oid: [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], digest: "sha256" },
  "ed25519": { oid: [0x2b, 0x65, 0x70], digest: null },
} as const;

/** Of a CA of `certificates.ts`. */
export async function signerOf(ca: OddCa): Promise<CrlSigner> {
  const der = Buffer.from(await ca.privateKeyDer());
  return {
    certificate: new Uint8Array(ca.certificate.rawData),
    key: createPrivateKey({ key: der, format: "der", type: "pkcs8" }),
  };
}

/** A CertificateList (RFC 5280 §5.1), DER. */
export function makeCrl(signer: CrlSigner, options: CrlOptions = {}): Uint8Array<ArrayBuffer> {
  const { version = 2, algorithm = "ecdsa-sha256", nextUpdateMs = Date.now() + HOUR_MS } = options;
  const serials = [
    ...(options.revoked ?? []).map((der) => parseCertificate(der).serial),
    ...options.serials ?? [],
  ];
  const entries = serials.map((serial, at) => {
    const isLast = at === serials.length - 1;
    const extra = isLast && options.entryExtensions !== undefined
      ? [element(0x30, ...options.entryExtensions)]
      : [];
    return element(0x30, element(0x02, serial), time(Date.now() - HOUR_MS), ...extra);
  });
  const { oid, digest } = ALGORITHMS[algorithm];
  const algorithmDer = element(0x30, element(0x06, Uint8Array.from(oid)));
  const body = element(
    0x30,
    ...version === 1 ? [] : [element(0x02, Uint8Array.of(version - 1))],
    algorithmDer,
    parseCertificate(signer.certificate).subject,
    time(options.thisUpdateMs ?? Date.now() - HOUR_MS),
    ...nextUpdateMs === null ? [] : [time(nextUpdateMs)],
    ...entries.length === 0 ? [] : [element(0x30, joined(entries))],
    ...options.extensions === undefined
      ? []
      : [element(0xa0, element(0x30, ...options.extensions))],
  );
  const signature = new Uint8Array(sign(digest, body, signer.key));
  return element(0x30, body, algorithmDer, element(0x03, Uint8Array.of(0), signature));
}

export function crlPem(der: Uint8Array): string {
  const body = der.toBase64().replace(/.{64}(?!$)/g, "$&\n");
  return `-----BEGIN X509 CRL-----\n${body}\n-----END X509 CRL-----\n`;
}

/** An Extension. */
export function crlExtension(
  oid: readonly number[],
  value: Uint8Array,
  { critical }: { readonly critical: boolean },
): Uint8Array {
  const flag = critical ? [element(0x01, Uint8Array.of(0xff))] : [];
  return element(0x30, element(0x06, Uint8Array.from(oid)), ...flag, element(0x04, value));
}

/** issuingDistributionPoint with these fields (whole DER elements). */
export function distributionPoint(...fields: readonly Uint8Array[]): Uint8Array {
  return crlExtension([0x55, 0x1d, 28], element(0x30, ...fields), { critical: true });
}

/** Not by spreading: there may be more than a call takes arguments. */
function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** One DER element; contents up to 16 MiB. */
export function element(tag: number, ...contents: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const length = contents.reduce((sum, each) => sum + each.length, 0);
  const head = length < 0x80
    ? [tag, length]
    : length < 0x100
    ? [tag, 0x81, length]
    : length < 0x10000
    ? [tag, 0x82, length >> 8, length & 255]
    : [tag, 0x83, length >> 16, length >> 8 & 255, length & 255];
  return joined([Uint8Array.from(head), ...contents]);
}

function time(epochMs: number): Uint8Array {
  const digits = new Date(epochMs).toISOString().slice(2, 19).replace(/\D/g, "");
  return element(0x17, new TextEncoder().encode(`${digits}Z`));
}
