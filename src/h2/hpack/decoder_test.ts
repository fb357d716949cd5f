// Decoding: RFC 7541 Appendix C, what is malformed and why, size updates, bombs.
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { decodeAll, decoderOf, encodeAll, fields, octets } from "../../../tests/support/hpack.ts";
import { NetError } from "../../base/errors.ts";
import type { HeaderField } from "../types.ts";
import type { HpackDecoder } from "./decoder.ts";
import { fieldBytes } from "./dynamic_table.ts";
import { HpackEncoder } from "./encoder.ts";
import { HpackError } from "./errors.ts";

/** The dynamic table's first `length` entries, by asking for them. */
function tableOf(decoder: HpackDecoder, length: number): HeaderField[] {
  return decodeAll(decoder, Uint8Array.from({ length }, (_, position) => 0x80 + 62 + position));
}

const AUTHORITY = ":authority: www.example.com";
const DATE_21 = "date: Mon, 21 Oct 2013 20:13:21 GMT";
const DATE_22 = "date: Mon, 21 Oct 2013 20:13:22 GMT";
const LOCATION = "location: https://www.example.com";
const COOKIE = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";

const REQUESTS = [
  { list: [":method: GET", ":scheme: http", ":path: /", AUTHORITY], table: [AUTHORITY] },
  {
    list: [":method: GET", ":scheme: http", ":path: /", AUTHORITY, "cache-control: no-cache"],
    table: ["cache-control: no-cache", AUTHORITY],
  },
  {
    list: [
      ":method: GET",
      ":scheme: https",
      ":path: /index.html",
      AUTHORITY,
      "custom-key: custom-value",
    ],
    table: ["custom-key: custom-value", "cache-control: no-cache", AUTHORITY],
  },
];

const RESPONSES = [
  {
    list: [":status: 302", "cache-control: private", DATE_21, LOCATION],
    table: [LOCATION, DATE_21, "cache-control: private", ":status: 302"],
  },
  {
    list: [":status: 307", "cache-control: private", DATE_21, LOCATION],
    table: [":status: 307", LOCATION, DATE_21, "cache-control: private"],
  },
  {
    list: [
      ":status: 200",
      "cache-control: private",
      DATE_22,
      LOCATION,
      "content-encoding: gzip",
      COOKIE,
    ],
    table: [COOKIE, "content-encoding: gzip", DATE_22],
  },
];

Deno.test.each([
  {
    name: "C.2.1, a literal with indexing",
    hex: "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
    list: ["custom-key: custom-header"],
    table: ["custom-key: custom-header"],
  },
  {
    name: "C.2.2, a literal without indexing",
    hex: "040c 2f73 616d 706c 652f 7061 7468",
    list: [":path: /sample/path"],
    table: [],
  },
  {
    name: "C.2.3, a literal never indexed",
    hex: "1008 7061 7373 776f 7264 0673 6563 7265 74",
    list: ["password: secret"],
    table: [],
  },
  { name: "C.2.4, an indexed field", hex: "82", list: [":method: GET"], table: [] },
])("HpackDecoder reads $name", ({ hex, list, table }) => {
  const decoder = decoderOf();
  assertEquals(decodeAll(decoder, octets(hex)), fields(...list));
  assertEquals(tableOf(decoder, table.length), fields(...table));
});

Deno.test.each([
  {
    name: "C.3, requests without Huffman code",
    tableBytesMax: 4096,
    expected: REQUESTS,
    sizes: [57, 110, 164],
    blocks: [
      "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      "8286 84be 5808 6e6f 2d63 6163 6865",
      "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ],
  },
  {
    name: "C.4, requests with Huffman code",
    tableBytesMax: 4096,
    expected: REQUESTS,
    sizes: [57, 110, 164],
    blocks: [
      "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
      "8286 84be 5886 a8eb 1064 9cbf",
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ],
  },
  {
    name: "C.5, responses without Huffman code and with eviction",
    tableBytesMax: 256,
    expected: RESPONSES,
    sizes: [222, 222, 215],
    blocks: [
      `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a
       3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
      "4803 3330 37c1 c0bf",
      `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04
       677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49
       553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31`,
    ],
  },
  {
    name: "C.6, responses with Huffman code and with eviction",
    tableBytesMax: 256,
    expected: RESPONSES,
    sizes: [222, 222, 215],
    blocks: [
      `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e
       919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3`,
      "4883 640e ffc1 c0bf",
      `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7
       821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed
       4ee5 b106 3d50 07`,
    ],
  },
])("HpackDecoder reads $name", ({ tableBytesMax, expected, sizes, blocks }) => {
  const decoder = decoderOf(tableBytesMax);
  for (const [i, { list, table }] of expected.entries()) {
    assertEquals(decodeAll(decoder, octets(blocks[i]!)), fields(...list));
    assertEquals(decoder.tableBytes, sizes[i]);
    assertEquals(tableOf(decoder, table.length), fields(...table));
    assertThrows(() => tableOf(decoder, table.length + 1), HpackError, "tables end at");
  }
});

Deno.test("HpackDecoder tells the size of each field as the header list limit counts it", () => {
  const sizes: number[] = [];
  const block = octets("82 4001 61 03 626364");
  decoderOf().decode(block, 0, block.length, {
    onHeader: (_n, _v, bytes) => void sizes.push(bytes),
  });
  assertEquals(sizes, [7 + 3 + 32, 1 + 3 + 32]);
});

Deno.test("HpackDecoder reads a block anywhere in its memory", () => {
  const block = octets(REQUEST_BLOCK);
  for (const start of [0, 1, 7, 100]) {
    const memory = new Uint8Array(200).fill(0xff);
    memory.set(block, start);
    const found: HeaderField[] = [];
    decoderOf().decode(memory.subarray(0, 190), start, start + block.length, {
      onHeader: (name, value) => void found.push({ name, value }),
    });
    assertEquals(found, fields(...REQUESTS[0]!.list));
  }
});

const REQUEST_BLOCK = "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff";

Deno.test("HpackDecoder reads octets above 0x7f as the characters of the same number", () => {
  const value = String.fromCharCode(...Array.from({ length: 256 }, (_, octet) => octet));
  const block = Uint8Array.from([0, 1, 97, 0x7f, 129, 1, ...Array(256).keys()]);
  assertEquals(decodeAll(decoderOf(), block), [{ name: "a", value }]);
});

Deno.test.each([8191, 8192, 8193, 100_000])(
  "HpackDecoder reads a string of %d octets, kept memory or not",
  (bytes) => {
    const text = "\x82".repeat(bytes);
    const block = new Uint8Array(bytes + 10);
    block.set([0, 1, 97, 0x7f]);
    let offset = 4;
    let rest = bytes - 127;
    for (; rest >= 128; rest >>>= 7) block[offset++] = 0x80 | rest & 0x7f;
    block[offset++] = rest;
    block.fill(0x82, offset, offset + bytes);
    assertEquals(decodeAll(decoderOf(), block.subarray(0, offset + bytes)), [
      { name: "a", value: text },
    ]);
  },
);

Deno.test.each([8191, 8192, 8193, 100_000])(
  "HpackDecoder reads %d octets out of Huffman code, kept memory or not",
  (bytes) => {
    // "0" has the shortest code, so the text is as long as the code's octets allow.
    const headers = [{ name: "forwarded", value: "0".repeat(bytes) }];
    assertEquals(decodeAll(decoderOf(), encodeAll(new HpackEncoder(), headers)), headers);
  },
);

Deno.test("HpackDecoder reads an empty block as no fields", () => {
  assertEquals(decodeAll(decoderOf(), new Uint8Array(0)), []);
});

Deno.test("HpackDecoder takes a literal's name from the entry that its own insertion evicts", () => {
  const decoder = decoderOf(40);
  decodeAll(decoder, octets("4004 6e616d65 0161")); // name: a, 37 octets
  assertEquals(decodeAll(decoder, octets("7e 0162")), fields("name: b"));
  assertEquals(tableOf(decoder, 1), fields("name: b"));
});

Deno.test.each([
  { name: "index 0", hex: "80", message: "index is 0" },
  { name: "an index just past an empty dynamic table", hex: "be", message: "index is 62" },
  { name: "an index far past the tables", hex: "ffffffff07", message: "tables end at 61" },
  { name: "a name index past the tables", hex: "7e 0161", message: "index is 62" },
  { name: "an index that is cut", hex: "ff", message: "ends inside it" },
  {
    name: "an index above the integer limit",
    hex: "ffffffffff7f",
    message: "Cannot accept integer",
  },
  { name: "an index that never ends", hex: "ff80808080808080", message: "goes on" },
  { name: "a literal without its name", hex: "40", message: "ends before it" },
  { name: "a literal without its value", hex: "41", message: "ends before it" },
  {
    name: "a literal without its value after a new name",
    hex: "400161",
    message: "ends before it",
  },
  { name: "a name longer than the block", hex: "40026100".slice(0, 6), message: "has 1 left" },
  { name: "a value longer than the block", hex: "4102 61", message: "has 2 octets" },
  {
    name: "a string length of 2^31 - 1",
    hex: "00017f 7f80ffffff07",
    message: "octets, header block",
  },
  { name: "a string length that is cut", hex: "417f80", message: "ends inside it" },
  { name: "padding with zeros", hex: "418118", message: "wrong padding" },
  { name: "padding of a whole octet", hex: "41821fff", message: "wrong padding" },
  { name: "EOS in a string", hex: "4184ffffffff", message: "EOS" },
  { name: "a size update above our limit", hex: "3fe21f", message: "size is 4097, limit is 4096" },
  { name: "a size update after a field", hex: "8220", message: "follows a header field" },
  { name: "a size update between fields", hex: "823f0082", message: "follows a header field" },
  { name: "a size update that is cut", hex: "3f", message: "ends inside it" },
])("HpackDecoder refuses $name", ({ hex, message }) => {
  const error = assertThrows(() => decodeAll(decoderOf(), octets(hex)), HpackError, message);
  assertEquals(error.code, "COMPRESSION_ERROR");
});

Deno.test("HpackDecoder refuses a block cut anywhere inside a field, and reads it whole", () => {
  const block = octets("4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
  for (let length = 1; length < block.length; length++) {
    assertThrows(() => decodeAll(decoderOf(), block.subarray(0, length)), HpackError);
  }
  assertEquals(decodeAll(decoderOf(), block), fields("custom-key: custom-value"));
});

Deno.test.each([
  { name: "just under our limit", hex: "3fe01f" },
  { name: "at our limit", hex: "3fe11f" },
])("HpackDecoder accepts a size update $name", ({ hex }) => {
  assertEquals(decodeAll(decoderOf(), octets(hex + "82")), fields(":method: GET"));
});

Deno.test("HpackDecoder evicts at a size update and accepts several at the start of a block", () => {
  const decoder = decoderOf();
  decodeAll(decoder, octets("4001 61 01 62 4001 63 01 64")); // two entries of 34 octets
  assertEquals(decodeAll(decoder, octets("3f03 be")), fields("c: d")); // to 34
  assertThrows(() => tableOf(decoder, 2), HpackError);
  assertEquals(decodeAll(decoder, octets("20 3fe11f 4001 61 01 62 be")), fields("a: b", "a: b"));
  assertEquals(decoder.tableBytes, 34);
});

Deno.test.each([
  { name: "none", sizes: [100], hex: "82", message: "no table size update to 100 or less" },
  { name: "one above it", sizes: [100], hex: "3f46 82", message: "size is 101, limit is 100" },
  { name: "none below the smallest", sizes: [0, 4096], hex: "3fe11f82", message: "limit is 0" },
  { name: "one above it later", sizes: [100], hex: "20 3f46 82", message: "size is 101" },
])("HpackDecoder.setTableBytesMax() wants a size update, refuses $name", (row) => {
  const decoder = decoderOf();
  for (const size of row.sizes) decoder.setTableBytesMax(size);
  assertThrows(() => decodeAll(decoder, octets(row.hex)), HpackError, row.message);
});

Deno.test.each([
  { name: "a smaller table confirmed", sizes: [100], hex: "3f45 82" },
  { name: "a smaller table made smaller still", sizes: [100], hex: "20 82" },
  { name: "smallest and present size", sizes: [0, 4096], hex: "20 3fe11f 82" },
  { name: "the same size", sizes: [4096], hex: "82" },
  { name: "a larger table not used", sizes: [8192], hex: "82" },
  { name: "a larger table used", sizes: [8192], hex: "3fe13f 82" },
])("HpackDecoder.setTableBytesMax() accepts $name, and wants it once", ({ sizes, hex }) => {
  const decoder = decoderOf();
  for (const size of sizes) decoder.setTableBytesMax(size);
  assertEquals(decodeAll(decoder, octets(hex)), fields(":method: GET"));
  assertEquals(decodeAll(decoder, octets("82")), fields(":method: GET"));
});

/** A decoder whose entry 62 has a value of 4,000 octets. */
function decoderWithBigEntry(): { decoder: HpackDecoder; value: string } {
  const decoder = decoderOf();
  const value = "b".repeat(4000);
  const literal = octets(`40 01 61 7f a11e ${"62".repeat(4000)}`);
  assertEquals(decodeAll(decoder, literal), [{ name: "a", value }]);
  return { decoder, value };
}

Deno.test("HpackDecoder tells a bomb's sizes without making its strings", () => {
  const { decoder } = decoderWithBigEntry();
  const bomb = new Uint8Array(200_000).fill(0x80 + 62); // 800 MB when written out
  let calls = 0;
  let total = 0;
  let first: string | null = null;
  decoder.decode(bomb, 0, bomb.length, {
    onHeader(name, value, bytes) {
      first ??= value;
      if (value !== first) assertStrictEquals(value, first);
      calls++;
      total += bytes;
      assertEquals(bytes === fieldBytes(name, value), true);
    },
  });
  assertEquals([calls, total], [bomb.length, bomb.length * 4033]);
});

Deno.test("HpackDecoder stops at once when the sink throws", () => {
  const { decoder } = decoderWithBigEntry();
  const bomb = new Uint8Array(200_000).fill(0x80 + 62);
  let calls = 0;
  assertThrows(
    () =>
      decoder.decode(bomb, 0, bomb.length, {
        onHeader() {
          if (++calls === 65) throw new NetError("EPIPE");
        },
      }),
    NetError,
  );
  assertEquals(calls, 65);
});

Deno.test("HpackDecoder keeps no more than the table's size, whatever is inserted", () => {
  const decoder = decoderOf();
  for (let i = 0; i < 1000; i++) {
    const value = [...String(i)].map((digit) => `3${digit}`).join("");
    decodeAll(decoder, octets(`40 01 61 0${value.length / 2} ${value}`));
    assert(decoder.tableBytes <= 4096);
  }
  assertEquals(tableOf(decoder, 1), fields("a: 999"));
});
