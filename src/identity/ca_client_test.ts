// The CA client: what it sends, and what becomes of every kind of answer and failure. Over a transport made by hand, then over
// the real ones to a CA of our own, with TLS.
import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { type CaFault, CaServer, type CaServerOptions } from "../../tests/support/ca_server.ts";
import { readCsr } from "../../tests/support/csr_reader.ts";
import { loopbackBlock } from "../../tests/support/loopback.ts";
import { MeshCa } from "../../tests/support/mesh_ca.ts";
import { hexOf } from "../../tests/support/protobuf_bytes.ts";
import { until } from "../../tests/support/real_sockets.ts";
import { SystemClock } from "../base/system_clock.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { istio } from "../proto/messages.js";
import type { CertifiedKey } from "../tls/certificate.ts";
import { spiffeIdsOfDer } from "../tls/names.ts";
import { PrivateKey } from "../tls/private_key.ts";
import { parseSpiffeId } from "../tls/spiffe_id.ts";
import { requestHeaders } from "../xds/auth.ts";
import { GrpcError } from "../xds/grpc_error.ts";
import { openTransport } from "../xds/open_transport.ts";
import { UNARY_BYTES_MAX } from "../xds/unary.ts";
import {
  CA_CLIENT_SCOPE,
  CA_DEADLINE_MS_MAX,
  CaClient,
  type CaClientOptions,
  CREATE_CERTIFICATE_PATH,
  encodeCaRequest,
} from "./ca_client.ts";
import { CODE_DESCRIPTIONS, type StatusCode } from "./call_error.ts";
import { IdentityError } from "./errors.ts";
import { RootFile } from "./root_file.ts";
import type { GrpcHeaders, UnaryTransport } from "./unary_transport.ts";

const IDENTITY = parseSpiffeId("spiffe://cluster.local/ns/default/sa/app");
const OTHER = "spiffe://cluster.local/ns/foo/sa/wrong-sa";
const TOKEN = "header.of-a-token.3e5a90c1";
const NEVER = new AbortController().signal;

type Unary = UnaryTransport["unary"];

/** A client over what the test says the transport does. */
function clientOver(
  unary: Unary,
  options: Partial<CaClientOptions> = {},
): CaClient {
  return new CaClient({
    transport: { unary },
    headers: () => Promise.resolve([]),
    ttlMs: 86_400_000,
    impersonate: true,
    clock: new VirtualClock(),
    log: () => {},
    ...options,
  });
}

/** The answer of a good CA. */
async function answerOf(ca: MeshCa, message: Uint8Array): Promise<Uint8Array> {
  const { csr } = istio.v1.auth.IstioCertificateRequest.decode(message);
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const { publicKeyDer } = readCsr(csr);
  const key = await crypto.subtle.importKey("spki", publicKeyDer, algorithm, true, ["verify"]);
  const leaf = await ca.certify(key, { uris: [IDENTITY.uri] });
  return istio.v1.auth.IstioCertificateResponse.encode({ certChain: [leaf, ca.rootPem] }).finish();
}

function issueError(client: CaClient, signal = NEVER): Promise<IdentityError> {
  return assertRejects(() => client.issue(IDENTITY, signal), IdentityError);
}

Deno.test("encodeCaRequest() has the bytes of the spec", () => {
  const message = encodeCaRequest({
    csrPem: "CSR",
    ttlMs: 86_400_000,
    identity: IDENTITY,
    impersonate: true,
  });
  assertEquals(
    hexOf(message),
    "0a034353521880a30522440a420a14496d706572736f6e617465644964656e74697479122a1a28737069666665" +
      "3a2f2f636c75737465722e6c6f63616c2f6e732f64656661756c742f73612f617070",
  );
});

Deno.test("encodeCaRequest() for ourselves has no metadata, and asks for whole seconds", () => {
  const request = { csrPem: "CSR", ttlMs: 1999, identity: IDENTITY, impersonate: false };
  assertEquals(hexOf(encodeCaRequest(request)), "0a034353521801");
});

Deno.test("CaClient.issue() sends a call and makes a certificate of its answer", async () => {
  const ca = await MeshCa.create();
  const calls: Parameters<Unary>[0][] = [];
  const client = clientOver((call) => {
    calls.push(call);
    return answerOf(ca, call.message);
  }, { headers: () => Promise.resolve([["x-one", "1"]]) });
  const first = await client.issue(IDENTITY, NEVER);
  const second = await client.issue(IDENTITY, NEVER);
  const [call] = calls;
  assertEquals(call?.path, "/istio.v1.auth.IstioCertificateService/CreateCertificate");
  assertEquals(call?.path, CREATE_CERTIFICATE_PATH);
  assertEquals(call?.headers, [["x-one", "1"]]);
  assertEquals(call?.deadlineMs, 30_000);
  assertEquals(first.identity, IDENTITY);
  assertEquals([first.generation, second.generation], [1, 2]);
  assertNotEquals(first.key.use((der) => der.toHex()), second.key.use((der) => der.toHex()));
});

Deno.test("CaClient.issue() asks for headers anew for every request", async () => {
  const ca = await MeshCa.create();
  const seen: GrpcHeaders[] = [];
  let reads = 0;
  const client = clientOver((call) => {
    seen.push(call.headers);
    return answerOf(ca, call.message);
  }, { headers: () => Promise.resolve([["authorization", `Bearer ${++reads}`]]) });
  await client.issue(IDENTITY, NEVER);
  await client.issue(IDENTITY, NEVER);
  assertEquals(seen, [[["authorization", "Bearer 1"]], [["authorization", "Bearer 2"]]]);
});

const SENTENCES: readonly (readonly [StatusCode, string])[] = [
  ["Ok", "The operation completed successfully"],
  ["Cancelled", "The operation was cancelled"],
  ["Unknown", "Unknown error"],
  ["InvalidArgument", "Client specified an invalid argument"],
  ["DeadlineExceeded", "Deadline expired before operation could complete"],
  ["NotFound", "Some requested entity was not found"],
  ["AlreadyExists", "Some entity that we attempted to create already exists"],
  ["PermissionDenied", "The caller does not have permission to execute the specified operation"],
  ["ResourceExhausted", "Some resource has been exhausted"],
  ["FailedPrecondition", "The system is not in a state required for the operation's execution"],
  ["Aborted", "The operation was aborted"],
  ["OutOfRange", "Operation was attempted past the valid range"],
  ["Unimplemented", "Operation is not implemented or not supported"],
  ["Internal", "Internal error"],
  ["Unavailable", "The service is currently unavailable"],
  ["DataLoss", "Unrecoverable data loss or corruption"],
  ["Unauthenticated", "The request does not have valid authentication credentials"],
];

Deno.test("CODE_DESCRIPTIONS has a sentence for each of gRPC's codes", () => {
  assertEquals(Object.entries(CODE_DESCRIPTIONS), SENTENCES.map((row) => [...row]));
});

Deno.test.each(SENTENCES.map(([code, sentence]) => ({ code, sentence })))(
  "CaClient.issue() describes status $code",
  async ({ code, sentence }) => {
    const status = { code, message: "what the server says" };
    const error = await issueError(
      clientOver(() => Promise.reject(new GrpcError("GRPC_STATUS", status))),
    );
    assertEquals(error.code, "GRPC_STATUS");
    assertEquals(error.message, `signing gRPC error (${sentence}): what the server says`);
  },
);

Deno.test.each(
  [
    "GRPC_CONNECT",
    "GRPC_CONNECT_TIMEOUT",
    "GRPC_CONNECTION_LOST",
    "GRPC_CONNECTION_DEAD",
    "GRPC_PLAINTEXT",
    "GRPC_ROOTS",
  ].map((code) => ({ code })),
)("CaClient.issue() calls it an unknown error when nobody spoke: $code", async ({ code }) => {
  const failure = new GrpcError(code as "GRPC_CONNECT", {
    code: "Unavailable",
    message: "Connection refused",
  });
  const error = await issueError(clientOver(() => Promise.reject(failure)));
  assertEquals(error.code, code);
  assertEquals(error.message, "signing gRPC error (Unknown error): Connection refused");
});

Deno.test.each([
  { name: "an error of another kind", thrown: new TypeError("odd") },
  { name: "no error at all", thrown: "odd" },
  { name: "an unknown status", thrown: { code: "X", status: { code: "Odd", message: "" } } },
])("CaClient.issue() has a sentence for $name", async ({ thrown }) => {
  const error = await issueError(clientOver(() => Promise.reject(thrown)));
  assertEquals(error.code, "CA_CALL");
  assertEquals(error.message.startsWith("signing gRPC error (Unknown error): "), true);
});

Deno.test("CaClient.issue() says what is wrong with the token, and calls nobody", async () => {
  const readFile = () => Promise.resolve(new Uint8Array(0));
  const token = { kind: "file", path: "istio-token" } as const;
  let calls = 0;
  const client = clientOver(() => {
    calls++;
    return Promise.resolve(new Uint8Array(0));
  }, { headers: () => requestHeaders({ token, clusterId: "Kubernetes", headers: [] }, readFile) });
  const error = await issueError(client);
  assertEquals(
    error.message,
    "signing gRPC error (Unknown error): token file exists, but was empty",
  );
  assertEquals(calls, 0);
});

Deno.test("CaClient.issue() refuses an answer that is no message", async () => {
  const error = await issueError(
    clientOver(() => Promise.resolve(new Uint8Array([0x0a, 0xff, 0xff]))),
  );
  assertEquals(error.code, "CA_MESSAGE");
  assertStringIncludes(
    error.message,
    "signing gRPC error (Internal error): failed to decode Protobuf message: ",
  );
});

Deno.test("CaClient.issue() words an answer beyond the transport's limit", async () => {
  // Not over a connection: cut in the midst of a large answer, the runtime's HTTP/2 server has been seen to abort (2.9.6).
  const message = `Cannot read message: length is ${UNARY_BYTES_MAX + 1} bytes`;
  const failure = new GrpcError("GRPC_FRAME_TOO_LARGE", { code: "OutOfRange", message });
  const error = await issueError(clientOver(() => Promise.reject(failure)));
  const text = `signing gRPC error (Operation was attempted past the valid range): ${message}`;
  assertEquals(error.message, text);
});

Deno.test("CaClient.issue() logs what is odd in an answer", async () => {
  const ca = await MeshCa.create();
  const lines: unknown[][] = [];
  const client = clientOver(async (call) => {
    const { certChain } = istio.v1.auth.IstioCertificateResponse.decode(
      await answerOf(ca, call.message),
    );
    const short = { certChain: certChain.slice(0, 1) };
    return istio.v1.auth.IstioCertificateResponse.encode(short).finish();
  }, { log: (...line) => void lines.push(line) });
  await issueError(client);
  const text = "the CA's answer has one element: a leaf without roots";
  assertEquals(lines, [["warn", CA_CLIENT_SCOPE, text, { id: IDENTITY.uri }]]);
});

/** A call that ends when it is told to, as a transport does. */
function endless(started: () => void): Unary {
  return ({ signal }) =>
    new Promise((_, reject) => {
      signal!.addEventListener("abort", () => {
        const status = { code: "Cancelled", message: "the call was cancelled" } as const;
        reject(new GrpcError("GRPC_CLOSED", status));
      });
      started();
    });
}

Deno.test.each([
  { name: "unless told otherwise", deadlineMs: undefined, afterMs: CA_DEADLINE_MS_MAX },
  { name: "sooner", deadlineMs: 1000, afterMs: 1000 },
  { name: "never later", deadlineMs: CA_DEADLINE_MS_MAX + 1, afterMs: CA_DEADLINE_MS_MAX },
])("CaClient.issue() ends at its deadline $name", async ({ deadlineMs, afterMs }) => {
  const clock = new VirtualClock();
  const started = Promise.withResolvers<void>();
  const client = clientOver(endless(started.resolve), {
    clock,
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
  });
  const failed = issueError(client);
  let isOver = false;
  failed.then(() => isOver = true);
  await started.promise;
  clock.advance(afterMs - 1);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(isOver, false);
  clock.advance(1);
  const error = await failed;
  assertEquals(error.code, "GRPC_DEADLINE");
  assertEquals(
    error.message,
    "signing gRPC error (Deadline expired before operation could complete): Timeout expired",
  );
  assertEquals(clock.pendingTimers, 0);
});

Deno.test("CaClient.issue() does not wait for headers beyond its deadline", async () => {
  const clock = new VirtualClock();
  const asked = Promise.withResolvers<void>();
  const late = Promise.withResolvers<GrpcHeaders>();
  let calls = 0;
  const client = clientOver(() => {
    calls++;
    return Promise.resolve(new Uint8Array(0));
  }, {
    clock,
    headers: () => {
      asked.resolve();
      return late.promise;
    },
  });
  const failed = issueError(client);
  await asked.promise;
  clock.advance(CA_DEADLINE_MS_MAX);
  assertEquals((await failed).code, "GRPC_DEADLINE");
  late.reject(new Error("the file never came"));
  assertEquals(calls, 0);
});

Deno.test("CaClient.issue() ends when its signal says so, before or under way", async () => {
  const clock = new VirtualClock();
  const started = Promise.withResolvers<void>();
  const client = clientOver(endless(started.resolve), { clock });
  const abort = new AbortController();
  const failed = issueError(client, abort.signal);
  await started.promise;
  abort.abort();
  const message = "signing gRPC error (The operation was cancelled): the call was cancelled";
  assertEquals((await failed).message, message);
  assertEquals((await issueError(client, abort.signal)).message, message);
  assertEquals(clock.pendingTimers, 0);
});

Deno.test("CaClient.issue() does not repeat a token that the server repeats", async () => {
  const status = {
    code: "Unauthenticated",
    message: `token ${TOKEN} of "Bearer ${TOKEN}" is not known`,
  } as const;
  const client = clientOver(() => {
    const cause = new TypeError(`Invalid header value: ${TOKEN}`);
    return Promise.reject(new GrpcError("GRPC_STATUS", status, { cause }));
  }, { headers: () => Promise.resolve([["authorization", `Bearer ${TOKEN}`]]) });
  const error = await issueError(client);
  assertStringIncludes(error.message, 'token [redacted] of "Bearer [redacted]" is not known');
  assertEquals(Deno.inspect(error).includes(TOKEN), false);
});

Deno.test("CaClient.issue() keeps no cause that has the token, however deep", async () => {
  const cause = new Error("outer", { cause: new TypeError(`Invalid header value: ${TOKEN}`) });
  const failure = new GrpcError("GRPC_CONNECT", { code: "Unavailable", message: "no" }, { cause });
  const client = clientOver(() => Promise.reject(failure), {
    headers: () => Promise.resolve([["authorization", TOKEN]]),
  });
  const error = await issueError(client);
  assertEquals(error.message, "signing gRPC error (Unknown error): no");
  assertEquals(Deno.inspect(error).includes(TOKEN), false);
});

Deno.test("CaClient.issue() keeps the cause of what has no secret", async () => {
  const failure = new GrpcError("GRPC_STATUS", { code: "Aborted", message: "no" });
  const client = clientOver(() => Promise.reject(failure), {
    headers: () => Promise.resolve([["authorization", `Bearer ${TOKEN}`]]),
  });
  assert((await issueError(client)).cause === failure);
});

/** A CA and a client of it, over a real connection. */
class World implements AsyncDisposable {
  readonly server: CaServer;
  readonly client: CaClient;
  readonly clock: VirtualClock | SystemClock;
  readonly lines: string[] = [];
  /** The PEM that the next connection trusts. */
  rootPem: string;
  /** What is in the token file; null: it is not there. */
  tokenFile: Uint8Array<ArrayBuffer> | null = new TextEncoder().encode(TOKEN);

  private constructor(server: CaServer, about: WorldOptions, rootPem: string) {
    const { clock = new SystemClock(), impersonate = true, altHostname = null } = about;
    this.server = server;
    this.rootPem = rootPem;
    this.clock = clock;
    const transport = openTransport(
      { address: server.address, root: { kind: "file", path: "root" }, altHostname },
      clock,
      new RootFile("root", {
        readFile: () => Promise.resolve(new TextEncoder().encode(this.rootPem)),
        log: (_level, _scope, message) => void this.lines.push(message),
      }).read,
    );
    this.client = new CaClient({
      transport,
      headers: () =>
        requestHeaders({
          token: { kind: "file", path: "token" },
          clusterId: "c1",
          headers: [["x-extra", "1"]],
        }, () =>
          this.tokenFile === null
            ? Promise.reject(new Error("No such file or directory (os error 2)"))
            : Promise.resolve(this.tokenFile)),
      ttlMs: 3_600_000,
      impersonate,
      clock,
      log: (level, scope, message, fields) =>
        void this.lines.push(JSON.stringify([level, scope, message, fields])),
    });
  }

  static async open(about: WorldOptions = {}): Promise<World> {
    const ca = await MeshCa.create();
    const server = await CaServer.start({
      token: TOKEN,
      ca: await ca.intermediate("signing"),
      ...(about.secure === false ? {} : { tls: await ca.issue(SERVER_NAMES) }),
      ip: TLS_IP,
      ...about.server,
    });
    return new World(server, about, ca.rootPem);
  }

  issue(signal = NEVER): Promise<CertifiedKey> {
    return this.client.issue(IDENTITY, signal);
  }

  error(): Promise<IdentityError> {
    return issueError(this.client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }
}

interface WorldOptions {
  /** TLS unless false. */
  readonly secure?: boolean;
  readonly altHostname?: string;
  readonly impersonate?: boolean;
  readonly clock?: VirtualClock;
  readonly server?: CaServerOptions;
}

/** What the server's certificate is for. */
const TLS_IP = `${loopbackBlock()}.248`;
const SERVER_NAMES = { uris: [], ips: [TLS_IP], dnsNames: ["istiod.test"] };

const WAYS = [
  { way: "TLS over fetch", options: {} },
  { way: "TLS over node:http2", options: { altHostname: "another.test" } },
  { way: "plaintext over fetch", options: { secure: false } },
];

Deno.test.each(WAYS)("CaClient gets a certificate: $way", async ({ options }) => {
  await using world = await World.open(options);
  const certificate = await world.issue();
  assertEquals(spiffeIdsOfDer(certificate.chainDer[0]!), [IDENTITY]);
  assertEquals(certificate.chainDer.length, 2);
  assertEquals(certificate.rootsPem, world.server.ca.rootPem);
  const [heard] = world.server.heard;
  assertEquals(heard?.csr?.verifies, true);
  assertEquals(heard?.csr?.subjectBytes, 0);
  assertEquals(heard?.ttlSeconds, 3600);
  assertEquals(heard?.impersonated, IDENTITY.uri);
  const { authorization, clusterid, "x-extra": extra } = heard!.headers;
  assertEquals([authorization, clusterid, extra], [`Bearer ${TOKEN}`, "c1", "1"]);
  assertEquals(world.lines, []);
});

Deno.test("CaClient for itself says for nobody, and takes the name it is given", async () => {
  await using world = await World.open({ impersonate: false, server: { callerUri: OTHER } });
  const certificate = await world.issue();
  assertEquals(spiffeIdsOfDer(certificate.chainDer[0]!).map(({ uri }) => uri), [OTHER]);
  assertEquals(world.server.heard[0]?.hasMetadata, false);
});

Deno.test("CaClient takes the roots of every mesh that the CA knows", async () => {
  await using world = await World.open();
  const other = await MeshCa.create("other mesh");
  world.server.otherRoots = [other.rootPem];
  assertEquals((await world.issue()).rootsPem, world.server.ca.rootPem + other.rootPem);
});

const KEY_MISMATCH = "failed to create CSR: tls: keys may not be consistent: KeyMismatch";

Deno.test.each<{ readonly fault: CaFault; readonly message: string }>([
  { fault: { kind: "wrong key" }, message: KEY_MISMATCH },
  { fault: { kind: "wrong order" }, message: KEY_MISMATCH },
  {
    fault: { kind: "other identity", uri: OTHER },
    message: `did not find expected SAN: ${IDENTITY.uri}`,
  },
  {
    fault: { kind: "empty chain" },
    message: `chain returned from CA is empty for: ${IDENTITY.uri}`,
  },
  {
    fault: { kind: "garbage" },
    message: "signing gRPC error (Internal error): failed to decode Protobuf message: ",
  },
  {
    fault: { kind: "huge chain", bytes: 100_000 },
    message: "failed to create CSR: certificate: chain has more than 10 certificates",
  },
  {
    fault: { kind: "says", certChain: ["", ""] },
    message: "failed to create CSR: certificate: no certificate",
  },
])("CaClient refuses $fault.kind, and takes the next good answer", async ({ fault, message }) => {
  await using world = await World.open();
  world.server.fault = fault;
  assertStringIncludes((await world.error()).message, message);
  world.server.fault = null;
  assertEquals((await world.issue()).identity, IDENTITY);
});

Deno.test.each<{ readonly fault: CaFault; readonly fromHours: number }>([
  { fault: { kind: "expired" }, fromHours: -2 },
  { fault: { kind: "not yet valid" }, fromHours: 1 },
])("CaClient takes what is $fault.kind: its time is the manager's", async (row) => {
  await using world = await World.open();
  world.server.fault = row.fault;
  const { notBeforeMs, notAfterMs } = await world.issue();
  assertEquals(Math.round((notBeforeMs - Date.now()) / 3_600_000), row.fromHours);
  assertEquals(notAfterMs - notBeforeMs, 3_600_000);
});

Deno.test("CaClient hears every status of a server, and none is final", async () => {
  await using world = await World.open({ secure: false });
  for (const [code, [, sentence]] of SENTENCES.entries()) {
    if (code === 0) continue;
    world.server.fault = { kind: "status", code, message: "100% nö" };
    assertEquals((await world.error()).message, `signing gRPC error (${sentence}): 100% nö`);
  }
  world.server.fault = null;
  assertEquals((await world.issue()).identity, IDENTITY);
});

Deno.test("CaClient words a failed authentication as the original does", async () => {
  await using world = await World.open();
  world.server.token = "another";
  const message = "signing gRPC error (The request does not have valid authentication " +
    "credentials): request authenticate failure";
  assertEquals((await world.error()).message, message);
});

Deno.test("CaClient reads the token file again for every request", async () => {
  await using world = await World.open();
  await world.issue();
  world.server.token = "rotated.token";
  const { message } = await world.error();
  assertStringIncludes(message, "request authenticate failure");
  world.tokenFile = new TextEncoder().encode("rotated.token");
  await world.issue();
  world.tokenFile = new Uint8Array(0);
  assertStringIncludes((await world.error()).message, "token file exists, but was empty");
  world.tokenFile = null;
  assertStringIncludes((await world.error()).message, "(Unknown error): cannot read token file");
  assertEquals(world.server.heard.length, 3);
  world.tokenFile = new TextEncoder().encode("rotated.token");
  await world.issue();
});

Deno.test.each(WAYS)("CaClient finds nobody, and comes back with the CA: $way", async (row) => {
  await using world = await World.open(row.options);
  await world.server.stop();
  const { message, code } = await world.error();
  assertEquals(code, "GRPC_CONNECT");
  assertEquals(message.startsWith("signing gRPC error (Unknown error): "), true);
  await world.server.restart();
  assertEquals((await world.issue()).identity, IDENTITY);
});

Deno.test.each(WAYS)(
  "CaClient gives up a CA that is silent beyond the deadline: $way",
  async (row) => {
    const clock = new VirtualClock();
    await using world = await World.open({ ...row.options, clock });
    world.server.fault = { kind: "silent" };
    const failed = world.error();
    await until(() => world.server.held === 1);
    clock.advance(CA_DEADLINE_MS_MAX);
    assertEquals(
      (await failed).message,
      "signing gRPC error (Deadline expired before operation could complete): Timeout expired",
    );
    world.server.fault = null;
    world.server.release();
    assertEquals((await world.issue()).identity, IDENTITY);
    assertEquals(clock.pendingTimers, 0);
  },
);

Deno.test.each(WAYS)("CaClient waits for a CA that is slow within it: $way", async (row) => {
  await using world = await World.open(row.options);
  world.server.fault = { kind: "silent" };
  const issued = world.issue();
  await until(() => world.server.held === 1);
  world.server.release();
  assertEquals((await issued).identity, IDENTITY);
});

Deno.test.each(WAYS)("CaClient hears of a connection that breaks: $way", async (row) => {
  await using world = await World.open(row.options);
  world.server.fault = { kind: "silent" };
  const failed = world.error();
  await until(() => world.server.held === 1);
  world.server.drop();
  const { message } = await failed;
  assertEquals(message.startsWith("signing gRPC error (Unknown error): "), true);
});

Deno.test.each(WAYS)("CaClient leaves nothing open when it is cancelled: $way", async (row) => {
  await using world = await World.open(row.options);
  world.server.fault = { kind: "silent" };
  const abort = new AbortController();
  const failed = issueError(world.client, abort.signal);
  await until(() => world.server.held === 1);
  abort.abort();
  assertEquals((await failed).code, "GRPC_CLOSED");
});

Deno.test.each([
  { name: "words", rootPem: "no roots today" },
  { name: "nothing", rootPem: "" },
  {
    name: "half a root",
    rootPem: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
  },
])("CaClient trusts nobody while the root file is $name, then the new root", async (row) => {
  await using world = await World.open();
  const { rootPem } = world;
  world.rootPem = row.rootPem;
  const { message } = await world.error();
  assertEquals(message.startsWith("signing gRPC error (Unknown error): "), true);
  assertEquals(world.server.heard.length, 0);
  world.rootPem = rootPem;
  assertEquals((await world.issue()).identity, IDENTITY);
});

Deno.test.each(WAYS.slice(0, 2))(
  "CaClient follows a new root and a new server certificate, and bears a broken root file: $way",
  async ({ options }) => {
    await using world = await World.open(options);
    const next = await MeshCa.create("next root");
    await world.issue();
    await world.server.useTls(await next.issue(SERVER_NAMES));
    assertEquals((await world.error()).code, "GRPC_CONNECT");
    world.rootPem = next.rootPem;
    await world.issue();
    world.rootPem = next.rootPem.slice(0, 100);
    await world.issue();
    assertEquals(world.lines, ["trust roots cannot be read; the last ones that could go on"]);
    world.rootPem = next.rootPem;
    await world.issue();
    assertEquals(world.lines.length, 1);
  },
);

Deno.test.each(WAYS.slice(0, 2))(
  "CaClient says nothing to a CA of another root: $way",
  async (row) => {
    await using world = await World.open(row.options);
    world.rootPem = (await MeshCa.create()).rootPem;
    const { message } = await world.error();
    assertEquals(message.startsWith("signing gRPC error (Unknown error): "), true);
    assertEquals(world.server.heard.length, 0);
  },
);

/** Looks at every key that is wiped while it lives, just before. */
class WipedKeys implements Disposable {
  readonly pkcs8: Uint8Array<ArrayBuffer>[] = [];
  readonly #wipe = PrivateKey.prototype.wipe;

  constructor() {
    const { pkcs8 } = this;
    const wipe = this.#wipe;
    PrivateKey.prototype.wipe = function (this: PrivateKey) {
      if (!this.isWiped) pkcs8.push(this.use((der) => der.slice()));
      wipe.call(this);
    };
  }

  [Symbol.dispose](): void {
    PrivateKey.prototype.wipe = this.#wipe;
  }
}

Deno.test("CaClient keeps the key of a certificate, and wipes that of a failure", async () => {
  await using world = await World.open();
  using wiped = new WipedKeys();
  const { key } = await world.issue();
  assertEquals(key.isWiped, false);
  assertEquals(wiped.pkcs8.length, 0);
  world.server.fault = { kind: "status", code: 14, message: "" };
  await world.error();
  assertEquals(wiped.pkcs8.length, 1);
  world.server.fault = { kind: "wrong key" };
  await world.error();
  assertEquals(wiped.pkcs8.length, 2);
});

Deno.test("CaClient never tells token or key, whatever fails", async () => {
  await using world = await World.open();
  using wiped = new WipedKeys();
  const errors: IdentityError[] = [];
  const faults: CaFault[] = [
    { kind: "status", code: 16, message: `Bearer ${TOKEN} is not known` },
    { kind: "garbage" },
    { kind: "wrong key" },
    { kind: "empty chain" },
    { kind: "says", certChain: ["leaf only"] },
  ];
  for (const fault of faults) {
    world.server.fault = fault;
    errors.push(await world.error());
  }
  await world.server.stop();
  errors.push(await world.error());
  world.tokenFile = new TextEncoder().encode(`${TOKEN}\u0001`);
  errors.push(await world.error());
  const shown = errors.map((error) => `${Deno.inspect(error)}${error.stack}`).join() +
    world.lines.join();
  assertEquals([errors.length, wiped.pkcs8.length], [7, 7]);
  assertEquals(shown.includes(TOKEN), false);
  for (const pkcs8 of wiped.pkcs8) {
    // The private number itself.
    const secret = pkcs8.subarray(36, 68);
    assertEquals(shown.includes(secret.toHex()), false);
    assertEquals(shown.includes(pkcs8.toBase64().slice(0, 64)), false);
  }
  assertEquals(shown.includes("PRIVATE"), false);
});
