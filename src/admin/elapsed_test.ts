// formatElapsed() against the shapes of spec/config-and-observability §4.2.
import { assertEquals } from "@std/assert";
import { formatElapsed } from "./elapsed.ts";

Deno.test.each([
  { elapsedMs: 1.49516, expected: "1.49516ms" },
  { elapsedMs: 2_050, expected: "2.05s" },
  { elapsedMs: 2_000, expected: "2s" },
  { elapsedMs: 61_000.000001, expected: "61.000000001s" },
  { elapsedMs: 999.999999, expected: "999.999999ms" },
  { elapsedMs: 0.25, expected: "250µs" },
  { elapsedMs: 0.0015, expected: "1.5µs" },
  { elapsedMs: 0.000999, expected: "999ns" },
  { elapsedMs: 0, expected: "0ns" },
])("formatElapsed($elapsedMs) is $expected", ({ elapsedMs, expected }) => {
  assertEquals(formatElapsed(elapsedMs), expected);
});
