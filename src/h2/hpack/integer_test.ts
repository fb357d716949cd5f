// Integers: RFC 7541 Appendix C.1, the limits, every truncation.
import { assertEquals, assertThrows } from "@std/assert";
import { hexOf, octets } from "../../../tests/support/hpack.ts";
import { BlockReader } from "./block_reader.ts";
import { HpackError } from "./errors.ts";
import { HPACK_CONTINUATION_OCTETS_MAX, HPACK_INTEGER_MAX, writeInteger } from "./integer.ts";

function written(value: number, prefixBits: number, pattern = 0): Uint8Array {
  const target = new Uint8Array(8);
  return target.slice(0, writeInteger(target, 0, pattern, prefixBits, value));
}

function read(bytes: Uint8Array, prefixBits: number): number {
  const reader = new BlockReader();
  reader.open(bytes, 0, bytes.length);
  const value = reader.readInteger(prefixBits);
  assertEquals(reader.atEnd, true, "octets are left");
  return value;
}

Deno.test.each([
  { name: "C.1.1: 10 with a 5-bit prefix", value: 10, prefixBits: 5, hex: "0a" },
  { name: "C.1.2: 1337 with a 5-bit prefix", value: 1337, prefixBits: 5, hex: "1f9a0a" },
  { name: "C.1.3: 42 at an octet boundary", value: 42, prefixBits: 8, hex: "2a" },
  { name: "the largest that fits in the prefix", value: 30, prefixBits: 5, hex: "1e" },
  { name: "the smallest that does not", value: 31, prefixBits: 5, hex: "1f00" },
  { name: "the largest with one octet more", value: 31 + 127, prefixBits: 5, hex: "1f7f" },
  { name: "the smallest with two octets more", value: 31 + 128, prefixBits: 5, hex: "1f8001" },
])("writeInteger() and readInteger() agree on $name", ({ value, prefixBits, hex }) => {
  assertEquals(hexOf(written(value, prefixBits)), hex);
  assertEquals(read(octets(hex), prefixBits), value);
});

Deno.test("writeInteger() keeps the pattern above the prefix, readInteger() ignores it", () => {
  assertEquals(hexOf(written(3, 5, 0x20)), "23");
  assertEquals(read(octets("e3"), 5), 3);
});

Deno.test("readInteger() reads back what writeInteger() wrote, around each power of two", () => {
  for (let prefixBits = 4; prefixBits <= 7; prefixBits++) {
    for (let power = 0; power <= 31; power++) {
      for (const value of [2 ** power - 1, 2 ** power, 2 ** power + 1]) {
        if (value > HPACK_INTEGER_MAX) continue;
        assertEquals(read(written(value, prefixBits), prefixBits), value);
      }
    }
  }
});

Deno.test.each([
  { name: "just under", hex: "1fdfffffff07", expected: HPACK_INTEGER_MAX - 1 },
  { name: "at", hex: "1fe0ffffff07", expected: HPACK_INTEGER_MAX },
])("readInteger() accepts a value $name the limit", ({ hex, expected }) => {
  assertEquals(read(octets(hex), 5), expected);
});

Deno.test.each([
  { name: "a value just over the limit", hex: "1fe1ffffff07" },
  { name: "a value of 2^32, which is 0 in 32 bits", hex: "1fe1ffffff0f" },
  { name: "all bits of five octets", hex: "1fffffffff7f" },
  { name: "a sixth octet", hex: "1fffffffffff00" },
])("readInteger() refuses $name", ({ hex }) => {
  assertThrows(() => read(octets(hex), 5), HpackError, "Cannot accept integer");
});

Deno.test("readInteger() bounds useless zeros too", () => {
  const zeros = (count: number) => octets("1f" + "80".repeat(count - 1) + "00");
  assertEquals(read(zeros(HPACK_CONTINUATION_OCTETS_MAX - 1), 5), 31);
  assertEquals(read(zeros(HPACK_CONTINUATION_OCTETS_MAX), 5), 31);
  assertThrows(() => read(zeros(HPACK_CONTINUATION_OCTETS_MAX + 1), 5), HpackError, "goes on");
});

Deno.test("readInteger() refuses an integer that the block cuts", () => {
  const whole = octets("1fe0ffffff07");
  for (let length = 1; length < whole.length; length++) {
    assertThrows(() => read(whole.slice(0, length), 5), HpackError, "ends inside it");
  }
});
