// The handshake messages of the memory network: real in what they carry, made up in how.

/** Octets before a payload: type, then length in three octets. */
const HEADER_BYTES = 4;
/** A payload above this is taken for something that is not ours. */
export const HANDSHAKE_PAYLOAD_BYTES_MAX = 65_536;

/** Type octets; apart from those of any text protocol or of HTTP/2's preface. */
const TYPES = { hello: 0xc1, certificates: 0xc2, accepted: 0xc3, alert: 0xc4 } as const;

export type FlightType = "hello" | "certificates" | "accepted";

/** Protocols offered or chosen, and a chain, leaf first; either may be empty. */
export interface Flight {
  readonly alpn: readonly string[];
  readonly chainDer: readonly Uint8Array<ArrayBuffer>[];
}

/** A whole message; `garbage` is anything that cannot be one. */
export type HandshakeMessage =
  | { readonly type: FlightType; readonly payload: Uint8Array<ArrayBuffer> }
  | { readonly type: "alert"; readonly text: string }
  | { readonly type: "garbage" };

export function encodeFlight(type: FlightType, flight: Flight): Uint8Array<ArrayBuffer> {
  const alpn = new TextEncoder().encode(flight.alpn.join(","));
  const parts = [alpn, ...flight.chainDer];
  const payload = new Uint8Array(parts.reduce((sum, part) => sum + 3 + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    writeUint24(payload, offset, part.length);
    payload.set(part, offset + 3);
    offset += 3 + part.length;
  }
  return encodeMessage(TYPES[type], payload);
}

/** Null for a payload that is not a flight. */
export function decodeFlight(payload: Uint8Array): Flight | null {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let offset = 0; offset < payload.length;) {
    if (payload.length - offset < 3) return null;
    const bytes = readUint24(payload, offset);
    offset += 3;
    if (payload.length - offset < bytes) return null;
    parts.push(payload.slice(offset, offset + bytes));
    offset += bytes;
  }
  const [alpn, ...chainDer] = parts;
  if (alpn === undefined) return null;
  const names = new TextDecoder().decode(alpn);
  return { alpn: names === "" ? [] : names.split(","), chainDer };
}

export function encodeAlert(text: string): Uint8Array<ArrayBuffer> {
  return encodeMessage(TYPES.alert, new TextEncoder().encode(text));
}

/** Collects one message at a time from pieces of any size. */
export class HandshakeReader {
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerBytes = 0;
  #payload: Uint8Array<ArrayBuffer> | null = null;
  #payloadBytes = 0;

  /** Takes bytes up to the end of the current message; returns how many it took. */
  push(bytes: Uint8Array): number {
    let taken = 0;
    while (taken < bytes.length && this.#headerBytes < HEADER_BYTES && !this.#isGarbage) {
      this.#header[this.#headerBytes++] = bytes[taken++]!;
    }
    if (this.#isGarbage || this.#headerBytes < HEADER_BYTES) return taken;
    this.#payload ??= new Uint8Array(readUint24(this.#header, 1));
    const piece = bytes.subarray(taken, taken + this.#payload.length - this.#payloadBytes);
    this.#payload.set(piece, this.#payloadBytes);
    this.#payloadBytes += piece.length;
    return taken + piece.length;
  }

  /** The message, once it is whole; null before. Garbage stays garbage. */
  take(): HandshakeMessage | null {
    if (this.#isGarbage) return { type: "garbage" };
    const payload = this.#payload;
    if (payload === null || this.#payloadBytes < payload.length) return null;
    const type = this.#header[0];
    this.#headerBytes = 0;
    this.#payload = null;
    this.#payloadBytes = 0;
    if (type === TYPES.alert) return { type: "alert", text: new TextDecoder().decode(payload) };
    if (type === TYPES.hello) return { type: "hello", payload };
    return { type: type === TYPES.accepted ? "accepted" : "certificates", payload };
  }

  /** True as soon as the first octet, or the length, cannot be ours. */
  get #isGarbage(): boolean {
    if (this.#headerBytes === 0) return false;
    const type = this.#header[0]!;
    if (type < TYPES.hello || type > TYPES.alert) return true;
    return this.#headerBytes === HEADER_BYTES &&
      readUint24(this.#header, 1) > HANDSHAKE_PAYLOAD_BYTES_MAX;
  }
}

function encodeMessage(type: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(HEADER_BYTES + payload.length);
  message[0] = type;
  writeUint24(message, 1, payload.length);
  message.set(payload, HEADER_BYTES);
  return message;
}

function writeUint24(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value >> 16;
  target[offset + 1] = value >> 8;
  target[offset + 2] = value;
}

function readUint24(source: Uint8Array, offset: number): number {
  return source[offset]! << 16 | source[offset + 1]! << 8 | source[offset + 2]!;
}
