// Workloads by uid, address, name and host name (spec/xds-state-and-dns §3.3, §3.4).
import { assert } from "../base/assert.ts";
import {
  addressDependency,
  localDependency,
  serviceDependency,
  workloadDependency,
} from "../seam/dependency.ts";
import type { LocalWorkloadName } from "../seam/workload.ts";
import { firstOf, isList, type OneOrMore, withItem, withoutItem } from "./one_or_more.ts";
import { type MapOwner, PersistentMap } from "./persistent_map.ts";
import type { Workload } from "./resources.ts";
import type { Touched } from "./touched.ts";

/** A workload in its place. */
export interface WorkloadEntry {
  /** The uid; of a file's workloads without uid, something that no uid is. */
  readonly key: string;
  readonly workload: Workload;
  /** Rises with every insertion: an update moves to the end. */
  readonly order: number;
}

type EntryMap = PersistentMap<OneOrMore<WorkloadEntry>>;

/** Fixed, unless made by {@link WorkloadIndex.fork} and not yet {@link WorkloadIndex.freeze | frozen}. */
export class WorkloadIndex {
  #byKey = PersistentMap.empty<WorkloadEntry>();
  /** Best first (§3.4). */
  #byIp: EntryMap = PersistentMap.empty();
  /** By `namespace/name`, oldest first. */
  #byName: EntryMap = PersistentMap.empty();
  /** By `namespace/hostname`, oldest first. */
  #byHostname: EntryMap = PersistentMap.empty();
  #inserted = 0;
  #owner: MapOwner | null = null;

  /** A copy to be changed; this one stays as it is. */
  fork(owner: MapOwner): WorkloadIndex {
    const copy = new WorkloadIndex();
    copy.#byKey = this.#byKey;
    copy.#byIp = this.#byIp;
    copy.#byName = this.#byName;
    copy.#byHostname = this.#byHostname;
    copy.#inserted = this.#inserted;
    copy.#owner = owner;
    return copy;
  }

  freeze(): void {
    this.#owner = null;
  }

  entry(key: string): WorkloadEntry | undefined {
    return this.#byKey.get(key);
  }

  byUid(uid: string): Workload | null {
    return uid === "" ? null : this.#byKey.get(uid)?.workload ?? null;
  }

  byIp(network: string, ip: string): Workload | null {
    const found = this.#byIp.get(addressKey(network, ip));
    return found === undefined ? null : firstOf(found).workload;
  }

  /** The oldest that has both. */
  byHostname(namespace: string, hostname: string): Workload | null {
    const found = this.#byHostname.get(`${namespace}/${hostname}`);
    if (found === undefined) return null;
    const isMeant = ({ workload }: WorkloadEntry) =>
      workload.namespace === namespace && workload.hostname === hostname;
    return pick(found, isMeant);
  }

  /** The oldest, of `node` if that is not null. */
  local(local: LocalWorkloadName, node: string | null): Workload | null {
    const found = this.#byName.get(nameKey(local));
    if (found === undefined) return null;
    return pick(
      found,
      ({ workload }) =>
        workload.name === local.name && workload.namespace === local.namespace &&
        workload.serviceAccount === local.serviceAccount &&
        (node === null || workload.node === node),
    );
  }

  forEach(visit: (entry: WorkloadEntry) => void): void {
    this.#byKey.forEach(visit);
  }

  /** True when nobody else has its addresses, name or host name, so that its place among others means nothing. */
  isAlone(workload: Workload): boolean {
    for (const ip of addressesOf(workload)) {
      if (isList(this.#byIp.get(addressKey(workload.network, ip))!)) return false;
    }
    return !isList(this.#byName.get(nameKey(workload))!) &&
      (workload.hostname === "" || !isList(this.#byHostname.get(hostnameKey(workload))!));
  }

  /**
   * Adds a workload whose key is free.
   * @param isChanged False: it was there before this update, as it is.
   */
  insert(key: string, workload: Workload, isChanged: boolean, touched: Touched): WorkloadEntry {
    assert(this.#owner !== null, "Only a fork is changed");
    const entry = { key, workload, order: this.#inserted++ };
    this.#byKey = this.#byKey.set(key, entry, this.#owner);
    const rank = addressRank(workload);
    const place = (map: EntryMap, at: string, isAfter: (other: WorkloadEntry) => boolean) =>
      map.set(at, withItem(map.get(at), entry, isAfter), this.#owner);
    if (isChanged) touched.add(workloadDependency(workload.uid));
    // Equal rank: the one that came last (§3.4).
    const isWorse = (other: WorkloadEntry) => addressRank(other.workload) <= rank;
    for (const ip of addressesOf(workload)) {
      this.#byIp = place(this.#byIp, addressKey(workload.network, ip), isWorse);
    }
    const isYounger = () => false;
    this.#byName = place(this.#byName, nameKey(workload), isYounger);
    if (workload.hostname !== "") {
      this.#byHostname = place(this.#byHostname, hostnameKey(workload), isYounger);
    }
    this.#touch(workload, isChanged, touched);
    return entry;
  }

  /** @param isChanged False: it comes back in this update, as it is. */
  remove(entry: WorkloadEntry, isChanged: boolean, touched: Touched): void {
    assert(this.#owner !== null, "Only a fork is changed");
    const { workload } = entry;
    this.#touch(workload, isChanged, touched);
    if (isChanged) touched.add(workloadDependency(workload.uid));
    const drop = (map: EntryMap, at: string) => {
      const left = withoutItem(map.get(at)!, entry);
      return left === null ? map.delete(at, this.#owner) : map.set(at, left, this.#owner);
    };
    this.#byKey = this.#byKey.delete(entry.key, this.#owner);
    for (const ip of addressesOf(workload)) {
      this.#byIp = drop(this.#byIp, addressKey(workload.network, ip));
    }
    this.#byName = drop(this.#byName, nameKey(workload));
    if (workload.hostname !== "") {
      this.#byHostname = drop(this.#byHostname, hostnameKey(workload));
    }
  }

  /** What is found by this workload's names may differ; if it is unchanged, only where others have them too. */
  #touch(workload: Workload, isChanged: boolean, touched: Touched): void {
    const isShared = (map: EntryMap, at: string) => isChanged || isList(map.get(at)!);
    for (const ip of addressesOf(workload)) {
      if (isShared(this.#byIp, addressKey(workload.network, ip))) {
        touched.add(addressDependency(workload.network, ip));
      }
    }
    if (isShared(this.#byName, nameKey(workload))) touched.add(localDependency(workload));
    if (workload.hostname !== "" && isShared(this.#byHostname, hostnameKey(workload))) {
      touched.add(serviceDependency(workload.namespace, workload.hostname));
    }
  }
}

function pick(
  found: OneOrMore<WorkloadEntry>,
  isMeant: (entry: WorkloadEntry) => boolean,
): Workload | null {
  const entry = isList(found) ? found.find(isMeant) : isMeant(found) ? found : undefined;
  return entry?.workload ?? null;
}

/** Those it is found by, each once. */
function addressesOf({ networkMode, ips }: Workload): readonly string[] {
  if (networkMode === "HostNetwork") return [];
  return ips.length < 2 || ips.length === 2 && ips[0] !== ips[1] ? ips : [...new Set(ips)];
}

/** Who is meant by an IP that several have: 3 pod and HBONE, 2 pod, 1 HBONE, 0 others (§3.4). */
function addressRank({ uid, protocol }: Workload): number {
  return (uid.includes("//Pod/") ? 2 : 0) + (protocol === "HBONE" ? 1 : 0);
}

/** An index key for addresses of workloads and VIPs. */
export function addressKey(network: string, ip: string): string {
  return `${network}/${ip}`;
}

/** Not unique where a name has a slash: whoever finds compares. */
function nameKey({ namespace, name }: { readonly namespace: string; readonly name: string }) {
  return `${namespace}/${name}`;
}

function hostnameKey({ namespace, hostname }: Workload): string {
  return `${namespace}/${hostname}`;
}
