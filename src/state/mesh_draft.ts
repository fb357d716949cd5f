// The next mesh, while it is being made: resources go in one by one, readers go on with the last one (§3.4–3.6).
import { policyKey } from "../rbac/judge.ts";
import type { Policy } from "../rbac/policy.ts";
import type { MeshUpdate } from "./mesh_update.ts";
import { MapOwner } from "./persistent_map.ts";
import { PolicyIndex } from "./policy_index.ts";
import type { MeshResources, Service, Workload } from "./resources.ts";
import { serviceKey } from "./resources.ts";
import { isSameValue } from "./same_value.ts";
import { ServiceIndex } from "./service_index.ts";
import type { Warn } from "./service_slot.ts";
import { Touched } from "./touched.ts";
import { carryFacts } from "./workload_facts.ts";
import { WorkloadIndex } from "./workload_index.ts";

/** Names in one update that were to be removed and could not, told one by one. */
export const REMOVALS_TOLD_MAX = 10;

/** The indexes of one mesh. */
export class MeshIndexes {
  readonly workloads: WorkloadIndex;
  readonly services: ServiceIndex;
  readonly policies: PolicyIndex;

  constructor(
    { workloads, services, policies }: {
      readonly workloads: WorkloadIndex;
      readonly services: ServiceIndex;
      readonly policies: PolicyIndex;
    },
  ) {
    this.workloads = workloads;
    this.services = services;
    this.policies = policies;
  }

  static empty(): MeshIndexes {
    const workloads = new WorkloadIndex();
    return new MeshIndexes({
      workloads,
      services: new ServiceIndex(),
      policies: new PolicyIndex(),
    });
  }
}

/** Which indexes a draft changes. */
export type DraftScope = MeshUpdate["kind"] | "everything";

/**
 * One change of the mesh. Its steps are generators that stop after each resource, so that whoever runs them may rest;
 * nobody sees anything before {@link MeshDraft.finish}.
 */
export class MeshDraft {
  readonly #before: MeshIndexes;
  readonly #after: MeshIndexes;
  readonly #warn: Warn;
  readonly #touched: Touched;
  #hasNewWorkload = false;
  /** Names that could not be removed. */
  #unremoved = 0;

  /** @param options.scope "everything": nothing stays of `before`, but what is given again as it was is kept as it is. */
  constructor(
    before: MeshIndexes,
    { scope, warn }: { readonly scope: DraftScope; readonly warn: Warn },
  ) {
    const owner = new MapOwner();
    this.#before = before;
    this.#warn = warn;
    this.#touched = new Touched({ everything: scope === "everything" });
    const { workloads, services, policies } = before;
    if (scope === "everything") {
      this.#after = new MeshIndexes({
        workloads: new WorkloadIndex().fork(owner),
        services: new ServiceIndex().fork(owner),
        policies: policies.successor(owner),
      });
    } else if (scope === "addresses") {
      this.#after = new MeshIndexes({
        workloads: workloads.fork(owner),
        services: services.fork(owner),
        policies,
      });
    } else {
      this.#after = new MeshIndexes({ workloads, services, policies: policies.fork(owner) });
    }
  }

  /** All that is set, in order, then all that is removed (§1.6). */
  *apply(update: MeshUpdate): Generator<void, void, void> {
    if (update.kind === "policies") {
      for (const { name, policy } of update.set) {
        this.#setPolicy(name, policy);
        yield;
      }
      for (const name of update.removed) {
        this.#after.policies.delete(name, this.#touched);
        yield;
      }
      return;
    }
    for (const resource of update.set) {
      if (resource.kind === "service") this.#setService(resource.service);
      else this.#setWorkload(resource.workload.uid, resource.workload);
      yield;
    }
    for (const name of update.removed) {
      this.#remove(name);
      yield;
    }
  }

  /** Workloads without uid are kept apart, as a file may have several. */
  *fill({ workloads, services, policies }: MeshResources): Generator<void, void, void> {
    let nameless = 0;
    for (const workload of workloads) {
      this.#setWorkload(workload.uid === "" ? `\0${nameless++}` : workload.uid, workload);
      yield;
    }
    for (const policy of policies) {
      this.#setPolicy(policyKey(policy), policy);
      yield;
    }
    for (const service of services) {
      this.#setService(service);
      yield;
    }
  }

  /** The mesh with all that was done; the draft is used up. */
  finish(): MeshIndexes {
    const { workloads, services, policies } = this.#after;
    workloads.freeze();
    services.freeze();
    policies.freeze();
    const untold = this.#unremoved - REMOVALS_TOLD_MAX;
    if (untold > 0) this.#warn(`tried to remove ${untold} more resources that were not found`);
    return this.#after;
  }

  /** What changed; null: anything may have. */
  get touched(): readonly string[] | null {
    return this.#touched.keys();
  }

  /** True when somebody may have come who is waited for (§3.7). */
  get hasNewWorkload(): boolean {
    return this.#hasNewWorkload;
  }

  #setWorkload(key: string, workload: Workload): void {
    const { workloads, services, policies } = this.#after;
    const present = workloads.entry(key);
    const original = this.#before.workloads.entry(key)?.workload;
    const kept = sameOf(workload, present?.workload, original);
    const isChanged = kept !== present?.workload;
    if (!isChanged && workloads.isAlone(kept)) return;
    if (present !== undefined) {
      if (isChanged) services.removeWorkload(present, this.#touched);
      workloads.remove(present, isChanged, this.#touched);
    }
    if (original !== undefined && original !== kept) {
      carryFacts(original, kept);
      policies.carry(original, kept);
    }
    const entry = workloads.insert(key, kept, isChanged, this.#touched);
    if (!isChanged) return;
    services.addWorkload(entry, this.#touched);
    this.#hasNewWorkload = true;
  }

  #setService(service: Service): void {
    const { workloads, services } = this.#after;
    const key = serviceKey(service);
    const present = services.byKey(key)?.slot;
    const original = this.#before.services.byKey(key)?.slot;
    const kept = sameOf(service, present?.service, original?.service);
    const isChanged = kept !== present?.service;
    if (!isChanged && services.isAlone(present!)) return;
    services.insert(kept, {
      isChanged,
      before: original ?? present ?? null,
      warn: this.#warn,
      entryOf: (uid) => uid === "" ? undefined : workloads.entry(uid),
      touched: this.#touched,
    });
  }

  #setPolicy(key: string, policy: Policy): void {
    const last = this.#before.policies.byKey(key);
    const kept = last !== null && isSameValue(last, policy) ? last : policy;
    this.#after.policies.set(key, kept, this.#touched);
  }

  /** By the rules of §3.4: a workload's uid, else a service's key. */
  #remove(name: string): void {
    const { workloads, services } = this.#after;
    const entry = workloads.entry(name);
    if (entry !== undefined) {
      services.removeWorkload(entry, this.#touched);
      workloads.remove(entry, true, this.#touched);
      return;
    }
    const slash = name.indexOf("/");
    if (slash < 0) {
      this.#notRemoved(`tried to remove ${JSON.stringify(name)}, which is not a resource name`);
    } else if (name.includes("/", slash + 1)) {
      return; // The uid of a workload that was not known.
    } else if (!services.remove(name, true, this.#touched)) {
      this.#notRemoved(`tried to remove service keyed by ${name}, but it was not found`);
    }
  }

  #notRemoved(line: string): void {
    if (++this.#unremoved <= REMOVALS_TOLD_MAX) this.#warn(line);
  }
}

/** What was there before, if it says the same: others hold on to it. */
function sameOf<Value extends object>(
  value: Value,
  present: Value | undefined,
  original: Value | undefined,
): Value {
  if (present !== undefined && isSameValue(present, value)) return present;
  return original !== undefined && isSameValue(original, value) ? original : value;
}
