import { assertEquals } from "@std/assert";
import { connectionsMaxFor } from "./descriptor_budget.ts";

Deno.test.each([
  { descriptorsMax: 60, expected: 16 },
  { descriptorsMax: 256, expected: 192 },
  { descriptorsMax: 1000, expected: 900 },
  { descriptorsMax: 1_048_576, expected: 943_718 },
])("connectionsMaxFor() $descriptorsMax descriptors: $expected", ({ descriptorsMax, expected }) => {
  assertEquals(connectionsMaxFor(descriptorsMax), expected);
});
