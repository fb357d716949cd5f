// HandshakeReader: messages of a simulated handshake, whatever pieces they come in, and never above their limit.
import { assertEquals } from "@std/assert";
import { HANDSHAKE_PAYLOAD_BYTES_MAX, HandshakeReader } from "./memory_tls_messages.ts";

const HEADER_BYTES = 4;
const HELLO = 0xc1;

/** A hello that announces `payloadBytes`, whose payload may be cut short. */
function hello(payloadBytes: number, sentBytes = payloadBytes): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + sentBytes);
  message.set([HELLO, payloadBytes >> 16, payloadBytes >> 8 & 255, payloadBytes & 255]);
  return message;
}

Deno.test.each([
  { name: "just under", payloadBytes: HANDSHAKE_PAYLOAD_BYTES_MAX - 1, type: "hello" },
  { name: "at", payloadBytes: HANDSHAKE_PAYLOAD_BYTES_MAX, type: "hello" },
])("HandshakeReader takes a payload $name its limit", ({ payloadBytes, type }) => {
  const reader = new HandshakeReader();
  const message = hello(payloadBytes);
  assertEquals(reader.push(message), message.length);
  const taken = reader.take();
  assertEquals(taken?.type, type);
});

Deno.test("HandshakeReader refuses a payload over its limit by the length alone", () => {
  const reader = new HandshakeReader();
  reader.push(hello(HANDSHAKE_PAYLOAD_BYTES_MAX + 1, 0));
  assertEquals(reader.take(), { type: "garbage" });
});

Deno.test("HandshakeReader reads the same from any pieces", () => {
  const message = hello(3);
  for (let split = 0; split <= message.length; split++) {
    const reader = new HandshakeReader();
    assertEquals(reader.push(message.subarray(0, split)), split);
    assertEquals(reader.take() === null, split < message.length);
    if (split === message.length) continue;
    assertEquals(reader.push(message.subarray(split)), message.length - split);
    assertEquals(reader.take()?.type, "hello");
  }
});
