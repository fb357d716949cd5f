// Whoever changes a message and forgets the code is told so.
import { assertEquals } from "@std/assert";
import { generate, readGenerated, staleness } from "./generate.ts";

const FRESH = new Map([["messages.js", "code"], ["messages.d.ts", "types"]]);

Deno.test.each([
  {
    name: "is null when nothing differs",
    found: { "messages.js": "code", "messages.d.ts": "types" },
    expected: null,
  },
  {
    name: "names a file that differs by one character",
    found: { "messages.js": "Code", "messages.d.ts": "types" },
    expected:
      "src/proto/messages.js is stale: proto/*.proto or the generator changed; run `deno task proto`",
  },
  {
    name: "names a file that is missing beside one that differs",
    found: { "messages.js": "" },
    expected:
      "src/proto/messages.js and src/proto/messages.d.ts are stale: proto/*.proto or the generator changed; " +
      "run `deno task proto`",
  },
])("staleness() $name", ({ found, expected }) => {
  const files = new Map<string, string>(Object.entries(found));
  assertEquals(staleness(FRESH, (name) => files.get(name) ?? null), expected);
});

Deno.test("generate() gives what lies in src/proto/, the same each time", async () => {
  const generated = await generate();
  assertEquals([...generated.keys()], ["messages.js", "messages.d.ts"]);
  assertEquals(staleness(generated, readGenerated), null);
  assertEquals(await generate(), generated);
});

Deno.test("readGenerated() is null where there is no file", () => {
  assertEquals(readGenerated("no such file.js"), null);
});
