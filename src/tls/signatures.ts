// Which signatures count: on certificates, and on revocation lists. Pure.
import type { KeyObject } from "node:crypto";

/** A signature algorithm: the type of key it needs, and the digest where the algorithm leaves it open. */
export interface SignatureAlgorithm {
  readonly key: "ec" | "rsa" | "ed25519";
  readonly digest: "sha256" | "sha384" | "sha512" | null;
}

/** Bits of an RSA key that may sign: fewer are broken (NIST SP 800-131A), and the original's library has the same bounds. */
export const RSA_SIGNER_BITS_MIN = 2048;
export const RSA_SIGNER_BITS_MAX = 8192;

/** By object identifier. SHA-1 and older digests are not among them, nor RSA-PSS, which the runtime does not verify. */
const ALGORITHMS: ReadonlyMap<string, SignatureAlgorithm> = new Map([
  ["1.2.840.10045.4.3.2", { key: "ec", digest: "sha256" }],
  ["1.2.840.10045.4.3.3", { key: "ec", digest: "sha384" }],
  ["1.2.840.10045.4.3.4", { key: "ec", digest: "sha512" }],
  ["1.2.840.113549.1.1.11", { key: "rsa", digest: "sha256" }],
  ["1.2.840.113549.1.1.12", { key: "rsa", digest: "sha384" }],
  ["1.2.840.113549.1.1.13", { key: "rsa", digest: "sha512" }],
  ["1.3.101.112", { key: "ed25519", digest: null }],
]);

/** How to check a signature of this algorithm (dotted) by `key`; null where no such signature counts. */
export function signatureAlgorithm(oid: string, key: KeyObject): SignatureAlgorithm | null {
  const known = ALGORITHMS.get(oid);
  if (known === undefined || key.asymmetricKeyType !== known.key) return null;
  if (known.key !== "rsa") return known;
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  return bits >= RSA_SIGNER_BITS_MIN && bits <= RSA_SIGNER_BITS_MAX ? known : null;
}
