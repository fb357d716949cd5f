// Who signs our certificates: the control plane's CA, or the throw-away one of local mode.
import type { CertifiedKey } from "../tls/certificate.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";

/** One request, one answer: retries, refresh and sharing are the certificate manager's. */
export interface CertificateAuthority {
  /**
   * A new key and the certificate signed for it. The caller owns the result and wipes its key when nobody uses
   * it any longer. Its validity is not checked here. `signal` ends the attempt.
   * @throws {IdentityError} with a text of spec/identity-and-inpod §2.6.
   */
  issue(identity: SpiffeId, signal: AbortSignal): Promise<CertifiedKey>;
}
