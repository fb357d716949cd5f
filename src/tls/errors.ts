// Why a TLS session did not come about, worded as every ztunnel words it (spec/config-and-observability §7.6).
import { ProxyError } from "../base/errors.ts";

/** Stable reasons for refusing a peer. */
export type PeerRejection =
  | "NO_CERTIFICATE"
  | "BAD_ENCODING"
  | "UNKNOWN_ISSUER"
  | "BAD_SIGNATURE"
  | "EXPIRED"
  | "NOT_VALID_YET"
  | "WRONG_USAGE"
  | "CA_AS_LEAF"
  | "UNKNOWN_CRITICAL_EXTENSION"
  | "NAME_CONSTRAINTS"
  | "CHAIN_TOO_LONG"
  /** A revocation list names a certificate of its path. */
  | "REVOKED"
  /** The list that counts for it was not signed by its issuer, or not by one that may. */
  | "CRL_UNUSABLE"
  | "WRONG_TRUST_DOMAIN"
  | "WRONG_IDENTITY";

/**
 * The peer's certificate is not acceptable. `message` is worded for the dialing side
 * (`invalid peer certificate: UnknownIssuer`, without the `io error: ` before it), `debugForm` for the
 * accepting side (without the `tls handshake error: `): spec/config-and-observability §7.6.
 */
export class PeerRejectedError extends ProxyError {
  readonly code: PeerRejection;
  readonly debugForm: string;

  /**
   * @param texts.display How the reason reads in a sentence.
   * @param texts.debug How it reads in the debug form.
   */
  constructor(
    code: PeerRejection,
    texts: { readonly display: string; readonly debug: string },
  ) {
    const { sentence, debug } = wordsOf(code, texts);
    super(sentence);
    this.code = code;
    this.debugForm = `Custom { kind: InvalidData, error: ${debug} }`;
  }
}

function wordsOf(
  code: PeerRejection,
  { display, debug }: { readonly display: string; readonly debug: string },
): { readonly sentence: string; readonly debug: string } {
  if (code === "NO_CERTIFICATE") {
    return { sentence: "peer sent no certificates", debug: "NoCertificatesPresented" };
  }
  if (code === "CRL_UNUSABLE") {
    return {
      sentence: `invalid certificate revocation list: ${display}`,
      debug: `InvalidCertRevocationList(${debug})`,
    };
  }
  return {
    sentence: `invalid peer certificate: ${display}`,
    debug: `InvalidCertificate(${debug})`,
  };
}

/**
 * A handshake failed. On the accepting side `message` is what follows `tls handshake error: ` in the
 * access log, on the dialing side what follows `io error: `. `code` is a {@link PeerRejection}, or one of
 * `HANDSHAKE_EOF`, `HANDSHAKE_TIMEOUT`, `HANDSHAKES_MAX`, `NO_ALPN`, `NOT_TLS`, `TLS_VERSION`,
 * `TLS_ALERT`, `TLS_PROTOCOL`, `TLS_MATERIAL`, `FOREIGN_TICKET`.
 */
export class TlsHandshakeError extends ProxyError {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The accepting side's error for a peer that was refused. */
export function rejectedClient(error: PeerRejectedError): TlsHandshakeError {
  return new TlsHandshakeError(error.code, error.debugForm, { cause: error });
}

/** The dialing side's error for a peer that was refused. */
export function rejectedServer(error: PeerRejectedError): TlsHandshakeError {
  return new TlsHandshakeError(error.code, error.message, { cause: error });
}
