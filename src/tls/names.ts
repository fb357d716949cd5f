// Which SPIFFE names a certificate carries (spec/identity-and-inpod §1.3). Read from DER, never from text.
import type { CertifiedKey } from "./certificate.ts";
import { parseCertificate, type ParsedCertificate } from "./certificate_der.ts";
import { DerError } from "./der.ts";
import { parseSpiffeId, type SpiffeId, SpiffeIdError } from "./spiffe_id.ts";

/**
 * Every URI name that is a SPIFFE workload identity, in order; the others are skipped. Nothing is
 * decoded, so percent escapes, commas and quotes stay what they are; a name with octets outside
 * printable ASCII is skipped, as no log line or comparison could be trusted with it.
 */
export function spiffeIdsOf(certificate: ParsedCertificate): SpiffeId[] {
  const ids: SpiffeId[] = [];
  for (const name of certificate.uriNames) {
    const id = toSpiffeId(name);
    if (id !== null) ids.push(id);
  }
  return ids;
}

/** The same for a DER leaf; empty where it is no certificate. */
export function spiffeIdsOfDer(leafDer: Uint8Array<ArrayBuffer>): SpiffeId[] {
  try {
    return spiffeIdsOf(parseCertificate(leafDer));
  } catch (error) {
    if (error instanceof DerError) return []; // Not a certificate: it names nobody.
    throw error;
  }
}

/** "Own identity": the first URI name only, or null if that one is no SPIFFE identity. */
export function ownIdentityOf(certificate: ParsedCertificate): SpiffeId | null {
  const first = certificate.uriNames[0];
  return first === undefined ? null : toSpiffeId(first);
}

const ownTrustDomains = new WeakMap<CertifiedKey, { readonly trustDomain: string | null }>();

/**
 * The trust domain that our own leaf speaks for, which a client of ours must share; null where the leaf
 * has no identity (then any trust domain will do, spec/identity-and-inpod §4.2). Kept per certificate.
 */
export function ownTrustDomain(certificate: CertifiedKey): string | null {
  let known = ownTrustDomains.get(certificate);
  if (known === undefined) {
    let trustDomain: string | null = null;
    try {
      const leaf = certificate.chainDer[0];
      if (leaf !== undefined) {
        trustDomain = ownIdentityOf(parseCertificate(leaf))?.trustDomain ?? null;
      }
    } catch (error) {
      // An own leaf that cannot be read fails in the TLS library; here it only has no identity.
      if (!(error instanceof DerError)) throw error;
    }
    known = { trustDomain };
    ownTrustDomains.set(certificate, known);
  }
  return known.trustDomain;
}

function toSpiffeId(name: Uint8Array): SpiffeId | null {
  let text = "";
  for (const octet of name) {
    if (octet < 0x20 || octet > 0x7e) return null;
    text += String.fromCharCode(octet);
  }
  try {
    return parseSpiffeId(text);
  } catch (error) {
    if (error instanceof SpiffeIdError) return null; // Another kind of URI: allowed, and no identity.
    throw error;
  }
}
