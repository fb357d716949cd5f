// What a client offers on the wire and what both sides agree on, with this machine's OpenSSL, or OPENSSL_LIB_DIR's.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { MeshCa } from "../support/mesh_ca.ts";
import type { HandshakeDone } from "./handshake_process.ts";
import { handshake, refusal } from "./handshake.ts";

/** Whether this library is 3.5 or newer. */
function hasHybrid({ library }: HandshakeDone): boolean {
  const [major, minor] = library.split(" ")[1]!.split(".").map(Number);
  return major === 3 && minor! >= 5;
}

Deno.test("a client offers TLS 1.3, two suites, a key share for X25519, h2, and nothing to resume", async () => {
  const done = await handshake();
  assertEquals(done.hello, {
    suites: ["1302", "1301"],
    groups: ["X25519", "P-256", "P-384", ...hasHybrid(done) ? ["X25519MLKEM768"] : []],
    keyShares: ["X25519"],
    versions: ["0304"],
    serverName: false,
    sessionTicket: false,
    preSharedKey: false,
    certificateCompression: false,
    alpn: ["h2"],
  });
});

Deno.test("both sides agree on TLS 1.3 with AES-256, and the server sends no tickets", async () => {
  const { done, version, suite, verdicts, octetsAfterHandshake, leaked } = await handshake();
  assertEquals({ done, version, suite, octetsAfterHandshake, leaked }, {
    done: true,
    version: "TLSv1.3",
    suite: "TLS_AES_256_GCM_SHA384",
    octetsAfterHandshake: 0,
    leaked: {},
  });
  assertEquals(new Set(verdicts), new Set(["spiffe://cluster.local/ns/default/sa/crypto"]));
});

Deno.test("TLS12_ENABLED adds TLS 1.2 and four suites, in their order", async () => {
  const { hello, version } = await handshake({ tls12: true });
  assertEquals(hello.versions, ["0304", "0303"]);
  // ECDHE-ECDSA-AES256, -AES128, ECDHE-RSA-AES256, -AES128, all GCM (RFC 5289).
  assertEquals(hello.suites, ["1302", "1301", "c02c", "c02b", "c030", "c02f"]);
  assertEquals(version, "TLSv1.3");
});

Deno.test("COMPLIANCE_POLICY=pqc offers the hybrid alone, or refuses to start before OpenSSL 3.5", async () => {
  const usual = await handshake();
  if (hasHybrid(usual)) {
    const { done, hello } = await handshake({ pqc: true, tls12: true });
    assertEquals(done, true);
    assertEquals([hello.groups, hello.keyShares], [["X25519MLKEM768"], ["X25519MLKEM768"]]);
    assertEquals(hello.versions, ["0304"]);
  } else {
    const version = usual.library.split(" ")[1];
    assertEquals(
      await refusal({ pqc: true }),
      `COMPLIANCE_POLICY=pqc needs OpenSSL 3.5 or newer: OpenSSL ${version} has no X25519MLKEM768 key exchange`,
    );
  }
});

Deno.test("a peer of another root is refused on both sides", async () => {
  const { rootPem } = await MeshCa.create("another root");
  const { done, verdicts, failures } = await handshake({ strangeRootPem: rootPem });
  assertEquals(done, false);
  assertEquals(verdicts[0], "UNKNOWN_ISSUER");
  assertStringIncludes(failures.join(), "unknown");
});
