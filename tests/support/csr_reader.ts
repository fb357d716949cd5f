// Reads a PKCS#10 request (RFC 2986) element by element, so that a mistake in the library that wrote it shows.
import { Buffer } from "node:buffer";
import { createPublicKey, verify } from "node:crypto";
import { DER_TAG, DerReader, oidText } from "../../src/tls/der.ts";

export interface CsrExtension {
  readonly oid: string;
  readonly critical: boolean;
  /** What is inside the OCTET STRING, hex. */
  readonly valueHex: string;
}

export interface ReadCsr {
  readonly version: number;
  /** Contents of the subject's sequence: 0 octets for no name at all. */
  readonly subjectBytes: number;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKeyDer: Uint8Array<ArrayBuffer>;
  readonly attributes: readonly string[];
  readonly extensions: readonly CsrExtension[];
  readonly signatureAlgorithm: string;
  /** True where the signature is the public key's. */
  readonly verifies: boolean;
}

const EXTENSION_REQUEST = "1.2.840.113549.1.9.14";

/** @throws {Error} (any) where the text is no such request. */
export function readCsr(pem: string): ReadCsr {
  const match =
    /^-----BEGIN CERTIFICATE REQUEST-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE REQUEST-----\n$/
      .exec(pem);
  if (match === null) throw new Error("The request is not one PEM block");
  const der = Uint8Array.fromBase64(match[1]!);
  const outer = new DerReader(der);
  const request = outer.inside(outer.expect(DER_TAG.sequence));
  outer.finish();
  const infoElement = request.expect(DER_TAG.sequence);
  const algorithm = request.inside(request.expect(DER_TAG.sequence));
  const signature = request.contents(request.expect(DER_TAG.bitString)).subarray(1);
  request.finish();

  const info = request.inside(infoElement);
  const version = info.contents(info.expect(DER_TAG.integer))[0]!;
  const subject = info.expect(DER_TAG.sequence);
  const key = info.expect(DER_TAG.sequence);
  const attributes: string[] = [];
  const extensions: CsrExtension[] = [];
  const list = info.inside(info.expect(0xa0));
  info.finish();
  while (!list.done) {
    const attribute = list.inside(list.expect(DER_TAG.sequence));
    const oid = oidText(attribute.contents(attribute.expect(DER_TAG.oid)));
    attributes.push(oid);
    const values = attribute.inside(attribute.expect(0x31));
    if (oid === EXTENSION_REQUEST) {
      const items = values.inside(values.expect(DER_TAG.sequence));
      values.finish();
      while (!items.done) extensions.push(readExtension(items));
    }
  }
  const publicKeyDer = der.slice(key.start, key.end);
  const publicKey = createPublicKey({
    key: Buffer.from(publicKeyDer),
    format: "der",
    type: "spki",
  });
  return {
    version,
    subjectBytes: subject.end - subject.contentStart,
    publicKeyDer,
    attributes,
    extensions,
    signatureAlgorithm: oidText(algorithm.contents(algorithm.expect(DER_TAG.oid))),
    verifies: verify(
      "sha256",
      der.subarray(infoElement.start, infoElement.end),
      publicKey,
      signature,
    ),
  };
}

function readExtension(items: DerReader): CsrExtension {
  const extension = items.inside(items.expect(DER_TAG.sequence));
  const oid = oidText(extension.contents(extension.expect(DER_TAG.oid)));
  const critical = extension.optional(DER_TAG.boolean) !== null;
  const value = extension.contents(extension.expect(DER_TAG.octetString));
  extension.finish();
  return { oid, critical, valueHex: value.toHex() };
}
