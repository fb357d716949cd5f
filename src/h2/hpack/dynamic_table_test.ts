// Tables: size and eviction, against a plain list; the encoder's index beside them.
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AssertionFailure } from "../../base/assert.ts";
import type { HeaderField } from "../types.ts";
import { DynamicTable, FIELD_OVERHEAD_BYTES, fieldBytes } from "./dynamic_table.ts";
import { EncoderTable } from "./encoder_table.ts";

function contents(table: DynamicTable): HeaderField[] {
  return Array.from({ length: table.length }, (_, position) => ({
    name: table.nameAt(position),
    value: table.valueAt(position),
  }));
}

/** The obvious table: an array, newest first. */
class PlainTable {
  entries: HeaderField[] = [];

  constructor(public bytesMax: number) {}

  get bytes(): number {
    return this.entries.reduce((sum, { name, value }) => sum + fieldBytes(name, value), 0);
  }

  resize(bytesMax: number): void {
    this.bytesMax = bytesMax;
    while (this.bytes > bytesMax) this.entries.pop();
  }

  insert(name: string, value: string): void {
    this.entries.unshift({ name, value });
    this.resize(this.bytesMax);
  }
}

const operation = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ name: fc.constantFrom("a", "bb", "ccc"), length: fc.nat(60) }),
  },
  { weight: 1, arbitrary: fc.record({ resize: fc.nat(2000) }) },
);

Deno.test("DynamicTable holds the same as a plain list, over any operations", () => {
  fc.assert(fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
    const table = new DynamicTable(1000);
    const plain = new PlainTable(1000);
    for (const step of operations) {
      if ("resize" in step) {
        table.resize(step.resize);
        plain.resize(step.resize);
      } else {
        table.insert(step.name, "v".repeat(step.length));
        plain.insert(step.name, "v".repeat(step.length));
      }
      assertEquals(contents(table), plain.entries);
      assertEquals(table.bytes, plain.bytes);
    }
  }));
});

Deno.test.each([
  { name: "just under the table's size", value: 10 - 1 - 1, length: 1 },
  { name: "at the table's size", value: 10 - 1, length: 1 },
  { name: "just over the table's size", value: 10, length: 0 },
])("DynamicTable.insert() keeps the right entries for a field $name", ({ value, length }) => {
  const table = new DynamicTable(FIELD_OVERHEAD_BYTES + 10);
  table.insert("x", "");
  table.insert("n", "v".repeat(value));
  assertEquals(table.length, length);
  assertEquals(table.bytes <= table.bytesMax, true);
});

Deno.test("DynamicTable holds bytesMax / 32 entries of nothing, and no more", () => {
  const table = new DynamicTable(4096);
  for (let i = 0; i < 1000; i++) table.insert("", "");
  assertEquals([table.length, table.bytes], [128, 4096]);
});

Deno.test("DynamicTable of size 0 keeps nothing", () => {
  const table = new DynamicTable(0);
  table.insert("", "");
  assertEquals(table.length, 0);
});

Deno.test("DynamicTable.nameAt() is never asked for what is not there", () => {
  const table = new DynamicTable(4096);
  table.insert("a", "b");
  assertThrows(() => table.nameAt(1), AssertionFailure);
  assertThrows(() => table.valueAt(-1), AssertionFailure);
});

Deno.test("EncoderTable finds what a search through the entries finds", () => {
  fc.assert(fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
    const table = new EncoderTable(1000);
    for (const step of operations) {
      if ("resize" in step) {
        table.resize(step.resize);
        continue;
      }
      const value = "v".repeat(step.length);
      const before = contents(table);
      const position = before.findIndex((entry) =>
        entry.name === step.name && entry.value === value
      );
      assertEquals(table.indexOf(step.name, value), position < 0 ? 0 : 62 + position);
      const byName = before.findIndex((entry) => entry.name === step.name);
      assertEquals(table.indexOfName(step.name), byName < 0 ? 0 : 62 + byName);
      if (position < 0) table.insert(step.name, value);
    }
    table.resize(0);
    for (const name of ["a", "bb", "ccc"]) assert(table.indexOfName(name) === 0);
  }));
});
