// Addresses as they travel (4 or 16 bytes) to canonical text, the same that base/address.ts gives.
import type { Cidr } from "../rbac/policy.ts";
import { cannotConvert } from "./resource_error.ts";
import { TextCache } from "./text.ts";

const IPV4_BYTES = 4;
const IPV6_BYTES = 16;
const MAPPED_PREFIX_BITS = 96;

const DOT = 0x2e;
const COLON = 0x3a;
const HEX = new TextEncoder().encode("0123456789abcdef");

/** Where a text is put together, so that it becomes one flat string. */
const scratch = new Uint8Array(40);
const texts = new TextCache();

/**
 * The canonical text (RFC 5952) of an address in network order; IPv4-mapped IPv6 becomes IPv4.
 * @throws {ResourceError} `failed to parse address, had <n> bytes` unless there are 4 or 16.
 */
export function ipText(bytes: Uint8Array): string {
  if (bytes.length === IPV4_BYTES) return ipv4Text(bytes, 0);
  if (bytes.length !== IPV6_BYTES) {
    throw cannotConvert(`failed to parse address, had ${bytes.length} bytes`);
  }
  return isMapped(bytes) ? ipv4Text(bytes, IPV6_BYTES - IPV4_BYTES) : ipv6Text(bytes);
}

/** True if a prefix of `length` bits is one whole address of this size. */
export function isWholeAddress(bytes: Uint8Array, length: number): boolean {
  return length === bytes.length * 8;
}

/**
 * A network; null if `length` is more than the address has bits. Host bits stay set. An IPv4-mapped network becomes IPv4
 * and its length loses the 96 bits of the prefix, as in a local file.
 * @throws {ResourceError} as {@link ipText} does.
 */
export function cidrOf(bytes: Uint8Array, length: number): Cidr | null {
  const ip = ipText(bytes);
  const mapped = bytes.length === IPV6_BYTES && isMapped(bytes);
  const prefixBits = length - (mapped ? MAPPED_PREFIX_BITS : 0);
  return prefixBits >= 0 && length <= bytes.length * 8 ? { ip, prefixBits } : null;
}

function isMapped(bytes: Uint8Array): boolean {
  for (let at = 0; at < 10; at++) if (bytes[at] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

function ipv4Text(bytes: Uint8Array, start: number): string {
  let end = 0;
  for (let at = start; at < start + IPV4_BYTES; at++) {
    const byte = bytes[at]!;
    if (end > 0) scratch[end++] = DOT;
    if (byte >= 100) scratch[end++] = HEX[Math.trunc(byte / 100)]!;
    if (byte >= 10) scratch[end++] = HEX[Math.trunc(byte / 10) % 10]!;
    scratch[end++] = HEX[byte % 10]!;
  }
  return texts.read(scratch, 0, end);
}

/** Lower case, no leading zeros, the first longest run of two or more zero groups as `::`. */
function ipv6Text(bytes: Uint8Array): string {
  let zerosAt = 8;
  let zeros = 1;
  for (let group = 0; group < 8; group++) {
    let run = 0;
    while (group + run < 8 && groupOf(bytes, group + run) === 0) run++;
    if (run > zeros) {
      zerosAt = group;
      zeros = run;
    }
  }
  let end = 0;
  for (let group = 0; group < 8; group++) {
    if (group === zerosAt) {
      scratch[end++] = COLON;
      scratch[end++] = COLON;
      group += zeros - 1;
      continue;
    }
    if (end > 0 && scratch[end - 1] !== COLON) scratch[end++] = COLON;
    const value = groupOf(bytes, group);
    if (value >= 0x1000) scratch[end++] = HEX[value >> 12]!;
    if (value >= 0x100) scratch[end++] = HEX[value >> 8 & 15]!;
    if (value >= 0x10) scratch[end++] = HEX[value >> 4 & 15]!;
    scratch[end++] = HEX[value & 15]!;
  }
  return texts.read(scratch, 0, end);
}

function groupOf(bytes: Uint8Array, group: number): number {
  return bytes[group * 2]! << 8 | bytes[group * 2 + 1]!;
}
