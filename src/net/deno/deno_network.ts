// The network of the runtime's own sockets: node:net and node:tls, no FFI.
import net from "node:net";
import { formatAddress, isIpv6, parseIp, type SocketAddress } from "../../base/address.ts";
import { type Cancel, type Channel, type Done, NOTHING_TO_CANCEL } from "../../base/channel.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { DeadlineError, NetError, ProxyError } from "../../base/errors.ts";
import { RevocationLists } from "../../tls/revocation.ts";
import { connectionsMaxFor, DESCRIPTOR_RESERVE_SHARE } from "../descriptor_budget.ts";
import {
  DialError,
  type DialOptions,
  type Listener,
  type ListenOptions,
  type Network,
  type SecureChannel,
  type SecureClientOptions,
  type SecureServerOptions,
} from "../network.ts";
import { DenoDialer, DenoDialerError } from "./deno_dialer.ts";
import { DenoListener, isOutOfDescriptors } from "./deno_listener.ts";
import {
  isPermissionMissing,
  netError,
  PermissionMissingError,
  type RuntimeError,
} from "./errors.ts";
import { InheritedListeners } from "./inherited_listeners.ts";
import { SocketChannel } from "./socket_channel.ts";
import { TlsSessions } from "./tls_sessions.ts";

export interface DenoNetworkOptions {
  readonly clock: Clock;
  /** Descriptors the process may have, where known: bounds the connections accepted. */
  readonly descriptorsMax?: number;
  /** TLS handshakes in progress. */
  readonly handshakesMax?: number;
  /** Peers remembered as having made a full handshake (see `TlsSessions`). */
  readonly introductionsMax?: number;
  /** How `dialSecure` does TLS. `deno` only where `denoDialerRefusal` found nothing. Default `node`. */
  readonly tunnelDialer?: "node" | "deno";
  /**
   * Descriptors of listening TCP sockets that were handed over at start (`inheritedDescriptors`), taken over: the
   * first `listen` on a socket's port listens on it and binds nothing.
   */
  readonly inherited?: readonly number[];
  /** Told of each connection refused because `connectionsMax` were open. */
  readonly onRefused?: (connectionsMax: number) => void;
  /** Told what a handler threw, before its connection is reset. Default: the runtime's uncaught error. */
  readonly onBug?: (error: unknown) => void;
}

/** Counters of a {@link DenoNetwork} since start. */
export interface DenoNetworkCounts {
  /** Connections refused because too many were open. */
  readonly connectionsRefused: number;
  /** Handshakes refused because too many were under way. */
  readonly handshakesRefused: number;
  /** Handshakes under way now. */
  readonly handshakesUnderWay: number;
  /** Accepted TLS sessions that came in on a ticket, let in or not. */
  readonly sessionsResumed: number;
  /** Listening sockets opened anew. */
  readonly listenersRenewed: number;
}

/** {@link Network} on the runtime's sockets. */
export class DenoNetwork implements Network {
  readonly name = "deno";
  readonly revocation = new RevocationLists();
  readonly #clock: Clock;
  readonly #onBug: (error: unknown) => void;
  readonly #onRefused: (connectionsMax: number) => void;
  readonly #sessions: TlsSessions;
  readonly #listeners = new Set<DenoListener>();
  readonly #inherited: InheritedListeners;
  readonly #sockets = new Set<net.Socket>();
  #connectionsMax: number;
  #connectionsRefused = 0;
  #renewedByClosed = 0;
  readonly #denoDialer: DenoDialer | null;
  /** Connections of the `deno` dialer, which are no node sockets. */
  #denoConns = 0;

  /** @throws {InheritedListenerError} where an inherited descriptor is no listening TCP socket. */
  constructor(options: DenoNetworkOptions) {
    this.#inherited = new InheritedListeners(options.inherited ?? []);
    this.#clock = options.clock;
    this.#onBug = options.onBug ?? reportError;
    this.#onRefused = options.onRefused ?? IGNORE;
    this.#connectionsMax = options.descriptorsMax === undefined
      ? Infinity
      : connectionsMaxFor(options.descriptorsMax);
    this.#sessions = new TlsSessions({
      clock: options.clock,
      revocation: this.revocation,
      onBug: this.#onBug,
      ...(options.handshakesMax === undefined ? {} : { handshakesMax: options.handshakesMax }),
      ...(options.introductionsMax === undefined
        ? {}
        : { introductionsMax: options.introductionsMax }),
    });
    this.#denoDialer = options.tunnelDialer === "deno"
      ? new DenoDialer({
        clock: options.clock,
        revocation: this.revocation,
        onBug: this.#onBug,
        onOpened: () => void this.#denoConns++,
        onClosed: () => void this.#denoConns--,
      })
      : null;
  }

  get openSockets(): number {
    return this.#sockets.size + this.#listeners.size + this.#denoConns;
  }

  /** Where inherited listeners wait that nobody has asked for. */
  get inheritedWaiting(): readonly SocketAddress[] {
    return this.#inherited.waiting;
  }

  /** Closes inherited listeners that nobody took. Listeners and channels are their owners'. */
  close(): void {
    this.#inherited.close();
  }

  get counts(): DenoNetworkCounts {
    let listenersRenewed = this.#renewedByClosed;
    for (const listener of this.#listeners) listenersRenewed += listener.renewals;
    return {
      connectionsRefused: this.#connectionsRefused,
      handshakesRefused: this.#sessions.attempts.refused,
      handshakesUnderWay: this.#sessions.attempts.underWay,
      sessionsResumed: this.#sessions.sessionsResumed,
      listenersRenewed,
    };
  }

  listen(
    address: SocketAddress,
    options: ListenOptions,
    onChannel: (channel: Channel) => void,
    done: Done<Listener>,
  ): Cancel {
    const listener = new DenoListener(address, {
      ...options,
      inherited: this.#inherited.take(address.port),
      clock: this.#clock,
      openSockets: () => this.openSockets,
      onSocket: (socket) => this.#accept(socket, onChannel),
      onClosed: () => {
        if (this.#listeners.delete(listener)) this.#renewedByClosed += listener.renewals;
      },
    }, done);
    this.#listeners.add(listener);
    return listener;
  }

  /** Refused with EMFILE where accepted connections would be: what is open keeps its descriptors (design §5). */
  dial(address: SocketAddress, options: DialOptions, done: Done<Channel>): Cancel {
    if (this.#sockets.size >= this.#connectionsMax) {
      this.#connectionsRefused++;
      this.#onRefused(this.#connectionsMax);
      return this.#clock.after(0, () => done(new NetError("EMFILE")));
    }
    const dial = new Dial(this.#clock, address, options, (outcome) => {
      if (isOutOfDescriptors(outcome)) this.#outOfDescriptors();
      if (!(outcome instanceof net.Socket)) return done(outcome);
      done(this.#channel(outcome, address));
    });
    if (dial.socket !== null) this.#track(dial.socket);
    return dial;
  }

  secureClient(
    channel: Channel,
    options: SecureClientOptions,
    done: Done<SecureChannel>,
  ): Cancel {
    if (this.#denoDialer !== null) {
      const text = "TLS inside a stream needs TUNNEL_DIALER=node";
      channel.reset(null);
      this.#clock.soon({ runTask: () => done(new DenoDialerError(text)) });
      return NOTHING_TO_CANCEL;
    }
    return this.#sessions.client(channel, options, done);
  }

  secureServer(
    channel: Channel,
    options: SecureServerOptions,
    done: Done<SecureChannel>,
  ): Cancel {
    return this.#sessions.server(channel, options, done);
  }

  dialSecure(
    address: SocketAddress,
    options: DialOptions & { readonly tls: SecureClientOptions },
    done: Done<SecureChannel>,
  ): Cancel {
    if (this.#denoDialer !== null) return this.#denoDialer.dial(address, options, done);
    let current: Cancel;
    current = this.dial(address, options, (channel) => {
      if (channel instanceof ProxyError) return done(new DialError("connect", channel));
      current = this.secureClient(channel, options.tls, (outcome) => {
        done(outcome instanceof ProxyError ? new DialError("handshake", outcome) : outcome);
      });
    });
    return { cancel: () => current.cancel() };
  }

  #accept(socket: net.Socket, onChannel: (channel: Channel) => void): void {
    this.#track(socket);
    const ip = parseIp(socket.remoteAddress ?? "");
    const port = socket.remotePort;
    if (ip === null || port === undefined) {
      // Reset by the peer before we looked: there is nobody to serve.
      socket.destroy();
      return;
    }
    if (this.#sockets.size > this.#connectionsMax) {
      this.#connectionsRefused++;
      socket.resetAndDestroy();
      this.#onRefused(this.#connectionsMax);
      return;
    }
    const channel = this.#channel(socket, { ip, port });
    try {
      onChannel(channel);
    } catch (error) {
      this.#onBug(error);
      channel.reset(null);
    }
  }

  #channel(socket: net.Socket, peer: SocketAddress): SocketChannel {
    const local = {
      ip: parseIp(socket.localAddress ?? "") ?? (isIpv6(peer.ip) ? "::" : "0.0.0.0"),
      port: socket.localPort ?? 0,
    };
    return new SocketChannel(socket, {
      peer,
      local,
      clock: this.#clock,
      carrier: null,
      onBug: this.#onBug,
    });
  }

  #track(socket: net.Socket): void {
    this.#sockets.add(socket);
    // Whoever owns the socket hears its errors; one that comes between owners must not end the process.
    socket.on("error", IGNORE);
    for (const { watch } of this.#listeners) watch.opened(this.openSockets);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      for (const { watch } of this.#listeners) watch.closed();
    });
  }

  #outOfDescriptors(): void {
    this.#connectionsMax = Math.min(
      this.#connectionsMax,
      Math.max(16, Math.floor(this.#sockets.size * (1 - DESCRIPTOR_RESERVE_SHARE))),
    );
    for (const { watch } of this.#listeners) watch.exhausted();
  }
}

const IGNORE = () => {};

/** A connect under way. */
class Dial implements Cancel {
  readonly socket: net.Socket | null = null;
  readonly #timer: Timer;
  #done: ((outcome: net.Socket | ProxyError) => void) | null;

  constructor(
    clock: Clock,
    address: SocketAddress,
    options: DialOptions,
    done: (outcome: net.Socket | ProxyError) => void,
  ) {
    this.#done = done;
    this.#timer = clock.after(options.timeoutMs, () => this.#finish(new DeadlineError()));
    const { keepalive, sourceIp } = options;
    try {
      const socket = net.connect({
        host: address.ip,
        port: address.port,
        family: isIpv6(address.ip) ? 6 : 4,
        allowHalfOpen: true,
        noDelay: true,
        keepAlive: keepalive !== null,
        ...(keepalive === null ? {} : { keepAliveInitialDelay: keepalive.idleMs }),
        ...(sourceIp === null ? {} : { localAddress: sourceIp }),
        autoSelectFamily: false,
      });
      this.socket = socket;
      const failed = (error: RuntimeError) => this.#finish(dialError(error, address));
      socket.on("error", failed);
      socket.once("close", () => this.#finish(new NetError("ECONNRESET")));
      socket.once("connect", () => {
        socket.off("error", failed);
        this.#finish(socket);
      });
    } catch (error) {
      clock.soon({ runTask: () => this.#finish(dialError(error as RuntimeError, address)) });
    }
  }

  cancel(): void {
    if (this.#done === null) return;
    this.#done = null;
    this.#timer.cancel();
    this.socket?.resetAndDestroy();
  }

  #finish(outcome: net.Socket | ProxyError): void {
    const done = this.#done;
    if (done === null) return;
    this.#done = null;
    this.#timer.cancel();
    if (outcome instanceof ProxyError) this.socket?.destroy();
    done(outcome);
  }
}

function dialError(error: RuntimeError, address: SocketAddress): ProxyError {
  if (!isPermissionMissing(error)) return netError(error);
  const text = formatAddress(address);
  return new PermissionMissingError(`--allow-net=${text}`, `connect to ${text}`, { cause: error });
}
