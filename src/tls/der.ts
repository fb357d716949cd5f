// Strict DER as peers send it: a cursor over one buffer. Pure; knows no certificates.

/**
 * The bytes are not the DER that was asked for. Internal to tls/: whoever parses a peer's bytes turns it
 * into a verdict.
 */
export class DerError extends Error {
  override readonly name = "DerError";
}

/** Tags used by X.509 (ITU-T X.690 §8). */
export const DER_TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const;

/** One element: where it begins, where its contents begin and end. Offsets into `DerReader.bytes`. */
export interface DerElement {
  readonly tag: number;
  readonly start: number;
  readonly contentStart: number;
  readonly end: number;
}

/**
 * Reads elements one after the other from `start` to `end` of `bytes`. Lengths must be definite and
 * shortest (X.690 §10.1); an element never reaches past its parent. Nothing is copied.
 */
export class DerReader {
  readonly bytes: Uint8Array;
  readonly #end: number;
  #position: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.#position = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.#position === this.#end;
  }

  /** Tag of the next element, or -1 at the end. */
  peekTag(): number {
    return this.done ? -1 : this.bytes[this.#position]!;
  }

  /** @throws {DerError} if the next element is cut, badly encoded or has a multi-byte tag. */
  next(): DerElement {
    const start = this.#position;
    if (this.#end - start < 2) throw new DerError("element is cut");
    const tag = this.bytes[start]!;
    if ((tag & 0x1f) === 0x1f) throw new DerError("multi-byte tag");
    let length = this.bytes[start + 1]!;
    let contentStart = start + 2;
    if (length >= 0x80) {
      const octets = length & 0x7f;
      if (octets < 1 || octets > 3) throw new DerError("length is indefinite or too large");
      if (this.#end - contentStart < octets) throw new DerError("length is cut");
      length = 0;
      for (let i = 0; i < octets; i++) length = length << 8 | this.bytes[contentStart++]!;
      if (length < 0x80 || length < 2 ** (8 * (octets - 1))) {
        throw new DerError("length is not the shortest");
      }
    }
    const end = contentStart + length;
    if (end > this.#end) throw new DerError("element reaches past its parent");
    this.#position = end;
    return { tag, start, contentStart, end };
  }

  /** The next element, which must have `tag`. */
  expect(tag: number): DerElement {
    const element = this.next();
    if (element.tag !== tag) throw new DerError(`expected tag ${tag}, found ${element.tag}`);
    return element;
  }

  /** The next element if it has `tag`, else null and nothing is read. */
  optional(tag: number): DerElement | null {
    return this.peekTag() === tag ? this.next() : null;
  }

  /** A reader over the contents of `element`. */
  inside(element: DerElement): DerReader {
    return new DerReader(this.bytes, element.contentStart, element.end);
  }

  /** The contents of `element`, as a view. */
  contents(element: DerElement): Uint8Array {
    return this.bytes.subarray(element.contentStart, element.end);
  }

  /** @throws {DerError} if something follows. */
  finish(): void {
    if (!this.done) throw new DerError("bytes after the last element");
  }
}

/** Dotted text of an OBJECT IDENTIFIER's contents (X.690 §8.19); at most 16 arcs below 2^31. */
export function oidText(contents: Uint8Array): string {
  if (contents.length === 0) throw new DerError("empty object identifier");
  const arcs: number[] = [];
  let arc = 0;
  let inside = false;
  for (const octet of contents) {
    if (!inside && octet === 0x80) throw new DerError("object identifier arc is padded");
    arc = arc * 128 + (octet & 0x7f);
    if (arc >= 2 ** 31) throw new DerError("object identifier arc is too large");
    inside = octet >= 0x80;
    if (inside) continue;
    if (arcs.length === 0) {
      const first = Math.min(2, Math.floor(arc / 40));
      arcs.push(first, arc - first * 40);
    } else arcs.push(arc);
    if (arcs.length > 16) throw new DerError("object identifier has too many arcs");
    arc = 0;
  }
  if (inside) throw new DerError("object identifier is cut");
  return arcs.join(".");
}

/** UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 allows them (seconds, `Z`), in epoch milliseconds. */
export function timeMs(tag: number, contents: Uint8Array): number {
  let text = String.fromCharCode(...contents.subarray(0, 16));
  if (tag === DER_TAG.utcTime && /^\d{12}Z$/.test(text)) {
    text = (Number(text.slice(0, 2)) >= 50 ? "19" : "20") + text;
  } else if (tag !== DER_TAG.generalizedTime || !/^\d{14}Z$/.test(text)) {
    throw new DerError("time is malformed");
  }
  const iso = `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6, 8)}T${text.slice(8, 10)}:` +
    `${text.slice(10, 12)}:${text.slice(12, 14)}Z`;
  const ms = Date.parse(iso);
  // Date.parse takes the 31st of any month, and 24:00:00.
  const exists = new Date(ms).getUTCDate() === Number(text.slice(6, 8));
  if (contents.length > 15 || !exists) throw new DerError("time does not exist");
  return ms;
}
