import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AssertionFailure } from "../../base/assert.ts";
import { parseIp } from "../../base/address.ts";
import { NetError } from "../../base/errors.ts";
import {
  decodeSocketAddress,
  encodeSocketAddress,
  familyOf,
  SOCKADDR_BYTES_MAX,
  SOCKADDR_IN6_BYTES,
  SOCKADDR_IN_BYTES,
} from "./socket_address.ts";

function encoded(ip: string, port = 15008): { bytes: Uint8Array; length: number } {
  const bytes = new Uint8Array(SOCKADDR_BYTES_MAX).fill(0xee);
  const length = encodeSocketAddress({ ip, port }, bytes);
  return { bytes, length };
}

function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}

Deno.test.each([
  { ip: "10.0.7.255", family: 2, bytes: "02003aa00a0007ff0000000000000000" },
  {
    ip: "fd00::1:2",
    family: 10,
    bytes: "0a003aa000000000fd00000000000000000000000001000200000000",
  },
  { ip: "::", family: 10, bytes: "0a003aa0000000000000000000000000000000000000000000000000" },
  { ip: "::1", family: 10, bytes: "0a003aa0000000000000000000000000000000000000000100000000" },
  { ip: "1::", family: 10, bytes: "0a003aa0000000000001000000000000000000000000000000000000" },
  {
    ip: "1:2:3:4:5:6:7:ffff",
    family: 10,
    bytes: "0a003aa00000000000010002000300040005000600" + "07ffff00000000",
  },
])("encodeSocketAddress() writes $ip as the kernel reads it", ({ ip, family, bytes: expected }) => {
  const { bytes, length } = encoded(ip);
  assertEquals(hex(bytes.subarray(0, length)), expected);
  assertEquals(familyOf(ip), family);
  assertEquals(decodeSocketAddress(bytes, length), { ip, port: 15008 });
});

Deno.test("decodeSocketAddress() gives an IPv4-mapped address as IPv4", () => {
  const { bytes, length } = encoded("fd00::1");
  bytes.fill(0, 8, 18).fill(0xff, 18, 20).set([10, 7, 0, 2], 20);
  assertEquals(decodeSocketAddress(bytes, length), { ip: "10.7.0.2", port: 15008 });
  bytes[18] = 0xfe;
  assertEquals(decodeSocketAddress(bytes, length).ip, "::feff:a07:2");
});

Deno.test("decodeSocketAddress() writes every IPv6 address in its canonical form", () => {
  const groups = fc.array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 });
  fc.assert(fc.property(groups, fc.nat(65535), (words, port) => {
    const { bytes } = encoded("::", port);
    words.forEach((word, index) => bytes.set([word >> 8, word & 0xff], 8 + index * 2));
    const address = decodeSocketAddress(bytes, SOCKADDR_IN6_BYTES);
    const canonical = parseIp(words.map((word) => word.toString(16)).join(":"));
    assertEquals(address, { ip: canonical!, port });
    if (familyOf(address.ip) === 2) return;
    const again = encoded(address.ip, port);
    assertEquals(hex(again.bytes.subarray(0, 28)), hex(bytes.subarray(0, 28)));
  }));
});

Deno.test.each([
  { name: "nothing", bytes: [], length: 0 },
  { name: "a unix socket", bytes: [1, 0], length: 2 },
  { name: "an IPv4 address cut short", bytes: [2, 0], length: SOCKADDR_IN_BYTES - 1 },
  { name: "an IPv6 address cut short", bytes: [10, 0], length: 23 },
])("decodeSocketAddress() refuses $name", ({ bytes, length }) => {
  const buffer = new Uint8Array(SOCKADDR_BYTES_MAX);
  buffer.set(bytes);
  const error = assertThrows(() => decodeSocketAddress(buffer, length), NetError, "need IPv4");
  assertEquals(error.code, "EAFNOSUPPORT");
});

Deno.test("encodeSocketAddress() wants room and canonical text", () => {
  const address = { ip: "10.0.0.1", port: 1 };
  assertThrows(
    () => encodeSocketAddress(address, new Uint8Array(SOCKADDR_IN6_BYTES - 1)),
    AssertionFailure,
    "No room",
  );
  assertEquals(encodeSocketAddress(address, new Uint8Array(SOCKADDR_IN6_BYTES)), 16);
  for (const ip of ["10.0.1", "localhost", "1:2:3", "1:2:3:4:5:6:7::8"]) {
    assertThrows(() => encoded(ip), AssertionFailure);
  }
});
