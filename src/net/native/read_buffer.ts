// The block that all sockets of a network read into, one after the other.
import type { Block, BlockPool } from "../../base/block.ts";

/** Less room than this behind a range that somebody kept, and the next read gets a block of its own. */
export const READ_BYTES_MIN = 16 * 1024;

/**
 * Where the next read of any channel goes. A range that nobody kept is used again at once, so that idle channels hold
 * no memory and busy ones stay in the processor's cache; behind a range that somebody kept the block is filled up.
 */
export class ReadBuffer {
  readonly #pool: BlockPool;
  #block: Block | null = null;
  #start = 0;

  constructor(pool: BlockPool) {
    this.#pool = pool;
  }

  /** The block to read into, held by this object; from {@link start} on, at least `READ_BYTES_MIN`. */
  get block(): Block {
    return this.#block ??= this.#pool.take();
  }

  get start(): number {
    return this.#start;
  }

  /** The range from {@link start} to `end` was lent and given back, or kept. */
  lent(end: number): void {
    const block = this.#block!;
    if (block.references === 1) {
      this.#start = 0;
    } else if (this.#pool.blockBytes - end >= READ_BYTES_MIN) {
      this.#start = end;
    } else {
      block.release();
      this.#block = null;
      this.#start = 0;
    }
  }

  /** Gives the block back to the pool. */
  close(): void {
    this.#block?.release();
    this.#block = null;
    this.#start = 0;
  }
}
