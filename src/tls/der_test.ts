// Strict DER: what is refused matters more than what is read.
import { assertEquals, assertThrows } from "@std/assert";
import { DER_TAG, DerError, DerReader, oidText, timeMs } from "./der.ts";

Deno.test.each([
  { name: "an indefinite length", bytes: [0x30, 0x80, 0, 0] },
  { name: "a length that is not the shortest", bytes: [0x30, 0x81, 0x01, 0] },
  { name: "a length with a leading zero", bytes: [0x30, 0x82, 0x00, 0x81, ...Array(129).fill(0)] },
  { name: "a length beyond the buffer", bytes: [0x30, 0x02, 0] },
  { name: "a length of four octets", bytes: [0x30, 0x84, 1, 0, 0, 0] },
  { name: "a cut length", bytes: [0x30, 0x82, 1] },
  { name: "a tag alone", bytes: [0x30] },
  { name: "a multi-byte tag", bytes: [0x1f, 0x81, 0x00] },
  { name: "nothing", bytes: [] },
])("DerReader.next() refuses $name", ({ bytes }) => {
  assertThrows(() => new DerReader(new Uint8Array(bytes)).next(), DerError);
});

Deno.test("DerReader walks siblings and children without leaving them", () => {
  const bytes = new Uint8Array([0x30, 0x05, 0x02, 0x01, 7, 0x05, 0x00, 0x04, 0x01, 9]);
  const reader = new DerReader(bytes);
  const inside = reader.inside(reader.expect(DER_TAG.sequence));
  assertEquals([...inside.contents(inside.expect(DER_TAG.integer))], [7]);
  assertEquals(inside.optional(DER_TAG.boolean), null);
  inside.next();
  inside.finish();
  assertEquals([...reader.contents(reader.expect(DER_TAG.octetString))], [9]);
  assertEquals(reader.done, true);
});

Deno.test.each([
  { octets: [0x55, 0x1d, 0x11], text: "2.5.29.17" },
  { octets: [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02], text: "1.3.6.1.5.5.7.3.2" },
  { octets: [0x88, 0x37, 0x03], text: "2.999.3" },
])("oidText() $text", ({ octets, text }) => {
  assertEquals(oidText(new Uint8Array(octets)), text);
});

Deno.test.each([
  { name: "empty", octets: [] },
  { name: "cut", octets: [0x55, 0x9d] },
  { name: "padded", octets: [0x55, 0x80, 0x01] },
  { name: "a huge arc", octets: [0x55, 0xff, 0xff, 0xff, 0xff, 0x7f] },
  { name: "too many arcs", octets: Array(17).fill(1) },
])("oidText() refuses what is $name", ({ octets }) => {
  assertThrows(() => oidText(new Uint8Array(octets)), DerError);
});

const text = (value: string) => Uint8Array.from(value, (c) => c.charCodeAt(0));

Deno.test.each([
  { tag: DER_TAG.utcTime, value: "491231235959Z", iso: "2049-12-31T23:59:59.000Z" },
  { tag: DER_TAG.utcTime, value: "500101000000Z", iso: "1950-01-01T00:00:00.000Z" },
  { tag: DER_TAG.generalizedTime, value: "20500101000000Z", iso: "2050-01-01T00:00:00.000Z" },
])("timeMs() $value", ({ tag, value, iso }) => {
  assertEquals(new Date(timeMs(tag, text(value))).toISOString(), iso);
});

Deno.test.each([
  { tag: DER_TAG.utcTime, value: "491231235959+0000" },
  { tag: DER_TAG.utcTime, value: "4912312359Z" },
  { tag: DER_TAG.utcTime, value: "491331235959Z" },
  { tag: DER_TAG.utcTime, value: "350231000000Z" },
  { tag: DER_TAG.utcTime, value: "350101240000Z" },
  { tag: DER_TAG.generalizedTime, value: "20500101000000.5Z" },
  { tag: DER_TAG.generalizedTime, value: "20500101000000" },
  { tag: DER_TAG.octetString, value: "20500101000000Z" },
])("timeMs() refuses $value under tag $tag", ({ tag, value }) => {
  assertThrows(() => timeMs(tag, text(value)), DerError);
});
