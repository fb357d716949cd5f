// The PROXY protocol header, version 2, of an application tunnel (spec/data-path §3.5). Pure.
import { isIpv6, type SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/** Version 2, command PROXY. */
const VERSION_COMMAND = 0x21;
/** TCP over IPv4, over IPv6, and over what cannot be said. */
const FAMILY = { ipv4: 0x11, ipv6: 0x21, mixed: 0x01 } as const;
/** Type of the field that carries the peer's identity. */
const IDENTITY_TYPE = 0xd0;
/** Octets of a field before its value: type, and length in two. */
const FIELD_HEAD_BYTES = 3;
/** Octets before those that the length counts. */
const HEAD_BYTES = 16;

export interface ProxyHeaderFacts {
  /** The HBONE peer. */
  readonly source: SocketAddress;
  /** What the peer asked for. Of another family than the source, neither address is told. */
  readonly destination: SocketAddress;
  /** The peer's; null where it showed none. */
  readonly identity: SpiffeId | null;
}

/** The header's octets, newly made. */
export function encodeProxyHeader(facts: ProxyHeaderFacts): Uint8Array<ArrayBuffer> {
  const { source, destination, identity } = facts;
  const mixed = isIpv6(source.ip) !== isIpv6(destination.ip);
  const addresses = mixed ? [] : [
    ...ipOctets(source.ip),
    ...ipOctets(destination.ip),
    ...twoOctets(source.port),
    ...twoOctets(destination.port),
  ];
  const name = new TextEncoder().encode(identity?.uri ?? "");
  const fieldBytes = identity === null ? 0 : FIELD_HEAD_BYTES + name.length;
  const lengthBytes = addresses.length + fieldBytes;
  assert(lengthBytes <= 0xffff, "A certificate's names are shorter");
  const family = mixed ? FAMILY.mixed : isIpv6(source.ip) ? FAMILY.ipv6 : FAMILY.ipv4;
  const header = new Uint8Array(HEAD_BYTES + lengthBytes);
  header.set([...SIGNATURE, VERSION_COMMAND, family, ...twoOctets(lengthBytes), ...addresses]);
  if (identity !== null) {
    const at = HEAD_BYTES + addresses.length;
    header.set([IDENTITY_TYPE, ...twoOctets(name.length)], at);
    header.set(name, at + FIELD_HEAD_BYTES);
  }
  return header;
}

/** Big endian. */
function twoOctets(value: number): [number, number] {
  return [value >> 8, value & 255];
}

/** 4 or 16, of a canonical address. */
function ipOctets(ip: string): number[] {
  if (!isIpv6(ip)) return ip.split(".").map(Number);
  const [head = "", tail] = ip.split("::");
  const first = groups(head);
  const last = tail === undefined ? [] : groups(tail);
  const zeros = new Array<number>(8 - first.length - last.length).fill(0);
  return [...first, ...zeros, ...last].flatMap(twoOctets);
}

function groups(text: string): number[] {
  return text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
}
