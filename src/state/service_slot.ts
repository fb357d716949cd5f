// A service in its place, and the choice among services that an address or a host name may mean (§3.8).
import { compileCidr } from "../rbac/cidr.ts";
import type { ServiceFacts } from "../seam/workload.ts";
import { parseSpiffeId, type SpiffeId, SpiffeIdError } from "../tls/spiffe_id.ts";
import type { NetworkCidr, Service } from "./resources.ts";
import { serviceKey } from "./resources.ts";
import { isSameValue } from "./same_value.ts";

/** Names of a service that are looked at; a real one has a few, and each goes into every route to it. */
export const SUBJECT_ALT_NAMES_MAX = 1_024;

/** Names of a service whose faults are told one by one. */
export const NAMES_TOLD_MAX = 10;

/** Told of what is wrong but no reason to refuse, one line each. */
export type Warn = (line: string) => void;

/** What does not change while endpoints come and go. */
export class ServiceSlot {
  readonly key: string;
  readonly service: Service;
  readonly facts: ServiceFacts;
  readonly #warn: Warn;
  #names: readonly SpiffeId[] | null = null;

  /** @param before The slot whose place this one takes, if any: what still holds is kept. */
  constructor(
    service: Service,
    { warn, before }: {
      readonly warn: Warn;
      readonly before: ServiceSlot | null;
    },
  ) {
    const { hostname, name, namespace } = service;
    const facts = { hostname, name, namespace };
    this.key = serviceKey(service);
    this.service = service;
    this.facts = before !== null && isSameValue(before.facts, facts) ? before.facts : facts;
    this.#warn = warn;
    if (before?.service === service) this.#names = before.#names;
  }

  /** The first `subjectAltNames` that are SPIFFE IDs; of the others, warnings are given at the first call. */
  get names(): readonly SpiffeId[] {
    return this.#names ??= this.#parseNames();
  }

  #parseNames(): SpiffeId[] {
    const names: SpiffeId[] = [];
    const texts = this.service.subjectAltNames;
    let ignored = Math.max(0, texts.length - SUBJECT_ALT_NAMES_MAX);
    let told = 0;
    for (const text of texts.slice(0, SUBJECT_ALT_NAMES_MAX)) {
      try {
        names.push(parseSpiffeId(text));
      } catch (error) {
        if (!(error instanceof SpiffeIdError)) throw error;
        if (told++ >= NAMES_TOLD_MAX) ignored++;
        else {
          const why = error.message;
          this.#warn(`ignoring a subject alternative name of service ${this.key}: ${why}`);
        }
      }
    }
    if (ignored > 0) {
      this.#warn(`ignoring ${ignored} more subject alternative names of service ${this.key}`);
    }
    return names;
  }
}

/** The services of one address, name or network. */
export class SlotList {
  /** Oldest first; at least one. */
  readonly all: readonly ServiceSlot[];
  #winners: readonly ServiceSlot[] | null = null;

  constructor(all: readonly ServiceSlot[]) {
    this.all = all;
  }

  /** At most one of each namespace: the youngest, in the place of the oldest (§3.3). */
  get winners(): readonly ServiceSlot[] {
    return this.#winners ??= winnersOf(this.all);
  }
}

/** With `slot` at the end. */
export function withSlot(list: SlotList | undefined, slot: ServiceSlot): SlotList {
  return new SlotList(list === undefined ? [slot] : [...list.all, slot]);
}

/** Null: nothing is left. */
export function withoutSlot({ all }: SlotList, slot: ServiceSlot): SlotList | null {
  const left = all.filter((other) => other !== slot);
  return left.length === 0 ? null : new SlotList(left);
}

function winnersOf(all: readonly ServiceSlot[]): readonly ServiceSlot[] {
  if (all.length === 1) return all;
  const byNamespace = new Map<string, ServiceSlot>();
  for (const slot of all) byNamespace.set(slot.service.namespace, slot);
  return byNamespace.size === all.length ? all : [...byNamespace.values()];
}

export function isVisible({ service }: ServiceSlot, clientNamespace: string | null): boolean {
  return service.visibility === "Public" || clientNamespace === null ||
    clientNamespace === service.namespace;
}

/** The client's own namespace, else the last canonical one, else the first (§3.8). */
export function pickSlot(
  slots: readonly ServiceSlot[],
  clientNamespace: string | null,
): ServiceSlot | null {
  let first: ServiceSlot | null = null;
  let canonical: ServiceSlot | null = null;
  for (const slot of slots) {
    if (!isVisible(slot, clientNamespace)) continue;
    if (slot.service.namespace === clientNamespace) return slot;
    first ??= slot;
    if (slot.service.canonical) canonical = slot;
  }
  return canonical ?? first;
}

/** Where a network of a service is filed. */
export interface CidrPlace {
  readonly network: string;
  readonly family: 4 | 6;
  readonly prefixBits: number;
  readonly key: string;
}

/** The places of a service's networks, each once; host bits do not count. */
export function cidrPlaces(cidrVips: readonly NetworkCidr[]): CidrPlace[] {
  const places = new Map<string, CidrPlace>();
  for (const { network, cidr } of cidrVips) {
    const { words } = compileCidr(cidr);
    const { prefixBits } = cidr;
    const key = cidrKey(network, words, prefixBits);
    places.set(key, { network, family: words.length === 1 ? 4 : 6, prefixBits, key });
  }
  return [...places.values()];
}

/** @param words An address; bits beyond the prefix are cut off. */
export function cidrKey(network: string, words: readonly number[], prefixBits: number): string {
  let key = `${network}/${prefixBits}`;
  for (let at = 0; at < words.length; at++) {
    const ones = Math.min(32, Math.max(0, prefixBits - at * 32));
    key += `,${ones === 0 ? 0 : words[at]! & -1 << 32 - ones}`;
  }
  return key;
}
