import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  parseSocksGreeting,
  parseSocksRequest,
  SOCKS_MESSAGE_BYTES_MAX,
  socksReply,
} from "./socks5_message.ts";

function named(name: Uint8Array, port: number): Uint8Array {
  return Uint8Array.of(5, 1, 0, 3, name.length, ...name, port >> 8, port & 255);
}

Deno.test.each([
  { bytes: [5, 1, 0], expected: { kind: "ok", value: null, bytes: 3 } },
  { bytes: [5, 2, 2, 0], expected: { kind: "ok", value: null, bytes: 4 } },
  { bytes: [5, 1, 0, 5, 1], expected: { kind: "ok", value: null, bytes: 3 } },
  { bytes: [], expected: { kind: "more" } },
  { bytes: [5], expected: { kind: "more" } },
  { bytes: [5, 2, 0], expected: { kind: "more" } },
  { bytes: [4], expected: { kind: "bad" } },
  { bytes: [5, 0], expected: { kind: "bad" } },
  { bytes: [5, 1, 2], expected: { kind: "bad" } },
])("parseSocksGreeting() judges $bytes: $expected.kind", ({ bytes, expected }) => {
  assertEquals<unknown>(parseSocksGreeting(Uint8Array.from(bytes)), expected);
});

Deno.test.each([
  { bytes: [5, 1, 0, 1, 127, 0, 0, 3, 0, 80], ip: "127.0.0.3", port: 80 },
  { bytes: [5, 1, 9, 1, 10, 0, 0, 1, 0xff, 0xff], ip: "10.0.0.1", port: 65535 },
  {
    bytes: [5, 1, 0, 4, 0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 1, 1, 187],
    ip: "2001:db8::1",
    port: 443,
  },
  {
    bytes: [5, 1, 0, 4, ...Array(10).fill(0), 255, 255, 10, 0, 0, 2, 0, 80],
    ip: "10.0.0.2",
    port: 80,
  },
])("parseSocksRequest() reads the address $ip:$port", ({ bytes, ip, port }) => {
  assertEquals(parseSocksRequest(Uint8Array.from(bytes)), {
    kind: "ok",
    value: { kind: "address", ip, port },
    bytes: bytes.length,
  });
});

Deno.test("parseSocksRequest() reads a name of up to 255 octets", () => {
  const name = new TextEncoder().encode("a".repeat(255));
  const bytes = named(name, 8080);
  assertEquals(bytes.length, SOCKS_MESSAGE_BYTES_MAX);
  assertEquals(parseSocksRequest(bytes), {
    kind: "ok",
    value: { kind: "name", name: "a".repeat(255), port: 8080 },
    bytes: bytes.length,
  });
});

Deno.test.each([
  { name: "version 4", bytes: [4] },
  { name: "BIND", bytes: [5, 2] },
  { name: "UDP ASSOCIATE", bytes: [5, 3, 0] },
  { name: "an unknown address type", bytes: [5, 1, 0, 2] },
  { name: "an empty name", bytes: [5, 1, 0, 3, 0, 0, 80] },
  { name: "a name that is not UTF-8", bytes: [5, 1, 0, 3, 1, 0xff, 0, 80] },
])("parseSocksRequest() refuses $name (S7)", ({ bytes }) => {
  assertEquals(parseSocksRequest(Uint8Array.from(bytes)), { kind: "bad" });
});

Deno.test("parseSocksRequest() asks for more at every split, and never reads too far", () => {
  const whole = [
    Uint8Array.of(5, 1, 0, 1, 127, 0, 0, 3, 0, 80),
    Uint8Array.of(5, 1, 0, 4, ...Array(16).fill(1), 0, 80),
    named(new TextEncoder().encode("web.example"), 80),
  ];
  for (const bytes of whole) {
    for (let length = 0; length < bytes.length; length++) {
      assertEquals(parseSocksRequest(bytes.subarray(0, length)), { kind: "more" });
    }
    const parsed = parseSocksRequest(Uint8Array.of(...bytes, 7, 7, 7));
    assertEquals(parsed.kind === "ok" && parsed.bytes, bytes.length);
  }
});

Deno.test("parseSocksRequest() and parseSocksGreeting() survive any bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    for (const parsed of [parseSocksRequest(bytes), parseSocksGreeting(bytes)]) {
      assertEquals(parsed.kind !== "ok" || parsed.bytes <= bytes.length, true);
    }
  }));
});

Deno.test("socksReply() always tells the unspecified address", () => {
  assertEquals([...socksReply(7)], [5, 7, 0, 1, 0, 0, 0, 0, 0, 0]);
});
