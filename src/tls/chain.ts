// From a presented leaf to one of our roots: path building with RFC 5280's rules as far as TLS needs them.
import { createHash, X509Certificate } from "node:crypto";
import {
  EKU_CLIENT_AUTH,
  EKU_SERVER_AUTH,
  parseCertificate,
  type ParsedCertificate,
  sameBytes,
} from "./certificate_der.ts";
import { DerError } from "./der.ts";
import { PeerRejectedError } from "./errors.ts";
import { spiffeIdsOf } from "./names.ts";
import { signatureAlgorithm } from "./signatures.ts";
import type { SpiffeId } from "./spiffe_id.ts";

/** Certificates a peer may present, its leaf included. */
export const CHAIN_CERTIFICATES_MAX = 10;
/** Intermediates on a path. */
export const CHAIN_DEPTH_MAX = 6;
/** Signatures checked for one peer: bounds what a maze of cross-signed certificates can cost. */
export const SIGNATURE_CHECKS_MAX = 32;

/** A verified path, leaf first; the last is one of our roots. */
export type CertificatePath = readonly ParsedCertificate[];

export type ChainVerdict =
  | {
    readonly kind: "accepted";
    /** Every SPIFFE name of the leaf, in order; may be empty. */
    readonly identities: readonly SpiffeId[];
    /** SHA-256 of the leaf, lower-case hex. */
    readonly leafSha256: string;
    /** What was verified: the leaf, intermediates, the root. */
    readonly path: CertificatePath;
    /** The verdict holds from and until these wall times, epoch milliseconds. */
    readonly validFromMs: number;
    readonly validUntilMs: number;
  }
  | { readonly kind: "rejected"; readonly error: PeerRejectedError };

export interface ChainOptions {
  readonly chainDer: readonly Uint8Array<ArrayBuffer>[];
  readonly rootsDer: readonly Uint8Array<ArrayBuffer>[];
  readonly role: "client" | "server";
  readonly nowMs: number;
}

/** SHA-256 of a certificate, lower-case hex. */
export function sha256Hex(der: Uint8Array): string {
  return createHash("sha256").update(der).digest("hex");
}

/**
 * Looks for a path from `chainDer[0]` over presented intermediates to any root. The roots' own validity
 * and keyUsage are not looked at, intermediates need CA:TRUE, room in path length, validity and the usage
 * where they name any (spec/identity-and-inpod §4.2). Presented certificates may come in any order and
 * surplus ones do no harm.
 */
export function verifyChain(options: ChainOptions): ChainVerdict {
  const [leafDer, ...others] = options.chainDer;
  if (leafDer === undefined) return reject("NO_CERTIFICATE", "NoCertificatesPresented");
  if (others.length >= CHAIN_CERTIFICATES_MAX) {
    return reject("CHAIN_TOO_LONG", "Other(OtherError(MaximumPathDepthExceeded))");
  }
  const leaf = parseOrNull(leafDer);
  if (leaf === null) return reject("BAD_ENCODING", "BadEncoding");
  if (leaf.isCa) return reject("CA_AS_LEAF", "Other(OtherError(CaUsedAsEndEntity))");
  const wrong = faultOf(leaf, options);
  if (wrong !== null) return { kind: "rejected", error: wrong };
  const search = new PathSearch(others.map(parseOrNull), options);
  const path = search.from(leaf);
  if (path === null) return { kind: "rejected", error: search.reason };
  const judged = path.slice(0, -1); // The root's own validity is not looked at.
  return {
    kind: "accepted",
    identities: spiffeIdsOf(leaf),
    leafSha256: sha256Hex(leafDer),
    path,
    validFromMs: Math.max(...judged.map(({ notBeforeMs }) => notBeforeMs)),
    validUntilMs: Math.min(...judged.map(({ notAfterMs }) => notAfterMs)),
  };
}

/** Depth-first over the presented intermediates, with a budget of signature checks. */
class PathSearch {
  readonly #intermediates: readonly (ParsedCertificate | null)[];
  readonly #options: ChainOptions;
  readonly #roots: readonly (ParsedCertificate | null)[];
  #checks = 0;
  /** The most telling reason met so far. */
  reason = rejection("UNKNOWN_ISSUER", "UnknownIssuer");

  constructor(intermediates: readonly (ParsedCertificate | null)[], options: ChainOptions) {
    this.#intermediates = intermediates;
    this.#options = options;
    this.#roots = options.rootsDer.map(parseOrNull);
  }

  /** The path, leaf first, with its root; null where there is none. */
  from(leaf: ParsedCertificate): ParsedCertificate[] | null {
    const path = [leaf];
    return this.#extend(path) ? path : null;
  }

  #extend(path: ParsedCertificate[]): boolean {
    const last = path[path.length - 1]!;
    for (const root of this.#roots) {
      if (root === null || !sameBytes(root.subject, last.issuer)) continue;
      if (root.constrainsUris) {
        this.reason = rejection("NAME_CONSTRAINTS", "Other(OtherError(NameConstraintViolation))");
      } else if (this.#signed(last, root)) {
        path.push(root);
        return true;
      }
    }
    for (const issuer of this.#intermediates) {
      if (issuer === null || path.includes(issuer) || !sameBytes(issuer.subject, last.issuer)) {
        continue;
      }
      const fault = this.#issuerFault(issuer, path.length - 1);
      if (fault !== null) {
        this.reason = fault;
        continue;
      }
      if (!this.#signed(last, issuer)) continue;
      path.push(issuer);
      if (this.#extend(path)) return true;
      path.pop();
    }
    return false;
  }

  /** @param below Intermediates between `issuer` and the leaf. */
  #issuerFault(issuer: ParsedCertificate, below: number): PeerRejectedError | null {
    if (!issuer.isCa) return rejection("UNKNOWN_ISSUER", "UnknownIssuer");
    if (below >= CHAIN_DEPTH_MAX || (issuer.pathLength !== null && below > issuer.pathLength)) {
      return rejection("CHAIN_TOO_LONG", "Other(OtherError(PathLenConstraintViolated))");
    }
    if (issuer.constrainsUris) {
      return rejection("NAME_CONSTRAINTS", "Other(OtherError(NameConstraintViolation))");
    }
    return faultOf(issuer, this.#options);
  }

  #signed(subject: ParsedCertificate, issuer: ParsedCertificate): boolean {
    if (this.#checks >= SIGNATURE_CHECKS_MAX) {
      this.reason = rejection(
        "CHAIN_TOO_LONG",
        "Other(OtherError(MaximumSignatureChecksExceeded))",
      );
      return false;
    }
    this.#checks++;
    if (signatureHolds(subject, issuer.der)) return true;
    this.reason = rejection("BAD_SIGNATURE", "BadSignature");
    return false;
  }
}

/** Time, form and usage of one certificate by itself. */
function faultOf(certificate: ParsedCertificate, options: ChainOptions): PeerRejectedError | null {
  const { nowMs, role } = options;
  if (certificate.version !== 3) {
    return rejection("BAD_ENCODING", "Other(OtherError(UnsupportedCertVersion))");
  }
  const now = Math.floor(nowMs / 1000);
  const notBefore = certificate.notBeforeMs / 1000;
  const notAfter = certificate.notAfterMs / 1000;
  if (now < notBefore) {
    return new PeerRejectedError("NOT_VALID_YET", {
      display:
        `certificate not valid yet: verification time ${now} (UNIX), but certificate is not ` +
        `valid before ${notBefore} (${notBefore - now} seconds in future)`,
      debug: `NotValidYetContext { time: UnixTime(${now}), not_before: UnixTime(${notBefore}) }`,
    });
  }
  if (now > notAfter) {
    return new PeerRejectedError("EXPIRED", {
      display: `certificate expired: verification time ${now} (UNIX), but certificate is not ` +
        `valid after ${notAfter} (${now - notAfter} seconds ago)`,
      debug: `ExpiredContext { time: UnixTime(${now}), not_after: UnixTime(${notAfter}) }`,
    });
  }
  if (certificate.unknownCriticalExtension) {
    return rejection("UNKNOWN_CRITICAL_EXTENSION", "UnhandledCriticalExtension");
  }
  const needed = role === "client" ? EKU_CLIENT_AUTH : EKU_SERVER_AUTH;
  const usages = certificate.extendedKeyUsage;
  if (usages !== null && !usages.includes(needed)) {
    return rejection("WRONG_USAGE", "InvalidPurpose");
  }
  return null;
}

/** True if `subject` was signed by the key in `issuerDer`, in a way that counts. Any failure to decide is a no. */
function signatureHolds(
  subject: ParsedCertificate,
  issuerDer: Uint8Array<ArrayBuffer>,
): boolean {
  try {
    const key = new X509Certificate(issuerDer).publicKey;
    if (signatureAlgorithm(subject.signatureAlgorithm, key) === null) return false;
    return new X509Certificate(subject.der).verify(key);
  } catch {
    return false; // A key or algorithm that the runtime cannot use verifies nothing.
  }
}

function parseOrNull(der: Uint8Array<ArrayBuffer>): ParsedCertificate | null {
  try {
    return parseCertificate(der);
  } catch (error) {
    if (error instanceof DerError) return null;
    throw error;
  }
}

function rejection(code: PeerRejectedError["code"], text: string): PeerRejectedError {
  return new PeerRejectedError(code, { display: text, debug: text });
}

function reject(code: PeerRejectedError["code"], text: string): ChainVerdict {
  return { kind: "rejected", error: rejection(code, text) };
}
