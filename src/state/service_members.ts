// The endpoints of one service, whether the service is known or not (spec/xds-state-and-dns §3.5).
import type { ServiceFacts } from "../seam/workload.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { Endpoint, Endpoints, KnownService } from "./mesh_view.ts";
import type { PersistentMap } from "./persistent_map.ts";
import type { PortMap, Service, Workload } from "./resources.ts";
import type { ServiceSlot } from "./service_slot.ts";
import type { WorkloadEntry } from "./workload_index.ts";

/** An endpoint with where it came from. */
export class Member implements Endpoint {
  readonly entry: WorkloadEntry;
  readonly ports: PortMap;
  readonly healthy: boolean;
  /** True: the workload names the service; false: the service names the workload. */
  readonly own: boolean;

  constructor(
    entry: WorkloadEntry,
    { ports, healthy, own }: {
      readonly ports: PortMap;
      readonly healthy: boolean;
      readonly own: boolean;
    },
  ) {
    this.entry = entry;
    this.ports = ports;
    this.healthy = healthy;
    this.own = own;
  }

  get workload(): Workload {
    return this.entry.workload;
  }
}

export type Members = PersistentMap<Member>;

/** The members in the order of their workloads, listed when first asked for. */
export class MemberView implements Endpoints {
  readonly #members: Members;
  #list: readonly Member[] | null = null;

  constructor(members: Members) {
    this.#members = members;
  }

  get size(): number {
    return this.#members.size;
  }

  get(workload: Workload): Endpoint | undefined {
    if (workload.uid !== "") return this.#members.get(workload.uid);
    return this.#all().find((member) => member.workload === workload);
  }

  values(): Iterable<Endpoint> {
    return this.#all();
  }

  #all(): readonly Member[] {
    return this.#list ??= this.#members.values().sort((a, b) => a.entry.order - b.entry.order);
  }
}

/** A known service at one moment. */
export class Known implements KnownService {
  readonly slot: ServiceSlot;
  readonly endpoints: Endpoints;

  constructor(slot: ServiceSlot, members: Members) {
    this.slot = slot;
    this.endpoints = new MemberView(members);
  }

  get service(): Service {
    return this.slot.service;
  }

  get facts(): ServiceFacts {
    return this.slot.facts;
  }

  get subjectAltNames(): readonly SpiffeId[] {
    return this.slot.names;
  }
}

/** What is known under a service's key; without service, its members are staged. */
export interface ServiceGroup {
  readonly members: Members;
  readonly known: Known | null;
}
