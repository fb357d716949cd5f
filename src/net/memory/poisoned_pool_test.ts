import { assertEquals } from "@std/assert";
import { POISON, PoisonedBlockPool } from "./poisoned_pool.ts";

Deno.test("PoisonedBlockPool overwrites a block when its last holder lets go, not before", () => {
  const pool = new PoisonedBlockPool({ blockBytes: 4, idleMax: 1 });
  const block = pool.take();
  block.bytes.set([1, 2, 3, 4]);
  block.retain();
  block.release();
  assertEquals([...block.bytes], [1, 2, 3, 4]);
  block.release();
  assertEquals([...block.bytes], [POISON, POISON, POISON, POISON]);
  assertEquals([pool.lent, pool.idle], [0, 1]);
});

Deno.test("PoisonedBlockPool leaves alone what was never used", () => {
  const pool = new PoisonedBlockPool({ blockBytes: 4, idleMax: 1 });
  const block = pool.take();
  block.bytes.set([1, 2, 3, 4]);
  pool.noteUsed(block, 2);
  block.release();
  assertEquals([...block.bytes], [POISON, POISON, 3, 4]);
});
