// Which version of each resource we hold: said again when a stream begins, so that nothing is sent twice (spec/xds-state-and-dns §1.8).

/** Names of one type. A mesh of 100,000 pods has about 110,000; a response that would go over it is refused in part. */
export const NAMES_MAX = 1_000_000;

/** Versions by type and name. Lives as long as the process, never longer. */
export class VersionCache {
  readonly #types = new Map<string, Map<string, string>>();

  /** @param types All there will ever be. */
  constructor(types: readonly string[]) {
    for (const type of types) this.#types.set(type, new Map());
  }

  /** Names and versions of one type, "" included. A view. */
  of(type: string): ReadonlyMap<string, string> {
    return this.#of(type);
  }

  /** The resource was accepted; `version` may be "". */
  accepted(type: string, name: string, version: string): void {
    this.#of(type).set(name, version);
  }

  removed(type: string, name: string): void {
    this.#of(type).delete(name);
  }

  /** The name was asked for: its removal, if it is not known there, must be said to us. True if it was new. */
  asked(type: string, name: string): boolean {
    const versions = this.#of(type);
    if (versions.has(name)) return false;
    versions.set(name, "");
    return true;
  }

  #of(type: string): Map<string, string> {
    return this.#types.get(type)!;
  }
}
