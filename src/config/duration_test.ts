// Tests of duration.ts (spec/config-and-observability §2.1).
import { assertEquals } from "@std/assert";
import { DURATION_CHARS_MAX, DURATION_MS_MAX, parseDuration } from "./duration.ts";

Deno.test.each([
  { text: "90", ms: 90_000 },
  { text: "0", ms: 0 },
  { text: "1m30s", ms: 90_000 },
  { text: "1m 30s", ms: 90_000 },
  { text: " 1 m ", ms: 60_000 },
  { text: "1m+30s+500ms", ms: 90_500 },
  { text: "1h*2", ms: 7_200_000 },
  { text: "2*1h*3", ms: 21_600_000 },
  { text: "1500ms", ms: 1_500 },
  { text: "1500us", ms: 1.5 },
  { text: "1µs", ms: 0.001 },
  { text: "1ns", ms: 0.000001 },
  { text: "1Day", ms: 86_400_000 },
  { text: "2W", ms: 14 * 86_400_000 },
  { text: "1mon", ms: 30 * 86_400_000 },
  { text: "1y", ms: 365 * 86_400_000 },
  { text: "1HR1MINUTE1second", ms: 3_661_000 },
])("parseDuration() of %j", ({ text, ms }) => {
  assertEquals(parseDuration(text), ms);
});

Deno.test.each([
  "",
  " ",
  "s",
  "-1s",
  "1.5s",
  "1fortnight",
  "1s+",
  "1s+2*3",
  "*2",
  "1 s s",
  "0x10",
  "99999999999999999999y",
])("parseDuration() refuses %j", (text) => {
  assertEquals(parseDuration(text), null);
});

Deno.test("parseDuration() goes up to DURATION_MS_MAX", () => {
  assertEquals(parseDuration(`${DURATION_MS_MAX - 1}ms`), DURATION_MS_MAX - 1);
  assertEquals(parseDuration(`${DURATION_MS_MAX}ms`), DURATION_MS_MAX);
  assertEquals(parseDuration(`${DURATION_MS_MAX + 1}ms`), null);
});

Deno.test("parseDuration() takes texts of DURATION_CHARS_MAX", () => {
  const padded = (length: number) => "1s".padStart(length, "0");
  assertEquals(parseDuration(padded(DURATION_CHARS_MAX - 1)), 1_000);
  assertEquals(parseDuration(padded(DURATION_CHARS_MAX)), 1_000);
  assertEquals(parseDuration(padded(DURATION_CHARS_MAX + 1)), null);
});
