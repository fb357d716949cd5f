// The network of libc and OpenSSL by FFI: one synchronous epoll loop, sockets by system calls.
import { assert } from "../../base/assert.ts";
import type { SocketAddress } from "../../base/address.ts";
import { BlockPool } from "../../base/block.ts";
import { type Cancel, type Channel, type Done, NOTHING_TO_CANCEL } from "../../base/channel.ts";
import { NetError, ProxyError } from "../../base/errors.ts";
import { RevocationLists } from "../../tls/revocation.ts";
import { connectionsMaxFor } from "../descriptor_budget.ts";
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
import { InheritedListeners } from "./inherited_listeners.ts";
import type { Libc } from "./libc.ts";
import { type DialHome, NativeDial } from "./native_dial.ts";
import { type ListenerHome, NativeListener } from "./native_listener.ts";
import { RawSocket } from "./raw_socket.ts";
import { ReadBuffer } from "./read_buffer.ts";
import { SpareDescriptor } from "./spare_descriptor.ts";
import { TcpChannel, type TcpShared } from "./tcp_channel.ts";
import { RECORD_BYTES_MAX } from "./tls_channel.ts";
import { TurnEnd } from "./turn_end.ts";
import type { LiveObjects, Loop } from "./types.ts";
import { PACK_BYTES_BELOW } from "./unsent_queue.ts";

/** Of HTTP/2 (RFC 9113 §4.1). */
const FRAME_HEADER_BYTES = 9;

/**
 * Octets per block that sockets read into: what one read may bring (README: 256 KiB against 64 KiB). With the header of
 * a DATA frame it fills TLS records to the last octet.
 */
export const READ_BLOCK_BYTES = 16 * RECORD_BYTES_MAX - FRAME_HEADER_BYTES;
/** Free blocks kept of these. */
const READ_BLOCKS_IDLE_MAX = 16;
/** Free blocks kept of those that small writes are packed into. */
const PACKS_IDLE_MAX = 64;

/** A warning of one kind is said at most this often: whoever connects can cause it. */
export const WARNING_INTERVAL_MS = 10_000;

/** What the network needs of the TLS engine. */
export interface TlsSessions {
  /** What its handshakes are judged by. */
  readonly revocation: RevocationLists;
  client(channel: Channel, options: SecureClientOptions, done: Done<SecureChannel>): Cancel;
  server(channel: Channel, options: SecureServerOptions, done: Done<SecureChannel>): Cancel;
}

export interface NativeNetworkOptions {
  readonly libc: Libc;
  readonly loop: Loop;
  readonly objects: LiveObjects;
  /** Null where no TLS is needed. */
  readonly tls: TlsSessions | null;
  /** SO_MARK of every outgoing socket; null for none (spec/data-path §5.3). */
  readonly packetMark: number | null;
  /** Listeners carry the mark too, and what they accept. */
  readonly markListeners: boolean;
  /** SO_REUSEPORT on listeners; where it is refused, that is only said. */
  readonly reusePort: boolean;
  /** Descriptors the process may have, where known: bounds the connections open. */
  readonly descriptorsMax?: number;
  /** Listening descriptors that whoever started the process opened; each is owned from here on. */
  readonly inherited?: readonly number[];
  /** Told of each connection refused because `connectionsMax` were open, or no descriptor was left. */
  readonly onRefused?: (connectionsMax: number) => void;
  /** Sentences for the operator: accepting pauses, an option was refused. */
  readonly onWarning?: (text: string) => void;
  /** Told what a handler threw, before its connection is reset. Default: the runtime's uncaught error. */
  readonly onBug?: (thrown: unknown) => void;
}

/** Counters of a {@link NativeNetwork} since start. */
export interface NativeNetworkCounts {
  /** Connections refused because too many were open, or no descriptor was left. */
  readonly connectionsRefused: number;
  /** Times that a listener had to pause for want of descriptors or memory. */
  readonly acceptsStarved: number;
  /** Captured connections whose original destination the kernel did not know. */
  readonly originalDestinationsUnknown: number;
}

/** {@link Network} on descriptors. */
export class NativeNetwork implements Network {
  readonly name = "native";
  readonly revocation: RevocationLists;
  readonly loop: Loop;
  readonly #packs = new BlockPool({ blockBytes: PACK_BYTES_BELOW, idleMax: PACKS_IDLE_MAX });
  readonly #options: NativeNetworkOptions;
  readonly #onBug: (thrown: unknown) => void;
  readonly #onWarning: (text: string) => void;
  readonly #connectionsMax: number;
  readonly #inherited: InheritedListeners;
  readonly #spare: SpareDescriptor;
  readonly #blocks = new BlockPool({
    blockBytes: READ_BLOCK_BYTES,
    idleMax: READ_BLOCKS_IDLE_MAX,
  });
  readonly #reader = new ReadBuffer(this.#blocks);
  readonly #shared: TcpShared;
  readonly #dialHome: DialHome;
  readonly #listenerHome: ListenerHome;
  readonly #listeners = new Set<NativeListener>();
  /** Connected and connecting sockets, those under TLS included. */
  #sockets = 0;
  #acceptsPaused = false;
  /** When each kind of warning was said last. */
  readonly #warnedMs = new Map<string, number>();
  #connectionsRefused = 0;
  #acceptsStarved = 0;
  #originalDestinationsUnknown = 0;

  /** @throws {NativeStartError} where an inherited descriptor is no listening TCP socket. */
  constructor(options: NativeNetworkOptions) {
    const { libc, loop, objects, packetMark } = options;
    this.loop = loop;
    this.revocation = options.tls?.revocation ?? new RevocationLists();
    this.#options = options;
    this.#onBug = options.onBug ?? reportError;
    this.#onWarning = options.onWarning ?? IGNORE;
    this.#connectionsMax = options.descriptorsMax === undefined
      ? Infinity
      : connectionsMaxFor(options.descriptorsMax);
    this.#inherited = new InheritedListeners({ libc, objects, fds: options.inherited ?? [] });
    this.#spare = new SpareDescriptor(libc, objects);
    this.#shared = {
      libc,
      loop,
      turnEnd: new TurnEnd(loop.clock),
      packs: this.#packs,
      reader: this.#reader,
      onBug: this.#onBug,
    };
    this.#dialHome = {
      libc,
      loop,
      objects,
      packetMark,
      onBug: this.#onBug,
      socketOpened: () => void this.#sockets++,
      socketClosed: () => this.#socketClosed(),
    };
    this.#listenerHome = {
      libc,
      loop,
      objects,
      spare: this.#spare,
      listenerMark: options.markListeners ? packetMark : null,
      reusePort: options.reusePort,
      refusedForWantOfDescriptors: () => this.#refused(this.#sockets),
      starved: (code) => this.#onStarved(code),
      originalDestinationUnknown: () => this.#onDestinationUnknown(),
      warn: this.#onWarning,
      listenerClosed: (listener) => void this.#listeners.delete(listener),
    };
  }

  get openSockets(): number {
    return this.#sockets + this.#listeners.size;
  }

  /** Blocks that channels hold: 0 after {@link close} when nothing leaks. */
  get blocksLent(): number {
    return this.#packs.lent + this.#blocks.lent;
  }

  get counts(): NativeNetworkCounts {
    return {
      connectionsRefused: this.#connectionsRefused,
      acceptsStarved: this.#acceptsStarved,
      originalDestinationsUnknown: this.#originalDestinationsUnknown,
    };
  }

  /** Takes an inherited listener with the port of `address` where there is one, and then binds nothing. */
  listen(
    address: SocketAddress,
    options: ListenOptions,
    onChannel: (channel: Channel) => void,
    done: Done<Listener>,
  ): Cancel {
    const listener = new NativeListener(address, {
      listen: options,
      home: this.#listenerHome,
      inherited: this.#inherited.take(address.port),
      onAccepted: (fd, peer, local) => this.#accept(fd, peer, local, onChannel),
    }, done);
    if (listener.open) this.#listeners.add(listener);
    if (this.#acceptsPaused) listener.pause(true);
    return listener;
  }

  /** Refused with EMFILE where accepted connections would be: what is open keeps its descriptors (design §5). */
  dial(address: SocketAddress, options: DialOptions, done: Done<Channel>): Cancel {
    if (this.#sockets >= this.#connectionsMax) {
      this.#refused(this.#connectionsMax);
      return this.loop.clock.after(0, () => done(new NetError("EMFILE")));
    }
    return new NativeDial(address, options, this.#dialHome, (outcome) => {
      done(outcome instanceof RawSocket ? new TcpChannel(outcome, this.#shared) : outcome);
    });
  }

  secureClient(
    channel: Channel,
    options: SecureClientOptions,
    done: Done<SecureChannel>,
  ): Cancel {
    return this.#tls.client(channel, options, done);
  }

  secureServer(
    channel: Channel,
    options: SecureServerOptions,
    done: Done<SecureChannel>,
  ): Cancel {
    return this.#tls.server(channel, options, done);
  }

  dialSecure(
    address: SocketAddress,
    options: DialOptions & { readonly tls: SecureClientOptions },
    done: Done<SecureChannel>,
  ): Cancel {
    let current: Cancel = NOTHING_TO_CANCEL;
    current = this.dial(address, options, (channel) => {
      if (channel instanceof ProxyError) return done(new DialError("connect", channel));
      current = this.secureClient(channel, options.tls, (outcome) => {
        done(outcome instanceof ProxyError ? new DialError("handshake", outcome) : outcome);
      });
    });
    return { cancel: () => current.cancel() };
  }

  /** Whether listeners, also those opened later, leave connections in the kernel's queue. */
  pauseAccepts(paused: boolean): void {
    this.#acceptsPaused = paused;
    for (const listener of this.#listeners) listener.pause(paused);
  }

  /** Closes listeners, inherited ones that nobody took, and what is kept in reserve. Channels are their owners'. */
  close(): void {
    for (const listener of [...this.#listeners]) listener.close();
    this.#inherited.close();
    this.#spare.giveUp();
    this.#reader.close();
  }

  get #tls(): TlsSessions {
    assert(this.#options.tls !== null, "This network was opened without TLS");
    return this.#options.tls;
  }

  #accept(
    fd: number,
    peer: SocketAddress,
    local: SocketAddress,
    onChannel: (channel: Channel) => void,
  ): void {
    this.#sockets++;
    const socket = new RawSocket(fd, { peer, local, home: this.#dialHome });
    if (this.#sockets > this.#connectionsMax) {
      socket.reset();
      return this.#refused(this.#connectionsMax);
    }
    const channel = new TcpChannel(socket, this.#shared);
    try {
      onChannel(channel);
    } catch (thrown) {
      channel.onFault(thrown);
    }
  }

  #refused(connectionsMax: number): void {
    this.#connectionsRefused++;
    this.#options.onRefused?.(connectionsMax);
  }

  #onStarved(code: string): void {
    this.#acceptsStarved++;
    const { message } = new NetError(code);
    this.#warn("starved", `Cannot accept connections: ${message}; tried again until it works`);
  }

  #onDestinationUnknown(): void {
    this.#originalDestinationsUnknown++;
    this.#warn(
      "destination",
      "The kernel knows no original destination of a captured connection: its own address was taken",
    );
  }

  #warn(kind: "starved" | "destination", text: string): void {
    const nowMs = this.loop.clock.nowMs();
    if (nowMs - (this.#warnedMs.get(kind) ?? -Infinity) < WARNING_INTERVAL_MS) return;
    this.#warnedMs.set(kind, nowMs);
    this.#onWarning(text);
  }

  #socketClosed(): void {
    this.#sockets--;
    this.#spare.restore();
    for (const listener of this.#listeners) listener.retry();
  }
}

const IGNORE = () => {};
