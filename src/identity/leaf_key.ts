// A key pair and the leaf that a CA signs for it, put into the form that TLS sessions want.
import type { CertifiedKey } from "../tls/certificate.ts";
import { PrivateKey } from "../tls/private_key.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type * as x509 from "./x509.ts";

/** What our leaf keys are: ECDSA on P-256, signing with SHA-256. */
export const LEAF_KEY_ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A fresh, exportable key pair. */
export async function generateLeafKey(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(LEAF_KEY_ALGORITHM, true, ["sign", "verify"]);
}

/** DER copy of a certificate. */
export function certificateDer(certificate: x509.X509Certificate): Uint8Array<ArrayBuffer> {
  return new Uint8Array(certificate.rawData);
}

/** PEM of several certificates, in order, ending with a newline. */
export function certificatesPem(certificates: readonly x509.X509Certificate[]): string {
  return certificates.map((certificate) => `${certificate.toString("pem")}\n`).join("");
}

/** Joins the parts into a {@link CertifiedKey}; validity is the leaf's. */
export async function certifiedKey(options: {
  readonly identity: SpiffeId;
  readonly privateKey: CryptoKey;
  /** Leaf first. */
  readonly chain: readonly [x509.X509Certificate, ...x509.X509Certificate[]];
  readonly roots: readonly x509.X509Certificate[];
  readonly generation: number;
}): Promise<CertifiedKey> {
  const { identity, privateKey, chain, roots, generation } = options;
  return Object.freeze({
    identity,
    chainDer: Object.freeze(chain.map(certificateDer)),
    chainPem: certificatesPem(chain),
    key: new PrivateKey(new Uint8Array(await crypto.subtle.exportKey("pkcs8", privateKey))),
    rootsDer: Object.freeze(roots.map(certificateDer)),
    rootsPem: certificatesPem(roots),
    notBeforeMs: chain[0].notBefore.getTime(),
    notAfterMs: chain[0].notAfter.getTime(),
    generation,
  });
}
