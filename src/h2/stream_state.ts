// The life of a stream (RFC 9113 §5.1), less what push adds. Pure.

/** "waiting": ours, not yet announced because the peer's stream limit is reached. */
export type StreamState = "waiting" | "open" | "halfClosedLocal" | "halfClosedRemote" | "closed";

/** What a stream becomes when we sent END_STREAM. */
export function afterSentEnd(before: StreamState): StreamState {
  return before === "open" ? "halfClosedLocal" : "closed";
}

/** What a stream becomes when END_STREAM arrived. */
export function afterReceivedEnd(before: StreamState): StreamState {
  return before === "open" ? "halfClosedRemote" : "closed";
}

/** True while we may send HEADERS, DATA or END_STREAM. */
export function canSend(state: StreamState): boolean {
  return state === "open" || state === "halfClosedRemote";
}

/** True while the peer may send HEADERS or DATA. */
export function canReceive(state: StreamState): boolean {
  return state === "open" || state === "halfClosedLocal";
}
