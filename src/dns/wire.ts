// Questions as octets, and octets as replies. A reply may be anything: it is walked before anything of it is decoded.
import { Buffer } from "node:buffer";
import dnsPacket from "dns-packet";
import { parseIp } from "../base/address.ts";
import type { Answer, Question } from "./answer.ts";
import { parseHostName } from "./host_name.ts";

/** Octets of a datagram that are looked at; longer ones are nobody's reply to our questions. */
export const DATAGRAM_BYTES_MAX = 4096;

/** What our OPT record offers: fits one packet on any path (RFC 9715). */
export const EDNS_PAYLOAD_BYTES = 1232;

/** Answer and authority records of one reply; RFC 1035 has room for 4,095 addresses in 64 KiB. */
export const RECORDS_MAX = 4_100;

/** Compression pointers followed in one name. Honest names have one or two. */
export const POINTERS_MAX = 16;

/** Aliases followed from one name to the next. */
export const ALIASES_MAX = 16;

/** Addresses kept of one answer. */
export const ADDRESSES_MAX = 256;

/** The longest that an answer is kept, whatever it says: a day. */
export const TTL_MS_MAX = 86_400_000;

const HEADER_BYTES = 12;
const TYPE_CODES = { A: 1, AAAA: 28 } as const;
const CNAME = 5;
const SOA = 6;
const CLASS_IN = 1;
const RCODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

export type Reply =
  /** Not a reply to this question: somebody else's, forged or broken. Waiting goes on. */
  | { readonly kind: "foreign"; readonly reason: string }
  /** There is more than fits a datagram. */
  | { readonly kind: "truncated" }
  /** The server will not or cannot say; another one may. */
  | { readonly kind: "refused"; readonly rcode: string }
  /** Aliases that lead out of the reply: `to` is to be asked for. */
  | { readonly kind: "alias"; readonly to: string; readonly ttlMs: number }
  | { readonly kind: "answer"; readonly answer: Answer };

/** The message that asks, recursion desired. */
export function encodeQuestion(
  { name, type }: Question,
  { id, edns0 }: { readonly id: number; readonly edns0: boolean },
): Uint8Array {
  return new Uint8Array(dnsPacket.encode({
    type: "query",
    id,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type, name }],
    additionals: edns0 ? [{ type: "OPT", name: ".", udpPayloadSize: EDNS_PAYLOAD_BYTES }] : [],
  }));
}

/**
 * What a message says about a question.
 * @param options.id The id the question went out with.
 * @param options.isDatagram True for UDP: larger ones are refused, and TC counts.
 */
export function readReply(
  bytes: Uint8Array,
  question: Question,
  options: { readonly id: number; readonly isDatagram: boolean },
): Reply {
  if (options.isDatagram && bytes.length > DATAGRAM_BYTES_MAX) return foreign("is oversized");
  try {
    return new ReplyReader(bytes, question).read(options);
  } catch (error) {
    // Offsets that lead outside are RangeErrors; the decoder throws plain errors of its own.
    return foreign(error instanceof Error ? error.message : String(error));
  }
}

function foreign(reason: string): Reply {
  return { kind: "foreign", reason };
}

interface Resource {
  readonly name: string;
  readonly type: number;
  readonly ttlMs: number;
  readonly dataAt: number;
  readonly dataBytes: number;
}

/** A message is wrong: its sentence becomes the reason of a foreign reply. */
class BadMessage extends Error {}

class ReplyReader {
  readonly #bytes: Buffer;
  readonly #question: Question;
  #at = HEADER_BYTES;

  constructor(bytes: Uint8Array, question: Question) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#question = question;
  }

  read({ id, isDatagram }: { readonly id: number; readonly isDatagram: boolean }): Reply {
    const bytes = this.#bytes;
    if (bytes.length < HEADER_BYTES) return foreign("has no header");
    if (bytes.readUInt16BE(0) !== id) return foreign("has another id");
    const flags = bytes.readUInt16BE(2);
    if ((flags & 0x8000) === 0) return foreign("is a question");
    if ((flags & 0x7800) !== 0) return foreign("has another opcode");
    const rcode = flags & 0xf;
    const answers = bytes.readUInt16BE(6);
    const authorities = bytes.readUInt16BE(8);
    if (bytes.readUInt16BE(4) === 0 && rcode !== 0) return refused(rcode); // As some servers do.
    if (bytes.readUInt16BE(4) !== 1 || !this.#isSameQuestion()) {
      return foreign("is about another question");
    }
    if (isDatagram && (flags & 0x0200) !== 0) return { kind: "truncated" };
    if (rcode !== 0 && rcode !== 3) return refused(rcode);
    if (answers + authorities > RECORDS_MAX) return foreign("has too many records");
    const owned = this.#resources(answers);
    const soa = this.#resources(authorities).find(({ type }) => type === SOA);
    return this.#conclude(owned, soa, rcode === 3);
  }

  /** Letter by letter as it was asked, but for their case. */
  #isSameQuestion(): boolean {
    const { name, type } = this.#question;
    const start = this.#at;
    const asked = this.#name();
    const isSame = asked.toLowerCase() === name && this.#at - start === name.length + 2 &&
      this.#bytes.readUInt16BE(this.#at) === TYPE_CODES[type] &&
      this.#bytes.readUInt16BE(this.#at + 2) === CLASS_IN;
    this.#at += 4;
    return isSame;
  }

  #resources(count: number): Resource[] {
    const found: Resource[] = [];
    for (let read = 0; read < count; read++) {
      const name = this.#name().toLowerCase();
      const at = this.#at;
      const type = this.#bytes.readUInt16BE(at);
      const isIn = this.#bytes.readUInt16BE(at + 2) === CLASS_IN;
      const ttl = this.#bytes.readUInt32BE(at + 4);
      const dataBytes = this.#bytes.readUInt16BE(at + 8);
      this.#at = at + 10 + dataBytes;
      if (this.#at > this.#bytes.length) throw new BadMessage("ends within a record");
      // RFC 2181 §8: with the top bit set a TTL counts as 0.
      const ttlMs = ttl > 0x7fff_ffff ? 0 : Math.min(ttl * 1000, TTL_MS_MAX);
      if (isIn) found.push({ name, type, ttlMs, dataAt: at + 10, dataBytes });
    }
    return found;
  }

  #conclude(owned: readonly Resource[], soa: Resource | undefined, isNoName: boolean): Reply {
    const aliases = new Map<string, Resource>();
    const byName = new Map<string, Resource[]>();
    for (const resource of owned) {
      if (resource.type === CNAME && !aliases.has(resource.name)) {
        aliases.set(resource.name, resource);
      }
      if (resource.type !== TYPE_CODES[this.#question.type]) continue;
      const others = byName.get(resource.name);
      if (others === undefined) byName.set(resource.name, [resource]);
      else others.push(resource);
    }
    let name = this.#question.name;
    let ttlMs = TTL_MS_MAX;
    for (let followed = 0; !byName.has(name); followed++) {
      const alias = aliases.get(name);
      if (alias === undefined) {
        if (name !== this.#question.name && !isNoName && soa === undefined) {
          return { kind: "alias", to: name, ttlMs };
        }
        const kept = Math.min(ttlMs, this.#negativeTtlMs(soa));
        const kind = isNoName ? "NO_NAME" : "OK";
        return { kind: "answer", answer: { kind, addresses: [], ttlMs: kept } };
      }
      if (followed === ALIASES_MAX) throw new BadMessage("has too many aliases");
      ttlMs = Math.min(ttlMs, alias.ttlMs);
      name = this.#aliasTarget(alias);
    }
    const addresses = new Set<string>();
    for (const resource of byName.get(name)!) {
      if (addresses.size === ADDRESSES_MAX) break;
      addresses.add(this.#address(resource));
      ttlMs = Math.min(ttlMs, resource.ttlMs);
    }
    return { kind: "answer", answer: { kind: "OK", addresses: [...addresses], ttlMs } };
  }

  #aliasTarget({ dataAt, dataBytes }: Resource): string {
    const after = this.#at;
    this.#at = dataAt;
    const name = parseHostName(this.#name());
    if (name === null || this.#at !== dataAt + dataBytes) throw new BadMessage("has a bad alias");
    this.#at = after;
    return name;
  }

  #address({ dataAt, dataBytes }: Resource): string {
    const { type } = this.#question;
    const codec = type === "A" ? dnsPacket.a : dnsPacket.aaaa;
    // Its own length, in the two octets before, is part of what the codec reads.
    const ip = dataBytes === (type === "A" ? 4 : 16)
      ? parseIp(codec.decode(this.#bytes, dataAt - 2))
      : null;
    if (ip === null) throw new BadMessage("has a bad address");
    return ip;
  }

  /** RFC 2308 §5: the SOA's own TTL or its last field, whichever is less; without SOA, not again. */
  #negativeTtlMs(soa: Resource | undefined): number {
    if (soa === undefined || soa.dataBytes < 22) return 0;
    const minimum = this.#bytes.readUInt32BE(soa.dataAt + soa.dataBytes - 4);
    return minimum > 0x7fff_ffff ? 0 : Math.min(soa.ttlMs, minimum * 1000);
  }

  /** Decodes the name at the cursor, which was walked before, and moves behind it. */
  #name(): string {
    const start = this.#at;
    this.#at = this.#walkName(start);
    return dnsPacket.name.decode(this.#bytes, start);
  }

  /** Where the name at `start` ends. Pointers lead backwards only, and not many of them. */
  #walkName(start: number): number {
    const bytes = this.#bytes;
    let end = -1;
    let limit = start;
    let octets = 0;
    for (let at = start, pointers = 0;;) {
      const length = bytes.readUInt8(at);
      if (length === 0) return end < 0 ? at + 1 : end;
      if ((length & 0xc0) === 0xc0) {
        const target = bytes.readUInt16BE(at) & 0x3fff;
        if (end < 0) end = at + 2;
        if (target >= limit || ++pointers > POINTERS_MAX) {
          throw new BadMessage("has a name that leads nowhere");
        }
        at = limit = target;
      } else if ((length & 0xc0) === 0) {
        octets += length + 1;
        if (octets > 254) throw new BadMessage("has a name that is too long");
        at += length + 1;
      } else throw new BadMessage("has a name of an unknown kind");
    }
  }
}

function refused(rcode: number): Reply {
  return { kind: "refused", rcode: RCODES[rcode] ?? `RCODE ${rcode}` };
}
