import { assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { type Block, BlockPool } from "../../base/block.ts";
import { READ_ROOM_SHARE_MIN, ReadBuffer } from "./read_buffer.ts";

const BLOCK_BYTES = 1000;
const ROOM_MIN = BLOCK_BYTES * READ_ROOM_SHARE_MIN;

function buffer(): { pool: BlockPool; reader: ReadBuffer } {
  const pool = new BlockPool({ blockBytes: BLOCK_BYTES, idleMax: 4 });
  return { pool, reader: new ReadBuffer(pool) };
}

/** A read of `bytes`, handed to somebody who keeps it or not; gives the block. */
function read(reader: ReadBuffer, bytes: number, keep: boolean): Block {
  const { block, start } = reader;
  if (keep) block.retain();
  reader.lent(start + bytes);
  return block;
}

Deno.test("ReadBuffer uses a range again that nobody kept", () => {
  const { pool, reader } = buffer();
  const first = read(reader, 900, false);
  assertStrictEquals(read(reader, BLOCK_BYTES, false), first);
  assertEquals([reader.start, pool.lent], [0, 1]);
  reader.close();
  assertEquals(pool.lent, 0);
});

Deno.test("ReadBuffer goes on behind a range that somebody kept, and there uses again what nobody kept", () => {
  const { pool, reader } = buffer();
  const kept = read(reader, 100, true);
  assertEquals(reader.start, 100);
  for (let count = 0; count < 5; count++) {
    assertNotStrictEquals(read(reader, 500, false), kept);
    assertEquals(reader.start, 100);
  }
  assertStrictEquals(reader.block.bytes, kept.bytes);
  kept.release();
  reader.close();
  assertEquals(pool.lent, 0);
});

Deno.test("ReadBuffer does not mistake a range kept while an older one is released", () => {
  const { pool, reader } = buffer();
  const older = read(reader, 100, true);
  const { block } = reader;
  block.retain();
  older.release();
  reader.lent(200);
  assertEquals(reader.start, 200);
  block.release();
  reader.close();
  assertEquals(pool.lent, 0);
});

Deno.test.each([
  { keptBytes: BLOCK_BYTES - ROOM_MIN - 1, start: BLOCK_BYTES - ROOM_MIN - 1 },
  { keptBytes: BLOCK_BYTES - ROOM_MIN, start: BLOCK_BYTES - ROOM_MIN },
  { keptBytes: BLOCK_BYTES - ROOM_MIN + 1, start: 0 },
])(
  "ReadBuffer reads on at $start after $keptBytes of 1000 octets were kept",
  ({ keptBytes, start }) => {
    const { pool, reader } = buffer();
    const kept = read(reader, keptBytes, true);
    assertEquals(reader.start, start);
    assertEquals(reader.block.bytes === kept.bytes, start > 0);
    kept.release();
    reader.close();
    assertEquals(pool.lent, 0);
  },
);
