// Flow-control windows (RFC 9113 §5.2, §6.9): one for what we may send, one for what we accept.
import { assert } from "../base/assert.ts";

/** What a window has before SETTINGS or WINDOW_UPDATE say otherwise. */
export const DEFAULT_WINDOW_BYTES = 65_535;

/** No window may exceed this (RFC 9113 §6.9.1). */
export const WINDOW_BYTES_MAX = 2 ** 31 - 1;

/** Credit is announced at the latest when this much was consumed, or a quarter of the window. */
export const CREDIT_BYTES_MAX = 1_048_576;

/** What the peer allows us to send. */
export class SendWindow {
  #bytes: number;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /** Octets that may be sent; a SETTINGS change can leave it below zero (RFC 9113 §6.9.2). */
  get bytes(): number {
    return this.#bytes;
  }

  /** Records that `bytes` were sent. */
  take(bytes: number): void {
    assert(bytes >= 0 && bytes <= Math.max(0, this.#bytes), "Sent more than the window allows");
    this.#bytes -= bytes;
  }

  /**
   * WINDOW_UPDATE, or the difference between two SETTINGS_INITIAL_WINDOW_SIZE, which may be negative.
   * Returns false, without change, when the window would exceed {@link WINDOW_BYTES_MAX}.
   */
  add(bytes: number): boolean {
    if (this.#bytes + bytes > WINDOW_BYTES_MAX) return false;
    this.#bytes += bytes;
    return true;
  }
}

/** What we allow the peer to send; credit goes back when the consumer took the bytes, never before. */
export class ReceiveWindow {
  readonly #wholeBytes: number;
  #bytes: number;
  #consumedBytes = 0;
  readonly #creditBytesMin: number;

  /** @param bytes The window advertised, 1 to 2^31-1. */
  constructor(bytes: number) {
    assert(bytes > 0 && bytes <= WINDOW_BYTES_MAX, "Not a window");
    this.#wholeBytes = bytes;
    this.#bytes = bytes;
    // Never more than the window itself, or a peer that used it up would wait for ever.
    this.#creditBytesMin = Math.max(1, Math.min(CREDIT_BYTES_MAX, bytes >> 2));
  }

  /** Octets that the peer may still send. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Octets that arrived and have not left yet: 0 in a whole window. */
  get heldBytes(): number {
    return this.#wholeBytes - this.#bytes - this.#consumedBytes;
  }

  /** Counts octets that arrived, padding included; false when the peer had no right to send them. */
  charge(bytes: number): boolean {
    if (bytes > this.#bytes) return false;
    this.#bytes -= bytes;
    return true;
  }

  /** Counts octets that left: taken by the consumer, or dropped. True when credit is due. */
  consume(bytes: number): boolean {
    this.#consumedBytes += bytes;
    return this.#consumedBytes >= this.#creditBytesMin;
  }

  /** Credit to announce by WINDOW_UPDATE now; 0 while it is not worth a frame. */
  takeCredit(): number {
    if (this.#consumedBytes < this.#creditBytesMin) return 0;
    const credit = this.#consumedBytes;
    this.#consumedBytes = 0;
    this.#bytes += credit;
    return credit;
  }
}
