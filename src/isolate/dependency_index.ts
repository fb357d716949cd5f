// Which of the answers kept depend on what: so that a change forgets those it touched and no others.
import { DEPENDENCIES_MAX } from "../hbone/recent_touches.ts";
import type { Dependencies } from "../seam/route.ts";

/** Something kept, found again by each of its dependencies. */
export interface Dependent {
  readonly dependsOn: Dependencies;
}

/** Members are held until they are removed: who adds bounds their number, and with it {@link links}. */
export class DependencyIndex<Member extends Dependent> {
  readonly #members = new Map<string, Set<Member>>();
  /** Members with too many dependencies to note. */
  readonly #onAnything = new Set<Member>();
  #links = 0;

  /** Notes held: one per member and dependency. */
  get links(): number {
    return this.#links;
  }

  /** Not to be added twice without being removed. */
  add(member: Member): void {
    if (member.dependsOn.length > DEPENDENCIES_MAX) {
      this.#onAnything.add(member);
      this.#links++;
      return;
    }
    for (const dependency of member.dependsOn) {
      let members = this.#members.get(dependency);
      if (members === undefined) {
        members = new Set();
        this.#members.set(dependency, members);
      }
      if (members.has(member)) continue; // Named twice.
      members.add(member);
      this.#links++;
    }
  }

  remove(member: Member): void {
    if (this.#onAnything.delete(member)) {
      this.#links--;
      return;
    }
    for (const dependency of member.dependsOn) {
      const members = this.#members.get(dependency);
      if (members === undefined || !members.delete(member)) continue;
      this.#links--;
      if (members.size === 0) this.#members.delete(dependency);
    }
  }

  clear(): void {
    this.#members.clear();
    this.#onAnything.clear();
    this.#links = 0;
  }

  /** How many {@link touch} would visit at most. */
  count(touched: readonly string[]): number {
    let count = this.#onAnything.size;
    for (const dependency of touched) count += this.#members.get(dependency)?.size ?? 0;
    return count;
  }

  /** Calls `visit` with each member that depends on one of these, at least once; it may remove them. */
  touch(touched: readonly string[], visit: (member: Member) => void): void {
    for (const member of this.#onAnything) visit(member);
    for (const dependency of touched) {
      const members = this.#members.get(dependency);
      if (members !== undefined) { for (const member of members) visit(member); }
    }
  }
}
