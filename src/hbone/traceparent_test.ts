import { assertEquals, assertMatch } from "@std/assert";
import { SeededRandom } from "../base/random.ts";
import { newTraceParent, receivedTraceId } from "./traceparent.ts";

const ID = "0af7651916cd43dd8448eb211c80319c";

Deno.test("newTraceParent() has the header's form and repeats its id", () => {
  const { traceId, header } = newTraceParent(new SeededRandom(7));
  assertMatch(header, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  assertEquals(header.length, 55);
  assertEquals(receivedTraceId(header), traceId);
});

Deno.test("newTraceParent() draws a new id each time", () => {
  const random = new SeededRandom(7);
  assertEquals(newTraceParent(random).traceId === newTraceParent(random).traceId, false);
});

Deno.test("newTraceParent() keeps leading zeros", () => {
  const { header } = newTraceParent({ uint32: () => 1 });
  assertEquals(header, "00-00000001000000010000000100000001-0000000100000001-00");
});

Deno.test.each([
  { name: "its form", value: `00-${ID}-b7ad6b7169203331-01`, expected: ID },
  { name: "upper case", value: `00-${ID.toUpperCase()}-B7AD6B7169203331-01`, expected: ID },
  { name: "55 characters without dashes", value: "0".repeat(55), expected: null },
  { name: "54 characters", value: `00-${ID}-b7ad6b716920333-01`, expected: null },
  { name: "56 characters", value: `00-${ID}-b7ad6b7169203331-011`, expected: null },
  { name: "dashes elsewhere", value: `0-0${ID}-b7ad6b7169203331-01`, expected: null },
  {
    name: "letters beyond f",
    value: `00-${ID.replace("0af", "xyz")}-b7ad6b7169203331-01`,
    expected: null,
  },
  { name: "nothing", value: "", expected: null },
  { name: "no header", value: null, expected: null },
])("receivedTraceId() judges $name", ({ value, expected }) => {
  assertEquals(receivedTraceId(value), expected);
});
