// Which peers are refused and which lose what they have when revocation lists change (spec/identity-and-inpod §5.2, §5.3).
import { assertEquals } from "@std/assert";
import { GOOD_URI, OddCa } from "../../tests/support/certificates.ts";
import { type CrlOptions, makeCrl, signerOf } from "../../tests/support/crls.ts";
import { CrlSet } from "./crl.ts";
import { RevocationLists } from "./revocation.ts";
import { parseSpiffeId } from "./spiffe_id.ts";
import { judgePeer, type PeerRule, type PeerVerdict } from "./verdict.ts";
import { VerdictCache } from "./verdict_cache.ts";

const ROOT = await OddCa.root();
const SIGNER = await signerOf(ROOT);
const CLIENT: PeerRule = { role: "client", trustDomain: "cluster.local" };
const SERVER: PeerRule = { role: "server", expected: [parseSpiffeId(GOOD_URI)] };
const LEAF = await ROOT.leaf();

function listOf(options: CrlOptions): CrlSet {
  return CrlSet.fromDer([makeCrl(SIGNER, options)]);
}

const REVOKING = listOf({ revoked: [LEAF.chainDer[0]!] });

function question(peer: PeerRule, nowMs = Date.now()) {
  return { chainDer: LEAF.chainDer, rootsDer: LEAF.rootsDer, peer, nowMs };
}

function codeOf(verdict: PeerVerdict): string {
  return verdict.kind === "accepted" ? "accepted" : verdict.error.code;
}

function pathOf(verdict: PeerVerdict) {
  if (verdict.kind === "rejected") throw verdict.error;
  return verdict.path;
}

Deno.test.each([
  { side: "client", peer: CLIENT },
  { side: "server", peer: SERVER },
])("judgePeer() refuses a revoked $side", ({ peer }) => {
  const verdict = judgePeer({ ...question(peer), crls: REVOKING });
  if (verdict.kind === "accepted") throw new Error("it should have been refused");
  const { code, message, debugForm } = verdict.error;
  assertEquals([code, message, debugForm], [
    "REVOKED",
    "invalid peer certificate: Revoked",
    "Custom { kind: InvalidData, error: InvalidCertificate(Revoked) }",
  ]);
});

Deno.test("judgePeer() finds revocation before a wrong name, and a wrong chain before revocation", () => {
  const nobody: PeerRule = { role: "server", expected: [] };
  assertEquals(codeOf(judgePeer({ ...question(nobody), crls: REVOKING })), "REVOKED");
  const tomorrow = Date.now() + 86_400_000;
  assertEquals(codeOf(judgePeer({ ...question(CLIENT, tomorrow), crls: REVOKING })), "EXPIRED");
});

Deno.test("judgePeer() gives the path with its root", () => {
  const path = pathOf(judgePeer(question(CLIENT)));
  assertEquals(path.map(({ der }) => der), [LEAF.chainDer[0]!, LEAF.rootsDer[0]!]);
});

Deno.test("VerdictCache lets new lists judge whom it remembers", () => {
  const cache = new VerdictCache();
  const lists = new RevocationLists();
  assertEquals(codeOf(lists.judge(cache, question(CLIENT))), "accepted");
  lists.replace(REVOKING);
  assertEquals(codeOf(lists.judge(cache, question(CLIENT))), "REVOKED");
  lists.replace(CrlSet.empty);
  assertEquals([codeOf(lists.judge(cache, question(CLIENT))), cache.size], ["accepted", 1]);
});

Deno.test("VerdictCache lets a leaf back in under its issuer's new certificate, once the old one is revoked", async () => {
  const subject = "CN=odd intermediate";
  const old = await ROOT.intermediate({ subject });
  const renewed = await ROOT.intermediate({ subject }, old);
  const { chainDer: [leaf], rootsDer } = await old.leaf();
  const over = ({ certificate }: OddCa) => ({
    chainDer: [leaf!, new Uint8Array(certificate.rawData)],
    rootsDer,
    peer: CLIENT,
    nowMs: Date.now(),
  });
  const cache = new VerdictCache();
  const lists = new RevocationLists();
  assertEquals(codeOf(lists.judge(cache, over(old))), "accepted");
  lists.replace(listOf({ revoked: [new Uint8Array(old.certificate.rawData)] }));
  assertEquals(codeOf(lists.judge(cache, over(old))), "REVOKED");
  assertEquals(codeOf(lists.judge(cache, over(renewed))), "accepted");
});

Deno.test("RevocationLists counts each refusal by the side that we are", () => {
  const lists = new RevocationLists();
  const cache = new VerdictCache();
  lists.judge(cache, question(CLIENT));
  assertEquals(lists.counts, { source: 0, destination: 0 });
  lists.replace(REVOKING);
  lists.judge(cache, question(CLIENT));
  lists.judge(cache, question(CLIENT));
  lists.judge(cache, question(SERVER));
  assertEquals(lists.counts, { source: 1, destination: 2 });
});

Deno.test("RevocationLists does not count who is refused for something else", () => {
  const lists = new RevocationLists();
  lists.replace(REVOKING);
  lists.judge(new VerdictCache(), question(CLIENT, Date.now() + 86_400_000));
  assertEquals(lists.counts, { source: 0, destination: 0 });
});

Deno.test("RevocationLists.findRevoked() counts whom it names, and spares whom a list is no list of", () => {
  const path = pathOf(judgePeer(question(CLIENT)));
  const lists = new RevocationLists();
  assertEquals(lists.findRevoked(path, "client"), null);
  lists.replace(REVOKING);
  assertEquals(lists.findRevoked(path, "client")?.code, "REVOKED");
  assertEquals(lists.findRevoked(path, "server")?.code, "REVOKED");
  // Signed with a method that is not accepted.
  lists.replace(listOf({ revoked: [LEAF.chainDer[0]!], algorithm: "ecdsa-sha1" }));
  assertEquals(lists.findRevoked(path, "client"), null);
  assertEquals(lists.counts, { source: 1, destination: 1 });
});
