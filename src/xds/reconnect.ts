// How long to wait before the next stream (spec/xds-state-and-dns §1.10). Pure.
import type { Termination } from "./settings.ts";

/** The wait after a routine end, and where the doubling starts from. */
export const ROUTINE_WAIT_MS = 10;

/** Longest wait, in milliseconds. */
export const BACKOFF_MAX_MS = 15_000;

/** A stream of this age or more says that the server is well. */
export const STEADY_STREAM_MS = BACKOFF_MAX_MS;

/** Routine ends of young streams in a row that are taken for what they seem; further ones wait longer and longer. */
export const SHORT_STREAMS_MAX = 10;

/** The share of a wait that jitter takes off at most. */
export const JITTER_SHARE = 0.5;

export interface Reconnect {
  /** B of the specification, in milliseconds. */
  readonly backoffMs: number;
  /** Routine ends of young streams in a row. */
  readonly shortStreams: number;
}

export const FIRST_RECONNECT: Reconnect = { backoffMs: ROUTINE_WAIT_MS, shortStreams: 0 };

/**
 * The wait after a stream, and the state for the next one.
 * @param end.livedMs From the start of the attempt to its end.
 * @param end.jitter 0 to 1: how much of {@link JITTER_SHARE} of a back-off comes off; 0 gives the original's waits.
 */
export function afterStream(
  before: Reconnect,
  end: { readonly reason: Termination; readonly livedMs: number; readonly jitter: number },
): { readonly sleepMs: number; readonly next: Reconnect } {
  const { reason, livedMs, jitter } = end;
  const steady = livedMs >= STEADY_STREAM_MS;
  if (reason === "ConnectionError" || reason === "Error") {
    const backoffMs = Math.min(BACKOFF_MAX_MS, before.backoffMs * 2);
    const shortStreams = steady ? 0 : before.shortStreams;
    return {
      sleepMs: backoffMs * (1 - jitter * JITTER_SHARE),
      next: { backoffMs, shortStreams },
    };
  }
  // Errors in trailers look like routine ends where trailers are invisible: without this, a server that fails every
  // stream would be asked a hundred times a second.
  const shortStreams = steady ? 0 : before.shortStreams + 1;
  const extra = Math.min(Math.max(0, shortStreams - SHORT_STREAMS_MAX), 11);
  const sleepMs = Math.min(BACKOFF_MAX_MS, ROUTINE_WAIT_MS * 2 ** extra);
  return { sleepMs, next: { backoffMs: ROUTINE_WAIT_MS, shortStreams } };
}
