import { assertEquals, assertThrows } from "@std/assert";
import { H2ConnectionError } from "./errors.ts";
import { HEADER_EXCESS_FACTOR, HEADER_FIELDS_MAX, HeaderCollector } from "./header_collector.ts";

/** A collector that was given `count` fields of `bytes` each. */
function collected(count: number, bytes: number): HeaderCollector {
  const collector = new HeaderCollector(10_000);
  for (let i = 0; i < count; i++) collector.onHeader(`n${i}`, "v", bytes);
  return collector;
}

Deno.test.each([
  { count: HEADER_FIELDS_MAX - 1, bytes: 35, over: false },
  { count: HEADER_FIELDS_MAX, bytes: 35, over: false },
  { count: HEADER_FIELDS_MAX + 1, bytes: 35, over: true },
  { count: 1, bytes: 9_999, over: false },
  { count: 1, bytes: 10_000, over: false },
  { count: 1, bytes: 10_001, over: true },
])(
  "HeaderCollector with $count fields of $bytes bytes is over: $over",
  ({ count, bytes, over }) => {
    const collector = collected(count, bytes);
    assertEquals([collector.isOver, collector.take().length], [over, over ? 0 : count]);
  },
);

Deno.test.each([
  { count: HEADER_FIELDS_MAX * HEADER_EXCESS_FACTOR, bytes: 35, fatal: false },
  { count: HEADER_FIELDS_MAX * HEADER_EXCESS_FACTOR + 1, bytes: 35, fatal: true },
  { count: 1, bytes: 40_000, fatal: false },
  { count: 1, bytes: 40_001, fatal: true },
])("HeaderCollector ends the connection at $count × $bytes bytes: $fatal", (row) => {
  if (row.fatal) {
    const error = assertThrows(() => collected(row.count, row.bytes), H2ConnectionError);
    assertEquals(error.code, "ENHANCE_YOUR_CALM");
  } else {
    assertEquals(collected(row.count, row.bytes).isOver, true);
  }
});

Deno.test("HeaderCollector is empty again after take()", () => {
  const collector = collected(101, 35);
  collector.take();
  collector.onHeader("a", "b", 34);
  assertEquals([collector.isOver, collector.take()], [false, [{ name: "a", value: "b" }]]);
});
