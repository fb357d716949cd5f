// An east-west gateway's stand-in: takes a CONNECT by its authority and passes the octets inside on, unread.
import type { SocketAddress } from "../../src/base/address.ts";
import { BlockPool } from "../../src/base/block.ts";
import type { Cancel, Channel, ChannelHandler } from "../../src/base/channel.ts";
import type { Clock } from "../../src/base/clock.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { Http2Connection } from "../../src/h2/connection.ts";
import type { H2Limits } from "../../src/h2/options.ts";
import type {
  H2Connection,
  H2ConnectionHandler,
  H2Stream,
  HeaderList,
} from "../../src/h2/types.ts";
import { Copy, type CopyCounters } from "../../src/net/copy.ts";
import type { Keepalive, Listener, Network } from "../../src/net/network.ts";
import type { CertificateSource } from "../../src/tls/certificate.ts";

export interface GatewayOptions {
  readonly network: Network;
  readonly clock: Clock;
  readonly certificates: CertificateSource;
  /** Where it listens. */
  readonly address: SocketAddress;
  /** Where the services behind it are, by the CONNECT's authority; others get 503. */
  readonly targets: Pick<ReadonlyMap<string, SocketAddress>, "get">;
  /** On its TCP connections, both sides: it sends no PING. Default: none. */
  readonly keepalive?: Keepalive;
  readonly http2?: Partial<H2Limits>;
  /** Dials from here; null leaves it to the kernel. */
  readonly sourceIp?: string;
}

/** A stream spliced to its target. */
interface Splice {
  readonly copy: Copy;
  readonly counters: CopyCounters;
}

/** Counts its TLS connections and notes its requests. Speaks of itself in baggage that is nobody's business. */
export class GatewayPeer {
  readonly connections: GatewayConnection[] = [];
  readonly requests: HeaderList[] = [];
  readonly splices = new Set<Splice>();
  /** What it answers in place of what it should; "never" answers nothing. */
  answer: number | "never" | null = null;
  readonly #options: GatewayOptions;
  readonly #pool = new BlockPool({ blockBytes: 65_536, idleMax: 4 });
  readonly #pending = new Set<Cancel>();
  #listener: Listener | null = null;

  constructor(options: GatewayOptions, onListening: () => void = () => {}) {
    this.#options = options;
    const { network, certificates, address, keepalive = null } = options;
    network.listen(address, { backlog: 64, keepalive }, (channel) => {
      const handshake = network.secureServer(
        channel,
        { certificates, timeoutMs: 60_000 },
        (outcome) => {
          this.#pending.delete(handshake);
          if (outcome instanceof ProxyError) return;
          this.connections.push(
            new GatewayConnection(this, (handler) =>
              new Http2Connection({
                side: "server",
                transport: outcome,
                handler,
                clock: options.clock,
                pool: this.#pool,
                ...options.http2 === undefined ? {} : { limits: options.http2 },
              })),
          );
        },
      );
      this.#pending.add(handshake);
    }, (outcome) => {
      if (outcome instanceof ProxyError) throw outcome;
      this.#listener = outcome;
      onListening();
    });
  }

  /** Connections not yet over. */
  get open(): number {
    return this.connections.filter(({ closed }) => !closed).length;
  }

  /** Streams spliced and not yet over. */
  get spliced(): number {
    return this.splices.size;
  }

  close(): void {
    this.#listener?.close();
    this.drop();
  }

  /** Ends all it carries, as its restart would. */
  drop(): void {
    for (const step of this.#pending) step.cancel();
    this.#pending.clear();
    for (const { h2 } of this.connections) h2.abort(null);
    for (const { copy } of this.splices) copy.stop(new GatewayGone());
  }

  /** For its connections. */
  serve(stream: H2Stream, headers: HeaderList): void {
    this.requests.push(headers);
    const authority = headers.find(({ name }) => name === ":authority")!.value;
    const target = this.#options.targets.get(authority);
    const waiting = new WaitingStream();
    stream.attach(waiting);
    stream.pause();
    if (this.answer === "never") return;
    if (this.answer !== null || target === undefined) return refuse(stream, this.answer ?? 503);
    const dial = this.#options.network.dial(
      target,
      {
        timeoutMs: 10_000,
        keepalive: this.#options.keepalive ?? null,
        sourceIp: this.#options.sourceIp ?? null,
      },
      (outcome) => {
        this.#pending.delete(dial);
        if (outcome instanceof ProxyError) return refuse(stream, 503);
        this.#splice(stream, outcome);
      },
    );
    this.#pending.add(dial);
    waiting.onGone = () => {
      this.#pending.delete(dial);
      dial.cancel();
    };
  }

  #splice(stream: H2Stream, target: Channel): void {
    stream.respond([
      { name: ":status", value: "200" },
      { name: "baggage", value: "k8s.cluster.name=gateways,service.name=gateway" },
    ], { endStream: false });
    const counters = { bytesToServer: 0, bytesToClient: 0 };
    const copy = new Copy({
      client: stream,
      server: target,
      counters,
      done: () => void this.splices.delete(splice),
    });
    const splice = { copy, counters };
    this.splices.add(splice);
    copy.start();
    stream.resume();
  }
}

class GatewayGone extends ProxyError {
  readonly code = "GATEWAY_GONE";

  constructor() {
    super("the gateway is gone");
  }
}

function refuse(stream: H2Stream, status: number): void {
  stream.respond([{ name: ":status", value: String(status) }], { endStream: true });
  stream.reset(null);
}

/** Until there is a target; only the stream's end is heard. */
class WaitingStream implements ChannelHandler {
  onGone: () => void = () => {};

  onData(): void {}
  onEnd(): void {}
  onWritable(): void {}

  onClose(): void {
    this.onGone();
  }
}

/** One connection of a gateway. */
export class GatewayConnection implements H2ConnectionHandler {
  readonly h2: H2Connection;
  closed = false;
  goAways = 0;
  readonly #gateway: GatewayPeer;

  constructor(gateway: GatewayPeer, open: (handler: H2ConnectionHandler) => H2Connection) {
    this.#gateway = gateway;
    this.h2 = open(this);
  }

  onRequest(stream: H2Stream, headers: HeaderList): void {
    this.#gateway.serve(stream, headers);
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
