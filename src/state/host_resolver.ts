// Who looks up the names of workloads that have no address (spec/xds-state-and-dns §3.11).
import type { Cancel, Done } from "../base/channel.ts";

export interface HostResolver {
  /**
   * All A and AAAA answers for `hostname`, canonical. An empty list: it was answered, without addresses. Fails with a
   * `ProxyError` of code `NAME_NOT_RESOLVED`. In a later turn, exactly once unless cancelled.
   */
  resolve(hostname: string, done: Done<readonly string[]>): Cancel;
}

/** A resolution as `istio_on_demand_dns_total` counts it; "" is unknown. */
export interface HostAskedLabels {
  readonly source_workload: string;
  readonly source_canonical_service: string;
  readonly source_canonical_revision: string;
  readonly source_workload_namespace: string;
  readonly source_principal: string;
  readonly source_app: string;
  readonly source_version: string;
  readonly source_cluster: string;
  readonly hostname: string;
}
