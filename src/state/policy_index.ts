// Policies by key and by namespace (spec/xds-state-and-dns §3.3, §3.6), and what applies to whom (spec/data-path §4.2).
import { assert } from "../base/assert.ts";
import type { Policy } from "../rbac/policy.ts";
import { policyDependency, policyNamespaceDependency } from "../seam/dependency.ts";
import type { PolicySelection } from "../seam/route.ts";
import type { AppliedPolicies } from "./mesh_view.ts";
import { type MapOwner, PersistentMap } from "./persistent_map.ts";
import type { Workload } from "./resources.ts";
import { isSameValue } from "./same_value.ts";
import type { Touched } from "./touched.ts";

interface PolicyEntry {
  /** The name by which workloads refer to it. */
  readonly key: string;
  readonly policy: Policy;
}

/** Of one namespace, by key: so the order of evaluation does not depend on what came when. */
type PolicyList = readonly PolicyEntry[];

/** Fixed, unless made by {@link PolicyIndex.fork} and not yet {@link PolicyIndex.freeze | frozen}. */
export class PolicyIndex {
  #byKey = PersistentMap.empty<PolicyEntry>();
  /** "": the global ones. Those for chosen workloads are not in it. */
  #byNamespace = PersistentMap.empty<PolicyList>();
  #owner: MapOwner | null = null;
  /** The answers of this index. */
  #applied = new WeakMap<Workload, AppliedPolicies>();
  /** The last answers of any index of this line: kept while they stay true. */
  #latest = new WeakMap<Workload, AppliedPolicies>();

  /** A copy to be changed; this one stays as it is. */
  fork(owner: MapOwner): PolicyIndex {
    const copy = this.successor(owner);
    copy.#byKey = this.#byKey;
    copy.#byNamespace = this.#byNamespace;
    return copy;
  }

  /** An empty one that takes this one's place. */
  successor(owner: MapOwner): PolicyIndex {
    const copy = new PolicyIndex();
    copy.#latest = this.#latest;
    copy.#owner = owner;
    return copy;
  }

  freeze(): void {
    this.#owner = null;
  }

  byKey(key: string): Policy | null {
    return this.#byKey.get(key)?.policy ?? null;
  }

  /** All, by key. */
  list(): Policy[] {
    return this.#byKey.values().sort(byKey).map(({ policy }) => policy);
  }

  /** What applies to a workload: the same object as long as it is the same. */
  of(workload: Workload): AppliedPolicies {
    const found = this.#applied.get(workload);
    if (found !== undefined) return found;
    const { namespace, authorizationPolicies: listed } = workload;
    let applied = this.select({ namespace, listed });
    const latest = this.#latest.get(workload);
    if (latest !== undefined && isSameApplied(latest, applied)) applied = latest;
    else this.#latest.set(workload, applied);
    this.#applied.set(workload, applied);
    return applied;
  }

  /** `after` has replaced `before`: a list that somebody holds stays, if it is still true. */
  carry(before: Workload, after: Workload): void {
    const applied = this.#latest.get(before);
    if (applied !== undefined && !this.#latest.has(after)) this.#latest.set(after, applied);
  }

  /** The policies that a selection means now, each once. */
  select(selection: PolicySelection): AppliedPolicies {
    const policies = new Set<Policy>();
    for (const { policy } of this.#byNamespace.get(selection.namespace) ?? []) policies.add(policy);
    for (const { policy } of this.#byNamespace.get("") ?? []) policies.add(policy);
    const unknown: string[] = [];
    for (const key of selection.listed) {
      const entry = this.#byKey.get(key);
      if (entry === undefined) unknown.push(key);
      else policies.add(entry.policy);
    }
    return { selection, policies: [...policies], unknown };
  }

  /** Adds or replaces. Sent again as it was, nothing changes. */
  set(key: string, policy: Policy, touched: Touched): void {
    assert(this.#owner !== null, "Only a fork is changed");
    const before = this.#byKey.get(key);
    if (before !== undefined && isSameValue(before.policy, policy)) return;
    if (before !== undefined) this.delete(key, touched);
    const entry = { key, policy };
    this.#byKey = this.#byKey.set(key, entry, this.#owner);
    touched.add(policyDependency(key));
    const namespace = namespaceOf(policy);
    if (namespace === null) return;
    const list = this.#byNamespace.get(namespace) ?? [];
    const at = list.findIndex((other) => other.key > key);
    const place = at < 0 ? list.length : at;
    const more = [...list.slice(0, place), entry, ...list.slice(place)];
    this.#byNamespace = this.#byNamespace.set(namespace, more, this.#owner);
    touched.add(policyNamespaceDependency(namespace));
  }

  delete(key: string, touched: Touched): void {
    assert(this.#owner !== null, "Only a fork is changed");
    const entry = this.#byKey.get(key);
    if (entry === undefined) return;
    this.#byKey = this.#byKey.delete(key, this.#owner);
    touched.add(policyDependency(key));
    const namespace = namespaceOf(entry.policy);
    if (namespace === null) return;
    const left = this.#byNamespace.get(namespace)!.filter((other) => other !== entry);
    this.#byNamespace = left.length === 0
      ? this.#byNamespace.delete(namespace, this.#owner)
      : this.#byNamespace.set(namespace, left, this.#owner);
    touched.add(policyNamespaceDependency(namespace));
  }
}

/** Under which namespace it is found; null: only by key. */
function namespaceOf({ scope, namespace }: Policy): string | null {
  return scope === "Global" ? "" : scope === "Namespace" ? namespace : null;
}

function byKey(a: PolicyEntry, b: PolicyEntry): number {
  return a.key < b.key ? -1 : 1;
}

function isSameApplied(a: AppliedPolicies, b: AppliedPolicies): boolean {
  return isSameValue(a.selection, b.selection) && isSameValue(a.unknown, b.unknown) &&
    a.policies.length === b.policies.length &&
    a.policies.every((policy, at) => policy === b.policies[at]);
}
