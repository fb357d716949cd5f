// Tests of env_reader.ts: the value grammar and its words (spec/config-and-observability §2.1).
import { assertEquals, assertThrows } from "@std/assert";
import { EnvReader, U16_LIMIT, U64_LIMIT } from "./env_reader.ts";
import { ConfigError } from "./errors.ts";

const reader = (value?: string) => new EnvReader((name) => name === "X" ? value : undefined);

function refusal(read: () => unknown): string {
  const error = assertThrows(read, ConfigError);
  assertEquals(error.code, "CONFIG_INVALID");
  return error.message;
}

Deno.test("EnvReader.boolean() takes true and false and nothing else", () => {
  assertEquals(reader().boolean("X", true), true);
  assertEquals(reader().boolean("X", null), null);
  assertEquals(reader("true").boolean("X", false), true);
  assertEquals(reader("false").boolean("X", true), false);
  for (const value of ["", "1", "True", "TRUE", " true", "yes"]) {
    assertEquals(
      refusal(() => reader(value).boolean("X", true)),
      `invalid env var X=${value} (provided string was not \`true\` or \`false\`)`,
    );
  }
});

Deno.test.each([
  { value: "0", expected: 0 },
  { value: "65535", expected: 65_535 },
  { value: "+7", expected: 7 },
  { value: "007", expected: 7 },
  { value: "", expected: "cannot parse integer from empty string" },
  { value: "-1", expected: "invalid digit found in string" },
  { value: " 1", expected: "invalid digit found in string" },
  { value: "+", expected: "invalid digit found in string" },
  { value: "1.0", expected: "invalid digit found in string" },
  { value: "0x10", expected: "invalid digit found in string" },
  { value: "65536", expected: "number too large to fit in target type" },
])("EnvReader.integer() of %j", ({ value, expected }) => {
  const read = () => reader(value).integer("X", 9, { max: U16_LIMIT });
  if (typeof expected === "number") assertEquals(read(), expected);
  else assertEquals(refusal(read), `invalid env var X=${value} (${expected})`);
});

Deno.test("EnvReader.integer() keeps what makes sense", () => {
  const range = { max: U64_LIMIT, least: 2, most: 4 };
  assertEquals(reader().integer("X", 9, range), 9);
  assertEquals([2, 3, 4].map((value) => reader(`${value}`).integer("X", 9, range)), [2, 3, 4]);
  const read = (value: string) => () => reader(value).integer("X", 9, range);
  assertEquals(refusal(read("1")), "invalid env var X=1 (must be at least 2)");
  assertEquals(refusal(read("5")), "invalid env var X=5 (must be at most 4)");
});

Deno.test("EnvReader.durationMs() takes durations, and nothing is none", () => {
  assertEquals(reader("1m").durationMs("X", 5), 60_000);
  assertEquals(reader().durationMs("X", 5), 5);
  assertEquals(
    refusal(() => reader("").durationMs("X", 5)),
    "invalid env var X= (expected a duration such as 30s, 1m30s or 500ms)",
  );
});

Deno.test("EnvReader.choice() names the words it takes", () => {
  assertEquals(reader("b").choice("X", ["a", "b"], "a"), "b");
  assertEquals(reader().choice("X", ["a", "b"], "a"), "a");
  assertEquals(
    refusal(() => reader("c").choice("X", ["a", "b"], "a")),
    "invalid env var X=c (X must be one of a, b)",
  );
});

Deno.test("EnvReader.exactlyTrue() is never an error", () => {
  assertEquals(["true", "True", "1", ""].map((value) => reader(value).exactlyTrue("X")), [
    true,
    false,
    false,
    false,
  ]);
});

Deno.test("EnvReader.text() tells nothing from unset", () => {
  assertEquals(reader("").text("X"), "");
  assertEquals(reader().text("X"), null);
});
