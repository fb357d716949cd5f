// A client's and a server's data plane on real loopback sockets with real TLS, in this process; and hand-made peers.
import net from "node:net";
import tls from "node:tls";
import { assertEquals } from "@std/assert";
import { adoptBlock, type Block } from "../../src/base/block.ts";
import type { Clock } from "../../src/base/clock.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { SystemRandom } from "../../src/base/random.ts";
import { VirtualClock } from "../../src/base/virtual_clock.ts";
import { type DataPlane, type DataPlaneOptions, startDataPlane } from "../../src/dataplane.ts";
import { FakeCa } from "../../src/identity/fake_ca.ts";
import type { Network } from "../../src/net/network.ts";
import type { LocalWorkloadName } from "../../src/seam/workload.ts";
import { parseMeshFile } from "../../src/state/mesh_file.ts";
import { MeshState } from "../../src/state/mesh_state.ts";
import { StateRouter } from "../../src/state/state_router.ts";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import type { PipeEnd } from "./byte_pipe.ts";
import { CLIENT, identityOf, NotedEvents, SERVER } from "./data_plane_world.ts";
import { RawPeer } from "./h2_raw.ts";
import { loopbackBlock } from "./loopback.ts";
import { type LeafOptions, MeshCa, type TestLeaf } from "./mesh_ca.ts";
import { meshFileText } from "./mesh_file.ts";
import { type NetworkKind, type OpenNetwork, openNetwork, TEST_NETWORK } from "./networks.ts";
import { fixedSource, promised, until } from "./real_sockets.ts";
import { connectSocks5, readExactly, writeAll } from "./socks5.ts";

const INTERNAL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008, 15080]);

export interface PlaneAndEvents {
  readonly plane: DataPlane;
  readonly events: NotedEvents;
}

export interface LoopbackOptions {
  /** Default: `TEST_NETWORK`. */
  readonly on?: NetworkKind;
  readonly policies?: readonly unknown[];
  readonly server?: Partial<DataPlaneOptions>;
  readonly client?: Partial<DataPlaneOptions>;
  /** Called before anything listens: addresses, network and clock are known. */
  readonly onMade?: (planes: LoopbackPlanes) => void;
}

/** Everything is closed, and checked for leaks, on disposal. */
export class LoopbackPlanes implements AsyncDisposable {
  readonly clock: Clock;
  readonly network: Network;
  readonly ca: MeshCa;
  readonly certificates: { readonly client: CertifiedKey; readonly server: CertifiedKey };
  readonly router: StateRouter;
  readonly clientIp: string;
  readonly serverIp: string;
  /** The application behind the server's proxy: echoes. */
  readonly app: EchoApp;
  client!: PlaneAndEvents;
  server!: PlaneAndEvents;
  /** What the network and the clock caught: bugs of ours. */
  readonly bugs: unknown[] = [];
  readonly #opened: OpenNetwork;
  readonly #meshOf: (policies: readonly unknown[]) => MeshState;

  private constructor(
    ca: MeshCa,
    certificates: LoopbackPlanes["certificates"],
    ips: { readonly clientIp: string; readonly serverIp: string },
    options: LoopbackOptions,
  ) {
    const onBug = (error: unknown) => void this.bugs.push(error);
    this.#opened = openNetwork(options.on ?? TEST_NETWORK, onBug);
    this.clock = this.#opened.clock;
    this.network = this.#opened.network;
    this.ca = ca;
    this.certificates = certificates;
    this.clientIp = ips.clientIp;
    this.serverIp = ips.serverIp;
    this.#meshOf = (policies) =>
      new MeshState(parseMeshFile(
        meshFileText({
          workloads: [{ ...CLIENT, ip: ips.clientIp }, { ...SERVER, ip: ips.serverIp }],
          policies,
        }),
        { source: "test" },
      ));
    this.router = new StateRouter({
      state: this.#meshOf(options.policies ?? []),
      settings: {
        network: "",
        hbonePort: 15008,
        nodeName: null,
        clusterDomain: "cluster.local",
        internalPorts: INTERNAL_PORTS,
      },
      clock: this.clock,
      log: () => {},
    });
    this.app = new EchoApp();
  }

  static async start(options: LoopbackOptions = {}): Promise<LoopbackPlanes> {
    const ca = await MeshCa.create();
    const folder = await Deno.makeTempDir();
    await ca.writeRoot(folder);
    const signer = await FakeCa.open(folder, { nowMs: Date.now() });
    await Deno.remove(folder, { recursive: true });
    const block = loopbackBlock();
    const issue = (local: LocalWorkloadName) =>
      signer.issue(identityOf(local), { nowMs: Date.now() });
    const planes = new LoopbackPlanes(
      ca,
      { client: await issue(CLIENT), server: await issue(SERVER) },
      { clientIp: `${block}.1`, serverIp: `${block}.2` },
      options,
    );
    options.onMade?.(planes);
    await planes.app.listen(planes.serverIp);
    planes.server = await planes.#plane(SERVER, planes.serverIp, options.server ?? {}, {
      inbound: { ip: planes.serverIp, port: 15008 },
    });
    planes.client = await planes.#plane(CLIENT, planes.clientIp, options.client ?? {}, {
      socks5: { ip: planes.clientIp, port: 15080 },
    });
    return planes;
  }

  async #plane(
    local: LocalWorkloadName,
    ip: string,
    options: Partial<DataPlaneOptions>,
    listeners: DataPlaneOptions["listeners"],
  ): Promise<PlaneAndEvents> {
    const events = new NotedEvents();
    const certificate = local === SERVER ? this.certificates.server : this.certificates.client;
    const plane = await promised<DataPlane>((done) =>
      startDataPlane({
        network: this.network,
        router: this.router,
        certificates: fixedSource(certificate),
        events,
        clock: this.clock,
        random: new SystemRandom(),
        local,
        listeners,
        ...options,
        settings: { internalPorts: INTERNAL_PORTS, bindIp: ip, ...options.settings },
      }, done)
    );
    return { plane, events };
  }

  pushPolicies(policies: readonly unknown[]): void {
    this.router.replace(this.#meshOf(policies), { policies: true });
  }

  /** Where the application behind the server's proxy is reached. */
  get appAddress(): { readonly ip: string; readonly port: number } {
    return { ip: this.serverIp, port: this.app.port };
  }

  /** A SOCKS5 client's connection to the application, through both proxies. The caller closes it. */
  connect(target = this.appAddress): Promise<Deno.TcpConn> {
    return connectSocks5(this.clientIp, target);
  }

  /** Calls the server's 15008 with TLS of the test's choice; the answer may be a refusal. */
  async tls(
    leaf: TestLeaf | null,
    options: { readonly alpn?: readonly string[] | null } = {},
  ): Promise<RawTls> {
    const alpn = options.alpn === undefined ? ["h2"] : options.alpn;
    const raw = new RawTls(this.serverIp, {
      ...(leaf === null ? {} : { cert: leaf.certPem, key: leaf.keyPem }),
      ...(alpn === null ? {} : { ALPNProtocols: [...alpn] }),
    });
    await raw.connected;
    return raw;
  }

  /** An acceptable peer's leaf, or one that differs as told. */
  leaf(options: Partial<LeafOptions> = {}): Promise<TestLeaf> {
    return this.ca.issue({ uris: [identityOf(CLIENT).uri], ...options });
  }

  async drained(who: PlaneAndEvents, deadlineMs: number): Promise<void> {
    await new Promise<void>((resolve) => who.plane.drain(deadlineMs, resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { plane } of [this.client, this.server]) {
      await new Promise<void>((resolve) => plane.stop(resolve));
    }
    await this.app.close();
    await until(() => this.network.openSockets === 0);
    for (const { plane } of [this.client, this.server]) {
      const { refusedConnections: _, refusedHandshakes: __, ...stats } = plane.statsNow();
      assertEquals(Object.entries(stats).filter(([, count]) => count !== 0), []);
    }
    await this.#opened[Symbol.asyncDispose]();
    assertEquals(this.bugs, []);
  }
}

/** Echoes with the runtime's plain sockets. */
export class EchoApp {
  readonly #connections = new Set<Deno.TcpConn>();
  #listener: Deno.TcpListener | null = null;
  #serving: Promise<unknown> = Promise.resolve();
  accepted = 0;

  async listen(ip: string): Promise<void> {
    this.#listener = Deno.listen({ hostname: ip, port: 0 });
    this.#serving = this.#serve(this.#listener);
    await Promise.resolve();
  }

  get port(): number {
    return (this.#listener!.addr as Deno.NetAddr).port;
  }

  async #serve(listener: Deno.TcpListener): Promise<void> {
    const echoes: Promise<void>[] = [];
    for await (const connection of listener) {
      this.accepted++;
      this.#connections.add(connection);
      echoes.push(this.#echo(connection));
    }
    await Promise.all(echoes);
  }

  async #echo(connection: Deno.TcpConn): Promise<void> {
    try {
      const buffer = new Uint8Array(65_536);
      for (;;) {
        const got = await connection.read(buffer);
        if (got === null) break;
        await writeAll(connection, buffer.subarray(0, got));
      }
      await connection.closeWrite();
    } catch (error) {
      // A peer that resets is a case under test; anything else is not.
      const gone = error instanceof Deno.errors.ConnectionReset ||
        error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.BadResource ||
        error instanceof Deno.errors.Interrupted || error instanceof Deno.errors.NotConnected;
      if (!gone) throw error;
    } finally {
      this.#connections.delete(connection);
      try {
        connection.close();
      } catch {
        // Closed by `close` already.
      }
    }
  }

  async close(): Promise<void> {
    this.#listener?.close();
    for (const connection of this.#connections) connection.close();
    await this.#serving;
  }
}

/** An echo of random bytes; throws where they differ. */
export async function echoes(connection: Deno.TcpConn, bytes: number): Promise<void> {
  const sent = new Uint8Array(bytes);
  for (let offset = 0; offset < bytes; offset += 65_536) {
    crypto.getRandomValues(sent.subarray(offset, Math.min(bytes, offset + 65_536)));
  }
  const [got] = await Promise.all([readExactly(connection, bytes), writeAll(connection, sent)]);
  assertEquals(got, sent);
}

/** A TLS client that says whatever it is told, and writes down the frames that come back. */
export class RawTls {
  readonly socket: tls.TLSSocket;
  /** Settles when the handshake is over on this side, whatever came of it. */
  readonly connected: Promise<void>;
  readonly closed: Promise<void>;
  readonly peer: RawPeer;
  isClosed = false;

  constructor(ip: string, options: tls.ConnectionOptions) {
    this.socket = tls.connect({
      host: ip,
      port: 15008,
      rejectUnauthorized: false,
      minVersion: "TLSv1.3",
      ...options,
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.connected = promise;
    this.closed = new Promise((gone) =>
      this.socket.once("close", () => {
        this.isClosed = true;
        resolve();
        gone();
      })
    );
    this.socket.once("secureConnect", resolve);
    this.socket.on("error", () => resolve());
    const socket = this.socket;
    const end = {
      attach() {},
      write: (block: Block, start: number, stop: number) =>
        socket.write(block.bytes.slice(start, stop)),
      endWrite: () => socket.end(),
    };
    this.peer = new RawPeer(end as unknown as PipeEnd, new VirtualClock(), 0);
    this.socket.on("data", (chunk: Uint8Array) => {
      const block = adoptBlock(Uint8Array.from(chunk));
      this.peer.onData(block, 0, block.bytes.length);
      block.release();
    });
  }

  /** Waits for a line that begins so, and gives it. */
  async line(start: string, limitMs = 5_000): Promise<string> {
    const found = () => this.peer.lines.find((line) => line.startsWith(start));
    try {
      await until(() => found() !== undefined || this.isClosed, limitMs);
    } catch (error) {
      throw new Error(`No ${start}; saw ${this.peer.lines.join(", ")}`, { cause: error });
    }
    const line = found();
    if (line === undefined) throw new Error(`No ${start}; saw ${this.peer.lines.join(", ")}`);
    return line;
  }

  async close(): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }
}

/** Plain TCP to an address; gives the text that came back when the peer closed. */
export function tcpSays(ip: string, port: number, text: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: ip, port });
    socket.on("error", () => {});
    socket.once("close", () => resolve());
    socket.once("connect", () => socket.write(text));
    socket.resume();
  });
}

export { ProxyError };
