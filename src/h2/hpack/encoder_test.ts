// Encoding: RFC 7541 Appendix C.4 byte for byte, what is indexed, size updates, round trips.
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { decodeAll, decoderOf, encodeAll, fields, hexOf } from "../../../tests/support/hpack.ts";
import { AssertionFailure } from "../../base/assert.ts";
import type { HeaderField } from "../types.ts";
import { HPACK_ENCODER_TABLE_BYTES_MAX, HpackEncoder, maxEncodedBytes } from "./encoder.ts";
import { STATIC_ENTRIES, STATIC_NAMES, STATIC_VALUES } from "./static_table.ts";

const BAGGAGE = "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=client";

/** A CONNECT as hbone/ sends it; `n` is what differs from one to the next. */
function connect(n: number): HeaderField[] {
  return fields(
    ":method: CONNECT",
    ":authority: 10.0.0.2:8080",
    `baggage: ${BAGGAGE}`,
    `forwarded: for=10.0.0.1:${40000 + n}`,
    `traceparent: 00-${n.toString(16).padStart(32, "0")}-00000000000000ab-01`,
  );
}

Deno.test("HpackEncoder writes the requests of Appendix C.4 byte for byte", () => {
  const encoder = new HpackEncoder();
  const common = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
  assertEquals(
    hexOf(encodeAll(encoder, fields(...common))),
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
  );
  assertEquals(
    hexOf(encodeAll(encoder, fields(...common, "cache-control: no-cache"))),
    "828684be5886a8eb10649cbf",
  );
  const third = [":method: GET", ":scheme: https", ":path: /index.html", common[3]!];
  assertEquals(
    hexOf(encodeAll(encoder, fields(...third, "custom-key: custom-value"))),
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
  );
  assertEquals(encoder.tableBytes, 164);
});

Deno.test("HpackEncoder writes every field of the static table as one octet", () => {
  const sensitive = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
  for (let index = 1; index <= STATIC_ENTRIES; index++) {
    const field = { name: STATIC_NAMES[index]!, value: STATIC_VALUES[index]! };
    if (sensitive.includes(field.name)) continue;
    assertEquals(hexOf(encodeAll(new HpackEncoder(), [field])), (0x80 + index).toString(16));
  }
});

Deno.test("HpackEncoder writes what repeats between CONNECTs as one octet each", () => {
  const encoder = new HpackEncoder();
  encodeAll(encoder, connect(1));
  const repeated = encodeAll(encoder, connect(2));
  assertEquals(hexOf(repeated.subarray(0, 3)), "c0bfbe"); // :method, :authority, baggage
  const unique = encodeAll(new HpackEncoder(), connect(2).slice(3));
  assertEquals(hexOf(repeated.subarray(3)), hexOf(unique));
});

Deno.test("HpackEncoder's table does not grow with what is unique", () => {
  const encoder = new HpackEncoder();
  encodeAll(encoder, connect(0));
  const { tableBytes } = encoder;
  for (let n = 1; n < 1000; n++) encodeAll(encoder, connect(n));
  assertEquals(encoder.tableBytes, tableBytes);
});

Deno.test.each([
  { name: "authorization", first: 0x1f },
  { name: "proxy-authorization", first: 0x1f },
  { name: "cookie", first: 0x1f },
  { name: "set-cookie", first: 0x1f },
])("HpackEncoder sends $name as never indexed, each time", ({ name, first }) => {
  const encoder = new HpackEncoder();
  for (const value of ["secret", "secret", ""]) {
    assertEquals(encodeAll(encoder, [{ name, value }])[0], first);
  }
  assertEquals(encoder.tableBytes, 0);
});

Deno.test("HpackEncoder takes the name from the dynamic table when the value is new", () => {
  const encoder = new HpackEncoder();
  encodeAll(encoder, fields("custom: a"));
  assertEquals(encodeAll(encoder, fields("custom: b"))[0], 0x40 | 62);
});

Deno.test.each([
  { name: "Huffman code where it is shorter", value: "aaaaaaaa", hex: "85" },
  { name: "octets where both are as long", value: "a", hex: "01" },
  { name: "octets where Huffman code is longer", value: "\x00\x01", hex: "02" },
  { name: "an empty string as octets", value: "", hex: "00" },
])("HpackEncoder writes $name", ({ value, hex }) => {
  const block = encodeAll(new HpackEncoder(), [{ name: "forwarded", value }]);
  const name = encodeAll(new HpackEncoder(), [{ name: "forwarded", value: "" }]).length - 1;
  assertEquals(hexOf(block.subarray(name, name + 1)), hex);
});

Deno.test.each([
  { name: "just under half of the table", valueBytes: 2014, repeats: 1 },
  { name: "half of the table", valueBytes: 2015, repeats: 1 },
  { name: "just over half of the table", valueBytes: 2016, repeats: 2020 },
])("HpackEncoder keeps what repeats unless a field is more: $name", ({ valueBytes, repeats }) => {
  const encoder = new HpackEncoder();
  const field = { name: "n", value: "\x01".repeat(valueBytes) };
  encodeAll(encoder, [field]);
  const again = encodeAll(encoder, [field]).length;
  assert(repeats === 1 ? again === 1 : again >= repeats, `${again} octets the second time`);
});

Deno.test.each([
  { name: "nothing when the size stays", sizes: [4096], hex: "82" },
  { name: "nothing when a larger table is offered", sizes: [65536], hex: "82" },
  { name: "a smaller size", sizes: [100], hex: "3f4582" },
  { name: "size 0", sizes: [0], hex: "2082" },
  { name: "the last of falling sizes", sizes: [1000, 100], hex: "3f4582" },
  { name: "smallest and last", sizes: [0, 100], hex: "203f4582" },
  { name: "smallest and last, of many", sizes: [200, 100, 0, 300, 65536], hex: "203fe11f82" },
])("HpackEncoder.setPeerTableBytes() makes the next block begin with $name", ({ sizes, hex }) => {
  const encoder = new HpackEncoder();
  for (const size of sizes) encoder.setPeerTableBytes(size);
  assertEquals(hexOf(encodeAll(encoder, fields(":method: GET"))), hex);
  assertEquals(hexOf(encodeAll(encoder, fields(":method: GET"))), "82");
});

Deno.test.each([
  { name: "just under", offered: HPACK_ENCODER_TABLE_BYTES_MAX - 1 },
  { name: "at", offered: HPACK_ENCODER_TABLE_BYTES_MAX },
  { name: "just over", offered: HPACK_ENCODER_TABLE_BYTES_MAX + 1 },
])("HpackEncoder uses at most HPACK_ENCODER_TABLE_BYTES_MAX: peer offers $name", ({ offered }) => {
  const encoder = new HpackEncoder();
  encoder.setPeerTableBytes(offered);
  for (let n = 0; n < 300; n++) encodeAll(encoder, fields(`n${n}: v`));
  assert(encoder.tableBytes <= Math.min(offered, HPACK_ENCODER_TABLE_BYTES_MAX));
  assert(encoder.tableBytes > HPACK_ENCODER_TABLE_BYTES_MAX - 40, "the table is used");
});

Deno.test("HpackEncoder with a peer that keeps no table sends literals only", () => {
  const encoder = new HpackEncoder();
  encoder.setPeerTableBytes(0);
  const decoder = decoderOf();
  decoder.setTableBytesMax(0);
  for (let n = 0; n < 3; n++) {
    assertEquals(decodeAll(decoder, encodeAll(encoder, connect(n))), connect(n));
  }
  assertEquals([encoder.tableBytes, decoder.tableBytes], [0, 0]);
});

Deno.test("HpackEncoder.encode() writes at the offset and nothing before it", () => {
  const headers = connect(1);
  const target = new Uint8Array(100 + maxEncodedBytes(headers)).fill(7);
  const end = new HpackEncoder().encode(headers, target, 100);
  assertEquals(target.subarray(0, 100), new Uint8Array(100).fill(7));
  assertEquals(target.slice(100, end), encodeAll(new HpackEncoder(), headers));
});

Deno.test("HpackEncoder refuses a character that is no octet: our bug, not a peer's", () => {
  assertThrows(() => encodeAll(new HpackEncoder(), fields("a: \u0100")), AssertionFailure);
});

const text = fc.oneof(
  fc.constantFrom("", "a", "10.0.0.1:80", BAGGAGE, ":authority", "baggage", "200", "cookie"),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => String.fromCharCode(...bytes)),
);
const name = fc.oneof(
  fc.constantFrom(...STATIC_NAMES.slice(1), "baggage", "forwarded", "traceparent", "x"),
  text,
);
const headerList = fc.array(fc.record({ name, value: text }), { maxLength: 30 });
const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ headers: headerList }) },
    { weight: 1, arbitrary: fc.record({ tableBytes: fc.nat(9000) }) },
  ),
  { maxLength: 20 },
);

Deno.test("HpackDecoder reads what HpackEncoder wrote, over blocks that share tables", () => {
  fc.assert(fc.property(steps, (sequence) => {
    const encoder = new HpackEncoder();
    const decoder = decoderOf();
    for (const step of sequence) {
      if ("tableBytes" in step) {
        encoder.setPeerTableBytes(step.tableBytes);
        decoder.setTableBytesMax(step.tableBytes);
        continue;
      }
      const block = encodeAll(encoder, step.headers);
      assert(block.length <= maxEncodedBytes(step.headers));
      assertEquals(decodeAll(decoder, block), step.headers);
      if (step.headers.length > 0) assertEquals(decoder.tableBytes, encoder.tableBytes);
    }
  }));
});

Deno.test("HpackDecoder ends any octets in fields or HpackError, nothing else", () => {
  const octet = fc.oneof(
    fc.integer({ min: 0, max: 255 }),
    fc.constantFrom(0x40, 0x41, 0x82, 0xbe, 0x20, 0x3f, 0x7f, 0xff, 0x00, 0x10),
  );
  fc.assert(
    fc.property(fc.array(fc.array(octet, { maxLength: 40 }), { maxLength: 5 }), (blocks) => {
      const decoder = decoderOf();
      try {
        for (const block of blocks) decodeAll(decoder, Uint8Array.from(block));
      } catch (error) {
        assertEquals((error as { code?: string }).code, "COMPRESSION_ERROR");
      }
      assert(decoder.tableBytes <= 4096);
    }),
    { numRuns: 2000 },
  );
});
