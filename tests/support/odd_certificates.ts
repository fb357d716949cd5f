// Who is let in, shape by shape: certificates that a peer may show, what we say of each, and why. Judged by the
// pure verdict and by real handshakes of every network, which must come to the same.
import { CHAIN_CERTIFICATES_MAX, CHAIN_DEPTH_MAX } from "../../src/tls/chain.ts";
import type { PeerRejection } from "../../src/tls/errors.ts";
import { element } from "./crls.ts";
import {
  altNames,
  basicConstraints,
  certificate,
  type CertificateParts,
  type Der,
  dns,
  extension,
  HandMadeCa,
  type Issuer,
  type Keys,
  keysOf,
  keyUsage,
  leafExtensions,
  name as distinguishedName,
  octets,
  ODD_URI,
  oid,
  OIDS,
  uri,
  utc,
} from "./odd_der.ts";

export type OddOutcome = "accepted" | PeerRejection;

/**
 * What a handshake comes to. `UNPLAYABLE`: the network's own library does not show such a certificate, so the peer
 * leaves before anybody is judged.
 */
export type HandshakeOutcome = OddOutcome | "UNPLAYABLE";

/** A column of one network; absent: what the verdict says. */
export interface NetworkColumn {
  readonly client?: HandshakeOutcome;
  readonly server?: HandshakeOutcome;
  /** As the log spells it, instead of the one that {@link ALERTS} has for the outcome. */
  readonly alert?: string;
}

export interface OddShape {
  readonly name: string;
  /** Where it is written that this is so. */
  readonly why: string;
  /** Leaf first, as presented. */
  readonly chain: readonly Der[];
  /** Of the leaf. */
  readonly keys: Keys;
  /** As a client of ours, in trust domain `cluster.local`. */
  readonly client: OddOutcome;
  /** As a server that must be {@link ODD_URI}. */
  readonly server: OddOutcome;
  readonly deno?: NetworkColumn;
  readonly native?: NetworkColumn;
}

/** What the peer of a refused handshake hears on `native` (spec/identity-and-inpod §4.4, src/net/native/README.md). */
export const ALERTS: Readonly<Partial<Record<HandshakeOutcome, string>>> = {
  UNKNOWN_ISSUER: "UnknownCA",
  EXPIRED: "CertificateExpired",
  NOT_VALID_YET: "CertificateExpired",
  WRONG_USAGE: "UnsupportedCertificate",
  BAD_ENCODING: "BadCertificate",
  UNKNOWN_CRITICAL_EXTENSION: "BadCertificate",
  BAD_SIGNATURE: "DecryptError",
  CA_AS_LEAF: "CertificateUnknown",
  NAME_CONSTRAINTS: "CertificateUnknown",
  CHAIN_TOO_LONG: "CertificateUnknown",
  WRONG_TRUST_DOMAIN: "CertificateUnknown",
  WRONG_IDENTITY: "CertificateUnknown",
};

/** The root that everybody in these tests trusts. */
export const ODD_ROOT = new HandMadeCa("odd root");
const LEAF_KEYS = keysOf("p256", "leaf");
const HOUR_MS = 3_600_000;

/** What is expected, in both roles or in each. */
type Expected = OddOutcome | readonly [client: OddOutcome, server: OddOutcome];
type Columns = Pick<OddShape, "deno" | "native">;

/** Not an identity at all: of no trust domain, and nobody's. */
const NOBODY = ["WRONG_TRUST_DOMAIN", "WRONG_IDENTITY"] as const;
/** A workload of the mesh that is not the one we dialed. */
const SOMEBODY_ELSE = ["accepted", "WRONG_IDENTITY"] as const;

/**
 * Servers that the runtime's TLS library refuses before we are asked. It sends the alert that is due, and tells us
 * nothing but that the chain did not hold.
 */
const LIBRARY_REFUSES: ReadonlySet<OddOutcome> = new Set([
  "WRONG_USAGE",
  "CA_AS_LEAF",
  "EXPIRED",
  "NOT_VALID_YET",
  "BAD_SIGNATURE",
  "NAME_CONSTRAINTS",
  "UNKNOWN_CRITICAL_EXTENSION",
]);
/** A server of which the runtime's library has nothing to say, so that the reason is ours. */
const JUDGED_BY_US: Columns = { deno: {} };
/** The network's library does not show it as its own. */
const UNPLAYABLE = { client: "UNPLAYABLE", server: "UNPLAYABLE" } as const;
const UNPLAYABLE_DENO: Columns = { deno: UNPLAYABLE };
const UNPLAYABLE_NATIVE: Columns = { native: UNPLAYABLE };
/** OpenSSL drops what stands behind a certificate of its own, and shows a good one. */
const SHOWN_WHOLE = { client: "accepted", server: "accepted" } as const;
const UNPLAYABLE_BOTH: Columns = { deno: UNPLAYABLE, native: UNPLAYABLE };

function presented(
  label: string,
  chain: readonly Der[],
  expected: Expected,
  why: string,
  columns: Columns & { readonly keys?: Keys } = {},
): OddShape {
  const [client, server] = typeof expected === "string" ? [expected, expected] : expected;
  const deno = LIBRARY_REFUSES.has(server) ? { server: "UNKNOWN_ISSUER" } as const : {};
  return { name: label, why, chain, keys: LEAF_KEYS, client, server, deno, ...columns };
}

/** A leaf right below the root. */
function leaf(
  label: string,
  parts: CertificateParts,
  expected: Expected,
  why: string,
  columns: Columns = {},
): OddShape {
  const keys = parts.keys ?? LEAF_KEYS;
  return presented(label, [certificate(ODD_ROOT, parts)], expected, why, { keys, ...columns });
}

function named(
  label: string,
  names: readonly Uint8Array[] | null,
  expected: Expected,
  why: string,
  columns: Columns = {},
): OddShape {
  return leaf(label, { extensions: leafExtensions({ names }) }, expected, why, columns);
}

/** A good leaf below an odd intermediate. */
function below(
  label: string,
  middle: HandMadeCa,
  expected: Expected,
  why: string,
  columns: Columns = {},
): OddShape {
  return presented(label, [certificate(middle), middle.der], expected, why, columns);
}

const intermediate = (parts: CertificateParts = {}, above: Issuer = ODD_ROOT, label = "middle") =>
  new HandMadeCa(label, { above, parts });

const utf8 = (text: string) => new TextEncoder().encode(text);
const cut = (der: Der, at: number, value: number) => {
  const copy = der.slice();
  copy.fill(value, at, at + 1);
  return copy;
};
const time = (tag: number, text: string) => element(tag, octets(text));
const withExtensions = (...more: readonly Der[]) => ({ extensions: leafExtensions({ more }) });

const SPIFFE_ID = "SPIFFE-ID §2: nothing is decoded, folded or trimmed; equality is of octets";
const FIVE_PARTS = "spec/identity-and-inpod §1.1: five parts, ns and sa in their places";
const SAN_ONLY = "X509-SVID §2: an identity is a URI name of subjectAltName, nothing else";
const ANY_NAME = "spec §4.2, §4.3: some name of the leaf is enough (X509-SVID §2 would refuse two)";
const IA5 = "RFC 5280 §4.2.1.6: a URI is an IA5String; what is not printable is no identity";

const NAMES: readonly OddShape[] = [
  named("a good one", [uri(ODD_URI)], "accepted", "X509-SVID §2: one SPIFFE name"),
  named("no names", null, NOBODY, SAN_ONLY),
  named("an empty list of names", [], NOBODY, "RFC 5280 §4.2.1.6: at least one; it names nobody"),
  named("a DNS name only", [dns("cluster.local")], NOBODY, SAN_ONLY),
  named("the identity as a DNS name", [dns(ODD_URI)], NOBODY, SAN_ONLY),
  named("a DNS name that reads like two", [dns(`x, URI:${ODD_URI}`)], NOBODY, SAN_ONLY),
  named("an address only", [element(0x87, Uint8Array.of(127, 0, 0, 1))], NOBODY, SAN_ONLY),
  leaf(
    "the identity as common name",
    { subject: distinguishedName(ODD_URI), extensions: leafExtensions({ names: null }) },
    NOBODY,
    SAN_ONLY,
  ),
  leaf(
    "no subject, critical names",
    {
      subject: element(0x30),
      extensions: [...leafExtensions({ names: null }), altNames([uri(ODD_URI)], true)],
    },
    "accepted",
    "RFC 5280 §4.2.1.6: so are istiod's leaves",
  ),
  named(
    "two identities, ours first",
    [uri(ODD_URI), uri("spiffe://other/ns/a/sa/b")],
    "accepted",
    ANY_NAME,
  ),
  named(
    "two identities, ours last",
    [uri("spiffe://other/ns/a/sa/b"), uri(ODD_URI)],
    "accepted",
    ANY_NAME,
  ),
  named("another URI first", [uri("https://x/"), uri(ODD_URI)], "accepted", ANY_NAME),
  named(
    "a thousand names, ours last",
    [...Array.from({ length: 999 }, (_, at) => uri(`https://x/${at}`)), uri(ODD_URI)],
    "accepted",
    ANY_NAME,
  ),
  named("the scheme in upper case", [uri(ODD_URI.replace("spiffe", "SPIFFE"))], NOBODY, FIVE_PARTS),
  named("ns in upper case", [uri(ODD_URI.replace("/ns/", "/NS/"))], NOBODY, FIVE_PARTS),
  named(
    "the trust domain in upper case",
    [uri(ODD_URI.replace("cluster.local", "CLUSTER.LOCAL"))],
    NOBODY,
    SPIFFE_ID,
  ),
  named(
    "the account in upper case",
    [uri(ODD_URI.replace("odd", "ODD"))],
    SOMEBODY_ELSE,
    SPIFFE_ID,
  ),
  named("NUL at the end", [uri(`${ODD_URI}\0`)], NOBODY, IA5),
  named(
    "NUL in the trust domain",
    [uri(ODD_URI.replace(".local", ".local\0.x"))],
    NOBODY,
    IA5,
  ),
  named("a percent escape", [uri(ODD_URI.replace("odd", "%6Fdd"))], SOMEBODY_ELSE, SPIFFE_ID),
  named("an escaped slash", [uri(ODD_URI.replace("l/ns", "l%2Fns"))], NOBODY, FIVE_PARTS),
  named("a trailing slash", [uri(`${ODD_URI}/`)], NOBODY, FIVE_PARTS),
  named("another scheme", [uri(ODD_URI.replace("spiffe", "https"))], NOBODY, FIVE_PARTS),
  named("a bare trust domain", [uri("spiffe://cluster.local")], NOBODY, FIVE_PARTS),
  named("no trust domain", [uri("spiffe:///ns/default/sa/odd")], NOBODY, SPIFFE_ID),
  named(
    "an empty namespace and account",
    [uri("spiffe://cluster.local/ns//sa/")],
    SOMEBODY_ELSE,
    "spec/identity-and-inpod §1.1: empty parts are parts (SPIFFE-ID §2.2 would refuse them)",
  ),
  named("an empty segment more", [uri(ODD_URI.replace("/ns", "//ns"))], NOBODY, FIVE_PARTS),
  named("dot segments", [uri(ODD_URI.replace("odd", "x/../odd"))], NOBODY, FIVE_PARTS),
  named("a dot segment as account", [uri(ODD_URI.replace("odd", ".."))], SOMEBODY_ELSE, SPIFFE_ID),
  named("a port", [uri(ODD_URI.replace("l/", "l:15008/"))], NOBODY, SPIFFE_ID),
  named("a user", [uri(ODD_URI.replace("//", "//root@"))], NOBODY, SPIFFE_ID),
  named("a query", [uri(`${ODD_URI}?x=1`)], SOMEBODY_ELSE, SPIFFE_ID),
  named("a fragment", [uri(`${ODD_URI}#x`)], SOMEBODY_ELSE, SPIFFE_ID),
  named("a space before", [uri(` ${ODD_URI}`)], NOBODY, FIVE_PARTS),
  named("a space behind", [uri(`${ODD_URI} `)], SOMEBODY_ELSE, SPIFFE_ID),
  named("two identities in one name", [uri(`${ODD_URI},${ODD_URI}`)], NOBODY, FIVE_PARTS),
  named(
    "an international trust domain, raw",
    [uri(utf8(ODD_URI.replace("cluster", "clüster")))],
    NOBODY,
    IA5,
  ),
  named("a look-alike letter", [uri(utf8(ODD_URI.replace("c", "с")))], NOBODY, IA5),
  named(
    "an international trust domain, encoded",
    [uri(ODD_URI.replace("cluster", "xn--clster-3ya"))],
    NOBODY,
    SPIFFE_ID,
  ),
  named(
    "a huge name",
    [uri(ODD_URI.padEnd(30_000, "x"))],
    SOMEBODY_ELSE,
    "spec/identity-and-inpod §1.1: no limit (SPIFFE-ID §2.3 has 2,048 octets)",
  ),
  named(
    "a URI that claims to hold parts",
    [element(0xa6, octets(ODD_URI))],
    NOBODY,
    "X.690 §8.14: IMPLICIT IA5String is primitive; a name of another kind",
  ),
];

const EKU = "RFC 5280 §4.2.1.12: where usages are named, ours is among them";
const KU_IGNORED = "spec/identity-and-inpod §4.2: keyUsage is not looked at, as in the original";
const CRITICAL = "RFC 5280 §4.2: an unknown critical extension refuses the certificate";
const V3 = "spec/identity-and-inpod §4.2: version 3 only";
const DER_TIME = "RFC 5280 §4.1.2.5: seconds and Z, nothing else";

const FORMS: readonly OddShape[] = [
  leaf("no usages", { extensions: leafExtensions({ usages: null }) }, "accepted", EKU),
  leaf("made for servers", { extensions: leafExtensions({ usages: [OIDS.serverAuth] }) }, [
    "WRONG_USAGE",
    "accepted",
  ], EKU),
  leaf("made for clients", { extensions: leafExtensions({ usages: [OIDS.clientAuth] }) }, [
    "accepted",
    "WRONG_USAGE",
  ], EKU),
  leaf(
    "made for anything",
    { extensions: leafExtensions({ usages: [OIDS.anyUsage] }) },
    "WRONG_USAGE",
    `${EKU}; the wildcard need not be honoured`,
  ),
  leaf(
    "made to sign code",
    { extensions: leafExtensions({ usages: [OIDS.codeSigning] }) },
    "WRONG_USAGE",
    EKU,
  ),
  leaf("keyUsage without signing", withExtensions(keyUsage(0x20)), "accepted", KU_IGNORED),
  leaf(
    "keyUsage of a CA",
    withExtensions(keyUsage(0x84)),
    "accepted",
    `${KU_IGNORED} (X509-SVID §4.3 would refuse it)`,
  ),
  leaf(
    "CA:TRUE",
    { extensions: [basicConstraints({ isCa: true }), ...leafExtensions().slice(1)] },
    "CA_AS_LEAF",
    "X509-SVID §4.1: a leaf is no CA",
  ),
  leaf(
    "no basic constraints",
    { extensions: leafExtensions().slice(1) },
    "accepted",
    "RFC 5280 §4.2.1.9: then it is no CA",
  ),
  leaf(
    "an unknown critical extension",
    withExtensions(extension("1.2.3.4", element(0x05), true)),
    "UNKNOWN_CRITICAL_EXTENSION",
    CRITICAL,
    UNPLAYABLE_DENO,
  ),
  leaf(
    "an unknown extension",
    withExtensions(extension("1.2.3.4", element(0x05))),
    "accepted",
    "RFC 5280 §4.2: one that is not critical may be ignored",
  ),
  leaf(
    "critical certificate policies",
    withExtensions(
      extension(OIDS.certificatePolicies, element(0x30, element(0x30, oid("1.2.3.4"))), true),
    ),
    "UNKNOWN_CRITICAL_EXTENSION",
    `${CRITICAL}; policies are not evaluated`,
    UNPLAYABLE_DENO,
  ),
  leaf(
    "critical names of the issuer",
    withExtensions(extension(OIDS.issuerAltName, element(0x30, uri("https://x/")), true)),
    "UNKNOWN_CRITICAL_EXTENSION",
    CRITICAL,
    UNPLAYABLE_DENO,
  ),
  leaf(
    "the names extension twice",
    withExtensions(altNames([uri("https://x/")])),
    "BAD_ENCODING",
    "RFC 5280 §4.2: no extension twice",
    UNPLAYABLE_DENO,
  ),
  leaf("version 1", { version: 0, extensions: null }, "BAD_ENCODING", V3),
  leaf("version 1 with extensions", { version: 0 }, "BAD_ENCODING", V3),
  leaf("version 2", { version: 1, extensions: null }, "BAD_ENCODING", V3),
  leaf("version 4", { version: 3 }, "BAD_ENCODING", V3),
  leaf(
    "a negative serial",
    { serial: Uint8Array.of(0x80, 1) },
    "accepted",
    "RFC 5280 §4.1.2.2: users should cope with it",
  ),
  leaf(
    "serial zero",
    { serial: Uint8Array.of(0) },
    "accepted",
    "RFC 5280 §4.1.2.2: users should cope with it",
  ),
  leaf(
    "a serial of 40 octets",
    { serial: new Uint8Array(40).fill(0x11) },
    "accepted",
    "RFC 5280 §4.1.2.2: 20 at most, for issuers",
  ),
  leaf(
    "an empty serial",
    { serial: new Uint8Array() },
    "BAD_ENCODING",
    "X.690 §8.3.1: an INTEGER has at least one octet",
    UNPLAYABLE_NATIVE,
  ),
  leaf(
    "unique identifiers",
    { uniqueIds: [element(0x81, Uint8Array.of(0, 1)), element(0x82, Uint8Array.of(0, 2))] },
    "BAD_ENCODING",
    "RFC 5280 §4.1.2.8: no conforming CA writes them; refused as in the original",
    UNPLAYABLE_DENO,
  ),
  leaf("expired", { notAfter: utc(-60_000) }, "EXPIRED", "RFC 5280 §6.1.3"),
  leaf(
    "not valid yet",
    { notBefore: utc(HOUR_MS), notAfter: utc(2 * HOUR_MS) },
    "NOT_VALID_YET",
    "RFC 5280 §6.1.3",
  ),
  leaf(
    "ending before it begins",
    { notBefore: utc(-HOUR_MS), notAfter: utc(-2 * HOUR_MS) },
    "EXPIRED",
    "RFC 5280 §6.1.3",
    JUDGED_BY_US,
  ),
  leaf(
    "without an end",
    { notAfter: time(0x18, "99991231235959Z") },
    "accepted",
    "RFC 5280 §4.1.2.5: the date for no well-defined end",
  ),
  leaf("a time without seconds", { notAfter: time(0x17, "3501010000Z") }, "BAD_ENCODING", DER_TIME),
  leaf(
    "a time with an offset",
    {
      notAfter: time(0x17, "350101000000+0100"),
    },
    "BAD_ENCODING",
    DER_TIME,
  ),
  leaf(
    "a time with fractions",
    {
      notAfter: time(0x18, "20550101000000.5Z"),
    },
    "BAD_ENCODING",
    DER_TIME,
  ),
  leaf(
    "a day that does not exist",
    {
      notAfter: time(0x17, "350231000000Z"),
    },
    "BAD_ENCODING",
    DER_TIME,
  ),
  presented(
    "octets behind it",
    [Uint8Array.of(...certificate(ODD_ROOT), 0)],
    "BAD_ENCODING",
    "RFC 5280 §4.1: one Certificate, DER",
    { deno: UNPLAYABLE, native: SHOWN_WHOLE },
  ),
  presented(
    "cut short",
    [certificate(ODD_ROOT).slice(0, -1)],
    "BAD_ENCODING",
    "RFC 5280 §4.1: one Certificate, DER",
    UNPLAYABLE_BOTH,
  ),
];

const good = certificate(ODD_ROOT);
const flipped = cut(good, good.length - 1, good.at(-1)! ^ 1);
const impostor: Issuer = { ...ODD_ROOT, name: ODD_ROOT.name, keys: keysOf("p256", "impostor") };
const stranger = new HandMadeCa("stranger");
const PROVEN = "RFC 5280 §6.1.3: signed by the key of its issuer";
const WEAK = "NIST SP 800-131A, and the original's library: RSA from 2,048 bits, no SHA-1";

/** A good leaf by an intermediate whose key and way of signing are odd. */
function signedBy(
  label: string,
  kind: Parameters<typeof keysOf>[0],
  algorithm: HandMadeCa["algorithm"],
  expected: Expected,
  why: string,
  columns: Columns = {},
): OddShape {
  const middle = new HandMadeCa(`middle ${label}`, {
    above: ODD_ROOT,
    keys: keysOf(kind, "middle"),
    algorithm,
  });
  return below(label, middle, expected, why, columns);
}

const SIGNATURES: readonly OddShape[] = [
  presented("a bad signature", [flipped], "BAD_SIGNATURE", PROVEN),
  presented("by an impostor of the root", [certificate(impostor)], "BAD_SIGNATURE", PROVEN),
  presented("by a stranger", [certificate(stranger)], "UNKNOWN_ISSUER", PROVEN),
  presented(
    "by a stranger who comes along",
    [certificate(stranger), stranger.der],
    "UNKNOWN_ISSUER",
    "RFC 5280 §6.1: a path begins at one of our roots",
  ),
  presented(
    "signed by itself",
    [certificate({
      name: distinguishedName("odd leaf"),
      keys: LEAF_KEYS,
      algorithm: "ecdsa-sha256",
    })],
    "UNKNOWN_ISSUER",
    "RFC 5280 §6.1: a path begins at one of our roots",
  ),
  leaf(
    "two algorithms",
    { outerAlgorithm: "ecdsa-sha384" },
    "BAD_ENCODING",
    "RFC 5280 §4.1.1.2: the same inside and outside",
    UNPLAYABLE_DENO,
  ),
  presented(
    "signed with SHA-1",
    [certificate({ ...ODD_ROOT, name: ODD_ROOT.name, algorithm: "ecdsa-sha1" })],
    "BAD_SIGNATURE",
    WEAK,
    { deno: { server: "UNKNOWN_ISSUER" }, native: UNPLAYABLE },
  ),
  signedBy("by RSA with SHA-1", "rsa2048", "rsa-sha1", "BAD_SIGNATURE", WEAK, {
    deno: { server: "UNKNOWN_ISSUER" },
    native: UNPLAYABLE,
  }),
  signedBy("by RSA of 1,024 bits", "rsa1024", "rsa-sha256", "BAD_SIGNATURE", WEAK, {
    deno: { server: "UNKNOWN_ISSUER" },
    native: UNPLAYABLE,
  }),
  signedBy("by RSA of 2,048 bits", "rsa2048", "rsa-sha256", "accepted", "src/tls/README.md"),
  signedBy("by RSA-PSS", "rsa2048", "rsa-pss", "BAD_SIGNATURE", "src/tls/README.md: unverifiable"),
  signedBy("by P-384", "p384", "ecdsa-sha384", "accepted", "src/tls/README.md"),
  signedBy(
    "by P-521",
    "p521",
    "ecdsa-sha512",
    "BAD_SIGNATURE",
    "src/tls/README.md: unverifiable",
    JUDGED_BY_US,
  ),
  signedBy("by Ed25519", "ed25519", "ed25519", "accepted", "src/tls/README.md"),
  leaf("an RSA key", { keys: keysOf("rsa2048", "leaf") }, "accepted", "RFC 8446 §4.2.3"),
  leaf("a P-384 key", { keys: keysOf("p384", "leaf") }, "accepted", "RFC 8446 §4.2.3"),
  leaf("an Ed25519 key", { keys: keysOf("ed25519", "leaf") }, "accepted", "RFC 8446 §4.2.3"),
  leaf(
    "a weak key",
    { keys: keysOf("rsa1024", "leaf") },
    "accepted",
    "a chain says nothing of its leaf's key: the handshake's signature is the library's",
    UNPLAYABLE_BOTH,
  ),
];

const middle = intermediate();
const lower = intermediate({}, middle, "lower");
const narrow = intermediate(
  { extensions: [basicConstraints({ isCa: true, pathLength: 0 })] },
  ODD_ROOT,
  "narrow",
);
const belowNarrow = intermediate({}, narrow, "below narrow");
const ladder = Array.from({ length: CHAIN_DEPTH_MAX + 1 }).reduce<HandMadeCa[]>(
  (cas, _, at) => [intermediate({}, cas[0] ?? ODD_ROOT, `step ${at}`), ...cas],
  [],
);
const constrained = (base: Der, label: string) =>
  intermediate(
    {
      extensions: [
        basicConstraints({ isCa: true }),
        extension(OIDS.nameConstraints, element(0x30, element(0xa0, element(0x30, base))), true),
      ],
    },
    ODD_ROOT,
    label,
  );
const loopA: Issuer = {
  name: distinguishedName("loop a"),
  keys: keysOf("p256", "loop a"),
  algorithm: "ecdsa-sha256",
};
const loopB = new HandMadeCa("loop b", { above: loopA });
const closing = new HandMadeCa("loop a", { above: loopB });
const ANY_ORDER = "RFC 8446 §4.4.2: be prepared for other orders and surplus certificates";
const ISSUER = "RFC 5280 §6.1.4";

const CHAINS: readonly OddShape[] = [
  presented("in order", [certificate(lower), lower.der, middle.der], "accepted", ISSUER),
  presented("shuffled", [certificate(lower), middle.der, lower.der], "accepted", ANY_ORDER),
  presented("with the root", [good, ODD_ROOT.der], "accepted", ANY_ORDER),
  presented(
    "with certificates of others",
    [certificate(middle), stranger.der, middle.der, certificate(stranger)],
    "accepted",
    ANY_ORDER,
  ),
  presented("the leaf twice", [good, good], "accepted", ANY_ORDER),
  presented(
    "an intermediate first",
    [middle.der, certificate(middle)],
    "CA_AS_LEAF",
    "RFC 8446 §4.4.2: the sender's certificate comes first",
    UNPLAYABLE_BOTH,
  ),
  presented("a link missing", [certificate(lower), lower.der], "UNKNOWN_ISSUER", ISSUER),
  presented(
    "garbage beside it",
    [good, Uint8Array.of(1, 2, 3)],
    "accepted",
    `${ANY_ORDER}; no path leads over it`,
    UNPLAYABLE_NATIVE,
  ),
  presented(
    "CHAIN_CERTIFICATES_MAX certificates",
    [good, ...Array<Der>(CHAIN_CERTIFICATES_MAX - 1).fill(stranger.der)],
    "accepted",
    "our limit",
    // The runtime adds the root to what a server has shown.
    { deno: { server: "CHAIN_TOO_LONG" } },
  ),
  presented(
    "one more than CHAIN_CERTIFICATES_MAX",
    [good, ...Array<Der>(CHAIN_CERTIFICATES_MAX).fill(stranger.der)],
    "CHAIN_TOO_LONG",
    "our limit",
  ),
  presented(
    "CHAIN_DEPTH_MAX intermediates",
    [certificate(ladder[1]!), ...ladder.slice(1).map(({ der }) => der)],
    "accepted",
    "our limit",
  ),
  presented(
    "one more than CHAIN_DEPTH_MAX",
    [certificate(ladder[0]!), ...ladder.map(({ der }) => der)],
    "CHAIN_TOO_LONG",
    "our limit",
    { deno: { server: "UNKNOWN_ISSUER" } },
  ),
  below("path length 0, kept", narrow, "accepted", "RFC 5280 §4.2.1.9"),
  presented(
    "path length 0, broken",
    [certificate(belowNarrow), belowNarrow.der, narrow.der],
    "CHAIN_TOO_LONG",
    "RFC 5280 §4.2.1.9",
    { deno: { server: "UNKNOWN_ISSUER" } },
  ),
  below(
    "below one that is no CA",
    intermediate({ extensions: leafExtensions() }, ODD_ROOT, "no CA"),
    "UNKNOWN_ISSUER",
    "RFC 5280 §6.1.4 (k)",
  ),
  below(
    "below one of version 1",
    intermediate({ version: 0, extensions: null }, ODD_ROOT, "old CA"),
    "UNKNOWN_ISSUER",
    "RFC 5280 §6.1.4 (k)",
  ),
  below(
    "below one that has expired",
    intermediate({ notAfter: utc(-60_000) }, ODD_ROOT, "expired CA"),
    "EXPIRED",
    "RFC 5280 §6.1.3",
  ),
  below(
    "below one of tomorrow",
    intermediate({ notBefore: utc(HOUR_MS), notAfter: utc(2 * HOUR_MS) }, ODD_ROOT, "early CA"),
    "NOT_VALID_YET",
    "RFC 5280 §6.1.3",
  ),
  below(
    "below one that signs code",
    intermediate(
      {
        extensions: [
          basicConstraints({ isCa: true }),
          ...leafExtensions({ usages: [OIDS.codeSigning], names: null }).slice(1),
        ],
      },
      ODD_ROOT,
      "code CA",
    ),
    "WRONG_USAGE",
    "spec/identity-and-inpod §4.2: usages of intermediates count, as in the original",
  ),
  below(
    "below one whose keyUsage has no keyCertSign",
    intermediate(
      { extensions: [basicConstraints({ isCa: true }), keyUsage(0x80)] },
      ODD_ROOT,
      "unsigning CA",
    ),
    "accepted",
    KU_IGNORED,
  ),
  below(
    "below one with an unknown critical extension",
    intermediate(
      {
        extensions: [
          basicConstraints({ isCa: true }),
          extension("1.2.3.4", element(0x05), true),
        ],
      },
      ODD_ROOT,
      "unknown CA",
    ),
    "UNKNOWN_CRITICAL_EXTENSION",
    CRITICAL,
  ),
  below(
    "below one that may name URIs of our host",
    constrained(uri("cluster.local"), "constrained CA"),
    "NAME_CONSTRAINTS",
    "src/tls/README.md: constraints on URIs are not evaluated, so refused (RFC 5280 §4.2.1.10)",
  ),
  below(
    "below one that may name DNS names",
    constrained(dns("cluster.local"), "DNS CA"),
    "accepted",
    "RFC 5280 §4.2.1.10: says nothing of URIs",
  ),
  below(
    "below one that has an identity",
    intermediate(
      { extensions: [basicConstraints({ isCa: true }), altNames([uri("spiffe://x/ns/a/sa/b")])] },
      ODD_ROOT,
      "named CA",
    ),
    "accepted",
    "X509-SVID §3: names of authorities are nobody's",
  ),
  presented(
    "a loop of two intermediates",
    [certificate(loopB), loopB.der, closing.der],
    "UNKNOWN_ISSUER",
    "RFC 5280 §6.1: a path begins at one of our roots",
  ),
];

/** Every shape, each name once. */
export const ODD_SHAPES: readonly OddShape[] = [...NAMES, ...FORMS, ...SIGNATURES, ...CHAINS];
