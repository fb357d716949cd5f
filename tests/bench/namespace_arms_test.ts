import { assertEquals, assertRejects } from "@std/assert";
import { originalAt, parseOriginalVersion } from "./namespace_arms.ts";
import { isStale } from "./namespace_pair.ts";
import { ToolError } from "./processes.ts";

Deno.test.each([
  {
    name: "reads what the original says",
    text: 'version.BuildInfo{Version:"v", GitRevision:"62d8", CryptoProvider:"tls-aws-lc"}\n',
    expected: { revision: "62d8", crypto: "tls-aws-lc" },
  },
  {
    name: "does without a field that older ones lack",
    text: 'version.BuildInfo{Version:"v", GitRevision:"62d8"}\n',
    expected: { revision: "62d8", crypto: "unknown TLS" },
  },
  { name: "is null of another program's version", text: "curl 8.1\n", expected: null },
])("parseOriginalVersion() $name", ({ text, expected }) => {
  assertEquals(parseOriginalVersion(text), expected);
});

Deno.test.each([
  {
    name: "a program that prints no version",
    path: "/bin/true",
    says: "printed no build information",
  },
  { name: "a program that fails", path: "/bin/false", says: "ended with 1" },
  { name: "no program", path: "/nonexistent/ztunnel", says: "it is not installed" },
])("originalAt() refuses $name", async ({ path, says }) => {
  await assertRejects(() => originalAt(path), ToolError, says);
});

Deno.test("isStale() tells a running process from one that is gone", async () => {
  const child = new Deno.Command("/bin/true").spawn();
  await child.status;
  assertEquals([isStale(Deno.pid), isStale(child.pid)], [false, true]);
});
