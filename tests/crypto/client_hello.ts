// What a client offers, read off the wire (RFC 8446 §4.1.2).

export interface ClientHello {
  /** Numbers of the offered suites, hexadecimal, in order; without the one that only says "secure renegotiation". */
  readonly suites: readonly string[];
  /** Names of the offered groups, in order. */
  readonly groups: readonly string[];
  /** Groups with a key share, in order. */
  readonly keyShares: readonly string[];
  /** Offered versions, hexadecimal, in order. */
  readonly versions: readonly string[];
  readonly serverName: boolean;
  readonly sessionTicket: boolean;
  /** An offer to resume. */
  readonly preSharedKey: boolean;
  readonly certificateCompression: boolean;
  readonly alpn: readonly string[];
}

const GROUPS: Readonly<Record<number, string>> = {
  0x0017: "P-256",
  0x0018: "P-384",
  0x001d: "X25519",
  0x11ec: "X25519MLKEM768",
};

const EXTENSION = {
  serverName: 0,
  groups: 10,
  alpn: 16,
  ticket: 35,
  preSharedKey: 41,
  certificateCompression: 27,
  versions: 43,
  keyShare: 51,
} as const;

/** TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746 §3.3). */
const RENEGOTIATION_SIGNAL = 0x00ff;

/** Reads one record with a whole ClientHello. */
export function parseClientHello(record: Uint8Array): ClientHello {
  const reader = new Reader(record);
  reader.skip(5 + 4 + 2 + 32); // Record header, message header, version, random.
  reader.skip(reader.u8()); // Session id.
  const suites = reader.block(reader.u16()).numbers();
  reader.skip(reader.u8()); // Compression.
  const extensions = new Map<number, Reader>();
  const list = reader.block(reader.u16());
  while (list.left > 0) extensions.set(list.u16(), list.block(list.u16()));
  const numbers = (type: number, lengthOctets: 1 | 2) => {
    const body = extensions.get(type);
    if (body === undefined) return [];
    return body.block(lengthOctets === 1 ? body.u8() : body.u16()).numbers();
  };
  return {
    suites: suites.filter((suite) => suite !== RENEGOTIATION_SIGNAL).map(hex),
    groups: numbers(EXTENSION.groups, 2).map(groupName),
    keyShares: keyShares(extensions.get(EXTENSION.keyShare)),
    versions: numbers(EXTENSION.versions, 1).map(hex),
    serverName: extensions.has(EXTENSION.serverName),
    sessionTicket: extensions.has(EXTENSION.ticket),
    preSharedKey: extensions.has(EXTENSION.preSharedKey),
    certificateCompression: extensions.has(EXTENSION.certificateCompression),
    alpn: names(extensions.get(EXTENSION.alpn)),
  };
}

function keyShares(body: Reader | undefined): string[] {
  if (body === undefined) return [];
  const list = body.block(body.u16());
  const groups: string[] = [];
  while (list.left > 0) {
    groups.push(groupName(list.u16()));
    list.skip(list.u16());
  }
  return groups;
}

function names(body: Reader | undefined): string[] {
  if (body === undefined) return [];
  const list = body.block(body.u16());
  const found: string[] = [];
  while (list.left > 0) found.push(list.block(list.u8()).text());
  return found;
}

function hex(value: number): string {
  return value.toString(16).padStart(4, "0");
}

function groupName(value: number): string {
  return GROUPS[value] ?? hex(value);
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  skip(octets: number): void {
    if (octets > this.left) throw new Error("ClientHello is cut off");
    this.#at += octets;
  }

  u8(): number {
    this.skip(1);
    return this.#bytes[this.#at - 1]!;
  }

  u16(): number {
    return this.u8() << 8 | this.u8();
  }

  block(octets: number): Reader {
    this.skip(octets);
    return new Reader(this.#bytes.subarray(this.#at - octets, this.#at));
  }

  numbers(): number[] {
    const all: number[] = [];
    while (this.left > 0) all.push(this.u16());
    return all;
  }

  text(): string {
    return new TextDecoder().decode(this.#bytes.subarray(this.#at));
  }
}
