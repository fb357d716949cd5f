// Requests for certificates, read back element by element by a reader of our own.
import { assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { readCsr } from "../../tests/support/csr_reader.ts";
import { parseSpiffeId, spiffeId } from "../tls/spiffe_id.ts";
import { newCertificateRequest } from "./csr.ts";
import { IdentityError } from "./errors.ts";

const IDENTITY = parseSpiffeId("spiffe://td/ns/ns1/sa/sa1");
const SUBJECT_ALT_NAME = "2.5.29.17";
const EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
/** id-ecPublicKey, prime256v1, an uncompressed point. */
const P256_PREFIX_HEX = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";

Deno.test("newCertificateRequest() names the workload in one critical extension and nowhere else", async () => {
  const { csrPem } = await newCertificateRequest(IDENTITY);
  const csr = readCsr(csrPem);
  assertEquals(csr.verifies, true);
  assertEquals(csr.signatureAlgorithm, ECDSA_WITH_SHA256);
  assertEquals(csr.version, 0);
  assertEquals(csr.subjectBytes, 0);
  assertEquals(csr.attributes, [EXTENSION_REQUEST]);
  assertEquals(csr.extensions, [{
    oid: SUBJECT_ALT_NAME,
    critical: true,
    valueHex: "301b86197370696666653a2f2f74642f6e732f6e73312f73612f736131",
  }]);
});

Deno.test("newCertificateRequest() is about the P-256 key it gives", async () => {
  const { csrPem, publicKeyDer, key } = await newCertificateRequest(IDENTITY);
  assertEquals(readCsr(csrPem).publicKeyDer, publicKeyDer);
  assertEquals(publicKeyDer.subarray(0, 27).toHex(), P256_PREFIX_HEX);
  const spki = key.use((der) =>
    createPublicKey(
      createPrivateKey({ key: Buffer.from(der), format: "der", type: "pkcs8" }).export({
        format: "pem",
        type: "pkcs8",
      }),
    ).export({ format: "der", type: "spki" })
  );
  assertEquals(new Uint8Array(spki), publicKeyDer);
});

Deno.test("newCertificateRequest() makes a new key for every request", async () => {
  const first = await newCertificateRequest(IDENTITY);
  const second = await newCertificateRequest(IDENTITY);
  assertNotEquals(first.publicKeyDer, second.publicKeyDer);
  assertNotEquals(first.key.use((der) => der.toHex()), second.key.use((der) => der.toHex()));
});

Deno.test("newCertificateRequest() shows nothing of the key", async () => {
  const request = await newCertificateRequest(IDENTITY);
  const hex = request.key.use((der) => der.toHex());
  const secret = request.key.use((der) => der.slice(36, 68).toBase64());
  const shown = JSON.stringify(request) + Deno.inspect(request, { depth: 9, showHidden: true });
  for (const part of [hex, secret]) assertEquals(shown.includes(part), false);
  assertEquals(Uint8Array.fromBase64(secret).length, 32);
  assertEquals(request.csrPem.includes(secret), false);
});

Deno.test.each([
  { name: "empty names", parts: { trustDomain: "td", namespace: "", serviceAccount: "" } },
  {
    name: "escapes, which stay",
    parts: { trustDomain: "td", namespace: "a%2Fb", serviceAccount: 'c,d"' },
  },
  {
    name: "300 characters",
    parts: { trustDomain: "td", namespace: "n".repeat(300), serviceAccount: "s" },
  },
])("newCertificateRequest() takes the identity octet for octet: $name", async ({ parts }) => {
  const identity = spiffeId(parts);
  const { extensions } = readCsr((await newCertificateRequest(identity)).csrPem);
  const text = new TextEncoder().encode(identity.uri).toHex();
  assertEquals(extensions[0]!.valueHex.endsWith(text), true);
});

Deno.test("newCertificateRequest() refuses an identity that no URI name can hold", async () => {
  const identity = spiffeId({ trustDomain: "bücher.example", namespace: "a", serviceAccount: "b" });
  const error = await assertRejects(() => newCertificateRequest(identity), IdentityError);
  assertEquals(error.code, "CSR_IDENTITY");
  assertStringIncludes(error.message, "failed to create CSR: certificate: ");
});
