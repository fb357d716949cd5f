// What the runtime says went wrong, in the words of the spec (config-and-observability §7.6).
import { NetError, osErrorText, ProxyError } from "../../base/errors.ts";
import { PeerRejectedError, rejectedServer, TlsHandshakeError } from "../../tls/errors.ts";

/** Errors as the runtime's sockets give them. */
export interface RuntimeError extends Error {
  readonly code?: string;
}

/** Deno lacks a permission; `flag` is what the operator must add. Never a matter of peers. */
export class PermissionMissingError extends ProxyError {
  readonly code = "PERMISSION_MISSING";
  /** For example `--allow-net=127.0.0.1:15008`. */
  readonly flag: string;

  constructor(flag: string, what: string, options?: ErrorOptions) {
    super(`Permission missing to ${what}: start with ${flag}`, options);
    this.flag = flag;
  }
}

/** True where Deno's sandbox said no, as opposed to the kernel. */
export function isPermissionMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotCapable ||
    (error instanceof Error &&
      /Requires net access|run again with the --allow/.test(error.message));
}

/** A socket's error: errno code where there is one, else the TLS library's words. */
export function netError(error: RuntimeError): NetError {
  const code = error.code ?? "";
  if (/^E[A-Z]+$/.test(code) && osErrorText(code) !== code) {
    return new NetError(code, { cause: error });
  }
  const raw = /\(os error \d+\)/.test(error.message) ? error.message : null;
  if (raw !== null) return new NetError(code === "" ? "EIO" : code, { message: raw, cause: error });
  if (/unexpected eof|close_notify/i.test(error.message)) {
    return new NetError("UNEXPECTED_EOF", { message: "unexpected end of file", cause: error });
  }
  if (code.startsWith("ERR_SSL_")) {
    const tls = code.includes("ALERT") ? "TLS_ALERT" : "TLS_PROTOCOL";
    return new NetError(tls, { message: libraryWords(error.message), cause: error });
  }
  return new NetError(code === "" ? "EIO" : code, { message: error.message, cause: error });
}

/** The TLS library's sentence without what the runtime's Node layer appends. */
function libraryWords(message: string): string {
  return message.replace(/ \(SSL routines:.*$/, "");
}

/** Both sides: the peer went away in the middle of the handshake. */
function isHandshakeEof(error: RuntimeError): boolean {
  return /socket hang up|before secure TLS connection|tls handshake eof|UnexpectedEof|unexpected end of file/
    .test(error.message);
}

/** The library's sentences that carry a value of its own error type, and that type's name. */
const LIBRARY_VALUES: readonly (readonly [RegExp, string, string])[] = [
  [/received corrupt message of type (\w+)/, "InvalidMessage", "TLS_PROTOCOL"],
  [/received fatal alert: (\w+)/, "AlertReceived", "TLS_ALERT"],
  [/peer is incompatible: (\w+)/, "PeerIncompatible", "TLS_VERSION"],
  [/peer misbehaved: (\w+)/, "PeerMisbehaved", "TLS_PROTOCOL"],
];

/** An accepted connection's handshake failed: `message` is what follows `tls handshake error: `. */
export function serverHandshakeError(error: RuntimeError): TlsHandshakeError {
  const cause = { cause: error };
  if (isHandshakeEof(error)) {
    const text = 'Custom { kind: UnexpectedEof, error: "tls handshake eof" }';
    return new TlsHandshakeError("HANDSHAKE_EOF", text, cause);
  }
  if (error.code === "ECONNRESET") {
    const text = 'Os { code: 104, kind: ConnectionReset, message: "Connection reset by peer" }';
    return new TlsHandshakeError("ECONNRESET", text, cause);
  }
  if (error.code === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE") {
    return new TlsHandshakeError("NO_CERTIFICATE", invalidData("NoCertificatesPresented"), cause);
  }
  if (error.code === "ERR_SSL_NO_APPLICATION_PROTOCOL") {
    return new TlsHandshakeError("NO_ALPN", invalidData("NoApplicationProtocol"), cause);
  }
  const words = libraryWords(error.message);
  for (const [pattern, type, code] of LIBRARY_VALUES) {
    const match = pattern.exec(words);
    if (match === null) continue;
    const notTls = match[1] === "InvalidContentType";
    const text = invalidData(`${type}(${match[1]})`);
    return new TlsHandshakeError(notTls ? "NOT_TLS" : code, text, cause);
  }
  return new TlsHandshakeError("TLS_PROTOCOL", invalidData(`General(${quoted(words)})`), cause);
}

function invalidData(value: string): string {
  return `Custom { kind: InvalidData, error: ${value} }`;
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** What the library's own check of a server's chain says, and the word for it. */
const CHAIN_WORDS: Readonly<Record<string, readonly [PeerRejectedError["code"], string]>> = {
  CERT_HAS_EXPIRED: ["EXPIRED", "Expired"],
  CERT_NOT_YET_VALID: ["NOT_VALID_YET", "NotValidYet"],
  CERT_SIGNATURE_FAILURE: ["BAD_SIGNATURE", "BadSignature"],
  CERT_REVOKED: ["UNKNOWN_ISSUER", "Revoked"],
  INVALID_PURPOSE: ["WRONG_USAGE", "InvalidPurpose"],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ["UNKNOWN_ISSUER", "UnknownIssuer"],
  UNABLE_TO_GET_ISSUER_CERT: ["UNKNOWN_ISSUER", "UnknownIssuer"],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ["UNKNOWN_ISSUER", "UnknownIssuer"],
  SELF_SIGNED_CERT_IN_CHAIN: ["UNKNOWN_ISSUER", "UnknownIssuer"],
  DEPTH_ZERO_SELF_SIGNED_CERT: ["UNKNOWN_ISSUER", "UnknownIssuer"],
};

/** Our dial's handshake failed: `message` is what follows `io error: `. */
export function clientHandshakeError(error: RuntimeError): ProxyError {
  const chain = CHAIN_WORDS[error.code ?? ""];
  if (chain !== undefined) {
    const [code, word] = chain;
    return rejectedServer(new PeerRejectedError(code, { display: word, debug: word }));
  }
  if (isHandshakeEof(error)) {
    return new TlsHandshakeError("HANDSHAKE_EOF", "tls handshake eof", { cause: error });
  }
  const known = netError(error);
  if (known.code.startsWith("E")) return known;
  return new TlsHandshakeError(known.code, known.message, { cause: error });
}
