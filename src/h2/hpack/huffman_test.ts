// The Huffman code: rows of RFC 7541 Appendix B, a plain decoder beside ours, padding and EOS.
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { hexOf, octets } from "../../../tests/support/hpack.ts";
import { huffmanBytes, huffmanDecodedBytesMax, readHuffman, writeHuffman } from "./huffman.ts";

function encoded(text: string): Uint8Array {
  const target = new Uint8Array(huffmanBytes(text));
  assertEquals(writeHuffman(target, 0, text), target.length);
  return target;
}

/** The text, or null where the code is wrong. */
function decoded(code: Uint8Array): string | null {
  const target = new Uint8Array(huffmanDecodedBytesMax(code.length));
  const bytes = readHuffman(code, 0, code.length, target);
  return bytes < 0 ? null : String.fromCharCode(...target.subarray(0, bytes));
}

const anyText = fc.uint8Array({ maxLength: 100 }).map((bytes) => String.fromCharCode(...bytes));

function bitsOf(bytes: Uint8Array): string {
  return [...bytes].map((octet) => octet.toString(2).padStart(8, "0")).join("");
}

/** Each octet's code as a string of bits, out of our own encoder: its bits before the padding. */
const CODES: ReadonlyMap<string, string> = new Map(
  Array.from({ length: 256 }, (_, octet) => {
    const text = String.fromCharCode(octet);
    // Eight times the same symbol fill whole octets, without padding: an eighth of them is the code.
    const bits = bitsOf(encoded(text.repeat(8)));
    return [bits.slice(0, bits.length / 8), text];
  }),
);

/** The obvious decoder: bit by bit through a map. */
function decodedPlainly(code: Uint8Array): string | null {
  let text = "";
  let pending = "";
  for (const bit of bitsOf(code)) {
    pending += bit;
    const symbol = CODES.get(pending);
    if (symbol === undefined) continue;
    text += symbol;
    pending = "";
  }
  return /^1{0,7}$/.test(pending) ? text : null;
}

Deno.test.each([
  { octet: 0, bits: "1111111111000" },
  { octet: 1, bits: "11111111111111111011000" },
  { octet: 10, bits: "111111111111111111111111111100" },
  { octet: 13, bits: "111111111111111111111111111101" },
  { octet: 22, bits: "111111111111111111111111111110" },
  { octet: 32, bits: "010100" },
  { octet: 48, bits: "00000" },
  { octet: 58, bits: "1011100" },
  { octet: 88, bits: "11111100" },
  { octet: 92, bits: "1111111111111110000" },
  { octet: 97, bits: "00011" },
  { octet: 122, bits: "1111011" },
  { octet: 127, bits: "1111111111111111111111111100" },
  { octet: 128, bits: "11111111111111100110" },
  { octet: 249, bits: "1111111111111111111111111110" },
  { octet: 255, bits: "11111111111111111111101110" },
])("writeHuffman() gives octet $octet the code of Appendix B", ({ octet, bits }) => {
  assertEquals(CODES.get(bits), String.fromCharCode(octet));
});

Deno.test("writeHuffman() gives every octet a code of its own, none the start of another", () => {
  assertEquals(CODES.size, 256);
  const sorted = [...CODES.keys()].sort();
  for (let i = 1; i < sorted.length; i++) assert(!sorted[i]!.startsWith(sorted[i - 1]!));
});

Deno.test.each([
  { text: "www.example.com", hex: "f1e3c2e5f23a6ba0ab90f4ff" },
  { text: "no-cache", hex: "a8eb10649cbf" },
  { text: "custom-key", hex: "25a849e95ba97d7f" },
  { text: "Mon, 21 Oct 2013 20:13:21 GMT", hex: "d07abe941054d444a8200595040b8166e082a62d1bff" },
  { text: "", hex: "" },
])("Huffman code of $text is that of Appendix C", ({ text, hex }) => {
  assertEquals(hexOf(encoded(text)), hex);
  assertEquals(decoded(octets(hex)), text);
});

Deno.test("readHuffman() reads back every pair of octets", () => {
  for (let pair = 0; pair < 0x10000; pair++) {
    const text = String.fromCharCode(pair >>> 8, pair & 0xff);
    if (decoded(encoded(text)) !== text) assertEquals(decoded(encoded(text)), text);
  }
});

Deno.test("readHuffman() reads back what writeHuffman() wrote", () => {
  fc.assert(fc.property(anyText, (text) => {
    assertEquals(decoded(encoded(text)), text);
  }));
});

Deno.test("readHuffman() agrees with the plain decoder on any bits", () => {
  // Mostly ones: long codes, EOS and padding are at that end.
  const octet = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0xff, 0xfe, 0x7f, 0xf8));
  fc.assert(
    fc.property(fc.array(octet, { maxLength: 12 }), (bytes) => {
      const code = Uint8Array.from(bytes);
      assertEquals(decoded(code), decodedPlainly(code));
    }),
    { numRuns: 2000 },
  );
});

Deno.test.each([
  { name: "no padding", hex: "1c64", expected: "abc" },
  { name: "3 bits of padding", hex: "1f", expected: "a" },
  { name: "7 bits of padding", hex: "18c631ff", expected: "aaaaa" },
])("readHuffman() accepts $name", ({ hex, expected }) => {
  assertEquals(decodedPlainly(octets(hex)), expected);
  assertEquals(decoded(octets(hex)), expected);
});

Deno.test.each([
  { name: "padding with zeros", hex: "18" },
  { name: "padding with one zero in it", hex: "1d" },
  { name: "8 bits of padding and no symbol", hex: "ff" },
  { name: "11 bits of padding", hex: "1fff" },
  { name: "EOS alone", hex: "fffffffc" },
  { name: "EOS with padding", hex: "ffffffff" },
  { name: "EOS between two symbols", hex: "1fffffffe3" },
  { name: "a symbol cut in its middle", hex: "fffe" },
])("readHuffman() refuses $name", ({ hex }) => {
  assertEquals(decoded(octets(hex)), null);
});

Deno.test("huffmanDecodedBytesMax() is reached by the shortest codes and never passed", () => {
  assertEquals(huffmanDecodedBytesMax(5), 8);
  assertEquals(decoded(octets("0000000000")), "00000000");
  fc.assert(fc.property(anyText, (text) => {
    assert(text.length <= huffmanDecodedBytesMax(huffmanBytes(text)));
  }));
});
