// Memory that travels: a counted block of bytes, lent from a reader to whoever must keep it.
import { assert } from "./assert.ts";

/**
 * A block of bytes with a count of holders. Whoever is handed `(block, start, end)` may read that
 * range until the call returns; to keep it longer, `retain()` and later `release()`. Nobody writes
 * to a range that was handed on.
 */
export class Block {
  readonly bytes: Uint8Array<ArrayBuffer>;
  #references = 1;
  readonly #pool: BlockOwner | null;

  /** The creator holds the first reference. */
  constructor(bytes: Uint8Array<ArrayBuffer>, pool: BlockOwner | null) {
    this.bytes = bytes;
    this.#pool = pool;
  }

  /** Holders now; 0 when free. */
  get references(): number {
    return this.#references;
  }

  retain(): void {
    assert(this.#references > 0, "A freed block cannot be kept");
    this.#references++;
  }

  release(): void {
    assert(this.#references > 0, "Block released more often than kept");
    if (--this.#references === 0 && this.#pool !== null) this.#pool.takeBack(this);
  }

  /** For {@link BlockPool} only: from free to held by one. */
  revive(): void {
    assert(this.#references === 0, "Only a free block can be lent again");
    this.#references = 1;
  }
}

/** Where a block goes when its last holder releases it. */
export interface BlockOwner {
  takeBack(block: Block): void;
}

/** Lends blocks of one size and keeps a few free ones. Not shared between isolates. */
export class BlockPool implements BlockOwner {
  readonly blockBytes: number;
  readonly #idleMax: number;
  readonly #idle: Block[] = [];
  #lent = 0;

  /**
   * @param options.blockBytes Octets per block.
   * @param options.idleMax Free blocks kept; more are left to the garbage collector.
   */
  constructor(options: { readonly blockBytes: number; readonly idleMax: number }) {
    this.blockBytes = options.blockBytes;
    this.#idleMax = options.idleMax;
  }

  /** Blocks lent and not yet released: 0 when nothing leaks. */
  get lent(): number {
    return this.#lent;
  }

  /** Free blocks kept for the next {@link take}. */
  get idle(): number {
    return this.#idle.length;
  }

  /** A block held once, by the caller. Its contents are undefined. */
  take(): Block {
    this.#lent++;
    const block = this.#idle.pop();
    if (block === undefined) return new Block(new Uint8Array(this.blockBytes), this);
    block.revive();
    return block;
  }

  /** For {@link Block.release} only. */
  takeBack(block: Block): void {
    this.#lent--;
    if (this.#idle.length < this.#idleMax) this.#idle.push(block);
  }
}

/** Smaller memory is left to the collector: detaching costs more than it gives back. */
const CONSUMED_BYTES_MIN = 4096;

const FREES_AT_ONCE: BlockOwner = {
  takeBack({ bytes }) {
    bytes.buffer.transfer(0);
  },
};

/**
 * Wraps memory that somebody else allocated and that nobody else will look at: where it fills its buffer
 * it is freed with the last `release()`, not by the collector. Read buffers of 64 KiB pass the engine's
 * limit for memory outside its heap hundreds of times a gigabyte, and each time it marks the whole heap.
 */
export function consumeBlock(bytes: Uint8Array<ArrayBuffer>): Block {
  const fillsBuffer = bytes.length === bytes.buffer.byteLength;
  return new Block(bytes, fillsBuffer && bytes.length >= CONSUMED_BYTES_MIN ? FREES_AT_ONCE : null);
}

/** Wraps memory that somebody else allocated (a runtime's read buffer); freed by the collector. */
export function adoptBlock(bytes: Uint8Array<ArrayBuffer>): Block {
  return new Block(bytes, null);
}
