// The client against a server that is the test itself, on a clock that is the test's, too (spec/xds-state-and-dns §1).
import { assertEquals } from "@std/assert";
import { type FakeStream, FakeTransport } from "../../tests/support/fake_grpc.ts";
import type { Fields } from "../../tests/support/protobuf.ts";
import { XDS_PROTOBUF } from "../../tests/support/xds_schema.ts";
import { SeededRandom } from "../base/random.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { MeshSink, MeshUpdate } from "../state/mesh_update.ts";
import { GrpcError, type GrpcErrorCode } from "./grpc_error.ts";
import type { GrpcCode } from "./grpc_status.ts";
import { nodeIdentity } from "./node_identity.ts";
import { BACKOFF_MAX_MS, JITTER_SHARE } from "./reconnect.ts";
import { XDS_SCOPE, type XdsLog, type XdsSettings } from "./settings.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, DELTA_PATH } from "./types.ts";
import { XdsClient, type XdsClientOptions } from "./xds_client.ts";

const SETTINGS: XdsSettings = {
  address: "https://istiod.x.svc:15012",
  root: { kind: "pem", pem: "" },
  altHostname: null,
  token: null,
  clusterId: "c1",
  headers: [],
};

const NODE = nodeIdentity({
  instanceIp: "10.1.2.3",
  podName: "zt-1",
  podNamespace: "istio-system",
  nodeName: "n1",
  metadata: new Map(),
  jsonMetadata: new Map(),
});

function grpcError(
  status: GrpcCode,
  { code = "GRPC_STATUS", message = "why" }: { code?: GrpcErrorCode; message?: string } = {},
): GrpcError {
  return new GrpcError(code, { code: status, message });
}

/** A sink that says when it was given what, and is done at once or when told. */
class TestSink implements MeshSink {
  readonly updates: MeshUpdate[] = [];
  readonly #clock: VirtualClock;
  hold = false;
  readonly #held: (() => void)[] = [];

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  apply(update: MeshUpdate, done: () => void): void {
    this.updates.push(update);
    if (this.hold) this.#held.push(done);
    else this.#clock.after(0, done);
  }

  release(): void {
    this.hold = false;
    for (const done of this.#held.splice(0)) done();
  }

  /** Names of everything set so far. */
  get names(): string[] {
    return this.updates.flatMap((update) =>
      update.kind === "policies"
        ? update.set.map(({ name }) => name)
        : update.set.map((one) => one.kind === "workload" ? one.workload.uid : one.service.hostname)
    );
  }
}

interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly span: unknown;
}

class World implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly sink = new TestSink(this.clock);
  readonly lines: Line[] = [];
  readonly terminated: string[] = [];
  readonly messages: [typeUrl: string, payloadBytes: number][] = [];
  readonly applied: string[] = [];
  ready = 0;
  /** What happens to each stream as soon as it is there. */
  onStream: (stream: FakeStream) => void = () => {};
  readonly transport = new FakeTransport(
    grpcError("Cancelled", { code: "GRPC_CLOSED" }),
    (stream) => this.onStream(stream),
  );
  readonly client: XdsClient;
  readonly #abort = new AbortController();
  readonly #running: Promise<void>;

  constructor(
    { settings = {}, onStream, ...options }: Partial<Omit<XdsClientOptions, "settings">> & {
      readonly settings?: Partial<XdsSettings>;
      readonly onStream?: (stream: FakeStream) => void;
    } = {},
  ) {
    if (onStream !== undefined) this.onStream = onStream;
    const log: XdsLog = (level, _scope, message, fields = {}, spans = []) => {
      assertEquals(_scope, XDS_SCOPE);
      this.lines.push({ level, message, fields, span: spans[0] });
    };
    this.client = new XdsClient({
      settings: { ...SETTINGS, ...settings },
      node: NODE,
      sink: this.sink,
      clock: this.clock,
      log,
      report: {
        message: (typeUrl, payloadBytes) => this.messages.push([typeUrl, payloadBytes]),
        terminated: (reason) => this.terminated.push(reason),
      },
      onDemand: false,
      onReady: () => this.ready++,
      onApplied: (type) => this.applied.push(type),
      transport: this.transport,
      ...options,
    });
    this.#running = this.client.run(this.#abort.signal);
  }

  static async start(options: ConstructorParameters<typeof World>[0] = {}): Promise<World> {
    const world = new World(options);
    await world.settle();
    return world;
  }

  /** The newest stream. */
  get stream(): FakeStream {
    return this.transport.streams.at(-1)!;
  }

  get texts(): string[] {
    return this.lines.map(({ level, message }) => `${level} ${message}`);
  }

  /** What was sent after the first requests. */
  get replies(): Fields[] {
    return this.stream.sent.slice(2);
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    for (let round = 0; round < 10; round++) {
      this.clock.runUntilIdle();
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    }
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await this.settle();
  }

  async say(response: Fields): Promise<void> {
    this.stream.say(response);
    await this.settle();
  }

  async fail(error: GrpcError): Promise<void> {
    this.stream.fail(error);
    await this.settle();
  }

  /** Milliseconds until the next stream is opened. */
  async untilNextStream(): Promise<number> {
    const { length } = this.transport.streams;
    const startMs = this.clock.nowMs();
    while (this.transport.streams.length === length) {
      assertEquals(this.clock.advanceToNext(), true, "Nobody will ever try again");
      await this.settle();
    }
    return this.clock.nowMs() - startMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.settle();
    await this.#running;
    assertEquals(this.clock.pendingTimers, 0, "The client left timers behind");
    assertEquals(this.transport.streams.every(({ isClosed }) => isClosed), true);
  }
}

function workload(name: string, about: Fields = {}): Fields {
  const { version = `v-${name}`, aliases = [], ...fields } = about;
  const value = XDS_PROTOBUF.encode("Address", {
    workload: {
      uid: name,
      name,
      namespace: "ns",
      addresses: [Uint8Array.of(10, 0, 0, 1)],
      ...fields,
    },
  });
  return { name, version, aliases, resource: { typeUrl: ADDRESS_TYPE, value } };
}

function policy(name: string): Fields {
  const [namespace, short] = name.split("/");
  const value = XDS_PROTOBUF.encode("Authorization", { name: short, namespace });
  return { name, resource: { typeUrl: AUTHORIZATION_TYPE, value } };
}

const NO_ONEOF: Fields = {
  name: "empty",
  version: "1",
  resource: { typeUrl: ADDRESS_TYPE, value: new Uint8Array(0) },
};

const UNDECODABLE: Fields = {
  name: "bad",
  version: "1",
  resource: { typeUrl: ADDRESS_TYPE, value: Uint8Array.of(0x0a, 0x7f, 0x01) },
};

function addresses(nonce: string, resources: readonly Fields[], removed: string[] = []): Fields {
  return { typeUrl: ADDRESS_TYPE, nonce, resources, removed };
}

function policies(nonce: string, resources: readonly Fields[], removed: string[] = []): Fields {
  return { typeUrl: AUTHORIZATION_TYPE, nonce, resources, removed };
}

/** The fields of a request that are not their default. */
function plain(request: Fields): Fields {
  const empty = (value: unknown) =>
    value === undefined || value === "" || Array.isArray(value) && value.length === 0 ||
    typeof value === "object" && value !== null && Object.keys(value).length === 0;
  return Object.fromEntries(Object.entries(request).filter(([, value]) => !empty(value)));
}

Deno.test("XdsClient asks for addresses, then for policies, with its node and nothing else", async () => {
  await using world = await World.start();
  assertEquals(world.stream.path, DELTA_PATH);
  assertEquals(world.stream.sent.map(({ typeUrl }) => typeUrl), [ADDRESS_TYPE, AUTHORIZATION_TYPE]);
  for (const request of world.stream.sent) {
    assertEquals(Object.keys(plain(request)).sort(), ["node", "typeUrl"]);
    const { id, metadata } = request["node"];
    assertEquals(id, "ztunnel~10.1.2.3~zt-1.istio-system~istio-system.svc.cluster.local");
    assertEquals(metadata.fields["NODE_NAME"].string, "n1");
  }
});

Deno.test("XdsClient on demand asks for no address, and for all policies", async () => {
  await using world = await World.start({ onDemand: true });
  const [address, authorization] = world.stream.sent;
  assertEquals([address!["subscribe"], address!["unsubscribe"]], [["*"], ["*"]]);
  assertEquals([authorization!["subscribe"], authorization!["unsubscribe"]], [[], []]);
});

Deno.test("XdsClient sends token, cluster and extra headers, the file read for each stream", async () => {
  let reads = 0;
  await using world = await World.start({
    settings: {
      token: { kind: "file", path: "/token" },
      headers: [["header_foo", "foo"]],
    },
    readFile: () => Promise.resolve(new TextEncoder().encode(`token${++reads}`)),
    onStream: (stream) => stream.end(),
  });
  await world.untilNextStream();
  const authorization = world.transport.streams.map(({ headers }) => headers);
  assertEquals(
    authorization,
    ["token1", "token2"].map((token) => [
      ["header_foo", "foo"],
      ["authorization", `Bearer ${token}`],
      ["clusterid", "c1"],
    ]),
  );
});

Deno.test("XdsClient treats an empty token file as a failed connection", async () => {
  await using world = await World.start({
    settings: { token: { kind: "file", path: "/token" } },
    readFile: () => Promise.resolve(new Uint8Array(0)),
  });
  assertEquals([world.terminated, world.transport.streams.length], [["ConnectionError"], 0]);
  assertEquals(world.lines.at(-1)!.message.includes("token file exists, but was empty"), true);
  await world.pass(20);
  assertEquals(world.terminated.length, 2);
});

Deno.test("XdsClient applies a response and sends exactly one ACK, without node or names", async () => {
  await using world = await World.start();
  await world.say(addresses("n1", [workload("a"), workload("b")], ["gone"]));
  assertEquals(world.sink.names, ["a", "b"]);
  assertEquals(world.sink.updates[0]!.removed, ["gone"]);
  assertEquals(world.replies.map(plain), [{ typeUrl: ADDRESS_TYPE, nonce: "n1" }]);
  assertEquals(world.applied, ["addresses"]);
});

Deno.test("XdsClient does not say a word before the state has taken the response", async () => {
  await using world = await World.start();
  world.sink.hold = true;
  world.stream.say(addresses("n1", [workload("a")]));
  await world.say(addresses("n2", [workload("b")]));
  assertEquals([world.replies, world.applied, world.sink.updates.length], [[], [], 1]);
  world.sink.release();
  await world.settle();
  assertEquals(world.replies.map(({ nonce }) => nonce), ["n1", "n2"]);
});

Deno.test("XdsClient answers an empty response with an ACK", async () => {
  await using world = await World.start();
  await world.say(addresses("n1", []));
  await world.say(policies("n2", []));
  assertEquals(world.replies.map(({ nonce }) => nonce), ["n1", "n2"]);
  assertEquals([world.sink.updates, world.ready], [[], 1]);
  assertEquals(world.applied, ["addresses", "policies"]);
});

Deno.test("XdsClient takes the good resources and names each bad one in a NACK", async () => {
  await using world = await World.start();
  const missing = { name: "nothing", version: "1" };
  await world.say(addresses("n1", [UNDECODABLE, workload("a"), NO_ONEOF, missing, workload("b")]));
  assertEquals(world.sink.names, ["a", "b"]);
  const [nack] = world.replies;
  assertEquals([nack!["nonce"], nack!["error"].code ?? 0], ["n1", 0]);
  const text: string = nack!["error"].message;
  assertEquals(text.startsWith("empty: unknown address type; bad: decode: "), true, text);
  assertEquals(text.endsWith("; nothing: XDS payload without resource"), true, text);
  const line = world.lines.at(-1)!;
  assertEquals([line.level, line.message, line.fields], ["error", "sending response", {
    type_url: ADDRESS_TYPE,
    nonce: "n1",
    type: { unquoted: "Nack" },
    error: text,
  }]);
});

Deno.test("XdsClient rejects one bad address without touching what was good before", async () => {
  await using world = await World.start();
  await world.say(addresses("n1", [workload("w")]));
  await world.say(addresses("n2", [workload("w", { addresses: [Uint8Array.of(1, 2, 3)] })]));
  assertEquals(world.replies[1]!["error"].message, "w: failed to parse address, had 3 bytes");
  assertEquals(world.sink.names, ["w"]);
});

Deno.test("XdsClient logs an unknown type, counts it and sends an ACK", async () => {
  await using world = await World.start();
  await world.say({ typeUrl: "type.example/Other", nonce: "n1", resources: [workload("a")] });
  assertEquals(world.replies.map(plain), [{ typeUrl: "type.example/Other", nonce: "n1" }]);
  assertEquals([world.sink.updates, world.applied], [[], []]);
  assertEquals(world.texts.includes("error unknown type"), true);
  assertEquals(world.messages.map(([typeUrl]) => typeUrl), ["type.example/Other"]);
});

Deno.test("XdsClient counts responses and the bytes of their payloads", async () => {
  await using world = await World.start();
  const resources = [workload("a"), UNDECODABLE];
  await world.say(addresses("n1", resources));
  const bytes = resources.reduce((sum, one) => sum + one["resource"].value.length, 0);
  assertEquals(world.messages, [[ADDRESS_TYPE, bytes]]);
});

Deno.test("XdsClient says on reconnect what it holds: accepted versions, nothing that was rejected", async () => {
  await using world = await World.start();
  await world.say(addresses("n1", [workload("foo0", { version: "0.0.1" }), UNDECODABLE]));
  await world.fail(grpcError("Unknown"));
  await world.untilNextStream();
  const [address, authorization] = world.stream.sent;
  assertEquals(address!["initialVersions"], { foo0: "0.0.1" });
  assertEquals(authorization!["initialVersions"], {});
  assertEquals(address!["nonce"] ?? "", "");
  assertEquals(address!["error"], undefined);
});

Deno.test("XdsClient says on reconnect also names whose version is empty", async () => {
  await using world = await World.start();
  await world.say(policies("n1", [policy("ns/p")]));
  await world.fail(grpcError("Unknown"));
  await world.untilNextStream();
  assertEquals(world.stream.sent[1]!["initialVersions"], { "ns/p": "" });
});

Deno.test("XdsClient forgets removed names and keeps the older version of a rejected one", async () => {
  await using world = await World.start();
  await world.say(addresses("n1", [workload("a"), workload("w", { version: "1" })]));
  await world.say(
    addresses("n2", [workload("w", { version: "2", addresses: [Uint8Array.of(1)] })], ["a"]),
  );
  await world.fail(grpcError("Unknown"));
  await world.untilNextStream();
  assertEquals(world.stream.sent[0]!["initialVersions"], { w: "1" });
});

Deno.test("XdsClient is ready after an ACK of each type, and stays so", async () => {
  await using world = await World.start();
  await world.say(addresses("n1", [workload("a")]));
  assertEquals(world.ready, 0);
  await world.fail(grpcError("Unknown"));
  await world.untilNextStream();
  await world.say(policies("n1", []));
  assertEquals(world.ready, 1);
  await world.say(policies("n2", []));
  assertEquals(world.ready, 1);
});

Deno.test("XdsClient does not count a NACK as the first answer", async () => {
  await using world = await World.start();
  await world.say(addresses("n1", [NO_ONEOF]));
  await world.say(policies("n2", []));
  assertEquals(world.ready, 0);
  await world.say(addresses("n3", [workload("a")]));
  assertEquals(world.ready, 1);
});

Deno.test("XdsClient on demand is ready with the policies alone", async () => {
  await using world = await World.start({ onDemand: true });
  await world.say(policies("n1", []));
  assertEquals(world.ready, 1);
});

Deno.test("XdsClient waits 20, 40, 80 … 15,000 ms while the server is down", async () => {
  const down = grpcError("Unavailable", { code: "GRPC_CONNECT" });
  await using world = await World.start({ onStream: (stream) => stream.fail(down) });
  const waits: number[] = [];
  for (let round = 0; round < 12; round++) waits.push(await world.untilNextStream());
  assertEquals(waits, [20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 15000, 15000]);
  assertEquals(new Set(world.terminated), new Set(["ConnectionError"]));
  assertEquals(
    world.texts[0],
    'warn XDS client connection error: gRPC connection error connecting to https://istiod.x.svc:15012: status: Unavailable, message: "why", retrying in 20ms',
  );
});

Deno.test.each<{ name: string; error: GrpcError; reason: string; waitMs: number }>([
  { name: "UNKNOWN", error: grpcError("Unknown"), reason: "Reconnect", waitMs: 10 },
  { name: "INTERNAL", error: grpcError("Internal"), reason: "Error", waitMs: 20 },
  {
    name: "a GOAWAY",
    error: grpcError("Unavailable", { message: "received prior goaway" }),
    reason: "Reconnect",
    waitMs: 10,
  },
])("XdsClient after $name: $reason, $waitMs ms", async ({ error, reason, waitMs }) => {
  await using world = await World.start();
  await world.say(addresses("n1", []));
  await world.fail(error);
  assertEquals(world.terminated, [reason]);
  assertEquals(await world.untilNextStream(), waitMs);
});

Deno.test("XdsClient after an end without status: Complete, 10 ms", async () => {
  await using world = await World.start({ onStream: (stream) => stream.end() });
  assertEquals([world.terminated, world.texts.at(-1)], [["Complete"], "warn XDS client complete"]);
  assertEquals(await world.untilNextStream(), 10);
});

Deno.test("XdsClient waits when the trust roots cannot be read: Error, growing", async () => {
  const unreadable = grpcError("Unavailable", { code: "GRPC_ROOTS" });
  await using world = await World.start({ onStream: (stream) => stream.fail(unreadable) });
  assertEquals([await world.untilNextStream(), await world.untilNextStream()], [20, 40]);
  assertEquals(world.terminated[0], "Error");
});

Deno.test("XdsClient draws jitter only when it is given a Random, and only to shorten", async () => {
  const down = grpcError("Unavailable", { code: "GRPC_CONNECT" });
  await using world = await World.start({
    random: new SeededRandom(7),
    onStream: (stream) => stream.fail(down),
  });
  for (let round = 0; round < 10; round++) await world.untilNextStream();
  const waits: number[] = [];
  for (let round = 0; round < 20; round++) waits.push(await world.untilNextStream());
  const least = BACKOFF_MAX_MS * (1 - JITTER_SHARE);
  assertEquals(waits.every((wait) => wait > least && wait <= BACKOFF_MAX_MS), true, String(waits));
  assertEquals(new Set(waits).size, waits.length);
});

Deno.test("XdsClient numbers its streams from 1 in the span of its lines", async () => {
  await using world = await World.start({ onStream: (stream) => stream.end() });
  await world.untilNextStream();
  const established = world.lines.filter(({ message }) => message === "Stream established");
  assertEquals(established.map(({ level, span }) => [level, span]), [
    ["info", { name: "xds", fields: { id: 1 } }],
    ["info", { name: "xds", fields: { id: 2 } }],
  ]);
});

Deno.test("XdsClient logs what it received at debug", async () => {
  await using world = await World.start();
  await world.say(addresses("n1", [workload("a")], ["x", "y"]));
  const line = world.lines.find(({ message }) => message === "received response")!;
  assertEquals([line.level, line.fields], ["debug", {
    type_url: ADDRESS_TYPE,
    size: 1,
    removes: 2,
  }]);
  assertEquals(world.lines.at(-1), {
    level: "debug",
    message: "sending response",
    fields: { type_url: ADDRESS_TYPE, nonce: "n1", type: { unquoted: "Ack" } },
    span: line.span,
  });
});

Deno.test("XdsClient treats a response that nobody can read as an error of the stream; the state stays", async () => {
  await using world = await World.start();
  await world.say(addresses("n1", [workload("a")]));
  world.stream.sayBytes(Uint8Array.of(0x12, 0x7f));
  await world.settle();
  assertEquals([world.terminated, world.sink.names], [["Error"], ["a"]]);
  assertEquals(await world.untilNextStream(), 20);
  assertEquals(world.stream.sent[0]!["initialVersions"], { a: "v-a" });
});

Deno.test("XdsClient on demand sends one request for each key, and wakes its waiters after the state", async () => {
  await using world = await World.start({ onDemand: true });
  let readable = -1;
  world.client.want("foo0", () => readable = world.sink.names.length);
  world.client.want("foo0", () => {});
  world.client.want("net/10.0.0.9", () => {});
  await world.settle();
  assertEquals(world.replies.map(plain), [
    { typeUrl: ADDRESS_TYPE, subscribe: ["foo0"] },
    { typeUrl: ADDRESS_TYPE, subscribe: ["net/10.0.0.9"] },
  ]);
  const all = Array.from({ length: 10_000 }, (_, index) => workload(`foo${index}`));
  await world.say(addresses("n1", all));
  for (let round = 0; round < 200 && readable < 0; round++) await world.settle();
  assertEquals(readable, 10_000);
});

Deno.test.each<{ name: string; response: Fields }>([
  { name: "its name", response: addresses("n1", [workload("key")]) },
  { name: "an alias", response: addresses("n1", [workload("other", { aliases: ["x", "key"] })]) },
  { name: "a removal", response: addresses("n1", [], ["key"]) },
  { name: "a rejection", response: addresses("n1", [{ ...NO_ONEOF, name: "key" }]) },
])("XdsClient on demand wakes all who wait for a key by $name", async ({ response }) => {
  await using world = await World.start({ onDemand: true });
  const woken: number[] = [];
  for (const waiter of [1, 2]) world.client.want("key", () => woken.push(waiter));
  await world.settle();
  await world.say(addresses("n0", [workload("unrelated")]));
  assertEquals(woken, []);
  await world.say(response);
  assertEquals(woken, [1, 2]);
});

Deno.test("XdsClient on demand keeps keys through a reconnect, with an empty version", async () => {
  await using world = await World.start({ onDemand: true });
  let woken = 0;
  world.client.want("before", () => woken++);
  await world.settle();
  await world.fail(grpcError("Internal"));
  world.client.want("between", () => woken++);
  await world.untilNextStream();
  const [address, , ...demands] = world.stream.sent;
  assertEquals(address!["initialVersions"], { before: "", between: "" });
  assertEquals(demands.map(({ subscribe }) => subscribe), [["between"]]);
  await world.say(addresses("n1", [workload("before")], ["between"]));
  assertEquals(woken, 2);
  await world.fail(grpcError("Internal"));
  await world.untilNextStream();
  assertEquals(world.stream.sent[0]!["initialVersions"], { before: "v-before" });
});

Deno.test("XdsClient without on-demand mode asks nobody and never calls back", async () => {
  await using world = await World.start();
  let woken = 0;
  world.client.want("key", () => woken++).cancel();
  world.client.want("key", () => woken++);
  await world.say(addresses("n1", [workload("key")]));
  assertEquals([woken, world.replies.length], [0, 1]);
});

Deno.test("XdsClient waits for its answer to be taken before it reads on", async () => {
  await using world = await World.start();
  world.stream.holdSends = true;
  for (let index = 0; index < 50; index++) {
    world.stream.say(addresses(`n${index}`, [workload("a")]));
  }
  await world.settle();
  assertEquals([world.sink.updates.length, world.replies.length], [1, 1]);
  world.stream.releaseSends();
  for (let round = 0; round < 20; round++) await world.settle();
  assertEquals(world.replies.length, 50);
});

Deno.test("XdsClient ends at once when it is told to, in the middle of an update", async () => {
  const world = await World.start();
  world.sink.hold = true;
  await world.say(addresses("n1", [workload("a")]));
  await world[Symbol.asyncDispose]();
  assertEquals([world.replies, world.terminated, world.applied], [[], [], []]);
});

Deno.test("XdsClient ends at once when it is told to while it waits", async () => {
  const down = grpcError("Unavailable", { code: "GRPC_CONNECT" });
  const world = await World.start({ onStream: (stream) => stream.fail(down) });
  await world[Symbol.asyncDispose]();
  assertEquals(world.transport.streams.length, 1);
});
