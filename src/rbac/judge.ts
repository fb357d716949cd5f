// The verdict on a connection: which policies deny or allow it, and the words for the log. Pure.
import { ProxyError } from "../base/errors.ts";
import { matchesPolicy, type Subject, subjectOf } from "./match.ts";
import type { Policy, PolicyInput } from "./policy.ts";

/** Dry-run policies of one action named in a verdict's lines; further matching ones are left out. */
export const DRY_RUN_LINES_MAX = 64;

/** One line of the authorization log (spec/data-path §4.6). */
export interface DecisionLine {
  readonly message:
    | "dry-run: deny policy match"
    | "deny policy match"
    | "dry-run: allow policy match"
    | "dry-run: no allow policies match"
    | "no allow policies, allow"
    | "allow policy match"
    | "no allow policies matched";
  /** `namespace/name`, where one policy decided; else null. */
  readonly policy: string | null;
}

/** What follows for the connection, and how it came about. */
export type Verdict =
  | {
    readonly kind: "allow";
    /** The ALLOW policy that matched, `namespace/name`; null where there is none. */
    readonly policy: string | null;
    readonly lines: readonly DecisionLine[];
  }
  | {
    readonly kind: "deny";
    /** The DENY policy that matched; null where ALLOW policies exist and none matched. */
    readonly policy: string | null;
    /** `explicitly denied by: NAMESPACE/NAME`, or `allow policies exist, but none allowed`. */
    readonly text: string;
    readonly lines: readonly DecisionLine[];
  };

/** Policy refuses a connection. The message is the access log's `error` (spec/config-and-observability §7.6). */
export class PolicyDeniedError extends ProxyError {
  readonly code = "POLICY_DENIED";

  /** @param text {@link Verdict}'s text. */
  constructor(text: string) {
    super(`connection closed due to policy rejection: ${text}`);
  }
}

/** The policies that apply, by what they do. */
interface Sorted {
  readonly deny: readonly Policy[];
  readonly allow: readonly Policy[];
  readonly dryDeny: readonly Policy[];
  readonly dryAllow: readonly Policy[];
}

const sortedLists = new WeakMap<readonly Policy[], Sorted>();

const NO_POLICIES: Verdict = {
  kind: "allow",
  policy: null,
  lines: [{ message: "no allow policies, allow", policy: null }],
};

/**
 * Judges a connection by the policies that apply to its destination (spec/data-path §4.3): dry-run DENY,
 * DENY, dry-run ALLOW, ALLOW, in that order. The list and its policies are compiled at the first call
 * and must not change afterwards.
 */
export function judge(policies: readonly Policy[], input: PolicyInput): Verdict {
  if (policies.length === 0) return NO_POLICIES;
  const { deny, allow, dryDeny, dryAllow } = sort(policies);
  const subject = subjectOf(input);
  const lines: DecisionLine[] = [];

  addDryRun(lines, dryDeny, subject, "dry-run: deny policy match");
  const denied = firstMatch(deny, subject);
  if (denied !== null) {
    lines.push({ message: "deny policy match", policy: denied });
    return { kind: "deny", policy: denied, text: `explicitly denied by: ${denied}`, lines };
  }

  const dryAllowed = addDryRun(lines, dryAllow, subject, "dry-run: allow policy match");
  if (allow.length === 0) {
    if (dryAllow.length > 0 && !dryAllowed) {
      lines.push({ message: "dry-run: no allow policies match", policy: null });
    }
    lines.push({ message: "no allow policies, allow", policy: null });
    return { kind: "allow", policy: null, lines };
  }
  const allowed = firstMatch(allow, subject);
  if (allowed !== null) {
    lines.push({ message: "allow policy match", policy: allowed });
    return { kind: "allow", policy: allowed, lines };
  }
  lines.push({ message: "no allow policies matched", policy: null });
  return { kind: "deny", policy: null, text: "allow policies exist, but none allowed", lines };
}

function sort(policies: readonly Policy[]): Sorted {
  let sorted = sortedLists.get(policies);
  if (sorted === undefined) {
    const pick = (action: Policy["action"], dryRun: boolean) =>
      policies.filter((policy) => policy.action === action && policy.dryRun === dryRun);
    sorted = {
      deny: pick("Deny", false),
      allow: pick("Allow", false),
      dryDeny: pick("Deny", true),
      dryAllow: pick("Allow", true),
    };
    sortedLists.set(policies, sorted);
  }
  return sorted;
}

function firstMatch(policies: readonly Policy[], subject: Subject): string | null {
  for (const policy of policies) if (matchesPolicy(policy, subject)) return policyKey(policy);
  return null;
}

/** Names the dry-run policies that match; says whether any did. */
function addDryRun(
  lines: DecisionLine[],
  policies: readonly Policy[],
  subject: Subject,
  message: DecisionLine["message"],
): boolean {
  const before = lines.length;
  for (const policy of policies) {
    if (lines.length - before === DRY_RUN_LINES_MAX) break;
    if (matchesPolicy(policy, subject)) lines.push({ message, policy: policyKey(policy) });
  }
  return lines.length > before;
}

/** `namespace/name`: how logs name a policy, and how a workload lists one. */
export function policyKey(policy: Policy): string {
  return `${policy.namespace}/${policy.name}`;
}
