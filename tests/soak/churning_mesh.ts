// A mesh that changes as meshes do, and the control plane that tells of it: everything in memory, nothing waits.
import { type Random, randomBelow } from "../../src/base/random.ts";
import type { GatewayAddress, Service, Workload } from "../../src/state/resources.ts";
import { policy, ports, service, workload } from "../../src/state/resource_samples.ts";
import type { GrpcStream, GrpcTransport } from "../../src/xds/transport.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../src/xds/types.ts";
import { XDS_PROTOBUF } from "../support/xds_schema.ts";
import {
  policyResource,
  serviceResource,
  workloadResource,
  type XdsResource,
} from "../support/xds_resources.ts";

export const WORKLOADS = 2_000;
export const SERVICES = 200;
const NAMESPACES = 20;
const POLICIES = 40;
const NODES = 10;
/** Twice as many as workloads, so that an address is sometimes nobody's. */
const ADDRESSES = 4_000;
const MISSING_MAX = 50;
/** Never changed but in their health: connections come from them. */
export const CLIENTS = 20;

/** What one response says. */
export interface Push {
  readonly typeUrl: string;
  readonly set: readonly XdsResource[];
  readonly removed: readonly string[];
}

/** Pods of deployments behind services; every change is one that clusters see each day. */
export class ChurningMesh {
  readonly #random: Random;
  readonly #workloads: Workload[] = [];
  readonly #services: Service[] = [];
  /** By type and name, as they are now. */
  readonly resources: Readonly<Record<string, Map<string, XdsResource>>> = {
    [ADDRESS_TYPE]: new Map(),
    [AUTHORIZATION_TYPE]: new Map(),
  };
  /** Pods that went and whose successors have not come yet, oldest first. */
  readonly #missing = new Set<number>();
  #pods = 0;

  constructor(random: Random) {
    this.#random = random;
    for (let at = 0; at < SERVICES; at++) this.#setService(at, null);
    for (let at = 0; at < WORKLOADS; at++) this.#setWorkload(at, this.#newPod(at));
    for (let at = 0; at < POLICIES; at += 2) this.#setPolicy(at);
  }

  get clients(): readonly Workload[] {
    return this.#workloads.slice(0, CLIENTS);
  }

  /** Of a service, as `number` says. */
  static vip(number: number): string {
    return `10.96.${number >> 8}.${number & 255}`;
  }

  static podIp(number: number): string {
    return `10.1.${number >> 8}.${number & 255}`;
  }

  #below(count: number): number {
    return randomBelow(this.#random, count);
  }

  /** The next change. */
  change(): Push {
    const kind = this.#below(100);
    if (kind < 35) return this.#restart();
    if (kind < 60) return this.#flip();
    if (kind < 75) return this.#move();
    if (kind < 85) return this.#changeService();
    return this.#changePolicy();
  }

  /** One pod of a rollout: the new one comes and the old one goes, at once or one after the other. */
  #restart(): Push {
    const missing = this.#missing.values().next().value;
    if (missing !== undefined && (this.#missing.size >= MISSING_MAX || this.#below(2) === 0)) {
      this.#missing.delete(missing);
      return addresses([this.#setWorkload(missing, this.#newPod(missing))]);
    }
    const at = this.#somePod();
    const { uid } = this.#workloads[at]!;
    this.resources[ADDRESS_TYPE]!.delete(uid);
    if (this.#below(2) === 0) return addresses([this.#setWorkload(at, this.#newPod(at))], [uid]);
    this.#missing.add(at);
    return addresses([], [uid]);
  }

  /** One that is there and no client. */
  #somePod(): number {
    for (;;) {
      const at = CLIENTS + this.#below(WORKLOADS - CLIENTS);
      if (!this.#missing.has(at)) return at;
    }
  }

  #flip(): Push {
    const set = Array.from({ length: 1 + this.#below(3) }, () => {
      const at = this.#below(10) === 0 ? this.#below(CLIENTS) : this.#somePod();
      const before = this.#workloads[at]!;
      const status = before.status === "Healthy" ? "Unhealthy" : "Healthy";
      return this.#setWorkload(at, { ...before, status });
    });
    return addresses(set);
  }

  #move(): Push {
    const at = this.#somePod();
    return addresses([this.#setWorkload(at, { ...this.#workloads[at]!, ips: [this.#anyIp()] })]);
  }

  #changeService(): Push {
    const at = this.#below(SERVICES);
    const target = this.#services[this.#below(SERVICES)]!;
    const { namespace, hostname } = target;
    return addresses([
      this.#setService(
        at,
        this.#below(2) === 0 ? null : { kind: "hostname", namespace, hostname, port: 15_008 },
      ),
    ]);
  }

  #changePolicy(): Push {
    const at = this.#below(POLICIES);
    const name = `${namespaceOf(at)}/p${at}`;
    const known = this.resources[AUTHORIZATION_TYPE]!;
    if (known.has(name) && this.#below(3) === 0) {
      known.delete(name);
      return { typeUrl: AUTHORIZATION_TYPE, set: [], removed: [name] };
    }
    return { typeUrl: AUTHORIZATION_TYPE, set: [this.#setPolicy(at)], removed: [] };
  }

  #anyIp(): string {
    return ChurningMesh.podIp(this.#below(ADDRESSES));
  }

  #newPod(at: number): Workload {
    const namespace = namespaceOf(at);
    const behind = this.#services[at % SERVICES]!;
    const isClient = at < CLIENTS;
    const name = isClient ? `client${at}` : `app${at}-${++this.#pods}`;
    return workload({
      uid: `c//Pod/${namespace}/${name}`,
      name,
      namespace,
      ips: [isClient ? ChurningMesh.podIp(ADDRESSES + at) : this.#anyIp()],
      services: isClient
        ? new Map()
        : new Map([[`${behind.namespace}/${behind.hostname}`, ports(80, 8080)]]),
      protocol: at % 4 === 0 ? "TCP" : "HBONE",
      serviceAccount: `sa${at % SERVICES}`,
      node: `node${at % NODES}`,
      workloadName: `app${at}`,
      canonicalName: `app${at}`,
      authorizationPolicies: at % 10 === 0 ? [`${namespace}/p${at % POLICIES}`] : [],
      locality: { region: `r${at % 2}`, zone: `z${at % 4}`, subzone: "" },
      clusterId: "c",
    });
  }

  #setWorkload(at: number, one: Workload): XdsResource {
    this.#workloads[at] = one;
    return this.#keep(ADDRESS_TYPE, workloadResource(one));
  }

  #setService(at: number, waypoint: GatewayAddress | null): XdsResource {
    const one = service({
      name: `s${at}`,
      namespace: namespaceOf(at),
      hostname: `s${at}.${namespaceOf(at)}.svc.cluster.local`,
      vips: [{ network: "", ip: ChurningMesh.vip(at) }],
      ports: ports(80, this.#below(2) === 0 ? 8080 : 8081),
      subjectAltNames: this.#below(4) === 0 ? ["spiffe://cluster.local/ns/x/sa/y"] : [],
      waypoint,
      loadBalancer: at % 3 === 0
        ? {
          routingPreferences: ["Network", "Region", "Zone"],
          mode: "Failover",
          healthPolicy: "OnlyHealthy",
        }
        : null,
    });
    this.#services[at] = one;
    return this.#keep(ADDRESS_TYPE, serviceResource(one));
  }

  #setPolicy(at: number): XdsResource {
    const scope = at % 10 === 0 ? "WorkloadSelector" : at % 13 === 0 ? "Global" : "Namespace";
    return this.#keep(
      AUTHORIZATION_TYPE,
      policyResource(policy({
        name: `p${at}`,
        namespace: namespaceOf(at),
        scope,
        action: this.#below(2) === 0 ? "Allow" : "Deny",
      })),
    );
  }

  #keep(typeUrl: string, resource: XdsResource): XdsResource {
    this.resources[typeUrl]!.set(resource.name, resource);
    return resource;
  }
}

function namespaceOf(at: number): string {
  return `ns${at % NAMESPACES}`;
}

function addresses(set: readonly XdsResource[], removed: readonly string[] = []): Push {
  return { typeUrl: ADDRESS_TYPE, set, removed };
}

/** Tells one client, as istiod does: what it lacks at the beginning of a stream, then what it is told to. */
export class MemoryControlPlane implements GrpcTransport {
  readonly #mesh: ChurningMesh;
  #stream: MemoryStream | null = null;
  #nonces = 0;
  /** Streams so far. */
  streams = 0;
  /** Resources sent again at the beginnings of streams after the first. */
  resent = 0;
  /** Texts of NACKs. */
  readonly nacks: string[] = [];
  #unanswered = 0;
  #wake: (() => void) | null = null;

  constructor(mesh: ChurningMesh) {
    this.#mesh = mesh;
  }

  openStream(): GrpcStream {
    this.streams++;
    this.#unanswered = 0;
    return this.#stream = new MemoryStream((request) => this.#hear(request));
  }

  unary(): Promise<Uint8Array> {
    return Promise.reject(new Error("Nobody asks"));
  }

  push({ typeUrl, set, removed }: Push): void {
    this.#unanswered++;
    this.#stream?.say(XDS_PROTOBUF.encode("DeltaDiscoveryResponse", {
      typeUrl,
      nonce: `n${++this.#nonces}`,
      removed,
      resources: set.map(({ name, version, payload }) => ({
        name,
        version,
        resource: { typeUrl, value: payload },
      })),
    }));
  }

  /** Ends the stream; the client comes again. */
  hangUp(): void {
    this.#stream?.end();
    this.#stream = null;
  }

  /** Everything pushed is answered. */
  async settled(): Promise<void> {
    while (this.#stream === null || !this.#stream.isGreeted || this.#unanswered > 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  #hear(bytes: Uint8Array): void {
    const request = XDS_PROTOBUF.decode("DeltaDiscoveryRequest", bytes);
    if (request["nonce"] === undefined) this.#greet(request);
    else {
      this.#unanswered--;
      const error = request["error"] as { readonly message?: string } | undefined;
      if (error !== undefined) this.nacks.push(error.message ?? "");
    }
    this.#wake?.();
    this.#wake = null;
  }

  #greet(request: Record<string, unknown>): void {
    const typeUrl = request["typeUrl"] as string;
    const held = new Map(Object.entries(request["initialVersions"] as Record<string, string>));
    const now = this.#mesh.resources[typeUrl]!;
    const set = [...now.values()].filter(({ name, version }) =>
      !held.has(name) || version === "" || (held.get(name) ?? "") !== version
    );
    if (held.size > 0) this.resent += set.filter(({ version }) => version !== "").length;
    this.push({ typeUrl, set, removed: [...held.keys()].filter((name) => !now.has(name)) });
    if (typeUrl === AUTHORIZATION_TYPE) this.#stream!.isGreeted = true;
  }
}

/** Both ends of a call. */
class MemoryStream implements GrpcStream {
  readonly opened = Promise.resolve();
  /** Both types were asked for. */
  isGreeted = false;
  readonly #hear: (message: Uint8Array) => void;
  readonly #said: (Uint8Array | null)[] = [];
  #wake: (() => void) | null = null;

  constructor(hear: (message: Uint8Array) => void) {
    this.#hear = hear;
  }

  say(message: Uint8Array): void {
    this.#said.push(message);
    this.#wake?.();
  }

  end(): void {
    this.#said.push(null);
    this.#wake?.();
  }

  send(message: Uint8Array): Promise<void> {
    this.#hear(message);
    return Promise.resolve();
  }

  async receive(): Promise<Uint8Array | null> {
    while (this.#said.length === 0) await new Promise<void>((resolve) => this.#wake = resolve);
    return this.#said.shift()!;
  }

  close(): Promise<void> {
    this.end();
    return Promise.resolve();
  }
}
