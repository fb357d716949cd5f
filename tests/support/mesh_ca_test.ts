import { assert, assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { MeshCa } from "./mesh_ca.ts";

Deno.test("MeshCa.issue() gives leaves that node:crypto verifies against the root", async () => {
  const ca = await MeshCa.create();
  // Several, because the DER of a signature differs in length by its leading bits.
  for (let round = 0; round < 8; round++) {
    const { certPem, rootPem } = await ca.issue({ uris: ["spiffe://cluster.local/ns/a/sa/b"] });
    const leaf = new X509Certificate(certPem);
    const root = new X509Certificate(rootPem);
    assert(leaf.verify(root.publicKey));
    assertEquals(leaf.subjectAltName, "URI:spiffe://cluster.local/ns/a/sa/b");
    assertEquals([root.ca, leaf.ca], [true, false]);
  }
});

Deno.test("MeshCa.issue() sets the validity it is asked for, to the second", async () => {
  const notAfterMs = Math.floor(Date.now() / 1000) * 1000 - 5000;
  const { certPem } = await (await MeshCa.create()).issue({ uris: [], notAfterMs });
  assertEquals(new Date(new X509Certificate(certPem).validTo).getTime(), notAfterMs);
});

Deno.test("MeshCa.writeRoot() keeps the key to its owner", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await (await MeshCa.create()).writeRoot(folder);
    assertEquals((await Deno.stat(`${folder}/root-key.pem`)).mode! & 0o777, 0o600);
    assert(
      (await Deno.readTextFile(`${folder}/root-key.pem`)).startsWith("-----BEGIN PRIVATE KEY"),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
