// What the TLS library says went wrong, in the words of the access log (spec/config-and-observability §7.6).
import { NetError, type ProxyError } from "../../base/errors.ts";
import { PeerRejectedError, rejectedServer, TlsHandshakeError } from "../../tls/errors.ts";
import { EPIPE, netErrorOf } from "./errno.ts";
import type { OpenSslError } from "./openssl.ts";

/** Why an operation of a session failed for good. */
export type SessionFailure =
  | { readonly kind: "eof" }
  | { readonly kind: "errno"; readonly errno: number }
  | { readonly kind: "flood" }
  | { readonly kind: "library"; readonly errors: readonly OpenSslError[] };

/** `ERR_LIB_…` (err.h). */
const LIB_SYS = 2;
const LIB_ASN1 = 13;
const LIB_SSL = 20;
/** `SSL_R_…` (sslerr.h). A received alert is 1000 and its number. */
const REASON_UNEXPECTED_EOF = 294;
const REASON_ALERT = 1000;
const REASON_ALERT_END = REASON_ALERT + 256;

/** Alerts by number (RFC 8446 §6.2), spelled as in every ztunnel's log. */
const ALERT_NAMES: ReadonlyMap<number, string> = new Map([
  [0, "CloseNotify"],
  [10, "UnexpectedMessage"],
  [20, "BadRecordMac"],
  [21, "DecryptionFailed"],
  [22, "RecordOverflow"],
  [30, "DecompressionFailure"],
  [40, "HandshakeFailure"],
  [41, "NoCertificate"],
  [42, "BadCertificate"],
  [43, "UnsupportedCertificate"],
  [44, "CertificateRevoked"],
  [45, "CertificateExpired"],
  [46, "CertificateUnknown"],
  [47, "IllegalParameter"],
  [48, "UnknownCA"],
  [49, "AccessDenied"],
  [50, "DecodeError"],
  [51, "DecryptError"],
  [60, "ExportRestriction"],
  [70, "ProtocolVersion"],
  [71, "InsufficientSecurity"],
  [80, "InternalError"],
  [86, "InappropriateFallback"],
  [90, "UserCanceled"],
  [100, "NoRenegotiation"],
  [109, "MissingExtension"],
  [110, "UnsupportedExtension"],
  [111, "CertificateUnobtainable"],
  [112, "UnrecognisedName"],
  [113, "BadCertificateStatusResponse"],
  [114, "BadCertificateHashValue"],
  [115, "UnknownPSKIdentity"],
  [116, "CertificateRequired"],
  [120, "NoApplicationProtocol"],
]);

/** What an accepting side's log calls a failure; the same failure's sentence on the dialing side. */
interface Wording {
  readonly code: string;
  readonly debug: string;
  readonly display: string;
}

function word(code: string, debug: string, display: string): Wording {
  return { code, debug, display };
}

const NOT_TLS = word(
  "NOT_TLS",
  "InvalidMessage(InvalidContentType)",
  "received corrupt message of type InvalidContentType",
);
const OLD_VERSION = word(
  "TLS_VERSION",
  "PeerIncompatible(SupportedVersionsExtensionRequired)",
  "peer is incompatible: SupportedVersionsExtensionRequired",
);
const NO_GROUPS = word(
  "TLS_PROTOCOL",
  "PeerIncompatible(NoKxGroupsInCommon)",
  "peer is incompatible: NoKxGroupsInCommon",
);
const UNREADABLE_RECORD = word("TLS_PROTOCOL", "DecryptError", "cannot decrypt peer's message");

/** Reasons of libssl that have words of their own (sslerr.h). */
const WORDINGS: ReadonlyMap<number, Wording> = new Map([
  // The library guesses what it is that is not TLS.
  [155, NOT_TLS], // HTTPS_PROXY_REQUEST
  [156, NOT_TLS], // HTTP_REQUEST
  [267, NOT_TLS], // WRONG_VERSION_NUMBER: of a record, not of a hello
  [443, NOT_TLS], // BAD_RECORD_TYPE
  [252, OLD_VERSION], // UNKNOWN_PROTOCOL
  [258, OLD_VERSION], // UNSUPPORTED_PROTOCOL
  [396, OLD_VERSION], // VERSION_TOO_LOW
  [101, NO_GROUPS], // NO_SUITABLE_KEY_SHARE
  [295, NO_GROUPS], // NO_SUITABLE_GROUPS
  [281, UNREADABLE_RECORD], // DECRYPTION_FAILED_OR_BAD_RECORD_MAC
  [
    193, // NO_SHARED_CIPHER
    word(
      "TLS_PROTOCOL",
      "PeerIncompatible(NoCipherSuitesInCommon)",
      "peer is incompatible: NoCipherSuitesInCommon",
    ),
  ],
  [199, word("NO_CERTIFICATE", "NoCertificatesPresented", "peer sent no certificates")],
  [
    235, // NO_APPLICATION_PROTOCOL
    word("NO_ALPN", "NoApplicationProtocol", "peer doesn't support any known protocol"),
  ],
]);

/** A failure as the library queued it: an errno and a missing close_notify come both ways. */
export function libraryFailure(errors: readonly OpenSslError[]): SessionFailure {
  for (const { library, reason } of errors) {
    if (library === LIB_SYS) return { kind: "errno", errno: reason };
    if (library === LIB_SSL && reason === REASON_UNEXPECTED_EOF) return { kind: "eof" };
  }
  return { kind: "library", errors };
}

/** An accepted connection's handshake failed: `message` is what follows `tls handshake error: `. */
export function serverHandshakeFailure(failure: SessionFailure): TlsHandshakeError {
  if (failure.kind === "eof" || isHangUp(failure)) {
    const text = 'Custom { kind: UnexpectedEof, error: "tls handshake eof" }';
    return new TlsHandshakeError("HANDSHAKE_EOF", text);
  }
  if (failure.kind === "errno") return serverCarrierFailure(netErrorOf(failure.errno));
  const { code, debug } = wordingOf(failure);
  return new TlsHandshakeError(code, `Custom { kind: InvalidData, error: ${debug} }`);
}

/** What carries an accepted session failed in the handshake. */
export function serverCarrierFailure({ code, message }: ProxyError): TlsHandshakeError {
  const os = /^(.*) \(os error (\d+)\)$/.exec(message);
  if (os === null) {
    return new TlsHandshakeError(code, `Custom { kind: Other, error: ${quoted(message)} }`);
  }
  const kind = code === "ECONNRESET" ? "ConnectionReset" : "Uncategorized";
  const text = `Os { code: ${os[2]}, kind: ${kind}, message: ${quoted(os[1]!)} }`;
  return new TlsHandshakeError(code, text);
}

/** Our dial's handshake failed: `message` is what follows `io error: `. */
export function clientHandshakeFailure(failure: SessionFailure): ProxyError {
  if (failure.kind === "eof") return new TlsHandshakeError("HANDSHAKE_EOF", "tls handshake eof");
  if (failure.kind === "errno") return netErrorOf(failure.errno);
  const wording = wordingOf(failure);
  if (wording.code === "BAD_ENCODING") {
    const text = { display: "BadEncoding", debug: "BadEncoding" };
    return rejectedServer(new PeerRejectedError("BAD_ENCODING", text));
  }
  return new TlsHandshakeError(wording.code, wording.display);
}

/** An established session failed. */
export function channelFailure(failure: SessionFailure): NetError {
  if (failure.kind === "eof") {
    return new NetError("UNEXPECTED_EOF", {
      message: "peer closed connection without sending TLS close_notify",
    });
  }
  if (failure.kind === "errno") return netErrorOf(failure.errno);
  const { code, display } = wordingOf(failure);
  return new NetError(code, { message: display });
}

/** The peer left before it had heard all. */
function isHangUp(failure: SessionFailure): boolean {
  return failure.kind === "errno" && failure.errno === EPIPE;
}

function wordingOf(failure: SessionFailure): Wording {
  if (failure.kind === "flood") {
    return word("TLS_PROTOCOL", "PeerMisbehaved(TooManyKeyUpdateRequests)", FLOOD_TEXT);
  }
  const errors = failure.kind === "library" ? failure.errors : [];
  for (const { library, reason } of errors) {
    if (library !== LIB_SSL) continue;
    if (reason >= REASON_ALERT && reason < REASON_ALERT_END) {
      const name = ALERT_NAMES.get(reason - REASON_ALERT) ?? `Unknown(${reason - REASON_ALERT})`;
      return word("TLS_ALERT", `AlertReceived(${name})`, `received fatal alert: ${name}`);
    }
    const known = WORDINGS.get(reason);
    if (known !== undefined) return known;
  }
  // The library reads certificates before we are asked about them.
  if (errors.some(({ library }) => library === LIB_ASN1)) {
    return word("BAD_ENCODING", "InvalidCertificate(BadEncoding)", "BadEncoding");
  }
  const said = errors.findLast(({ library }) => library === LIB_SSL) ?? errors.at(-1);
  const text = said?.text ?? "unknown failure";
  return word("TLS_PROTOCOL", `General(${quoted(text)})`, text);
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

const FLOOD_TEXT = "peer misbehaved: TooManyKeyUpdateRequests";
