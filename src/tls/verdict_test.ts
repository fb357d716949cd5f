// Who is let in and who is not, as a table (spec/identity-and-inpod §4.2, §4.3).
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  ascii,
  CLIENT_AUTH,
  der,
  GOOD_URI,
  OddCa,
  type OddOptions,
  SERVER_AUTH,
} from "../../tests/support/certificates.ts";
import * as x509 from "../identity/x509.ts";
import type { CertifiedKey } from "./certificate.ts";
import { CERTIFICATE_BYTES_MAX } from "./certificate_der.ts";
import {
  CHAIN_CERTIFICATES_MAX,
  CHAIN_DEPTH_MAX,
  SIGNATURE_CHECKS_MAX,
  verifyChain,
} from "./chain.ts";
import type { PeerRejectedError } from "./errors.ts";
import { parseSpiffeId } from "./spiffe_id.ts";
import { judgePeer, type PeerRule, type PeerVerdict } from "./verdict.ts";
import { VERDICT_CACHE_MAX, VerdictCache } from "./verdict_cache.ts";

const HOUR_MS = 3_600_000;
const ROOT = await OddCa.root();
const CLIENT: PeerRule = { role: "client", trustDomain: "cluster.local" };
const SERVER: PeerRule = { role: "server", expected: [parseSpiffeId(GOOD_URI)] };

function judge(
  leaf: Pick<CertifiedKey, "chainDer">,
  peer: PeerRule = CLIENT,
  options: { readonly root?: OddCa; readonly nowMs?: number } = {},
): PeerVerdict {
  return judgePeer({
    chainDer: leaf.chainDer,
    rootsDer: [new Uint8Array((options.root ?? ROOT).root.rawData)],
    peer,
    nowMs: options.nowMs ?? Date.now(),
  });
}

function rejection(verdict: PeerVerdict): PeerRejectedError {
  if (verdict.kind !== "rejected") throw new Error("it should have been rejected");
  return verdict.error;
}

/** "accepted" or the code of the rejection. */
function outcome(verdict: PeerVerdict): string {
  return verdict.kind === "accepted" ? "accepted" : verdict.error.code;
}

interface Row {
  readonly name: string;
  readonly leaf: OddOptions;
  readonly peer?: PeerRule;
  readonly expected: string;
}

const ROWS: readonly Row[] = [
  { name: "a good client", leaf: {}, expected: "accepted" },
  { name: "a good server", leaf: {}, peer: SERVER, expected: "accepted" },
  { name: "no extended usage at all", leaf: { usages: null }, expected: "accepted" },
  { name: "a client made for servers", leaf: { usages: [SERVER_AUTH] }, expected: "WRONG_USAGE" },
  {
    name: "a server made for clients",
    leaf: { usages: [CLIENT_AUTH] },
    peer: SERVER,
    expected: "WRONG_USAGE",
  },
  { name: "a CA as leaf", leaf: { isCa: true }, expected: "CA_AS_LEAF" },
  { name: "an expired leaf", leaf: { notAfterMs: Date.now() - 60_000 }, expected: "EXPIRED" },
  {
    name: "a leaf of tomorrow",
    leaf: { notBeforeMs: Date.now() + HOUR_MS, notAfterMs: Date.now() + 2 * HOUR_MS },
    expected: "NOT_VALID_YET",
  },
  { name: "no name", leaf: { uris: [] }, expected: "WRONG_TRUST_DOMAIN" },
  {
    name: "no SPIFFE name among names",
    leaf: { uris: ["https://cluster.local/ns/a/sa/b"] },
    expected: "WRONG_TRUST_DOMAIN",
  },
  {
    name: "another trust domain",
    leaf: { uris: ["spiffe://clusterset.local/ns/default/sa/my-app"] },
    expected: "WRONG_TRUST_DOMAIN",
  },
  {
    name: "our trust domain as second name",
    leaf: { uris: ["spiffe://other/ns/a/sa/b", "https://x", GOOD_URI] },
    expected: "accepted",
  },
  {
    name: "the expected name among others",
    leaf: { uris: ["spiffe://x/ns/a/sa/b", GOOD_URI] },
    peer: SERVER,
    expected: "accepted",
  },
  {
    name: "a DNS name only",
    leaf: { uris: [], otherNames: [der(0x82, ascii("cluster.local"))] },
    peer: SERVER,
    expected: "WRONG_IDENTITY",
  },
  {
    name: "an empty list of expected names",
    leaf: {},
    peer: { role: "server", expected: [] },
    expected: "WRONG_IDENTITY",
  },
  {
    name: "a name with an escape that decodes to the expected one",
    leaf: { uris: [GOOD_URI.replace("odd", "%6Fdd")] },
    peer: SERVER,
    expected: "WRONG_IDENTITY",
  },
  {
    name: "a name that ends in NUL",
    leaf: { uris: [ascii(`${GOOD_URI}\0`)] },
    peer: SERVER,
    expected: "WRONG_IDENTITY",
  },
  {
    name: "a DNS name that looks like a list of names",
    leaf: { uris: [], otherNames: [der(0x82, ascii(`x, URI:${GOOD_URI}`))] },
    expected: "WRONG_TRUST_DOMAIN",
  },
  {
    name: "an unknown critical extension",
    leaf: { extraExtensions: [new x509.Extension("1.2.3.4", true, new Uint8Array([5, 0]))] },
    expected: "UNKNOWN_CRITICAL_EXTENSION",
  },
  {
    name: "an unknown extension that is not critical",
    leaf: { extraExtensions: [new x509.Extension("1.2.3.4", false, new Uint8Array([5, 0]))] },
    expected: "accepted",
  },
  {
    name: "basic constraints left out",
    leaf: { plainForm: true },
    expected: "accepted",
  },
  {
    name: "an extension twice",
    leaf: {
      extraExtensions: [new x509.Extension("2.5.29.17", false, der(0x30, der(0x86, ascii("a:b"))))],
    },
    expected: "BAD_ENCODING",
  },
];

for (const { name, leaf, peer, expected } of ROWS) {
  Deno.test(`judgePeer() ${name}: ${expected}`, async () => {
    assertEquals(outcome(judge(await ROOT.leaf(leaf), peer)), expected);
  });
}

Deno.test("judgePeer() gives all SPIFFE names in order and the leaf's hash", async () => {
  const uris = ["https://x", "spiffe://td/ns/b/sa/2", GOOD_URI];
  const verdict = judge(await ROOT.leaf({ uris }));
  if (verdict.kind !== "accepted") throw verdict.error;
  assertEquals(verdict.identities.map(({ uri }) => uri), ["spiffe://td/ns/b/sa/2", GOOD_URI]);
  assertEquals(verdict.leafSha256.length, 64);
});

Deno.test("judgePeer() without a certificate: NO_CERTIFICATE in the words of the log", () => {
  const error = rejection(judge({ chainDer: [] }));
  assertEquals(error.code, "NO_CERTIFICATE");
  assertEquals(error.debugForm, "Custom { kind: InvalidData, error: NoCertificatesPresented }");
});

Deno.test("judgePeer() words a wrong server identity as the spec has it", async () => {
  const leaf = await ROOT.leaf({ uris: ["spiffe://td/ns/a/sa/x", "spiffe://td/ns/a/sa/y"] });
  const expected = [parseSpiffeId("spiffe://td/ns/b/sa/1"), parseSpiffeId("spiffe://td/ns/b/sa/2")];
  assertEquals(
    rejection(judge(leaf, { role: "server", expected })).message,
    "invalid peer certificate: Other(OtherError(identity verification error: peer did not present " +
      "the expected SAN (spiffe://td/ns/b/sa/1,spiffe://td/ns/b/sa/2), got " +
      "spiffe://td/ns/a/sa/x,spiffe://td/ns/a/sa/y))",
  );
});

Deno.test("judgePeer() words a wrong trust domain as the spec has it", async () => {
  const error = rejection(judge(await ROOT.leaf({ uris: ["spiffe://td/ns/a/sa/x"] })));
  assertStringIncludes(
    error.debugForm,
    "identity verification error: peer did not present the expected trustdomain (cluster.local), " +
      "got spiffe://td/ns/a/sa/x",
  );
});

Deno.test("judgePeer() of another CA: UnknownIssuer", async () => {
  const other = await OddCa.root({ subject: "CN=another root" });
  const error = rejection(judge(await other.leaf()));
  assertEquals(error.message, "invalid peer certificate: UnknownIssuer");
  assertEquals(
    error.debugForm,
    "Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }",
  );
});

Deno.test("judgePeer() of a CA with our root's name but another key: BadSignature", async () => {
  const impostor = await OddCa.root();
  assertEquals(
    rejection(judge(await impostor.leaf())).message,
    "invalid peer certificate: BadSignature",
  );
});

Deno.test("judgePeer() does not look at the root's own validity", async () => {
  const old = await OddCa.root({ notAfterMs: Date.now() - HOUR_MS / 2 });
  assertEquals(outcome(judge(await old.leaf(), CLIENT, { root: old })), "accepted");
});

Deno.test("judgePeer() climbs over an intermediate, in any order, with surplus certificates", async () => {
  const middle = await (await ROOT.intermediate()).intermediate();
  const leaf = await middle.leaf();
  assertEquals(outcome(judge(leaf)), "accepted");
  const [first, ...others] = leaf.chainDer;
  const surplus = (await (await OddCa.root()).leaf()).chainDer[0]!;
  const root = new Uint8Array(ROOT.root.rawData);
  assertEquals(
    outcome(judge({ chainDer: [first!, surplus, root, ...others.toReversed()] })),
    "accepted",
  );
  assertEquals(outcome(judge({ chainDer: [first!] })), "UNKNOWN_ISSUER");
});

Deno.test.each<{ name: string; middle: OddOptions; expected: string }>([
  { name: "no CA", middle: { isCa: false }, expected: "UNKNOWN_ISSUER" },
  { name: "expired", middle: { notAfterMs: Date.now() - 60_000 }, expected: "EXPIRED" },
  { name: "made for servers", middle: { usages: [SERVER_AUTH] }, expected: "WRONG_USAGE" },
  {
    name: "constrained to URIs",
    middle: {
      extraExtensions: [
        new x509.Extension(
          "2.5.29.30",
          true,
          der(0x30, der(0xa0, der(0x30, der(0x86, ascii("cluster.local"))))),
        ),
      ],
    },
    expected: "NAME_CONSTRAINTS",
  },
  {
    name: "constrained to DNS names",
    middle: {
      extraExtensions: [
        new x509.Extension(
          "2.5.29.30",
          true,
          der(0x30, der(0xa0, der(0x30, der(0x82, ascii("cluster.local"))))),
        ),
      ],
    },
    expected: "accepted",
  },
  { name: "good", middle: {}, expected: "accepted" },
])("judgePeer() below an intermediate that is $name: $expected", async ({ middle, expected }) => {
  const leaf = await (await ROOT.intermediate(middle)).leaf();
  assertEquals(outcome(judge(leaf)), expected);
});

Deno.test("judgePeer() keeps an intermediate's path length", async () => {
  const narrow = await ROOT.intermediate({ pathLength: 0 });
  assertEquals(outcome(judge(await narrow.leaf())), "accepted");
  const below = await narrow.intermediate();
  assertEquals(outcome(judge(await below.leaf())), "CHAIN_TOO_LONG");
});

Deno.test("judgePeer() with as many intermediates as CHAIN_DEPTH_MAX, and one more", async () => {
  let ca = ROOT;
  for (let depth = 0; depth < CHAIN_DEPTH_MAX; depth++) ca = await ca.intermediate();
  assertEquals(outcome(judge(await ca.leaf())), "accepted");
  ca = await ca.intermediate();
  assertEquals(outcome(judge(await ca.leaf())), "CHAIN_TOO_LONG");
});

Deno.test("judgePeer() takes CHAIN_CERTIFICATES_MAX certificates and no more", async () => {
  const leaf = (await ROOT.leaf()).chainDer[0]!;
  const surplus = (await (await OddCa.root({ subject: "CN=x" })).leaf()).chainDer[0]!;
  const chain = (length: number) => [leaf, ...Array(length - 1).fill(surplus)];
  assertEquals(outcome(judge({ chainDer: chain(CHAIN_CERTIFICATES_MAX - 1) })), "accepted");
  assertEquals(outcome(judge({ chainDer: chain(CHAIN_CERTIFICATES_MAX) })), "accepted");
  assertEquals(outcome(judge({ chainDer: chain(CHAIN_CERTIFICATES_MAX + 1) })), "CHAIN_TOO_LONG");
});

Deno.test("judgePeer() gives a maze of certificates up after SIGNATURE_CHECKS_MAX", async () => {
  // Nine CAs of one name and different keys: every order of them is a path to try.
  const same = { subject: "CN=odd root" };
  const cas = await Promise.all(Array.from({ length: 9 }, () => OddCa.root(same)));
  const leaf = await cas[0]!.leaf();
  const chainDer = [leaf.chainDer[0]!, ...cas.map((ca) => new Uint8Array(ca.root.rawData))];
  const before = performance.now();
  const verdict = judge({ chainDer });
  assertEquals(verdict.kind, "rejected");
  const perCheckMs = 20;
  assert(performance.now() - before < SIGNATURE_CHECKS_MAX * perCheckMs);
});

Deno.test("judgePeer() never throws for cut, changed or random bytes", async () => {
  const good = (await ROOT.leaf()).chainDer[0]!;
  for (let length = 0; length < good.length; length++) {
    assertEquals(outcome(judge({ chainDer: [good.slice(0, length)] })), "BAD_ENCODING");
  }
  let accepted = 0;
  for (let at = 0; at < good.length; at++) {
    for (const mask of [0x01, 0x80, 0xff]) {
      const changed = good.slice();
      changed[at]! ^= mask;
      if (outcome(judge({ chainDer: [changed] })) === "accepted") accepted++;
    }
  }
  assertEquals(accepted, 0);
});

Deno.test("judgePeer() refuses a certificate beyond CERTIFICATE_BYTES_MAX", async () => {
  const name = (length: number) =>
    ascii("spiffe://cluster.local/ns/default/sa/".padEnd(length, "a"));
  const small = await ROOT.leaf({ uris: [name(30_000)] });
  assertEquals(outcome(judge(small)), "accepted");
  const padding = new Uint8Array(CERTIFICATE_BYTES_MAX + 1 - small.chainDer[0]!.length);
  const large = new Uint8Array([...small.chainDer[0]!, ...padding]);
  assertEquals(large.length, CERTIFICATE_BYTES_MAX + 1);
  assertEquals(outcome(judge({ chainDer: [large] })), "BAD_ENCODING");
});

Deno.test("verifyChain() says how long its verdict holds", async () => {
  const untilMs = Math.floor(Date.now() / 1000) * 1000 + 60_000;
  const middle = await ROOT.intermediate({ notAfterMs: untilMs });
  const verdict = verifyChain({
    chainDer: (await middle.leaf()).chainDer,
    rootsDer: [new Uint8Array(ROOT.root.rawData)],
    role: "client",
    nowMs: Date.now(),
  });
  if (verdict.kind !== "accepted") throw verdict.error;
  assertEquals(verdict.validUntilMs, untilMs);
});

Deno.test("VerdictCache forgets at expiry, and judges names anew", async () => {
  const cache = new VerdictCache();
  const rootsDer = [new Uint8Array(ROOT.root.rawData)];
  const { chainDer } = await ROOT.leaf();
  const ask = (nowMs: number, peer = CLIENT) =>
    outcome(cache.judge({ chainDer, rootsDer, peer, nowMs }));
  assertEquals([ask(Date.now()), cache.size], ["accepted", 1]);
  assertEquals([ask(Date.now()), cache.size], ["accepted", 1]);
  assertEquals(ask(Date.now(), { role: "client", trustDomain: "td" }), "WRONG_TRUST_DOMAIN");
  assertEquals(ask(Date.now() + 2 * HOUR_MS), "EXPIRED");
  assertEquals(cache.size, 0);
});

Deno.test("VerdictCache does not carry a verdict over to other roots or to the other role", async () => {
  const cache = new VerdictCache();
  const { chainDer } = await ROOT.leaf({ usages: [CLIENT_AUTH] });
  const judgeWith = (root: OddCa, peer: PeerRule) =>
    outcome(cache.judge({
      chainDer,
      rootsDer: [new Uint8Array(root.root.rawData)],
      peer,
      nowMs: Date.now(),
    }));
  assertEquals(judgeWith(ROOT, CLIENT), "accepted");
  assertEquals(judgeWith(await OddCa.root({ subject: "CN=new" }), CLIENT), "UNKNOWN_ISSUER");
  assertEquals(judgeWith(ROOT, SERVER), "WRONG_USAGE");
});

Deno.test("VerdictCache keeps as many as it may (VERDICT_CACHE_MAX by default)", async () => {
  assertEquals(VERDICT_CACHE_MAX, 4096);
  const cache = new VerdictCache({ entriesMax: 2 });
  const rootsDer = [new Uint8Array(ROOT.root.rawData)];
  const sizes: number[] = [];
  for (let leaf = 0; leaf < 3; leaf++) {
    const { chainDer } = await ROOT.leaf();
    cache.judge({ chainDer, rootsDer, peer: CLIENT, nowMs: Date.now() });
    sizes.push(cache.size);
  }
  assertEquals(sizes, [1, 2, 2]);
});
