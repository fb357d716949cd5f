// An HBONE peer under a test's hand: counts its connections, notes requests, answers as told. And parts to test with.
import { assert } from "@std/assert";
import type { SocketAddress } from "../../src/base/address.ts";
import { adoptBlock, type Block, BlockPool } from "../../src/base/block.ts";
import type { ChannelHandler } from "../../src/base/channel.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { Http2Connection } from "../../src/h2/connection.ts";
import type { H2Limits } from "../../src/h2/options.ts";
import type {
  H2Connection,
  H2ConnectionHandler,
  H2Stream,
  HeaderList,
} from "../../src/h2/types.ts";
import { Faults } from "../../src/hbone/faults.ts";
import { DATA_PLANE_LIMITS, type DataPlaneLimits } from "../../src/hbone/limits.ts";
import type { DataPlaneParts, DataPlaneSettings } from "../../src/hbone/parts.ts";
import type { Listener, SecureChannel } from "../../src/net/network.ts";
import type { CertificateSource } from "../../src/tls/certificate.ts";
import {
  CLIENT,
  CLIENT_IP,
  type DataPlaneWorld,
  NotedEvents,
  SERVER_IP,
} from "./data_plane_world.ts";

/** Parts as a data plane on the client's host would have, with what a test changes. */
export function testParts(
  world: DataPlaneWorld,
  options: {
    readonly ip?: string;
    readonly events?: NotedEvents;
    readonly limits?: Partial<DataPlaneLimits>;
    readonly certificates?: CertificateSource;
    readonly settings?: Partial<DataPlaneSettings>;
  } = {},
): DataPlaneParts {
  const events = options.events ?? new NotedEvents();
  const pool = new BlockPool({ blockBytes: 65_536, idleMax: 4 });
  return {
    network: world.network(options.ip ?? CLIENT_IP),
    router: world.router,
    certificates: options.certificates ?? world.sources.get(CLIENT.name)!,
    events,
    clock: world.clock,
    random: new SeededRandom(1),
    limits: { ...DATA_PLANE_LIMITS, ...options.limits },
    settings: {
      internalPorts: new Set([15001, 15006, 15008, 15080]),
      network: "",
      responseBaggage: true,
      keepalive: null,
      policyInfoLogging: false,
      userTimeoutMs: null,
      originalSource: "never",
      bindIp: null,
      ...options.settings,
    },
    local: CLIENT,
    faults: new Faults(events),
    http2: (side, transport, handler) =>
      new Http2Connection({ side, transport, handler, clock: world.clock, pool }),
  };
}

export interface PeerOptions {
  readonly ip?: string;
  readonly port?: number;
  /** Answers every request so; null leaves it unanswered. Default: 200. */
  readonly answer?: HeaderList | null;
  readonly http2?: Partial<H2Limits>;
  /** False: accepts TCP and never says a word. */
  readonly handshakes?: boolean;
  /** Whose certificate it shows. Default: the server's. */
  readonly as?: string;
}

/** Listens as a peer's 15008 does. Streams it accepted stay open until they are ended. */
export class HbonePeer {
  readonly address: SocketAddress;
  readonly connections: PeerConnection[] = [];
  answer: HeaderList | null;
  readonly #world: DataPlaneWorld;
  readonly #options: PeerOptions;
  readonly #pool = new BlockPool({ blockBytes: 65_536, idleMax: 4 });
  #listener: Listener | null = null;

  constructor(world: DataPlaneWorld, options: PeerOptions = {}) {
    this.#world = world;
    this.#options = options;
    this.address = { ip: options.ip ?? SERVER_IP, port: options.port ?? 15008 };
    this.answer = options.answer === undefined
      ? [{ name: ":status", value: "200" }]
      : options.answer;
    const network = world.network(this.address.ip);
    network.listen(this.address, { backlog: 16, keepalive: null }, (channel) => {
      if (options.handshakes === false) return;
      network.secureServer(
        channel,
        { certificates: world.sources.get(options.as ?? "server")!, timeoutMs: 60_000 },
        (outcome) => {
          if (outcome instanceof ProxyError) return;
          this.connections.push(this.#serve(outcome));
        },
      );
    }, (outcome) => {
      if (outcome instanceof ProxyError) throw outcome;
      this.#listener = outcome;
    });
    world.clock.runUntilIdle();
  }

  #serve(channel: SecureChannel): PeerConnection {
    return new PeerConnection(channel, this, (handler) =>
      new Http2Connection({
        side: "server",
        transport: channel,
        handler,
        clock: this.#world.clock,
        pool: this.#pool,
        ...(this.#options.http2 === undefined ? {} : { limits: this.#options.http2 }),
      }));
  }

  /** Connections that are over. */
  get dropped(): number {
    return this.connections.filter(({ closed }) => closed).length;
  }

  get requests(): HeaderList[] {
    return this.connections.flatMap(({ requests }) => requests);
  }

  close(): void {
    this.#listener?.close();
    for (const { h2 } of this.connections) h2.abort(null);
  }
}

/** One connection of a peer. */
export class PeerConnection implements H2ConnectionHandler {
  readonly h2: H2Connection;
  readonly requests: HeaderList[] = [];
  readonly streams: H2Stream[] = [];
  /** Text received per stream, in order of arrival. */
  readonly texts: string[] = [];
  closed = false;
  goAways = 0;
  readonly #peer: HbonePeer;

  constructor(
    channel: SecureChannel,
    peer: HbonePeer,
    open: (handler: H2ConnectionHandler) => H2Connection,
  ) {
    assert(channel.security.peerIdentities.length > 0);
    this.#peer = peer;
    this.h2 = open(this);
  }

  onRequest(stream: H2Stream, headers: HeaderList): void {
    const index = this.streams.push(stream) - 1;
    this.requests.push(headers);
    this.texts.push("");
    stream.attach(new PeerStream(stream, (text) => this.texts[index] += text));
    const { answer } = this.#peer;
    if (answer === null) return;
    const status = answer.find(({ name }) => name === ":status")!.value;
    stream.respond(answer, { endStream: status !== "200" });
  }

  onPeerSettings(): void {}
  onPong(): void {}
  onGoAway(): void {
    this.goAways++;
  }
  onHeaderBlock(): void {}
  onIdle(): void {}
  onClose(): void {
    this.closed = true;
  }
}

class PeerStream implements ChannelHandler {
  readonly #stream: H2Stream;
  readonly #onText: (text: string) => void;

  constructor(stream: H2Stream, onText: (text: string) => void) {
    this.#stream = stream;
    this.#onText = onText;
  }

  onData(block: Block, start: number, end: number): void {
    this.#onText(new TextDecoder().decode(block.bytes.subarray(start, end)));
  }

  onEnd(): void {
    this.#stream.endWrite();
  }

  onWritable(): void {}
  onClose(): void {}
}

/** Writes text to a stream. */
export function sayOn(stream: H2Stream, text: string): void {
  const bytes = new TextEncoder().encode(text);
  const block = adoptBlock(bytes);
  stream.write(block, 0, bytes.length);
  block.release();
}
