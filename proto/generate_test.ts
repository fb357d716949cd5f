// Whoever changes a message and forgets the code is told so.
import { assertEquals } from "@std/assert";
import { staleness } from "./staleness.ts";

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

/** Runs the generator as the tasks do: with its own lock file, which must already name all it needs. */
async function runGenerator(...args: readonly string[]): Promise<{ code: number; said: string }> {
  const here = (name: string) => new URL(name, import.meta.url).pathname;
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      "--no-config",
      `--lock=${here("deno.lock")}`,
      "--frozen",
      here("generate.ts"),
      ...args,
    ],
    env: { NO_COLOR: "1" },
  });
  const { code, stderr } = await command.output();
  return { code, said: new TextDecoder().decode(stderr).trim() };
}

Deno.test("generate.ts --check finds src/proto/ fresh", async () => {
  assertEquals(await runGenerator("--check"), { code: 0, said: "" });
});

Deno.test("generate.ts writes the same each time, and --check notices a changed byte", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const first = await runGenerator(`${folder}/`);
    assertEquals(first, { code: 0, said: "" });
    assertEquals(await runGenerator("--check", `${folder}/`), { code: 0, said: "" });
    const types = `${folder}/messages.d.ts`;
    const text = await Deno.readTextFile(types);
    await Deno.writeTextFile(types, text.replace("readonly uid: string", "readonly uid: number"));
    assertEquals(await runGenerator("--check", `${folder}/`), {
      code: 1,
      said:
        "src/proto/messages.d.ts is stale: proto/*.proto or the generator changed; run `deno task proto`",
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
