// SOCKS5 messages as values (RFC 1928; spec/data-path §3.8). Pure.
import { parseIp } from "../base/address.ts";

/** Octets of the longest message a client may send: a request for a name of 255. */
export const SOCKS_MESSAGE_BYTES_MAX = 262;

/** Reply codes (RFC 1928 §6) that we use. */
export const SOCKS_GENERAL_FAILURE = 1;
export const SOCKS_HOST_UNREACHABLE = 4;
/** What every ztunnel answers to anything it does not do, also in place of a method selection. */
export const SOCKS_NOT_SUPPORTED = 7;

/** "No authentication" chosen. */
export const SOCKS_METHOD_CHOSEN: Uint8Array = Uint8Array.of(5, 0);

/** A reply with the unspecified address; 0 is success. */
export function socksReply(code: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(5, code, 0, 1, 0, 0, 0, 0, 0, 0);
}

/** Where a client wants to go. */
export type SocksTarget =
  | { readonly kind: "address"; readonly ip: string; readonly port: number }
  | { readonly kind: "name"; readonly name: string; readonly port: number };

/** What the bytes so far mean. */
export type SocksParse<Value> =
  | { readonly kind: "more" }
  | { readonly kind: "bad" }
  | { readonly kind: "ok"; readonly value: Value; readonly bytes: number };

const MORE = { kind: "more" } as const;
const BAD = { kind: "bad" } as const;

/** Reads the method selection: version 5, at least one method, 00 among them. */
export function parseSocksGreeting(bytes: Uint8Array): SocksParse<null> {
  if (bytes.length >= 1 && bytes[0] !== 5) return BAD;
  if (bytes.length < 2) return MORE;
  const count = bytes[1]!;
  if (count === 0) return BAD;
  if (bytes.length < 2 + count) return MORE;
  if (!bytes.subarray(2, 2 + count).includes(0)) return BAD;
  return { kind: "ok", value: null, bytes: 2 + count };
}

/** Reads the request: version 5, CONNECT, any third octet, then IPv4, IPv6 or a name in UTF-8. */
export function parseSocksRequest(bytes: Uint8Array): SocksParse<SocksTarget> {
  if (bytes.length >= 1 && bytes[0] !== 5) return BAD;
  if (bytes.length >= 2 && bytes[1] !== 1) return BAD;
  if (bytes.length < 4) return MORE;
  switch (bytes[3]) {
    case 1: {
      if (bytes.length < 10) return MORE;
      const ip = bytes.subarray(4, 8).join(".");
      return { kind: "ok", value: { kind: "address", ip, port: portAt(bytes, 8) }, bytes: 10 };
    }
    case 4: {
      if (bytes.length < 22) return MORE;
      const ip = ipv6Text(bytes.subarray(4, 20));
      return { kind: "ok", value: { kind: "address", ip, port: portAt(bytes, 20) }, bytes: 22 };
    }
    case 3: {
      if (bytes.length < 5) return MORE;
      const end = 5 + bytes[4]!;
      if (bytes.length < end + 2) return MORE;
      const name = utf8(bytes.subarray(5, end));
      if (name === null || name === "") return BAD;
      return {
        kind: "ok",
        value: { kind: "name", name, port: portAt(bytes, end) },
        bytes: end + 2,
      };
    }
    default:
      return BAD;
  }
}

function portAt(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! << 8 | bytes[offset + 1]!;
}

/** Canonical, so an IPv4-mapped address becomes IPv4: every later use wants that (spec/data-path §0). */
function ipv6Text(octets: Uint8Array): string {
  const groups: string[] = [];
  for (let index = 0; index < 16; index += 2) groups.push(portAt(octets, index).toString(16));
  return parseIp(groups.join(":"))!;
}

function utf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null; // Not UTF-8: the caller refuses it (S7).
  }
}
