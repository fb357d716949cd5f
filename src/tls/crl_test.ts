// What a revocation list may look like, which one counts, and what it does to a chain (spec/identity-and-inpod §5).
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { OddCa } from "../../tests/support/certificates.ts";
import {
  crlExtension,
  type CrlOptions,
  crlPem,
  distributionPoint,
  element,
  makeCrl,
  signerOf,
} from "../../tests/support/crls.ts";
import * as x509 from "../identity/x509.ts";
import type { CertifiedKey } from "./certificate.ts";
import { type CertificatePath, verifyChain } from "./chain.ts";
import {
  CRL_ENTRIES_MAX,
  CRL_FILE_BYTES_MAX,
  CRL_ISSUERS_MAX,
  CrlError,
  CRLS_MAX,
  CrlSet,
} from "./crl.ts";

type Bytes = Uint8Array<ArrayBuffer>;

interface Ca {
  readonly ca: OddCa;
  readonly certificate: Bytes;
  readonly key: KeyObject;
}

async function signing(ca: OddCa): Promise<Ca> {
  return { ca, ...await signerOf(ca) };
}

const ROOT = await signing(await OddCa.root());
const MIDDLE = await signing(await ROOT.ca.intermediate({ subject: "CN=middle" }));
const LEAF = await MIDDLE.ca.leaf();
const OTHER_LEAF = await MIDDLE.ca.leaf();

function pathOf(leaf: Pick<CertifiedKey, "chainDer" | "rootsDer">): CertificatePath {
  const verdict = verifyChain({ ...leaf, role: "client", nowMs: Date.now() });
  if (verdict.kind === "rejected") throw verdict.error;
  return verdict.path;
}

const PATH = pathOf(LEAF);
const [LEAF_DER, MIDDLE_DER] = LEAF.chainDer as [Bytes, Bytes];

/** "good", or the code and words of the objection. */
function judged(lists: CrlSet, path = PATH): string {
  const objection = lists.objectionTo(path);
  return objection === null ? "good" : `${objection.code} ${objection.message}`;
}

const REVOKED = "REVOKED invalid peer certificate: Revoked";
const BAD_SIGNATURE = "CRL_UNUSABLE invalid certificate revocation list: BadSignature";
const DAY_MS = 86_400_000;

/** One list of MIDDLE that revokes LEAF unless told otherwise. */
function listOf(options: CrlOptions = {}, signer = MIDDLE): CrlSet {
  return CrlSet.parse(makeCrl(signer, { revoked: [LEAF_DER], ...options }));
}

Deno.test("CrlSet.empty has nothing against anybody", () => {
  assertEquals(judged(CrlSet.empty), "good");
});

Deno.test("CrlSet refuses a listed leaf, and no other", () => {
  assertEquals(judged(listOf()), REVOKED);
  assertEquals(judged(listOf(), pathOf(OTHER_LEAF)), "good");
});

Deno.test("CrlSet refuses every leaf below a listed intermediate", () => {
  const lists = listOf({ revoked: [MIDDLE_DER] }, ROOT);
  assertEquals(judged(lists), REVOKED);
  assertEquals(judged(lists, pathOf(OTHER_LEAF)), REVOKED);
});

Deno.test.each<{ name: string; options: CrlOptions; expected: string }>([
  { name: "expired yesterday", options: { nextUpdateMs: Date.now() - DAY_MS }, expected: REVOKED },
  { name: "without an end", options: { nextUpdateMs: null }, expected: REVOKED },
  { name: "of version 1", options: { version: 1 }, expected: REVOKED },
  { name: "that lists nobody", options: { revoked: [] }, expected: "good" },
  {
    name: "that lists others",
    options: { revoked: [OTHER_LEAF.chainDer[0]!] },
    expected: "good",
  },
  {
    name: "with serials written with a needless zero",
    options: { revoked: [], serials: [Uint8Array.of(0, ...PATH[0]!.serial)] },
    expected: REVOKED,
  },
  {
    name: "with a number and an unknown extension that is not critical",
    options: {
      extensions: [
        crlExtension([0x55, 0x1d, 20], element(0x02, Uint8Array.of(7)), { critical: false }),
        crlExtension([0x2a, 0x03], element(0x05), { critical: false }),
      ],
    },
    expected: REVOKED,
  },
  {
    name: "with a reason",
    options: {
      entryExtensions: [
        crlExtension([0x55, 0x1d, 21], element(0x0a, Uint8Array.of(1)), { critical: false }),
      ],
    },
    expected: REVOKED,
  },
  {
    name: "about leaves only",
    options: { extensions: [distributionPoint(element(0x81, Uint8Array.of(0xff)))] },
    expected: REVOKED,
  },
  {
    name: "about authorities only",
    options: { extensions: [distributionPoint(element(0x82, Uint8Array.of(0xff)))] },
    expected: "good",
  },
  {
    name: "of an algorithm that is not accepted",
    options: { algorithm: "ecdsa-sha1" },
    expected: BAD_SIGNATURE,
  },
])("CrlSet with a list $name", ({ options, expected }) => {
  assertEquals(judged(listOf(options)), expected);
});

const POINT = new TextEncoder().encode("http://crl.example/a");
const OTHER_POINT = new TextEncoder().encode("http://crl.example/b");

function pointName(uri: Uint8Array): Uint8Array {
  return element(0xa0, element(0xa0, element(0x86, uri)));
}

Deno.test.each([
  { name: "that the leaf names", point: POINT, expected: REVOKED },
  { name: "that the leaf does not name", point: OTHER_POINT, expected: "good" },
])("CrlSet with a list of a distribution point $name", async ({ point, expected }) => {
  const value = element(0x30, element(0x30, pointName(POINT)));
  const leaf = await MIDDLE.ca.leaf({
    extraExtensions: [new x509.Extension("2.5.29.31", false, value)],
  });
  const extensions = [distributionPoint(pointName(point))];
  const lists = listOf({ revoked: [leaf.chainDer[0]!], extensions });
  assertEquals(judged(lists, pathOf(leaf)), expected);
});

Deno.test("CrlSet.dueMs is when the first of its lists should have been replaced", () => {
  const at = (seconds: number) => makeCrl(MIDDLE, { nextUpdateMs: seconds * 1000 });
  assertEquals(CrlSet.fromDer([at(1_900_000_000), at(1_800_000_000)]).dueMs, 1_800_000_000_000);
  assertEquals(CrlSet.fromDer([makeCrl(MIDDLE, { nextUpdateMs: null })]).dueMs, null);
  assertEquals(CrlSet.empty.dueMs, null);
});

Deno.test("CrlSet does not look at the list of an unrelated issuer", async () => {
  const stranger = await signing(await OddCa.root({ subject: "CN=stranger" }));
  assertEquals(judged(listOf({}, stranger)), "good");
});

Deno.test("CrlSet refuses whom a list is about that its issuer did not sign", async () => {
  const forger = await signing(await OddCa.root({ subject: "CN=middle" }));
  assertEquals(judged(listOf({ revoked: [] }, forger)), BAD_SIGNATURE);
});

Deno.test.each([
  { name: "keyCertSign", bits: 0x04, expected: "IssuerInvalidForCrl" },
  { name: "cRLSign", bits: 0x02, expected: null },
])("CrlSet with a list of an issuer that may $name only", async ({ bits, expected }) => {
  const value = element(0x03, Uint8Array.of(1, bits));
  const usage = new x509.Extension("2.5.29.15", true, value);
  const issuer = await signing(await ROOT.ca.intermediate({ extraExtensions: [usage] }));
  const path = pathOf(await issuer.ca.leaf());
  assertEquals(
    judged(listOf({ revoked: [] }, issuer), path),
    expected === null ? "good" : `CRL_UNUSABLE invalid certificate revocation list: ${expected}`,
  );
});

Deno.test("CrlSet: of two lists of one issuer the first counts", () => {
  const revoking = makeCrl(MIDDLE, { revoked: [LEAF_DER] });
  const silent = makeCrl(MIDDLE);
  assertEquals(judged(CrlSet.fromDer([revoking, silent])), REVOKED);
  assertEquals(judged(CrlSet.fromDer([silent, revoking])), "good");
});

Deno.test.each(
  [
    { algorithm: "ed25519", keys: generateKeyPairSync("ed25519") },
    { algorithm: "rsa-sha256", keys: generateKeyPairSync("rsa", { modulusLength: 2048 }) },
  ] as const,
)("CrlSet verifies $algorithm by the key's own kind", async ({ algorithm, keys }) => {
  // A list that says it is signed with another kind of key than the issuer has is no list of that issuer.
  const lists = listOf({ algorithm }, { ...MIDDLE, key: keys.privateKey });
  assertEquals(judged(lists), BAD_SIGNATURE);
  const issuer = await selfSigned(algorithm);
  const path: CertificatePath = [PATH[0]!, { ...PATH[1]!, der: issuer.certificate }];
  const crl = makeCrl({ ...MIDDLE, key: issuer.key }, { revoked: [LEAF_DER], algorithm });
  assertEquals(judged(CrlSet.fromDer([crl]), path), REVOKED);
});

async function selfSigned(algorithm: "ed25519" | "rsa-sha256") {
  const web = algorithm === "ed25519"
    ? { name: "Ed25519" }
    : { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const generate = algorithm === "ed25519"
    ? web
    : { ...web, modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) };
  const keys = await crypto.subtle.generateKey(generate, true, ["sign", "verify"]) as CryptoKeyPair;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=middle",
    keys,
    signingAlgorithm: web,
  });
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  return { certificate: new Uint8Array(certificate.rawData), key };
}

Deno.test("CrlSet.parse() reads all lists of a PEM file and skips what else is in it", () => {
  const file = crlPem(makeCrl(ROOT)) + ROOT.ca.certificate.toString("pem") + "\n" +
    crlPem(makeCrl(MIDDLE, { revoked: [LEAF_DER] })).replaceAll("\n", "\r\n");
  const lists = CrlSet.parse(new TextEncoder().encode(file));
  assertEquals([lists.size, lists.entries], [2, 1]);
  assertEquals(judged(lists), REVOKED);
});

Deno.test("CrlSet.parse() takes an empty file, or PEM without lists, for no revocations", () => {
  assertEquals(CrlSet.parse(new Uint8Array(0)).size, 0);
  const pem = new TextEncoder().encode(ROOT.ca.certificate.toString("pem"));
  assertEquals(CrlSet.parse(pem).size, 0);
});

Deno.test("CrlSet.fromDer() of CrlSet.der is the same set", () => {
  const lists = CrlSet.fromDer(listOf().der);
  assertEquals([lists.size, lists.entries, judged(lists)], [1, 1, REVOKED]);
});

const DELTA = crlExtension([0x55, 0x1d, 27], element(0x02, Uint8Array.of(1)), { critical: true });
const UNKNOWN = crlExtension([0x2a, 0x03], element(0x05), { critical: true });

Deno.test.each<{ name: string; file: () => Bytes; code: string }>([
  {
    name: "an unknown critical extension",
    file: () => makeCrl(MIDDLE, { extensions: [UNKNOWN] }),
    code: "CRL_UNSUPPORTED",
  },
  {
    name: "changes only",
    file: () => makeCrl(MIDDLE, { extensions: [DELTA] }),
    code: "CRL_UNSUPPORTED",
  },
  {
    name: "an entry with an unknown critical extension",
    file: () => makeCrl(MIDDLE, { revoked: [LEAF_DER], entryExtensions: [UNKNOWN] }),
    code: "CRL_UNSUPPORTED",
  },
  {
    name: "some reasons only",
    file: () =>
      makeCrl(MIDDLE, { extensions: [distributionPoint(element(0x83, Uint8Array.of(1, 6)))] }),
    code: "CRL_UNSUPPORTED",
  },
  {
    name: "other issuers' certificates",
    file: () =>
      makeCrl(MIDDLE, { extensions: [distributionPoint(element(0x84, Uint8Array.of(255)))] }),
    code: "CRL_UNSUPPORTED",
  },
  { name: "version 3", file: () => makeCrl(MIDDLE, { version: 3 }), code: "CRL_UNSUPPORTED" },
  {
    name: "an extension twice",
    file: () => makeCrl(MIDDLE, { extensions: [distributionPoint(), distributionPoint()] }),
    code: "CRL_MALFORMED",
  },
  { name: "a certificate", file: () => LEAF_DER, code: "CRL_MALFORMED" },
  { name: "text", file: () => new TextEncoder().encode("no list"), code: "CRL_MALFORMED" },
  {
    name: "PEM with a block that is cut",
    file: () => new TextEncoder().encode(crlPem(makeCrl(MIDDLE)).slice(0, -8)),
    code: "CRL_MALFORMED",
  },
  {
    name: "PEM whose second block is indented",
    file: () => {
      const pem = crlPem(makeCrl(MIDDLE));
      return new TextEncoder().encode(pem + pem.replaceAll(/^/gm, "  "));
    },
    code: "CRL_MALFORMED",
  },
  {
    name: "PEM glued to a certificate that has no line end",
    file: () =>
      new TextEncoder().encode(ROOT.ca.certificate.toString("pem") + crlPem(makeCrl(MIDDLE))),
    code: "CRL_MALFORMED",
  },
  {
    name: "PEM that is no base64",
    file: () =>
      new TextEncoder().encode("-----BEGIN X509 CRL-----\nAAA!\n-----END X509 CRL-----\n"),
    code: "CRL_MALFORMED",
  },
  {
    name: "a good list before a bad one",
    file: () => new TextEncoder().encode(crlPem(makeCrl(MIDDLE)) + crlPem(LEAF_DER)),
    code: "CRL_MALFORMED",
  },
])("CrlSet.parse() refuses $name", ({ file, code }) => {
  const error = assertThrows(() => CrlSet.parse(file()), CrlError);
  assertEquals(error.code, code);
});

Deno.test("CrlSet.parse() has a typed error for each cut and each flipped octet", () => {
  const whole = makeCrl(MIDDLE, {
    revoked: [LEAF_DER],
    entryExtensions: [
      crlExtension([0x55, 0x1d, 21], element(0x0a, Uint8Array.of(1)), { critical: false }),
    ],
    extensions: [distributionPoint(pointName(POINT), element(0x81, Uint8Array.of(0xff)))],
  });
  let refused = 0;
  for (let at = 1; at < whole.length; at++) {
    assertThrows(() => CrlSet.parse(whole.slice(0, at)), CrlError);
    for (const flip of [0x01, 0x20, 0x80, 0xff]) {
      const broken = whole.slice();
      broken[at]! ^= flip;
      try {
        const lists = CrlSet.parse(broken);
        // What can be read still is not signed.
        assert(judged(lists) === BAD_SIGNATURE || judged(lists) === "good");
      } catch (error) {
        assert(error instanceof CrlError, `octet ${at}: ${error}`);
        refused++;
      }
    }
  }
  assert(refused > whole.length, `only ${refused} refused`);
});

Deno.test("CrlSet.parse() takes CRL_FILE_BYTES_MAX octets and not one more", () => {
  const pem = (bytes: number) => {
    const file = new Uint8Array(bytes).fill(0x0a);
    file.set(new TextEncoder().encode("-----BEGIN NOTHING-----\n"));
    return file;
  };
  assertEquals(CrlSet.parse(pem(CRL_FILE_BYTES_MAX)).size, 0);
  const error = assertThrows(() => CrlSet.parse(pem(CRL_FILE_BYTES_MAX + 1)), CrlError);
  assertEquals(error.code, "CRL_TOO_LARGE");
});

Deno.test("CrlSet takes CRLS_MAX lists and not one more", () => {
  const list = makeCrl(MIDDLE);
  assertEquals(CrlSet.fromDer(Array(CRLS_MAX).fill(list)).size, CRLS_MAX);
  const error = assertThrows(() => CrlSet.fromDer(Array(CRLS_MAX + 1).fill(list)), CrlError);
  assertEquals(error.code, "CRL_TOO_LARGE");
});

/** Serials of four octets: many fit. */
function manySerials(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, at) => {
    const serial = new Uint8Array(4);
    new DataView(serial.buffer).setUint32(0, 0x40000000 + at);
    return serial;
  });
}

Deno.test("CrlSet takes CRL_ENTRIES_MAX revoked certificates in all, and not one more", () => {
  const most = makeCrl(MIDDLE, { serials: manySerials(CRL_ENTRIES_MAX - 1) });
  const one = makeCrl(ROOT, { serials: manySerials(1) });
  assertEquals(CrlSet.fromDer([most, one]).entries, CRL_ENTRIES_MAX);
  const error = assertThrows(() => CrlSet.fromDer([most, one, one]), CrlError);
  assertEquals(error.code, "CRL_TOO_LARGE");
});

Deno.test("CrlSet finds one certificate among 100,000", () => {
  const serials = manySerials(100_000);
  const lists = listOf({ serials });
  assertEquals([lists.entries, judged(lists)], [100_001, REVOKED]);
  assertEquals(judged(lists, pathOf(OTHER_LEAF)), "good");
});

Deno.test("CrlSet remembers signatures for CRL_ISSUERS_MAX issuers, and is right beyond", async () => {
  const lists = listOf();
  const issuers: CertificatePath[] = [];
  for (let count = 0; count <= CRL_ISSUERS_MAX; count++) {
    const namesake = await signing(await OddCa.root({ subject: "CN=middle" }));
    issuers.push([PATH[0]!, { ...PATH[1]!, der: namesake.certificate }]);
  }
  assertEquals(judged(lists), REVOKED);
  for (const path of issuers) assertEquals(judged(lists, path), BAD_SIGNATURE);
  assertEquals(judged(lists), REVOKED);
});
