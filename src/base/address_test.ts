import { assertEquals } from "@std/assert";
import {
  formatAddress,
  isIpv6,
  isLoopback,
  parseIp,
  parsePort,
  parseSocketAddress,
} from "./address.ts";

Deno.test.each([
  { text: "0.0.0.0", expected: "0.0.0.0" },
  { text: "255.255.255.255", expected: "255.255.255.255" },
  { text: "10.0.0.1", expected: "10.0.0.1" },
  { text: "256.0.0.1", expected: null },
  { text: "10.0.0.01", expected: null },
  { text: "010.0.0.1", expected: null },
  { text: "10.0.0", expected: null },
  { text: "10.0.0.1.", expected: null },
  { text: "10.0.0.1.2", expected: null },
  { text: "10.1", expected: null },
  { text: "0x7f.1", expected: null },
  { text: " 10.0.0.1", expected: null },
  { text: "10.0.0.1\n", expected: null },
  { text: "", expected: null },
  { text: "localhost", expected: null },
  { text: "::", expected: "::" },
  { text: "::1", expected: "::1" },
  { text: "2001:DB8:0:0:0:0:0:1", expected: "2001:db8::1" },
  { text: "2001:0db8::0001", expected: "2001:db8::1" },
  { text: "fe80:0:0:1::", expected: "fe80:0:0:1::" },
  { text: "::ffff:10.0.0.1", expected: "10.0.0.1" },
  { text: "::ffff:a00:1", expected: "10.0.0.1" },
  { text: "::10.0.0.1", expected: "::a00:1" },
  { text: "1:2:3:4:5:6:7:8:9", expected: null },
  { text: "1:2:3", expected: null },
  { text: ":::", expected: null },
  { text: "fe80::1%eth0", expected: null },
  { text: "[::1]", expected: null },
  { text: "::1/128", expected: null },
  { text: "::ffff:256.0.0.1", expected: null },
])("parseIp() reads $text as $expected", ({ text, expected }) => {
  assertEquals(parseIp(text), expected);
});

Deno.test.each([
  { text: "0", expected: 0 },
  { text: "65534", expected: 65534 },
  { text: "65535", expected: 65535 },
  { text: "65536", expected: null },
  { text: "080", expected: 80 },
  { text: "", expected: null },
  { text: "-1", expected: null },
  { text: "+1", expected: null },
  { text: "1e3", expected: null },
  { text: "80 ", expected: null },
  { text: "000080", expected: null },
])("parsePort() reads $text as $expected", ({ text, expected }) => {
  assertEquals(parsePort(text), expected);
});

Deno.test.each([
  { text: "10.0.0.1:80", expected: { ip: "10.0.0.1", port: 80 } },
  { text: "[::1]:15008", expected: { ip: "::1", port: 15008 } },
  { text: "[::ffff:10.0.0.1]:80", expected: { ip: "10.0.0.1", port: 80 } },
  { text: "::1:80", expected: null },
  { text: "[10.0.0.1]:80", expected: null },
  { text: "10.0.0.1", expected: null },
  { text: "10.0.0.1:", expected: null },
  { text: ":80", expected: null },
  { text: "server.default:80", expected: null },
  { text: "[::1]", expected: null },
  { text: "[::1]:70000", expected: null },
])("parseSocketAddress() reads $text", ({ text, expected }) => {
  assertEquals(parseSocketAddress(text), expected);
});

Deno.test.each([
  { address: { ip: "10.0.0.1", port: 80 }, text: "10.0.0.1:80" },
  { address: { ip: "2001:db8::1", port: 15008 }, text: "[2001:db8::1]:15008" },
])("formatAddress() writes $text, which reads back", ({ address, text }) => {
  assertEquals(formatAddress(address), text);
  assertEquals(parseSocketAddress(text), address);
});

Deno.test("isIpv6() and isLoopback() look at the canonical text", () => {
  assertEquals(["::1", "10.0.0.1"].map(isIpv6), [true, false]);
  assertEquals(
    ["127.0.0.1", "127.255.0.9", "::1", "128.0.0.1", "10.127.0.1", "::2"].map(isLoopback),
    [true, true, true, false, false, false],
  );
});
