// Certificates made before a test begins, handed out by turns of its clock.
import type { Cancel, Done } from "../../src/base/channel.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { ProxyError } from "../../src/base/errors.ts";
import type { CertificateSource, CertifiedKey } from "../../src/tls/certificate.ts";
import { PrivateKey } from "../../src/tls/private_key.ts";
import { parseSpiffeId, type SpiffeId } from "../../src/tls/spiffe_id.ts";
import type { LeafOptions, MeshCa } from "./mesh_ca.ts";

/** Issues a leaf with these names; the first is the identity it was asked for. */
export async function issueCertificate(
  ca: MeshCa,
  options: LeafOptions,
  generation = 1,
): Promise<CertifiedKey> {
  const leaf = await ca.issue(options);
  return {
    identity: parseSpiffeId(options.uris[0]!),
    chainDer: [pemToDer(leaf.certPem)],
    chainPem: leaf.certPem,
    key: new PrivateKey(pemToDer(leaf.keyPem)),
    rootsDer: [pemToDer(leaf.rootPem)],
    rootsPem: leaf.rootPem,
    notBeforeMs: options.notBeforeMs ?? Date.now() - 3_600_000,
    notAfterMs: options.notAfterMs ?? Date.now() + 3_600_000,
    generation,
  };
}

/** `spiffe://cluster.local/ns/<namespace>/sa/<serviceAccount>` as a value. */
export function meshIdentity(namespace: string, serviceAccount: string): SpiffeId {
  return parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${serviceAccount}`);
}

/** Gives what it holds in the next turn; a test may change that to an error, a rotation or a long wait. */
export class FixedCertificates implements CertificateSource {
  readonly identity: SpiffeId;
  current: CertifiedKey | ProxyError;
  delayMs = 0;
  asked = 0;
  readonly #clock: Clock;

  constructor(clock: Clock, certificate: CertifiedKey) {
    this.#clock = clock;
    this.identity = certificate.identity;
    this.current = certificate;
  }

  get(done: Done<CertifiedKey>): Cancel {
    this.asked++;
    return this.#clock.after(this.delayMs, () => done(this.current));
  }
}

function pemToDer(pem: string): Uint8Array<ArrayBuffer> {
  const base64 = pem.replace(/-----[^-]+-----/g, "").replace(/\s+/g, "");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
