import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../base/assert.ts";
import { decodeFrameHeader, encodeFrameHeader, FrameHeader } from "./frame_header.ts";

function decode(bytes: readonly number[], offset = 0): FrameHeader {
  const header = new FrameHeader();
  decodeFrameHeader(Uint8Array.from(bytes), offset, header);
  return header;
}

Deno.test.each([
  { name: "zeros", payloadBytes: 0, type: 0, flags: 0, streamId: 0 },
  { name: "ordinary values", payloadBytes: 16_384, type: 1, flags: 5, streamId: 3 },
  {
    name: "the largest of each",
    payloadBytes: 0xffffff,
    type: 255,
    flags: 255,
    streamId: 0x7fffffff,
  },
])("decodeFrameHeader() reads back $name", ({ payloadBytes, type, flags, streamId }) => {
  const bytes = new Uint8Array(12);
  encodeFrameHeader(bytes, 2, payloadBytes, type, flags, streamId);
  const { ...decoded } = decode([...bytes], 2);
  assertEquals(decoded, { payloadBytes, type, flags, streamId });
});

Deno.test("decodeFrameHeader() ignores the reserved bit of the stream id", () => {
  assertEquals(decode([0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).streamId, 0x7fffffff);
});

Deno.test("decodeFrameHeader() wants nine octets", () => {
  assertThrows(() => decode([0, 0, 0, 0, 0, 0, 0, 0]), AssertionFailure);
});
