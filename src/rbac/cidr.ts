// Networks in fast form: an address becomes one or four 32-bit words, a network words and masks. Pure.
import { isIpv6, parseIp } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import type { Cidr } from "./policy.ts";

/** An address as 32-bit words, most significant first: one for IPv4, four for IPv6. */
export type AddressWords = readonly number[];

/** A network compiled for {@link matchesNetwork}. */
export interface Network {
  /** 1 word: IPv4; 4 words: IPv6. Host bits are zero. */
  readonly words: AddressWords;
  readonly masks: readonly number[];
}

const IPV4_BITS = 32;
const IPV6_BITS = 128;

/** The words of a canonical address (base/address.ts). */
export function addressWords(ip: string): AddressWords {
  if (!isIpv6(ip)) {
    let word = 0;
    for (const part of ip.split(".")) word = word << 8 | Number(part);
    return [word];
  }
  const [head, tail] = ip.split("::");
  const left = head === "" ? [] : head!.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  assert(left.length + right.length <= 8, "An address in here is canonical");
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  const words: number[] = [];
  for (let at = 0; at < 8; at += 2) {
    words.push(Number.parseInt(groups[at]!, 16) << 16 | Number.parseInt(groups[at + 1]!, 16));
  }
  return words;
}

/**
 * Compiles a network; host bits of `cidr.ip` are cut off (spec/data-path §4.4).
 * @param cidr A canonical address and a length that its family has: checked where it came in.
 */
export function compileCidr(cidr: Cidr): Network {
  const words = addressWords(cidr.ip);
  const bits = words.length === 1 ? IPV4_BITS : IPV6_BITS;
  assert(
    Number.isInteger(cidr.prefixBits) && cidr.prefixBits >= 0 && cidr.prefixBits <= bits,
    "A prefix length was checked where it came in",
  );
  const masks = words.map((_, index) => {
    const ones = Math.min(32, Math.max(0, cidr.prefixBits - index * 32));
    return ones === 0 ? 0 : -1 << 32 - ones;
  });
  return { words: words.map((word, index) => word & masks[index]!), masks };
}

/** True if `address` lies in `network`. An IPv4 network never holds an IPv6 address, nor the reverse. */
export function matchesNetwork(network: Network, address: AddressWords): boolean {
  const { words, masks } = network;
  if (words.length !== address.length) return false;
  for (let at = 0; at < words.length; at++) {
    if ((address[at]! & masks[at]!) !== words[at]) return false;
  }
  return true;
}

/** Reads `address/length`; null for anything else. The length is required, host bits may be set. */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf("/");
  if (slash < 0) return null;
  const written = text.slice(0, slash);
  const ip = parseIp(written);
  const length = text.slice(slash + 1);
  if (ip === null || !/^\d{1,3}$/.test(length)) return null;
  // An IPv4-mapped network has become IPv4: its length loses the 96 bits of the prefix.
  const prefixBits = Number(length) - (isIpv6(written) && !isIpv6(ip) ? IPV6_BITS - IPV4_BITS : 0);
  const bitsMax = isIpv6(ip) ? IPV6_BITS : IPV4_BITS;
  return prefixBits >= 0 && prefixBits <= bitsMax ? { ip, prefixBits } : null;
}
