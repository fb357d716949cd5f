// Both transports against a real server that speaks gRPC by hand: well, badly, or not at all.
import { assertEquals } from "@std/assert";
import { GrpcRawServer, type RawCall } from "../../tests/support/grpc_raw_server.ts";
import { loopbackBlock } from "../../tests/support/loopback.ts";
import { MeshCa } from "../../tests/support/mesh_ca.ts";
import { pass, until } from "../../tests/support/real_sockets.ts";
import { SystemClock } from "../base/system_clock.ts";
import type { Clock } from "../base/clock.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { FetchTransport } from "./fetch_transport.ts";
import { GrpcError } from "./grpc_error.ts";
import { encodeFrame, MESSAGE_BYTES_MAX, PREFIX_BYTES } from "./grpc_frame.ts";
import { Http2Transport } from "./http2_transport.ts";
import { OPEN_TIMEOUT_MS, PROBE_EVERY_MS, PROBE_TIMEOUT_MS } from "./liveness.ts";
import type { GrpcHeaders, GrpcStream, GrpcTransport } from "./transport.ts";
import { UNARY_BYTES_MAX } from "./unary.ts";

const KINDS = [{ kind: "fetch" }, { kind: "http2" }] as const;
type Kind = typeof KINDS[number]["kind"];

const PATH = "/pkg.Service/Method";

interface WorldOptions {
  readonly onCall?: (call: RawCall) => void;
  readonly clock?: Clock;
  readonly headers?: GrpcHeaders;
}

/** A server, and one stream to it. */
class World implements AsyncDisposable {
  readonly server: GrpcRawServer;
  readonly transport: GrpcTransport;
  readonly stream: GrpcStream;
  readonly abort = new AbortController();

  private constructor(server: GrpcRawServer, transport: GrpcTransport, headers: GrpcHeaders) {
    this.server = server;
    this.transport = transport;
    this.stream = transport.openStream(PATH, headers, this.abort.signal);
  }

  static async open(
    kind: Kind,
    { onCall = () => {}, clock = new SystemClock(), headers = [] }: WorldOptions = {},
  ): Promise<World> {
    const server = await GrpcRawServer.start({ onCall });
    return new World(server, transportTo(kind, server.address, { clock }), headers);
  }

  async call(): Promise<RawCall> {
    await until(() => this.server.calls.length > 0);
    return this.server.calls[0]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stream.close();
    await until(() => this.server.door.passing === 0);
    await this.server[Symbol.asyncDispose]();
  }
}

function transportTo(
  kind: Kind,
  address: string,
  { clock = new SystemClock() as Clock, pem = "", altHostname = null as string | null } = {},
): GrpcTransport {
  const options = { address, root: { kind: "pem", pem } as const, clock };
  return kind === "fetch"
    ? new FetchTransport(options)
    : new Http2Transport({ ...options, altHostname });
}

async function errorOf(promise: Promise<unknown>): Promise<GrpcError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof GrpcError) return error;
    throw error;
  }
  throw new Error("No error came");
}

function bytes(length: number): Uint8Array {
  return new Uint8Array(length).fill(7);
}

function joined(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

Deno.test.each(KINDS)(
  "$kind: messages go before response headers come, metadata with them",
  async ({ kind }) => {
    await using world = await World.open(kind, {
      headers: [["authorization", "Bearer a b"], ["header_foo", "foo"], ["te", "other"]],
    });
    await world.stream.send(Uint8Array.of(1, 2, 3));
    await world.stream.send(Uint8Array.of(4));
    const call = await world.call();
    await until(() => call.received.length === 2 * PREFIX_BYTES + 4);
    assertEquals(
      call.received,
      joined(encodeFrame(Uint8Array.of(1, 2, 3)), encodeFrame(Uint8Array.of(4))),
    );
    const { headers } = call;
    assertEquals([headers[":method"], headers[":path"]], ["POST", PATH]);
    assertEquals([headers["content-type"], headers["header_foo"]], ["application/grpc", "foo"]);
    assertEquals([headers["authorization"], headers["te"]], ["Bearer a b", "trailers"]);
    let opened = false;
    void world.stream.opened.then(() => opened = true);
    await pass(20);
    assertEquals(opened, false);
    call.respond();
    await world.stream.opened;
  },
);

Deno.test.each(KINDS)("$kind: messages come however they were cut", async ({ kind }) => {
  await using world = await World.open(kind);
  const call = await world.call();
  call.respond();
  const stream = joined(...[bytes(3), bytes(0), bytes(100_000)].map(encodeFrame));
  call.write(stream.subarray(0, 2));
  await pass(20);
  call.write(stream.subarray(2, 40));
  await pass(20);
  call.write(stream.subarray(40));
  const lengths: number[] = [];
  for (let count = 0; count < 3; count++) lengths.push((await world.stream.receive())!.length);
  assertEquals(lengths, [3, 0, 100_000]);
});

Deno.test.each(KINDS)(
  "$kind: an end with status OK, or with none, is no error",
  async ({ kind }) => {
    for (const trailers of [{ "grpc-status": "0" }, undefined]) {
      await using world = await World.open(kind);
      const call = await world.call();
      call.respond({}, trailers);
      call.write(encodeFrame(bytes(1)));
      call.end();
      assertEquals((await world.stream.receive())!.length, 1);
      assertEquals(await world.stream.receive(), null);
      assertEquals(await world.stream.receive(), null);
    }
  },
);

Deno.test("http2: a status in the trailers is an error", async () => {
  await using world = await World.open("http2");
  const call = await world.call();
  call.respond({}, { "grpc-status": "14", "grpc-message": "transport%20is%20closing" });
  call.write(encodeFrame(bytes(1)));
  call.end();
  await world.stream.receive();
  const error = await errorOf(world.stream.receive());
  assertEquals([error.code, error.status], [
    "GRPC_STATUS",
    { code: "Unavailable", message: "transport is closing" },
  ]);
});

Deno.test("fetch: a status in the trailers is invisible, and an end like any other", async () => {
  await using world = await World.open("fetch");
  const call = await world.call();
  call.respond({}, { "grpc-status": "14" });
  call.write(encodeFrame(bytes(1)));
  call.end();
  await world.stream.receive();
  assertEquals(await world.stream.receive(), null);
});

const REFUSALS = [
  {
    name: "trailers-only status",
    headers: { "grpc-status": "16", "grpc-message": "authentication%20failure" },
    expected: ["GRPC_STATUS", "Unauthenticated", "authentication failure"],
  },
  {
    name: "HTTP 503 page",
    headers: { ":status": 503, "content-type": "text/html" },
    expected: [
      "GRPC_HTTP_STATUS",
      "Unavailable",
      "grpc-status header missing, mapped from HTTP status code 503",
    ],
  },
  {
    name: "redirect",
    headers: { ":status": 302, "content-type": "text/html", location: "http://127.0.0.1:9/" },
    expected: [
      "GRPC_HTTP_STATUS",
      "Unknown",
      "grpc-status header missing, mapped from HTTP status code 302",
    ],
  },
  {
    name: "wrong content-type",
    headers: { "content-type": "text/html" },
    expected: ["GRPC_CONTENT_TYPE", "Unknown", 'invalid content-type "text/html"'],
  },
];

Deno.test.each(KINDS.flatMap((kind) => REFUSALS.map((refusal) => ({ ...kind, ...refusal }))))(
  "$kind: a $name is a typed error before the stream is up",
  async ({ kind, headers, expected }) => {
    await using world = await World.open(kind, { onCall: (call) => call.refuse(headers) });
    const error = await errorOf(world.stream.opened);
    assertEquals([error.code, error.status.code, error.status.message], expected);
    assertEquals(await errorOf(world.stream.receive()), error);
    assertEquals(await errorOf(world.stream.send(bytes(1))), error);
  },
);

const TOO_LARGE = new Uint8Array(PREFIX_BYTES);
new DataView(TOO_LARGE.buffer).setUint32(1, MESSAGE_BYTES_MAX + 1);

const BAD_FRAMES = [
  {
    name: "a compressed flag",
    frame: Uint8Array.of(1, 0, 0, 0, 1, 9),
    code: "GRPC_FRAME_COMPRESSED",
  },
  { name: "200 MiB + 1", frame: TOO_LARGE, code: "GRPC_FRAME_TOO_LARGE" },
  {
    name: "half a message",
    frame: encodeFrame(bytes(9)).subarray(0, 8),
    code: "GRPC_FRAME_TRUNCATED",
  },
];

Deno.test.each(KINDS.flatMap((kind) => BAD_FRAMES.map((bad) => ({ ...kind, ...bad }))))(
  "$kind: $name after a good message is $code",
  async ({ kind, frame, code }) => {
    await using world = await World.open(kind, {
      onCall: (call) => {
        call.respond();
        call.write(joined(encodeFrame(bytes(2)), frame));
        call.end();
      },
    });
    assertEquals(await world.stream.receive(), bytes(2));
    assertEquals((await errorOf(world.stream.receive())).code, code as GrpcError["code"]);
    assertEquals((await errorOf(world.stream.receive())).code, code as GrpcError["code"]);
  },
);

Deno.test.each(KINDS)("$kind: a cut connection ends the stream with UNKNOWN", async ({ kind }) => {
  await using world = await World.open(kind);
  const call = await world.call();
  call.respond();
  await world.stream.opened;
  world.server.door.cut();
  const error = await errorOf(world.stream.receive());
  assertEquals([error.code, error.status.code], ["GRPC_CONNECTION_LOST", "Unknown"]);
});

Deno.test.each(KINDS)("$kind: a stream goes on after GOAWAY", async ({ kind }) => {
  await using world = await World.open(kind);
  const call = await world.call();
  call.respond();
  await world.stream.opened;
  world.server.goAway();
  await pass(20);
  call.write(encodeFrame(bytes(4)));
  assertEquals((await world.stream.receive())!.length, 4);
});

Deno.test.each(KINDS)("$kind: nobody there is GRPC_CONNECT with the reason", async ({ kind }) => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const transport = transportTo(kind, `http://127.0.0.1:${port}`);
  const stream = transport.openStream(PATH, [], new AbortController().signal);
  const error = await errorOf(stream.opened);
  assertEquals([error.code, error.status.code], ["GRPC_CONNECT", "Unavailable"]);
  assertEquals(/refused|ECONNREFUSED/.test(error.message), true, error.message);
  await stream.close();
});

Deno.test.each(KINDS)(
  "$kind: plaintext to anywhere else is refused in the original's words",
  async ({ kind }) => {
    const transport = transportTo(kind, "http://10.255.255.1:15010");
    const stream = transport.openStream(PATH, [], new AbortController().signal);
    const error = await errorOf(stream.opened);
    assertEquals([error.code, error.message], ["GRPC_PLAINTEXT", "unsupported scheme http"]);
    await stream.close();
  },
);

Deno.test.each(KINDS)(
  "$kind: roots that cannot be read are an error of their own",
  async ({ kind }) => {
    const readFile = () => Promise.reject(new Deno.errors.NotFound("No such file"));
    const options = {
      address: "https://127.0.0.1:1",
      root: { kind: "file", path: "/root.pem" } as const,
      clock: new SystemClock(),
      readFile,
    };
    const transport = kind === "fetch"
      ? new FetchTransport(options)
      : new Http2Transport({ ...options, altHostname: null });
    const stream = transport.openStream(PATH, [], new AbortController().signal);
    assertEquals((await errorOf(stream.opened)).code, "GRPC_ROOTS");
    await stream.close();
  },
);

Deno.test.each(KINDS)(
  "$kind: questions of liveness use the stream's own connection",
  async ({ kind }) => {
    const clock = new VirtualClock();
    await using world = await World.open(kind, { clock });
    const call = await world.call();
    call.respond();
    await world.stream.opened;
    for (let round = 0; round < 3; round++) {
      clock.advance(PROBE_EVERY_MS);
      // Neither an answer in time nor the next question needs more than this.
      await pass(50);
    }
    assertEquals(world.server.door.accepted, 1);
    assertEquals(world.server.probes, kind === "fetch" ? 4 : 0);
    call.write(encodeFrame(bytes(1)));
    assertEquals((await world.stream.receive())!.length, 1);
  },
);

Deno.test.each(KINDS)("$kind: a peer that stands still is found out", async ({ kind }) => {
  const clock = new VirtualClock();
  await using world = await World.open(kind, { clock });
  (await world.call()).respond();
  await world.stream.opened;
  await pass(20);
  world.server.door.stall();
  clock.advance(PROBE_EVERY_MS);
  await pass(20);
  const receiving = errorOf(world.stream.receive());
  clock.advance(PROBE_TIMEOUT_MS);
  const error = await receiving;
  assertEquals([error.code, error.status], [
    "GRPC_CONNECTION_DEAD",
    { code: "Unavailable", message: "keep-alive timed out" },
  ]);
  await world.stream.close();
  world.server.door.cut();
});

Deno.test.each(KINDS)(
  "$kind: a listener that never says anything is given up",
  async ({ kind }) => {
    const clock = new VirtualClock();
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    const transport = transportTo(kind, `http://127.0.0.1:${port}`, { clock });
    const stream = transport.openStream(PATH, [], new AbortController().signal);
    using connection = await listener.accept();
    assertEquals(connection.remoteAddr.transport, "tcp");
    await pass(50);
    clock.advance(OPEN_TIMEOUT_MS);
    const error = await errorOf(stream.opened);
    assertEquals([error.code, error.status.code], ["GRPC_CONNECT_TIMEOUT", "Unavailable"]);
    await stream.close();
  },
);

Deno.test.each(KINDS)("$kind: an abort ends everything at once", async ({ kind }) => {
  await using world = await World.open(kind);
  const call = await world.call();
  call.respond();
  const receiving = errorOf(world.stream.receive());
  world.abort.abort();
  assertEquals((await receiving).code, "GRPC_CLOSED");
  assertEquals((await errorOf(world.stream.send(bytes(1)))).code, "GRPC_CLOSED");
  await world.stream.close();
  await until(() => world.server.door.passing === 0);
});

Deno.test.each(KINDS)("$kind: a stream can be closed before it is connected", async ({ kind }) => {
  await using server = await GrpcRawServer.start({ onCall: () => {} });
  const transport = transportTo(kind, server.address);
  const stream = transport.openStream(PATH, [], new AbortController().signal);
  await stream.close();
  await stream.close();
  assertEquals((await errorOf(stream.receive())).code, "GRPC_CLOSED");
  await until(() => server.door.passing === 0);
});

Deno.test.each(KINDS)("$kind: a server that floods is stopped by its windows", async ({ kind }) => {
  const frame = encodeFrame(bytes(60_000));
  const floodMiB = 64;
  let written = 0;
  await using world = await World.open(kind, {
    onCall: (call) => {
      call.respond();
      const more = () => {
        if (call.isOver || written > floodMiB * 1024 * 1024) return;
        written += frame.length;
        if (call.stream.write(frame)) setTimeout(more, 0);
        else call.stream.once("drain", more);
      };
      more();
    },
  });
  await world.stream.receive();
  await until(() => written > 0);
  let before = -1;
  while (before !== written) {
    before = written;
    await pass(150);
  }
  assertEquals(written < 16 * 1024 * 1024, true, `${written} bytes went while nobody read`);
  for (let count = 0; count < 100; count++) await world.stream.receive();
  await world.stream.close();
});

Deno.test.each(KINDS)("$kind: TLS with the given root and the URI's name", async ({ kind }) => {
  const ca = await MeshCa.create();
  const ip = `${loopbackBlock()}.249`;
  const tls = await ca.issue({ uris: [], ips: [ip] });
  await using server = await GrpcRawServer.start({
    ip,
    tls,
    onCall: (call) => {
      call.respond();
      call.write(encodeFrame(bytes(5)));
    },
  });
  assertEquals(server.address.startsWith("https://"), true);
  const other = await MeshCa.create("another root");
  const outcomes: string[] = [];
  for (const pem of [ca.rootPem, other.rootPem, ""]) {
    const transport = transportTo(kind, server.address, { pem });
    const stream = transport.openStream(PATH, [], new AbortController().signal);
    const outcome = stream.receive().then(() => "message", (error: GrpcError) => error.code);
    outcomes.push(await outcome);
    await stream.close();
  }
  assertEquals(outcomes, ["message", "GRPC_CONNECT", "GRPC_CONNECT"]);
});

Deno.test("a certificate of another name is accepted only as ALT_XDS_HOSTNAME", async () => {
  const ca = await MeshCa.create();
  const tls = await ca.issue({ uris: [], dnsNames: ["istiod.istio-system.svc"] });
  await using server = await GrpcRawServer.start({
    tls,
    onCall: (call) => {
      call.respond();
      call.write(encodeFrame(bytes(5)));
    },
  });
  const outcomes: string[] = [];
  const attempts = [
    { kind: "fetch", altHostname: null },
    { kind: "http2", altHostname: null },
    { kind: "http2", altHostname: "other.svc" },
    { kind: "http2", altHostname: "istiod.istio-system.svc" },
  ] as const;
  for (const { kind, altHostname } of attempts) {
    const transport = transportTo(kind, server.address, { pem: ca.rootPem, altHostname });
    const stream = transport.openStream(PATH, [], new AbortController().signal);
    outcomes.push(
      await stream.receive().then(() => "message", (error: GrpcError) => error.code),
    );
    await stream.close();
  }
  assertEquals(outcomes, ["GRPC_CONNECT", "GRPC_CONNECT", "GRPC_CONNECT", "message"]);
});

Deno.test.each(KINDS)("$kind: a unary call gets its one answer", async ({ kind }) => {
  const headers: GrpcHeaders = [["x-id", "1"]];
  await using server = await GrpcRawServer.start({
    onCall: (call) => {
      call.stream.on("end", () => {
        call.respond({}, { "grpc-status": "0" });
        call.write(call.received);
        call.end();
      });
    },
  });
  const clock = new SystemClock();
  const transport = transportTo(kind, server.address, { clock });
  const message = bytes(70_000);
  const answer = await transport.unary({ path: PATH, headers, message, deadlineMs: 5000 });
  assertEquals(answer, message);
  assertEquals(server.calls[0]!.headers["x-id"], "1");
  await until(() => server.door.passing === 0);
  assertEquals(clock.waiting, 0);
});

const UNARY_FAILURES: readonly {
  readonly name: string;
  readonly code: string;
  readonly onCall: (call: RawCall) => void;
}[] = [
  {
    name: "a refusal",
    code: "GRPC_STATUS",
    onCall: (call) => call.refuse({ "grpc-status": "7", "grpc-message": "no" }),
  },
  {
    name: "no message",
    code: "GRPC_MESSAGE_COUNT",
    onCall: (call) => {
      call.respond();
      call.end();
    },
  },
  {
    name: "two messages",
    code: "GRPC_MESSAGE_COUNT",
    onCall: (call) => {
      call.respond();
      call.write(joined(encodeFrame(bytes(1)), encodeFrame(bytes(1))));
      call.end();
    },
  },
  {
    name: "a message over UNARY_BYTES_MAX",
    code: "GRPC_FRAME_TOO_LARGE",
    onCall: (call) => {
      const prefix = new Uint8Array(PREFIX_BYTES);
      new DataView(prefix.buffer).setUint32(1, UNARY_BYTES_MAX + 1);
      call.respond();
      call.write(prefix);
    },
  },
  { name: "no answer in time", code: "GRPC_DEADLINE", onCall: () => {} },
];

Deno.test.each(KINDS.flatMap((kind) => UNARY_FAILURES.map((row) => ({ ...kind, ...row }))))(
  "$kind: a unary call with $name is $code",
  async ({ kind, onCall, code }) => {
    await using server = await GrpcRawServer.start({ onCall });
    const transport = transportTo(kind, server.address);
    const deadlineMs = code === "GRPC_DEADLINE" ? 150 : 5000;
    const call = { path: PATH, headers: [], message: bytes(1), deadlineMs };
    assertEquals((await errorOf(transport.unary(call))).code as string, code);
    await until(() => server.door.passing === 0);
  },
);

Deno.test.each(KINDS)("$kind: a unary call ends with its signal", async ({ kind }) => {
  await using server = await GrpcRawServer.start({ onCall: () => {} });
  const abort = new AbortController();
  const transport = transportTo(kind, server.address);
  const { signal } = abort;
  const call = { path: PATH, headers: [], message: bytes(1), deadlineMs: 5000, signal };
  const failed = errorOf(transport.unary(call));
  await until(() => server.calls.length === 1);
  abort.abort();
  assertEquals((await failed).code, "GRPC_CLOSED");
  assertEquals((await errorOf(transport.unary(call))).code, "GRPC_CLOSED");
  await until(() => server.door.passing === 0);
});
