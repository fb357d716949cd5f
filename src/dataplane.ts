// One data plane: the listeners, pools, tracking and drain of one workload, as a value (design §3.5).
import type { SocketAddress } from "./base/address.ts";
import { assert } from "./base/assert.ts";
import { BlockPool } from "./base/block.ts";
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "./base/channel.ts";
import type { Clock, Task, Timer } from "./base/clock.ts";
import { ProxyError } from "./base/errors.ts";
import type { Random } from "./base/random.ts";
import { Http2Connection } from "./h2/connection.ts";
import type { H2Limits } from "./h2/options.ts";
import { ConnectionBudget } from "./hbone/budget.ts";
import type { Component } from "./hbone/component.ts";
import { DrainError } from "./hbone/errors.ts";
import { Faults } from "./hbone/faults.ts";
import { DATA_PLANE_LIMITS, type DataPlaneLimits } from "./hbone/limits.ts";
import type { DataPlaneParts, DataPlaneSettings } from "./hbone/parts.ts";
import { ConnectionManager } from "./inbound/connection_manager.ts";
import { InboundServer } from "./inbound/listener.ts";
import { PlaintextServer } from "./inbound/plaintext_listener.ts";
import type { OpenListener, OpenListeners, RunningPlane } from "./isolate/plane.ts";
import type { Listener, Network, PeerSecurity } from "./net/network.ts";
import { OutboundServer } from "./outbound/listener.ts";
import { Socks5Server } from "./outbound/socks5_listener.ts";
import type { Events } from "./seam/events.ts";
import type { Router } from "./seam/router.ts";
import type { LocalWorkloadName } from "./seam/workload.ts";
import type { CertificateSource } from "./tls/certificate.ts";

/** Octets per block of the data plane's own pool: one TLS record's payload and room for frame headers. */
const BLOCK_BYTES = 65_536;
/** Free blocks kept. */
const BLOCKS_IDLE_MAX = 64;

/** Where to listen; a listener not named is not opened. Port 0 lets the kernel choose. */
export interface DataPlaneListeners {
  /** HBONE, 15008. */
  readonly inbound?: SocketAddress;
  /** Captured on its way in, 15006. */
  readonly inboundPlaintext?: SocketAddress;
  /** Captured on its way out, 15001. */
  readonly outbound?: SocketAddress;
  readonly socks5?: SocketAddress;
}

export interface DataPlaneOptions {
  readonly network: Network;
  readonly router: Router;
  /** Of the local workload, and of no other. */
  readonly certificates: CertificateSource;
  readonly events: Events;
  readonly clock: Clock;
  readonly random: Random;
  readonly local: LocalWorkloadName;
  readonly listeners: DataPlaneListeners;
  /** What is not given is `DATA_PLANE_LIMITS`. */
  readonly limits?: Partial<DataPlaneLimits>;
  /** HTTP/2 windows and frames (spec/data-path §0.2); what is not given is h2's default. */
  readonly http2?: Partial<H2Limits>;
  /** What is not given: own listeners' ports are internal, network "", baggage on, keepalive 180 s,
   * transparent listeners where that is possible. */
  readonly settings?: Partial<DataPlaneSettings>;
}

/** What a data plane holds now; all zero (but for `faults` and counters) when it holds nothing. */
export interface DataPlaneStats {
  /** Application connections: outbound, SOCKS5 negotiations, inbound tunnels, inbound plaintext. */
  readonly connections: number;
  /** HBONE connections accepted, handshakes included. */
  readonly inboundTransports: number;
  /** HBONE connections opened, pooled or finishing. */
  readonly outboundTransports: number;
  readonly pooled: number;
  /** HTTP/2 streams, both directions. */
  readonly streams: number;
  /** Payload received and waiting in HTTP/2 windows; above 0 without streams, window was lost. */
  readonly heldBytes: number;
  /** Inbound connections that a policy change would judge again; equal ones count once. */
  readonly tracked: number;
  readonly blocksLent: number;
  readonly timers: number;
  /** Bugs caught; 0 in a program without. */
  readonly faults: number;
  readonly refusedConnections: number;
  readonly refusedHandshakes: number;
}

/**
 * Opens the listeners in the order 15008, (15006,) 15001, 15080 (spec/data-path §0.1) and gives the data plane,
 * or a `BindError` with everything closed again. Cancelling closes what was opened.
 */
export function startDataPlane(options: DataPlaneOptions, done: Done<DataPlane>): Cancel {
  const start = new Start(options, done);
  start.next();
  return start;
}

class Start implements Cancel {
  readonly #done: Done<DataPlane>;
  readonly #plane: DataPlane;
  readonly #steps: { readonly address: SocketAddress; readonly open: Opener }[] = [];
  #step: Cancel = NOTHING_TO_CANCEL;

  constructor(options: DataPlaneOptions, done: Done<DataPlane>) {
    this.#done = done;
    const clock = new CountingClock(options.clock);
    const blocks = new BlockPool({ blockBytes: BLOCK_BYTES, idleMax: BLOCKS_IDLE_MAX });
    const faults = new Faults(options.events);
    const parts: DataPlaneParts = {
      network: options.network,
      router: options.router,
      certificates: options.certificates,
      events: options.events,
      clock,
      random: options.random,
      limits: { ...DATA_PLANE_LIMITS, ...options.limits },
      settings: { ...defaultSettings(options.listeners), ...options.settings },
      local: options.local,
      faults,
      http2: (side, transport, handler) =>
        new Http2Connection({
          side,
          transport,
          handler,
          clock,
          pool: blocks,
          ...(options.http2 === undefined ? {} : { limits: options.http2 }),
        }),
    };
    const budget = new ConnectionBudget(parts.limits.connectionsMax);
    const manager = new ConnectionManager(parts);
    this.#plane = new DataPlane(parts, clock, blocks, budget, manager);
    const { inbound, inboundPlaintext, outbound, socks5 } = options.listeners;
    if (inbound !== undefined) {
      const server = new InboundServer(parts, budget, manager);
      this.#plane.inbound = server;
      this.#steps.push({ address: inbound, open: (at, opened) => server.listen(at, opened) });
    }
    if (inboundPlaintext !== undefined) {
      const server = new PlaintextServer(parts, budget, manager);
      this.#plane.inboundPlaintext = server;
      const open: Opener = (at, opened) => server.listen(at, opened);
      this.#steps.push({ address: inboundPlaintext, open });
    }
    if (outbound !== undefined) {
      const server = new OutboundServer(parts, budget);
      this.#plane.outbound = server;
      this.#steps.push({ address: outbound, open: (at, opened) => server.listen(at, opened) });
    }
    if (socks5 !== undefined) {
      const server = new Socks5Server(parts, budget);
      this.#plane.socks5 = server;
      this.#steps.push({ address: socks5, open: (at, opened) => server.listen(at, opened) });
    }
    assert(this.#steps.length > 0, "A data plane listens somewhere");
  }

  next(): void {
    const step = this.#steps.shift();
    if (step === undefined) {
      this.#done(this.#plane);
      return;
    }
    this.#step = step.open(step.address, (outcome) => {
      this.#step = NOTHING_TO_CANCEL;
      if (!(outcome instanceof ProxyError)) {
        this.next();
        return;
      }
      this.#plane.stop(() => this.#done(outcome));
    });
  }

  cancel(): void {
    this.#step.cancel();
    this.#plane.stop(() => {});
  }
}

type Opener = (address: SocketAddress, done: Done<Listener>) => Cancel;

type State = "running" | "draining" | "stopped";

/** A running data plane. Ends by {@link DataPlane.drain} or {@link DataPlane.stop}. */
export class DataPlane implements RunningPlane {
  inbound: InboundServer | null = null;
  inboundPlaintext: PlaintextServer | null = null;
  outbound: OutboundServer | null = null;
  socks5: Socks5Server | null = null;
  readonly #parts: DataPlaneParts;
  readonly #clock: CountingClock;
  readonly #blocks: BlockPool;
  readonly #budget: ConnectionBudget;
  readonly #manager: ConnectionManager;
  readonly #waiting = new Set<Component>();
  readonly #onDone: (() => void)[] = [];
  #state: State = "running";
  #deadline: Timer | null = null;
  readonly #listsWatch: Cancel;

  /** For {@link startDataPlane} only. */
  constructor(
    parts: DataPlaneParts,
    clock: CountingClock,
    blocks: BlockPool,
    budget: ConnectionBudget,
    manager: ConnectionManager,
  ) {
    this.#parts = parts;
    this.#clock = clock;
    this.#blocks = blocks;
    this.#budget = budget;
    this.#manager = manager;
    this.#listsWatch = parts.network.revocation.watch(() => this.#rejudge());
  }

  get local(): OpenListeners {
    return {
      inbound: openListener(this.inbound),
      inboundPlaintext: openListener(this.inboundPlaintext),
      outbound: openListener(this.outbound),
      socks5: openListener(this.socks5),
    };
  }

  stats(done: (stats: DataPlaneStats) => void): void {
    done(this.statsNow());
  }

  /** {@link stats} for whoever is in the same isolate. */
  statsNow(): DataPlaneStats {
    const pools = [this.outbound?.pool.stats, this.socks5?.pool.stats];
    const sum = (pick: (stats: NonNullable<typeof pools[number]>) => number) =>
      pools.reduce((total, stats) => total + (stats === undefined ? 0 : pick(stats)), 0);
    const components = this.#components();
    return {
      connections: components.reduce((total, { connections }) => total + connections, 0),
      inboundTransports: this.inbound?.transports ?? 0,
      outboundTransports: sum((stats) => stats.connections),
      pooled: sum((stats) => stats.pooled),
      streams: sum((stats) => stats.openStreams) + (this.inbound?.openStreams ?? 0),
      heldBytes: sum((stats) => stats.heldBytes) + (this.inbound?.heldBytes ?? 0),
      tracked: this.#manager.entries,
      blocksLent: this.#blocks.lent,
      timers: this.#clock.pending,
      faults: this.#parts.faults.count,
      refusedConnections: this.#budget.refused,
      refusedHandshakes: this.inbound?.handshakesRefused ?? 0,
    };
  }

  /** Ends HBONE connections with peers that are revoked, both directions; says how many. */
  revoke(isRevoked: (peer: PeerSecurity) => boolean): number {
    return this.#revoke(isRevoked, isRevoked);
  }

  #revoke(
    isClientRevoked: (peer: PeerSecurity) => boolean,
    isServerRevoked: (peer: PeerSecurity) => boolean,
  ): number {
    return (this.inbound?.revoke(isClientRevoked) ?? 0) +
      (this.outbound?.pool.revoke(isServerRevoked) ?? 0) +
      (this.socks5?.pool.revoke(isServerRevoked) ?? 0);
  }

  /** The network's revocation lists are others now: they judge what was let in before (spec/identity-and-inpod §5.3). */
  #rejudge(): void {
    const { revocation } = this.#parts.network;
    this.#revoke(
      ({ peerPath }) => revocation.findRevoked(peerPath, "client") !== null,
      ({ peerPath }) => revocation.findRevoked(peerPath, "server") !== null,
    );
  }

  /**
   * Graceful end (spec/data-path §6.1): listeners close at once, HBONE peers get GOAWAY, connections may finish
   * for `deadlineMs`; what is left then is cut with `connection closed due to connection drain`. `done` follows
   * when nothing is left. A second call, or `stop`, can only make it sooner.
   */
  drain(deadlineMs: number, done: () => void): void {
    this.#onDone.push(done);
    if (this.#state === "running") {
      this.#state = "draining";
      this.#closeAll();
    } else if (this.#state === "stopped" && this.#waiting.size === 0) {
      this.#clock.soon({ runTask: () => this.#reportDone() });
      return;
    }
    this.#deadline?.cancel();
    this.#deadline = this.#clock.after(deadlineMs, () => this.#force({ warn: true }));
  }

  /** Immediate end: everything is cut now. `done` follows when nothing is left. */
  stop(done: () => void): void {
    this.#onDone.push(done);
    if (this.#state === "running") {
      this.#state = "draining";
      this.#closeAll();
    }
    this.#force({ warn: false });
    if (this.#waiting.size === 0) this.#clock.soon({ runTask: () => this.#reportDone() });
  }

  #components(): Component[] {
    return [this.inbound, this.inboundPlaintext, this.outbound, this.socks5]
      .filter((component) => component !== null);
  }

  /** The watch for changes of policy ends with the first listener (§6.1). */
  #closeAll(): void {
    this.#manager.stop();
    for (const component of this.#components()) this.#waiting.add(component);
    for (const component of this.#components()) {
      component.drain(() => this.#onQuiet(component));
    }
  }

  #force({ warn }: { readonly warn: boolean }): void {
    this.#state = "stopped";
    this.#deadline?.cancel();
    this.#deadline = null;
    for (const component of [...this.#waiting]) {
      if (warn && component.busy) {
        this.#parts.events.log(
          "warn",
          "ztunnel::drain",
          "drain duration expired with pending connections, forcefully shutting down",
          { component: component.name },
        );
      }
      component.force(new DrainError());
    }
  }

  #onQuiet(component: Component): void {
    if (!this.#waiting.delete(component)) return;
    this.#parts.events.log("info", "ztunnel::drain", "shutdown complete", {
      component: component.name,
    });
    if (this.#waiting.size === 0) this.#reportDone();
  }

  #reportDone(): void {
    this.#state = "stopped";
    this.#deadline?.cancel();
    this.#deadline = null;
    this.#listsWatch.cancel();
    for (const done of this.#onDone.splice(0)) done();
  }
}

function openListener(component: Component | null): OpenListener | null {
  if (component === null) return null;
  const { local, transparent } = component.intake;
  return { address: local, transparent };
}

function defaultSettings(listeners: DataPlaneListeners): DataPlaneSettings {
  const ports: number[] = Object.values(listeners).map((address: SocketAddress) => address.port);
  return {
    internalPorts: new Set(ports.filter((port) => port !== 0)),
    network: "",
    responseBaggage: true,
    keepalive: { idleMs: 180_000, intervalMs: 180_000, probes: 9 },
    userTimeoutMs: null,
    originalSource: "try",
    bindIp: null,
    policyInfoLogging: false,
  };
}

/** The clock of one data plane, so that a leaked timer shows. */
class CountingClock implements Clock {
  readonly #clock: Clock;
  #pending = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get pending(): number {
    return this.#pending;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  soon(task: Task): void {
    this.#clock.soon(task);
  }

  after(delayMs: number, callback: () => void): Timer {
    this.#pending++;
    let counted = true;
    const uncount = () => {
      if (counted) this.#pending--;
      counted = false;
    };
    const timer = this.#clock.after(delayMs, () => {
      uncount();
      callback();
    });
    return {
      cancel() {
        uncount();
        timer.cancel();
      },
    };
  }
}
