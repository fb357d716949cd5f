// What a DATA frame costs to receive and to send, beside the obvious version of each.
//
// Run: deno bench -A tests/bench/h2_bench.ts. One iteration is 1,024 frames; divide.
import { assertEquals } from "@std/assert";
import { adoptBlock, type Block, BlockPool } from "../../src/base/block.ts";
import type { Channel, ChannelHandler } from "../../src/base/channel.ts";
import type { Task } from "../../src/base/clock.ts";
import { Http2Connection } from "../../src/h2/connection.ts";
import { encodeFrameHeader, FLAG, FRAME } from "../../src/h2/frame_header.ts";
import { PREFACE } from "../../src/h2/frame_reader.ts";
import { HpackEncoder, maxEncodedBytes } from "../../src/h2/hpack/encoder.ts";
import type { H2ConnectionHandler, H2Stream } from "../../src/h2/types.ts";

const FRAMES = 1024;

/** A transport that takes everything and counts it. */
class Sink implements Channel {
  readonly peer = { ip: "10.0.0.2", port: 1 };
  readonly local = { ip: "10.0.0.1", port: 2 };
  readonly closed = false;
  handler!: ChannelHandler;
  bytes = 0;

  attach(handler: ChannelHandler): void {
    this.handler = handler;
  }
  write(_block: Block, start: number, end: number): boolean {
    this.bytes += end - start;
    return true;
  }
  pause(): void {}
  resume(): void {}
  endWrite(): void {}
  reset(): void {}
}

class Counter implements ChannelHandler {
  bytes = 0;
  onData(_block: Block, start: number, end: number): void {
    this.bytes += end - start;
  }
  onEnd(): void {}
  onWritable(): void {}
  onClose(): void {}
}

function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(9 + payload.length);
  encodeFrameHeader(bytes, 0, payload.length, type, flags, streamId);
  bytes.set(payload, 9);
  return bytes;
}

/** A server with one tunnel, whose turns are run by hand. */
class Server {
  readonly sink = new Sink();
  readonly counter = new Counter();
  stream!: H2Stream;
  #tasks: Task[] = [];

  constructor() {
    const handler: H2ConnectionHandler = {
      onRequest: (stream) => {
        this.stream = stream;
        stream.respond([{ name: ":status", value: "200" }], { endStream: false });
        stream.attach(this.counter);
      },
      onPeerSettings() {},
      onPong() {},
      onGoAway() {},
      onHeaderBlock() {},
      onIdle() {},
      onClose() {},
    };
    new Http2Connection({
      side: "server",
      transport: this.sink,
      handler,
      clock: { nowMs: () => 0, soon: (task) => void this.#tasks.push(task) },
      pool: new BlockPool({ blockBytes: 65_536, idleMax: 8 }),
    });
    const request = [
      { name: ":method", value: "CONNECT" },
      { name: ":authority", value: "10.0.0.2:80" },
    ];
    const block = new Uint8Array(maxEncodedBytes(request));
    const end = new HpackEncoder().encode(request, block, 0);
    const settings = Uint8Array.of(0, 4, 0x7f, 0xff, 0xff, 0xff, 0, 5, 0, 0x10, 0, 0);
    for (
      const bytes of [
        PREFACE,
        frame(FRAME.SETTINGS, 0, 0, settings),
        frame(FRAME.WINDOW_UPDATE, 0, 0, Uint8Array.of(0x7f, 0xfe, 0, 0)),
        frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, block.subarray(0, end)),
      ]
    ) this.receive(adoptBlock(bytes.slice()));
  }

  receive(block: Block): void {
    this.sink.handler.onData(block, 0, block.bytes.length);
    this.turn();
  }

  turn(): void {
    for (let i = 0; i < this.#tasks.length; i++) this.#tasks[i]!.runTask();
    this.#tasks.length = 0;
  }
}

/** The obvious receiver: joins what arrives, cuts whole frames out, makes an object of each. */
class PlainReceiver {
  #buffer = new Uint8Array(0);
  readonly #streams = new Map([[1, new Counter()]]);

  receive(chunk: Uint8Array): void {
    const joined = new Uint8Array(this.#buffer.length + chunk.length);
    joined.set(this.#buffer);
    joined.set(chunk, this.#buffer.length);
    this.#buffer = joined;
    while (this.#buffer.length >= 9) {
      const b = this.#buffer;
      const length = b[0]! << 16 | b[1]! << 8 | b[2]!;
      if (b.length < 9 + length) return;
      const read = {
        type: b[3]!,
        streamId: b[5]! << 24 | b[6]! << 16 | b[7]! << 8 | b[8]!,
        payload: b.slice(9, 9 + length),
      };
      this.#buffer = b.subarray(9 + length);
      const counter = this.#streams.get(read.streamId);
      if (read.type === 0 && counter) counter.bytes += read.payload.length;
    }
  }

  get bytes(): number {
    return this.#streams.get(1)!.bytes;
  }
}

/** As a transport would deliver them: pieces of at most 64 KiB, frames cut anywhere. */
function pieces(wire: Uint8Array<ArrayBuffer>): Block[] {
  const blocks: Block[] = [];
  for (let at = 0; at < wire.length; at += 65_536) {
    blocks.push(adoptBlock(wire.slice(at, at + 65_536)));
  }
  return blocks;
}

for (const payloadBytes of [1, 1_000, 16_384]) {
  const one = frame(FRAME.DATA, 0, 1, new Uint8Array(payloadBytes));
  const wire = new Uint8Array(one.length * FRAMES);
  for (let i = 0; i < FRAMES; i++) wire.set(one, i * one.length);
  const blocks = pieces(wire);
  const group = `receive ${FRAMES} DATA frames of ${payloadBytes} B`;
  const server = new Server();
  const plain = new PlainReceiver();
  for (const block of blocks) server.receive(block);
  for (const block of blocks) plain.receive(block.bytes);
  assertEquals([server.counter.bytes, plain.bytes], Array(2).fill(FRAMES * payloadBytes));

  Deno.bench(`Http2Connection, ${payloadBytes} B`, { group }, () => {
    for (let i = 0; i < blocks.length; i++) server.receive(blocks[i]!);
  });
  Deno.bench(`plain, ${payloadBytes} B`, { group, baseline: true }, () => {
    for (let i = 0; i < blocks.length; i++) plain.receive(blocks[i]!.bytes);
  });
}

const CREDIT = adoptBlock(new Uint8Array(26));
for (const [offset, streamId] of [[0, 0], [13, 1]] as const) {
  encodeFrameHeader(CREDIT.bytes, offset, 4, FRAME.WINDOW_UPDATE, 0, streamId);
}

/** Gives back what an iteration of `bytes` used. */
function creditFor(bytes: number): Block {
  for (const offset of [9, 22]) new DataView(CREDIT.bytes.buffer).setUint32(offset, bytes);
  return CREDIT;
}

for (const payloadBytes of [1, 1_000, 16_384]) {
  const payload = adoptBlock(new Uint8Array(payloadBytes));
  const group = `send ${FRAMES} writes of ${payloadBytes} B`;
  const server = new Server();
  const sink = new Sink();
  const perTurn = payloadBytes < 4096 ? 16 : 4;

  const before = server.sink.bytes;
  for (let i = 0; i < FRAMES; i++) server.stream.write(payload, 0, payloadBytes);
  server.turn();
  assertEquals(server.sink.bytes - before > FRAMES * payloadBytes, true, "all of it was sent");

  Deno.bench(`Http2Connection, ${payloadBytes} B`, { group }, () => {
    for (let i = 0; i < FRAMES; i++) {
      server.stream.write(payload, 0, payloadBytes);
      if (i % perTurn === perTurn - 1) server.turn();
    }
    server.receive(creditFor(FRAMES * payloadBytes));
  });
  Deno.bench(`plain, ${payloadBytes} B`, { group, baseline: true }, () => {
    for (let i = 0; i < FRAMES; i++) {
      const bytes = frame(FRAME.DATA, 0, 1, payload.bytes);
      sink.write(adoptBlock(bytes), 0, bytes.length);
    }
  });
}
