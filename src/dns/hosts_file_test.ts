// Tests of hosts_file.ts.
import { assertEquals } from "@std/assert";
import { HOSTS_CHARACTERS_MAX, parseHosts } from "./hosts_file.ts";

Deno.test("parseHosts() reads names and aliases, case and comments aside", () => {
  const hosts = parseHosts(
    "127.0.0.1\tlocalhost\n::1 localhost ip6-localhost # not.this\n#10.9.9.9 hidden\n" +
      "10.0.0.1 Db.Example db\n10.0.0.2 db.example.\n10.0.0.1 db.example\nnonsense x\n10.0.0.3\n",
  );
  assertEquals([...hosts], [
    ["localhost", ["127.0.0.1", "::1"]],
    ["ip6-localhost", ["::1"]],
    ["db.example", ["10.0.0.1", "10.0.0.2"]],
    ["db", ["10.0.0.1"]],
  ]);
});

Deno.test("parseHosts() reads HOSTS_CHARACTERS_MAX and no half line beyond", () => {
  const line = "10.0.0.1 a.test\n";
  const filler = "#".repeat(HOSTS_CHARACTERS_MAX - line.length - 1) + "\n";
  assertEquals([...parseHosts(filler + line).keys()], ["a.test"]);
  assertEquals([...parseHosts(filler + "#\n" + line).keys()], []);
  assertEquals([...parseHosts(line + filler + line).keys()], ["a.test"]);
});
