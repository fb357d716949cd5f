// What is made of the answers about a workload's name (spec/xds-state-and-dns §3.11). Pure but for the draw.
import { isIpv6 } from "../base/address.ts";
import { type Random, randomBelow } from "../base/random.ts";
import { type HostQuestion, RouteError } from "../seam/router.ts";
import type { WorkloadFacts } from "../seam/workload.ts";
import type { HostAskedLabels } from "./host_resolver.ts";

/**
 * One address, drawn among those of the asked family, else among the others.
 * @param answers Null: the lookup failed.
 */
export function pickAddress(
  answers: readonly string[] | null,
  { workloadUid, family }: Pick<HostQuestion, "workloadUid" | "family">,
  random: Random,
): string | RouteError {
  if (answers === null) {
    const message = `no ip addresses were resolved for workload: ${workloadUid}`;
    return new RouteError("NAME_NOT_RESOLVED", message);
  }
  const preferred = answers.filter((ip) => isIpv6(ip) === (family === 6));
  const among = preferred.length > 0 ? preferred : answers;
  if (among.length > 0) return among[randomBelow(random, among.length)]!;
  const message = `ip addresses were resolved for workload ${workloadUid}, ` +
    "but valid dns response had no A/AAAA records";
  return new RouteError("NAME_NOT_RESOLVED", message);
}

/** Who asked for which name. */
export function hostLabels(source: WorkloadFacts | null, hostname: string): HostAskedLabels {
  return {
    source_workload: source?.workloadName ?? "",
    source_canonical_service: source?.canonicalName ?? "",
    source_canonical_revision: source?.canonicalRevision ?? "",
    source_workload_namespace: source?.namespace ?? "",
    source_principal: source?.identity.uri ?? "",
    source_app: source?.canonicalName ?? "",
    source_version: source?.canonicalRevision ?? "",
    source_cluster: source?.clusterId ?? "",
    hostname,
  };
}
