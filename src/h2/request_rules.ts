// Which header lists are well-formed HTTP (RFC 9113 §8.1 to §8.5). Pure; what they mean is hbone/'s.
import type { HeaderList } from "./types.ts";

/** A well-formed list, or the reason why it is malformed (a stream error PROTOCOL_ERROR, §8.1.1). */
export type RequestVerdict =
  | {
    readonly kind: "valid";
    /** Octets of DATA that content-length announces; -1 when it says nothing, as always for CONNECT. */
    readonly contentBytes: number;
  }
  | { readonly kind: "malformed"; readonly why: string };

export type ResponseVerdict =
  | { readonly kind: "final" | "interim" }
  | { readonly kind: "malformed"; readonly why: string };

/** Lower-case token characters (RFC 9110 §5.6.2, RFC 9113 §8.2.1). */
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// NUL, CR and LF anywhere; space or tab at either end (RFC 9113 §8.2.1).
const FORBIDDEN_IN_VALUE = /[\0\r\n]|^[ \t]|[ \t]$/;
const DIGITS = /^\d{1,15}$/;

/** Host (or user info) and port characters of RFC 3986 §3.2, a bracketed literal as one unit. */
const AUTHORITY =
  /^(?:[A-Za-z0-9\-._~!$&'()*+,;=%:]*@)?(?:\[[0-9A-Fa-f:.vV]+\]|[A-Za-z0-9\-._~!$&'()*+,;=]*)(?::[A-Za-z0-9\-._~!$&'()*+,;=]*)?$/;

/** Fields about one hop of HTTP/1.1 (RFC 9113 §8.2.2). */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

function malformed(why: string): { readonly kind: "malformed"; readonly why: string } {
  return { kind: "malformed", why };
}

/** Why a regular (not pseudo) field is malformed, or null. */
function fieldFault(name: string, value: string): string | null {
  if (!FIELD_NAME.test(name)) return "field name is not a lower-case token";
  if (FORBIDDEN_IN_VALUE.test(value)) return `value of ${name} has a forbidden character`;
  if (CONNECTION_FIELDS.has(name)) return `${name} belongs to one hop of HTTP/1.1`;
  if (name === "te" && value !== "trailers") return "te is not trailers";
  return null;
}

/**
 * Judges a request. A CONNECT without `:authority`, and any other method, are well-formed here and get
 * their 400 from hbone/ (spec/data-path §1.7).
 * @param endStream Whether the request has no content.
 */
export function judgeRequest(headers: HeaderList, endStream: boolean): RequestVerdict {
  let method: string | null = null;
  let authority: string | null = null;
  let scheme: string | null = null;
  let path: string | null = null;
  let protocol: string | null = null;
  let regular = false;
  let contentBytes = -1;
  for (let index = 0; index < headers.length; index++) {
    const { name, value } = headers[index]!;
    if (!name.startsWith(":")) {
      regular = true;
      const fault = fieldFault(name, value);
      if (fault !== null) return malformed(fault);
      if (name === "content-length") {
        if (!DIGITS.test(value)) return malformed("content-length is not a number");
        const bytes = Number(value);
        if (contentBytes >= 0 && contentBytes !== bytes) return malformed("content-length differs");
        contentBytes = bytes;
      }
      continue;
    }
    if (regular) return malformed(`${name} follows a regular field`);
    if (FORBIDDEN_IN_VALUE.test(value)) {
      return malformed(`value of ${name} has a forbidden character`);
    }
    switch (name) {
      case ":method":
        if (method !== null) return malformed(":method occurs twice");
        if (!METHOD.test(value)) return malformed(":method is not a token");
        method = value;
        break;
      case ":authority":
        if (authority !== null) return malformed(":authority occurs twice");
        if (!isAuthority(value)) return malformed(":authority cannot be parsed");
        authority = value;
        break;
      case ":scheme":
        if (scheme !== null) return malformed(":scheme occurs twice");
        scheme = value;
        break;
      case ":path":
        if (path !== null) return malformed(":path occurs twice");
        path = value;
        break;
      case ":protocol":
        if (protocol !== null) return malformed(":protocol occurs twice");
        protocol = value;
        break;
      default:
        return malformed(`${name} does not belong in a request`);
    }
  }
  if (method === null) return malformed(":method is missing");
  if (protocol !== null) return malformed(":protocol without ENABLE_CONNECT_PROTOCOL");
  if (method === "CONNECT") {
    if (scheme !== null) return malformed(":scheme on CONNECT");
    if (path !== null) return malformed(":path on CONNECT");
    return { kind: "valid", contentBytes: -1 }; // What follows is a tunnel, not content.
  }
  if (scheme === null || scheme === "") return malformed(":scheme is missing");
  if (path === null) return malformed(":path is missing");
  if (!path.startsWith("/") && path !== "*") return malformed(":path is not absolute");
  if (endStream && contentBytes > 0) return malformed("content-length without content");
  return { kind: "valid", contentBytes };
}

/** Judges a response. An interim one (1xx) is followed by another. */
export function judgeResponse(headers: HeaderList, endStream: boolean): ResponseVerdict {
  let status: string | null = null;
  let regular = false;
  for (let index = 0; index < headers.length; index++) {
    const { name, value } = headers[index]!;
    if (!name.startsWith(":")) {
      regular = true;
      const fault = fieldFault(name, value);
      if (fault !== null) return malformed(fault);
      continue;
    }
    if (name !== ":status") return malformed(`${name} does not belong in a response`);
    if (regular) return malformed(":status follows a regular field");
    if (status !== null) return malformed(":status occurs twice");
    status = value;
  }
  if (status === null) return malformed(":status is missing");
  if (!/^[1-9]\d\d$/.test(status)) return malformed(":status is not a status code");
  if (status === "101") return malformed("101 does not exist in HTTP/2");
  if (!status.startsWith("1")) return { kind: "final" };
  return endStream ? malformed("interim response ends the stream") : { kind: "interim" };
}

/** Why trailers are malformed, or null. They are not used otherwise. */
export function trailersFault(headers: HeaderList): string | null {
  for (let index = 0; index < headers.length; index++) {
    const { name, value } = headers[index]!;
    if (name.startsWith(":")) return `${name} in trailers`;
    const fault = fieldFault(name, value);
    if (fault !== null) return fault;
  }
  return null;
}

/** True for what can be read as host and port at all; whether the port is one is for hbone/ to say. */
function isAuthority(text: string): boolean {
  return text !== "" && !text.endsWith("@") && AUTHORITY.test(text);
}
