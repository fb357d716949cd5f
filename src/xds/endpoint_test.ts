import { assertEquals, assertThrows } from "@std/assert";
import { parseEndpoint } from "./endpoint.ts";
import { GrpcError } from "./grpc_error.ts";

Deno.test.each([
  { uri: "https://istiod.x.svc:15012", host: "istiod.x.svc", port: 15012, secure: true },
  { uri: "https://istiod.x.svc", host: "istiod.x.svc", port: 443, secure: true },
  { uri: "https://[fd00::1]:15012", host: "fd00::1", port: 15012, secure: true },
  { uri: "http://127.0.0.1:15010", host: "127.0.0.1", port: 15010, secure: false },
  { uri: "http://127.9.8.7:1", host: "127.9.8.7", port: 1, secure: false },
  { uri: "http://[::1]:15010", host: "::1", port: 15010, secure: false },
  { uri: "http://localhost:15010", host: "localhost", port: 15010, secure: false },
])("parseEndpoint() takes $uri", ({ uri, host, port, secure }) => {
  assertEquals(parseEndpoint(uri), { origin: new URL(uri).origin, host, port, secure });
});

Deno.test.each([
  { uri: "http://istiod.x.svc:15010", scheme: "http" },
  { uri: "http://10.0.0.1:15010", scheme: "http" },
  { uri: "http://128.0.0.1:15010", scheme: "http" },
  { uri: "http://localhost.example:15010", scheme: "http" },
  { uri: "http://0.0.0.0:15010", scheme: "http" },
  { uri: "ftp://127.0.0.1:15010", scheme: "ftp" },
])("parseEndpoint() refuses $uri as the original does", ({ uri, scheme }) => {
  const error = assertThrows(() => parseEndpoint(uri), GrpcError);
  assertEquals([error.code, error.message], ["GRPC_PLAINTEXT", `unsupported scheme ${scheme}`]);
});

Deno.test("parseEndpoint() refuses what is no URI", () => {
  assertEquals(assertThrows(() => parseEndpoint("https://"), GrpcError).code, "GRPC_CONNECT");
});
