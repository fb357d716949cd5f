import { assertEquals } from "@std/assert";
import {
  codeOfHttpStatus,
  decodeMessage,
  isGrpcContentType,
  readStatus,
  STATUS_MESSAGE_MAX,
} from "./grpc_status.ts";

function statusOf(fields: Record<string, string>) {
  return readStatus((name) => fields[name]);
}

Deno.test.each([
  { code: "0", expected: "Ok" },
  { code: "1", expected: "Cancelled" },
  { code: "4", expected: "DeadlineExceeded" },
  { code: "7", expected: "PermissionDenied" },
  { code: "14", expected: "Unavailable" },
  { code: "16", expected: "Unauthenticated" },
])("readStatus() knows code $code", ({ code, expected }) => {
  const status = statusOf({ "grpc-status": code, "grpc-message": "why" });
  assertEquals(status, { code: expected as "Ok", message: "why" });
});

Deno.test.each([{ code: "17" }, { code: "-1" }, { code: "x" }, { code: "" }])(
  "readStatus() takes code '$code' for Unknown and shows it",
  ({ code }) => {
    assertEquals(statusOf({ "grpc-status": code }), {
      code: "Unknown",
      message: `grpc-status: ${code}`,
    });
  },
);

Deno.test("readStatus() is null without a grpc-status", () => {
  assertEquals(statusOf({ "grpc-message": "why" }), null);
});

Deno.test.each([
  { name: "plain text", encoded: "a b", expected: "a b" },
  { name: "percent signs", encoded: "100%25", expected: "100%" },
  { name: "UTF-8", encoded: "na%C3%AFve", expected: "naïve" },
  { name: "an unfinished escape", encoded: "50%2", expected: "50%2" },
  { name: "what is no escape", encoded: "%zz%20", expected: "%zz " },
  { name: "what is no UTF-8", encoded: "%ff", expected: "\ufffd" },
])("decodeMessage() reads $name", ({ encoded, expected }) => {
  assertEquals(decodeMessage(encoded), expected);
});

Deno.test("decodeMessage() keeps STATUS_MESSAGE_MAX characters", () => {
  for (const over of [-1, 0, 1]) {
    const kept = decodeMessage("x".repeat(STATUS_MESSAGE_MAX + over)).length;
    assertEquals(kept, Math.min(STATUS_MESSAGE_MAX, STATUS_MESSAGE_MAX + over));
  }
});

Deno.test.each([
  { http: 400, code: "Internal" },
  { http: 401, code: "Unauthenticated" },
  { http: 403, code: "PermissionDenied" },
  { http: 404, code: "Unimplemented" },
  { http: 429, code: "Unavailable" },
  { http: 502, code: "Unavailable" },
  { http: 503, code: "Unavailable" },
  { http: 504, code: "Unavailable" },
  { http: 302, code: "Unknown" },
  { http: 500, code: "Unknown" },
])("codeOfHttpStatus() maps $http to $code", ({ http, code }) => {
  assertEquals(codeOfHttpStatus(http) as string, code);
});

Deno.test.each([
  { value: "application/grpc", expected: true },
  { value: "application/grpc+proto", expected: true },
  { value: "application/grpc;charset=utf-8", expected: true },
  { value: "Application/GRPC", expected: true },
  { value: "application/grpc-web", expected: false },
  { value: "text/html", expected: false },
  { value: null, expected: false },
])("isGrpcContentType() says $expected to $value", ({ value, expected }) => {
  assertEquals(isGrpcContentType(value), expected);
});
