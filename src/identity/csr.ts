// What we ask a CA to sign: a key made for this request alone, and a PKCS#10 request that names the workload.
import { PrivateKey } from "../tls/private_key.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import { IdentityError } from "./errors.ts";
import { generateLeafKey, LEAF_KEY_ALGORITHM } from "./leaf_key.ts";
import { pemText } from "./pem.ts";
import * as x509 from "./x509.ts";

export interface CertificateRequest {
  /** PKCS#10 as PEM (spec/identity-and-inpod §2.1). */
  readonly csrPem: string;
  /** SubjectPublicKeyInfo, DER: what the certificate must speak for. */
  readonly publicKeyDer: Uint8Array<ArrayBuffer>;
  /** The caller's: it becomes part of a certificate, or is wiped. */
  readonly key: PrivateKey;
}

/**
 * A request for `identity` under a new ECDSA P-256 key: no subject, one attribute with one extension, subjectAltName,
 * critical, holding the identity as its one URI. The key's octets are in the result and nowhere else; the runtime's own copy
 * cannot be wiped and goes with its handle, which does not outlive this call.
 * @throws {IdentityError} for an identity that no URI name can hold (IA5String is ASCII).
 */
export async function newCertificateRequest(identity: SpiffeId): Promise<CertificateRequest> {
  if (!isAscii(identity.uri)) {
    throw new IdentityError(
      "CSR_IDENTITY",
      `failed to create CSR: certificate: identity ${identity.uri} has characters beyond ASCII`,
    );
  }
  const keys = await generateLeafKey();
  const key = new PrivateKey(
    new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey)),
  );
  try {
    const request = await x509.Pkcs10CertificateRequestGenerator.create({
      keys,
      signingAlgorithm: LEAF_KEY_ALGORITHM,
      extensions: [
        new x509.SubjectAlternativeNameExtension([{ type: "url", value: identity.uri }], true),
      ],
    });
    return {
      csrPem: pemText("CERTIFICATE REQUEST", new Uint8Array(request.rawData)),
      publicKeyDer: new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey)),
      key,
    };
  } catch (error) {
    key.wipe();
    const reason = error instanceof Error ? error.message : String(error);
    throw new IdentityError("CSR", `failed to create CSR: ${reason}`, { cause: error });
  }
}

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) > 0x7f) return false;
  return true;
}
