// Mesh files for tests: HBONE workloads, each on its own loopback address, and policies about them.

export interface TestWorkload {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly ip: string;
  /** Its address of the other family. */
  readonly otherIp?: string;
  /** HBONE unless told otherwise. */
  readonly protocol?: "HBONE" | "TCP";
  /** `namespace/name` of policies. */
  readonly authorizationPolicies?: readonly string[];
}

/** The text of a mesh file (spec/xds-state-and-dns §4); JSON, which is YAML too. */
export function meshFileText(mesh: {
  readonly workloads: readonly TestWorkload[];
  readonly policies?: readonly unknown[];
}): string {
  const workloads = mesh.workloads.map((workload) => ({
    uid: `test//Pod/${workload.namespace}/${workload.name}`,
    name: workload.name,
    namespace: workload.namespace,
    trustDomain: "cluster.local",
    serviceAccount: workload.serviceAccount,
    workloadIps: [workload.ip, ...workload.otherIp === undefined ? [] : [workload.otherIp]],
    protocol: workload.protocol ?? "HBONE",
    clusterId: "Kubernetes",
    workloadName: workload.name,
    workloadType: "deployment",
    canonicalName: workload.name,
    authorizationPolicies: workload.authorizationPolicies ?? [],
    services: {},
  }));
  return JSON.stringify({ workloads, services: [], policies: mesh.policies ?? [] }, null, 2);
}
