// Which algorithms and keys may sign.
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { assertEquals } from "@std/assert";
import { RSA_SIGNER_BITS_MAX, RSA_SIGNER_BITS_MIN, signatureAlgorithm } from "./signatures.ts";

const RSA_SHA256 = "1.2.840.113549.1.1.11";

/** A key as far as it is looked at: making one of 8 Kibit takes seconds. */
function rsa(modulusLength: number): KeyObject {
  return { asymmetricKeyType: "rsa", asymmetricKeyDetails: { modulusLength } } as KeyObject;
}

Deno.test.each([
  { name: "just under RSA_SIGNER_BITS_MIN", bits: RSA_SIGNER_BITS_MIN - 1, counts: false },
  { name: "at RSA_SIGNER_BITS_MIN", bits: RSA_SIGNER_BITS_MIN, counts: true },
  { name: "at RSA_SIGNER_BITS_MAX", bits: RSA_SIGNER_BITS_MAX, counts: true },
  { name: "just over RSA_SIGNER_BITS_MAX", bits: RSA_SIGNER_BITS_MAX + 1, counts: false },
])("signatureAlgorithm() with an RSA key $name: $counts", ({ bits, counts }) => {
  assertEquals(signatureAlgorithm(RSA_SHA256, rsa(bits)) !== null, counts);
});

Deno.test("signatureAlgorithm() reads the size of a real key", () => {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
  assertEquals(signatureAlgorithm(RSA_SHA256, publicKey), null);
});

Deno.test("signatureAlgorithm() wants the kind of key that the algorithm is of", () => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  assertEquals(signatureAlgorithm(RSA_SHA256, publicKey), null);
  assertEquals(signatureAlgorithm("1.2.840.10045.4.3.2", publicKey), {
    key: "ec",
    digest: "sha256",
  });
  assertEquals(signatureAlgorithm("1.2.840.10045.4.1", publicKey), null);
});
