// Does a policy match a connection? Policies are compiled once and kept beside the value they came from.
import type { SpiffeId } from "../tls/spiffe_id.ts";
import {
  type AddressWords,
  addressWords,
  compileCidr,
  matchesNetwork,
  type Network,
} from "./cidr.ts";
import type {
  Policy,
  PolicyInput,
  PolicyMatch,
  ServiceAccountMatch,
  StringMatch,
} from "./policy.ts";

/** A connection prepared once for all the policies it is judged by. */
export interface Subject {
  readonly identity: SpiffeId | null;
  /** The identity without `spiffe://`; null without one. */
  readonly principal: string | null;
  readonly source: AddressWords;
  readonly destination: AddressWords;
  readonly destinationPort: number;
}

/** Prepares a connection for {@link matchesPolicy}. */
export function subjectOf(input: PolicyInput): Subject {
  const { identity } = input;
  return {
    identity,
    principal: identity === null ? null : identity.uri.slice("spiffe://".length),
    source: addressWords(input.sourceIp),
    destination: addressWords(input.destinationIp),
    destinationPort: input.destinationPort,
  };
}

/** One set field of a match. */
type Test = (subject: Subject) => boolean;
/** All tests of a match hold; null: a match without any field, which never counts. */
type Match = readonly Test[] | null;
/** rules → clauses → matches. */
type Rules = readonly (readonly (readonly Match[])[])[];

const compiled = new WeakMap<Policy, Rules>();

/**
 * True if any rule matches; a rule matches if all its clauses do; a clause if it is empty or any of its
 * matches does (spec/data-path §4.4). The first call for a policy compiles it.
 */
export function matchesPolicy(policy: Policy, subject: Subject): boolean {
  let rules = compiled.get(policy);
  if (rules === undefined) {
    rules = policy.rules.map((rule) => rule.map((clause) => clause.map(compileMatch)));
    compiled.set(policy, rules);
  }
  for (const rule of rules) if (matchesRule(rule, subject)) return true;
  return false;
}

function matchesRule(rule: readonly (readonly Match[])[], subject: Subject): boolean {
  for (const clause of rule) if (!matchesClause(clause, subject)) return false;
  return true;
}

function matchesClause(clause: readonly Match[], subject: Subject): boolean {
  if (clause.length === 0) return true;
  for (const match of clause) if (match !== null && holds(match, subject)) return true;
  return false;
}

function holds(match: readonly Test[], subject: Subject): boolean {
  for (const test of match) if (!test(subject)) return false;
  return true;
}

function compileMatch(match: PolicyMatch): Match {
  const tests: Test[] = [];
  // Cheapest first; which one refuses is not visible.
  const port = anyPort(match.destinationPorts);
  const notPort = anyPort(match.notDestinationPorts);
  if (port !== null) tests.push((subject) => port.has(subject.destinationPort));
  if (notPort !== null) tests.push((subject) => !notPort.has(subject.destinationPort));
  addPair(tests, match.namespaces, match.notNamespaces, anyNamespace);
  addPair(tests, match.principals, match.notPrincipals, anyPrincipal);
  addPair(tests, match.serviceAccounts, match.notServiceAccounts, anyServiceAccount);
  const networks = (cidrs: PolicyMatch["sourceIps"]) => cidrs.map(compileCidr);
  addPair(tests, networks(match.sourceIps), networks(match.notSourceIps), anySource);
  addPair(tests, networks(match.destinationIps), networks(match.notDestinationIps), anyDestination);
  return tests.length === 0 ? null : tests;
}

/** Adds a field's positive and negative test, where the lists are set. */
function addPair<Element>(
  tests: Test[],
  positive: readonly Element[],
  negative: readonly Element[],
  any: (elements: readonly Element[], subject: Subject) => boolean,
): void {
  if (positive.length > 0) tests.push((subject) => any(positive, subject));
  if (negative.length > 0) tests.push((subject) => !any(negative, subject));
}

/** Ports are cut to 16 bits, as wherever they arrive (spec/data-path §4.4). */
function anyPort(ports: readonly number[]): ReadonlySet<number> | null {
  return ports.length === 0 ? null : new Set(ports.map((port) => port & 0xffff));
}

function anyNamespace(patterns: readonly StringMatch[], { identity }: Subject): boolean {
  return anyString(patterns, identity === null ? "" : identity.namespace);
}

function anyPrincipal(patterns: readonly StringMatch[], { principal }: Subject): boolean {
  return principal !== null && anyString(patterns, principal);
}

function anyServiceAccount(
  accounts: readonly ServiceAccountMatch[],
  { identity }: Subject,
): boolean {
  if (identity === null) return false;
  for (const account of accounts) {
    if (
      account.namespace === identity.namespace && account.serviceAccount === identity.serviceAccount
    ) return true;
  }
  return false;
}

function anySource(networks: readonly Network[], { source }: Subject): boolean {
  for (const network of networks) if (matchesNetwork(network, source)) return true;
  return false;
}

function anyDestination(networks: readonly Network[], { destination }: Subject): boolean {
  for (const network of networks) if (matchesNetwork(network, destination)) return true;
  return false;
}

function anyString(patterns: readonly StringMatch[], text: string): boolean {
  for (const pattern of patterns) if (matchesString(pattern, text)) return true;
  return false;
}

/** One string pattern against a text; case counts (spec/data-path §4.4). */
export function matchesString(pattern: StringMatch, text: string): boolean {
  switch (pattern.kind) {
    case "exact":
      return text === pattern.text;
    case "prefix":
      return text.startsWith(pattern.text);
    case "suffix":
      return text.endsWith(pattern.text);
    case "presence":
      return text !== "";
  }
}
