import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "./assert.ts";
import { adoptBlock, BlockPool, consumeBlock } from "./block.ts";

/** A pool of 8-byte blocks that keeps two free ones. */
function smallPool(): BlockPool {
  return new BlockPool({ blockBytes: 8, idleMax: 2 });
}

Deno.test("BlockPool counts what is lent until its last holder lets go", () => {
  const pool = smallPool();
  const block = pool.take();
  assertEquals([pool.lent, pool.idle, block.references, block.bytes.length], [1, 0, 1, 8]);
  block.retain();
  block.release();
  assertEquals([pool.lent, block.references], [1, 1]);
  block.release();
  assertEquals([pool.lent, pool.idle, block.references], [0, 1, 0]);
});

Deno.test("BlockPool lends a freed block again, held once", () => {
  const pool = smallPool();
  const first = pool.take();
  first.release();
  const second = pool.take();
  assert(first === second);
  assertEquals([second.references, pool.lent, pool.idle], [1, 1, 0]);
  second.release();
});

Deno.test.each([
  { name: "just under", blocks: 1, idle: 1 },
  { name: "at", blocks: 2, idle: 2 },
  { name: "just over", blocks: 3, idle: 2 },
])("BlockPool with $name idleMax blocks freed keeps $idle", ({ blocks, idle }) => {
  const pool = smallPool();
  const taken = Array.from({ length: blocks }, () => pool.take());
  for (const block of taken) block.release();
  assertEquals([pool.lent, pool.idle], [0, idle]);
});

Deno.test("Block catches one release too many and keeping what is free", () => {
  const block = smallPool().take();
  block.release();
  assertThrows(() => block.release(), AssertionFailure, "more often");
  assertThrows(() => block.retain(), AssertionFailure, "freed block");
});

Deno.test("Block cannot be revived while held", () => {
  const block = smallPool().take();
  assertThrows(() => block.revive(), AssertionFailure);
  block.release();
});

Deno.test("adoptBlock() wraps memory without copying, and its last release goes nowhere", () => {
  const bytes = new Uint8Array([1, 2, 3]);
  const block = adoptBlock(bytes);
  assert(block.bytes === bytes);
  block.release();
  assertEquals(block.references, 0);
});

Deno.test.each([
  { name: "frees what fills its buffer", start: 0, bytes: 4096, freed: true },
  { name: "leaves small memory to the collector", start: 0, bytes: 4095, freed: false },
  { name: "leaves alone what shares its buffer", start: 1, bytes: 4096, freed: false },
])("consumeBlock() $name", ({ start, bytes, freed }) => {
  const buffer = new ArrayBuffer(start + bytes);
  const block = consumeBlock(new Uint8Array(buffer, start));
  block.retain();
  block.release();
  assertEquals(buffer.detached, false);
  block.release();
  assertEquals(buffer.detached, freed);
});
