// What a control plane says, one response at a time: values to keep and names to forget (spec/xds-state-and-dns §1.6).
import type { Policy } from "../rbac/policy.ts";
import type { Service, Workload } from "./resources.ts";

/** A workload or a service; the key is in the body (§3.4). */
export type MeshResource =
  | { readonly kind: "workload"; readonly workload: Workload }
  | { readonly kind: "service"; readonly service: Service };

/** One response about addresses: all of `set` in order, then all of `removed`, seen by readers at one moment. */
export interface AddressUpdate {
  readonly kind: "addresses";
  readonly set: readonly MeshResource[];
  /** Resource names: a workload's uid, or `namespace/hostname` of a service (§3.4). */
  readonly removed: readonly string[];
}

/** One response about policies, in the same order. */
export interface PolicyUpdate {
  readonly kind: "policies";
  /** `name` is the xDS resource name, by which workloads refer to it (§3.6). */
  readonly set: readonly { readonly name: string; readonly policy: Policy }[];
  readonly removed: readonly string[];
}

export type MeshUpdate = AddressUpdate | PolicyUpdate;

/**
 * Takes updates one after the other. `done` is called in a later turn, once readers see the whole update; the work is
 * cut into pieces that leave the event loop free.
 */
export interface MeshSink {
  apply(update: MeshUpdate, done: () => void): void;
}
