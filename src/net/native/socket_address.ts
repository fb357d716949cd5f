// Addresses as the kernel writes them: sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)).
import { assert } from "../../base/assert.ts";
import { isIpv6, type SocketAddress } from "../../base/address.ts";
import { NetError } from "../../base/errors.ts";
import { AF_INET, AF_INET6 } from "./constants.ts";

export const SOCKADDR_IN_BYTES = 16;
export const SOCKADDR_IN6_BYTES = 28;
/** Enough for any address the kernel may give (`struct sockaddr_storage`). */
export const SOCKADDR_BYTES_MAX = 128;

/** AF_INET or AF_INET6, by the text of the address. */
export function familyOf(ip: string): number {
  return isIpv6(ip) ? AF_INET6 : AF_INET;
}

/**
 * Writes `address` as a sockaddr to the beginning of `into`, which has room for {@link SOCKADDR_IN6_BYTES}.
 * @returns Its length in octets. Flow label and scope are zero.
 */
export function encodeSocketAddress(address: SocketAddress, into: Uint8Array): number {
  assert(into.length >= SOCKADDR_IN6_BYTES, "No room for a socket address");
  const { ip, port } = address;
  into.fill(0, 0, SOCKADDR_IN6_BYTES);
  into[2] = port >> 8;
  into[3] = port & 0xff;
  if (isIpv6(ip)) {
    into[0] = AF_INET6;
    writeIpv6(ip, into, 8);
    return SOCKADDR_IN6_BYTES;
  }
  into[0] = AF_INET;
  writeIpv4(ip, into, 4);
  return SOCKADDR_IN_BYTES;
}

/**
 * Reads what the kernel wrote: canonical text (RFC 5952), an IPv4-mapped IPv6 address as plain IPv4.
 * @param length What the call said it wrote.
 * @throws {NetError} EAFNOSUPPORT for another family, as of a unix socket.
 */
export function decodeSocketAddress(bytes: Uint8Array, length: number): SocketAddress {
  const family = length >= 2 ? bytes[0]! | bytes[1]! << 8 : 0;
  if (family === AF_INET && length >= SOCKADDR_IN_BYTES) {
    return { ip: readIpv4(bytes, 4), port: bytes[2]! << 8 | bytes[3]! };
  }
  if (family === AF_INET6 && length >= SOCKADDR_IN6_BYTES - 4) {
    const ip = isMapped(bytes, 8) ? readIpv4(bytes, 20) : readIpv6(bytes, 8);
    return { ip, port: bytes[2]! << 8 | bytes[3]! };
  }
  throw new NetError("EAFNOSUPPORT", {
    message: `Cannot use socket address: family ${family}, ${length} bytes, need IPv4 or IPv6`,
  });
}

function writeIpv4(ip: string, into: Uint8Array, at: number): void {
  let octet = 0;
  let dots = 0;
  for (let index = 0; index < ip.length; index++) {
    const code = ip.charCodeAt(index);
    if (code === 46) {
      into[at++] = octet;
      octet = 0;
      dots++;
    } else {
      octet = octet * 10 + code - 48;
    }
  }
  assert(dots === 3, "An IPv4 address has four numbers");
  into[at] = octet;
}

function writeIpv6(ip: string, into: Uint8Array, at: number): void {
  const gap = ip.indexOf("::");
  const head = gap < 0 ? ip : ip.slice(0, gap);
  const tail = gap < 0 ? "" : ip.slice(gap + 2);
  const before = head === "" ? [] : head.split(":");
  const after = tail === "" ? [] : tail.split(":");
  assert(gap < 0 ? before.length === 8 : before.length + after.length < 8, "Not canonical IPv6");
  before.forEach((group, index) => writeGroup(group, into, at + index * 2));
  after.forEach((group, index) => writeGroup(group, into, at + 16 - (after.length - index) * 2));
}

function writeGroup(group: string, into: Uint8Array, at: number): void {
  const value = Number.parseInt(group, 16);
  into[at] = value >> 8;
  into[at + 1] = value & 0xff;
}

function readIpv4(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

function isMapped(bytes: Uint8Array, at: number): boolean {
  for (let index = 0; index < 10; index++) {
    if (bytes[at + index] !== 0) return false;
  }
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff;
}

/** Lower case, no leading zeros, the first longest run of two or more zero groups as `::` (RFC 5952 §4). */
function readIpv6(bytes: Uint8Array, at: number): string {
  let gapStart = -1;
  let gapLength = 1;
  let run = 0;
  for (let group = 0; group < 8; group++) {
    const isZero = bytes[at + group * 2] === 0 && bytes[at + group * 2 + 1] === 0;
    run = isZero ? run + 1 : 0;
    if (run > gapLength) {
      gapLength = run;
      gapStart = group - run + 1;
    }
  }
  let text = "";
  for (let group = 0; group < 8; group++) {
    if (group === gapStart) {
      text += "::";
      group += gapLength - 1;
      continue;
    }
    if (text !== "" && !text.endsWith(":")) text += ":";
    text += (bytes[at + group * 2]! << 8 | bytes[at + group * 2 + 1]!).toString(16);
  }
  return text;
}
