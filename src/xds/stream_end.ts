// What the end of a stream means: its metric, its log line (spec/xds-state-and-dns §1.10). Pure.
import type { LogLevel } from "../seam/events.ts";
import type { GrpcErrorCode } from "./grpc_error.ts";
import type { GrpcStatus } from "./grpc_status.ts";
import type { Termination } from "./settings.ts";

export type StreamEnd =
  /** Status OK, or none at all. */
  | { readonly kind: "complete" }
  | {
    readonly kind: "failed";
    /** The server had taken the call: its response headers had come. */
    readonly opened: boolean;
    /** Of the error, where that is gRPC's; null for a response that cannot be used. */
    readonly code: GrpcErrorCode | null;
    readonly status: GrpcStatus;
  };

/** Statuses of streams that end because connections do. */
const ROUTINE = ["Unknown", "Cancelled", "DeadlineExceeded"];
const ROUTINE_UNAVAILABLE = ["transport is closing", "received prior goaway"];

export function terminationOf(end: StreamEnd): Termination {
  if (end.kind === "complete") return "Complete";
  // Nobody refused us: we could not even ask.
  if (end.code === "GRPC_ROOTS") return "Error";
  if (!end.opened) return "ConnectionError";
  const { code, message } = end.status;
  const routine = ROUTINE.includes(code) ||
    code === "Unavailable" && ROUTINE_UNAVAILABLE.some((text) => message.includes(text));
  return routine ? "Reconnect" : "Error";
}

/** The line about an end. `address` is the control plane's URI. */
export function endLine(
  end: StreamEnd,
  { address, sleepMs }: { readonly address: string; readonly sleepMs: number },
): { readonly level: LogLevel; readonly text: string } {
  const reason = terminationOf(end);
  if (end.kind === "complete" || reason === "Complete") {
    return { level: "warn", text: "XDS client complete" };
  }
  const status = statusText(end.status);
  const retry = `retrying in ${waitText(sleepMs)}`;
  switch (reason) {
    case "ConnectionError": {
      const what = `gRPC connection error connecting to ${address}: ${status}`;
      return { level: "warn", text: `XDS client connection error: ${what}, ${retry}` };
    }
    case "Error":
      return { level: "warn", text: `XDS client error: gRPC error ${status}, ${retry}` };
    case "Reconnect":
      return { level: "debug", text: `XDS client terminated: gRPC error ${status}, ${retry}` };
  }
}

/** `status: <Code>, message: "<text>"`, and what an operator may look at. */
export function statusText({ code, message }: GrpcStatus): string {
  let text = `status: ${code}, message: ${JSON.stringify(message)}`;
  if (message.includes("authentication failure")) {
    text += " (hint: check the control plane logs for more information)";
  }
  if (/Temporary failure in name resolution|EAI_AGAIN/.test(message)) {
    text += " (hint: is the DNS server reachable?)";
  }
  return text;
}

/** A wait as the original writes it: `20ms`, `1.28s`, `15s`. */
export function waitText(ms: number): string {
  const whole = Math.round(ms);
  return whole < 1000 ? `${whole}ms` : `${whole / 1000}s`;
}
