// Strings are what the bytes say, or an error; and of equal ones there is one.
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { bytesOf, join } from "../../tests/support/protobuf_bytes.ts";
import { CACHED_TEXT_BYTES_MAX, CACHED_TEXTS_MAX, readText, TextCache } from "./text.ts";

const text = fc.string({ unit: "binary", maxLength: 400 }).map((any) => any.toWellFormed());

Deno.test("readText() and TextCache give the text of any UTF-8, wherever it lies", () => {
  const cache = new TextCache();
  fc.assert(fc.property(text, fc.string(), (expected, before) => {
    const bytes = join(before, expected, "after");
    const start = join(before).length;
    const end = bytes.length - 5;
    assertEquals(readText(bytes, start, end), expected);
    assertEquals(cache.read(bytes, start, end), expected);
    assertEquals(cache.read(bytes, start, end), expected);
  }));
});

Deno.test.each([
  { name: "a byte that never occurs", hex: "61ff" },
  { name: "an overlong form", hex: "c080" },
  { name: "a surrogate", hex: "eda080" },
  { name: "a cut character", hex: "61e282" },
  { name: "a code point beyond the last", hex: "f4908080" },
])("readText() and TextCache refuse $name", ({ hex }) => {
  const bytes = bytesOf(hex);
  assertThrows(() => readText(bytes, 0, bytes.length), TypeError);
  assertThrows(() => new TextCache().read(bytes, 0, bytes.length), TypeError);
});

Deno.test("readText() keeps a byte order mark: it is part of the name", () => {
  assertEquals(readText(bytesOf("efbbbf61"), 0, 4), "\ufeffa");
});

Deno.test("TextCache remembers texts up to CACHED_TEXT_BYTES_MAX and passes longer ones on", () => {
  const cache = new TextCache();
  for (const more of [-1, 0, 1]) {
    const expected = "x".repeat(CACHED_TEXT_BYTES_MAX + more);
    assertEquals(cache.read(join(expected), 0, expected.length), expected);
  }
});

Deno.test("TextCache stays right with more texts than CACHED_TEXTS_MAX places", () => {
  const cache = new TextCache();
  for (let round = 0; round < 2; round++) {
    for (let at = 0; at <= CACHED_TEXTS_MAX; at++) {
      const expected = `workload-${at}`;
      const bytes = join(expected);
      if (cache.read(bytes, 0, bytes.length) !== expected) assertEquals("another text", expected);
    }
  }
  assertEquals(cache.read(join("same"), 0, 4), "same");
});
