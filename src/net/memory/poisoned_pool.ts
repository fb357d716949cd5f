// Blocks that are overwritten when their last holder lets go, so that reading a loan too late is seen.
import { type Block, BlockPool } from "../../base/block.ts";

/** What a freed block's used part is filled with. */
export const POISON = 0xdb;

/** A {@link BlockPool} for tests: using bytes after releasing them gives garbage instead of luck. */
export class PoisonedBlockPool extends BlockPool {
  readonly #usedBytes = new WeakMap<Block, number>();

  /** Says that only the first `bytes` octets were ever written, so that freeing costs no more than that. */
  noteUsed(block: Block, bytes: number): void {
    this.#usedBytes.set(block, bytes);
  }

  override takeBack(block: Block): void {
    block.bytes.fill(POISON, 0, this.#usedBytes.get(block));
    this.#usedBytes.delete(block);
    super.takeBack(block);
  }
}
