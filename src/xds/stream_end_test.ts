import { assertEquals } from "@std/assert";
import type { GrpcErrorCode } from "./grpc_error.ts";
import type { GrpcCode } from "./grpc_status.ts";
import { endLine, statusText, type StreamEnd, terminationOf, waitText } from "./stream_end.ts";

function failed(
  { opened = true, code = "GRPC_STATUS", status = "Internal", message = "why" }: {
    opened?: boolean;
    code?: GrpcErrorCode | null;
    status?: GrpcCode;
    message?: string;
  },
): StreamEnd {
  return { kind: "failed", opened, code, status: { code: status, message } };
}

Deno.test.each<{ name: string; end: StreamEnd; expected: string }>([
  { name: "an end without a bad status", end: { kind: "complete" }, expected: "Complete" },
  { name: "a refusal", end: failed({ opened: false }), expected: "ConnectionError" },
  {
    name: "a refusal with UNKNOWN",
    end: failed({ opened: false, status: "Unknown" }),
    expected: "ConnectionError",
  },
  {
    name: "nobody there",
    end: failed({ opened: false, code: "GRPC_CONNECT", status: "Unavailable" }),
    expected: "ConnectionError",
  },
  {
    name: "an empty token file",
    end: failed({ opened: false, code: "GRPC_TOKEN", status: "Unauthenticated" }),
    expected: "ConnectionError",
  },
  {
    name: "roots that cannot be read",
    end: failed({ opened: false, code: "GRPC_ROOTS", status: "Unavailable" }),
    expected: "Error",
  },
  { name: "UNKNOWN", end: failed({ status: "Unknown" }), expected: "Reconnect" },
  { name: "CANCELLED", end: failed({ status: "Cancelled" }), expected: "Reconnect" },
  { name: "DEADLINE_EXCEEDED", end: failed({ status: "DeadlineExceeded" }), expected: "Reconnect" },
  {
    name: "UNAVAILABLE of a closing transport",
    end: failed({ status: "Unavailable", message: "the transport is closing now" }),
    expected: "Reconnect",
  },
  {
    name: "UNAVAILABLE after GOAWAY",
    end: failed({ status: "Unavailable", message: "received prior goaway: code: NO_ERROR" }),
    expected: "Reconnect",
  },
  { name: "other UNAVAILABLE", end: failed({ status: "Unavailable" }), expected: "Error" },
  { name: "INTERNAL", end: failed({}), expected: "Error" },
  { name: "a response nobody can read", end: failed({ code: null }), expected: "Error" },
])("terminationOf() $name is $expected", ({ end, expected }) => {
  assertEquals(terminationOf(end) as string, expected);
});

const ABOUT = { address: "https://istiod:15012", sleepMs: 1280 };

Deno.test.each<{ end: StreamEnd; level: string; text: string }>([
  {
    end: failed({ opened: false, code: "GRPC_CONNECT", status: "Unavailable" }),
    level: "warn",
    text:
      'XDS client connection error: gRPC connection error connecting to https://istiod:15012: status: Unavailable, message: "why", retrying in 1.28s',
  },
  {
    end: failed({}),
    level: "warn",
    text: 'XDS client error: gRPC error status: Internal, message: "why", retrying in 1.28s',
  },
  {
    end: failed({ status: "Unknown" }),
    level: "debug",
    text: 'XDS client terminated: gRPC error status: Unknown, message: "why", retrying in 1.28s',
  },
  { end: { kind: "complete" }, level: "warn", text: "XDS client complete" },
])("endLine() says at $level: $text", ({ end, level, text }) => {
  assertEquals(endLine(end, ABOUT) as unknown, { level, text });
});

Deno.test("statusText() hints at logs and at DNS", () => {
  assertEquals(
    statusText({ code: "Unauthenticated", message: "authentication failure" }),
    'status: Unauthenticated, message: "authentication failure" (hint: check the control plane logs for more information)',
  );
  const message =
    "dns error: failed to lookup address information: Temporary failure in name resolution";
  assertEquals(
    statusText({ code: "Unavailable", message }),
    `status: Unavailable, message: "${message}" (hint: is the DNS server reachable?)`,
  );
});

Deno.test.each([
  { ms: 10, text: "10ms" },
  { ms: 19.6, text: "20ms" },
  { ms: 640, text: "640ms" },
  { ms: 1280, text: "1.28s" },
  { ms: 15_000, text: "15s" },
])("waitText() writes $text", ({ ms, text }) => {
  assertEquals(waitText(ms), text);
});
