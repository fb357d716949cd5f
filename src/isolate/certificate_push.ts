// Certificates on their way into the data plane: each crosses once, its key in a buffer that is transferred.
import { type Cancel, NOTHING_TO_CANCEL } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { CertifiedKey, RotatingCertificateSource } from "../tls/certificate.ts";
import { encodeError, type WireError } from "./errors.ts";
import type { WireCertificate } from "./messages.ts";

/** A certificate as a message, and the buffers that move with it. */
export interface Shipment {
  readonly certificate: WireCertificate;
  readonly transfer: readonly ArrayBuffer[];
}

/** Copies what has to stay here. After the post the key's copy is gone from this isolate. */
export function shipmentOf(certificate: CertifiedKey): Shipment {
  const keyDer = certificate.key.use((pkcs8) => pkcs8.slice());
  return {
    certificate: {
      identity: certificate.identity,
      chainDer: certificate.chainDer.map(compact),
      chainPem: certificate.chainPem,
      keyDer,
      rootsDer: certificate.rootsDer.map(compact),
      rootsPem: certificate.rootsPem,
      notBeforeMs: certificate.notBeforeMs,
      notAfterMs: certificate.notAfterMs,
      generation: certificate.generation,
    },
    transfer: [keyDer.buffer],
  };
}

/** A clone of a view takes the whole buffer below it along. */
function compact(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
}

export interface CertificatePushOptions {
  readonly source: RotatingCertificateSource;
  readonly post: (certificate: WireCertificate, transfer: readonly ArrayBuffer[]) => void;
  readonly postFailure: (error: WireError) => void;
}

/** Keeps one plane supplied from its source: at the start, with each rotation, and when it asks. */
export class CertificatePush {
  readonly #options: CertificatePushOptions;
  readonly #watch: Cancel;
  #asking: Cancel | null = null;
  #pushed: CertifiedKey | null = null;
  #closed = false;

  constructor(options: CertificatePushOptions) {
    this.#options = options;
    this.#watch = options.source.onRotate((certificate) => this.#push(certificate));
    this.want();
  }

  /** The plane has none that it can use. Asked once, however often it says so meanwhile. */
  want(): void {
    if (this.#closed || this.#asking !== null) return;
    this.#asking = NOTHING_TO_CANCEL;
    const asking = this.#options.source.get((outcome) => {
      this.#asking = null;
      if (outcome instanceof ProxyError) this.#options.postFailure(encodeError(outcome));
      else this.#push(outcome);
    });
    if (this.#asking !== null) this.#asking = asking;
  }

  close(): void {
    this.#closed = true;
    this.#watch.cancel();
    this.#asking?.cancel();
    this.#asking = null;
  }

  #push(certificate: CertifiedKey): void {
    if (this.#closed || certificate === this.#pushed) return;
    this.#pushed = certificate;
    const shipment = shipmentOf(certificate);
    this.#options.post(shipment.certificate, shipment.transfer);
  }
}
