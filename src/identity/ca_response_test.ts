// What a CA says, from the usual to the hostile (spec/identity-and-inpod §2.4): one good answer, and what becomes of it when
// one thing is otherwise.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ascii, der, OddCa } from "../../tests/support/certificates.ts";
import { MeshCa } from "../../tests/support/mesh_ca.ts";
import { field, join } from "../../tests/support/protobuf_bytes.ts";
import { CERTIFICATE_BYTES_MAX, parseCertificate } from "../tls/certificate_der.ts";
import { CHAIN_CERTIFICATES_MAX, verifyChain } from "../tls/chain.ts";
import { spiffeIdsOfDer } from "../tls/names.ts";
import { parseSpiffeId } from "../tls/spiffe_id.ts";
import { CA_ROOTS_MAX, decodeCaResponse, readCaResponse } from "./ca_response.ts";
import { type CertificateRequest, newCertificateRequest } from "./csr.ts";
import { IdentityError } from "./errors.ts";
import { pemBlocks, pemText } from "./pem.ts";
import * as x509 from "./x509.ts";

const IDENTITY = parseSpiffeId("spiffe://cluster.local/ns/default/sa/app");
const CSR_ERROR = "failed to create CSR: ";
const NO_CERTIFICATE = `${CSR_ERROR}certificate: no certificate`;
const NO_ROOT = `${CSR_ERROR}invalid root certificate: no root certificate present`;
const KEY_BLOCK = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

/** A CA with two intermediates, a request, and its leaf. */
interface World {
  readonly root: MeshCa;
  /** Leaf-adjacent first. */
  readonly middle: readonly string[];
  readonly request: CertificateRequest;
  readonly leaf: string;
  readonly warnings: string[];
}

async function world(uris: readonly string[] = [IDENTITY.uri]): Promise<World> {
  const root = await MeshCa.create();
  const issuing = await (await root.intermediate("test upper")).intermediate("test lower");
  const request = await newCertificateRequest(IDENTITY);
  const leaf = await issuing.certify(await publicKey(request), { uris });
  return { root, middle: issuing.chainPems, request, leaf, warnings: [] };
}

function publicKey({ publicKeyDer }: CertificateRequest): Promise<CryptoKey> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  return crypto.subtle.importKey("spki", publicKeyDer, algorithm, true, ["verify"]);
}

function good({ leaf, middle, root }: World): string[] {
  return [leaf, ...middle, root.rootPem];
}

function read({ request, warnings }: World, certChain: readonly string[], impersonate = true) {
  const warn = (message: string) => void warnings.push(message);
  return readCaResponse(certChain, {
    identity: IDENTITY,
    request,
    impersonate,
    generation: 7,
    warn,
  });
}

function assertRefused(world: World, certChain: readonly string[], message: string): IdentityError {
  const error = assertThrows(() => read(world, certChain), IdentityError);
  assertEquals(error.message, message);
  return error;
}

function derOf(pem: string): Uint8Array<ArrayBuffer>[] {
  return [...pemBlocks(pem)].map((block) => block.der);
}

Deno.test("readCaResponse() takes leaf, intermediates and roots", async () => {
  const world_ = await world();
  const result = read(world_, good(world_));
  assertEquals(result.identity, IDENTITY);
  assertEquals(result.generation, 7);
  assertEquals(result.chainDer, [world_.leaf, ...world_.middle].flatMap(derOf));
  assertEquals(derOf(result.chainPem), [...result.chainDer]);
  assertEquals(result.rootsDer, derOf(world_.root.rootPem));
  assertEquals(derOf(result.rootsPem), [...result.rootsDer]);
  assert(result.key === world_.request.key);
  const leaf = parseCertificate(result.chainDer[0]!);
  assertEquals([result.notBeforeMs, result.notAfterMs], [leaf.notBeforeMs, leaf.notAfterMs]);
  assertEquals(world_.warnings, []);
});

Deno.test("readCaResponse() takes a leaf right below its root", async () => {
  const world_ = await world();
  const leaf = await world_.root.certify(await publicKey(world_.request), { uris: [IDENTITY.uri] });
  assertEquals(read(world_, [leaf, world_.root.rootPem]).chainDer, derOf(leaf));
  assertEquals(world_.warnings, []);
});

Deno.test("readCaResponse() refuses an answer without anything", async () => {
  const message = "chain returned from CA is empty for: spiffe://cluster.local/ns/default/sa/app";
  assertEquals(assertRefused(await world(), [], message).code, "CA_CHAIN_EMPTY");
});

Deno.test("readCaResponse() warns of a single element, then misses the roots", async () => {
  const world_ = await world();
  assertRefused(world_, [world_.leaf], NO_ROOT);
  assertEquals(world_.warnings, ["the CA's answer has one element: a leaf without roots"]);
});

Deno.test("readCaResponse() uses the first block of the leaf's element", async () => {
  const world_ = await world();
  const chain = [world_.leaf + KEY_BLOCK + world_.root.rootPem, ...good(world_).slice(1)];
  assertEquals(read(world_, chain).chainDer, [world_.leaf, ...world_.middle].flatMap(derOf));
});

Deno.test("readCaResponse() takes every block of a middle element", async () => {
  const world_ = await world();
  const chain = [world_.leaf, world_.middle.join("text between\n"), world_.root.rootPem];
  assertEquals(read(world_, chain).chainDer, [world_.leaf, ...world_.middle].flatMap(derOf));
});

Deno.test.each([
  { name: "a leaf that is empty", change: ([, ...rest]: string[]) => ["", ...rest] },
  { name: "a leaf that is words", change: ([, ...rest]: string[]) => ["leaf", ...rest] },
  {
    name: "a leaf after a key",
    change: ([leaf, ...rest]: string[]) => [KEY_BLOCK + leaf, ...rest],
  },
  { name: "an empty middle element", change: (all: string[]) => all.with(1, "") },
  { name: "a key in the middle", change: (all: string[]) => all.with(1, KEY_BLOCK) },
  {
    name: "a key after a middle certificate",
    change: (all: string[]) => all.with(1, all[1] + KEY_BLOCK),
  },
  {
    name: "a key before the roots",
    change: (all: string[]) => all.with(-1, KEY_BLOCK + all.at(-1)),
  },
  {
    name: "a key after the roots",
    change: (all: string[]) => all.with(-1, all.at(-1) + KEY_BLOCK),
  },
])("readCaResponse() wants certificates: $name", async ({ change }) => {
  const world_ = await world();
  assertRefused(world_, change(good(world_)), NO_CERTIFICATE);
});

Deno.test.each([
  {
    name: "PEM without end",
    text: "-----BEGIN CERTIFICATE-----\nAAAA\n",
    why: "a block has no end",
  },
  {
    name: "no base64",
    text: "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
    why: "a block is no base64",
  },
])("readCaResponse() refuses $name, wherever it is", async ({ text, why }) => {
  const world_ = await world();
  for (const at of [0, 1, -1]) {
    assertRefused(world_, good(world_).with(at, text), `${CSR_ERROR}certificate: ${why}`);
  }
});

Deno.test.each([
  { name: "no octets", bytes: new Uint8Array(0), why: "element is cut" },
  { name: "a number", bytes: der(0x02, new Uint8Array([1])), why: "expected tag 48, found 2" },
  {
    name: "nested nothing",
    bytes: der(0x30, der(0x30), der(0x30), der(0x03)),
    why: "signature is not whole octets",
  },
  {
    name: "an octet too many of them",
    bytes: new Uint8Array(CERTIFICATE_BYTES_MAX + 1),
    why: "certificate is too large",
  },
])("readCaResponse() refuses DER that is no certificate, wherever it is: $name", async (row) => {
  const world_ = await world();
  const text = pemText("CERTIFICATE", row.bytes);
  for (const at of [0, 1, -1]) {
    assertRefused(world_, good(world_).with(at, text), `${CSR_ERROR}certificate parse: ${row.why}`);
  }
});

Deno.test("readCaResponse() survives a leaf cut at every octet, or with any octet turned over", async () => {
  const world_ = await world();
  const [leaf] = derOf(world_.leaf);
  let refused = 0;
  for (let at = 0; at < leaf!.length; at++) {
    const turned = leaf!.slice();
    turned[at]! ^= 0xff;
    for (const hostile of [leaf!.slice(0, at), turned]) {
      try {
        read(world_, [pemText("CERTIFICATE", hostile), world_.root.rootPem]);
      } catch (error) {
        if (!(error instanceof IdentityError)) throw error;
        refused++;
      }
    }
  }
  assert(refused > leaf!.length);
});

Deno.test("readCaResponse() takes several roots out of the last element", async () => {
  const world_ = await world();
  const other = await MeshCa.create("other mesh");
  const chain = good(world_).with(-1, `# roots\n${other.rootPem}\n${world_.root.rootPem}`);
  assertEquals(read(world_, chain).rootsDer, [other.rootPem, world_.root.rootPem].flatMap(derOf));
});

Deno.test("readCaResponse() lets leaves of two roots trust each other both ways", async () => {
  const [old, fresh] = [await world(), await world()];
  const roots = old.root.rootPem + fresh.root.rootPem;
  const [a, b] = [old, fresh].map((each) => read(each, good(each).with(-1, roots)));
  for (const [own, peer] of [[a!, b!], [b!, a!]] as const) {
    for (const role of ["client", "server"] as const) {
      const verdict = verifyChain({
        chainDer: peer.chainDer,
        rootsDer: own.rootsDer,
        role,
        nowMs: Date.now(),
      });
      assertEquals(verdict.kind, "accepted");
    }
  }
});

Deno.test("readCaResponse() skips a root that is X.509 and no trust anchor, and warns", async () => {
  const world_ = await world();
  const odd = await OddCa.root({
    extraExtensions: [1, 2].map(() => new x509.Extension("1.2.3.4", false, new Uint8Array(4))),
  });
  const oddPem = odd.certificate.toString("pem");
  assertEquals(
    read(world_, good(world_).with(-1, `${oddPem}\n${world_.root.rootPem}`)).rootsDer,
    derOf(world_.root.rootPem),
  );
  assertEquals(world_.warnings, [
    "root certificate 1 of the CA's answer cannot be used: extension is repeated",
  ]);
  assertRefused(world_, good(world_).with(-1, oddPem), NO_ROOT);
});

Deno.test.each([
  { name: "no text", text: "" },
  { name: "words only", text: "no roots today\n" },
])("readCaResponse() refuses an answer without roots: $name", async ({ text }) => {
  const world_ = await world();
  assertRefused(world_, good(world_).with(-1, text), NO_ROOT);
});

Deno.test("readCaResponse() refuses a certificate for another key", async () => {
  const world_ = await world();
  const { certPem } = await world_.root.issue({ uris: [IDENTITY.uri] });
  const message = `${CSR_ERROR}tls: keys may not be consistent: KeyMismatch`;
  assertEquals(
    assertRefused(world_, good(world_).with(0, certPem), message).code,
    "CA_KEY_MISMATCH",
  );
});

Deno.test.each([
  { name: "the roots first", turn: (all: string[]) => [all.at(-1)!, ...all.slice(0, -1)] },
  { name: "an intermediate first", turn: ([a, b, ...rest]: string[]) => [b!, a!, ...rest] },
  { name: "backwards", turn: (all: string[]) => all.toReversed() },
])("readCaResponse() refuses the wrong order: $name", async ({ turn }) => {
  const world_ = await world();
  const message = `${CSR_ERROR}tls: keys may not be consistent: KeyMismatch`;
  assertRefused(world_, turn(good(world_)), message);
});

Deno.test("readCaResponse() puts intermediates into order, and says so", async () => {
  const world_ = await world();
  const [lower, upper] = world_.middle as [string, string];
  const chain = [world_.leaf, upper, lower, world_.root.rootPem];
  assertEquals(read(world_, chain).chainDer, [world_.leaf, lower, upper].flatMap(derOf));
  assertEquals(world_.warnings, ["the CA's intermediates came out of order and were put into it"]);
});

Deno.test("readCaResponse() leaves the root out of the chain", async () => {
  const world_ = await world();
  const chain = [...good(world_), world_.root.rootPem];
  assertEquals(read(world_, chain).chainDer, [world_.leaf, ...world_.middle].flatMap(derOf));
});

Deno.test("readCaResponse() keeps intermediates that belong to nobody here", async () => {
  const world_ = await world();
  const [foreign] = (await (await MeshCa.create()).intermediate("foreign")).chainPems;
  const chain = [world_.leaf, ...world_.middle, foreign!, world_.root.rootPem];
  assertEquals(read(world_, chain).chainDer, chain.slice(0, -1).flatMap(derOf));
  assertEquals(world_.warnings, []);
});

const WRONG_SAN = `did not find expected SAN: ${IDENTITY.uri}`;

Deno.test.each([
  { name: "of another workload", uris: ["spiffe://cluster.local/ns/foo/sa/wrong-sa"] },
  { name: "of another trust domain", uris: ["spiffe://td/ns/default/sa/app"] },
  { name: "in upper case", uris: ["spiffe://CLUSTER.local/ns/default/sa/app"] },
  { name: "with a slash", uris: [`${IDENTITY.uri}/`] },
  { name: "not first", uris: ["spiffe://cluster.local/ns/foo/sa/wrong-sa", IDENTITY.uri] },
  { name: "behind another URI", uris: ["https://example.com/", IDENTITY.uri] },
  { name: "of nobody", uris: [] },
])("readCaResponse() for somebody else refuses a name $name", async ({ uris }) => {
  const world_ = await world(uris);
  assertEquals(assertRefused(world_, good(world_), WRONG_SAN).code, "CA_WRONG_SAN");
});

Deno.test("readCaResponse() for ourselves takes the name that the CA gives", async () => {
  const uri = "spiffe://cluster.local/ns/foo/sa/wrong-sa";
  const world_ = await world([uri]);
  const { chainDer, identity } = read(world_, good(world_), false);
  assertEquals(spiffeIdsOfDer(chainDer[0]!).map((id) => id.uri), [uri]);
  assertEquals(identity, IDENTITY);
});

const HOUR_MS = 3_600_000;

Deno.test.each([
  { name: "has expired", fromHours: -2, toHours: -1 },
  { name: "is not valid yet", fromHours: 1, toHours: 2 },
  { name: "ends before it begins", fromHours: 1, toHours: -1 },
])("readCaResponse() takes a leaf that $name: its time is the manager's", async (row) => {
  const world_ = await world();
  const second = Math.floor(Date.now() / 1000) * 1000;
  const [notBeforeMs, notAfterMs] = [row.fromHours, row.toHours]
    .map((hours) => second + hours * HOUR_MS) as [number, number];
  const leaf = await world_.root.certify(await publicKey(world_.request), {
    uris: [IDENTITY.uri],
    notBeforeMs,
    notAfterMs,
  });
  const result = read(world_, [leaf, world_.root.rootPem]);
  assertEquals([result.notBeforeMs, result.notAfterMs], [notBeforeMs, notAfterMs]);
});

/** Intermediates that lead nowhere. */
async function strangers(count: number): Promise<string> {
  const { rootPem } = await MeshCa.create("stranger");
  return rootPem.repeat(count);
}

// The leaf counts, too.
Deno.test.each([
  { count: CHAIN_CERTIFICATES_MAX - 2, isTaken: true },
  { count: CHAIN_CERTIFICATES_MAX - 1, isTaken: true },
  { count: CHAIN_CERTIFICATES_MAX, isTaken: false },
  { count: 5_000, isTaken: false },
])(
  "readCaResponse() bounds the chain at CHAIN_CERTIFICATES_MAX: $count intermediates",
  async (row) => {
    const { count, isTaken } = row;
    const world_ = await world();
    const chain = [world_.leaf, await strangers(count), world_.root.rootPem];
    if (isTaken) assertEquals(read(world_, chain).chainDer.length, count + 1);
    else {
      const message = `${CSR_ERROR}certificate: chain has more than 10 certificates`;
      assertRefused(world_, chain, message);
      const elements = [world_.leaf, ...Array(count).fill(world_.middle[0]), world_.root.rootPem];
      assertRefused(world_, elements, message);
    }
  },
);

Deno.test.each([
  { count: CA_ROOTS_MAX - 1, isTaken: true },
  { count: CA_ROOTS_MAX, isTaken: true },
  { count: CA_ROOTS_MAX + 1, isTaken: false },
  { count: 5_000, isTaken: false },
])("readCaResponse() bounds the roots at CA_ROOTS_MAX: $count", async ({ count, isTaken }) => {
  const world_ = await world();
  const chain = good(world_).with(-1, world_.root.rootPem.repeat(count));
  if (isTaken) assertEquals(read(world_, chain).rootsDer.length, count);
  else assertRefused(world_, chain, `${CSR_ERROR}certificate: more than 256 roots`);
});

Deno.test("readCaResponse() tells nothing of the key, whatever is wrong", async () => {
  const world_ = await world();
  const secret = world_.request.key.use((bytes) => bytes.slice(36, 68));
  const errors = [
    [],
    [world_.leaf],
    ["", ""],
    good(world_).toReversed(),
    good(world_).with(1, "-----BEGIN"),
  ].map((chain) => assertThrows(() => read(world_, chain), IdentityError));
  const shown = errors.map((error) => Deno.inspect(error) + error.stack + JSON.stringify(error));
  for (const form of [secret.toHex(), secret.toBase64().slice(2, -4)]) {
    assertEquals(shown.join().includes(form), false);
  }
  assertEquals(secret.length, 32);
});

Deno.test("decodeCaResponse() keeps the order and drops what it does not know", () => {
  const message = join(
    field(1, "leaf"),
    field(9, "unknown"),
    field(1, "roots"),
  );
  const certChain = decodeCaResponse(message);
  assertEquals([...certChain], ["leaf", "roots"]);
  assertEquals([...decodeCaResponse(new Uint8Array(0))], []);
});

Deno.test.each([
  { name: "a length past the end", bytes: [0x0a, 0xff, 0xff] },
  { name: "no UTF-8", bytes: [0x0a, 0x02, 0xff, 0xfe] },
  { name: "text", bytes: [...ascii("<html>502 Bad Gateway</html>")] },
])("decodeCaResponse() throws for $name", ({ bytes }) => {
  assertThrows(() => decodeCaResponse(new Uint8Array(bytes)));
});
