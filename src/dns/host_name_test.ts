// Tests of host_name.ts.
import { assertEquals } from "@std/assert";
import {
  isUnder,
  LABEL_OCTETS_MAX,
  NAME_OCTETS_MAX,
  namesToAsk,
  parseHostName,
} from "./host_name.ts";

Deno.test.each([
  { text: "Ext.Example", name: "ext.example" },
  { text: "ext.example.", name: "ext.example" },
  { text: "_sip._tcp.x-y.z9", name: "_sip._tcp.x-y.z9" },
  { text: "", name: null },
  { text: ".", name: null },
  { text: "a..b", name: null },
  { text: "-a.b", name: null },
  { text: "a b", name: null },
  { text: "a/b", name: null },
  { text: "bücher.example", name: null },
  { text: "*.example", name: null },
  { text: `${"a".repeat(LABEL_OCTETS_MAX)}.b`, name: `${"a".repeat(LABEL_OCTETS_MAX)}.b` },
  { text: `${"a".repeat(LABEL_OCTETS_MAX + 1)}.b`, name: null },
])("parseHostName($text)", ({ text, name }) => {
  assertEquals(parseHostName(text), name);
});

Deno.test("parseHostName() takes names of NAME_OCTETS_MAX", () => {
  const labels = `${"a".repeat(49)}.`.repeat(5); // 250 characters
  const longest = labels + "b".repeat(NAME_OCTETS_MAX - 2 - 250);
  assertEquals(parseHostName(longest), longest);
  assertEquals(parseHostName(`${longest}b`), null);
});

Deno.test.each([
  { name: "one", isWhole: false, ndots: 1, names: ["one.a.b", "one.c", "one"] },
  { name: "one.two", isWhole: false, ndots: 1, names: ["one.two", "one.two.a.b", "one.two.c"] },
  { name: "one.two", isWhole: false, ndots: 2, names: ["one.two.a.b", "one.two.c", "one.two"] },
  { name: "one", isWhole: false, ndots: 0, names: ["one", "one.a.b", "one.c"] },
  { name: "one", isWhole: true, ndots: 5, names: ["one"] },
])("namesToAsk($name, whole $isWhole, ndots $ndots)", ({ name, isWhole, ndots, names }) => {
  assertEquals(namesToAsk(name, { isWhole, config: { ndots, search: ["a.b", "c"] } }), names);
});

Deno.test("namesToAsk() asks for nothing twice and nothing too long", () => {
  const config = { ndots: 1, search: ["", "a".repeat(60)] };
  assertEquals(
    namesToAsk("one", { isWhole: false, config }),
    ["one.".padEnd(64, "a"), "one"].toReversed(),
  );
  const long = `${"x".repeat(50)}.`.repeat(4) + "y";
  assertEquals(namesToAsk(long, { isWhole: false, config }), [long]);
});

Deno.test("isUnder() looks at whole labels", () => {
  assertEquals(isUnder("localhost", "localhost"), true);
  assertEquals(isUnder("a.localhost", "localhost"), true);
  assertEquals(isUnder("notlocalhost", "localhost"), false);
});
