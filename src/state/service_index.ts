// Services by key, host name, VIP and network, with the endpoints that workloads give them (§3.3, §3.5, §3.8).
import { assert } from "../base/assert.ts";
import { addressWords } from "../rbac/cidr.ts";
import {
  addressDependency,
  cidrDependency,
  hostnameDependency,
  serviceDependency,
} from "../seam/dependency.ts";
import type { KnownService } from "./mesh_view.ts";
import { type MapOwner, PersistentMap } from "./persistent_map.ts";
import type { PortMap, Service, ServiceEndpoint } from "./resources.ts";
import { serviceKey } from "./resources.ts";
import { Known, Member, type Members, type ServiceGroup } from "./service_members.ts";
import {
  cidrKey,
  type CidrPlace,
  cidrPlaces,
  isVisible,
  pickSlot,
  ServiceSlot,
  type SlotList,
  type Warn,
  withoutSlot,
  withSlot,
} from "./service_slot.ts";
import type { Touched } from "./touched.ts";
import { addressKey, type WorkloadEntry } from "./workload_index.ts";

/** The prefix lengths that a network's CIDRs have, longest first, with how many CIDRs have each. */
interface PrefixLengths {
  readonly v4: readonly PrefixLength[];
  readonly v6: readonly PrefixLength[];
}

interface PrefixLength {
  readonly bits: number;
  readonly places: number;
}

const NO_LENGTHS: PrefixLengths = { v4: [], v6: [] };

type SlotMap = PersistentMap<SlotList>;

/** Fixed, unless made by {@link ServiceIndex.fork} and not yet {@link ServiceIndex.freeze | frozen}. */
export class ServiceIndex {
  #groups = PersistentMap.empty<ServiceGroup>();
  /** By host name in lower case. */
  #byName: SlotMap = PersistentMap.empty();
  #byVip: SlotMap = PersistentMap.empty();
  /** By {@link cidrKey}. */
  #byCidr: SlotMap = PersistentMap.empty();
  #lengths = PersistentMap.empty<PrefixLengths>();
  /** Workload uid → keys of services whose own list names it. */
  #namedBy = PersistentMap.empty<readonly string[]>();
  #owner: MapOwner | null = null;

  /** A copy to be changed; this one stays as it is. */
  fork(owner: MapOwner): ServiceIndex {
    const copy = new ServiceIndex();
    copy.#groups = this.#groups;
    copy.#byName = this.#byName;
    copy.#byVip = this.#byVip;
    copy.#byCidr = this.#byCidr;
    copy.#lengths = this.#lengths;
    copy.#namedBy = this.#namedBy;
    copy.#owner = owner;
    return copy;
  }

  freeze(): void {
    this.#owner = null;
  }

  byKey(key: string): Known | null {
    return this.#groups.get(key)?.known ?? null;
  }

  /** By exact VIP, else by the best network that contains the address (§3.8). */
  byIp(network: string, ip: string, clientNamespace: string | null): KnownService | null {
    const list = this.#byVip.get(addressKey(network, ip));
    const exact = list === undefined ? null : pickSlot(list.winners, clientNamespace);
    return this.#knownOf(exact ?? this.#byNetwork(network, ip, clientNamespace));
  }

  /** Case counts. */
  byHostname(hostname: string, clientNamespace: string | null): KnownService | null {
    const list = this.#byName.get(hostname.toLowerCase());
    if (list === undefined) return null;
    // Spelt in several ways, it is several names.
    const isMeant = ({ service }: ServiceSlot) => service.hostname === hostname;
    const slots = list.all.every(isMeant) ? list.all : list.all.filter(isMeant);
    return this.#knownOf(pickSlot(slots, clientNamespace));
  }

  /** All that the client sees of a name in lower case, oldest first, at most one of each namespace. */
  visibleByName(name: string, clientNamespace: string | null): KnownService[] {
    const slots = this.#byName.get(name)?.winners ?? [];
    return slots.filter((slot) => isVisible(slot, clientNamespace)).map((slot) =>
      this.#knownOf(slot)!
    );
  }

  forEachGroup(visit: (group: ServiceGroup, key: string) => void): void {
    this.#groups.forEach(visit);
  }

  #knownOf(slot: ServiceSlot | null): KnownService | null {
    return slot === null ? null : this.#groups.get(slot.key)!.known;
  }

  /** The most of (in the client's namespace, prefix length, canonical), in that order; of equals the oldest. */
  #byNetwork(network: string, ip: string, clientNamespace: string | null): ServiceSlot | null {
    const lengths = this.#lengths.get(network);
    if (lengths === undefined) return null;
    const words = addressWords(ip);
    let best: ServiceSlot | null = null;
    for (const { bits } of words.length === 1 ? lengths.v4 : lengths.v6) {
      const list = this.#byCidr.get(cidrKey(network, words, bits));
      if (list === undefined) continue;
      const found = pickOfNetwork(list.all, clientNamespace);
      if (found === null) continue;
      if (found.service.namespace === clientNamespace) return found;
      best ??= found;
    }
    return best;
  }

  /** True when nobody else has its name, addresses or networks, so that its place among others means nothing. */
  isAlone({ service }: ServiceSlot): boolean {
    const isShared = (map: SlotMap, at: string) => map.get(at)!.all.length > 1;
    if (isShared(this.#byName, service.hostname.toLowerCase())) return false;
    for (const at of vipKeys(service)) if (isShared(this.#byVip, at)) return false;
    return cidrPlaces(service.cidrVips).every(({ key }) => !isShared(this.#byCidr, key));
  }

  /** Adds or replaces a service; its members stay. */
  insert(
    service: Service,
    { isChanged, before, warn, entryOf, touched }: {
      /** False: it was there before this update, as it is. */
      readonly isChanged: boolean;
      /** The slot it had. */
      readonly before: ServiceSlot | null;
      readonly warn: Warn;
      readonly entryOf: (uid: string) => WorkloadEntry | undefined;
      readonly touched: Touched;
    },
  ): void {
    const key = serviceKey(service);
    if (before !== null) this.remove(key, isChanged, touched);
    assert(this.#owner !== null, "Only a fork is changed");
    const slot = new ServiceSlot(service, { warn, before });
    const place = (map: SlotMap, at: string) =>
      map.set(at, withSlot(map.get(at), slot), this.#owner);
    this.#byName = place(this.#byName, service.hostname.toLowerCase());
    for (const at of vipKeys(service)) this.#byVip = place(this.#byVip, at);
    for (const cidr of cidrPlaces(service.cidrVips)) {
      this.#byCidr = place(this.#byCidr, cidr.key);
      this.#countLength(cidr, 1);
    }
    let members: Members = this.#groups.get(key)?.members ?? PersistentMap.empty();
    for (const endpoint of service.endpoints) {
      this.#nameWorkload(endpoint.workloadUid, key);
      const entry = entryOf(endpoint.workloadUid);
      if (entry === undefined || members.get(entry.key)?.own === true) continue; // spec/data-path L2.
      members = members.set(entry.key, namedMember(entry, endpoint), this.#owner);
    }
    this.#groups = this.#groups.set(key, { members, known: new Known(slot, members) }, this.#owner);
    this.#touch(slot, isChanged, touched);
  }

  /**
   * Forgets a service; what workloads say of it stays.
   * @param isChanged False: it comes back in this update, as it is.
   * @returns False: there is none.
   */
  remove(key: string, isChanged: boolean, touched: Touched): boolean {
    assert(this.#owner !== null, "Only a fork is changed");
    const group = this.#groups.get(key);
    if (group === undefined || group.known === null) return false;
    const { slot } = group.known;
    const { service } = slot;
    this.#touch(slot, isChanged, touched);
    const drop = (map: SlotMap, at: string) => {
      const left = withoutSlot(map.get(at)!, slot);
      return left === null ? map.delete(at, this.#owner) : map.set(at, left, this.#owner);
    };
    this.#byName = drop(this.#byName, service.hostname.toLowerCase());
    for (const at of vipKeys(service)) this.#byVip = drop(this.#byVip, at);
    for (const cidr of cidrPlaces(service.cidrVips)) {
      this.#byCidr = drop(this.#byCidr, cidr.key);
      this.#countLength(cidr, -1);
    }
    let { members } = group;
    for (const { workloadUid } of service.endpoints) {
      this.#unnameWorkload(workloadUid, key);
      if (members.get(workloadUid)?.own === false) {
        members = members.delete(workloadUid, this.#owner);
      }
    }
    this.#setGroup(key, members, null);
    return true;
  }

  /** A workload came: it is an endpoint of the services it names, and of those that name it. */
  addWorkload(entry: WorkloadEntry, touched: Touched): void {
    const { uid, services, status } = entry.workload;
    const healthy = status === "Healthy";
    for (const [key, ports] of services) {
      this.#addMember(key, new Member(entry, { ports, healthy, own: true }));
      touched.add(keyDependency(key));
    }
    for (const key of this.#namedBy.get(uid) ?? []) {
      if (services.has(key)) continue;
      const endpoint = lastNamed(this.byKey(key)!.service, uid);
      this.#addMember(key, namedMember(entry, endpoint));
      touched.add(keyDependency(key));
    }
  }

  /** A workload goes, or a newer one takes its place. */
  removeWorkload({ key, workload }: WorkloadEntry, touched: Touched): void {
    for (const service of [...workload.services.keys(), ...this.#namedBy.get(workload.uid) ?? []]) {
      const group = this.#groups.get(service);
      if (group === undefined) continue; // Both name each other, and it was dropped already.
      this.#setGroup(service, group.members.delete(key, this.#owner), group.known);
      touched.add(keyDependency(service));
    }
  }

  #addMember(key: string, member: Member): void {
    const group = this.#groups.get(key);
    const before: Members = group?.members ?? PersistentMap.empty();
    const members = before.set(member.entry.key, member, this.#owner);
    this.#setGroup(key, members, group?.known ?? null);
  }

  #setGroup(key: string, members: Members, known: Known | null): void {
    if (members.size === 0 && known === null) {
      this.#groups = this.#groups.delete(key, this.#owner);
      return;
    }
    const group = { members, known: known === null ? null : new Known(known.slot, members) };
    this.#groups = this.#groups.set(key, group, this.#owner);
  }

  #nameWorkload(uid: string, key: string): void {
    if (uid === "") return;
    const keys = this.#namedBy.get(uid) ?? [];
    if (!keys.includes(key)) this.#namedBy = this.#namedBy.set(uid, [...keys, key], this.#owner);
  }

  #unnameWorkload(uid: string, key: string): void {
    const keys = this.#namedBy.get(uid);
    if (keys === undefined) return;
    const left = keys.filter((other) => other !== key);
    this.#namedBy = left.length === 0
      ? this.#namedBy.delete(uid, this.#owner)
      : this.#namedBy.set(uid, left, this.#owner);
  }

  #countLength({ network, family, prefixBits }: CidrPlace, change: 1 | -1): void {
    const before = this.#lengths.get(network) ?? NO_LENGTHS;
    const field = family === 4 ? "v4" : "v6";
    const places = (before[field].find(({ bits }) => bits === prefixBits)?.places ?? 0) + change;
    const others = before[field].filter(({ bits }) => bits !== prefixBits);
    const list = places === 0
      ? others
      : [...others, { bits: prefixBits, places }].sort((a, b) => b.bits - a.bits);
    const after = { ...before, [field]: list };
    this.#lengths = after.v4.length + after.v6.length === 0
      ? this.#lengths.delete(network, this.#owner)
      : this.#lengths.set(network, after, this.#owner);
  }

  /** What is found by this service's names may differ; if it is unchanged, only where others have them too. */
  #touch({ key, service }: ServiceSlot, isChanged: boolean, touched: Touched): void {
    if (isChanged) touched.add(keyDependency(key));
    const isShared = (map: SlotMap, at: string) => isChanged || map.get(at)!.all.length > 1;
    const { hostname } = service;
    const name = hostname.toLowerCase();
    if (isShared(this.#byName, name)) {
      touched.add(hostnameDependency(hostname));
      if (name !== hostname) touched.add(hostnameDependency(name));
    }
    for (const { network, ip } of service.vips) {
      if (isShared(this.#byVip, addressKey(network, ip))) {
        touched.add(addressDependency(network, ip));
      }
    }
    for (const { network, key } of cidrPlaces(service.cidrVips)) {
      if (isShared(this.#byCidr, key)) touched.add(cidrDependency(network));
    }
  }
}

/** In one network: (in the client's namespace, canonical), in that order; of equals the oldest. */
function pickOfNetwork(
  slots: readonly ServiceSlot[],
  clientNamespace: string | null,
): ServiceSlot | null {
  let best: ServiceSlot | null = null;
  let bestRank = -1;
  for (const slot of slots) {
    if (!isVisible(slot, clientNamespace)) continue;
    const { namespace, canonical } = slot.service;
    const rank = (namespace === clientNamespace ? 2 : 0) + (canonical ? 1 : 0);
    if (rank <= bestRank) continue;
    best = slot;
    bestRank = rank;
  }
  return best;
}

/** Each once. */
function vipKeys({ vips }: Service): Iterable<string> {
  if (vips.length === 1) return [addressKey(vips[0]!.network, vips[0]!.ip)];
  return new Set(vips.map(({ network, ip }) => addressKey(network, ip)));
}

function keyDependency(key: string): string {
  const slash = key.indexOf("/");
  return serviceDependency(key.slice(0, slash), key.slice(slash + 1));
}

function namedMember(
  entry: WorkloadEntry,
  { ports, status }: { readonly ports: PortMap; readonly status: ServiceEndpoint["status"] },
): Member {
  return new Member(entry, { ports, healthy: status === "Healthy", own: false });
}

/** A service that names a workload twice means it the last time. */
function lastNamed({ endpoints }: Service, uid: string): ServiceEndpoint {
  const named = endpoints.findLast(({ workloadUid }) => workloadUid === uid);
  assert(named !== undefined, "The reverse index follows the services");
  return named;
}
