// Which unknown policies may still be on their way (spec/xds-state-and-dns §1.7). Pure bookkeeping.
import type { AppliedPolicies } from "./mesh_view.ts";
import type { Workload } from "./resources.ts";

/** Pairs of workload and unknown policy that nobody waits for any more; one more forgets all of them. */
export const SETTLED_POLICIES_MAX = 4_096;

/**
 * A push brings workloads before the policies they name. Until the control plane has spoken about policies after it
 * spoke about addresses, an unknown policy is waited for, once for each workload that names it.
 */
export class PolicyHold {
  readonly #settled = new Set<string>();
  /** Addresses came, and no policies since. Never true for a mesh that comes from a file. */
  #policiesAreBehind = false;

  /** Pairs remembered. */
  get settled(): number {
    return this.#settled.size;
  }

  progress(event: "addresses" | "policies"): void {
    this.#policiesAreBehind = event === "addresses";
  }

  /** The policies of `workload` to wait for; none: decide. */
  pending({ uid }: Workload, { unknown }: AppliedPolicies): readonly string[] {
    if (unknown.length === 0) return unknown;
    if (this.#policiesAreBehind) {
      return unknown.filter((policy) => !this.#settled.has(pairOf(uid, policy)));
    }
    this.settle(uid, unknown);
    return [];
  }

  /** They were waited for: nobody waits for them again. False: that was known. */
  settle(uid: string, policies: readonly string[]): boolean {
    let isNew = false;
    for (const policy of policies) {
      const pair = pairOf(uid, policy);
      if (this.#settled.has(pair)) continue;
      if (this.#settled.size >= SETTLED_POLICIES_MAX) this.#settled.clear();
      this.#settled.add(pair);
      isNew = true;
    }
    return isNew;
  }
}

function pairOf(uid: string, policy: string): string {
  return `${uid}\n${policy}`;
}
