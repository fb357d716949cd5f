// What telemetry says about a workload: small, immutable, shared by all its connections.
import type { SpiffeId } from "../tls/spiffe_id.ts";

/** Identifies the workload a data plane works for (ZDS WorkloadInfo, or PROXY_WORKLOAD_INFO). */
export interface LocalWorkloadName {
  readonly namespace: string;
  readonly name: string;
  readonly serviceAccount: string;
}

/** One workload as logs, metrics, baggage and traces see it. Unknown fields are "". */
export interface WorkloadFacts {
  readonly uid: string;
  /** Pod name. */
  readonly name: string;
  readonly namespace: string;
  readonly trustDomain: string;
  readonly serviceAccount: string;
  readonly identity: SpiffeId;
  /** Lower case: deployment, cronjob, pod, job, or "". */
  readonly workloadType: string;
  readonly workloadName: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly clusterId: string;
  readonly region: string;
  readonly zone: string;
}

/** One service as telemetry sees it. */
export interface ServiceFacts {
  readonly hostname: string;
  readonly name: string;
  readonly namespace: string;
}
