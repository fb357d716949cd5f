import { assertEquals, assertThrows } from "@std/assert";
import { GrpcError } from "./grpc_error.ts";
import { encodeFrame, GrpcFrameReader, MESSAGE_BYTES_MAX, PREFIX_BYTES } from "./grpc_frame.ts";

const SAMPLE = Uint8Array.fromHex("000000000712017432026e31");

function bytes(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => index * 31 + seed & 255);
}

/** All messages of chunks, in order. */
function readAll(chunks: readonly Uint8Array[], reader = new GrpcFrameReader()): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (const chunk of chunks) {
    reader.add(chunk);
    for (let message = reader.next(); message !== null; message = reader.next()) {
      messages.push(message.slice());
    }
  }
  reader.end();
  return messages;
}

function prefix(flag: number, length: number): Uint8Array {
  const header = new Uint8Array(PREFIX_BYTES);
  header[0] = flag;
  new DataView(header.buffer).setUint32(1, length);
  return header;
}

function failure(run: () => unknown): string {
  return assertThrows(run, GrpcError).code;
}

Deno.test("encodeFrame() writes the sample of the specification", () => {
  assertEquals(encodeFrame(SAMPLE.subarray(PREFIX_BYTES)), SAMPLE);
});

Deno.test("GrpcFrameReader reads the same messages wherever the stream is cut", () => {
  const messages = [bytes(3), bytes(0), bytes(17, 5), bytes(1, 9)];
  const stream = new Uint8Array(messages.flatMap((message) => [...encodeFrame(message)]));
  for (let first = 0; first <= stream.length; first++) {
    for (let second = first; second <= stream.length; second++) {
      const chunks = [
        stream.subarray(0, first),
        stream.subarray(first, second),
        stream.subarray(second),
      ];
      assertEquals(readAll(chunks), messages);
    }
  }
});

Deno.test("GrpcFrameReader puts a large message together from single bytes and from pieces", () => {
  const message = bytes(300_000, 7);
  const stream = encodeFrame(message);
  for (const piece of [1, 16_384]) {
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < stream.length; at += piece) {
      chunks.push(stream.subarray(at, at + piece));
    }
    assertEquals(readAll(chunks), [message]);
  }
});

Deno.test("GrpcFrameReader refuses the compressed flag before it makes room", () => {
  const reader = new GrpcFrameReader();
  reader.add(prefix(1, 10));
  assertEquals(failure(() => reader.next()), "GRPC_FRAME_COMPRESSED");
});

Deno.test.each([
  { name: "just under", length: MESSAGE_BYTES_MAX - 1, code: null },
  { name: "at", length: MESSAGE_BYTES_MAX, code: null },
  { name: "just over", length: MESSAGE_BYTES_MAX + 1, code: "GRPC_FRAME_TOO_LARGE" },
  { name: "far over", length: 0xffff_ffff, code: "GRPC_FRAME_TOO_LARGE" },
])("GrpcFrameReader decides by the prefix for a length $name MESSAGE_BYTES_MAX", (row) => {
  const reader = new GrpcFrameReader();
  reader.add(prefix(0, row.length));
  if (row.code === null) assertEquals(reader.next(), null);
  else assertEquals(failure(() => reader.next()), row.code);
});

Deno.test("GrpcFrameReader takes no memory for bytes that were only declared", () => {
  const before = Deno.memoryUsage().rss;
  const readers = Array.from({ length: 3 }, () => {
    const reader = new GrpcFrameReader();
    reader.add(prefix(0, MESSAGE_BYTES_MAX));
    assertEquals(reader.next(), null);
    return reader;
  });
  const grownMiB = (Deno.memoryUsage().rss - before) / 1024 / 1024;
  assertEquals(grownMiB < 50, true, `${readers.length} readers took ${grownMiB} MiB`);
});

Deno.test.each([
  { name: "inside the prefix", cut: 3 },
  { name: "right after the prefix", cut: PREFIX_BYTES },
  { name: "inside the message", cut: SAMPLE.length - 1 },
])("GrpcFrameReader sees an end $name", ({ cut }) => {
  const reader = new GrpcFrameReader();
  assertEquals(failure(() => readAll([SAMPLE.subarray(0, cut)], reader)), "GRPC_FRAME_TRUNCATED");
});

Deno.test("GrpcFrameReader accepts an end before anything and between messages", () => {
  assertEquals(readAll([]), []);
  assertEquals(readAll([SAMPLE]).length, 1);
});
