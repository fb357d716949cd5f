// Somebody on the path of a TLS connection: passes records on, and now and then flips, doubles, cuts, swaps or adds some.
import type net from "node:net";
import { type Random, randomBelow } from "../../src/base/random.ts";
import { concat } from "../support/h2_raw.ts";
import { randomBytes } from "./frame_sender.ts";

/** Type, version, length (RFC 8446 §5.1). */
const HEADER_BYTES = 5;
/** Content types that exist, and two that do not. */
const CONTENT_TYPES = [20, 21, 22, 23, 24, 0, 255];

/** A record of `type` that claims to be as long as it is. */
export function record(type: number, body: Uint8Array): Uint8Array<ArrayBuffer> {
  return concat(Uint8Array.of(type, 3, 3, body.length >> 8, body.length & 255), body);
}

/** A plaintext record of any kind. */
export function randomRecord(random: Random): Uint8Array {
  const type = CONTENT_TYPES[randomBelow(random, CONTENT_TYPES.length)]!;
  switch (randomBelow(random, 4)) {
    case 0:
      return record(type, new Uint8Array(0));
    case 1: // An alert: warnings, errors and what is neither.
      return record(21, Uint8Array.of(randomBelow(random, 4), random.uint32() & 255));
    case 2:
      return record(type, randomBytes(random, randomBelow(random, 64)));
    default: { // A length that is a lie, or too long.
      const body = randomBytes(random, randomBelow(random, 40));
      const whole = record(type, body);
      whole[3] = random.uint32() & 255;
      return whole;
    }
  }
}

export interface ManglerOptions {
  readonly random: Random;
  /** Of 1,000 records, how many are tampered with. */
  readonly hostility: number;
}

/** Joins two sockets until both are closed. */
export class RecordMangler {
  readonly #near: net.Socket;
  readonly #far: net.Socket;
  readonly #options: ManglerOptions;

  constructor(near: net.Socket, far: net.Socket, options: ManglerOptions) {
    this.#near = near;
    this.#far = far;
    this.#options = options;
    new Direction(near, far, this);
    new Direction(far, near, this);
  }

  get random(): Random {
    return this.#options.random;
  }

  get tampers(): boolean {
    return randomBelow(this.random, 1000) < this.#options.hostility;
  }

  /** Both at once: RST. */
  cut(): void {
    this.#near.resetAndDestroy();
    this.#far.resetAndDestroy();
  }
}

class Direction {
  readonly #to: net.Socket;
  readonly #mangler: RecordMangler;
  #unread = new Uint8Array(0);
  /** Overtaken by the next record. */
  #held: Uint8Array | null = null;

  constructor(from: net.Socket, to: net.Socket, mangler: RecordMangler) {
    this.#to = to;
    this.#mangler = mangler;
    from.on("data", (chunk) => this.#take(chunk as Uint8Array));
    from.on("end", () => to.end());
    from.on("error", () => {});
    from.on("close", () => {
      // What was written is still sent; what the other side says has nowhere to go.
      to.destroySoon();
    });
  }

  #take(chunk: Uint8Array): void {
    this.#unread = concat(this.#unread, chunk);
    for (;;) {
      const bytes = this.#unread;
      if (bytes.length < HEADER_BYTES) return;
      const whole = HEADER_BYTES + (bytes[3]! << 8 | bytes[4]!);
      if (bytes.length < whole) return;
      this.#unread = bytes.slice(whole);
      const before = this.#held;
      this.#held = null;
      this.#pass(bytes.slice(0, whole));
      if (before !== null) this.#send(before);
    }
  }

  #send(bytes: Uint8Array): void {
    if (this.#to.writable) this.#to.write(bytes);
  }

  #pass(bytes: Uint8Array): void {
    const { random } = this.#mangler;
    if (!this.#mangler.tampers) return this.#send(bytes);
    switch (randomBelow(random, 12)) {
      case 0: // One bit anywhere.
        bytes[randomBelow(random, bytes.length)]! ^= 1 << randomBelow(random, 8);
        return this.#send(bytes);
      case 1: // One octet of the header.
        bytes[randomBelow(random, HEADER_BYTES)] = random.uint32() & 255;
        return this.#send(bytes);
      case 2:
        this.#send(bytes);
        return this.#send(bytes);
      case 3: // Lost.
        return;
      case 4: // Cut off, and nothing after it.
        this.#send(bytes.subarray(0, randomBelow(random, bytes.length)));
        return randomBelow(random, 2) === 0 ? this.#mangler.cut() : void this.#to.end();
      case 5: // The rest is missing, the next one follows.
        return this.#send(bytes.subarray(0, randomBelow(random, bytes.length)));
      case 6:
        this.#held = bytes;
        return;
      case 7: { // Harmless: in pieces.
        const pieceBytes = 1 + randomBelow(random, 20);
        for (let at = 0; at < Math.min(bytes.length, 500); at += pieceBytes) {
          this.#send(bytes.subarray(at, Math.min(at + pieceBytes, 500)));
        }
        return this.#send(bytes.subarray(500));
      }
      case 8:
        this.#send(randomRecord(random));
        return this.#send(bytes);
      case 9: // Many of the same: empty, or as they come.
        for (let more = randomBelow(random, 100), extra = randomRecord(random); more > 0; more--) {
          this.#send(extra);
        }
        return this.#send(bytes);
      case 10:
        return this.#send(randomBytes(random, bytes.length));
      default: // Two records of one.
        return this.#split(bytes);
    }
  }

  #split(bytes: Uint8Array): void {
    const body = bytes.subarray(HEADER_BYTES);
    const at = randomBelow(this.#mangler.random, body.length + 1);
    this.#send(record(bytes[0]!, body.subarray(0, at)));
    this.#send(record(bytes[0]!, body.subarray(at)));
  }
}
