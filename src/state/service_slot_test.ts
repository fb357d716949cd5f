// Tests of service_slot.ts: who is in a list, and where a network is filed. The choice itself: mesh_state_test.ts.
import { assertEquals, assertStrictEquals } from "@std/assert";
import { addressWords, parseCidr } from "../rbac/cidr.ts";
import { service } from "./resource_samples.ts";
import {
  cidrKey,
  cidrPlaces,
  NAMES_TOLD_MAX,
  ServiceSlot,
  type SlotList,
  SUBJECT_ALT_NAMES_MAX,
  withoutSlot,
  withSlot,
} from "./service_slot.ts";

function slot(namespace: string, hostname: string): ServiceSlot {
  return new ServiceSlot(service({ namespace, hostname }), {
    warn: () => {},
    before: null,
  });
}

Deno.test("A list has of each namespace the youngest service, in the place of the oldest", () => {
  const [a, b, c] = [slot("x", "a"), slot("y", "b"), slot("x", "c")];
  let list: SlotList | null = withSlot(withSlot(withSlot(undefined, a), b), c);
  assertEquals(list.winners.map(({ key }) => key), ["x/c", "y/b"]);
  assertEquals(list.all.map(({ key }) => key), ["x/a", "y/b", "x/c"]);
  list = withoutSlot(list, a)!;
  assertEquals(list.winners.map(({ key }) => key), ["y/b", "x/c"]);
  list = withoutSlot(withoutSlot(list, b)!, c);
  assertEquals(list, null);
});

Deno.test.each([
  { cidr: "10.1.2.3/24", address: "10.1.2.200", expected: true },
  { cidr: "10.1.2.3/24", address: "10.1.3.3", expected: false },
  { cidr: "0.0.0.0/0", address: "255.255.255.255", expected: true },
  { cidr: "10.0.0.1/32", address: "10.0.0.1", expected: true },
  { cidr: "10.0.0.1/32", address: "10.0.0.0", expected: false },
  { cidr: "fd00::/64", address: "fd00::1:2:3", expected: true },
  { cidr: "fd00::/64", address: "fd00:0:0:1::", expected: false },
  { cidr: "fd00::1/128", address: "fd00::1", expected: true },
  { cidr: "::/0", address: "10.0.0.1", expected: false },
])("cidrKey() of $address is that of $cidr: $expected", ({ cidr, address, expected }) => {
  const [place] = cidrPlaces([{ network: "n", cidr: parseCidr(cidr)! }]);
  const { prefixBits, key } = place!;
  assertEquals(cidrKey("n", addressWords(address), prefixBits) === key, expected);
});

Deno.test("ServiceSlot keeps the facts of the one before while they say the same", () => {
  const [before] = [slot("ns", "h")];
  const again = service({ namespace: "ns", hostname: "h", canonical: true });
  const after = new ServiceSlot(again, { warn: () => {}, before });
  assertStrictEquals(after.facts, before.facts);
  const renamed = new ServiceSlot({ ...again, name: "other" }, { warn: () => {}, before });
  assertEquals(renamed.facts, { hostname: "h", name: "other", namespace: "ns" });
});

function namesOf(subjectAltNames: readonly string[]): { names: number; warnings: string[] } {
  const warnings: string[] = [];
  const warn = (line: string) => void warnings.push(line);
  const one = new ServiceSlot(service({ subjectAltNames }), { warn, before: null });
  return { names: one.names.length, warnings };
}

Deno.test.each([
  {
    name: "just under",
    count: SUBJECT_ALT_NAMES_MAX - 1,
    names: SUBJECT_ALT_NAMES_MAX - 1,
    ignored: 0,
  },
  { name: "at", count: SUBJECT_ALT_NAMES_MAX, names: SUBJECT_ALT_NAMES_MAX, ignored: 0 },
  { name: "just over", count: SUBJECT_ALT_NAMES_MAX + 1, names: SUBJECT_ALT_NAMES_MAX, ignored: 1 },
])(
  "ServiceSlot looks at no more names than SUBJECT_ALT_NAMES_MAX: $name",
  ({ count, names, ignored }) => {
    const found = namesOf(Array.from({ length: count }, (_, at) => `spiffe://td/ns/ns/sa/a${at}`));
    const line = `ignoring ${ignored} more subject alternative names of service ns/s.example`;
    assertEquals(found, { names, warnings: ignored === 0 ? [] : [line] });
  },
);

Deno.test.each([
  { name: "just under", bad: NAMES_TOLD_MAX - 1, lines: NAMES_TOLD_MAX - 1 },
  { name: "at", bad: NAMES_TOLD_MAX, lines: NAMES_TOLD_MAX },
  { name: "just over", bad: NAMES_TOLD_MAX + 1, lines: NAMES_TOLD_MAX + 1 },
  { name: "far over", bad: SUBJECT_ALT_NAMES_MAX * 3, lines: NAMES_TOLD_MAX + 1 },
])("ServiceSlot tells of NAMES_TOLD_MAX bad names, and how many more: $name", ({ bad, lines }) => {
  const { names, warnings } = namesOf(Array.from({ length: bad }, (_, at) => `bad${at}`));
  assertEquals([names, warnings.length], [0, lines]);
  if (lines <= NAMES_TOLD_MAX) return;
  const more = `ignoring ${
    bad - NAMES_TOLD_MAX
  } more subject alternative names of service ns/s.example`;
  assertEquals(warnings.at(-1), more);
});
