// Byte for byte as applications read it (spec/data-path §3.5).
import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../base/assert.ts";
import { parseSpiffeId, spiffeId } from "../tls/spiffe_id.ts";
import { encodeProxyHeader, type ProxyHeaderFacts } from "./proxy_header.ts";

const IDENTITY = parseSpiffeId("spiffe://cluster.local/ns/default/sa/client");
const IDENTITY_HEX = "7370696666653a2f2f636c75737465722e6c6f63616c2f6e732f64656661756c742f73612f" +
  "636c69656e74";
const SIGNATURE_HEX = "0d0a0d0a000d0a515549540a";

const FACTS: ProxyHeaderFacts = {
  source: { ip: "10.0.0.1", port: 1234 },
  destination: { ip: "10.0.0.2", port: 8080 },
  identity: IDENTITY,
};

function headerHex(change: Partial<ProxyHeaderFacts>): string {
  return encodeProxyHeader({ ...FACTS, ...change }).toHex();
}

Deno.test.each([
  {
    name: "IPv4 addresses and the identity",
    change: {},
    hex: `${SIGNATURE_HEX}2111003a0a0000010a00000204d21f90d0002b${IDENTITY_HEX}`,
  },
  {
    name: "only the identity where the families differ",
    change: { destination: { ip: "2001:db8::1", port: 80 } },
    hex: `${SIGNATURE_HEX}2101002ed0002b${IDENTITY_HEX}`,
  },
  {
    name: "only the identity where the families differ the other way",
    change: { source: { ip: "2001:db8::1", port: 80 } },
    hex: `${SIGNATURE_HEX}2101002ed0002b${IDENTITY_HEX}`,
  },
  {
    name: "IPv6 addresses",
    change: {
      source: { ip: "2001:db8::1", port: 65535 },
      destination: { ip: "::1", port: 0 },
      identity: null,
    },
    hex: `${SIGNATURE_HEX}21210024` + "20010db8000000000000000000000001" +
      "00000000000000000000000000000001" + "ffff0000",
  },
  {
    name: "IPv6 addresses without and with a run of zeros at the end",
    change: {
      source: { ip: "1:2:3:4:5:6:7:abcd", port: 1 },
      destination: { ip: "fd00::", port: 2 },
      identity: null,
    },
    hex: `${SIGNATURE_HEX}21210024` + "0001000200030004000500060007abcd" +
      "fd000000000000000000000000000000" + "00010002",
  },
  {
    name: "nothing at all",
    change: { source: { ip: "::", port: 1 }, identity: null },
    hex: `${SIGNATURE_HEX}21010000`,
  },
])("encodeProxyHeader() tells $name", ({ change, hex }) => {
  assertEquals(headerHex(change), hex);
});

Deno.test("encodeProxyHeader() fills the length it has, and not one octet more", () => {
  const named = (length: number) =>
    spiffeId({ trustDomain: "t".repeat(length), namespace: "n", serviceAccount: "s" });
  const roomBytes = 0xffff - 12 - 3;
  const fixedBytes = named(0).uri.length;
  const full = encodeProxyHeader({ ...FACTS, identity: named(roomBytes - fixedBytes) });
  assertEquals([full.length, full[14], full[15]], [16 + 0xffff, 0xff, 0xff]);
  assertThrows(
    () => encodeProxyHeader({ ...FACTS, identity: named(roomBytes - fixedBytes + 1) }),
    AssertionFailure,
  );
});
