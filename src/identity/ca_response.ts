// What a CA says to a request for a certificate, checked and made into what TLS sessions use (spec/identity-and-inpod §2.4).
import { X509Certificate } from "node:crypto";
import $protobuf from "protobufjs/minimal";
import { istio } from "../proto/messages.js";
import type { CertifiedKey } from "../tls/certificate.ts";
import { parseCertificate, type ParsedCertificate, sameBytes } from "../tls/certificate_der.ts";
import { CHAIN_CERTIFICATES_MAX } from "../tls/chain.ts";
import { DER_TAG, DerError, DerReader } from "../tls/der.ts";
import { ownIdentityOf } from "../tls/names.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { CertificateRequest } from "./csr.ts";
import { IdentityError } from "./errors.ts";
import { type PemBlock, pemBlocks, PemError, pemText } from "./pem.ts";

/** Trust roots in one answer: some for each mesh that trusts ours, and each goes into every TLS context. */
export const CA_ROOTS_MAX = 256;

/** What an answer is held against. */
export interface Expected {
  readonly identity: SpiffeId;
  /** Whose key the certificate must be for; the result takes the key over. */
  readonly request: CertificateRequest;
  /** True where we asked for somebody else's identity: only then the CA's choice of a name is looked at. */
  readonly impersonate: boolean;
  readonly generation: number;
  /** Hears of what is odd and does no harm. */
  readonly warn: (message: string) => void;
}

/**
 * The strings of an `IstioCertificateResponse`.
 * @throws {Error} (any) where the bytes are no such message.
 */
export function decodeCaResponse(message: Uint8Array): readonly string[] {
  const reader = $protobuf.Reader.create(message);
  reader.discardUnknown = true;
  return istio.v1.auth.IstioCertificateResponse.decode(reader).certChain;
}

/**
 * First the leaf, then intermediates, leaf-adjacent first, last the roots, all in one element. Looks at form, key and
 * (impersonating) name. Whether the leaf is valid now, and whether anybody trusts it, others judge.
 * @throws {IdentityError} with the sentences of §2.6.
 */
export function readCaResponse(certChain: readonly string[], expected: Expected): CertifiedKey {
  const { identity, request, warn } = expected;
  const [leafText, ...others] = certChain;
  if (leafText === undefined) {
    throw new IdentityError(
      "CA_CHAIN_EMPTY",
      `chain returned from CA is empty for: ${identity.uri}`,
    );
  }
  const rootsText = others.pop();
  try {
    const leaf = parseCertificate(firstCertificate(leafText));
    if (rootsText === undefined) warn("the CA's answer has one element: a leaf without roots");
    const middle = readMiddle(others);
    const roots = rootsText === undefined ? [] : readRoots(rootsText, warn);
    if (roots.length === 0) throw bad("invalid root certificate: no root certificate present");
    if (!sameBytes(publicKeyOf(leaf), request.publicKeyDer)) {
      // As the original's TLS library says it.
      throw bad("tls: keys may not be consistent: KeyMismatch", "CA_KEY_MISMATCH");
    }
    if (expected.impersonate && ownIdentityOf(leaf)?.uri !== identity.uri) {
      throw new IdentityError("CA_WRONG_SAN", `did not find expected SAN: ${identity.uri}`);
    }
    const chain = [leaf, ...inOrder(leaf, withoutRoots(middle, roots), warn)];
    return Object.freeze({
      identity,
      chainDer: Object.freeze(chain.map(({ der }) => der)),
      chainPem: pemOf(chain),
      key: request.key,
      rootsDer: Object.freeze(roots.map(({ der }) => der)),
      rootsPem: pemOf(roots),
      notBeforeMs: leaf.notBeforeMs,
      notAfterMs: leaf.notAfterMs,
      generation: expected.generation,
    });
  } catch (error) {
    if (error instanceof PemError) throw bad(`certificate: ${error.message}`);
    if (error instanceof DerError) throw bad(`certificate parse: ${error.message}`);
    throw error;
  }
}

/** Every certificate of every element; each element has one. */
function readMiddle(elements: readonly string[]): ParsedCertificate[] {
  const certificates: ParsedCertificate[] = [];
  for (const element of elements) {
    firstCertificate(element);
    for (const block of pemBlocks(element)) {
      // The leaf counts, too.
      if (certificates.length + 1 >= CHAIN_CERTIFICATES_MAX) {
        throw bad(`certificate: chain has more than ${CHAIN_CERTIFICATES_MAX} certificates`);
      }
      certificates.push(parseCertificate(certificateOf(block)));
    }
  }
  return certificates;
}

/** Those that a verdict can be built on; the others are warned about. */
function readRoots(text: string, warn: (message: string) => void): ParsedCertificate[] {
  const roots: ParsedCertificate[] = [];
  let seen = 0;
  for (const block of pemBlocks(text)) {
    const der = certificateOf(block);
    if (++seen > CA_ROOTS_MAX) throw bad(`certificate: more than ${CA_ROOTS_MAX} roots`);
    try {
      roots.push(parseCertificate(der));
    } catch (error) {
      if (!(error instanceof DerError) || !isX509(der)) throw error;
      warn(`root certificate ${seen} of the CA's answer cannot be used: ${error.message}`);
    }
  }
  return roots;
}

/** By a reader that looks less closely than the one whose certificates are trusted. */
function isX509(der: Uint8Array): boolean {
  try {
    return new X509Certificate(der).raw.length > 0;
  } catch {
    return false;
  }
}

function firstCertificate(text: string): Uint8Array<ArrayBuffer> {
  const { value } = pemBlocks(text).next();
  return certificateOf(value ?? null);
}

function certificateOf(block: PemBlock | null): Uint8Array<ArrayBuffer> {
  if (block?.label !== "CERTIFICATE") throw bad("certificate: no certificate");
  return block.der;
}

/** SubjectPublicKeyInfo (RFC 5280 §4.1), DER, of what has been parsed before. */
function publicKeyOf({ der }: ParsedCertificate): Uint8Array {
  const outer = new DerReader(der);
  const certificate = outer.inside(outer.next());
  const body = certificate.inside(certificate.next());
  body.optional(0xa0); // version
  for (const tag of [DER_TAG.integer, ...Array(4).fill(DER_TAG.sequence)]) body.expect(tag);
  const { start, end } = body.expect(DER_TAG.sequence);
  return der.subarray(start, end);
}

/** A root sent along with the intermediates is no part of the chain: whoever trusts it has it. */
function withoutRoots(
  middle: readonly ParsedCertificate[],
  roots: readonly ParsedCertificate[],
): ParsedCertificate[] {
  return middle.filter((one) =>
    !(sameBytes(one.subject, one.issuer) && roots.some(({ der }) => sameBytes(der, one.der)))
  );
}

/** Each after the one it signed, as TLS wants it (RFC 8446 §4.4.2); what has no place comes last. */
function inOrder(
  leaf: ParsedCertificate,
  middle: readonly ParsedCertificate[],
  warn: (message: string) => void,
): ParsedCertificate[] {
  const rest = [...middle];
  const ordered: ParsedCertificate[] = [];
  for (let below = leaf;;) {
    const at = rest.findIndex(({ subject }) => sameBytes(subject, below.issuer));
    if (at < 0) break;
    below = rest.splice(at, 1)[0]!;
    ordered.push(below);
  }
  ordered.push(...rest);
  if (ordered.some((one, at) => one !== middle[at])) {
    warn("the CA's intermediates came out of order and were put into it");
  }
  return ordered;
}

function pemOf(certificates: readonly ParsedCertificate[]): string {
  return certificates.map(({ der }) => pemText("CERTIFICATE", der)).join("");
}

/** What the original prints for whatever is wrong with a certificate. */
function bad(what: string, code = "CA_CERTIFICATE"): IdentityError {
  return new IdentityError(code, `failed to create CSR: ${what}`);
}
