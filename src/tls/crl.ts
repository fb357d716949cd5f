// Revocation lists: which certificates of a verified path are revoked (spec/identity-and-inpod §5). Pure.
import { type KeyObject, verify, X509Certificate } from "node:crypto";
import { ProxyError } from "../base/errors.ts";
import { fullNames, type ParsedCertificate, sameBytes } from "./certificate_der.ts";
import type { CertificatePath } from "./chain.ts";
import { DER_TAG, DerError, DerReader, oidText, timeMs } from "./der.ts";
import { PeerRejectedError } from "./errors.ts";
import { signatureAlgorithm } from "./signatures.ts";

/** Octets of a file of lists. */
export const CRL_FILE_BYTES_MAX = 16 * 1024 * 1024;
/** Lists in one file. */
export const CRLS_MAX = 64;
/** Revoked certificates in all lists of one file. */
export const CRL_ENTRIES_MAX = 400_000;
/** Issuers' keys for which one list remembers whether they signed it. */
export const CRL_ISSUERS_MAX = 16;

/** A file or list cannot be used. `code`: `CRL_TOO_LARGE`, `CRL_MALFORMED`, `CRL_UNSUPPORTED`. */
export class CrlError extends ProxyError {
  readonly code: "CRL_TOO_LARGE" | "CRL_MALFORMED" | "CRL_UNSUPPORTED";

  constructor(code: CrlError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** The lists in use: immutable, but for what it remembers of signatures. */
export class CrlSet {
  /** Nothing is revoked. */
  static readonly empty: CrlSet = new CrlSet([]);
  readonly #lists: readonly Crl[];

  private constructor(lists: readonly Crl[]) {
    this.#lists = lists;
  }

  /**
   * Reads a file: all `X509 CRL` blocks of PEM, else one list in DER. An empty file, or PEM without such blocks, is
   * a set without lists.
   * @throws {CrlError} if any list cannot be read, or would have to be understood and is not.
   */
  static parse(file: Uint8Array<ArrayBuffer>): CrlSet {
    if (file.length > CRL_FILE_BYTES_MAX) {
      const text = `file is ${file.length} bytes, limit is ${CRL_FILE_BYTES_MAX}`;
      throw new CrlError("CRL_TOO_LARGE", `Cannot read revocation lists: ${text}`);
    }
    return CrlSet.fromDer(isPem(file) ? pemLists(file) : file.length === 0 ? [] : [file]);
  }

  /** As {@link CrlSet.parse}, of lists in DER; keeps them. */
  static fromDer(lists: readonly Uint8Array<ArrayBuffer>[]): CrlSet {
    if (lists.length > CRLS_MAX) {
      const text = `${lists.length} lists, limit is ${CRLS_MAX}`;
      throw new CrlError("CRL_TOO_LARGE", `Cannot read revocation lists: ${text}`);
    }
    let room = CRL_ENTRIES_MAX;
    const read: Crl[] = [];
    for (const [at, der] of lists.entries()) {
      const list = readList(der, { at, entriesMax: room });
      room -= list.entries;
      read.push(list);
    }
    return new CrlSet(read);
  }

  /** What {@link CrlSet.fromDer} would take. */
  get der(): readonly Uint8Array<ArrayBuffer>[] {
    return this.#lists.map(({ der }) => der);
  }

  /** Lists. */
  get size(): number {
    return this.#lists.length;
  }

  /** When the first of them was due to be replaced, epoch milliseconds; null where none says. */
  get dueMs(): number | null {
    const due = this.#lists.map(({ dueMs }) => dueMs).filter((each) => each !== null);
    return due.length === 0 ? null : Math.min(...due);
  }

  /** Revoked certificates in all of them. */
  get entries(): number {
    return this.#lists.reduce((sum, { entries }) => sum + entries, 0);
  }

  /**
   * Why this path is not to be trusted, or null. For each certificate below the root the first list counts that is its
   * issuer's and whose scope fits; without one it is good.
   */
  objectionTo(path: CertificatePath): PeerRejectedError | null {
    if (this.#lists.length === 0) return null;
    for (let at = 0; at + 1 < path.length; at++) {
      const certificate = path[at]!;
      const list = this.#lists.find((each) => each.covers(certificate, at === 0));
      const objection = list?.objectionTo(certificate, path[at + 1]!) ?? null;
      if (objection !== null) return objection;
    }
    return null;
  }
}

/** Which certificates a list is about (RFC 5280 §5.2.5). */
interface Scope {
  readonly only: "everything" | "leaves" | "authorities";
  /** DER; null: whatever points the certificate names. */
  readonly points: readonly Uint8Array[] | null;
}

interface CrlFields {
  readonly der: Uint8Array<ArrayBuffer>;
  readonly issuer: Uint8Array;
  readonly scope: Scope;
  readonly dueMs: number | null;
  readonly serials: ReadonlySet<string>;
  readonly signed: Uint8Array;
  readonly algorithm: string;
  readonly signature: Uint8Array;
}

class Crl {
  readonly #fields: CrlFields;
  readonly #issuers: { readonly der: Uint8Array; readonly signed: boolean }[] = [];

  constructor(fields: CrlFields) {
    this.#fields = fields;
  }

  get der(): Uint8Array<ArrayBuffer> {
    return this.#fields.der;
  }

  get entries(): number {
    return this.#fields.serials.size;
  }

  /** nextUpdate. */
  get dueMs(): number | null {
    return this.#fields.dueMs;
  }

  covers(certificate: ParsedCertificate, isLeaf: boolean): boolean {
    const { issuer, scope } = this.#fields;
    if (!sameBytes(certificate.issuer, issuer)) return false;
    if (scope.only !== "everything" && (scope.only === "leaves") !== isLeaf) return false;
    const { crlPoints } = certificate;
    const { points } = scope;
    if (points === null || crlPoints === null) return true;
    return points.some((point) => crlPoints.some((wanted) => sameBytes(point, wanted)));
  }

  objectionTo(
    certificate: ParsedCertificate,
    issuer: ParsedCertificate,
  ): PeerRejectedError | null {
    if (!this.#isSignedBy(issuer)) return rejection("CRL_UNUSABLE", "BadSignature");
    if (!issuer.signsCrls) return rejection("CRL_UNUSABLE", "IssuerInvalidForCrl");
    const isListed = this.#fields.serials.has(serialText(certificate.serial));
    return isListed ? rejection("REVOKED", "Revoked") : null;
  }

  /** Hashing a list of 100,000 takes longer than a handshake: once for each issuer. */
  #isSignedBy({ der }: ParsedCertificate): boolean {
    const known = this.#issuers.find((each) => sameBytes(each.der, der));
    if (known !== undefined) return known.signed;
    const signed = signatureHolds(this.#fields, der);
    if (this.#issuers.length >= CRL_ISSUERS_MAX) this.#issuers.shift();
    this.#issuers.push({ der, signed });
    return signed;
  }
}

/** Any failure to decide is a no. */
function signatureHolds(
  { signed, algorithm, signature }: CrlFields,
  issuerDer: Uint8Array<ArrayBuffer>,
): boolean {
  try {
    const key: KeyObject = new X509Certificate(issuerDer).publicKey;
    const known = signatureAlgorithm(algorithm, key);
    if (known === null) return false;
    return verify(known.digest, signed, key, signature);
  } catch {
    return false; // A key that the runtime cannot use verifies nothing.
  }
}

const PEM_BEGIN = "-----BEGIN";
const LIST_BLOCK = /^-----BEGIN X509 CRL-----\s*$([^-]*)^-----END X509 CRL-----\s*$/gm;
/** Wherever it is: one that is indented, or glued to what is before it, must not get lost without a word. */
const LIST_BEGIN = /-----BEGIN X509 CRL-----/g;

function isPem(file: Uint8Array): boolean {
  return file.length >= PEM_BEGIN.length &&
    [...PEM_BEGIN].every((character, at) => file[at] === character.charCodeAt(0));
}

function pemLists(file: Uint8Array): Uint8Array<ArrayBuffer>[] {
  const text = new TextDecoder("latin1").decode(file);
  const begun = text.match(LIST_BEGIN)?.length ?? 0;
  const lists = [...text.matchAll(LIST_BLOCK)].map((match, at) => {
    try {
      return Uint8Array.fromBase64(match[1]!);
    } catch {
      throw malformed(at, "it is no base64");
    }
  });
  if (lists.length !== begun) {
    throw malformed(lists.length, "a block does not end, or its lines are not its own");
  }
  return lists;
}

/** @param at Its number in the file, from 0. */
function readList(
  der: Uint8Array<ArrayBuffer>,
  { at, entriesMax }: { readonly at: number; readonly entriesMax: number },
): Crl {
  try {
    return new Crl(parseList(der, entriesMax));
  } catch (error) {
    if (error instanceof DerError) throw malformed(at, error.message);
    throw error;
  }
}

/** CertificateList (RFC 5280 §5.1). */
function parseList(der: Uint8Array<ArrayBuffer>, entriesMax: number): CrlFields {
  const outer = new DerReader(der);
  const list = outer.inside(outer.expect(DER_TAG.sequence));
  outer.finish();
  const signed = list.expect(DER_TAG.sequence);
  const algorithmBox = list.expect(DER_TAG.sequence);
  const signature = list.contents(list.expect(DER_TAG.bitString));
  list.finish();
  if (signature[0] !== 0) throw new DerError("signature is not whole octets");

  const body = list.inside(signed);
  const version = body.optional(DER_TAG.integer);
  const isV2 = version !== null;
  if (isV2 && !sameBytes(body.contents(version), V2)) throw unsupported("its version");
  const innerAlgorithm = body.expect(DER_TAG.sequence);
  if (!sameBytes(body.contents(innerAlgorithm), list.contents(algorithmBox))) {
    throw new DerError("signature algorithms differ");
  }
  const issuer = body.expect(DER_TAG.sequence);
  readTime(body);
  const { utcTime, generalizedTime } = DER_TAG;
  // When the next list was due does not matter to a verdict: an old one is better than none.
  const isDue = body.peekTag() === utcTime || body.peekTag() === generalizedTime;
  const dueMs = isDue ? readTime(body) : null;
  const revoked = body.optional(DER_TAG.sequence);
  const serials = revoked === null
    ? new Set<string>()
    : readEntries(body.inside(revoked), entriesMax);
  const extensions = body.optional(0xa0);
  body.finish();
  if (extensions !== null && !isV2) throw new DerError("extensions in a list of version 1");
  const scope = extensions === null ? WHOLE : readScope(body.inside(extensions));
  const algorithm = list.inside(algorithmBox);
  return {
    der,
    issuer: der.subarray(issuer.start, issuer.end),
    scope,
    dueMs,
    serials,
    signed: der.subarray(signed.start, signed.end),
    algorithm: oidText(algorithm.contents(algorithm.expect(DER_TAG.oid))),
    signature: signature.subarray(1),
  };
}

function readTime(reader: DerReader): number {
  const element = reader.next();
  return timeMs(element.tag, reader.contents(element));
}

function readEntries(list: DerReader, entriesMax: number): Set<string> {
  const serials = new Set<string>();
  let count = 0;
  while (!list.done) {
    if (++count > entriesMax) {
      const text = `more than ${CRL_ENTRIES_MAX} revoked certificates`;
      throw new CrlError("CRL_TOO_LARGE", `Cannot read revocation lists: ${text}`);
    }
    const entry = list.inside(list.expect(DER_TAG.sequence));
    serials.add(serialText(entry.contents(entry.expect(DER_TAG.integer))));
    const { tag } = entry.next();
    const isTime = tag === DER_TAG.utcTime || tag === DER_TAG.generalizedTime;
    if (!isTime) throw new DerError("an entry has no time");
    if (entry.done) continue;
    forEachExtension(entry, (oid, isCritical) => {
      // Such as certificateIssuer: the entry is about a certificate of somebody else.
      if (isCritical && !KNOWN_IN_ENTRIES.has(oid)) throw unsupported(`extension ${oid}`);
    });
  }
  return serials;
}

/** reasonCode, invalidityDate (RFC 5280 §5.3): why and since when does not matter. */
const KNOWN_IN_ENTRIES: ReadonlySet<string> = new Set(["2.5.29.21", "2.5.29.24"]);
/** authorityKeyIdentifier and cRLNumber: signatures and the file itself tell who and which. */
const KNOWN_IN_LISTS: ReadonlySet<string> = new Set(["2.5.29.35", "2.5.29.20"]);
const ISSUING_DISTRIBUTION_POINT = "2.5.29.28";
/** A list of changes since another one would be taken for a whole one. */
const DELTA_CRL_INDICATOR = "2.5.29.27";

/** INTEGER 1. */
const V2 = Uint8Array.of(1);
const WHOLE: Scope = { only: "everything", points: null };

function readScope(box: DerReader): Scope {
  let scope = WHOLE;
  forEachExtension(box, (oid, isCritical, value) => {
    if (oid === ISSUING_DISTRIBUTION_POINT) scope = readDistributionPoint(value);
    else if (oid === DELTA_CRL_INDICATOR || (isCritical && !KNOWN_IN_LISTS.has(oid))) {
      throw unsupported(`extension ${oid}`);
    }
  });
  return scope;
}

function readDistributionPoint(value: DerReader): Scope {
  const fields = value.inside(value.expect(DER_TAG.sequence));
  value.finish();
  const name = fields.optional(0xa0);
  const isSet = (tag: number) => {
    const element = fields.optional(tag);
    return element !== null && fields.contents(element)[0] !== 0;
  };
  const onlyLeaves = isSet(0x81);
  const onlyAuthorities = isSet(0x82);
  if (fields.optional(0x83) !== null) throw unsupported("a list for some reasons only");
  if (isSet(0x84)) throw unsupported("a list about certificates of other issuers");
  if (isSet(0x85)) throw unsupported("a list of attribute certificates");
  fields.finish();
  if (onlyLeaves && onlyAuthorities) throw new DerError("a list about nothing");
  return {
    only: onlyLeaves ? "leaves" : onlyAuthorities ? "authorities" : "everything",
    points: name === null ? null : fullNames(fields.inside(name)),
  };
}

function forEachExtension(
  box: DerReader,
  each: (oid: string, isCritical: boolean, value: DerReader) => void,
): void {
  const list = box.inside(box.expect(DER_TAG.sequence));
  box.finish();
  const seen = new Set<string>();
  while (!list.done) {
    const extension = list.inside(list.expect(DER_TAG.sequence));
    const oid = oidText(extension.contents(extension.expect(DER_TAG.oid)));
    const critical = extension.optional(DER_TAG.boolean);
    const value = extension.expect(DER_TAG.octetString);
    extension.finish();
    if (seen.has(oid)) throw new DerError("extension is repeated");
    seen.add(oid);
    const isCritical = critical !== null && extension.contents(critical)[0] !== 0;
    each(oid, isCritical, extension.inside(value));
  }
}

/** Hex, without the octet that only makes the number positive. */
function serialText(serial: Uint8Array): string {
  const isPadded = serial.length > 1 && serial[0] === 0;
  return (isPadded ? serial.subarray(1) : serial).toHex();
}

function malformed(at: number, why: string): CrlError {
  return new CrlError("CRL_MALFORMED", `Cannot read revocation list ${at + 1}: ${why}`);
}

function unsupported(what: string): CrlError {
  return new CrlError("CRL_UNSUPPORTED", `Cannot use a revocation list: ${what} is not supported`);
}

function rejection(code: "REVOKED" | "CRL_UNUSABLE", text: string): PeerRejectedError {
  return new PeerRejectedError(code, { display: text, debug: text });
}
