import { assert, assertEquals } from "@std/assert";
import { adoptBlock, BlockPool } from "./block.ts";
import { ChunkQueue, KEPT_PIECE_BYTES_MIN } from "./chunk_queue.ts";
import { randomBelow, SeededRandom } from "./random.ts";

function newPool(): BlockPool {
  return new BlockPool({ blockBytes: 65_536, idleMax: 4 });
}

/** Everything in the queue, in order; empties it. */
function drain(queue: ChunkQueue): Uint8Array {
  const bytes: number[] = [];
  while (!queue.isEmpty) {
    for (let i = queue.headStart; i < queue.headEnd; i++) bytes.push(queue.headBlock.bytes[i]!);
    queue.consume(queue.headEnd - queue.headStart);
  }
  return Uint8Array.from(bytes);
}

Deno.test("ChunkQueue keeps a large piece by reference and lets go when it is consumed", () => {
  const pool = newPool();
  const queue = new ChunkQueue(pool);
  const block = pool.take();
  queue.append(block, 0, 40_000);
  block.release();
  assert(queue.headBlock === block);
  assertEquals([queue.bytes, queue.pieces, pool.lent], [40_000, 1, 1]);
  queue.consume(39_999);
  assertEquals([queue.bytes, queue.headStart, pool.lent], [1, 39_999, 1]);
  queue.consume(1);
  assertEquals([queue.bytes, queue.pieces, pool.lent], [0, 0, 0]);
});

Deno.test("ChunkQueue copies a piece smaller than half of its block", () => {
  const pool = newPool();
  const queue = new ChunkQueue(pool);
  const block = pool.take();
  block.bytes.fill(7, 0, 32_767);
  queue.append(block, 0, 32_767);
  assert(queue.headBlock !== block);
  block.release();
  assertEquals(drain(queue), new Uint8Array(32_767).fill(7));
  assertEquals(pool.lent, 0);
});

Deno.test.each([
  { bytes: KEPT_PIECE_BYTES_MIN - 1, kept: false },
  { bytes: KEPT_PIECE_BYTES_MIN, kept: true },
  { bytes: KEPT_PIECE_BYTES_MIN + 1, kept: true },
])("ChunkQueue given a whole block of $bytes bytes keeps it: $kept", ({ bytes, kept }) => {
  const queue = new ChunkQueue(newPool());
  const block = adoptBlock(new Uint8Array(bytes));
  queue.append(block, 0, bytes);
  assertEquals(queue.headBlock === block, kept);
  queue.clear();
});

Deno.test("ChunkQueue counts the memory behind a view, not the view", () => {
  const queue = new ChunkQueue(newPool());
  const block = adoptBlock(new Uint8Array(new ArrayBuffer(1_000_000), 0, 8192));
  queue.append(block, 0, 8192);
  assert(queue.headBlock !== block);
  queue.clear();
});

Deno.test("ChunkQueue puts a million single bytes into few blocks", () => {
  const pool = newPool();
  const queue = new ChunkQueue(pool);
  const block = pool.take();
  for (let i = 0; i < 1_000_000; i++) queue.append(block, i & 0xffff, (i & 0xffff) + 1);
  block.release();
  assertEquals(queue.bytes, 1_000_000);
  assert(pool.lent * 65_536 <= 1_000_000 + 2 * 65_536, `${pool.lent} blocks`);
  queue.clear();
  assertEquals([queue.bytes, pool.lent], [0, 0]);
});

Deno.test("ChunkQueue with one byte holds no block of the pool", () => {
  const pool = newPool();
  const queue = new ChunkQueue(pool);
  queue.append(adoptBlock(Uint8Array.of(1)), 0, 1);
  assertEquals([pool.lent, queue.headBlock.bytes.length <= 1024], [0, true]);
});

Deno.test("ChunkQueue joins ranges that follow each other in a block it keeps", () => {
  const pool = newPool();
  const queue = new ChunkQueue(pool);
  const block = pool.take();
  queue.append(block, 0, 40_000);
  queue.append(block, 40_000, 40_010);
  block.release();
  assertEquals([queue.pieces, queue.headEnd], [1, 40_010]);
  queue.clear();
  assertEquals(pool.lent, 0);
});

Deno.test("ChunkQueue.shift() hands its reference to the caller", () => {
  const pool = newPool();
  const queue = new ChunkQueue(pool);
  const block = pool.take();
  queue.append(block, 0, 65_536);
  block.release();
  const shifted = queue.shift();
  assertEquals([shifted === block, queue.isEmpty, pool.lent], [true, true, 1]);
  shifted.release();
  assertEquals(pool.lent, 0);
});

Deno.test("ChunkQueue gives back what it was given, in order, however it is cut (seeded)", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new SeededRandom(seed);
    const pool = newPool();
    const queue = new ChunkQueue(pool);
    let written = 0;
    let read = 0;
    for (let step = 0; step < 200; step++) {
      if (randomBelow(random, 3) > 0) {
        const block = pool.take();
        const limit = randomBelow(random, 2) === 0 ? 100 : 65_536;
        const start = randomBelow(random, 100);
        const end = Math.min(65_536, start + randomBelow(random, limit));
        for (let i = start; i < end; i++) block.bytes[i] = written++ % 251;
        queue.append(block, start, end);
        block.release();
      } else if (!queue.isEmpty) {
        const left = queue.headEnd - queue.headStart;
        const bytes = 1 + randomBelow(random, left);
        for (let i = 0; i < bytes; i++) {
          const byte = queue.headBlock.bytes[queue.headStart + i];
          assert(byte === read % 251, `seed ${seed}: byte ${read} is ${byte}`);
          read++;
        }
        queue.consume(bytes);
      }
      assertEquals(queue.bytes, written - read, `seed ${seed}`);
    }
    queue.clear();
    assertEquals(pool.lent, 0, `seed ${seed}`);
  }
});
