// The throw-away CA, in memory and in a folder.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { generateKeyPairSync } from "node:crypto";
import type { CertifiedKey } from "../tls/certificate.ts";
import { parseSpiffeId } from "../tls/spiffe_id.ts";
import { judgePeer } from "../tls/verdict.ts";
import { BACKDATE_MS, FakeCa, FakeCaError, LEAF_LIFETIME_MS } from "./fake_ca.ts";

const ID = parseSpiffeId("spiffe://cluster.local/ns/default/sa/a");
const NOW_MS = Date.UTC(2026, 0, 1);

function isGood(certificate: CertifiedKey, rootDer: Uint8Array<ArrayBuffer>): boolean {
  return (["client", "server"] as const).every((role) =>
    judgePeer({
      chainDer: certificate.chainDer,
      rootsDer: [rootDer],
      peer: role === "client"
        ? { role, trustDomain: "cluster.local" }
        : { role, expected: [certificate.identity] },
      nowMs: certificate.notBeforeMs + 1000,
    }).kind === "accepted"
  );
}

Deno.test("FakeCa issues leafs for both sides, each with a key of its own", async () => {
  const ca = await FakeCa.create({ nowMs: NOW_MS });
  const first = await ca.issue(ID, { nowMs: NOW_MS });
  const second = await ca.issue(ID, { nowMs: NOW_MS, lifetimeMs: 60_000, backdateMs: 0 });
  assert(isGood(first, ca.rootDer));
  assert(isGood(second, ca.rootDer));
  assertEquals([first.notBeforeMs, first.notAfterMs], [
    NOW_MS - BACKDATE_MS,
    NOW_MS + LEAF_LIFETIME_MS,
  ]);
  assertEquals([second.notBeforeMs, second.notAfterMs], [NOW_MS, NOW_MS + 60_000]);
  assert(first.key.pem() !== second.key.pem());
  assertEquals(second.generation, first.generation + 1);
  assertEquals(first.rootsPem, ca.rootPem);
});

Deno.test("two CAs in memory do not know each other", async () => {
  const ours = await FakeCa.create({ nowMs: NOW_MS });
  const theirs = await FakeCa.create({ nowMs: NOW_MS });
  assertEquals(isGood(await theirs.issue(ID, { nowMs: NOW_MS }), ours.rootDer), false);
});

/** A folder of the test's own, removed with everything in it. */
class TemporaryFolder implements AsyncDisposable {
  readonly path = Deno.makeTempDirSync();

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

Deno.test("FakeCa.open() makes root and key once, the key for its owner alone", async () => {
  await using folder = new TemporaryFolder();
  const path = `${folder.path}/new/ca`;
  const first = await FakeCa.open(path, { nowMs: NOW_MS });
  const second = await FakeCa.open(path, { nowMs: NOW_MS });
  assertEquals(second.rootPem, first.rootPem);
  assert(isGood(await second.issue(ID, { nowMs: NOW_MS }), first.rootDer));
  const names = [...Deno.readDirSync(path)].map(({ name }) => name).sort();
  assertEquals(names, ["root-cert.pem", "root-key.pem"]);
  assertEquals(Deno.statSync(`${path}/root-key.pem`).mode! & 0o777, 0o600);
});

Deno.test("FakeCa.open() by many at once gives all the same root", async () => {
  await using folder = new TemporaryFolder();
  const all = await Promise.all(
    Array.from({ length: 16 }, () => FakeCa.open(folder.path, { nowMs: NOW_MS })),
  );
  assertEquals(new Set(all.map(({ rootPem }) => rootPem)).size, 1);
  for (const ca of all) assert(isGood(await ca.issue(ID, { nowMs: NOW_MS }), all[0]!.rootDer));
});

Deno.test("FakeCa.open() makes the certificate anew where a start was cut short after the key", async () => {
  await using folder = new TemporaryFolder();
  await FakeCa.open(folder.path, { nowMs: NOW_MS });
  await Deno.remove(`${folder.path}/root-cert.pem`);
  const ca = await FakeCa.open(folder.path, { nowMs: NOW_MS });
  assert(isGood(await ca.issue(ID, { nowMs: NOW_MS }), ca.rootDer));
});

Deno.test.each([
  { name: "EC P-384 in SEC 1", type: "ec", options: { namedCurve: "P-384" }, format: "sec1" },
  { name: "EC P-256 in SEC 1", type: "ec", options: { namedCurve: "P-256" }, format: "sec1" },
  { name: "RSA in PKCS #8", type: "rsa", options: { modulusLength: 2048 }, format: "pkcs8" },
])("FakeCa.open() takes a key of $name", async ({ type, options, format }) => {
  await using folder = new TemporaryFolder();
  // deno-lint-ignore no-explicit-any -- The overloads want literal types.
  const { privateKey } = (generateKeyPairSync as any)(type, options);
  const pem = privateKey.export({ type: format, format: "pem" });
  await Deno.writeTextFile(`${folder.path}/root-key.pem`, pem);
  const ca = await FakeCa.open(folder.path, { nowMs: NOW_MS });
  assert(isGood(await ca.issue(ID, { nowMs: NOW_MS }), ca.rootDer));
});

Deno.test("FakeCa.open() says what is wrong with its folder, and shows no key", async () => {
  await using folder = new TemporaryFolder();
  await using other = new TemporaryFolder();
  await FakeCa.open(folder.path, { nowMs: NOW_MS });
  await FakeCa.open(other.path, { nowMs: NOW_MS });
  await Deno.copyFile(`${other.path}/root-cert.pem`, `${folder.path}/root-cert.pem`);
  const open = () => FakeCa.open(folder.path, { nowMs: NOW_MS });
  assertStringIncludes((await assertRejects(open, FakeCaError)).message, "is not the key of");
  await Deno.writeTextFile(`${folder.path}/root-cert.pem`, "rubbish");
  assertStringIncludes(
    (await assertRejects(open, FakeCaError)).message,
    "Cannot read a certificate from",
  );
  const key = await Deno.readTextFile(`${other.path}/root-key.pem`);
  await Deno.writeTextFile(`${folder.path}/root-key.pem`, key.slice(0, 90));
  const error = await assertRejects(open, FakeCaError);
  assertStringIncludes(error.message, "Cannot read a private key from");
  assertEquals(error.message.includes(key.slice(30, 60)), false);
});
