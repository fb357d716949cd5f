// The whole client against servers that mean no good: typed ends, the right waits, the old state, a loop that stays free.
import { assertEquals } from "@std/assert";
import { GrpcRawServer, type RawCall } from "../../tests/support/grpc_raw_server.ts";
import type { Fields } from "../../tests/support/protobuf.ts";
import { pass, until } from "../../tests/support/real_sockets.ts";
import { XDS_PROTOBUF } from "../../tests/support/xds_schema.ts";
import { SystemClock } from "../base/system_clock.ts";
import type { MeshUpdate } from "../state/mesh_update.ts";
import { encodeFrame, MESSAGE_BYTES_MAX, PREFIX_BYTES } from "./grpc_frame.ts";
import { nodeIdentity } from "./node_identity.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "./types.ts";
import { XdsClient } from "./xds_client.ts";

/** A client that follows a server, whose calls the test answers. */
class World implements AsyncDisposable {
  readonly server: GrpcRawServer;
  readonly updates: MeshUpdate[] = [];
  readonly ends: string[] = [];
  readonly lines: string[] = [];
  readonly clock = new SystemClock();
  ready = false;
  readonly #abort = new AbortController();
  readonly #running: Promise<void>;

  private constructor(server: GrpcRawServer, altHostname: string | null) {
    this.server = server;
    const client = new XdsClient({
      settings: {
        address: server.address,
        root: { kind: "pem", pem: "" },
        altHostname,
        token: null,
        clusterId: "",
        headers: [],
      },
      node: nodeIdentity({
        instanceIp: "1.1.1.1",
        podName: "",
        podNamespace: "",
        nodeName: "",
        metadata: new Map(),
        jsonMetadata: new Map(),
      }),
      sink: {
        apply: (update, done) => {
          if (this.updates.length < 10_000) this.updates.push(update);
          this.clock.after(0, done);
        },
      },
      clock: this.clock,
      log: (level, _scope, message) => this.lines.push(`${level} ${message}`),
      report: { message: () => {}, terminated: (reason) => this.ends.push(reason) },
      onDemand: false,
      onReady: () => this.ready = true,
      onApplied: () => {},
    });
    this.#running = client.run(this.#abort.signal);
  }

  static async start(
    onCall: (call: RawCall, number: number) => void,
    altHostname: string | null = null,
  ): Promise<World> {
    let calls = 0;
    const server = await GrpcRawServer.start({ onCall: (call) => onCall(call, ++calls) });
    return new World(server, altHostname);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#running;
    await until(() => this.server.door.passing === 0);
    await this.server[Symbol.asyncDispose]();
    assertEquals(this.clock.waiting, 0);
  }
}

function response(fields: Fields): Uint8Array {
  return encodeFrame(XDS_PROTOBUF.encode("DeltaDiscoveryResponse", fields));
}

function workload(name: string): Fields {
  const value = XDS_PROTOBUF.encode("Address", { workload: { uid: name, name, namespace: "ns" } });
  return { name, version: "1", resource: { typeUrl: ADDRESS_TYPE, value } };
}

function addresses(nonce: string, ...names: string[]): Uint8Array {
  return response({ typeUrl: ADDRESS_TYPE, nonce, resources: names.map(workload) });
}

function tooLarge(): Uint8Array {
  const prefix = new Uint8Array(PREFIX_BYTES);
  new DataView(prefix.buffer).setUint32(1, MESSAGE_BYTES_MAX + 1);
  return prefix;
}

/** Requests of a call so far. */
function requestsOf(call: RawCall): Fields[] {
  const requests: Fields[] = [];
  const { received } = call;
  for (let at = 0; at + PREFIX_BYTES <= received.length;) {
    const length = new DataView(received.buffer, received.byteOffset + at).getUint32(1);
    const message = received.subarray(at + PREFIX_BYTES, at + PREFIX_BYTES + length);
    if (message.length < length) break;
    requests.push(XDS_PROTOBUF.decode("DeltaDiscoveryRequest", message));
    at += PREFIX_BYTES + length;
  }
  return requests;
}

const AFTER_A_GOOD_RESPONSE = [
  { name: "a compressed message", bytes: Uint8Array.of(1, 0, 0, 0, 0), end: "Error" },
  { name: "a message of 200 MiB + 1", bytes: tooLarge(), end: "Error" },
  { name: "half a message", bytes: Uint8Array.of(0, 0, 0, 0, 9, 1), end: "Error" },
  {
    name: "bytes that are no response",
    bytes: encodeFrame(Uint8Array.of(0x12, 0x7f)),
    end: "Error",
  },
  { name: "nothing more", bytes: new Uint8Array(0), end: "Complete" },
];

Deno.test.each(AFTER_A_GOOD_RESPONSE)(
  "after $name the stream ends, the state stays and the next stream says what it is",
  async ({ bytes, end }) => {
    await using world = await World.start((call, number) => {
      call.respond();
      if (number > 1) return;
      call.write(addresses("n1", "a"));
      call.write(bytes);
      call.end();
    });
    await until(() => world.server.calls.length === 2);
    assertEquals(world.ends, [end]);
    assertEquals(world.updates.map(({ set, removed }) => [set.length, removed]), [[1, []]]);
    await until(() => requestsOf(world.server.calls[1]!).length === 2);
    assertEquals(requestsOf(world.server.calls[1]!)[0]!["initialVersions"], { a: "1" });
  },
);

const REFUSALS = [
  { name: "an HTTP error", headers: { ":status": 503, "content-type": "text/html" } },
  { name: "a wrong content-type", headers: { "content-type": "application/json" } },
  { name: "a trailers-only status", headers: { "grpc-status": "2", "grpc-message": "not ready" } },
];

Deno.test.each(REFUSALS)(
  "$name is a failed connection, asked again more and more seldom",
  async ({ headers }) => {
    const asked: number[] = [];
    await using world = await World.start((call) => {
      asked.push(performance.now());
      call.refuse(headers);
    });
    await until(() => asked.length === 5);
    assertEquals(new Set(world.ends), new Set(["ConnectionError"]));
    assertEquals(asked[4]! - asked[0]! >= 20 + 40 + 80 + 160, true);
  },
);

Deno.test("a server that closes after each message is heard, and asked less and less often", async () => {
  let calls = 0;
  await using world = await World.start((call) => {
    call.respond();
    call.write(addresses("n", `w${calls++}`));
    call.end();
  });
  await until(() => calls >= 14, 10_000);
  const before = calls;
  await pass(150);
  assertEquals(calls - before <= 1, true, `${calls - before} streams in 150 ms`);
  assertEquals(new Set(world.ends), new Set(["Complete"]));
  assertEquals(world.updates.length >= 14, true);
});

Deno.test("a server that answers nothing costs nothing, and keeps its stream", async () => {
  await using world = await World.start(() => {});
  await until(() => world.server.calls.length === 1);
  await pass(100);
  assertEquals([world.server.calls.length, world.ends, world.ready], [1, [], false]);
});

Deno.test("the wrong type is ACKed and changes nothing", async () => {
  await using world = await World.start((call) => {
    call.respond();
    call.write(
      response({ typeUrl: "type.example/Other", nonce: "n1", resources: [workload("a")] }),
    );
  });
  await until(() =>
    world.server.calls.length === 1 && requestsOf(world.server.calls[0]!).length === 3
  );
  const reply = requestsOf(world.server.calls[0]!)[2]!;
  assertEquals([reply["typeUrl"], reply["nonce"], reply["error"]], [
    "type.example/Other",
    "n1",
    undefined,
  ]);
  assertEquals(world.updates, []);
});

Deno.test("a GOAWAY lets the stream go on; its end without trailers is a routine", async () => {
  await using world = await World.start((call, number) => {
    call.respond();
    if (number === 1) call.write(addresses("n1", "a"));
  });
  await until(() => world.updates.length === 1);
  world.server.goAway();
  world.server.calls[0]!.write(addresses("n2", "b"));
  await until(() => world.updates.length === 2);
  world.server.door.cut();
  await until(() => world.server.calls.length === 2);
  assertEquals(world.ends.length, 1);
  assertEquals(["Complete", "Reconnect"].includes(world.ends[0]!), true, world.ends[0]);
});

Deno.test.each([
  { kind: "fetch", altHostname: null },
  { kind: "http2", altHostname: "other" },
])(
  "endless updates over $kind: every one answered, memory bounded, the loop free",
  async ({ altHostname }) => {
    const names = Array.from({ length: 200 }, (_, index) => `w${index}`);
    const flood = addresses("n", ...names);
    const seen = { flooding: true };
    await using world = await World.start((call) => {
      call.respond();
      const more = () => {
        if (!seen.flooding || call.isOver) return;
        if (call.stream.write(flood)) setTimeout(more, 0);
        else call.stream.once("drain", more);
      };
      more();
    }, altHostname);
    await until(() => world.updates.length > 10);
    const rssBefore = Deno.memoryUsage().rss;
    const updatesBefore = world.updates.length;
    let turns = 0;
    const timer = setInterval(() => turns++, 5);
    await pass(1_000);
    clearInterval(timer);
    seen.flooding = false;
    assertEquals(world.updates.length > updatesBefore + 10, true);
    assertEquals(turns > 20, true, `${turns} turns of a timer in a second`);
    const grownMiB = (Deno.memoryUsage().rss - rssBefore) / 1024 / 1024;
    assertEquals(grownMiB < 150, true, `${grownMiB} MiB`);
    assertEquals(requestsOf(world.server.calls[0]!).length > 12, true);
    assertEquals(world.ends, []);
  },
);

Deno.test("bad resources are named in the NACK, and the client is not ready before a good answer", async () => {
  await using world = await World.start((call) => {
    call.respond();
    const bad = { name: "bad", resource: { typeUrl: ADDRESS_TYPE, value: Uint8Array.of(0xff) } };
    call.write(response({ typeUrl: ADDRESS_TYPE, nonce: "n1", resources: [bad, workload("a")] }));
    call.write(response({ typeUrl: AUTHORIZATION_TYPE, nonce: "n2" }));
  });
  await until(() =>
    world.server.calls.length === 1 && requestsOf(world.server.calls[0]!).length === 4
  );
  const [, , nack, ack] = requestsOf(world.server.calls[0]!);
  assertEquals(nack!["error"].message.startsWith("bad: decode: "), true);
  assertEquals([nack!["nonce"], ack!["nonce"], ack!["error"]], ["n1", "n2", undefined]);
  assertEquals([world.ready, world.updates.length], [false, 1]);
  world.server.calls[0]!.write(addresses("n3", "b"));
  await until(() => world.ready);
});
