// The state as /config_dump shows it: field names are the readers' (spec/config-and-observability §5.7).
import { X509Certificate } from "node:crypto";
import { encodeBase64 } from "@std/encoding";
import type {
  ConfigDump,
  DumpCertificate,
  DumpCertificates,
  DumpEndpoint,
  DumpGatewayAddress,
  DumpPorts,
  DumpService,
  DumpWorkload,
  JsonObject,
} from "./admin/config_dump.ts";
import type { DataPlaneInfo } from "./isolate/messages.ts";
import type { LocalMesh } from "./config/config.ts";
import { configJson } from "./config_json.ts";
import { NoFileError } from "./file_reading.ts";
import type { DumpedCertificate } from "./identity/certificate_manager.ts";
import type { Plan } from "./plan.ts";
import type { Planes } from "./planes.ts";
import { MESH_FILE_BYTES_MAX, parseMeshFile } from "./state/mesh_file.ts";
import { MeshState } from "./state/mesh_state.ts";
import type { Endpoint, KnownService, MeshView } from "./state/mesh_view.ts";
import type { GatewayAddress, PortMap, Workload } from "./state/resources.ts";
import type { StateRouter } from "./state/state_router.ts";
import type { BuildInfo } from "./telemetry/version.ts";

function dumpGateway(gateway: GatewayAddress): DumpGatewayAddress {
  const destination = gateway.kind === "address"
    ? `${gateway.network}/${gateway.ip}`
    : `${gateway.namespace}/${gateway.hostname}`;
  return { destination, hboneMtlsPort: gateway.port };
}

function dumpPorts(ports: PortMap): DumpPorts {
  return Object.fromEntries([...ports].map(([from, to]) => [String(from), to]));
}

export function dumpWorkload(workload: Workload): DumpWorkload {
  const { ips, services, waypoint, networkGateway, applicationTunnel, ...same } = workload;
  return {
    ...same,
    workloadIps: ips,
    services: [...services.keys()],
    waypoint: waypoint === null ? undefined : dumpGateway(waypoint),
    networkGateway: networkGateway === null ? undefined : dumpGateway(networkGateway),
    applicationTunnel: applicationTunnel ?? undefined,
  };
}

function dumpEndpoints(endpoints: Iterable<Endpoint>): Readonly<Record<string, DumpEndpoint>> {
  return Object.fromEntries(
    [...endpoints].map(({ workload, ports, healthy }) => [
      workload.uid,
      {
        workloadUid: workload.uid,
        port: dumpPorts(ports),
        status: healthy ? "Healthy" : "Unhealthy",
      },
    ]),
  );
}

export function dumpService({ service, endpoints }: KnownService): DumpService {
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.vips.map(({ network, ip }) => `${network}/${ip}`),
    ports: dumpPorts(service.ports),
    endpoints: dumpEndpoints(endpoints.values()),
    subjectAltNames: service.subjectAltNames,
    canonical: service.canonical,
    visibility: service.visibility,
    cidrVips: service.cidrVips.map(({ network, cidr }) => ({
      network,
      cidr: `${cidr.ip}/${cidr.prefixBits}`,
    })),
    waypoint: service.waypoint === null ? undefined : dumpGateway(service.waypoint),
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
      destination: dumpGateway(destination),
      weight,
    })),
    loadBalancer: service.loadBalancer ?? undefined,
    ipFamilies: service.ipFamilies ?? undefined,
  };
}

/** The whole dump of a process. */
export function configDump({ plan, router, certificates, build, planes }: {
  readonly plan: Plan;
  readonly router: StateRouter;
  readonly certificates: readonly DumpedCertificate[];
  readonly build: BuildInfo;
  readonly planes: Pick<Planes, "native" | "health">;
}): ConfigDump {
  return {
    config: { ...configJson(plan.config, Deno.args), ...dumpNative(planes.native) },
    version: build,
    ...dumpResources(router.state),
    stagedServices: Object.fromEntries(
      [...router.state.stagedServices].map(([key, staged]) => [key, dumpEndpoints(staged)]),
    ),
    staticConfig: dumpResources(staticMesh(plan.config.localMesh)),
    certificates: certificates.map(dumpCertificate),
    ...(planes.health === null ? {} : { dataPlane: { ...planes.health } }),
  };
}

function dumpResources(mesh: Pick<MeshView, "workloads" | "services" | "policies">) {
  return {
    workloads: mesh.workloads.map(dumpWorkload),
    services: mesh.services.map(dumpService),
    policies: mesh.policies,
  };
}

/** What the local source says now, which may be newer, or wrong and then empty (spec §5.7). */
export function staticMesh(localMesh: LocalMesh | null): MeshState {
  if (localMesh === null) return EMPTY_MESH;
  try {
    const source = localMesh.kind === "file" ? localMesh.path : "LOCAL_XDS";
    const text = localMesh.kind === "file" ? readMeshText(source) : localMesh.text;
    return new MeshState(parseMeshFile(text, { source }));
  } catch {
    return EMPTY_MESH;
  }
}

/** Nothing that would keep the process waiting: this is read while everything else stands still. */
function readMeshText(path: string): string {
  const { isFile, size } = Deno.statSync(path);
  if (!isFile || size > MESH_FILE_BYTES_MAX) throw new NoFileError(path);
  return Deno.readTextFileSync(path);
}

const EMPTY_MESH = new MeshState({ workloads: [], services: [], policies: [] });

/** Ours: which OpenSSL, and what it may agree to. */
function dumpNative(native: DataPlaneInfo | null): JsonObject {
  if (native === null) return {};
  return { openssl: native.openssl, fips: native.fips, keyExchange: native.policy };
}

function dumpCertificate({ identity, state, current }: DumpedCertificate): DumpCertificates {
  return {
    identity: identity.uri,
    state,
    certChain: current === null ? [] : current.chainDer.map(dumpDer),
    rootCerts: current === null ? [] : current.rootsDer.map(dumpDer),
  };
}

/** Of certificates only, which are public. */
function dumpDer(der: Uint8Array<ArrayBuffer>): DumpCertificate {
  const certificate = new X509Certificate(der);
  return {
    validFrom: rfc3339(new Date(certificate.validFrom)),
    expirationTime: rfc3339(new Date(certificate.validTo)),
    pem: encodeBase64(certificate.toString()),
    serialNumber: BigInt(`0x${certificate.serialNumber}`).toString(),
  };
}

function rfc3339(time: Date): string {
  return time.toISOString().replace(/\.\d{3}Z$/, "Z");
}
