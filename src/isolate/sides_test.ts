// Both sides of the border in one isolate, joined by copies: whole planes on the memory network and a virtual clock.
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  CLIENT,
  CLIENT_IP,
  DataPlaneWorld,
  identityOf,
  NotedEvents,
  SERVER,
  SERVER_IP,
  testCrl,
  testLeaf,
  type TestSource,
  type WorldOptions,
} from "../../tests/support/data_plane_world.ts";
import { AssertionFailure } from "../base/assert.ts";
import { ProxyError } from "../base/errors.ts";
import { SeededRandom } from "../base/random.ts";
import type { CertifiedKey, RotatingCertificateSource } from "../tls/certificate.ts";
import {
  ControlSide,
  HEAP_PART_MAX,
  type HostedPlane,
  type HostedPlaneOptions,
  PLANES_MAX,
  REQUESTS_MAX,
} from "./control_side.ts";
import { parseSpiffeId } from "../tls/spiffe_id.ts";
import { CHANGES_TOLD_MS } from "./change_gather.ts";
import { DataPlaneDead, RemoteError } from "./errors.ts";
import { BATCH_EVENTS_MAX, UNREAD_BATCHES_MAX } from "./event_writer.ts";
import { PING_EVERY_MS, SILENCE_GRACE_MS, SILENCE_MS_MAX } from "./heartbeat.ts";
import type { DataPlaneHealth, FromDataPlane, ToDataPlane } from "./messages.ts";
import { WorkerSide } from "./worker_side.ts";

const ECHO = { ip: SERVER_IP, port: 8080 };
const INTERNAL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008, 15080]);

const HEALTH: DataPlaneHealth = {
  loop: { turns: 2, wakes: 1, turnP99Us: 480, turnMaxUs: 900 },
  nativeObjects: { socket: 3 },
};

/** A source of the world's, which tells of the rotations that the test makes. */
class Rotating implements RotatingCertificateSource {
  readonly #source: TestSource;
  readonly #listeners = new Set<(certificate: CertifiedKey) => void>();

  constructor(source: TestSource) {
    this.#source = source;
  }

  get identity() {
    return this.#source.identity;
  }

  get(done: Parameters<TestSource["get"]>[0]) {
    return this.#source.get(done);
  }

  onRotate(listener: (certificate: CertifiedKey) => void) {
    this.#listeners.add(listener);
    return { cancel: () => void this.#listeners.delete(listener) };
  }

  rotate(certificate: CertifiedKey): void {
    this.#source.certificate = certificate;
    for (const listener of [...this.#listeners]) listener(certificate);
  }
}

/** A data-plane isolate for one host of the world; what crosses is copied, and can be held up. */
class Isolate {
  readonly world: DataPlaneWorld;
  readonly ip: string;
  readonly control: ControlSide;
  readonly worker: WorkerSide;
  readonly deaths: string[] = [];
  readonly lines: string[] = [];
  readonly toWorker: ToDataPlane["kind"][] = [];
  readonly fromWorker: FromDataPlane["kind"][] = [];
  readonly paused: boolean[] = [];
  readonly refused: number[][] = [];
  readonly pinned = new Set<CertifiedKey>();
  /** True: the worker neither hears nor speaks. */
  hung = false;
  /** True: what the worker says waits. */
  held = false;
  heapPart = 0.1;
  readonly #waiting: FromDataPlane[] = [];

  constructor(world: DataPlaneWorld, ip: string) {
    this.world = world;
    this.ip = ip;
    const { clock } = world;
    this.worker = new WorkerSide({
      network: world.network(ip),
      clock,
      random: new SeededRandom(1),
      pins: {
        pin: (certificate) => void this.pinned.add(certificate),
        unpin: (certificate) => void this.pinned.delete(certificate),
      },
      logLevel: "trace",
      post: (message) => this.#fromWorker(structuredClone(message)),
      pauseAccepts: (paused) => this.paused.push(paused),
      health: () => HEALTH,
      heap: () => ({ usedBytes: this.heapPart * 1e9, limitBytes: 1e9 }),
      onQuiet: () => this.#fromWorker({ kind: "closed", leaked: {} }),
    });
    this.control = new ControlSide({
      clock,
      random: new SeededRandom(2),
      post: (message, transfer = []) => {
        this.toWorker.push(message.kind);
        const copy = structuredClone(message, { transfer: [...transfer] });
        clock.after(0, () => {
          if (!this.hung) this.worker.receive(copy);
        });
      },
      log: (level, scope, message) => this.lines.push(`${level} ${scope}: ${message}`),
      onDeath: (reason) => this.deaths.push(reason),
      onRefused: (count, max) => this.refused.push([count, max]),
    });
  }

  #fromWorker(message: FromDataPlane): void {
    if (this.hung) return;
    this.fromWorker.push(message.kind);
    this.#waiting.push(message);
    this.world.clock.after(0, () => this.deliver());
  }

  /** Lets the control side read what waits, unless it is held. */
  deliver(): void {
    if (this.held) return;
    for (const message of this.#waiting.splice(0)) this.control.receive(message);
  }

  tryOpen(options: Partial<HostedPlaneOptions> = {}): {
    readonly outcome: HostedPlane | ProxyError;
    readonly events: NotedEvents;
  } {
    const local = this.ip === CLIENT_IP ? CLIENT : SERVER;
    const events = new NotedEvents();
    const outcomes: (HostedPlane | ProxyError)[] = [];
    this.control.openPlane({
      router: this.world.router,
      certificates: new Rotating(this.world.sources.get(local.name)!),
      events,
      local,
      listeners: {
        inbound: { ip: this.ip, port: 15008 },
        ...this.ip === CLIENT_IP ? { outbound: { ip: CLIENT_IP, port: 15001 } } : {},
      },
      ...options,
      settings: { internalPorts: INTERNAL_PORTS, ...options.settings },
    }, (outcome) => outcomes.push(outcome));
    this.world.drive(() => outcomes.length > 0);
    assertEquals(outcomes.length, 1);
    return { outcome: outcomes[0]!, events };
  }

  open(options: Partial<HostedPlaneOptions> = {}): {
    readonly plane: HostedPlane;
    readonly events: NotedEvents;
  } {
    const { outcome, events } = this.tryOpen(options);
    if (outcome instanceof ProxyError) throw outcome;
    return { plane: outcome, events };
  }

  count(kind: ToDataPlane["kind"] | FromDataPlane["kind"]): number {
    return [...this.toWorker, ...this.fromWorker].filter((one) => one === kind).length;
  }

  /** Closes it and checks that nothing is left of it. */
  close(): void {
    let closed = false;
    this.control.close(() => closed = true);
    this.world.drive(() => closed);
    assertEquals(this.deaths, []);
    assertEquals([this.control.planes, this.control.liveRecords, this.pinned.size], [0, 0, 0]);
  }
}

/** A world whose client and server are hosted; closed and checked at the end. */
async function scene(options: WorldOptions = {}): Promise<
  Disposable & {
    readonly world: DataPlaneWorld;
    readonly client: Isolate;
    readonly server: Isolate;
  }
> {
  const world = await DataPlaneWorld.create(options);
  const [client, server] = [new Isolate(world, CLIENT_IP), new Isolate(world, SERVER_IP)];
  return {
    world,
    client,
    server,
    [Symbol.dispose]() {
      client.close();
      server.close();
      world.dispose();
    },
  };
}

/** One connection from capture to echo and its end, and what both planes reported. */
function talk(
  world: DataPlaneWorld,
  events: { readonly client: NotedEvents; readonly server: NotedEvents },
): unknown {
  const app = world.captured(ECHO);
  app.send("hello");
  world.drive(() => app.text === "hello");
  app.channel.endWrite();
  world.drive(() => app.closed);
  world.clock.advance(50);
  return [events.client, events.server].map((noted) => ({
    opened: noted.openedRecords.map(({ facts }) => facts),
    closed: noted.closedRecords.map(({ record, end }) => ({ ...record, ...end, durationMs: 0 }))
      .map(({ facts, bytesToServer, bytesToClient, flag, error }) => ({
        facts,
        bytesToServer,
        bytesToClient,
        flag,
        error,
      })),
    lines: noted.messages,
  }));
}

Deno.test("a hosted plane carries connections and reports them exactly as one in this isolate", async () => {
  const direct = await DataPlaneWorld.create();
  direct.app(ECHO);
  const server = direct.server().events;
  const client = direct.plane(CLIENT, CLIENT_IP, {
    listeners: {
      inbound: { ip: CLIENT_IP, port: 15008 },
      outbound: { ip: CLIENT_IP, port: 15001 },
    },
  }).events;
  const expected = talk(direct, { client, server });
  direct.dispose();

  using hosted = await scene();
  hosted.world.app(ECHO);
  const events = { server: hosted.server.open().events, client: hosted.client.open().events };
  assertEquals(talk(hosted.world, events), expected);
});

Deno.test("openPlane() says where it listens once it does", async () => {
  using hosted = await scene();
  const { plane } = hosted.client.open();
  assertEquals(plane.local, {
    inbound: { address: { ip: CLIENT_IP, port: 15008 }, transparent: false },
    inboundPlaintext: null,
    outbound: { address: { ip: CLIENT_IP, port: 15001 }, transparent: false },
    socks5: null,
  });
});

Deno.test("a plane that cannot listen is an error of the same code and words, and leaves nothing", async () => {
  using hosted = await scene();
  hosted.client.open();
  const { outcome } = hosted.client.tryOpen();
  if (!(outcome instanceof RemoteError)) throw new Error("It listens twice");
  assertEquals([outcome.code, outcome.name, outcome.message], [
    "EADDRINUSE",
    "BindError",
    "failed to bind to address 10.0.0.1:15008: Address already in use (os error 98)",
  ]);
  assertEquals([hosted.client.control.planes, hosted.client.pinned.size], [1, 1]);
});

Deno.test("a route is asked for once; then connections ask nothing until the state changes", async () => {
  using hosted = await scene();
  hosted.world.app(ECHO);
  const events = { server: hosted.server.open().events, client: hosted.client.open().events };
  for (let round = 0; round < 3; round++) talk(hosted.world, events);
  assertEquals([hosted.client.count("ask"), hosted.server.count("ask")], [1, 1]);
  hosted.world.pushPolicies([]);
  talk(hosted.world, events);
  assertEquals([hosted.client.count("ask"), hosted.server.count("ask")], [2, 2]);
  assertEquals([hosted.client.count("change"), hosted.server.count("change")], [1, 1]);
});

Deno.test("an answer never overtakes a change that it knows of", async () => {
  using hosted = await scene();
  hosted.world.app(ECHO);
  const events = { server: hosted.server.open().events, client: hosted.client.open().events };
  hosted.world.pushPolicies([]);
  hosted.world.pushPolicies([]); // Waits for the next message.
  assertEquals(hosted.client.count("change"), 1);
  talk(hosted.world, events);
  const kinds = hosted.client.toWorker.filter((kind) => kind === "change" || kind === "answer");
  assertEquals(kinds.slice(0, 3), ["change", "change", "answer"]);
});

Deno.test("planes of one router share its cache and one subscription", async () => {
  using hosted = await scene();
  const one = hosted.client.open();
  hosted.client.open({ listeners: { inbound: { ip: CLIENT_IP, port: 15009 } } });
  hosted.world.pushPolicies([]);
  hosted.world.clock.advance(1);
  assertEquals(hosted.client.count("change"), 1);
  let ended = false;
  one.plane.stop(() => ended = true);
  hosted.world.drive(() => ended);
  hosted.world.pushPolicies([]);
  hosted.world.clock.advance(CHANGES_TOLD_MS);
  assertEquals(hosted.client.count("change"), 2, "the other one still hears");
});

Deno.test("a refusal of the Router stays a refusal, to the letter", async () => {
  using hosted = await scene();
  const { events } = hosted.client.open();
  const app = hosted.world.captured({ ip: "127.0.0.1", port: 15008 });
  hosted.world.drive(() => app.closed);
  hosted.world.clock.advance(50);
  assertEquals(events.refusals, ["attempted recursive call to ourselves"]);
});

Deno.test("a change of policies ends connections that it no longer allows", async () => {
  using hosted = await scene();
  hosted.world.app(ECHO);
  const { events } = hosted.server.open();
  hosted.client.open();
  const app = hosted.world.captured(ECHO);
  app.send("hello");
  hosted.world.drive(() => app.text === "hello");
  hosted.world.pushPolicies([{
    name: "nobody",
    namespace: "default",
    scope: "Namespace",
    action: "Allow",
    dryRun: false,
    rules: [],
  }]);
  hosted.world.drive(() => events.ends.length > 0);
  assertEquals(events.ends, ["DENY: connection closed due to policy change"]);
});

Deno.test("a rotation reaches the plane by itself; its key is wiped there", async () => {
  using hosted = await scene();
  const local = identityOf(CLIENT);
  const certificates = new Rotating(hosted.world.sources.get(CLIENT.name)!);
  hosted.client.open({ certificates });
  assertEquals([...hosted.client.pinned].map(({ key }) => key.isWiped), [true]);
  certificates.rotate({ ...await testLeaf(local), generation: 99 });
  hosted.world.clock.advance(1);
  assertEquals([...hosted.client.pinned].map(({ generation }) => generation).at(-1), 99);
  assertEquals([hosted.client.count("certificate"), hosted.client.pinned.size], [2, 2]);
});

Deno.test("a CA that fails is heard of by whoever needs the certificate", async () => {
  using hosted = await scene();
  hosted.world.app(ECHO);
  hosted.server.open();
  const source = hosted.world.sources.get(CLIENT.name)!;
  const { certificate } = source;
  source.certificate = new RemoteError({
    name: "IdentityError",
    code: "CA",
    message: "CA is gone",
  });
  const { events } = hosted.client.open();
  const app = hosted.world.captured(ECHO);
  hosted.world.drive(() => app.closed);
  hosted.world.clock.advance(50);
  assertEquals(events.ends, ["IDENTITY_ERROR: identity error: CA is gone"]);
  source.certificate = certificate;
  const again = hosted.world.captured(ECHO);
  again.send("hello");
  hosted.world.drive(() => again.text === "hello");
  again.channel.reset(null);
});

Deno.test("stats() brings the numbers of the plane and the octets so far", async () => {
  using hosted = await scene();
  hosted.world.app(ECHO);
  hosted.server.open();
  const { plane, events } = hosted.client.open();
  const app = hosted.world.captured(ECHO);
  app.send("hello");
  hosted.world.drive(() => app.text === "hello");
  let connections = -1;
  plane.stats((stats) => connections = stats.connections);
  hosted.world.drive(() => connections >= 0);
  assertEquals(connections, 1);
  const [record] = events.openedRecords;
  assertEquals([record!.bytesToServer, record!.bytesToClient], [5, 5]);
  app.channel.reset(null);
});

Deno.test("drain() lets connections finish; stats() of a plane that is over are zeros", async () => {
  using hosted = await scene();
  hosted.world.app(ECHO);
  hosted.server.open();
  const { plane, events } = hosted.client.open();
  const app = hosted.world.captured(ECHO);
  app.send("hello");
  hosted.world.drive(() => app.text === "hello");
  let [drained, again] = [0, 0];
  plane.drain(60_000, () => drained++);
  plane.drain(60_000, () => again++);
  hosted.world.clock.advance(30_000);
  assertEquals([drained, again], [0, 0]);
  app.channel.endWrite();
  hosted.world.drive(() => drained + again === 2);
  assertEquals(events.ends, ["-: ok"]);
  const zeros: number[] = [];
  plane.stats(({ connections }) => zeros.push(connections));
  plane.stop(() => zeros.push(0));
  hosted.world.drive(() => zeros.length === 2);
  assertEquals(zeros, [0, 0]);
});

Deno.test("replaceLists() ends connections with peers that are listed, refuses new ones, and counts both", async () => {
  using hosted = await scene();
  hosted.world.app(ECHO);
  hosted.server.open();
  const { events } = hosted.client.open();
  const { control } = hosted.client;
  const talk = () => {
    const app = hosted.world.captured(ECHO);
    app.send("hello");
    return app;
  };
  const first = talk();
  hosted.world.drive(() => first.text === "hello");
  const stranger = await testLeaf(
    parseSpiffeId("spiffe://cluster.local/ns/default/sa/stranger"),
  );
  control.replaceLists(await testCrl([stranger]));
  hosted.world.clock.advance(10);
  assertEquals([events.ends, control.revocation], [[], { source: 0, destination: 0 }]);

  control.replaceLists(await testCrl([stranger, await testLeaf(identityOf(SERVER))]));
  hosted.world.clock.advance(10);
  assertEquals(control.revocation, { source: 1, destination: 0 });
  first.channel.endWrite();
  hosted.world.drive(() => events.ends.length === 1);
  assertEquals(events.ends, ["CERT_REVOKED: connection closed: peer certificate revoked by CRL"]);

  const second = talk();
  hosted.world.drive(() => events.ends.length === 2);
  assertEquals(events.ends[1], "CONNECT: io error: invalid peer certificate: Revoked");
  hosted.world.clock.advance(PING_EVERY_MS + 1000);
  assertEquals(control.revocation, { source: 2, destination: 0 });
  second.channel.reset(null);
});

Deno.test("a control isolate that stops reading pauses accepting, and is told everything later", async () => {
  using hosted = await scene();
  const { client, world } = hosted;
  client.open();
  client.held = true;
  const total = BATCH_EVENTS_MAX * (UNREAD_BATCHES_MAX + 1);
  for (let count = 0; count < total; count++) client.worker.log("info", "x", `${count}`);
  world.clock.advance(100);
  assertEquals(client.paused, [true]);
  client.held = false;
  client.deliver();
  world.clock.advance(100);
  assertEquals(client.paused, [true, false]);
  assertEquals(client.lines, Array.from({ length: total }, (_, count) => `info x: ${count}`));
});

Deno.test("an idle plane is woken less than twice per second", async () => {
  using hosted = await scene();
  hosted.client.open();
  hosted.world.clock.advance(10_000);
  const before = hosted.client.toWorker.length;
  hosted.world.clock.advance(100_000);
  assert(hosted.client.toWorker.length - before <= 100);
  assertEquals(hosted.client.deaths, []);
});

/** An isolate that will die; what it left open in the memory network is of no interest. */
async function doomed(): Promise<Isolate> {
  return new Isolate(await DataPlaneWorld.create(), CLIENT_IP);
}

Deno.test("a silent data plane is dead: whoever waits is told, close() does not hang", async () => {
  const isolate = await doomed();
  const { plane } = isolate.open();
  isolate.hung = true;
  const told: unknown[] = [];
  plane.drain(1000, () => told.push("drained"));
  plane.stats(({ connections }) => told.push(connections));
  isolate.control.openPlane({
    router: isolate.world.router,
    certificates: new Rotating(isolate.world.sources.get(CLIENT.name)!),
    events: new NotedEvents(),
    local: CLIENT,
    listeners: { inbound: { ip: CLIENT_IP, port: 15009 } },
  }, (outcome) => told.push(outcome));
  isolate.control.close(() => told.push("closed"));
  isolate.world.clock.advance(SILENCE_MS_MAX + SILENCE_GRACE_MS);
  assertEquals(isolate.deaths, ["it was silent for 5 s"]);
  assertEquals(told.filter((one) => !(one instanceof ProxyError)), ["drained", 0, "closed"]);
  assert(told.some((one) => one instanceof DataPlaneDead));
  isolate.control.close(() => told.push("closed again"));
  plane.stop(() => told.push("stopped"));
  const { outcome } = isolate.tryOpen();
  assert(outcome instanceof DataPlaneDead);
  isolate.world.clock.runUntilIdle();
  assertEquals(told.slice(-2), ["closed again", "stopped"]);
  isolate.world.pushPolicies([]); // Nobody listens any longer.
  assertEquals(isolate.world.clock.pendingTimers > 100, false);
});

Deno.test("the loop's health comes with each heartbeat", async () => {
  const isolate = await doomed();
  assertEquals(isolate.control.health, null);
  isolate.world.clock.advance(PING_EVERY_MS + 1000);
  assertEquals(isolate.control.health, HEALTH);
});

Deno.test("a heap above HEAP_PART_MAX of its limit is death, at it not yet", async () => {
  const isolate = await doomed();
  isolate.heapPart = HEAP_PART_MAX;
  isolate.world.clock.advance(10_000);
  assertEquals(isolate.deaths, []);
  isolate.heapPart = HEAP_PART_MAX + 0.001;
  isolate.world.clock.advance(10_000);
  assertEquals(isolate.deaths, ["its heap is full: 859 of 954 MiB"]);
});

Deno.test.each([
  { name: "of no kind", message: { kind: "nonsense" } },
  { name: "about a plane that is not there", message: { kind: "planeEnded", plane: 7 } },
  { name: "about a request that is not there", message: { kind: "gone", request: 7 } },
  { name: "said before", message: { kind: "failed", code: "X", message: "y" } },
  { name: "with events that cannot be read", message: { kind: "events", items: [99] } },
  {
    name: "to a router that is not there",
    message: {
      kind: "ask",
      router: 9,
      question: 1,
      about: { kind: "localWorkload", local: CLIENT },
    },
  },
])("a message $name is death", async ({ message }) => {
  const isolate = await doomed();
  isolate.control.receive(message);
  assertEquals(isolate.deaths.length, 1);
  isolate.control.receive(message);
  assertEquals(isolate.deaths.length, 1, "told once");
});

Deno.test("a bug of the worker is logged with its stack and counted, and nothing dies", async () => {
  using hosted = await scene();
  hosted.client.worker.bug(new Error("boom"));
  hosted.client.worker.bug("text");
  hosted.world.clock.advance(1);
  assertEquals(hosted.client.control.bugs, 2);
  assertEquals(hosted.client.lines, Array(2).fill("error ztunnel::isolate: bug in the data plane"));
});

Deno.test("refusals for want of descriptors are told together", async () => {
  using hosted = await scene();
  for (let count = 0; count < 5; count++) hosted.client.worker.refused(100);
  hosted.world.clock.advance(1100);
  hosted.client.worker.refused(100);
  hosted.world.clock.advance(1100);
  assertEquals(hosted.client.refused, [[5, 100], [1, 100]]);
});

Deno.test("close() ends a plane that is still being opened", async () => {
  using hosted = await scene();
  const outcomes: unknown[] = [];
  hosted.client.control.openPlane({
    router: hosted.world.router,
    certificates: new Rotating(hosted.world.sources.get(CLIENT.name)!),
    events: new NotedEvents(),
    local: CLIENT,
    listeners: { inbound: { ip: CLIENT_IP, port: 15008 } },
  }, (outcome) => outcomes.push(outcome));
  hosted.client.close();
  assertEquals(outcomes.length, 1);
  assertEquals(hosted.world.fabric.openSockets, 0);
});

Deno.test("PLANES_MAX planes may be open, REQUESTS_MAX requests on their way", async () => {
  const isolate = await doomed();
  isolate.hung = true;
  const open = (port: number) =>
    isolate.control.openPlane({
      router: isolate.world.router,
      certificates: new Rotating(isolate.world.sources.get(CLIENT.name)!),
      events: new NotedEvents(),
      local: CLIENT,
      listeners: { inbound: { ip: CLIENT_IP, port } },
    }, () => {});
  for (let port = 1; port <= PLANES_MAX; port++) open(port);
  assertEquals(isolate.control.planes, PLANES_MAX);
  assertThrows(() => open(1), AssertionFailure);

  const other = await doomed();
  const { plane } = other.open();
  other.hung = true;
  let answered = 0;
  for (let count = 0; count < REQUESTS_MAX; count++) plane.stats(() => answered++);
  other.world.clock.runUntilIdle();
  assertEquals(answered, 0);
  plane.stats(() => answered++);
  other.world.clock.runUntilIdle();
  assertEquals(answered, 1);
});
