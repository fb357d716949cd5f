// The inner seam of the native network: descriptors and turns. Everything in this folder leans on it.
import type { Clock, Task } from "../../base/clock.ts";

/**
 * Whoever watches one descriptor. Events are edge-triggered: what is ready is told once, and again only after it was
 * used up (EAGAIN). Called in a turn of the loop; what it throws is caught there and given to {@link onFault}.
 */
export interface Watcher {
  /** @param events Bits of EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR and EPOLLHUP (constants.ts). */
  onReady(events: number): void;
  /** A bug while handling this descriptor: end what belongs to it and nothing else (design §6). */
  onFault(thrown: unknown): void;
}

/** One epoll instance and its timers: the loop of a data plane (design §3.3). */
export interface Loop {
  /** Timers and end-of-turn tasks; a timer wheel, never early. */
  readonly clock: Clock;
  /** Watches for EPOLLIN | EPOLLOUT | EPOLLRDHUP, edge-triggered. Throws {@link NetError} where epoll refuses. */
  watch(fd: number, watcher: Watcher): void;
  /** To be called before the descriptor is closed. Events already fetched for it are dropped. */
  unwatch(fd: number): void;
  /**
   * Runs `task` in the next turn, after a look at the descriptors: for a channel that used up its share of this one
   * and has more (bounded work per turn). Asking again before it ran does nothing.
   */
  nextTurn(task: Task): void;
  /**
   * One turn: waits for descriptors or the next timer, at most `timeoutMs` (−1: without end), runs what is due.
   * Tests in an isolate with promises call it with 0 again and again; a data plane calls it until it is over.
   */
  turn(timeoutMs: number): void;
}

/** Octets read or written, or minus the errno. */
export type CountOrErrno = number;

/** Live native objects by kind: descriptors, SSL objects, contexts, BIOs, callbacks …; all zero when nothing leaks. */
export interface LiveObjects {
  /** Counts one more of `kind` when created … */
  made(kind: string): void;
  /** … and one less when freed; an assertion fails below zero. */
  freed(kind: string): void;
  /** Kinds with a count above zero. */
  readonly counts: ReadonlyMap<string, number>;
}
