// What telemetry says about workloads, made when first asked for and one object for as long as it says the same.
import type { WorkloadFacts } from "../seam/workload.ts";
import { type SpiffeId, spiffeId } from "../tls/spiffe_id.ts";
import type { Workload } from "./resources.ts";
import { isSameValue } from "./same_value.ts";

/** Lives as long as the workload's record does. */
const known = new WeakMap<Workload, WorkloadFacts>();

/** The same object for the same workload. */
export function factsOf(workload: Workload): WorkloadFacts {
  let facts = known.get(workload);
  if (facts === undefined) {
    facts = makeFacts(workload);
    known.set(workload, facts);
  }
  return facts;
}

/** `after` has replaced `before`: facts that somebody holds stay, if they are still true. */
export function carryFacts(before: Workload, after: Workload): void {
  const facts = known.get(before);
  if (facts === undefined || known.has(after)) return;
  const now = makeFacts(after);
  known.set(after, isSameValue(facts, now) ? facts : now);
}

/** The identity a workload's peer must expect of it. */
export function workloadIdentity(workload: Workload): SpiffeId {
  const { trustDomain, namespace, serviceAccount } = workload;
  return spiffeId({ trustDomain, namespace, serviceAccount });
}

function makeFacts(workload: Workload): WorkloadFacts {
  return {
    uid: workload.uid,
    name: workload.name,
    namespace: workload.namespace,
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    identity: workloadIdentity(workload),
    workloadType: workload.workloadType.toLowerCase(),
    workloadName: workload.workloadName,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    clusterId: workload.clusterId,
    region: workload.locality.region,
    zone: workload.locality.zone,
  };
}
