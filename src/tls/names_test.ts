// Which names a certificate carries (spec/identity-and-inpod §1.3).
import { assertEquals } from "@std/assert";
import { ascii, der, OddCa, type OddOptions } from "../../tests/support/certificates.ts";
import { parseCertificate } from "./certificate_der.ts";
import { ownIdentityOf, ownTrustDomain, spiffeIdsOfDer } from "./names.ts";

const ROOT = await OddCa.root();

async function leafDer(options: OddOptions) {
  return (await ROOT.leaf(options)).chainDer[0]!;
}

Deno.test.each<{ name: string; leaf: OddOptions; all: string[]; own: string | null }>([
  {
    name: "a DNS name, another URI, then a SPIFFE name",
    leaf: {
      otherNames: [der(0x82, ascii("a"))],
      uris: ["https://x", "spiffe://td/ns/a/sa/b"],
    },
    all: ["spiffe://td/ns/a/sa/b"],
    own: null,
  },
  {
    name: "two SPIFFE names",
    leaf: { uris: ["spiffe://td/ns/a/sa/b", "spiffe://td/ns/c/sa/d"] },
    all: ["spiffe://td/ns/a/sa/b", "spiffe://td/ns/c/sa/d"],
    own: "spiffe://td/ns/a/sa/b",
  },
  {
    name: "commas, quotes, escapes and spaces",
    leaf: { uris: ['spiffe://td/ns/a, URI:spiffe:"%2F/sa/b'] },
    all: ['spiffe://td/ns/a, URI:spiffe:"%2F/sa/b'],
    own: 'spiffe://td/ns/a, URI:spiffe:"%2F/sa/b',
  },
  { name: "another case", leaf: { uris: ["SPIFFE://td/ns/n/sa/s"] }, all: [], own: null },
  {
    name: "empty parts",
    leaf: { uris: ["spiffe://td/ns//sa/"] },
    all: ["spiffe://td/ns//sa/"],
    own: "spiffe://td/ns//sa/",
  },
  {
    name: "control and non-ASCII octets",
    leaf: {
      uris: [ascii("spiffe://td/ns/a/sa/\n"), ascii("spiffe://td/ns/a/sa/\xe4"), ascii("a\0b")],
    },
    all: [],
    own: null,
  },
  { name: "nothing", leaf: { uris: [] }, all: [], own: null },
])("names of a leaf with $name", async ({ leaf, all, own }) => {
  const bytes = await leafDer(leaf);
  assertEquals(spiffeIdsOfDer(bytes).map(({ uri }) => uri), all);
  assertEquals(ownIdentityOf(parseCertificate(bytes))?.uri ?? null, own);
});

Deno.test("spiffeIdsOfDer() of what is no certificate: nobody", () => {
  assertEquals(spiffeIdsOfDer(new Uint8Array([0x30, 0x03, 1, 2, 3])), []);
});

Deno.test("ownTrustDomain() is that of the first URI name, or null", async () => {
  assertEquals(ownTrustDomain(await ROOT.leaf()), "cluster.local");
  assertEquals(ownTrustDomain(await ROOT.leaf({ uris: ["https://x"] })), null);
});
