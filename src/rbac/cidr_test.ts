// Tests of cidr.ts.
import { assertEquals } from "@std/assert";
import { addressWords, compileCidr, matchesNetwork, parseCidr } from "./cidr.ts";

Deno.test.each([
  { ip: "0.0.0.0", words: [0] },
  { ip: "255.255.255.255", words: [-1] },
  { ip: "10.1.0.9", words: [0x0a010009] },
  { ip: "::", words: [0, 0, 0, 0] },
  { ip: "::1", words: [0, 0, 0, 1] },
  { ip: "2001:db8::", words: [0x20010db8, 0, 0, 0] },
  { ip: "1:2:3:4:5:6:7:8", words: [0x10002, 0x30004, 0x50006, 0x70008] },
  { ip: "ff06::c3", words: [0xff060000 | 0, 0, 0, 0xc3] },
])("addressWords() of $ip", ({ ip, words }) => {
  assertEquals(addressWords(ip), words);
});

Deno.test.each([
  {
    cidr: "10.1.0.9/24",
    inside: ["10.1.0.0", "10.1.0.255"],
    outside: ["10.1.1.0", "10.0.255.255"],
  },
  { cidr: "10.1.0.1/32", inside: ["10.1.0.1"], outside: ["10.1.0.0", "10.1.0.2"] },
  { cidr: "0.0.0.0/0", inside: ["0.0.0.0", "255.255.255.255"], outside: ["::", "::1"] },
  { cidr: "128.0.0.0/1", inside: ["128.0.0.0", "200.1.1.1"], outside: ["127.255.255.255"] },
  { cidr: "::/0", inside: ["::", "ffff::"], outside: ["0.0.0.0", "10.1.0.1"] },
  { cidr: "2001:db8::/33", inside: ["2001:db8:7fff::1"], outside: ["2001:db8:8000::"] },
  { cidr: "::1/128", inside: ["::1"], outside: ["::", "::2"] },
  { cidr: "::ffff:10.0.0.0/104", inside: ["10.9.9.9"], outside: ["11.0.0.0"] },
])("matchesNetwork() of $cidr", ({ cidr, inside, outside }) => {
  const network = compileCidr(parseCidr(cidr)!);
  for (const ip of inside) assertEquals(matchesNetwork(network, addressWords(ip)), true, ip);
  for (const ip of outside) assertEquals(matchesNetwork(network, addressWords(ip)), false, ip);
});

Deno.test.each([
  "10.0.0.1",
  "10.0.0.1/",
  "10.0.0.1/33",
  "10.0.0.1/-1",
  "10.0.0/8",
  "010.0.0.0/8",
  "::1/129",
  "::ffff:10.0.0.0/95",
  "host/8",
  "10.0.0.0/8/8",
  "",
])("parseCidr() refuses %j", (text) => {
  assertEquals(parseCidr(text), null);
});

Deno.test("parseCidr() keeps host bits and the largest lengths", () => {
  assertEquals(parseCidr("10.1.0.9/24"), { ip: "10.1.0.9", prefixBits: 24 });
  assertEquals(parseCidr("10.1.0.9/32"), { ip: "10.1.0.9", prefixBits: 32 });
  assertEquals(parseCidr("2001:DB8::1/128"), { ip: "2001:db8::1", prefixBits: 128 });
});
