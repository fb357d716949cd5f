// Where the tests of this folder cannot run they say so; only one variable skips them, and by name.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { WITHOUT_CAPABILITY } from "./captured_mesh.ts";
import { namespaceTest } from "./environment.ts";

const RULES_TEST = new URL("rules_test.ts", import.meta.url).pathname;

namespaceTest(
  "requireNamespaces() fails every test with one sentence where it may not",
  async () => {
    const { code, text } = await testRules({ launcher: [...WITHOUT_CAPABILITY, "--"], env: {} });
    assertEquals(code, 1);
    assertStringIncludes(text, "| 0 passed | 4 failed");
    assertStringIncludes(
      text,
      "Cannot make network namespaces: unshare: unshare failed: Operation not permitted; run as root with",
    );
  },
);

namespaceTest("NAMESPACE_TESTS=skip names every test it skips", async () => {
  const { code, text } = await testRules({ launcher: [], env: { NAMESPACE_TESTS: "skip" } });
  assertEquals(code, 0);
  assertStringIncludes(text, "| 0 passed | 0 failed | 4 ignored");
  assertEquals(text.match(/^NAMESPACE_TESTS=skip: (REDIRECT|TPROXY) .+/gm)?.length, 4);
});

async function testRules(
  { launcher, env }: {
    readonly launcher: readonly string[];
    readonly env: Readonly<Record<string, string>>;
  },
): Promise<{ code: number; text: string }> {
  const [program, ...args] = [...launcher, Deno.execPath(), "test", "-A", RULES_TEST];
  const { code, stdout, stderr } = await new Deno.Command(program!, {
    args,
    env: { ...env, NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}
