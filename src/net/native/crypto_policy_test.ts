import { assertEquals, assertThrows } from "@std/assert";
import { cryptoPolicy, type CryptoPolicyOptions, TLS1_2, TLS1_3 } from "./crypto_policy.ts";
import { NativeStartError } from "./start_error.ts";

const OPENSSL_3_0 = { number: 0x300000d0, version: "3.0.13" };
const OPENSSL_3_4 = { number: 0x30400ff0, version: "3.4.255" };
const OPENSSL_3_5 = { number: 0x30500000, version: "3.5.0" };

function policy(options: Partial<CryptoPolicyOptions> = {}) {
  return cryptoPolicy({ tls12: false, pqc: false, fips: null, library: OPENSSL_3_5, ...options });
}

function provider(hybrid: boolean) {
  const [name, version] = ["Some Provider", hybrid ? "3.5.4" : "3.0.8"];
  return { text: `fips: data plane only, provider ${name} ${version}`, name, version, hybrid };
}

Deno.test("cryptoPolicy() is TLS 1.3 with two suites, as every ztunnel", () => {
  assertEquals(policy(), {
    minVersion: TLS1_3,
    maxVersion: TLS1_3,
    tls13Suites: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
    tls12Suites: null,
    groups: "X25519:P-256:P-384:?X25519MLKEM768",
    verifyInLibrary: false,
    fips: null,
  });
});

Deno.test.each([
  { library: OPENSSL_3_0, groups: "X25519:P-256:P-384" },
  { library: OPENSSL_3_4, groups: "X25519:P-256:P-384" },
  { library: OPENSSL_3_5, groups: "X25519:P-256:P-384:?X25519MLKEM768" },
])("cryptoPolicy() offers $groups with OpenSSL $library.version", ({ library, groups }) => {
  assertEquals(policy({ library }).groups, groups);
});

Deno.test("cryptoPolicy() adds TLS 1.2 and its four suites by the switch", () => {
  const { minVersion, maxVersion, tls12Suites } = policy({ tls12: true });
  assertEquals([minVersion, maxVersion], [TLS1_2, TLS1_3]);
  assertEquals(tls12Suites?.split(":"), [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
  ]);
});

Deno.test("cryptoPolicy() with pqc has one key exchange, and no TLS 1.2 to step around it", () => {
  const { groups, minVersion, tls12Suites } = policy({ pqc: true, tls12: true });
  assertEquals({ groups, minVersion, tls12Suites }, {
    groups: "X25519MLKEM768",
    minVersion: TLS1_3,
    tls12Suites: null,
  });
});

Deno.test.each([OPENSSL_3_0, OPENSSL_3_4])(
  "cryptoPolicy() refuses pqc with OpenSSL $version",
  (library) => {
    assertThrows(
      () => policy({ pqc: true, library }),
      NativeStartError,
      `COMPLIANCE_POLICY=pqc needs OpenSSL 3.5 or newer: OpenSSL ${library.version} has no X25519MLKEM768 key exchange`,
    );
  },
);

Deno.test("cryptoPolicy() with a FIPS provider has approved groups and suites, and lets it verify", () => {
  const fips = provider(false);
  const chosen = policy({ fips, tls12: true });
  assertEquals(chosen.groups, "P-256:P-384");
  assertEquals(chosen.verifyInLibrary, true);
  assertEquals(chosen.fips, fips);
  for (const suite of `${chosen.tls13Suites}:${chosen.tls12Suites}`.split(":")) {
    assertEquals(/AES_?(128|256)[_-]GCM/.test(suite), true, suite);
  }
});

Deno.test("cryptoPolicy() takes pqc together with FIPS where the provider offers the hybrid", () => {
  assertEquals(policy({ pqc: true, fips: provider(true) }).groups, "X25519MLKEM768");
  assertThrows(
    () => policy({ pqc: true, fips: provider(false) }),
    NativeStartError,
    "COMPLIANCE_POLICY=pqc cannot be kept with FIPS_MODULE_PATH: provider Some Provider 3.0.8 does not offer X25519MLKEM768",
  );
});
