// The memory that all sockets of a network read into, one after the other.
import { Block, type BlockOwner, type BlockPool } from "../../base/block.ts";

/** Less room than this share of a block behind ranges that somebody kept, and the next read gets another block. */
export const READ_ROOM_SHARE_MIN = 1 / 4;

/**
 * Where the next read of any channel goes. A range that nobody kept is used again at once, so that idle channels hold
 * no memory and busy ones stay in the processor's cache. Ranges that somebody kept fill the block up; each counts its
 * holders for itself, so that a small one that is kept for long costs its own octets of room, not the whole block.
 */
export class ReadBuffer {
  readonly #pool: BlockPool;
  #memory: SharedMemory | null = null;
  #range: Block | null = null;
  #start = 0;

  constructor(pool: BlockPool) {
    this.#pool = pool;
  }

  /** The block to read into; from {@link start} on, at least a quarter of it. */
  get block(): Block {
    if (this.#range !== null) return this.#range;
    this.#memory ??= new SharedMemory(this.#pool.take());
    return this.#range = this.#memory.range();
  }

  get start(): number {
    return this.#start;
  }

  /** The range from {@link start} to `end` was lent and given back, or kept. */
  lent(end: number): void {
    const range = this.#range!;
    if (range.references === 1) return; // Nobody kept it: the next read may have its place.
    range.release();
    this.#range = null;
    this.#start = end;
    const { blockBytes } = this.#pool;
    if (blockBytes - end < blockBytes * READ_ROOM_SHARE_MIN) this.#leave();
  }

  /** Gives the memory back to the pool, ranges that are kept excepted. */
  close(): void {
    this.#range?.release();
    this.#range = null;
    this.#leave();
  }

  #leave(): void {
    this.#memory?.leave();
    this.#memory = null;
    this.#start = 0;
  }
}

/** One block of the pool and the ranges of it that somebody holds. */
class SharedMemory implements BlockOwner {
  readonly #block: Block;
  readonly #idle: Block[] = [];

  constructor(block: Block) {
    this.#block = block;
  }

  /** A counter of holders for one range, held once, by the caller. */
  range(): Block {
    this.#block.retain();
    const range = this.#idle.pop();
    if (range === undefined) return new Block(this.#block.bytes, this);
    range.revive();
    return range;
  }

  takeBack(range: Block): void {
    this.#idle.push(range);
    this.#block.release();
  }

  /** Nothing more is read into it. */
  leave(): void {
    this.#block.release();
  }
}
