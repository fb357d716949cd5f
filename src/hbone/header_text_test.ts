import { assertEquals } from "@std/assert";
import { headerValue, isVisibleAscii } from "./header_text.ts";

Deno.test.each([
  { text: "", expected: true },
  { text: " ~\t", expected: true },
  { text: "\x1f", expected: false },
  { text: "\x7f", expected: false },
  { text: "é", expected: false },
  { text: "a\nb", expected: false },
])("isVisibleAscii() says $expected of $text", ({ text, expected }) => {
  assertEquals(isVisibleAscii(text), expected);
});

Deno.test("headerValue() gives the first of that name, or null", () => {
  const headers = [{ name: "a", value: "1" }, { name: "b", value: "2" }, { name: "b", value: "3" }];
  assertEquals(headerValue(headers, "b"), "2");
  assertEquals(headerValue(headers, "c"), null);
});
