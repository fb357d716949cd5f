// A throw-away mesh CA for tests: a root in the layout of FAKE_CA_DIR, and leaves with SPIFFE names.
// It writes its DER itself, so that a mistake in the product's certificate library is not made twice.

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNING = { name: "ECDSA", hash: "SHA-256" } as const;
const HOUR_MS = 3_600_000;

const OID = {
  ecdsaWithSha256: [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
  commonName: [0x55, 0x04, 0x03],
  keyUsage: [0x55, 0x1d, 0x0f],
  subjectAltName: [0x55, 0x1d, 0x11],
  basicConstraints: [0x55, 0x1d, 0x13],
  extendedKeyUsage: [0x55, 0x1d, 0x25],
  serverAuth: [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
  clientAuth: [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02],
} as const;

export type ExtendedUsage = "serverAuth" | "clientAuth";

/** A leaf, its key and the root that signed it, all PEM (the key PKCS#8). */
export interface TestLeaf {
  readonly certPem: string;
  readonly keyPem: string;
  readonly rootPem: string;
}

/** Where {@link MeshCa.writeLeaf} put the three PEM files. */
export interface TestLeafFiles {
  readonly cert: string;
  readonly key: string;
  readonly root: string;
}

/** What a leaf says; a valid one for both directions unless told otherwise. */
export interface LeafOptions {
  /** URI SANs, in this order; no name at all leaves the extension out. */
  readonly uris: readonly string[];
  /** DNS SANs, after the URIs. */
  readonly dnsNames?: readonly string[];
  /** IPv4 SANs, last. */
  readonly ips?: readonly string[];
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly usages?: readonly ExtendedUsage[];
}

/** An ECDSA P-256 root, or an intermediate, that signs for whoever asks. Made anew in each test; keys stay in memory. */
export class MeshCa {
  readonly rootPem: string;
  /** Intermediates from this one up, without the root. */
  readonly chainPems: readonly string[];
  readonly #name: Uint8Array;
  readonly #keys: CryptoKeyPair;

  private constructor(
    rootPem: string,
    chainPems: readonly string[],
    signer: { readonly name: Uint8Array; readonly keys: CryptoKeyPair },
  ) {
    this.rootPem = rootPem;
    this.chainPems = chainPems;
    this.#name = signer.name;
    this.#keys = signer.keys;
  }

  static async create(commonName = "test mesh root"): Promise<MeshCa> {
    const keys = await generateKeys();
    const name = distinguishedName(commonName);
    const rootDer = await sign(keys.privateKey, caCertificate(name, name, keys.publicKey));
    return new MeshCa(pem("CERTIFICATE", rootDer), [], { name, keys });
  }

  /** A CA below this one. */
  async intermediate(commonName: string): Promise<MeshCa> {
    const keys = await generateKeys();
    const name = distinguishedName(commonName);
    const der = await sign(this.#keys.privateKey, caCertificate(this.#name, name, keys.publicKey));
    const chainPems = [pem("CERTIFICATE", der), ...this.chainPems];
    return new MeshCa(this.rootPem, chainPems, { name, keys });
  }

  /** Signs a fresh key pair. */
  async issue(options: LeafOptions): Promise<TestLeaf> {
    const keys = await generateKeys();
    return {
      certPem: await this.certify(keys.publicKey, options),
      keyPem: await privateKeyPem(keys.privateKey),
      rootPem: this.rootPem,
    };
  }

  /** Signs for somebody else's key; PEM. */
  async certify(publicKey: CryptoKey, options: LeafOptions): Promise<string> {
    const now = Date.now();
    const usages = options.usages ?? ["serverAuth", "clientAuth"];
    const extensions = [
      extension(OID.basicConstraints, sequence()),
      extension(OID.keyUsage, der(0x03, [0x07, 0x80])), // digitalSignature
      extension(
        OID.extendedKeyUsage,
        sequence(...usages.map((usage) => der(0x06, [...OID[usage]]))),
      ),
    ];
    const text = (tag: number, name: string) => der(tag, [...new TextEncoder().encode(name)]);
    const names = [
      ...options.uris.map((uri) => text(0x86, uri)),
      ...(options.dnsNames ?? []).map((name) => text(0x82, name)),
      ...(options.ips ?? []).map((ip) => der(0x87, ip.split(".").map(Number))),
    ];
    if (names.length > 0) extensions.push(extension(OID.subjectAltName, sequence(...names)));
    const certificate = await sign(this.#keys.privateKey, {
      issuer: this.#name,
      subject: sequence(),
      publicKey,
      notBeforeMs: options.notBeforeMs ?? now - HOUR_MS,
      notAfterMs: options.notAfterMs ?? now + HOUR_MS,
      extensions,
    });
    return pem("CERTIFICATE", certificate);
  }

  /** Signs for `spiffe://cluster.local/ns/<namespace>/sa/<serviceAccount>` and writes three files. */
  async writeLeaf(
    folder: string,
    name: { readonly namespace: string; readonly serviceAccount: string },
  ): Promise<TestLeafFiles> {
    const uri = `spiffe://cluster.local/ns/${name.namespace}/sa/${name.serviceAccount}`;
    const leaf = await this.issue({ uris: [uri] });
    const stem = `${folder}/${name.namespace}-${name.serviceAccount}`;
    const files = { cert: `${stem}-cert.pem`, key: `${stem}-key.pem`, root: `${stem}-root.pem` };
    await Deno.writeTextFile(files.cert, leaf.certPem);
    await Deno.writeTextFile(files.key, leaf.keyPem, { mode: 0o600 });
    await Deno.writeTextFile(files.root, leaf.rootPem);
    return files;
  }

  /** Writes `root-cert.pem` and `root-key.pem`, as a proxy started with this FAKE_CA_DIR reads them. */
  async writeRoot(folder: string): Promise<void> {
    await Deno.writeTextFile(`${folder}/root-cert.pem`, this.rootPem);
    const key = await privateKeyPem(this.#keys.privateKey);
    await Deno.writeTextFile(`${folder}/root-key.pem`, key, { mode: 0o600 });
  }
}

interface ToBeSigned {
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly publicKey: CryptoKey;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Uint8Array[];
}

/** What a CA's own certificate says. */
function caCertificate(issuer: Uint8Array, subject: Uint8Array, publicKey: CryptoKey): ToBeSigned {
  const now = Date.now();
  return {
    issuer,
    subject,
    publicKey,
    notBeforeMs: now - HOUR_MS,
    notAfterMs: now + 24 * HOUR_MS,
    extensions: [
      extension(OID.basicConstraints, sequence(der(0x01, [0xff]))),
      extension(OID.keyUsage, der(0x03, [0x01, 0x06])), // keyCertSign, cRLSign
    ],
  };
}

/** A v3 certificate, DER (RFC 5280 §4.1). */
async function sign(signer: CryptoKey, parts: ToBeSigned): Promise<Uint8Array> {
  const algorithm = sequence(der(0x06, [...OID.ecdsaWithSha256]));
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", parts.publicKey));
  const body = sequence(
    der(0xa0, der(0x02, [2])),
    der(0x02, [0x01, ...crypto.getRandomValues(new Uint8Array(15))]),
    algorithm,
    parts.issuer,
    sequence(time(parts.notBeforeMs), time(parts.notAfterMs)),
    parts.subject,
    spki,
    der(0xa3, sequence(...parts.extensions)),
  );
  const raw = new Uint8Array(await crypto.subtle.sign(SIGNING, signer, body));
  const signature = sequence(unsigned(raw.subarray(0, 32)), unsigned(raw.subarray(32)));
  return sequence(body, algorithm, der(0x03, [0, ...signature]));
}

/** One DER element; `content` under 64 KiB. */
function der(tag: number, content: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const size = content.length;
  const length = size < 0x80
    ? [size]
    : size < 0x100
    ? [0x81, size]
    : [0x82, size >> 8, size & 0xff];
  const element = new Uint8Array(1 + length.length + size);
  element[0] = tag;
  element.set(length, 1);
  element.set(content, 1 + length.length);
  return element;
}

function sequence(...items: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return der(0x30, items.flatMap((item) => [...item]));
}

function unsigned(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((octet) => octet !== 0);
  const digits = bytes.subarray(first);
  return der(0x02, digits[0]! >= 0x80 ? [0, ...digits] : digits);
}

/** Critical, all of them. */
function extension(oid: readonly number[], value: Uint8Array): Uint8Array {
  return sequence(der(0x06, [...oid]), der(0x01, [0xff]), der(0x04, value));
}

function distinguishedName(commonName: string): Uint8Array {
  const text = der(0x0c, [...new TextEncoder().encode(commonName)]);
  return sequence(der(0x31, sequence(der(0x06, [...OID.commonName]), text)));
}

/** GeneralizedTime is for 2050 and later (RFC 5280 §4.1.2.5); tests live before. */
function time(epochMs: number): Uint8Array {
  const digits = new Date(epochMs).toISOString().slice(2, 19).replace(/\D/g, "");
  return der(0x17, [...new TextEncoder().encode(`${digits}Z`)]);
}

function generateKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function privateKeyPem(key: CryptoKey): Promise<string> {
  return pem("PRIVATE KEY", new Uint8Array(await crypto.subtle.exportKey("pkcs8", key)));
}

function pem(label: string, bytes: Uint8Array): string {
  const body = bytes.toBase64().replace(/.{64}(?!$)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}
