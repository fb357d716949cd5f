// A certificate authority as a control plane has it, for a proxy that was not built for tests: signs what it is asked to.
import { Buffer } from "node:buffer";
import grpc from "@grpc/grpc-js";
import * as x509 from "../../src/identity/x509.ts";
import type { TestLeaf } from "../support/mesh_ca.ts";
import { type Fields, Protobuf } from "../support/protobuf.ts";

const PATH = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const SUBJECT_ALT_NAME = "2.5.29.17";
const HOUR_MS = 3_600_000;
const SIGNING = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

const MESSAGES = new Protobuf({
  messages: {
    Request: { csr: "1 string", validitySeconds: "3 int64" },
    Response: { certChain: "1 repeated string" },
  },
  enums: {},
});

/** Serves on a port of its own; disposing of it ends it. */
export class OriginalCa implements AsyncDisposable {
  readonly address: string;
  readonly #server: grpc.Server;

  private constructor(server: grpc.Server, address: string) {
    this.#server = server;
    this.address = address;
  }

  /** @param folder Holds `root-cert.pem` and `root-key.pem`; `tls` is for `ip`. */
  static async start(folder: string, ip: string, tls: TestLeaf): Promise<OriginalCa> {
    const root = new x509.X509Certificate(await Deno.readTextFile(`${folder}/root-cert.pem`));
    const keyPem = await Deno.readTextFile(`${folder}/root-key.pem`);
    const key = await crypto.subtle.importKey(
      "pkcs8",
      x509.PemConverter.decodeFirst(keyPem),
      SIGNING,
      false,
      ["sign"],
    );
    const server = new grpc.Server();
    server.addService(SERVICE, {
      create: (
        call: grpc.ServerUnaryCall<Fields, Fields>,
        done: grpc.sendUnaryData<Fields>,
      ) => {
        sign(call.request["csr"], root, key).then(
          (leaf) => done(null, { certChain: [leaf, root.toString("pem")] }),
          (error) => done({ code: grpc.status.INTERNAL, details: String(error) }),
        );
      },
    });
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync(
        `${ip}:0`,
        grpc.ServerCredentials.createSsl(Buffer.from(tls.rootPem), [
          { private_key: Buffer.from(tls.keyPem), cert_chain: Buffer.from(tls.certPem) },
        ]),
        (error, bound) => error === null ? resolve(bound) : reject(error),
      )
    );
    return new OriginalCa(server, `https://${ip}:${port}`);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    return new Promise((resolve) => this.#server.tryShutdown(() => resolve()));
  }
}

/** A leaf for the key and the names of a request. */
async function sign(
  csrPem: string,
  root: x509.X509Certificate,
  signingKey: CryptoKey,
): Promise<string> {
  const csr = new x509.Pkcs10CertificateRequest(csrPem);
  const names = csr.extensions.find(({ type }) => type === SUBJECT_ALT_NAME);
  const leaf = await x509.X509CertificateGenerator.create({
    serialNumber: crypto.randomUUID().replaceAll("-", "").replace(/^./, "4"),
    subject: "",
    issuer: root.subjectName,
    notBefore: new Date(Date.now() - HOUR_MS),
    notAfter: new Date(Date.now() + HOUR_MS),
    publicKey: csr.publicKey,
    signingKey,
    signingAlgorithm: SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      ...(names === undefined ? [] : [names]),
    ],
  });
  return leaf.toString("pem");
}

const SERVICE: grpc.ServiceDefinition = {
  create: {
    path: PATH,
    requestStream: false,
    responseStream: false,
    requestSerialize: (fields: Fields) => Buffer.from(MESSAGES.encode("Request", fields)),
    requestDeserialize: (bytes: Uint8Array) => MESSAGES.decode("Request", bytes),
    responseSerialize: (fields: Fields) => Buffer.from(MESSAGES.encode("Response", fields)),
    responseDeserialize: (bytes: Uint8Array) => MESSAGES.decode("Response", bytes),
  },
};
