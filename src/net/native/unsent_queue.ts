// What a channel took and the kernel did not yet: pieces by reference, small ones packed.
import { assert } from "../../base/assert.ts";
import type { Block, BlockPool } from "../../base/block.ts";

/**
 * Pieces below this are copied into a block of the queue's own. By reference a piece of 100 octets would hold the
 * block it was read into, four times this, and each would cost a call to the kernel.
 */
export const PACK_BYTES_BELOW = 64 * 1024;
/** Entries already sent that are kept before the queue is moved to its front. */
const COMPACTION = 256;

/** Octets waiting for the kernel, oldest first. */
export class UnsentQueue {
  readonly #pool: BlockPool;
  readonly #blocks: Block[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #head = 0;
  #bytes = 0;
  /** The last entry is a block of ours with room behind it. */
  #tailIsOurs = false;

  /** @param pool Blocks to pack into, of at least {@link PACK_BYTES_BELOW} octets. */
  constructor(pool: BlockPool) {
    assert(pool.blockBytes >= PACK_BYTES_BELOW, "Every small piece fits into a block");
    this.#pool = pool;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Pieces waiting. */
  get length(): number {
    return this.#blocks.length - this.#head;
  }

  push(block: Block, start: number, end: number): void {
    const length = end - start;
    assert(length > 0, "An empty piece is never queued");
    this.#bytes += length;
    if (length >= PACK_BYTES_BELOW) {
      block.retain();
      this.#append(block, start, end);
      this.#tailIsOurs = false;
      return;
    }
    let last = this.#blocks.length - 1;
    if (!this.#tailIsOurs || this.#pool.blockBytes - this.#ends[last]! < length) {
      this.#append(this.#pool.take(), 0, 0);
      this.#tailIsOurs = true;
      last++;
    }
    const at = this.#ends[last]!;
    this.#blocks[last]!.bytes.set(block.bytes.subarray(start, end), at);
    this.#ends[last] = at + length;
  }

  /** The oldest piece; only while there is one. */
  get block(): Block {
    return this.#blocks[this.#head]!;
  }

  get start(): number {
    return this.#starts[this.#head]!;
  }

  get end(): number {
    return this.#ends[this.#head]!;
  }

  /** Octets of the oldest piece went to the kernel, at most all of them. */
  sent(bytes: number): void {
    const head = this.#head;
    const start = this.#starts[head]! + bytes;
    assert(bytes >= 0 && start <= this.#ends[head]!, "No more is sent than was asked for");
    this.#bytes -= bytes;
    this.#starts[head] = start;
    if (start < this.#ends[head]!) return;
    this.#blocks[head]!.release();
    this.#head = head + 1;
    if (this.#head === this.#blocks.length) this.#forgetAll();
    else if (this.#head >= COMPACTION) {
      this.#blocks.splice(0, this.#head);
      this.#starts.splice(0, this.#head);
      this.#ends.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** Lets go of everything. */
  clear(): void {
    for (let at = this.#head; at < this.#blocks.length; at++) this.#blocks[at]!.release();
    this.#bytes = 0;
    this.#forgetAll();
  }

  #append(block: Block, start: number, end: number): void {
    this.#blocks.push(block);
    this.#starts.push(start);
    this.#ends.push(end);
  }

  #forgetAll(): void {
    this.#blocks.length = 0;
    this.#starts.length = 0;
    this.#ends.length = 0;
    this.#head = 0;
    this.#tailIsOurs = false;
  }
}
