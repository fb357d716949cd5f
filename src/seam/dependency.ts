// What an answer may depend on, as keys: whoever decides notes them, whoever changes the mesh touches them (design §3.4).

/** Anything about one address in one network: a workload's IP, or a service's exact VIP. */
export function addressDependency(network: string, ip: string): string {
  return `a ${network}/${ip}`;
}

/** The networks (CIDR VIPs) of services: touched when any of them comes, goes or changes. */
export function cidrDependency(network: string): string {
  return `c ${network}`;
}

/** A service with its endpoints and what its endpoints' workloads say; by its key. */
export function serviceDependency(namespace: string, hostname: string): string {
  return `s ${namespace}/${hostname}`;
}

/** All services of a host name, whatever their namespace. */
export function hostnameDependency(hostname: string): string {
  return `h ${hostname}`;
}

/** One workload, by uid. */
export function workloadDependency(uid: string): string {
  return `w ${uid}`;
}

/** Which record a data plane's own workload has. */
export function localDependency(
  local: { readonly namespace: string; readonly name: string; readonly serviceAccount: string },
): string {
  return `l ${local.namespace}/${local.name}/${local.serviceAccount}`;
}

/** The policies that apply by namespace; "" for the global ones. */
export function policyNamespaceDependency(namespace: string): string {
  return `n ${namespace}`;
}

/** One policy that workloads list, by its key; also while nobody knows it. */
export function policyDependency(key: string): string {
  return `p ${key}`;
}
