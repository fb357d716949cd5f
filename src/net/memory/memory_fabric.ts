// The world that memory networks share: addresses, listeners, connections, faults.
import { formatAddress, isIpv6, isLoopback, type SocketAddress } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { Channel } from "../../base/channel.ts";
import type { Clock } from "../../base/clock.ts";
import { NetError } from "../../base/errors.ts";
import { type Random, SeededRandom } from "../../base/random.ts";
import { VerdictCache } from "../../tls/verdict_cache.ts";
import type { Keepalive } from "../network.ts";
import { Link } from "./link.ts";
import { DELIVER_BYTES_MAX, type LinkPlan, PERFECT_LINK } from "./link_plan.ts";
import type { MemoryListener } from "./memory_listener.ts";
import {
  type InboundRedirect,
  MemoryNetwork,
  type MemoryNetworkOptions,
} from "./memory_network.ts";
import { PoisonedBlockPool } from "./poisoned_pool.ts";

/** First port given to a socket that asked for none. */
const EPHEMERAL_PORT_FIRST = 32_768;

/** A connection about to be made, as a fault callback sees it. */
export interface LinkQuestion {
  /** The label of the network that dials. */
  readonly from: string;
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
}

export interface MemoryFabricOptions {
  readonly clock: Clock;
  /** Default: a generator of its own with seed 1. */
  readonly random?: Random;
  /** Asked once per dial; default: {@link PERFECT_LINK} for all. */
  readonly plan?: (question: LinkQuestion) => LinkPlan;
  /** Shown each connection once it exists, so that a test can disturb it later. */
  readonly onLink?: (link: Link) => void;
}

/** For `MemoryFabric`: who hears of a dial, at which address of its host. */
export interface Arrival {
  readonly listener: MemoryListener;
  readonly at: SocketAddress;
}

/** For `MemoryFabric.connect`: who dialled whom. */
export interface Dialled {
  readonly from: MemoryNetwork;
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
  readonly keepalive: Keepalive | null;
  readonly arrival: Arrival;
}

/**
 * Several hosts on one simulated network. What happens is decided by the clock, the random source and the calls
 * made, so a seed replays a run to the byte.
 */
export class MemoryFabric {
  readonly clock: Clock;
  readonly random: Random;
  /** Deliveries are lent from here: `lent` is 0 when nobody keeps bytes. */
  readonly pool = new PoisonedBlockPool({ blockBytes: DELIVER_BYTES_MAX, idleMax: 64 });
  /** Peers' chains already verified, for all networks: checking signatures is what a handshake costs here. */
  readonly verdicts = new VerdictCache();
  /** Connections with at least one end open. */
  readonly links = new Set<Link>();
  readonly #plan: (question: LinkQuestion) => LinkPlan;
  readonly #onLink: (link: Link) => void;
  readonly #networks: MemoryNetwork[] = [];
  readonly #listeners = new Map<string, MemoryListener>();
  readonly #hostOfIp = new Map<string, string>();
  readonly #inboundRedirects = new Map<string, InboundRedirect>();
  #nextPort = EPHEMERAL_PORT_FIRST;

  constructor(options: MemoryFabricOptions) {
    this.clock = options.clock;
    this.random = options.random ?? new SeededRandom(1);
    this.#plan = options.plan ?? (() => PERFECT_LINK);
    this.#onLink = options.onLink ?? (() => {});
  }

  /** A network on the host that has these addresses; networks with the same first address share the host. */
  network(options: MemoryNetworkOptions): MemoryNetwork {
    assert(options.ips.length > 0, "A host has at least one address");
    for (const ip of options.ips) this.#hostOfIp.set(ip, options.ips[0]!);
    const network = new MemoryNetwork(this, options);
    if (options.inboundRedirect !== undefined) {
      this.#inboundRedirects.set(network.host, options.inboundRedirect);
    }
    this.#networks.push(network);
    return network;
  }

  /** Sockets open on all networks, listeners included. */
  get openSockets(): number {
    let open = 0;
    for (const network of this.#networks) open += network.openSockets;
    return open;
  }

  /** For `MemoryDial`: who answers `from` at that address, or why nobody does. */
  arrivalOf(from: MemoryNetwork, address: SocketAddress): Arrival | NetError {
    const at = this.#redirected(from, address);
    const host = this.#hostOf(from, at.ip);
    if (host === undefined) return new NetError("EHOSTUNREACH");
    const wildcards = isIpv6(at.ip) ? ["::"] : ["0.0.0.0", "::"];
    for (const ip of [at.ip, ...wildcards]) {
      const listener = this.#listeners.get(listenerKey(host, { ip, port: at.port }));
      if (listener !== undefined) return { listener, at };
    }
    return new NetError("ECONNREFUSED");
  }

  #hostOf(from: MemoryNetwork, ip: string): string | undefined {
    return isLoopback(ip) ? from.host : this.#hostOfIp.get(ip);
  }

  /** What a host dials itself goes over its loopback interface, where nothing is captured on its way in. */
  #redirected(from: MemoryNetwork, address: SocketAddress): SocketAddress {
    if (from.redirectPort !== null) return { ip: from.host, port: from.redirectPort };
    const host = this.#hostOf(from, address.ip);
    const rule = host === undefined ? undefined : this.#inboundRedirects.get(host);
    if (rule === undefined || host === from.host) return address;
    return rule.exceptPorts.includes(address.port) ? address : { ip: address.ip, port: rule.port };
  }

  /** For `MemoryListener`: false when the address is taken. */
  addListener(listener: MemoryListener): boolean {
    const key = listenerKey(listener.network.host, listener.local);
    if (this.#listeners.has(key)) return false;
    this.#listeners.set(key, listener);
    return true;
  }

  /** For `MemoryListener`. */
  removeListener(listener: MemoryListener): void {
    this.#listeners.delete(listenerKey(listener.network.host, listener.local));
  }

  /** For sockets that asked for no port. */
  nextPort(): number {
    const port = this.#nextPort++;
    if (this.#nextPort > 65_535) this.#nextPort = EPHEMERAL_PORT_FIRST;
    return port;
  }

  /** For `MemoryDial`: the plan of a connection about to be made. */
  planFor(question: LinkQuestion): LinkPlan {
    const plan = this.#plan(question);
    assert(plan.deliverMinBytes >= 1, "A delivery has at least one byte");
    assert(plan.deliverMinBytes <= plan.deliverMaxBytes, "Smallest delivery is not above largest");
    assert(plan.delayMinMs <= plan.delayMaxMs, "Smallest delay is not above largest");
    assert(plan.capacityBytes >= 1, "A direction holds at least one byte");
    return plan;
  }

  /** For `MemoryDial`: makes the connection, hands its server end to the listener and returns the client's. */
  connect(plan: LinkPlan, dialled: Dialled): Channel {
    const { from, arrival } = dialled;
    const { listener } = arrival;
    let openEnds = 2;
    const link: Link = new Link({
      clock: this.clock,
      random: this.random,
      pool: this.pool,
      plan,
      client: dialled.source,
      server: dialled.destination,
      serverLocal: listener.captured ? dialled.destination : arrival.at,
      clientKeepalive: dialled.keepalive,
      serverKeepalive: listener.keepalive,
      onEndGone: (end) => {
        (end === "client" ? from : listener.network).noteSocketGone();
        if (--openEnds === 0) this.links.delete(link);
      },
    });
    this.links.add(link);
    listener.network.noteSocketOpen();
    listener.accept(link.serverEnd);
    this.#onLink(link);
    return link.clientEnd;
  }
}

function listenerKey(host: string, address: SocketAddress): string {
  return `${host} ${formatAddress(address)}`;
}
