// One direction of a simulated connection: what the two kernels and the wire between them hold.
import { assert } from "../../base/assert.ts";
import { type Random, randomBelow } from "../../base/random.ts";
import type { LinkPlan } from "./link_plan.ts";

/** Bytes that were accepted together and arrive together. */
interface Segment {
  readonly bytes: Uint8Array;
  /** Octets already read. */
  taken: number;
  /** Infinity once the wire was cut under it. */
  arriveMs: number;
}

/**
 * Octets in order, each piece with the time it arrives; then perhaps FIN or RST. Knows no channels and starts no
 * timers: both ends ask it. Bytes are copied in, as a kernel does, so the writer may not rely on its block later
 * and a reader never sees it.
 */
export class Pipe {
  readonly #plan: LinkPlan;
  readonly #random: Random;
  readonly #segments: Segment[] = [];
  #head = 0;
  #heldBytes = 0;
  #lastArriveMs = 0;
  #finMs = Infinity;
  #resetMs = Infinity;
  #stalledUntilMs = 0;
  #cut = false;
  #readerGone = false;

  constructor(plan: LinkPlan, random: Random) {
    this.#plan = plan;
    this.#random = random;
  }

  /** Octets accepted and not yet read: never above the plan's capacity. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Copies as much of the range as there is room for; returns how many octets that was. */
  accept(bytes: Uint8Array, start: number, end: number, nowMs: number): number {
    const taken = Math.min(end - start, this.#plan.capacityBytes - this.#heldBytes);
    if (taken <= 0) return 0;
    // Nobody acknowledges what comes after the reader has gone; its RST is under way.
    const arriveMs = this.#readerGone ? Infinity : this.#arrival(nowMs);
    this.#segments.push({ bytes: bytes.slice(start, start + taken), taken: 0, arriveMs });
    this.#heldBytes += taken;
    return taken;
  }

  /** FIN, after what was accepted. */
  finish(nowMs: number): void {
    assert(this.#finMs === Infinity, "FIN is sent once");
    this.#finMs = this.#arrival(nowMs);
  }

  /** RST, which overtakes nothing. */
  reset(nowMs: number): void {
    this.#resetMs = Math.min(this.#resetMs, this.#arrival(nowMs));
  }

  /** RST at this instant from the middle of the network: what was under way is lost. */
  resetNow(nowMs: number): void {
    this.cut(nowMs);
    this.#resetMs = nowMs;
  }

  /** From now on nothing arrives; the writer finds out by its own timers only. */
  cut(nowMs: number): void {
    this.#cut = true;
    for (let index = this.#head; index < this.#segments.length; index++) {
      const segment = this.#segments[index]!;
      if (segment.arriveMs > nowMs) segment.arriveMs = Infinity;
    }
    if (this.#finMs > nowMs) this.#finMs = Infinity;
    if (this.#resetMs > nowMs) this.#resetMs = Infinity;
  }

  /** Nothing written from now on arrives before `untilMs`. */
  stall(untilMs: number): void {
    this.#stalledUntilMs = Math.max(this.#stalledUntilMs, untilMs);
  }

  /** The reader has gone: what is held is forgotten, and what follows never arrives. */
  abandon(): void {
    this.#readerGone = true;
    this.#segments.length = 0;
    this.#head = 0;
    this.#heldBytes = 0;
  }

  /** True when bytes that were accepted have not reached the other kernel. */
  hasUnacknowledged(nowMs: number): boolean {
    const last = this.#segments.at(-1);
    return last !== undefined && last.arriveMs > nowMs;
  }

  /** True when there are bytes to read now. */
  hasArrived(nowMs: number): boolean {
    const first = this.#segments[this.#head];
    return first !== undefined && first.arriveMs <= nowMs;
  }

  /** True when everything was read and FIN has come. */
  hasEnded(nowMs: number): boolean {
    return this.#finMs <= nowMs && this.#heldBytes === 0;
  }

  /** True when RST has come. */
  wasReset(nowMs: number): boolean {
    return this.#resetMs <= nowMs;
  }

  /** When RST comes; Infinity if it never does. */
  get resetMs(): number {
    return this.#resetMs;
  }

  /** When there is next something for a reader: bytes, FIN or RST. */
  get nextMs(): number {
    const first = this.#segments[this.#head];
    const bytesMs = first === undefined ? this.#finMs : first.arriveMs;
    return Math.min(bytesMs, this.#resetMs);
  }

  /** Moves arrived octets into `target` from `offset` on, as one delivery of the plan; returns how many. */
  read(target: Uint8Array, offset: number, nowMs: number): number {
    const { deliverMinBytes, deliverMaxBytes } = this.#plan;
    const range = deliverMaxBytes - deliverMinBytes + 1;
    const wanted = deliverMinBytes + (range > 1 ? randomBelow(this.#random, range) : 0);
    const limit = Math.min(wanted, target.length - offset);
    let read = 0;
    while (read < limit && this.hasArrived(nowMs)) {
      const segment = this.#segments[this.#head]!;
      const count = Math.min(limit - read, segment.bytes.length - segment.taken);
      target.set(segment.bytes.subarray(segment.taken, segment.taken + count), offset + read);
      segment.taken += count;
      read += count;
      if (segment.taken === segment.bytes.length) this.#dropHead();
    }
    this.#heldBytes -= read;
    return read;
  }

  #dropHead(): void {
    this.#head++;
    if (this.#head === this.#segments.length) {
      this.#segments.length = 0;
      this.#head = 0;
    }
  }

  #arrival(nowMs: number): number {
    if (this.#cut) return Infinity;
    const { delayMinMs, delayMaxMs, coalesceMs } = this.#plan;
    const range = delayMaxMs - delayMinMs + 1;
    const delayMs = delayMinMs + (range > 1 ? randomBelow(this.#random, range) : 0);
    let arriveMs = Math.max(this.#lastArriveMs, this.#stalledUntilMs, nowMs + delayMs);
    if (coalesceMs > 0) arriveMs = Math.ceil(arriveMs / coalesceMs) * coalesceMs;
    this.#lastArriveMs = arriveMs;
    return arriveMs;
  }
}
