import { assert, assertEquals } from "@std/assert";
import { blockOf } from "../../tests/support/h2_pair.ts";
import {
  concat,
  data,
  frame,
  goAway,
  paddedData,
  reset,
  settings,
  uint32,
  windowUpdate,
} from "../../tests/support/h2_raw.ts";
import { adoptBlock, type Block } from "../base/block.ts";
import { randomBelow, SeededRandom } from "../base/random.ts";
import { decodeStreamId, decodeUint32, FLAG, FRAME } from "./frame_header.ts";
import { FrameReader, type FrameSink, IDLE_BUFFER_BYTES_MAX } from "./frame_reader.ts";

/** Writes down what it hears; consecutive parts of one DATA frame are joined. */
class SinkLog implements FrameSink {
  readonly lines: string[] = [];
  text = "";
  onEach: (() => void) | null = null;

  #add(line: string): void {
    this.lines.push(line);
    this.onEach?.();
  }

  onDataFrame(streamId: number, payloadBytes: number): void {
    this.text = "";
    this.#add(`data ${streamId} ${payloadBytes}`);
  }

  onDataPart(block: Block, start: number, end: number): void {
    assert(end > start, "A part is never empty");
    this.text += new TextDecoder("latin1").decode(block.bytes.subarray(start, end));
  }

  onPadding(bytes: number): void {
    this.#add(`padding ${bytes}`);
  }

  onDataEnd(endStream: boolean): void {
    this.#add(`data end ${endStream} ${this.text}`);
  }

  onHeaderBlockStart(streamId: number): void {
    this.#add(`block ${streamId}`);
  }

  onHeaderBlock(
    streamId: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    endStream: boolean,
    dependsOn: number,
  ): void {
    this.#add(
      `headers ${streamId} ${bytes.subarray(start, end).toHex()} ${endStream} ${dependsOn}`,
    );
  }

  onPriority(streamId: number, dependsOn: number): void {
    this.#add(`priority ${streamId} ${dependsOn}`);
  }

  onStreamReset(streamId: number, code: number): void {
    this.#add(`reset ${streamId} ${code}`);
  }

  onSettings(bytes: Uint8Array, start: number, end: number): void {
    this.#add(`settings ${bytes.subarray(start, end).toHex()}`);
  }

  onPing(bytes: Uint8Array, start: number): void {
    this.#add(`ping ${bytes.subarray(start, start + 8).toHex()}`);
  }

  onPong(bytes: Uint8Array, start: number): void {
    this.#add(`pong ${bytes.subarray(start, start + 8).toHex()}`);
  }

  onGoAway(lastStreamId: number, code: number, debug: string): void {
    this.#add(`goaway ${lastStreamId} ${code} ${debug}`);
  }

  onWindowUpdate(streamId: number, increment: number): void {
    this.#add(`window ${streamId} ${increment}`);
  }

  onFrameFault(streamId: number, code: string): void {
    this.#add(`fault ${streamId} ${code}`);
  }
}

const LIMITS = { frameBytesMax: 1_048_576, headerListBytesMax: 65_536 };

function newReader(): { readonly reader: FrameReader; readonly sink: SinkLog } {
  const sink = new SinkLog();
  return { reader: new FrameReader("client", sink, LIMITS), sink };
}

/** What a reader hears of `bytes` cut at `cuts` (ascending). */
function read(bytes: Uint8Array<ArrayBuffer>, cuts: readonly number[]): string[] {
  const { reader, sink } = newReader();
  const block = adoptBlock(bytes);
  let start = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut > start) reader.receive(block, start, cut);
    start = Math.max(start, cut);
  }
  return sink.lines;
}

/** The obvious version: whole frames from one buffer, no padded or split header blocks. */
function readPlain(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  while (bytes.length > 0) {
    const payloadBytes = decodeUint32(bytes, 0) >>> 8;
    const type = bytes[3]!;
    const flags = bytes[4]!;
    const id = decodeStreamId(bytes, 5);
    const payload = bytes.subarray(9, 9 + payloadBytes);
    bytes = bytes.subarray(9 + payloadBytes);
    if (type === FRAME.DATA) {
      const padding = flags & FLAG.PADDED ? 1 + payload[0]! : 0;
      const text = padding > 0 ? payload.subarray(1, payload.length - padding + 1) : payload;
      lines.push(`data ${id} ${payloadBytes}`);
      if (padding > 0) lines.push(`padding ${padding}`);
      lines.push(
        `data end ${(flags & FLAG.END_STREAM) !== 0} ${new TextDecoder("latin1").decode(text)}`,
      );
    } else if (type === FRAME.HEADERS) {
      lines.push(`block ${id}`);
      lines.push(`headers ${id} ${payload.toHex()} ${(flags & FLAG.END_STREAM) !== 0} -1`);
    } else if (type === FRAME.SETTINGS) {
      if ((flags & FLAG.ACK) === 0) lines.push(`settings ${payload.toHex()}`);
    } else if (type === FRAME.PING) {
      lines.push(`${flags & FLAG.ACK ? "pong" : "ping"} ${payload.toHex()}`);
    } else if (type === FRAME.RST_STREAM) {
      lines.push(`reset ${id} ${decodeUint32(payload, 0)}`);
    } else if (type === FRAME.WINDOW_UPDATE) {
      lines.push(`window ${id} ${decodeStreamId(payload, 0)}`);
    }
  }
  return lines;
}

const ALL_KINDS = concat(
  settings([4, 100], [9, 9]),
  data(1, "hello"),
  paddedData(1, "padded", 3, FLAG.END_STREAM),
  paddedData(1, "", 0),
  data(3, "", FLAG.END_STREAM),
  frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 5, "block"),
  frame(
    FRAME.HEADERS,
    FLAG.PADDED | FLAG.PRIORITY,
    7,
    concat(Uint8Array.of(2), uint32(0x80000005), Uint8Array.of(9), Uint8Array.of(1, 2, 0, 0)),
  ),
  frame(FRAME.CONTINUATION, 0, 7, Uint8Array.of(3)),
  frame(FRAME.CONTINUATION, 0, 7),
  frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 7, Uint8Array.of(4, 5)),
  frame(FRAME.PRIORITY, 0, 7, concat(uint32(7), Uint8Array.of(0))),
  frame(FRAME.PRIORITY, 0, 7, "123"),
  frame(77, 255, 0x7fffffff, "unknown"),
  frame(FRAME.SETTINGS, FLAG.ACK, 0),
  frame(FRAME.PING, 0, 0, "abcdefgh"),
  frame(FRAME.PING, FLAG.ACK, 0, "abcdefgh"),
  windowUpdate(0, 0x80000001),
  reset(5, 0xffffffff),
  goAway(0x80000007, 2, "why"),
);

const ALL_LINES = [
  "settings 000400000064000900000009",
  "data 1 5",
  "data end false hello",
  "data 1 10",
  "padding 4",
  "data end true padded",
  "data 1 1",
  "padding 1",
  "data end false ",
  "data 3 0",
  "data end true ",
  "block 5",
  "headers 5 626c6f636b true -1",
  "block 7",
  "headers 7 0102030405 false 5",
  "priority 7 7",
  "fault 7 FRAME_SIZE_ERROR",
  "ping 6162636465666768",
  "pong 6162636465666768",
  "window 0 1",
  "reset 5 4294967295",
  "goaway 7 2 why",
];

Deno.test("FrameReader hears every kind of frame", () => {
  assertEquals(read(ALL_KINDS, []), ALL_LINES);
});

Deno.test("FrameReader hears the same at every split in two, in three at random, and octet by octet", () => {
  for (let at = 1; at < ALL_KINDS.length; at++) {
    assertEquals(read(ALL_KINDS, [at]), ALL_LINES, `split at ${at}`);
  }
  const random = new SeededRandom(9113);
  for (let round = 0; round < 2000; round++) {
    const cuts = [0, 0, 0].map(() => randomBelow(random, ALL_KINDS.length)).sort((a, b) => a - b);
    assertEquals(read(ALL_KINDS, cuts), ALL_LINES, `cuts ${cuts}`);
  }
  assertEquals(read(ALL_KINDS, Array.from(ALL_KINDS, (_, i) => i)), ALL_LINES);
});

Deno.test("FrameReader agrees with the obvious version on random frames (seeded)", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new SeededRandom(seed);
    const parts: Uint8Array[] = [settings()];
    for (let i = 0; i < 20; i++) {
      const id = 1 + 2 * randomBelow(random, 5);
      const text = "x".repeat(randomBelow(random, 60));
      const end = randomBelow(random, 2);
      parts.push([
        () => data(id, text, end),
        () => paddedData(id, text, randomBelow(random, 256), end),
        () => frame(FRAME.HEADERS, FLAG.END_HEADERS | end, id, text),
        () => frame(FRAME.PING, end, 0, "12345678"),
        () => windowUpdate(id, random.uint32()),
        () => reset(id, random.uint32()),
        () => frame(10 + randomBelow(random, 246), random.uint32() & 255, id, text),
      ][randomBelow(random, 7)]!());
    }
    const bytes = concat(...parts);
    const cuts = [0, 0, 0, 0].map(() => randomBelow(random, bytes.length)).sort((a, b) => a - b);
    assertEquals(read(bytes, cuts), readPlain(bytes), `seed ${seed}`);
  }
});

Deno.test("FrameReader lends DATA where it lies", () => {
  const { reader, sink } = newReader();
  const block = blockOf(concat(settings(), data(1, "where it lies")));
  const seen: unknown[] = [];
  sink.onDataPart = (given, start, end) => seen.push(given === block, start, end);
  reader.receive(block, 0, block.bytes.length);
  assertEquals(seen, [true, 18, 31]);
});

Deno.test("FrameReader.stop() from inside a call is the last thing heard", () => {
  const { reader, sink } = newReader();
  const block = adoptBlock(ALL_KINDS);
  sink.onEach = () => {
    if (sink.lines.length === 4) reader.stop();
  };
  reader.receive(block, 0, ALL_KINDS.length);
  reader.receive(block, 0, ALL_KINDS.length);
  assertEquals(sink.lines, ALL_LINES.slice(0, 4));
});

Deno.test("FrameReader holds memory for what arrived, not for what was announced", () => {
  const { reader } = newReader();
  const announced = blockOf(concat(settings(), Uint8Array.of(3, 0xff, 0xff, 1, 0, 0, 0, 0, 1)));
  reader.receive(announced, 0, announced.bytes.length);
  const { heldBytes } = reader;
  assert(heldBytes < 1024, `${heldBytes}`);
});

Deno.test.each([
  { bytes: IDLE_BUFFER_BYTES_MAX - 1000 },
  { bytes: IDLE_BUFFER_BYTES_MAX },
  { bytes: IDLE_BUFFER_BYTES_MAX + 1000 },
])("FrameReader keeps at most 64 KiB per buffer after a header block of $bytes bytes", (row) => {
  const { reader, sink } = newReader();
  const payload = new Uint8Array(row.bytes);
  const block = blockOf(concat(
    settings(),
    frame(FRAME.HEADERS, 0, 1, payload.subarray(0, 10)),
    frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1, payload.subarray(10)),
  ));
  for (let at = 0; at < block.bytes.length; at += 1000) {
    reader.receive(block, at, Math.min(at + 1000, block.bytes.length));
  }
  assertEquals(sink.lines.length, 3);
  const { heldBytes } = reader;
  assert(heldBytes <= 2 * IDLE_BUFFER_BYTES_MAX, `${heldBytes}`);
});
