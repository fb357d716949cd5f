// The library opened, its queue of errors, and what it reads.
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { testLibraries } from "../../../tests/support/native_tls.ts";
import { twoCertificates } from "../../../tests/support/real_sockets.ts";
import { CountedObjects } from "./live_objects.ts";
import { ERRORS_MAX, OpenSsl } from "./openssl.ts";
import { NativeStartError } from "./start_error.ts";

const { client: CERTIFIED } = await twoCertificates();

function withOpenSsl(use: (openssl: OpenSsl, objects: CountedObjects) => void): void {
  const objects = new CountedObjects();
  const openssl = OpenSsl.open(testLibraries(), objects);
  try {
    use(openssl, objects);
    assertEquals([...objects.counts], []);
  } finally {
    openssl.close();
  }
}

Deno.test("OpenSsl says which it is", () => {
  withOpenSsl((openssl) => {
    assertMatch(openssl.text, /^OpenSSL 3\.\d+\.\d+/);
    assertEquals(openssl.number >>> 28, 3);
  });
});

Deno.test("OpenSsl.open() says in a sentence what it cannot open", () => {
  const objects = new CountedObjects();
  const paths = testLibraries();
  assertThrows(
    () => OpenSsl.open({ ...paths, libssl: "/nowhere/libssl.so.3" }, objects),
    NativeStartError,
    "Cannot open /nowhere/libssl.so.3",
  );
});

Deno.test("OpenSsl reads a certificate and a key, counts both, and leaves the key's bytes alone", () => {
  withOpenSsl((openssl, objects) => {
    const certificate = openssl.certificate(CERTIFIED.chainDer[0]!);
    const before = CERTIFIED.key.use((der) => der.slice());
    const key = CERTIFIED.key.use((der) => openssl.privateKey(der));
    if (certificate === null || key === null) throw new Error("It should have been read");
    assertEquals([...objects.counts], [["X509", 1], ["EVP_PKEY", 1]]);
    assertEquals(CERTIFIED.key.use((der) => der.slice()), before);
    openssl.freeCertificate(certificate);
    openssl.freePrivateKey(key);
  });
});

Deno.test("OpenSsl gives null for cut certificates and keys, and says why", () => {
  withOpenSsl((openssl) => {
    const der = CERTIFIED.chainDer[0]!;
    for (const length of [0, 1, 2, 100, der.length - 1]) {
      assertEquals(openssl.certificate(der.slice(0, length)), null);
      assertEquals(openssl.takeErrors().length > 0, length > 0);
      const key = CERTIFIED.key.use((pkcs8) => openssl.privateKey(pkcs8.slice(0, length)));
      if (key !== null) openssl.freePrivateKey(key);
      openssl.clearErrors();
    }
  });
});

Deno.test("takeErrors() empties the queue, and gives no more than ERRORS_MAX", () => {
  withOpenSsl((openssl) => {
    // The library itself keeps the last 16 or so.
    for (let at = 0; at < 2 * ERRORS_MAX; at++) openssl.certificate(Uint8Array.of(1, 2, 3));
    const errors = openssl.takeErrors();
    assert(errors.length > 1 && errors.length <= ERRORS_MAX, `${errors.length} errors`);
    assert(errors.every(({ text }) => text !== ""));
    assertEquals(openssl.takeErrors(), []);
    openssl.certificate(Uint8Array.of(1, 2, 3));
    openssl.clearErrors();
    assertEquals(openssl.takeErrors(), []);
  });
});
