// Names an application may say instead of an address, answered from the mesh (spec/xds-state-and-dns §5.4).
import { isIpv6 } from "../base/address.ts";
import type { LocalWorkloadName } from "../seam/workload.ts";
import type { KnownService, MeshView } from "./mesh_view.ts";

export interface NameSettings {
  /** The asker's network, whose VIPs are given. */
  readonly network: string;
  /** `CLUSTER_DOMAIN`. */
  readonly clusterDomain: string;
  /** `PREFERED_SERVICE_NAMESPACE`; null: none. */
  readonly preferredNamespace: string | null;
}

/**
 * The address of a service or workload of the mesh: canonical, of the preferred family where there is one.
 * Services come before workloads; those before by their full names. Null: nobody has that name.
 */
export function resolveName(
  state: MeshView,
  settings: NameSettings,
  local: LocalWorkloadName,
  name: string,
  family: 4 | 6,
): string | null {
  const asked = name.toLowerCase().replace(/\.$/, "");
  if (asked === "") return null;
  const domain = settings.clusterDomain.toLowerCase();
  const candidates = [asked, ...expandName(asked, local.namespace, domain)];
  for (const candidate of candidates) {
    for (const step of wildcardLadder(candidate)) {
      // Without VIPs, only Kubernetes' headless services answer for themselves.
      const isHeadless = step.endsWith(`.svc.${domain}`);
      const answering = state.servicesByName(step, local.namespace)
        .filter(({ service }) => service.vips.length > 0 || isHeadless);
      const known = pickService(answering, local.namespace, settings.preferredNamespace);
      if (known === null) continue;
      return pickFamily(serviceIps(known, settings.network), family);
    }
  }
  return resolveWorkload(state, local, asked, family);
}

/** The full names a short one may stand for, in order (§5.4, table "Expansion"). */
export function expandName(name: string, namespace: string, clusterDomain: string): string[] {
  const labels = name.split(".");
  const suffix = `svc.${clusterDomain}`;
  switch (labels.length) {
    case 1:
      return [`${name}.${namespace}.${suffix}`];
    case 2:
      return [`${name}.${suffix}`, `${name}.${namespace}.${suffix}`];
    case 3:
      return labels[2] === "svc"
        ? [`${labels[0]}.${labels[1]}.${suffix}`, `${name}.${suffix}`]
        : [`${name}.${suffix}`];
    case 4:
      return labels[3] === "svc" ? [`${labels.slice(0, 3).join(".")}.${suffix}`] : [];
    default:
      return [];
  }
}

/** `a.b.c` → itself, `*.b.c`, `*.c`. */
export function wildcardLadder(name: string): string[] {
  const labels = name.split(".");
  const steps = [name];
  for (let from = 1; from < labels.length; from++) steps.push(`*.${labels.slice(from).join(".")}`);
  return steps;
}

/** The client's own namespace, else the last canonical one, else the preferred namespace, else the first (§3.8). */
function pickService(
  services: readonly KnownService[],
  namespace: string,
  preferred: string | null,
): KnownService | null {
  const inNamespace = (wanted: string | null) =>
    services.find(({ service }) => service.namespace === wanted);
  const canonical = services.findLast(({ service }) => service.canonical);
  return inNamespace(namespace) ?? canonical ?? inNamespace(preferred) ?? services[0] ?? null;
}

/** VIPs in the network; of a headless service, the first address of each healthy endpoint. */
function serviceIps({ service, endpoints }: KnownService, network: string): string[] {
  if (service.vips.length > 0) {
    return service.vips.filter((vip) => vip.network === network).map(({ ip }) => ip);
  }
  const any = service.loadBalancer?.healthPolicy === "AllowAll";
  return [...endpoints.values()].filter(({ healthy }) => healthy || any)
    .flatMap(({ workload }) => workload.ips);
}

/** By host name, by name in the asker's namespace, or by `name.namespace`. */
function resolveWorkload(
  state: MeshView,
  local: LocalWorkloadName,
  asked: string,
  family: 4 | 6,
): string | null {
  const byHostname = state.byNamespacedHostname(local.namespace, asked);
  const workload = byHostname?.kind === "workload" ? byHostname.workload : state.workloads.find(
    ({ name, namespace, hostname }) =>
      (hostname !== "" && hostname.toLowerCase() === asked) ||
      (namespace === local.namespace && name.toLowerCase() === asked) ||
      (name !== "" && `${name}.${namespace}`.toLowerCase() === asked),
  );
  return workload === undefined ? null : pickFamily(workload.ips, family);
}

function pickFamily(ips: readonly string[], family: 4 | 6): string | null {
  return ips.find((ip) => isIpv6(ip) === (family === 6)) ?? ips[0] ?? null;
}
