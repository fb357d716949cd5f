import { assertEquals } from "@std/assert";
import { judgeRequest, judgeResponse, trailersFault } from "./request_rules.ts";
import type { HeaderField } from "./types.ts";

/** `:method=GET x=y` → header list; a value may contain `=`. */
function list(text: string): HeaderField[] {
  if (text === "") return [];
  return text.split("|").map((field) => {
    const equals = field.indexOf("=");
    return { name: field.slice(0, equals), value: field.slice(equals + 1) };
  });
}

const GET = ":method=GET|:scheme=https|:path=/";

Deno.test.each([
  {
    name: "CONNECT with a host and port",
    text: ":method=CONNECT|:authority=10.0.0.2:80",
    bytes: -1,
  },
  { name: "CONNECT to IPv6", text: ":method=CONNECT|:authority=[2001:db8::1]:80", bytes: -1 },
  { name: "CONNECT to a name", text: ":method=CONNECT|:authority=example.com:80", bytes: -1 },
  { name: "CONNECT without authority, which gets 400", text: ":method=CONNECT", bytes: -1 },
  {
    name: "CONNECT without a port, which gets 400",
    text: ":method=CONNECT|:authority=server",
    bytes: -1,
  },
  { name: "CONNECT with an empty port", text: ":method=CONNECT|:authority=server:", bytes: -1 },
  { name: "CONNECT with port 70000", text: ":method=CONNECT|:authority=10.0.0.2:70000", bytes: -1 },
  { name: "CONNECT to [::1]", text: ":method=CONNECT|:authority=[::1]", bytes: -1 },
  {
    name: "content-length on CONNECT, unused",
    text: ":method=CONNECT|:authority=a:1|content-length=5",
    bytes: -1,
  },
  { name: "te: trailers", text: `${GET}|te=trailers`, bytes: -1 },
  { name: "OPTIONS *", text: ":method=OPTIONS|:scheme=http|:path=*", bytes: -1 },
  { name: "content-length", text: `${GET}|content-length=17`, bytes: 17 },
  {
    name: "content-length twice, the same",
    text: `${GET}|content-length=17|content-length=17`,
    bytes: 17,
  },
  { name: "an empty value", text: `${GET}|baggage=`, bytes: -1 },
  { name: "inner spaces", text: `${GET}|a=b c`, bytes: -1 },
])("judgeRequest() accepts $name", ({ text, bytes }) => {
  assertEquals(judgeRequest(list(text), false), { kind: "valid", contentBytes: bytes });
});

Deno.test.each([
  { text: "", why: ":method is missing" },
  { text: ":authority=a:1", why: ":method is missing" },
  { text: ":method=|:authority=a:1", why: ":method is not a token" },
  { text: ":method=CONNECT|:method=CONNECT", why: ":method occurs twice" },
  { text: ":method=CONNECT|:authority=a:1|:authority=a:1", why: ":authority occurs twice" },
  { text: ":method=CONNECT|:authority=a:1|:scheme=https", why: ":scheme on CONNECT" },
  { text: ":method=CONNECT|:authority=a:1|:path=/", why: ":path on CONNECT" },
  {
    text: ":method=CONNECT|:authority=a:1|:protocol=websocket|:scheme=https|:path=/",
    why: ":protocol without ENABLE_CONNECT_PROTOCOL",
  },
  { text: ":method=CONNECT|:status=200", why: ":status does not belong in a request" },
  { text: ":method=CONNECT|:unknown=1", why: ":unknown does not belong in a request" },
  { text: "a=b|:method=CONNECT", why: ":method follows a regular field" },
  { text: ":method=CONNECT|:authority=", why: ":authority cannot be parsed" },
  { text: ":method=CONNECT|:authority=a b:1", why: ":authority cannot be parsed" },
  { text: ":method=CONNECT|:authority=a/b", why: ":authority cannot be parsed" },
  { text: ":method=CONNECT|:authority=a:1:2", why: ":authority cannot be parsed" },
  { text: ":method=CONNECT|:authority=[::1", why: ":authority cannot be parsed" },
  { text: ":method=CONNECT|:authority=::1", why: ":authority cannot be parsed" },
  { text: ":method=CONNECT|:authority=u@", why: ":authority cannot be parsed" },
  { text: ":method=CONNECT|:authority=h\u00f6st:1", why: ":authority cannot be parsed" },
  { text: `${GET}|Upper=1`, why: "field name is not a lower-case token" },
  { text: `${GET}|a b=1`, why: "field name is not a lower-case token" },
  { text: `${GET}|=1`, why: "field name is not a lower-case token" },
  { text: `${GET}|a=x\0y`, why: "value of a has a forbidden character" },
  { text: `${GET}|a=x\ny`, why: "value of a has a forbidden character" },
  { text: `${GET}|a= x`, why: "value of a has a forbidden character" },
  { text: `${GET}|a=x\t`, why: "value of a has a forbidden character" },
  { text: `${GET}|connection=close`, why: "connection belongs to one hop of HTTP/1.1" },
  { text: `${GET}|keep-alive=1`, why: "keep-alive belongs to one hop of HTTP/1.1" },
  { text: `${GET}|proxy-connection=1`, why: "proxy-connection belongs to one hop of HTTP/1.1" },
  {
    text: `${GET}|transfer-encoding=chunked`,
    why: "transfer-encoding belongs to one hop of HTTP/1.1",
  },
  { text: `${GET}|upgrade=h2c`, why: "upgrade belongs to one hop of HTTP/1.1" },
  { text: `${GET}|te=gzip`, why: "te is not trailers" },
  { text: ":method=GET|:path=/", why: ":scheme is missing" },
  { text: ":method=GET|:scheme=https", why: ":path is missing" },
  { text: ":method=GET|:scheme=https|:path=", why: ":path is not absolute" },
  { text: `${GET}|:path=/`, why: ":path occurs twice" },
  { text: `:scheme=https|${GET}`, why: ":scheme occurs twice" },
  { text: `${GET}|content-length=x`, why: "content-length is not a number" },
  { text: `${GET}|content-length=1|content-length=2`, why: "content-length differs" },
])("judgeRequest() refuses a list because $why: $text", ({ text, why }) => {
  assertEquals(judgeRequest(list(text), false), { kind: "malformed", why });
});

Deno.test("judgeRequest() refuses content-length where no content follows", () => {
  const headers = list(`${GET}|content-length=1`);
  assertEquals(judgeRequest(headers, true), {
    kind: "malformed",
    why: "content-length without content",
  });
  assertEquals(judgeRequest(list(`${GET}|content-length=0`), true).kind, "valid");
});

Deno.test.each([
  { text: ":status=200|baggage=", end: false, kind: "final" },
  { text: ":status=401", end: true, kind: "final" },
  { text: ":status=100", end: false, kind: "interim" },
  { text: ":status=103|link=x", end: false, kind: "interim" },
])("judgeResponse() takes $text for $kind", ({ text, end, kind }) => {
  assertEquals(judgeResponse(list(text), end).kind, kind);
});

Deno.test.each([
  { text: "", why: ":status is missing" },
  { text: ":status=20", why: ":status is not a status code" },
  { text: ":status=0200", why: ":status is not a status code" },
  { text: ":status=101", why: "101 does not exist in HTTP/2" },
  { text: ":status=100", why: "interim response ends the stream" },
  { text: ":status=200|:status=200", why: ":status occurs twice" },
  { text: ":status=200|:path=/", why: ":path does not belong in a response" },
  { text: "a=b|:status=200", why: ":status follows a regular field" },
  { text: ":status=200|Upper=1", why: "field name is not a lower-case token" },
  { text: ":status=200|connection=close", why: "connection belongs to one hop of HTTP/1.1" },
])("judgeResponse() refuses a list because $why: $text", ({ text, why }) => {
  assertEquals(judgeResponse(list(text), true), { kind: "malformed", why });
});

Deno.test("trailersFault() allows regular fields only", () => {
  assertEquals(trailersFault(list("grpc-status=0")), null);
  assertEquals(trailersFault(list(":status=200")), ":status in trailers");
  assertEquals(trailersFault(list("Upper=1")), "field name is not a lower-case token");
});
