import { assertEquals } from "@std/assert";
import { patternBytes } from "../../../tests/support/channel_contract.ts";
import { adoptBlock, BlockPool } from "../../base/block.ts";
import { PACK_BYTES_BELOW, UnsentQueue } from "./unsent_queue.ts";

function queue(): { pool: BlockPool; unsent: UnsentQueue } {
  const pool = new BlockPool({ blockBytes: PACK_BYTES_BELOW, idleMax: 4 });
  return { pool, unsent: new UnsentQueue(pool) };
}

/** Takes everything out, `step` octets at a time. */
function drain(unsent: UnsentQueue, step: number): Uint8Array {
  const all: number[] = [];
  while (unsent.bytes > 0) {
    const bytes = Math.min(step, unsent.end - unsent.start);
    all.push(...unsent.block.bytes.subarray(unsent.start, unsent.start + bytes));
    unsent.sent(bytes);
  }
  return Uint8Array.from(all);
}

Deno.test.each([
  { bytes: PACK_BYTES_BELOW - 1, kept: false },
  { bytes: PACK_BYTES_BELOW, kept: true },
  { bytes: PACK_BYTES_BELOW + 1, kept: true },
])("UnsentQueue keeps a piece of $bytes octets by reference: $kept", ({ bytes, kept }) => {
  const { pool, unsent } = queue();
  const block = adoptBlock(patternBytes(bytes));
  unsent.push(block, 0, bytes);
  assertEquals([block.references, pool.lent], kept ? [2, 0] : [1, 1]);
  unsent.sent(bytes);
  assertEquals([block.references, pool.lent, unsent.bytes], [1, 0, 0]);
});

for (const step of [1, 7, 1000, 70_000]) {
  Deno.test(`UnsentQueue gives back what it took, in order, sent by ${step}`, () => {
    const { pool, unsent } = queue();
    const bytes = patternBytes(300_000);
    const block = adoptBlock(bytes);
    let at = 0;
    for (const size of [1, 2, 30_000, 40_000, 65_536, 3, 70_000, 5, 60_000, 10_000]) {
      unsent.push(block, at, at + size);
      at += size;
    }
    assertEquals(unsent.bytes, at);
    assertEquals(drain(unsent, step), bytes.subarray(0, at));
    assertEquals([pool.lent, block.references, unsent.length], [0, 1, 0]);
  });
}

Deno.test("UnsentQueue goes on packing where something was sent of the same block", () => {
  const { pool, unsent } = queue();
  const block = adoptBlock(patternBytes(30));
  unsent.push(block, 0, 10);
  unsent.sent(4);
  unsent.push(block, 10, 30);
  assertEquals([unsent.length, pool.lent], [1, 1]);
  assertEquals(drain(unsent, 100), patternBytes(30).subarray(4));
});

Deno.test("UnsentQueue holds a million pieces of one octet in 16 blocks", () => {
  const { pool, unsent } = queue();
  const block = adoptBlock(new Uint8Array(1));
  for (let count = 0; count < 1_000_000; count++) unsent.push(block, 0, 1);
  assertEquals([unsent.bytes, pool.lent], [1_000_000, 16]);
  unsent.clear();
  assertEquals([unsent.bytes, unsent.length, pool.lent], [0, 0, 0]);
});

Deno.test("UnsentQueue moves a long queue to its front and loses nothing", () => {
  const { unsent } = queue();
  const blocks = Array.from({ length: 1000 }, () => adoptBlock(new Uint8Array(PACK_BYTES_BELOW)));
  for (const block of blocks) unsent.push(block, 0, PACK_BYTES_BELOW);
  for (let count = 0; count < 700; count++) unsent.sent(PACK_BYTES_BELOW);
  assertEquals(unsent.length, 300);
  assertEquals(unsent.block, blocks[700]);
  unsent.clear();
  assertEquals(blocks.every(({ references }) => references === 1), true);
});
