// Requests for the CA in the order they go out: priority, then due time, then age (spec/identity-and-inpod §3.1).
import { assert } from "../base/assert.ts";

/** What a request is for. The higher goes first. */
export const PRIORITY = {
  /** Refresh and retry; the only ones that lie in the future. */
  background: 0,
  /** Nobody waits yet, but somebody will. */
  warmup: 1,
  /** A connection waits. */
  realTime: 2,
} as const;
export type Priority = typeof PRIORITY[keyof typeof PRIORITY];

/** What makes a place in the queue. */
export interface Request {
  /** Who it is for; at most one request each. */
  readonly key: string;
  readonly priority: Priority;
  /** By the clock that never jumps. */
  readonly dueMs: number;
}

interface Place extends Request {
  readonly age: number;
  /** Its heap's, or -1 once it has left. */
  at: number;
}

/** One request per key. Due ones leave by rank; those of the future become due as time passes. */
export class RequestQueue {
  readonly #places = new Map<string, Place>();
  readonly #counts: Record<Priority, number> = [0, 0, 0];
  readonly #future = new Heap((a, b) => a.dueMs - b.dueMs || a.age - b.age);
  readonly #due = new Heap((a, b) => b.priority - a.priority || a.dueMs - b.dueMs || a.age - b.age);
  #ages = 0;

  get size(): number {
    return this.#places.size;
  }

  /** How many of that priority wait. */
  count(priority: Priority): number {
    return this.#counts[priority];
  }

  get(key: string): Request | null {
    return this.#places.get(key) ?? null;
  }

  /** Puts a request in, in place of the one of its key. */
  put(request: Request): void {
    this.remove(request.key);
    const place = { ...request, age: this.#ages++, at: -1 };
    this.#places.set(place.key, place);
    this.#counts[place.priority]++;
    // Which of them are due is found out when somebody asks with a time.
    this.#future.push(place);
  }

  /** True if there was one. */
  remove(key: string): boolean {
    const place = this.#places.get(key);
    if (place === undefined) return false;
    this.#places.delete(key);
    this.#counts[place.priority]--;
    if (!this.#future.remove(place)) this.#due.remove(place);
    return true;
  }

  /** The first of those due at `nowMs`, or null. */
  take(nowMs: number): Request | null {
    for (;;) {
      const first = this.#future.first;
      if (first === null || first.dueMs > nowMs) break;
      this.#future.remove(first);
      this.#due.push(first);
    }
    const best = this.#due.first;
    if (best !== null) this.remove(best.key);
    return best;
  }

  /** When the next request is due: not after now if one waits already; Infinity if there is none. */
  get nextDueMs(): number {
    return Math.min(this.#due.first?.dueMs ?? Infinity, this.#future.first?.dueMs ?? Infinity);
  }

  clear(): void {
    for (const key of [...this.#places.keys()]) this.remove(key);
  }
}

/** A binary heap whose members know where they are, so that any of them can leave. */
class Heap {
  readonly #before: (a: Place, b: Place) => number;
  readonly #places: Place[] = [];

  constructor(before: (a: Place, b: Place) => number) {
    this.#before = before;
  }

  get first(): Place | null {
    return this.#places[0] ?? null;
  }

  push(place: Place): void {
    this.#set(this.#places.length, place);
    this.#up(place);
  }

  /** False if it is not in this heap. */
  remove(place: Place): boolean {
    if (this.#places[place.at] !== place) return false;
    const hole = place.at;
    const last = this.#places.pop()!;
    place.at = -1;
    if (last === place) return true;
    this.#set(hole, last);
    this.#up(last);
    this.#down(last);
    return true;
  }

  #up(place: Place): void {
    while (place.at > 0) {
      const parent = this.#places[(place.at - 1) >> 1]!;
      if (this.#before(parent, place) < 0) return;
      this.#swap(parent, place);
    }
  }

  #down(place: Place): void {
    for (;;) {
      const left = this.#places[place.at * 2 + 1];
      const right = this.#places[place.at * 2 + 2];
      if (left === undefined) return;
      const child = right !== undefined && this.#before(right, left) < 0 ? right : left;
      if (this.#before(place, child) < 0) return;
      this.#swap(place, child);
    }
  }

  #swap(upper: Place, lower: Place): void {
    const at = upper.at;
    assert(at < lower.at, "The upper one is nearer to the top");
    this.#set(lower.at, upper);
    this.#set(at, lower);
  }

  #set(at: number, place: Place): void {
    this.#places[at] = place;
    place.at = at;
  }
}
