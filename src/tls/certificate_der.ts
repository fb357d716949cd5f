// The fields of an X.509 certificate that a verdict needs, read from DER. Pure: no signature is checked here.
import { DER_TAG, DerError, DerReader, oidText, timeMs } from "./der.ts";

/** Extended key usages of TLS (RFC 5280 §4.2.1.12). */
export const EKU_SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
export const EKU_CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

/** Octets of one certificate that we are willing to parse. */
export const CERTIFICATE_BYTES_MAX = 64 * 1024;

/** Extensions that are understood, or harmless for us, even when marked critical. */
const KNOWN_EXTENSIONS: ReadonlySet<string> = new Set([
  "2.5.29.15", // keyUsage: only cRLSign is looked at (spec/identity-and-inpod §4.2, §5.2).
  "2.5.29.17", // subjectAltName
  "2.5.29.19", // basicConstraints
  "2.5.29.30", // nameConstraints
  "2.5.29.31", // cRLDistributionPoints: lists come by file; this tells which of them is meant.
  "2.5.29.37", // extKeyUsage
]);

export interface ParsedCertificate {
  readonly der: Uint8Array<ArrayBuffer>;
  /** Contents of the serial number's INTEGER. */
  readonly serial: Uint8Array;
  /** How it was signed, as dotted text. */
  readonly signatureAlgorithm: string;
  /** Raw DER names: compared octet by octet. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** 1, 2 or 3. */
  readonly version: number;
  readonly isCa: boolean;
  /** Intermediates allowed below this one; null for no limit. */
  readonly pathLength: number | null;
  /** OIDs as dotted text; null where the extension is absent (then every usage is fine). */
  readonly extendedKeyUsage: readonly string[] | null;
  /** Contents of each URI name of subjectAltName, in order, as raw IA5 octets. */
  readonly uriNames: readonly Uint8Array[];
  /** True where nameConstraints speak about URIs, which we do not evaluate. */
  readonly constrainsUris: boolean;
  readonly unknownCriticalExtension: boolean;
  /** False where keyUsage is there and does not say cRLSign. */
  readonly signsCrls: boolean;
  /** The names (DER) that cRLDistributionPoints give without conditions; null where the extension is absent. */
  readonly crlPoints: readonly Uint8Array[] | null;
}

interface Extensions {
  isCa: boolean;
  pathLength: number | null;
  extendedKeyUsage: string[] | null;
  uriNames: Uint8Array[];
  constrainsUris: boolean;
  unknownCriticalExtension: boolean;
  signsCrls: boolean;
  crlPoints: Uint8Array[] | null;
}

/**
 * Reads one certificate (RFC 5280 §4.1). The result borrows from `der`.
 * @throws {DerError} if it is not one, has bytes after it, repeats an extension or exceeds
 * {@link CERTIFICATE_BYTES_MAX}.
 */
export function parseCertificate(der: Uint8Array<ArrayBuffer>): ParsedCertificate {
  if (der.length > CERTIFICATE_BYTES_MAX) throw new DerError("certificate is too large");
  const outer = new DerReader(der);
  const certificate = outer.inside(outer.expect(DER_TAG.sequence));
  outer.finish();
  const tbs = certificate.inside(certificate.expect(DER_TAG.sequence));
  const outerAlgorithm = certificate.expect(DER_TAG.sequence);
  const signature = certificate.contents(certificate.expect(DER_TAG.bitString));
  certificate.finish();
  if (signature[0] !== 0) throw new DerError("signature is not whole octets");

  const versionBox = tbs.optional(0xa0);
  const version = versionBox === null ? 1 : readVersion(tbs.inside(versionBox));
  const serial = tbs.contents(tbs.expect(DER_TAG.integer));
  if (serial.length === 0) throw new DerError("serial number is empty");
  // Named twice, once under the signature: both must agree (RFC 5280 §4.1.1.2).
  const innerAlgorithm = tbs.expect(DER_TAG.sequence);
  if (!sameBytes(tbs.contents(innerAlgorithm), certificate.contents(outerAlgorithm))) {
    throw new DerError("signature algorithms differ");
  }
  const algorithm = certificate.inside(outerAlgorithm);
  const issuer = tbs.expect(DER_TAG.sequence);
  const validity = tbs.inside(tbs.expect(DER_TAG.sequence));
  const subject = tbs.expect(DER_TAG.sequence);
  tbs.expect(DER_TAG.sequence);
  // Unique identifiers (RFC 5280 §4.1.2.8) may stand here, and never do: neither the runtime nor the original reads them.
  const extensionBox = tbs.optional(0xa3);
  tbs.finish();
  const notBefore = validity.next();
  const notAfter = validity.next();
  validity.finish();

  const extensions: Extensions = {
    isCa: false,
    pathLength: null,
    extendedKeyUsage: null,
    uriNames: [],
    constrainsUris: false,
    unknownCriticalExtension: false,
    signsCrls: true,
    crlPoints: null,
  };
  if (extensionBox !== null) readExtensions(tbs.inside(extensionBox), extensions);
  return {
    der,
    serial,
    signatureAlgorithm: oidText(algorithm.contents(algorithm.expect(DER_TAG.oid))),
    issuer: der.subarray(issuer.start, issuer.end),
    subject: der.subarray(subject.start, subject.end),
    notBeforeMs: timeMs(notBefore.tag, validity.contents(notBefore)),
    notAfterMs: timeMs(notAfter.tag, validity.contents(notAfter)),
    version,
    ...extensions,
  };
}

/** Octet by octet. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function readVersion(box: DerReader): number {
  const value = smallInteger(box);
  box.finish();
  if (value > 2) throw new DerError("unknown certificate version");
  return value + 1;
}

/** A non-negative INTEGER below 2^31. */
function smallInteger(reader: DerReader): number {
  const contents = reader.contents(reader.expect(DER_TAG.integer));
  if (contents.length === 0 || contents.length > 4 || contents[0]! >= 0x80) {
    throw new DerError("integer is out of range");
  }
  let value = 0;
  for (const octet of contents) value = value * 256 + octet;
  return value;
}

function readExtensions(box: DerReader, into: Extensions): void {
  const list = box.inside(box.expect(DER_TAG.sequence));
  box.finish();
  const seen = new Set<string>();
  while (!list.done) {
    const extension = list.inside(list.expect(DER_TAG.sequence));
    const oid = oidText(extension.contents(extension.expect(DER_TAG.oid)));
    const criticalBox = extension.optional(DER_TAG.boolean);
    const critical = criticalBox !== null && readBoolean(extension.contents(criticalBox));
    const valueBox = extension.expect(DER_TAG.octetString);
    extension.finish();
    if (seen.has(oid)) throw new DerError("extension is repeated");
    seen.add(oid);
    const value = extension.inside(valueBox);
    if (oid === "2.5.29.17") readSubjectAltName(value, into);
    else if (oid === "2.5.29.19") readBasicConstraints(value, into);
    else if (oid === "2.5.29.30") readNameConstraints(value, into);
    else if (oid === "2.5.29.37") readExtendedKeyUsage(value, into);
    else if (oid === "2.5.29.15") into.signsCrls = saysCrlSign(value);
    else if (oid === "2.5.29.31") into.crlPoints = readCrlPoints(value);
    else if (critical && !KNOWN_EXTENSIONS.has(oid)) into.unknownCriticalExtension = true;
  }
}

function readBoolean(contents: Uint8Array): boolean {
  if (contents.length !== 1) throw new DerError("boolean is malformed");
  return contents[0] !== 0;
}

function readBasicConstraints(value: DerReader, into: Extensions): void {
  const fields = value.inside(value.expect(DER_TAG.sequence));
  value.finish();
  const ca = fields.optional(DER_TAG.boolean);
  if (ca !== null) into.isCa = readBoolean(fields.contents(ca));
  if (fields.peekTag() === DER_TAG.integer) into.pathLength = smallInteger(fields);
  fields.finish();
}

function readExtendedKeyUsage(value: DerReader, into: Extensions): void {
  const usages = value.inside(value.expect(DER_TAG.sequence));
  value.finish();
  into.extendedKeyUsage = [];
  while (!usages.done) {
    into.extendedKeyUsage.push(oidText(usages.contents(usages.expect(DER_TAG.oid))));
  }
}

/** GeneralName's uniformResourceIdentifier (RFC 5280 §4.2.1.6): context tag 6, primitive. */
const URI_TAG = 0x86;

function readSubjectAltName(value: DerReader, into: Extensions): void {
  const names = value.inside(value.expect(DER_TAG.sequence));
  value.finish();
  while (!names.done) {
    const name = names.next();
    if (name.tag === URI_TAG) into.uriNames.push(names.contents(name));
  }
}

function readNameConstraints(value: DerReader, into: Extensions): void {
  const fields = value.inside(value.expect(DER_TAG.sequence));
  value.finish();
  while (!fields.done) {
    const subtrees = fields.inside(fields.next());
    while (!subtrees.done) {
      const base = subtrees.inside(subtrees.expect(DER_TAG.sequence)).next();
      if (base.tag === URI_TAG) into.constrainsUris = true;
    }
  }
}

/** Bit 6 of keyUsage (RFC 5280 §4.2.1.3). What is no such bit string says nothing. */
function saysCrlSign(value: DerReader): boolean {
  const bits = value.contents(value.next());
  return ((bits[1] ?? 0) & 0x02) !== 0;
}

/** Points that hold for some reasons, or for lists of another issuer, are left out: such lists are not supported. */
function readCrlPoints(value: DerReader): Uint8Array[] {
  const names: Uint8Array[] = [];
  const points = value.inside(value.expect(DER_TAG.sequence));
  while (!points.done) {
    const point = points.inside(points.expect(DER_TAG.sequence));
    const name = point.optional(0xa0);
    if (name !== null && point.done) names.push(...fullNames(point.inside(name)));
  }
  return names;
}

/** Each GeneralName of a DistributionPointName's fullName, DER (RFC 5280 §4.2.1.13); none of a relative name. */
export function fullNames(reader: DerReader): Uint8Array[] {
  const full = reader.optional(0xa0);
  if (full === null) return [];
  const names: Uint8Array[] = [];
  const list = reader.inside(full);
  while (!list.done) {
    const { start, end } = list.next();
    names.push(list.bytes.subarray(start, end));
  }
  return names;
}
