// Tests of judge.ts: spec/data-path §4.3, §4.6 and §4.8.
import { assertEquals, assertStrictEquals } from "@std/assert";
import { type SpiffeId, spiffeId } from "../tls/spiffe_id.ts";
import { DRY_RUN_LINES_MAX, judge, PolicyDeniedError, type Verdict } from "./judge.ts";
import type { Policy, PolicyInput, PolicyMatch } from "./policy.ts";

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

function policy(set: Partial<Policy>): Policy {
  return {
    name: "p",
    namespace: "ns1",
    scope: "Namespace",
    action: "Allow",
    dryRun: false,
    rules: [],
    ...set,
  };
}

function account(name: string, namespace = "default"): SpiffeId {
  return spiffeId({ trustDomain: "cluster.local", namespace, serviceAccount: name });
}

function from(identity: SpiffeId | null, port = 8080): PolicyInput {
  return { identity, sourceIp: "10.0.0.1", destinationIp: "10.0.0.2", destinationPort: port };
}

const allAccounts = (...names: string[]): Policy["rules"] => [[[fields({
  principals: names.map((name) => ({
    kind: "exact" as const,
    text: `cluster.local/ns/default/sa/${name}`,
  })),
})]]];
const EVERYTHING: Policy["rules"] = [[]];

const ALLOW = policy({ name: "allow", rules: allAccounts("defaultacct") });
const DENY = policy({ name: "deny", action: "Deny", rules: allAccounts("denyacct") });
const DRY_ALLOW = policy({
  name: "dry-run-allow",
  dryRun: true,
  rules: allAccounts("defaultacct"),
});
const DRY_DENY = policy({
  name: "dry-run-deny",
  action: "Deny",
  dryRun: true,
  rules: allAccounts("defaultacct", "denyacct"),
});

const text = (verdict: Verdict) => verdict.kind === "deny" ? verdict.text : "allow";

Deno.test.each([
  { name: "nothing applies", policies: [], source: "other", expected: "allow" },
  {
    name: "the allowed account",
    policies: [ALLOW, DENY],
    source: "defaultacct",
    expected: "allow",
  },
  {
    name: "neither allowed nor denied",
    policies: [ALLOW, DENY],
    source: "other",
    expected: "allow policies exist, but none allowed",
  },
  {
    name: "the denied account",
    policies: [ALLOW, DENY],
    source: "denyacct",
    expected: "explicitly denied by: ns1/deny",
  },
  {
    name: "deny wins over allow",
    policies: [policy({ rules: EVERYTHING }), DENY],
    source: "denyacct",
    expected: "explicitly denied by: ns1/deny",
  },
  { name: "only deny, not matching", policies: [DENY], source: "other", expected: "allow" },
  {
    name: "allow-nothing",
    policies: [policy({ rules: [] })],
    source: "other",
    expected: "allow policies exist, but none allowed",
  },
  {
    name: "deny without rules",
    policies: [policy({ action: "Deny", rules: [] })],
    source: "other",
    expected: "allow",
  },
  {
    name: "dry run changes nothing",
    policies: [
      policy({ dryRun: true, rules: EVERYTHING }),
      policy({ dryRun: true, action: "Deny", rules: EVERYTHING }),
      ALLOW,
    ],
    source: "other",
    expected: "allow policies exist, but none allowed",
  },
  { name: "only a dry-run allow", policies: [DRY_ALLOW], source: "other", expected: "allow" },
])("judge() $name", ({ policies, source, expected }) => {
  assertEquals(text(judge(policies, from(account(source)))), expected);
});

Deno.test("judge() gives the log lines in order of evaluation", () => {
  const policies = [ALLOW, DENY, DRY_ALLOW, DRY_DENY];
  const lines = (source: string) =>
    judge(policies, from(account(source))).lines.map(({ message, policy }) => [message, policy]);
  assertEquals(lines("defaultacct"), [
    ["dry-run: deny policy match", "ns1/dry-run-deny"],
    ["dry-run: allow policy match", "ns1/dry-run-allow"],
    ["allow policy match", "ns1/allow"],
  ]);
  assertEquals(lines("denyacct"), [
    ["dry-run: deny policy match", "ns1/dry-run-deny"],
    ["deny policy match", "ns1/deny"],
  ]);
  assertEquals(lines("other"), [["no allow policies matched", null]]);
});

Deno.test("judge() says that no dry-run policy would allow", () => {
  assertEquals(judge([DRY_ALLOW], from(account("other"))).lines, [
    { message: "dry-run: no allow policies match", policy: null },
    { message: "no allow policies, allow", policy: null },
  ]);
  assertEquals(judge([DRY_ALLOW, ALLOW], from(account("other"))).lines, [
    { message: "no allow policies matched", policy: null },
  ]);
  assertEquals(judge([], from(null)).lines, [{
    message: "no allow policies, allow",
    policy: null,
  }]);
});

Deno.test("judge() names the policy that decided", () => {
  assertEquals(judge([ALLOW], from(account("defaultacct"))).policy, "ns1/allow");
  assertEquals(judge([DENY], from(account("denyacct"))).policy, "ns1/deny");
  assertEquals(judge([ALLOW], from(account("other"))).policy, null);
});

Deno.test.each([DRY_RUN_LINES_MAX - 1, DRY_RUN_LINES_MAX, DRY_RUN_LINES_MAX + 1])(
  "judge() names at most DRY_RUN_LINES_MAX dry-run policies, of %d",
  (count) => {
    const policies = Array.from(
      { length: count },
      (_, index) => policy({ name: `p${index}`, dryRun: true, action: "Deny", rules: EVERYTHING }),
    );
    const { kind, lines } = judge(policies, from(null));
    assertEquals(kind, "allow");
    assertEquals(lines.length, Math.min(count, DRY_RUN_LINES_MAX) + 1);
  },
);

// What istiod makes of PeerAuthentication (spec/data-path §4.8).
const noPrincipal = fields({ notPrincipals: [{ kind: "presence" }] });
const STRICT = policy({ name: "strict", action: "Deny", rules: [[[noPrincipal]]] });
const STRICT_BUT_9090 = policy({
  name: "strict-but",
  action: "Deny",
  rules: [[[noPrincipal], [fields({ notDestinationPorts: [9090] })]]],
});
const ONLY_9090_STRICT = policy({
  name: "only",
  action: "Deny",
  rules: [[[{ ...noPrincipal, destinationPorts: [9090] }]]],
});
const ALLOW_NS_A = policy({
  name: "a",
  rules: [[[fields({ namespaces: [{ kind: "exact", text: "a" }] })]]],
});

Deno.test.each([
  {
    name: "static strict",
    policies: [STRICT],
    plain8080: "deny",
    plain9090: "deny",
    a: "allow",
    b: "allow",
  },
  {
    name: "strict, 9090 permissive",
    policies: [STRICT_BUT_9090],
    plain8080: "deny",
    plain9090: "allow",
    a: "allow",
    b: "allow",
  },
  {
    name: "permissive, 9090 strict",
    policies: [ONLY_9090_STRICT],
    plain8080: "allow",
    plain9090: "deny",
    a: "allow",
    b: "allow",
  },
  {
    name: "static strict and allow a",
    policies: [STRICT, ALLOW_NS_A],
    plain8080: "deny",
    plain9090: "deny",
    a: "allow",
    b: "deny",
  },
])("judge() $name", ({ policies, plain8080, plain9090, a, b }) => {
  assertEquals(judge(policies, from(null, 8080)).kind, plain8080);
  assertEquals(judge(policies, from(null, 9090)).kind, plain9090);
  for (const port of [8080, 9090]) {
    assertEquals(judge(policies, from(account("x", "a"), port)).kind, a);
    assertEquals(judge(policies, from(account("x", "b"), port)).kind, b);
  }
});

Deno.test("PolicyDeniedError carries the access log's words", () => {
  const verdict = judge([DENY], from(account("denyacct")));
  const error = new PolicyDeniedError(text(verdict));
  assertStrictEquals(error.code, "POLICY_DENIED");
  assertStrictEquals(
    error.message,
    "connection closed due to policy rejection: explicitly denied by: ns1/deny",
  );
});
