import { assertEquals } from "@std/assert";
import { encodeForwarded, forwardedHost } from "./forwarded.ts";

Deno.test.each([
  { ip: "127.0.0.1", service: null, expected: 'for="127.0.0.1:80"' },
  { ip: "::1", service: null, expected: 'for="[::1]:80"' },
  { ip: "127.0.0.1", service: "example.com", expected: 'for="127.0.0.1:80";host=example.com' },
  { ip: "127.0.0.1", service: "exämple", expected: 'for="127.0.0.1:80"' },
])("encodeForwarded() writes $expected for $ip and $service", ({ ip, service, expected }) => {
  assertEquals(encodeForwarded({ ip, port: 80 }, service), expected);
});

Deno.test.each([
  { value: "by=identifier;for=identifier;host=example.com;proto=https", expected: "example.com" },
  { value: 'by=identifier;for=identifier;host="example.com"', expected: "example.com" },
  { value: "by=identifier;for=identifier", expected: null },
  { value: "host=;", expected: null },
  { value: 'host="";', expected: null },
  { value: 'host=example.com;proto="pröto"', expected: null },
  { value: "for=a; host=example.com", expected: "example.com" },
  { value: "Host=example.com", expected: null },
  { value: "host=a;host=b", expected: "a" },
  { value: "", expected: null },
  { value: null, expected: null },
])("forwardedHost() reads $expected from $value", ({ value, expected }) => {
  assertEquals(forwardedHost(value), expected);
});
