import { assertEquals } from "@std/assert";
import { copyBytes } from "./copy_bytes.ts";

Deno.test.each([
  { name: "nothing", start: 5, end: 5 },
  { name: "one octet", start: 5, end: 6 },
  { name: "as many as a loop copies", start: 3, end: 51 },
  { name: "one more, by set()", start: 3, end: 52 },
  { name: "the whole source", start: 0, end: 100 },
])("copyBytes() copies $name", ({ start, end }) => {
  const source = Uint8Array.from({ length: 100 }, (_, i) => i + 1);
  const target = new Uint8Array(120);
  copyBytes(source, start, end, target, 10);
  const plain = new Uint8Array(120);
  plain.set(source.slice(start, end), 10);
  assertEquals(target, plain);
});
