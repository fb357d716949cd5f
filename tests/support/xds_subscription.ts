// What one stream has been told of one type, and what it has to be told next, as istiod works it out
// (spec/xds-state-and-dns §1.5, §1.9, §1.12). Pure.
import type { Fields } from "./protobuf.ts";
import type { XdsResource } from "./xds_resources.ts";

export interface XdsNews {
  readonly set: readonly XdsResource[];
  /** Names. */
  readonly removed: readonly string[];
}

export class XdsSubscription {
  /** Names and aliases asked for; null: everything. */
  readonly #asked: Set<string> | null;
  /** What the proxy was told last, or the version it says it has. */
  readonly #told: Map<string, XdsResource | { readonly version: string }>;
  /** Asked for, and not named by any response since. */
  readonly #pending: Set<string>;
  readonly #node: string;
  #isAnswered = false;

  /** @param request The first request of its type on a stream. */
  constructor(request: Fields) {
    const { subscribe, unsubscribe, initialVersions, node } = request;
    const versions = Object.entries(initialVersions as Record<string, string>);
    const onDemand = subscribe.includes("*") && unsubscribe.includes("*");
    // What a proxy says it has it goes on hearing about; and without a version, it still waits for it.
    this.#asked = onDemand ? new Set(versions.map(([name]) => name)) : null;
    this.#pending = new Set(
      onDemand ? versions.filter(([, version]) => version === "").map(([name]) => name) : [],
    );
    this.#told = new Map(versions.map(([name, version]) => [name, { version }]));
    this.#node = node?.metadata?.fields?.NODE_NAME?.string ?? "";
  }

  get isOnDemand(): boolean {
    return this.#asked !== null;
  }

  /** Names or aliases that the next news name, whatever was said before. */
  demand(keys: readonly string[]): void {
    for (const key of keys) {
      this.#asked?.add(key);
      this.#pending.add(key);
    }
  }

  /** What to say when these are all the resources of the type; null: nothing. The first time there is always something. */
  news(all: readonly XdsResource[]): XdsNews | null {
    const wanted = this.#wanted(all);
    const keys = new Set(wanted.flatMap(({ name, aliases }) => [name, ...aliases]));
    const isPending = ({ name, aliases }: XdsResource) =>
      [name, ...aliases].some((key) => this.#pending.has(key));
    const set = wanted.filter((resource) => isPending(resource) || this.#isNew(resource));
    const known = [...this.#told.keys(), ...this.#pending];
    const removed = [...new Set(known.filter((key) => !keys.has(key)))];
    this.#pending.clear();
    this.#told.clear();
    for (const resource of wanted) this.#told.set(resource.name, resource);
    if (this.#isAnswered && set.length === 0 && removed.length === 0) return null;
    this.#isAnswered = true;
    return { set, removed };
  }

  #isNew(resource: XdsResource): boolean {
    const told = this.#told.get(resource.name);
    if (told === undefined || "payload" in told) return told !== resource;
    // Policies have no versions, so all of them are sent again (§1.5).
    return resource.version === "" || resource.version !== told.version;
  }

  /** On demand: what was asked for, a service's workloads, and what runs on the proxy's node. */
  #wanted(all: readonly XdsResource[]): readonly XdsResource[] {
    const asked = this.#asked;
    if (asked === null) return all;
    const isAsked = ({ name, aliases }: XdsResource) =>
      [name, ...aliases].some((key) => asked.has(key));
    const names = new Set(all.filter(isAsked).map(({ name }) => name));
    return all.filter((resource) =>
      isAsked(resource) || (this.#node !== "" && resource.node === this.#node) ||
      resource.services.some((key) => names.has(key))
    );
  }
}
