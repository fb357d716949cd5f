import { assertEquals } from "@std/assert";
import {
  channelContract,
  NotingHandler,
  patternBytes,
} from "../../../tests/support/channel_contract.ts";
import { type MemoryPair, memoryPair } from "../../../tests/support/memory_pair.ts";
import { adoptBlock } from "../../base/block.ts";
import type { Channel } from "../../base/channel.ts";
import { RETRANSMIT_GIVE_UP_MS } from "./memory_channel.ts";

channelContract("MemoryChannel on a perfect link", () => memoryPair());
channelContract(
  "MemoryChannel byte by byte, late and with little room",
  () =>
    memoryPair({
      delayMinMs: 0,
      delayMaxMs: 7,
      deliverMinBytes: 1,
      deliverMaxBytes: 3,
      capacityBytes: 4096,
    }),
);
channelContract(
  "MemoryChannel in random pieces that coalesce, unread bytes dropped by RST",
  () =>
    memoryPair({
      delayMaxMs: 40,
      coalesceMs: 5,
      deliverMinBytes: 1,
      capacityBytes: 100_000,
      resetDropsUnread: true,
    }, 2),
);

function both({ a, b }: MemoryPair): { a: NotingHandler; b: NotingHandler } {
  const handlers = { a: new NotingHandler(a), b: new NotingHandler(b) };
  a.attach(handlers.a);
  b.attach(handlers.b);
  return handlers;
}

function send(channel: Channel, bytes: Uint8Array<ArrayBuffer>): boolean {
  return channel.write(adoptBlock(bytes), 0, bytes.length);
}

Deno.test.each([
  { name: "just under", bytes: 9_999, more: true, held: 9_999 },
  { name: "at", bytes: 10_000, more: true, held: 10_000 },
  { name: "just over", bytes: 10_001, more: false, held: 10_000 },
])("MemoryChannel.write() of $name capacityBytes answers $more", ({ bytes, more, held }) => {
  const pair = memoryPair({ capacityBytes: 10_000 });
  assertEquals(send(pair.a, patternBytes(bytes)), more);
  assertEquals(pair.link.heldBytes("toServer"), held);
  pair.a.reset(null);
  pair.b.reset(null);
  pair.dispose();
});

Deno.test("MemoryChannel keeps order and time: no byte arrives before its delay", () => {
  const pair = memoryPair({ delayMinMs: 50, delayMaxMs: 50 });
  const { b } = both(pair);
  const startMs = pair.clock.nowMs();
  send(pair.a, patternBytes(10));
  pair.clock.advance(49);
  assertEquals(b.bytes, 0);
  pair.drive(() => b.bytes === 10);
  assertEquals(pair.clock.nowMs(), startMs + 50);
  pair.a.reset(null);
  pair.dispose();
});

Deno.test("Link.stall() holds what is written, then delivers all of it", () => {
  const pair = memoryPair();
  const { a, b } = both(pair);
  pair.link.stall(1000, "toServer");
  send(pair.a, patternBytes(10));
  send(pair.b, patternBytes(20));
  pair.clock.advance(999);
  assertEquals([b.bytes, a.bytes], [0, 20]);
  pair.clock.advance(1);
  assertEquals(b.bytes, 10);
  pair.a.reset(null);
  pair.dispose();
});

Deno.test("Link.reset() tells both ends ECONNRESET, also one that is paused", () => {
  const pair = memoryPair({ delayMinMs: 10, delayMaxMs: 10 });
  const { a, b } = both(pair);
  pair.b.pause();
  send(pair.a, patternBytes(10));
  pair.link.reset();
  pair.clock.runUntilIdle();
  assertEquals([a.closeError?.code, b.closeError?.code, b.bytes], ["ECONNRESET", "ECONNRESET", 0]);
  pair.dispose();
});

Deno.test("Link.cutSilently() tells nobody: the writer learns when its kernel gives up", () => {
  const pair = memoryPair({ delayMinMs: 10, delayMaxMs: 10 });
  const { a, b } = both(pair);
  pair.link.cutSilently();
  send(pair.a, patternBytes(10));
  pair.clock.advance(RETRANSMIT_GIVE_UP_MS - 1);
  assertEquals([a.closes, b.closes, b.bytes], [0, 0, 0]);
  pair.clock.advance(1);
  assertEquals([a.closeError?.code, b.closes], ["ETIMEDOUT", 0]);
  pair.b.reset(null); // The reader, without keepalive, would wait for ever.
  pair.dispose();
});

Deno.test("Link.cutSilently() loses what was under way and keeps what had arrived", () => {
  const pair = memoryPair({ delayMinMs: 10, delayMaxMs: 10 });
  const { b } = both(pair);
  send(pair.a, patternBytes(3));
  pair.clock.advance(9);
  send(pair.a, patternBytes(4, 3));
  pair.clock.advance(1);
  pair.link.cutSilently();
  pair.clock.advance(10);
  assertEquals(b.bytes, 3);
  pair.a.reset(null);
  pair.b.reset(null);
  pair.dispose();
});

Deno.test("Link.cutSilently() in one direction lets the other pass", () => {
  const pair = memoryPair();
  const { a, b } = both(pair);
  pair.link.cutSilently("toClient");
  send(pair.a, patternBytes(3));
  send(pair.b, patternBytes(3));
  pair.clock.advance(1000);
  assertEquals([a.bytes, b.bytes], [0, 3]);
  pair.a.reset(null);
  pair.b.reset(null);
  pair.dispose();
});

Deno.test("MemoryChannel's RST after bytes is heard after them, unless the plan drops them", () => {
  for (const [resetDropsUnread, bytes] of [[false, 10], [true, 0]] as const) {
    const pair = memoryPair({ resetDropsUnread });
    const { a, b } = both(pair);
    send(pair.a, patternBytes(10));
    pair.a.reset(null);
    pair.clock.advance(100);
    assertEquals([a.closes, b.closes, b.bytes], [1, 1, bytes]);
    pair.dispose();
  }
});

Deno.test("MemoryChannel replays a run to the byte for a seed", () => {
  const sizes = [1, 2].map(() => {
    const pair = memoryPair({
      delayMaxMs: 20,
      deliverMinBytes: 1,
      deliverMaxBytes: 700,
      capacityBytes: 5000,
    }, 77);
    const { b } = both(pair);
    for (let index = 0; index < 50; index++) send(pair.a, patternBytes(1000));
    pair.drive(() => b.bytes === 50_000);
    pair.a.reset(null);
    pair.dispose();
    return b.pieces.map((piece) => piece.length).join();
  });
  assertEquals(sizes[0], sizes[1]);
  assertEquals(new Set(sizes[0]!.split(",")).size > 10, true);
});
