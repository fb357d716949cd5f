// Who is there now, in the order they came: for sets whose members come and go with every connection.
import { assert } from "./assert.ts";

/** What a {@link Roster} lists; each is in one at a time. Its fields are the roster's. */
export abstract class Listed {
  listedBefore: Listed | null = null;
  listedAfter: Listed | null = null;
  listed = false;
}

/**
 * A set as a list through its members. `Set` is not for such churn: each time its table is renewed, the old one keeps
 * a reference to the new one for the sake of iterators. Once an old table has outlived two collections, every
 * later table hangs on it, and so does whatever those listed, until the whole heap is marked.
 *
 * A member that has left may be collected whatever became of its neighbours: it refers to none of them.
 */
export class Roster<Member extends Listed> {
  #first: Member | null = null;
  #last: Member | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Whoever came first of those that are there. */
  get first(): Member | null {
    return this.#first;
  }

  add(member: Member): void {
    assert(!member.listed, "A member is listed once");
    member.listed = true;
    member.listedBefore = this.#last;
    if (this.#last === null) this.#first = member;
    else this.#last.listedAfter = member;
    this.#last = member;
    this.#size++;
  }

  /** False where it has left already. */
  delete(member: Member): boolean {
    if (!member.listed) return false;
    const before = member.listedBefore as Member | null;
    const after = member.listedAfter as Member | null;
    if (before === null) this.#first = after;
    else before.listedAfter = after;
    if (after === null) this.#last = before;
    else after.listedBefore = before;
    member.listedBefore = null;
    member.listedAfter = null;
    member.listed = false;
    this.#size--;
    return true;
  }

  /** Those that are there now, first come first. */
  members(): Member[] {
    const members: Member[] = [];
    for (let member = this.#first; member !== null; member = member.listedAfter as Member | null) {
      members.push(member);
    }
    return members;
  }
}
