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
    super(
      code === "NO_CERTIFICATE"
        ? "peer sent no certificates"
        : `invalid peer certificate: ${texts.display}`,
    );
    this.code = code;
    this.debugForm = code === "NO_CERTIFICATE"
      ? "Custom { kind: InvalidData, error: NoCertificatesPresented }"
      : `Custom { kind: InvalidData, error: InvalidCertificate(${texts.debug}) }`;
  }
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
