// Addresses from the wire are what the same address is as text.
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { bytesOf } from "../../tests/support/protobuf_bytes.ts";
import { parseIp } from "../base/address.ts";
import { parseCidr } from "../rbac/cidr.ts";
import { cidrOf, ipText, isWholeAddress } from "./ip_text.ts";
import { ResourceError } from "./resource_error.ts";

Deno.test.each([
  { hex: "0a000001", expected: "10.0.0.1" },
  { hex: "00000000", expected: "0.0.0.0" },
  { hex: "ff64630a", expected: "255.100.99.10" },
  { hex: "00000000000000000000000000000000", expected: "::" },
  { hex: "00000000000000000000000000000001", expected: "::1" },
  { hex: "fd000000000000000000000000000000", expected: "fd00::" },
  { hex: "20010db8000000000001000000000001", expected: "2001:db8::1:0:0:1" },
  { hex: "20010db8000100010001000000010001", expected: "2001:db8:1:1:1:0:1:1" },
  { hex: "00010000000000010000000000000001", expected: "1:0:0:1::1" },
  { hex: "ABCDEF0100000000000000000000000A", expected: "abcd:ef01::a" },
  { hex: "00000000000000000000ffff0a000001", expected: "10.0.0.1" },
  { hex: "000000000000000000000000 0a000001".replace(" ", ""), expected: "::a00:1" },
])("ipText() writes $hex as $expected", ({ hex, expected }) => {
  assertEquals(ipText(bytesOf(hex)), expected);
});

/** 16 bytes with many zero groups, and what they are as text nobody shortened. */
const ipv6 = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
  minLength: 8,
  maxLength: 8,
}).map((groups) => ({
  bytes: Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255])),
  text: groups.map((group) => group.toString(16)).join(":"),
}));

const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ({
  bytes,
  text: bytes.join("."),
}));

const mapped = ipv4.map(({ bytes, text }) => ({
  bytes: Uint8Array.from([...new Array(10).fill(0), 0xff, 0xff, ...bytes]),
  text: `::ffff:${text}`,
}));

const anyIp = fc.oneof(ipv6, ipv4, mapped);

Deno.test("ipText() agrees with parseIp() on every address", () => {
  fc.assert(
    fc.property(anyIp, ({ bytes, text }) => {
      assertEquals(ipText(bytes), parseIp(text));
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("cidrOf() agrees with parseCidr() on every network, and on what is none", () => {
  fc.assert(
    fc.property(anyIp, fc.integer({ min: 0, max: 140 }), ({ bytes, text }, length) => {
      assertEquals(cidrOf(bytes, length), parseCidr(`${text}/${length}`));
    }),
    { numRuns: 2_000 },
  );
});

Deno.test.each([0, 1, 3, 5, 15, 17].map((count) => ({ count })))(
  "ipText() and cidrOf() refuse $count bytes",
  ({ count }) => {
    const expected = `failed to parse address, had ${count} bytes`;
    assertThrows(() => ipText(new Uint8Array(count)), ResourceError, expected);
    assertThrows(() => cidrOf(new Uint8Array(count), 8), ResourceError, expected);
  },
);

Deno.test("isWholeAddress() knows both sizes", () => {
  const [v4, v6] = [new Uint8Array(4), new Uint8Array(16)];
  assertEquals([31, 32, 33].map((bits) => isWholeAddress(v4, bits)), [false, true, false]);
  assertEquals([32, 127, 128].map((bits) => isWholeAddress(v6, bits)), [false, false, true]);
});
