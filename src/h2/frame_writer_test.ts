import { assert, assertEquals } from "@std/assert";
import { blockOf } from "../../tests/support/h2_pair.ts";
import {
  concat,
  data,
  frame,
  goAway,
  reset,
  settings,
  windowUpdate,
} from "../../tests/support/h2_raw.ts";
import { type Block, BlockPool } from "../base/block.ts";
import type { Channel } from "../base/channel.ts";
import { FLAG, FRAME } from "./frame_header.ts";
import { FrameWriter, PASSED_PAYLOAD_BYTES_MIN } from "./frame_writer.ts";
import { HpackDecoder } from "./hpack/decoder.ts";
import { HpackEncoder } from "./hpack/encoder.ts";

/** A transport that writes down each write. */
class WriteLog implements Channel {
  readonly peer = { ip: "10.0.0.2", port: 1 };
  readonly local = { ip: "10.0.0.1", port: 2 };
  readonly closed = false;
  readonly writes: Uint8Array<ArrayBuffer>[] = [];
  readonly blocks: Block[] = [];
  keeps = false;
  welcome = true;

  write(block: Block, start: number, end: number): boolean {
    this.writes.push(block.bytes.slice(start, end));
    this.blocks.push(block);
    if (this.keeps) block.retain();
    return this.welcome;
  }

  attach(): void {}
  pause(): void {}
  resume(): void {}
  endWrite(): void {}
  reset(): void {}
}

function newWriter(blockBytes = 65_536) {
  const transport = new WriteLog();
  const pool = new BlockPool({ blockBytes, idleMax: 4 });
  return { transport, pool, writer: new FrameWriter(transport, pool) };
}

Deno.test("FrameWriter gathers frames until it is flushed", () => {
  const { transport, pool, writer } = newWriter();
  writer.settingsAck();
  writer.pong(new TextEncoder().encode("..12345678"), 2);
  writer.windowUpdate(3, 70_000);
  writer.resetStream(3, 8);
  writer.goAway(5, 11);
  assertEquals([transport.writes.length, writer.hasGathered], [0, true]);
  writer.flush();
  writer.flush();
  assertEquals(transport.writes, [concat(
    frame(FRAME.SETTINGS, FLAG.ACK, 0),
    frame(FRAME.PING, FLAG.ACK, 0, "12345678"),
    windowUpdate(3, 70_000),
    reset(3, 8),
    goAway(5, 11),
  )]);
  assertEquals([writer.hasGathered, pool.lent], [false, 0]);
});

Deno.test("FrameWriter starts another block when one is full", () => {
  const { transport, pool, writer } = newWriter(16_384);
  for (let i = 0; i < 2000; i++) writer.windowUpdate(1, i);
  writer.flush();
  assertEquals(transport.writes.map((write) => write.length), [16_380, 9_620]);
  assertEquals(
    concat(...transport.writes),
    concat(
      ...Array.from({ length: 2000 }, (_, i) => windowUpdate(1, i)),
    ),
  );
  assertEquals(pool.lent, 0);
});

Deno.test.each([
  { bytes: PASSED_PAYLOAD_BYTES_MIN - 1, passed: false },
  { bytes: PASSED_PAYLOAD_BYTES_MIN, passed: true },
  { bytes: PASSED_PAYLOAD_BYTES_MIN + 1, passed: true },
])("FrameWriter passes a payload of $bytes bytes by reference: $passed", ({ bytes, passed }) => {
  const { transport, writer } = newWriter();
  const payload = blockOf("x".repeat(bytes));
  writer.windowUpdate(1, 1);
  writer.data(1, payload, 0, bytes, false);
  writer.flush();
  assertEquals(transport.blocks.includes(payload), passed);
  assertEquals(concat(...transport.writes), concat(windowUpdate(1, 1), data(1, payload.bytes)));
  assertEquals(transport.writes.length, passed ? 2 : 1, "the header leaves with what was gathered");
});

Deno.test("FrameWriter lets a gathered DATA frame grow while nothing follows it", () => {
  const { transport, writer } = newWriter();
  const text = blockOf("abcdef");
  writer.data(1, text, 0, 2, false);
  writer.data(1, text, 2, 3, false);
  writer.data(3, text, 3, 4, false);
  writer.data(1, text, 4, 5, false);
  writer.windowUpdate(1, 1);
  writer.data(1, text, 5, 6, true);
  writer.end(3);
  writer.flush();
  assertEquals(transport.writes, [concat(
    data(1, "abc"),
    data(3, "d"),
    data(1, "e"),
    windowUpdate(1, 1),
    data(1, "f", FLAG.END_STREAM),
    data(3, "", FLAG.END_STREAM),
  )]);
});

Deno.test("FrameWriter puts END_STREAM on the gathered DATA frame that it ends", () => {
  const { transport, writer } = newWriter();
  writer.data(1, blockOf("abc"), 0, 3, false);
  writer.end(1);
  writer.data(1, blockOf("d"), 0, 1, false); // What the caller must not do; the frame is closed.
  writer.flush();
  writer.end(3);
  writer.flush();
  assertEquals(transport.writes, [
    concat(data(1, "abc", FLAG.END_STREAM), data(1, "d")),
    data(3, "", FLAG.END_STREAM),
  ]);
});

Deno.test("FrameWriter lets no DATA frame outgrow the peer's limit", () => {
  const { transport, writer } = newWriter();
  const payload = blockOf("x".repeat(1000));
  for (let i = 0; i < 20; i++) writer.data(1, payload, 0, 1000, false);
  writer.flush();
  assertEquals(transport.writes, [concat(data(1, "x".repeat(16_000)), data(1, "x".repeat(4_000)))]);
});

Deno.test("FrameWriter continues a long header block in CONTINUATION", () => {
  const { transport, writer } = newWriter(32_768);
  const value = "~".repeat(40_000); // No shorter in Huffman code.
  const headers = [{ name: ":status", value: "200" }, { name: "a", value }];
  writer.headers(1, headers, new HpackEncoder(), true);
  writer.flush();
  const wire = concat(...transport.writes);
  const block: Uint8Array[] = [];
  const seen: number[][] = [];
  for (let at = 0; at < wire.length;) {
    const bytes = (wire[at]! << 16) + (wire[at + 1]! << 8) + wire[at + 2]!;
    seen.push([wire[at + 3]!, wire[at + 4]!, bytes]);
    block.push(wire.subarray(at + 9, at + 9 + bytes));
    at += 9 + bytes;
  }
  assertEquals(seen.map(([type, flags]) => [type, flags]), [[1, 1], [9, 0], [9, 4]]);
  assert(seen.every(([, , bytes]) => bytes! <= 16_384));
  const fields: string[] = [];
  const whole = concat(...block);
  new HpackDecoder({ tableBytesMax: 4096 }).decode(whole, 0, whole.length, {
    onHeader: (name, given) => void fields.push(name, given),
  });
  assertEquals(fields, [":status", "200", "a", value]);
});

Deno.test("FrameWriter gives a transport that keeps blocks small ones for small writes", () => {
  const { transport, pool, writer } = newWriter();
  transport.keeps = true;
  writer.settings(settings().subarray(9));
  writer.flush();
  for (let i = 0; i < 100; i++) {
    writer.windowUpdate(1, 1);
    writer.flush();
  }
  assertEquals([pool.lent, transport.blocks.at(-1)!.bytes.length], [1, 13]);
});

Deno.test("FrameWriter remembers that the transport asked to wait, and drops all on dispose", () => {
  const { transport, pool, writer } = newWriter();
  transport.welcome = false;
  writer.windowUpdate(1, 1);
  writer.flush();
  assertEquals([writer.writable, writer.isOverloaded], [false, false]);
  writer.onTransportWritable();
  assertEquals(writer.writable, true);
  writer.windowUpdate(1, 1);
  writer.dispose();
  writer.flush();
  assertEquals([transport.writes.length, pool.lent], [1, 0]);
});
