import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { formatAuthority, parseAuthority } from "./authority.ts";

Deno.test.each([
  { text: "10.0.0.2:8080", ip: "10.0.0.2", port: 8080 },
  { text: "10.0.0.2:0", ip: "10.0.0.2", port: 0 },
  { text: "10.0.0.2:65535", ip: "10.0.0.2", port: 65535 },
  { text: "[2001:DB8:0:0:0:0:0:1]:80", ip: "2001:db8::1", port: 80 },
  { text: "[::ffff:10.0.0.2]:80", ip: "10.0.0.2", port: 80 },
])("parseAuthority() reads the address in $text", ({ text, ip, port }) => {
  assertEquals(parseAuthority(text), { kind: "address", address: { ip, port } });
});

Deno.test.each([
  { text: "server.default.svc.cluster.local:80", hostname: "server.default.svc.cluster.local" },
  { text: "Server:80", hostname: "Server" },
  // Not an IP to the original either: a name that will not be found.
  { text: "10.0.0.02:80", hostname: "10.0.0.02" },
])("parseAuthority() reads the name in $text", ({ text, hostname }) => {
  assertEquals(parseAuthority(text), { kind: "hostname", hostname, port: 80 });
});

Deno.test.each([
  { text: "" },
  { text: "server" },
  { text: "server:" },
  { text: ":80" },
  { text: "10.0.0.2" },
  { text: "10.0.0.2:" },
  { text: "10.0.0.2:65536" },
  { text: "10.0.0.2:70000" },
  { text: "10.0.0.2:-1" },
  { text: "10.0.0.2:8o" },
  { text: "[::1]" },
  { text: "[::1]:" },
  { text: "::1:80" },
  { text: "[fe80::1%eth0]:80" },
  { text: "user@server:80" },
  { text: "ser ver:80" },
  { text: "sérver:80" },
  { text: "server/path:80" },
])("parseAuthority() refuses '$text'", ({ text }) => {
  assertEquals(parseAuthority(text), null);
});

Deno.test("parseAuthority() survives any text, and gives a port of 16 bits", () => {
  fc.assert(fc.property(fc.string(), fc.nat(99_999), (host, port) => {
    const parsed = parseAuthority(`${host}:${port}`);
    if (parsed === null) return;
    const got = parsed.kind === "address" ? parsed.address.port : parsed.port;
    assertEquals(got, port);
    assertEquals(got <= 65535, true);
  }));
});

Deno.test.each([
  { text: "10.0.0.2:080", expected: "10.0.0.2:80" },
  { text: "[2001:DB8:0::1]:80", expected: "[2001:db8::1]:80" },
  { text: "Server.ns:0080", expected: "Server.ns:80" },
])("formatAuthority() writes $text as $expected", ({ text, expected }) => {
  assertEquals(formatAuthority(parseAuthority(text)!), expected);
});
