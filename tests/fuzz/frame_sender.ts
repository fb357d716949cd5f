// HTTP/2 frames of a peer between honest and hostile, drawn at random: what the fuzzers send.
import { type Random, randomBelow } from "../../src/base/random.ts";
import type { HeaderList } from "../../src/h2/types.ts";
import { OK } from "../support/h2_pair.ts";
import {
  concat,
  data,
  frame,
  goAway,
  paddedData,
  reset,
  settings,
  windowUpdate,
} from "../support/h2_raw.ts";

const PAYLOAD = new Uint8Array(100_000);

/** Whom the frames are for, and how header blocks are written for it. */
export interface FrameTarget {
  /** The side that hears them. */
  readonly to: "client" | "server";
  readonly headers: (streamId: number, headers: HeaderList, flags: number) => Uint8Array;
  readonly block: (headers: HeaderList) => Uint8Array;
  /** Streams that a client has opened. */
  readonly streamsOpened: () => number;
  /** What a stream to a server is opened with. */
  readonly request: () => HeaderList;
}

/** The ids that a connection has used, and what may be sent on it. */
export class FrameSender {
  readonly #random: Random;
  readonly #target: FrameTarget;
  /** How often a frame is one that no honest peer sends, of 100. */
  readonly hostility: number;
  #lastId = -1;

  constructor(random: Random, target: FrameTarget) {
    this.#random = random;
    this.#target = target;
    this.hostility = [0, 1, 10, 50][randomBelow(random, 4)]!;
  }

  get #client(): boolean {
    return this.#target.to === "client";
  }

  /** A stream that was opened, or nearly one. */
  #id(): number {
    if (randomBelow(this.#random, 100) < this.hostility) return this.#random.uint32() & 0x7f;
    const newest = this.#client ? 2 * this.#target.streamsOpened() + 1 : this.#lastId;
    return Math.max(1, newest - 2 * randomBelow(this.#random, 12));
  }

  #open(flags: number): Uint8Array {
    this.#lastId += 2;
    return this.#target.headers(this.#lastId, this.#target.request(), flags);
  }

  frame(): Uint8Array {
    const random = this.#random;
    if (randomBelow(random, 100) < this.hostility) return this.#hostileFrame();
    if (!this.#client && this.#lastId < 0) return this.#open(0);
    const id = this.#id();
    const end = randomBelow(random, 6) === 0 ? 1 : 0;
    switch (randomBelow(random, 14)) {
      case 0:
      case 1:
        return this.#client ? this.#target.headers(id, OK, end) : this.#open(end);
      case 2:
        return this.#target.headers(id, [{ name: "a", value: "b" }], 1);
      case 3:
        return paddedData(id, "x".repeat(randomBelow(random, 20)), randomBelow(random, 256), end);
      case 4:
        return settings([4, randomBelow(random, 40_000)], [5, 16_384 + randomBelow(random, 9)]);
      case 5:
        return settings([1, randomBelow(random, 5_000)], [3, randomBelow(random, 30)]);
      case 6:
      case 7:
        return windowUpdate(randomBelow(random, 2) * id, 1 + randomBelow(random, 100_000));
      case 8:
        return randomBelow(random, 3) === 0 ? reset(id, randomBelow(random, 20)) : data(id, "");
      case 9:
        return frame(6, end, 0, randomBytes(random, 8));
      default:
        return data(
          id,
          PAYLOAD.subarray(0, randomBelow(random, 2 ** (2 + randomBelow(random, 14)))),
          end,
        );
    }
  }

  #hostileFrame(): Uint8Array {
    const random = this.#random;
    const id = this.#id();
    switch (randomBelow(random, 8)) {
      case 0:
        return goAway(id, randomBelow(random, 14), "debug");
      case 1:
        return frame(random.uint32() & 255, random.uint32() & 255, id, randomBytes(random, 12));
      case 2:
        return frame(randomBelow(random, 10), random.uint32() & 255, id, randomBytes(random, 8));
      case 3:
        return concat(frame(1, 0, id, this.#target.block(this.#target.request())), frame(9, 4, id));
      case 4:
        return frame(1, 4, id, randomBytes(random, randomBelow(random, 50)));
      case 5:
        return settings([randomBelow(random, 8), random.uint32()]);
      case 6:
        return windowUpdate(id, random.uint32());
      default:
        return mutate(random, data(id, randomBytes(random, randomBelow(random, 30))));
    }
  }
}

export function randomBytes(random: Random, bytes: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: bytes }, () => random.uint32() & 255);
}

/** Flips a bit, and sometimes cuts the rest off. */
export function mutate(random: Random, bytes: Uint8Array): Uint8Array {
  const changed = bytes.slice();
  changed[randomBelow(random, changed.length)]! ^= 1 << randomBelow(random, 8);
  return randomBelow(random, 4) > 0
    ? changed
    : changed.subarray(0, randomBelow(random, changed.length));
}
