// A certificate authority for tests, on grpc-js: signs as istiod does (spec/identity-and-inpod §2.3, §2.4), writes down what
// it is asked, and misbehaves when told to.
import { Buffer } from "node:buffer";
import grpc from "@grpc/grpc-js";
import { insideOf, tame } from "./grpc_server_inside.ts";
import { type ReadCsr, readCsr } from "./csr_reader.ts";
import { loopbackBlock } from "./loopback.ts";
import { MeshCa, type TestLeaf } from "./mesh_ca.ts";
import { type Fields, Protobuf } from "./protobuf.ts";
import { until } from "./real_sockets.ts";
import { XdsDoor } from "./xds_door.ts";

const PATH = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const BACKDATE_MS = 120_000;
const TTL_SECONDS_DEFAULT = 86_400;
const SETTLED_WITHIN_MS = 15_000;
const HOUR_MS = 3_600_000;

const MESSAGES = new Protobuf({
  messages: {
    Request: { csr: "1 string", validitySeconds: "3 int64", metadata: "4 Struct" },
    Response: { certChain: "1 repeated string" },
    Struct: { fields: "1 map Value" },
    Value: { string: "3 optional string" },
  },
  enums: {},
});

export interface CaServerOptions {
  /** Signs; an own one unless given. With intermediates the answer has them. */
  readonly ca?: MeshCa;
  /** Serves TLS with this leaf; plaintext otherwise. */
  readonly tls?: TestLeaf;
  /** The token asked for; anybody may come otherwise. */
  readonly token?: string;
  /** Who the caller is when he does not speak for somebody else. */
  readonly callerUri?: string;
  /** Validity of leaves from now on, whatever was asked for. */
  readonly leafMs?: number;
  /** A loopback address; one of the test's own unless given. */
  readonly ip?: string;
}

/** A request as it came. */
export interface HeardCertificateRequest {
  /** Counts from 1. */
  readonly number: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly csrPem: string;
  /** Null where it cannot be read. */
  readonly csr: ReadCsr | null;
  readonly ttlSeconds: number;
  /** The value of `ImpersonatedIdentity`; null without. */
  readonly impersonated: string | null;
  /** False where the field is not there at all. */
  readonly hasMetadata: boolean;
}

/** How it misbehaves. */
export type CaFault =
  /** A gRPC status, 1 to 16. */
  | { readonly kind: "status"; readonly code: number; readonly message: string }
  /** Takes the call and does not answer before `release`. */
  | { readonly kind: "silent" }
  /** Octets that are no protobuf. */
  | { readonly kind: "garbage" }
  /** A certificate for another key. */
  | { readonly kind: "wrong key" }
  | { readonly kind: "expired" }
  | { readonly kind: "not yet valid" }
  | { readonly kind: "other identity"; readonly uri: string }
  | { readonly kind: "empty chain" }
  /** The roots before the leaf. */
  | { readonly kind: "wrong order" }
  /** A response of about this many octets. */
  | { readonly kind: "huge chain"; readonly bytes: number }
  /** These strings and no others. */
  | { readonly kind: "says"; readonly certChain: readonly string[] };

type Call = grpc.ServerUnaryCall<Fields, Uint8Array>;
type Answer = grpc.sendUnaryData<Uint8Array>;

/** Its address stays the same while it is away. The maker disposes of it. */
export class CaServer implements AsyncDisposable {
  readonly ca: MeshCa;
  readonly heard: HeardCertificateRequest[] = [];
  /** What it does wrong now, or decides for each request. */
  fault: CaFault | ((request: HeardCertificateRequest) => CaFault | null) | null = null;
  /** Asked for from now on; null: anybody may come. */
  token: string | null;
  /** Further roots of the mesh, PEM, after our own. */
  otherRoots: readonly string[] = [];
  /** Certificates given away. */
  signed = 0;
  readonly #options: CaServerOptions;
  readonly #server: grpc.Server;
  readonly #door: XdsDoor;
  #held: (() => void)[] = [];

  private constructor(
    options: CaServerOptions,
    parts: { readonly ca: MeshCa; readonly server: grpc.Server; readonly door: XdsDoor },
  ) {
    this.#options = options;
    this.token = options.token ?? null;
    this.ca = parts.ca;
    this.#server = parts.server;
    this.#door = parts.door;
  }

  static async start(options: CaServerOptions = {}): Promise<CaServer> {
    const server = new grpc.Server({ "grpc.max_send_message_length": -1 });
    let self: CaServer | null = null;
    server.addService(SERVICE, {
      create: (call: Call, answer: Answer) => self!.#onCall(call, answer),
    });
    const port = await listen(server, options.tls);
    const ca = options.ca ?? await MeshCa.create();
    const door = await XdsDoor.open(options.ip ?? `${loopbackBlock()}.248`, port);
    return self = new CaServer(options, { ca, server, door });
  }

  get ip(): string {
    return this.#door.ip;
  }

  /** As `CA_ADDRESS`, by IP address. */
  get address(): string {
    const scheme = this.#options.tls === undefined ? "http" : "https";
    return `${scheme}://${this.#door.ip}:${this.#door.port}`;
  }

  /** TCP connections there have been. */
  get connections(): number {
    return this.#door.accepted;
  }

  /** Calls that wait for `release`. */
  get held(): number {
    return this.#held.length;
  }

  /** Answers the calls that `silent` kept waiting, and well. */
  release(): void {
    for (const answer of this.#held.splice(0)) answer();
  }

  /** The process ends: connections break, new ones are refused. */
  async stop(): Promise<void> {
    await this.#door.close();
  }

  async restart(): Promise<void> {
    await this.#door.reopen();
  }

  /** Shows this leaf on new connections. */
  async useTls(tls: TestLeaf): Promise<void> {
    this.#door.leadTo(await listen(this.#server, tls));
  }

  /** The network fails: connections end with RST. New ones are welcome. */
  drop(): void {
    this.#door.cut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#door[Symbol.asyncDispose]();
    const { sessions } = insideOf(this.#server);
    await until(() => sessions.size === 0, SETTLED_WITHIN_MS);
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
  }

  #onCall(call: Call, answer: Answer): void {
    const request = this.#hear(call);
    const refusal = this.#refusal(request);
    if (refusal !== null) return refuse(answer, grpc.status.UNAUTHENTICATED, refusal);
    const fault = typeof this.fault === "function" ? this.fault(request) : this.fault;
    if (fault?.kind === "status") return refuse(answer, fault.code, fault.message);
    if (fault?.kind === "garbage") return answer(null, new Uint8Array([0x0a, 0xff, 0xff]));
    const { csr } = request;
    if (csr === null || !csr.verifies) {
      return refuse(answer, grpc.status.INVALID_ARGUMENT, "CSR signing error (bad request)");
    }
    const sign = (faults: CaFault | null) =>
      this.#sign(csr, request, faults).then(
        (certChain) => answer(null, MESSAGES.encode("Response", { certChain })),
        (error) => refuse(answer, grpc.status.INTERNAL, String(error)),
      );
    if (fault?.kind === "silent") this.#held.push(() => void sign(null));
    else void sign(fault);
  }

  #hear(call: Call): HeardCertificateRequest {
    const { csr = "", validitySeconds = 0, metadata } = call.request;
    const heard: HeardCertificateRequest = {
      number: this.heard.length + 1,
      headers: Object.fromEntries(
        Object.entries(call.metadata.getMap()).map(([key, value]) => [key, String(value)]),
      ),
      csrPem: csr,
      csr: readOrNull(csr),
      ttlSeconds: validitySeconds,
      impersonated: metadata?.fields["ImpersonatedIdentity"]?.string ?? null,
      hasMetadata: metadata !== undefined,
    };
    this.heard.push(heard);
    return heard;
  }

  #refusal({ headers }: HeardCertificateRequest): string | null {
    const isKnown = this.token === null || headers["authorization"] === `Bearer ${this.token}`;
    return isKnown ? null : "request authenticate failure";
  }

  async #sign(
    { publicKeyDer }: ReadCsr,
    request: HeardCertificateRequest,
    fault: CaFault | null,
  ): Promise<readonly string[]> {
    if (fault?.kind === "says") return fault.certChain;
    if (fault?.kind === "empty chain") return [];
    const now = Date.now();
    const { callerUri = "spiffe://cluster.local/ns/istio-system/sa/ztunnel", leafMs } =
      this.#options;
    const asked = (request.ttlSeconds > 0 ? request.ttlSeconds : TTL_SECONDS_DEFAULT) * 1000;
    const age = fault?.kind === "expired" ? -2 : fault?.kind === "not yet valid" ? 1 : null;
    const options = {
      uris: [fault?.kind === "other identity" ? fault.uri : request.impersonated ?? callerUri],
      notBeforeMs: age === null ? now - BACKDATE_MS : now + age * HOUR_MS,
      notAfterMs: age === null ? now + (leafMs ?? asked) : now + (age + 1) * HOUR_MS,
    };
    const leaf = fault?.kind === "wrong key"
      ? (await this.ca.issue(options)).certPem
      : await this.ca.certify(await importKey(publicKeyDer), options);
    this.signed++;
    const roots = [this.ca.rootPem, ...this.otherRoots].join("");
    const middle = [...this.ca.chainPems];
    if (fault?.kind === "wrong order") return [roots, ...middle, leaf];
    if (fault?.kind === "huge chain") {
      for (let bytes = 0; bytes < fault.bytes; bytes += this.ca.rootPem.length) {
        middle.push(this.ca.rootPem);
      }
    }
    return [leaf, ...middle, roots];
  }
}

const SERVICE: grpc.ServiceDefinition = {
  create: {
    path: PATH,
    requestStream: false,
    responseStream: false,
    requestSerialize: (request: Uint8Array) => Buffer.from(request),
    requestDeserialize: (bytes: Uint8Array) => MESSAGES.decode("Request", bytes),
    responseSerialize: (message: Uint8Array) => Buffer.from(message),
    responseDeserialize: (bytes: Uint8Array) => bytes,
  },
};

function refuse(answer: Answer, code: number, message: string): void {
  answer({ code, details: message });
}

function readOrNull(csrPem: string): ReadCsr | null {
  try {
    return readCsr(csrPem);
  } catch {
    return null; // Told by the answer: INVALID_ARGUMENT.
  }
}

function importKey(publicKeyDer: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  return crypto.subtle.importKey("spki", publicKeyDer, algorithm, true, ["verify"]);
}

/** Another port of 127.0.0.1, with TLS or without. */
async function listen(server: grpc.Server, tls: TestLeaf | undefined): Promise<number> {
  const credentials = tls === undefined
    ? grpc.ServerCredentials.createInsecure()
    : grpc.ServerCredentials.createSsl(Buffer.from(tls.rootPem), [
      { private_key: Buffer.from(tls.keyPem), cert_chain: Buffer.from(tls.certPem) },
    ]);
  const known = new Set(insideOf(server).http2Servers.keys());
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(
      "127.0.0.1:0",
      credentials,
      (error, bound) => error === null ? resolve(bound) : reject(error),
    )
  );
  for (const http2 of insideOf(server).http2Servers.keys()) {
    if (!known.has(http2)) http2.on("session", tame);
  }
  return port;
}
