// What a TLS session needs to speak for a workload, and who hands it out.
import type { Cancel, Done } from "../base/channel.ts";
import type { PrivateKey } from "./private_key.ts";
import type { SpiffeId } from "./spiffe_id.ts";

/**
 * A leaf with its key, its chain and the roots that came with it. Immutable; a rotation makes a new one.
 * The key never reaches a log, dump, error or metric.
 */
export interface CertifiedKey {
  /** The identity this certificate was asked for. */
  readonly identity: SpiffeId;
  /** Leaf first, then intermediates; never the root. DER. */
  readonly chainDer: readonly Uint8Array<ArrayBuffer>[];
  /** The same as PEM text, for runtimes that want text. */
  readonly chainPem: string;
  /** The leaf's key. Secret. */
  readonly key: PrivateKey;
  /** Trust roots, DER and PEM. */
  readonly rootsDer: readonly Uint8Array<ArrayBuffer>[];
  readonly rootsPem: string;
  /** Epoch milliseconds. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Rises with each rotation of this identity: contexts built from it are cached by (identity, serial). */
  readonly generation: number;
}

/**
 * Hands out the certificate of one local workload, and of no other (spec/identity-and-inpod §1.2). May wait
 * for the CA; a valid certificate at hand is given in the next turn.
 */
export interface CertificateSource {
  readonly identity: SpiffeId;
  /** Fails with an error whose message is the text after `identity error: ` (spec §7.6). */
  get(done: Done<CertifiedKey>): Cancel;
}

/** A source that also hands out a certificate nobody asked for yet, for whoever must have it elsewhere (design §4). */
export interface RotatingCertificateSource extends CertificateSource {
  /** Called with each certificate that comes into use from now on, once, in a turn of its own. */
  onRotate(listener: (certificate: CertifiedKey) => void): Cancel;
}
