// Whole data planes on the memory network and a virtual clock: a client's, a server's, applications beside them.
import { createPrivateKey } from "node:crypto";
import { assert, assertEquals } from "@std/assert";
import type { SocketAddress } from "../../src/base/address.ts";
import { adoptBlock, type Block } from "../../src/base/block.ts";
import type { Channel, ChannelHandler, Done } from "../../src/base/channel.ts";
import type { Clock } from "../../src/base/clock.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { VirtualClock } from "../../src/base/virtual_clock.ts";
import { type DataPlane, type DataPlaneOptions, startDataPlane } from "../../src/dataplane.ts";
import { FakeCa } from "../../src/identity/fake_ca.ts";
import type { Link } from "../../src/net/memory/link.ts";
import { type LinkPlan, PERFECT_LINK } from "../../src/net/memory/link_plan.ts";
import { type LinkQuestion, MemoryFabric } from "../../src/net/memory/memory_fabric.ts";
import type { Listener, Network } from "../../src/net/network.ts";
import type {
  ConnectionEnd,
  ConnectionRecord,
  EarlyFailure,
  Events,
  LogLevel,
  LogValue,
} from "../../src/seam/events.ts";
import type { LocalWorkloadName } from "../../src/seam/workload.ts";
import { parseMeshFile } from "../../src/state/mesh_file.ts";
import { MeshState } from "../../src/state/mesh_state.ts";
import { type RouterSettings, StateRouter } from "../../src/state/state_router.ts";
import type { CertificateSource, CertifiedKey } from "../../src/tls/certificate.ts";
import { CrlSet } from "../../src/tls/crl.ts";
import { type SpiffeId, spiffeId } from "../../src/tls/spiffe_id.ts";
import { type CrlSigner, makeCrl } from "./crls.ts";
import { meshFileText, type TestWorkload } from "./mesh_file.ts";

export const CLIENT_IP = "10.0.0.1";
export const SERVER_IP = "10.0.0.2";
/** A TCP workload without a proxy. */
export const PLAIN_IP = "10.0.0.3";

export const CLIENT: LocalWorkloadName = {
  namespace: "default",
  name: "client",
  serviceAccount: "client",
};
export const SERVER: LocalWorkloadName = {
  namespace: "default",
  name: "server",
  serviceAccount: "server",
};

const WORKLOADS: readonly TestWorkload[] = [
  { ...CLIENT, ip: CLIENT_IP },
  { ...SERVER, ip: SERVER_IP },
  { name: "plain", namespace: "default", serviceAccount: "plain", ip: PLAIN_IP, protocol: "TCP" },
];

const INBOUND_REDIRECT = { port: 15006, exceptPorts: [15008] };

const INTERNAL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008, 15080]);

export function identityOf({ namespace, serviceAccount }: LocalWorkloadName): SpiffeId {
  return spiffeId({ trustDomain: "cluster.local", namespace, serviceAccount });
}

/** Notes what a data plane states, and checks that it is stated once. */
export class NotedEvents implements Events {
  readonly openedRecords: ConnectionRecord[] = [];
  readonly closedRecords: { readonly record: ConnectionRecord; readonly end: ConnectionEnd }[] = [];
  readonly early: EarlyFailure[] = [];
  readonly lines: {
    readonly level: LogLevel;
    readonly scope: string;
    readonly message: string;
    readonly fields: Readonly<Record<string, LogValue>>;
  }[] = [];

  opened(record: ConnectionRecord): void {
    assert(!this.openedRecords.includes(record), "a record is opened once");
    this.openedRecords.push(record);
  }

  closed(record: ConnectionRecord, end: ConnectionEnd): void {
    assert(this.openedRecords.includes(record), "a record is opened before it is closed");
    assert(!this.closedRecords.some((seen) => seen.record === record), "a record is closed once");
    this.closedRecords.push({ record, end });
  }

  failedEarly(failure: EarlyFailure): void {
    this.early.push(failure);
  }

  log(
    level: LogLevel,
    scope: string,
    message: string,
    fields: Readonly<Record<string, LogValue>> = {},
  ): void {
    this.lines.push({ level, scope, message, fields });
  }

  /** `flag: error` of each closed record, in order. */
  get ends(): string[] {
    return this.closedRecords.map(({ end }) => `${end.flag}: ${end.error?.message ?? "ok"}`);
  }

  /** The error of each early failure, in order. */
  get refusals(): string[] {
    return this.early.map(({ error }) => error.message);
  }

  /** `level scope: message` of the lines of at least info. */
  get messages(): string[] {
    return this.lines.filter(({ level }) => level !== "debug" && level !== "trace")
      .map(({ level, scope, message }) => `${level} ${scope}: ${message}`);
  }
}

/** One end of a connection as an application holds it: notes what it hears, may echo. */
export class App implements ChannelHandler {
  readonly channel: Channel;
  readonly #echo: boolean;
  text = "";
  bytes = 0;
  ended = false;
  closed = false;
  closeError: ProxyError | null = null;

  constructor(channel: Channel, options: { readonly echo?: boolean } = {}) {
    this.channel = channel;
    this.#echo = options.echo ?? false;
    channel.attach(this);
  }

  send(data: string | Uint8Array<ArrayBuffer>): boolean {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    const block = adoptBlock(bytes);
    const more = this.channel.write(block, 0, bytes.length);
    block.release();
    return more;
  }

  onData(block: Block, start: number, end: number): void {
    this.bytes += end - start;
    if (this.bytes <= 65_536) {
      this.text += String.fromCharCode(...block.bytes.subarray(start, end));
    }
    if (this.#echo && !this.channel.write(block, start, end)) this.channel.pause();
  }

  onEnd(): void {
    this.ended = true;
    if (this.#echo) this.channel.endWrite();
  }

  onWritable(): void {
    if (this.#echo) this.channel.resume();
  }

  onClose(error: ProxyError | null): void {
    this.closed = true;
    this.closeError = error;
  }
}

/** An application that listens, with everybody it talked to. */
export interface AppServer {
  readonly conversations: App[];
  readonly listener: Listener;
}

export interface WorldOptions {
  readonly seed?: number;
  readonly workloads?: readonly TestWorkload[];
  readonly policies?: readonly unknown[];
  readonly services?: readonly unknown[];
  readonly plan?: (question: LinkQuestion) => LinkPlan;
  readonly onLink?: (link: Link) => void;
  readonly router?: Partial<RouterSettings>;
  /** Hosts whose plaintext from elsewhere is captured into 15006. */
  readonly redirected?: readonly string[];
  /** Hosts permit transparent listeners and foreign source addresses. */
  readonly transparent?: boolean;
}

/** A source that has its certificate, or says why it has none. */
export class TestSource implements CertificateSource {
  readonly identity: SpiffeId;
  /** Given to whoever asks; replaced by a rotation. */
  certificate: CertifiedKey | ProxyError | "never";
  asked = 0;
  readonly #clock: Clock;

  constructor(identity: SpiffeId, certificate: CertifiedKey | ProxyError | "never", clock: Clock) {
    this.identity = identity;
    this.certificate = certificate;
    this.#clock = clock;
  }

  get(done: Done<CertifiedKey>) {
    this.asked++;
    const { certificate } = this;
    if (certificate === "never") return { cancel() {} };
    const timer = this.#clock.after(0, () => done(certificate));
    return { cancel: () => timer.cancel() };
  }
}

/** Signatures cost the most here, so all worlds of a process share a CA and its leaves. */
let sharedCa: Promise<{ readonly ca: FakeCa; readonly signer: CrlSigner }> | null = null;
const sharedLeaves = new Map<string, Promise<CertifiedKey>>();

/** A leaf of the CA that all worlds trust, valid at the start of virtual time. */
export function testLeaf(identity: SpiffeId): Promise<CertifiedKey> {
  const nowMs = new VirtualClock().wallMs();
  let leaf = sharedLeaves.get(identity.uri);
  if (leaf === undefined) {
    sharedCa ??= openSharedCa(nowMs);
    leaf = sharedCa.then(({ ca }) =>
      ca.issue(identity, { nowMs, lifetimeMs: 864_000_000, backdateMs: 120_000 })
    );
    sharedLeaves.set(identity.uri, leaf);
  }
  return leaf;
}

/** Through a folder, which is how its key comes to be known here. */
async function openSharedCa(nowMs: number) {
  const folder = await Deno.makeTempDir({ prefix: "world-ca-" });
  try {
    const ca = await FakeCa.open(folder, { nowMs });
    const key = createPrivateKey(await Deno.readTextFile(`${folder}/root-key.pem`));
    return { ca, signer: { certificate: ca.rootDer, key } };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A list, of that CA, of these leaves of it. */
export async function testCrl(revoked: readonly CertifiedKey[]): Promise<CrlSet> {
  sharedCa ??= openSharedCa(new VirtualClock().wallMs());
  const { signer } = await sharedCa;
  return CrlSet.fromDer([
    makeCrl(signer, { revoked: revoked.map(({ chainDer }) => chainDer[0]!) }),
  ]);
}

/** Hosts, their applications and data planes. Everything runs inside the test's calls. */
export class DataPlaneWorld {
  readonly clock = new VirtualClock();
  readonly fabric: MemoryFabric;
  readonly router: StateRouter;
  readonly sources = new Map<string, TestSource>();
  readonly planes: DataPlane[] = [];
  readonly #options: WorldOptions;
  readonly #servers: AppServer[] = [];
  readonly #networks = new Map<string, Network>();

  private constructor(options: WorldOptions) {
    this.#options = options;
    this.fabric = new MemoryFabric({
      clock: this.clock,
      random: new SeededRandom(options.seed ?? 1),
      plan: options.plan ?? (() => PERFECT_LINK),
      ...(options.onLink === undefined ? {} : { onLink: options.onLink }),
    });
    this.router = new StateRouter({
      state: this.#state(options.policies ?? []),
      settings: {
        network: "",
        hbonePort: 15008,
        nodeName: null,
        clusterDomain: "cluster.local",
        internalPorts: INTERNAL_PORTS,
        ...options.router,
      },
      clock: this.clock,
      log: () => {},
    });
  }

  static async create(options: WorldOptions = {}): Promise<DataPlaneWorld> {
    const world = new DataPlaneWorld(options);
    for (const local of options.workloads ?? WORKLOADS) {
      const identity = identityOf(local);
      world.sources.set(
        local.name,
        new TestSource(identity, await testLeaf(identity), world.clock),
      );
    }
    return world;
  }

  #state(policies: readonly unknown[]): MeshState {
    const { workloads = WORKLOADS, services = [] } = this.#options;
    const file = { ...JSON.parse(meshFileText({ workloads, policies })), services };
    // JSON is YAML, but has no tags.
    const text = JSON.stringify(file).replaceAll('"!Presence"', "!Presence []");
    return new MeshState(parseMeshFile(text, { source: "test" }));
  }

  /** As a push over xDS would. */
  pushPolicies(policies: readonly unknown[]): void {
    this.router.replace(this.#state(policies), { policies: true });
  }

  network(ip: string): Network {
    let network = this.#networks.get(ip);
    if (network === undefined) {
      const { redirected = [], transparent = false } = this.#options;
      network = this.fabric.network({
        label: ip,
        ips: [ip],
        transparent,
        ...(redirected.includes(ip) ? { inboundRedirect: INBOUND_REDIRECT } : {}),
      });
      this.#networks.set(ip, network);
    }
    return network;
  }

  /** Starts a data plane; its outcome is a `BindError` where `listeners` cannot be opened. */
  tryPlane(
    local: LocalWorkloadName,
    ip: string,
    options: Partial<DataPlaneOptions> = {},
  ): { readonly outcome: DataPlane | ProxyError; readonly events: NotedEvents } {
    const events = new NotedEvents();
    const outcomes: (DataPlane | ProxyError)[] = [];
    startDataPlane({
      network: this.network(ip),
      router: this.router,
      certificates: this.sources.get(local.name)!,
      events,
      clock: this.clock,
      random: new SeededRandom(this.#options.seed ?? 1),
      local,
      listeners: { inbound: { ip, port: 15008 } },
      ...options,
      settings: { internalPorts: INTERNAL_PORTS, ...options.settings },
    }, (outcome) => outcomes.push(outcome));
    this.clock.runUntilIdle();
    assertEquals(outcomes.length, 1, "outcomes of startDataPlane()");
    return { outcome: outcomes[0]!, events };
  }

  plane(
    local: LocalWorkloadName,
    ip: string,
    options: Partial<DataPlaneOptions> = {},
  ): { readonly plane: DataPlane; readonly events: NotedEvents } {
    const { outcome, events } = this.tryPlane(local, ip, options);
    if (outcome instanceof ProxyError) throw outcome;
    this.planes.push(outcome);
    return { plane: outcome, events };
  }

  /** The server's data plane. */
  server(options: Partial<DataPlaneOptions> = {}) {
    return this.plane(SERVER, SERVER_IP, {
      listeners: {
        inbound: { ip: SERVER_IP, port: 15008 },
        inboundPlaintext: { ip: SERVER_IP, port: 15006 },
      },
      ...options,
    });
  }

  /** The client's data plane, with all its ways in. */
  client(options: Partial<DataPlaneOptions> = {}) {
    return this.plane(CLIENT, CLIENT_IP, {
      listeners: {
        inbound: { ip: CLIENT_IP, port: 15008 },
        inboundPlaintext: { ip: CLIENT_IP, port: 15006 },
        outbound: { ip: CLIENT_IP, port: 15001 },
        socks5: { ip: "127.0.0.1", port: 15080 },
      },
      ...options,
    });
  }

  /** An application that listens at `address`; echoes unless told otherwise. */
  app(address: SocketAddress, options: { readonly echo?: boolean } = {}): AppServer {
    const conversations: App[] = [];
    const outcomes: (Listener | ProxyError)[] = [];
    this.network(address.ip).listen(
      address,
      { backlog: 128, keepalive: null },
      (channel) => conversations.push(new App(channel, { echo: options.echo ?? true })),
      (outcome) => outcomes.push(outcome),
    );
    this.clock.runUntilIdle();
    const listener = outcomes[0]!;
    if (listener instanceof ProxyError) throw listener;
    const server = { conversations, listener };
    this.#servers.push(server);
    return server;
  }

  /** Connects from a host to an address; fails the test where that fails. */
  dial(fromIp: string, address: SocketAddress): App {
    const outcome = this.tryDial(this.network(fromIp), address);
    if (outcome instanceof ProxyError) throw outcome;
    return new App(outcome);
  }

  tryDial(network: Network, address: SocketAddress): Channel | ProxyError {
    const outcomes: (Channel | ProxyError)[] = [];
    network.dial(
      address,
      { timeoutMs: 60_000, keepalive: null, sourceIp: null },
      (outcome) => outcomes.push(outcome),
    );
    this.drive(() => outcomes.length === 1);
    return outcomes[0]!;
  }

  /** Connects as a captured application of the client's pod would: 15001 sees where it meant to go. */
  captured(destination: SocketAddress): App {
    const network = this.fabric.network({
      label: "application",
      ips: [CLIENT_IP],
      redirectPort: 15001,
    });
    const outcome = this.tryDial(network, destination);
    if (outcome instanceof ProxyError) throw outcome;
    return new App(outcome);
  }

  /** Asks the client's SOCKS5 listener for an address and reads its two answers. */
  socks(destination: SocketAddress): App {
    const app = this.dial(CLIENT_IP, { ip: "127.0.0.1", port: 15080 });
    app.send(Uint8Array.of(5, 1, 0));
    app.send(
      Uint8Array.of(
        ...[5, 1, 0, 1],
        ...destination.ip.split(".").map(Number),
        destination.port >> 8,
        destination.port & 255,
      ),
    );
    this.drive(() => app.bytes >= 12 || app.closed);
    assertEquals(app.text, "\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00");
    app.text = "";
    app.bytes = 0;
    return app;
  }

  /** Lets time pass until `condition` holds, at most an hour. */
  drive(condition: () => boolean): void {
    const limitMs = this.clock.nowMs() + 3_600_000;
    this.clock.runUntilIdle();
    while (!condition()) {
      assert(this.clock.advanceToNext(limitMs), "The condition will not come to hold");
    }
  }

  /** Ends everything and checks that nothing stays: sockets, blocks, streams, timers, bugs. */
  dispose(): void {
    for (const plane of this.planes) {
      let done = false;
      plane.stop(() => done = true);
      this.drive(() => done);
    }
    for (const { listener, conversations } of this.#servers) {
      listener.close();
      for (const { channel } of conversations) channel.reset(null);
    }
    this.clock.advance(60_000);
    for (const plane of this.planes) {
      assertEquals({ ...plane.statsNow(), refusedConnections: 0, refusedHandshakes: 0 }, {
        connections: 0,
        inboundTransports: 0,
        outboundTransports: 0,
        pooled: 0,
        streams: 0,
        heldBytes: 0,
        tracked: 0,
        blocksLent: 0,
        timers: 0,
        faults: 0,
        refusedConnections: 0,
        refusedHandshakes: 0,
      });
    }
    assertEquals(
      {
        sockets: this.fabric.openSockets,
        blocks: this.fabric.pool.lent,
        timers: this.clock.pendingTimers,
      },
      { sockets: 0, blocks: 0, timers: 0 },
    );
  }
}
