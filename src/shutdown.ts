// What a signal means: begin to drain, the same signal once more, or end at once. Pure.

/** Under a task runner one Ctrl-C reaches the program twice within milliseconds (spec/deno-runtime §9.3). */
export const SAME_SIGNAL_MS = 500;

export type Signal = "SIGINT" | "SIGTERM";

/** Which signal began the drain, and when; null while running. */
export type ShutdownState = { readonly signal: Signal; readonly sinceMs: number } | null;

export type ShutdownStep = "drain" | "ignore" | "exit";

/**
 * What to do on a signal, and the state after it (spec/config-and-observability §4.3): the first drains; another
 * SIGINT ends at once, if SIGINT began the drain and this is not its echo; the rest is ignored.
 */
export function onSignal(
  before: ShutdownState,
  signal: Signal,
  nowMs: number,
): { readonly step: ShutdownStep; readonly state: ShutdownState } {
  if (before === null) return { step: "drain", state: { signal, sinceMs: nowMs } };
  const again = before.signal === "SIGINT" && signal === "SIGINT";
  const echo = nowMs - before.sinceMs < SAME_SIGNAL_MS;
  return { step: again && !echo ? "exit" : "ignore", state: before };
}
