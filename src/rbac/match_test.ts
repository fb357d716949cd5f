// Tests of match.ts: the truth tables of spec/data-path §4.5.
import { assertEquals } from "@std/assert";
import { parseSpiffeId } from "../tls/spiffe_id.ts";
import { parseCidr } from "./cidr.ts";
import { matchesPolicy, matchesString, subjectOf } from "./match.ts";
import type { Cidr, Policy, PolicyInput, PolicyMatch, StringMatch } from "./policy.ts";

const PLAIN: PolicyInput = {
  identity: null,
  sourceIp: "10.1.0.1",
  destinationIp: "10.2.0.2",
  destinationPort: 8080,
};
const A: PolicyInput = { ...PLAIN, identity: parseSpiffeId("spiffe://cluster.local/ns/a/sa/web") };
const B: PolicyInput = {
  identity: parseSpiffeId("spiffe://other.td/ns/b/sa/db"),
  sourceIp: "10.1.0.3",
  destinationIp: "10.2.0.4",
  destinationPort: 9090,
};

const NOTHING_SET: PolicyMatch = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

const fields = (set: Partial<PolicyMatch>): PolicyMatch => ({ ...NOTHING_SET, ...set });
const exact = (text: string): StringMatch => ({ kind: "exact", text });
const prefix = (text: string): StringMatch => ({ kind: "prefix", text });
const suffix = (text: string): StringMatch => ({ kind: "suffix", text });
const presence: StringMatch = { kind: "presence" };
const cidr = (text: string): Cidr => parseCidr(text)!;

function policy(rules: Policy["rules"]): Policy {
  return { name: "p", namespace: "ns", scope: "Global", action: "Allow", dryRun: false, rules };
}

/** `TFT` for plaintext, A and B. */
function verdicts(rules: Policy["rules"]): string {
  const asked = policy(rules);
  return [PLAIN, A, B].map((input) => matchesPolicy(asked, subjectOf(input)) ? "T" : "F").join("");
}

const WEB = "cluster.local/ns/a/sa/web";

Deno.test.each<{ name: string; set: Partial<PolicyMatch>; expected: string }>([
  { name: "namespaces [Exact a]", set: { namespaces: [exact("a")] }, expected: "FTF" },
  { name: "not_namespaces [Exact a]", set: { notNamespaces: [exact("a")] }, expected: "TFT" },
  { name: "namespaces [Presence]", set: { namespaces: [presence] }, expected: "FTT" },
  { name: "not_namespaces [Presence]", set: { notNamespaces: [presence] }, expected: "TFF" },
  { name: "namespaces [Prefix '']", set: { namespaces: [prefix("")] }, expected: "TTT" },
  { name: "two namespaces", set: { namespaces: [exact("a"), exact("b")] }, expected: "FTT" },
  {
    name: "service_accounts [{a, web}]",
    set: { serviceAccounts: [{ namespace: "a", serviceAccount: "web" }] },
    expected: "FTF",
  },
  {
    name: "not_service_accounts [{a, web}]",
    set: { notServiceAccounts: [{ namespace: "a", serviceAccount: "web" }] },
    expected: "TFT",
  },
  { name: "principals [Exact]", set: { principals: [exact(WEB)] }, expected: "FTF" },
  {
    name: "principals [Exact with spiffe://]",
    set: { principals: [exact(`spiffe://${WEB}`)] },
    expected: "FFF",
  },
  { name: "not_principals [Exact]", set: { notPrincipals: [exact(WEB)] }, expected: "TFT" },
  { name: "principals [Presence]", set: { principals: [presence] }, expected: "FTT" },
  { name: "not_principals [Presence]", set: { notPrincipals: [presence] }, expected: "TFF" },
  { name: "principals [Prefix '']", set: { principals: [prefix("")] }, expected: "FTT" },
  {
    name: "principals [Prefix td/]",
    set: { principals: [prefix("cluster.local/")] },
    expected: "FTF",
  },
  { name: "principals [Suffix /sa/db]", set: { principals: [suffix("/sa/db")] }, expected: "FFT" },
  { name: "source_ips /32", set: { sourceIps: [cidr("10.1.0.1/32")] }, expected: "TTF" },
  { name: "not_source_ips /32", set: { notSourceIps: [cidr("10.1.0.1/32")] }, expected: "FFT" },
  { name: "source_ips with host bits", set: { sourceIps: [cidr("10.1.0.9/24")] }, expected: "TTT" },
  { name: "source_ips [::/0]", set: { sourceIps: [cidr("::/0")] }, expected: "FFF" },
  { name: "destination_ips /32", set: { destinationIps: [cidr("10.2.0.2/32")] }, expected: "TTF" },
  {
    name: "not_destination_ips /32",
    set: { notDestinationIps: [cidr("10.2.0.2/32")] },
    expected: "FFT",
  },
  { name: "destination_ports [8080]", set: { destinationPorts: [8080] }, expected: "TTF" },
  { name: "not_destination_ports [8080]", set: { notDestinationPorts: [8080] }, expected: "FFT" },
  { name: "destination_ports [73616]", set: { destinationPorts: [73616] }, expected: "TTF" },
  {
    name: "namespace and another port",
    set: { namespaces: [exact("a")], destinationPorts: [9090] },
    expected: "FFF",
  },
  {
    name: "namespace and its port",
    set: { namespaces: [exact("a")], destinationPorts: [8080] },
    expected: "FTF",
  },
  {
    name: "a list and its negation",
    set: { namespaces: [presence], notNamespaces: [exact("a")] },
    expected: "FFT",
  },
  {
    name: "no principal and a port",
    set: { notPrincipals: [presence], destinationPorts: [8080] },
    expected: "TFF",
  },
])("matchesPolicy() $name", ({ set, expected }) => {
  assertEquals(verdicts([[[fields(set)]]]), expected);
});

const NS_A = fields({ namespaces: [exact("a")] });
const NS_B = fields({ namespaces: [exact("b")] });
const PORT_8080 = fields({ destinationPorts: [8080] });
const PORT_9090 = fields({ destinationPorts: [9090] });

Deno.test.each<{ name: string; rules: Policy["rules"]; expected: string }>([
  { name: "rejects a policy without rules", rules: [], expected: "FFF" },
  { name: "accepts a rule without clauses", rules: [[]], expected: "TTT" },
  { name: "accepts a clause without matches", rules: [[[]]], expected: "TTT" },
  { name: "rejects a clause of empty matches", rules: [[[NOTHING_SET]]], expected: "FFF" },
  {
    name: "skips an empty match beside a set one",
    rules: [[[NOTHING_SET, NS_A]]],
    expected: "FTF",
  },
  { name: "needs every clause", rules: [[[NS_A], [PORT_8080]]], expected: "FTF" },
  { name: "needs one match of a clause", rules: [[[NS_A, NS_B], [PORT_9090]]], expected: "FFT" },
  { name: "needs one rule", rules: [[[NS_A]], [[PORT_9090]]], expected: "FTT" },
  {
    name: "rejects a rule with a clause of empty matches",
    rules: [[[NS_A], [NOTHING_SET]]],
    expected: "FFF",
  },
])("matchesPolicy() $name", ({ rules, expected }) => {
  assertEquals(verdicts(rules), expected);
});

Deno.test.each([
  { pattern: exact("foo"), yes: ["foo"], no: ["not", "", "FOO", "foo "] },
  { pattern: prefix("foo"), yes: ["foo", "foobar"], no: ["notfoo", ""] },
  { pattern: suffix("foo"), yes: ["foo", "barfoo"], no: ["foonot", ""] },
  { pattern: presence, yes: ["foo"], no: [""] },
])("matchesString() $pattern.kind", ({ pattern, yes, no }) => {
  for (const text of yes) assertEquals(matchesString(pattern, text), true, text);
  for (const text of no) assertEquals(matchesString(pattern, text), false, text);
});
