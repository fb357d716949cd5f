// A listening socket: accepts a bounded number per turn and survives the want of descriptors.
import { formatAddress, isIpv6, type SocketAddress } from "../../base/address.ts";
import type { Cancel, Done } from "../../base/channel.ts";
import type { Task, Timer } from "../../base/clock.ts";
import { NetError, ProxyError } from "../../base/errors.ts";
import { BindError, type Listener, type ListenOptions } from "../network.ts";
import {
  IPV6_V6ONLY,
  SO_ORIGINAL_DST,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_IP,
  SOL_IPV6,
} from "./constants.ts";
import {
  EAGAIN,
  ECONNABORTED,
  EHOSTDOWN,
  EHOSTUNREACH,
  EINTR,
  EMFILE,
  ENETDOWN,
  ENETUNREACH,
  ENFILE,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPERM,
  errnoName,
  ETIMEDOUT,
  netErrorOf,
} from "./errno.ts";
import { type InheritedListener, LISTENER_KIND } from "./inherited_listeners.ts";
import type { Libc } from "./libc.ts";
import { nativeBytes } from "./native_bytes.ts";
import {
  decodeSocketAddress,
  encodeSocketAddress,
  familyOf,
  SOCKADDR_BYTES_MAX,
  SOCKADDR_IN6_BYTES,
} from "./socket_address.ts";
import {
  setDataOptions,
  setMark,
  setReuseAddress,
  setReusePort,
  setTransparent,
} from "./socket_options.ts";
import type { SpareDescriptor } from "./spare_descriptor.ts";
import type { CountOrErrno, LiveObjects, Loop, Watcher } from "./types.ts";

/** Connections one listener accepts in one turn; then the others have theirs. */
export const ACCEPTS_PER_TURN_MAX = 32;
/** Where accepting fails for want of descriptors or memory, it is tried again after this, or when a socket is closed. */
export const ACCEPT_RETRY_MS = 100;

/** `accept` passes on what befell the connection it would have given (accept(2)): that one is gone, the next may be well. */
const CONNECTION_LOST: ReadonlySet<number> = new Set([
  EINTR,
  EPERM,
  ENOPROTOOPT,
  EOPNOTSUPP,
  ENETDOWN,
  ENETUNREACH,
  ECONNABORTED,
  ETIMEDOUT,
  EHOSTDOWN,
  EHOSTUNREACH,
]);

/** What a listener needs of its network. */
export interface ListenerHome {
  readonly libc: Libc;
  readonly loop: Loop;
  readonly objects: LiveObjects;
  readonly spare: SpareDescriptor;
  /** SO_MARK of the listener, which accepted sockets inherit; null for none. */
  readonly listenerMark: number | null;
  readonly reusePort: boolean;
  /** A connection was refused because no descriptor was left for it. */
  refusedForWantOfDescriptors(): void;
  /** Accepting failed with this errno and pauses. */
  starved(code: string): void;
  /** A captured connection whose original destination the kernel did not know; its own address was taken. */
  originalDestinationUnknown(): void;
  /** A sentence for the operator. */
  warn(text: string): void;
  /** Called once, when the descriptor is free again. */
  listenerClosed(listener: NativeListener): void;
}

/** Takes a connected descriptor over, nonblocking and closed on exec. */
export type OnAccepted = (fd: number, peer: SocketAddress, local: SocketAddress) => void;

/** {@link Listener} on a descriptor, opened by us or handed over. */
export class NativeListener implements Listener, Cancel, Watcher, Task {
  readonly #home: ListenerHome;
  readonly #options: ListenOptions;
  readonly #address = nativeBytes(SOCKADDR_BYTES_MAX);
  readonly #destination = nativeBytes(SOCKADDR_IN6_BYTES);
  readonly #onAccepted: OnAccepted;
  #done: Done<Listener> | null;
  #fd = -1;
  #watched = false;
  #local: SocketAddress;
  /** IP_TRANSPARENT is set, by us or by whoever opened it. */
  #transparent = false;
  /** Every accepted socket's address, where that is certain. */
  #fixedLocal: SocketAddress | null = null;
  #retry: Timer | null = null;
  #paused = false;

  /**
   * Opens at once and says so in a later turn.
   * @param options.inherited Listens on that one; nothing is bound.
   */
  constructor(address: SocketAddress, options: {
    readonly listen: ListenOptions;
    readonly home: ListenerHome;
    readonly inherited: InheritedListener | null;
    readonly onAccepted: OnAccepted;
  }, done: Done<Listener>) {
    this.#local = address;
    this.#home = options.home;
    this.#options = options.listen;
    this.#onAccepted = options.onAccepted;
    this.#done = done;
    const { inherited } = options;
    const failure = inherited === null ? this.#open(address) : this.#adopt(inherited);
    if (failure !== null) {
      this.#giveBack();
      const error = new BindError(formatAddress(address), failure);
      this.#home.loop.clock.soon({ runTask: () => this.#answer(error) });
      return;
    }
    const { captured = false } = options.listen;
    const everywhere = this.#local.ip === "::" || this.#local.ip === "0.0.0.0";
    if (!captured && !everywhere && !this.#transparent) this.#fixedLocal = this.#local;
    this.#home.loop.clock.soon({ runTask: () => this.#begin() });
  }

  get local(): SocketAddress {
    return this.#local;
  }

  /** False once it was closed, or where it could not be opened. */
  get open(): boolean {
    return this.#fd >= 0;
  }

  get transparent(): boolean {
    return this.#transparent && this.#options.transparent !== undefined &&
      this.#options.transparent !== "never";
  }

  close(): void {
    if (this.#fd < 0) return;
    this.#done = null;
    this.#retry?.cancel();
    this.#retry = null;
    this.#giveBack();
  }

  cancel(): void {
    if (this.#done !== null) this.close();
    this.#done = null;
  }

  /** Leaves connections in the kernel's queue until `paused` is false again. */
  pause(paused: boolean): void {
    if (this.#paused === paused) return;
    this.#paused = paused;
    if (!paused && this.#watched) this.#home.loop.nextTurn(this);
  }

  /** A descriptor came free: accepting may go on. */
  retry(): void {
    if (this.#retry === null) return;
    this.#retry.cancel();
    this.#retry = null;
    this.#home.loop.nextTurn(this);
  }

  onReady(_events: number): void {
    this.#accept();
  }

  /** Of the listener itself, never of a connection; it goes on. */
  onFault(thrown: unknown): void {
    this.#home.warn(`A listener's turn failed: ${thrown}`);
    this.#home.loop.nextTurn(this);
  }

  runTask(): void {
    this.#accept();
  }

  #open(address: SocketAddress): NetError | null {
    const { libc, objects, listenerMark, reusePort } = this.#home;
    const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    const fd = libc.socket(familyOf(address.ip), type, 0);
    if (fd < 0) return netErrorOf(-fd);
    objects.made(LISTENER_KIND);
    this.#fd = fd;
    setReuseAddress(libc, fd);
    const unshared = reusePort ? setReusePort(libc, fd) : null;
    if (unshared !== null) this.#home.warn(`${formatAddress(address)}: ${unshared.message}`);
    if (isIpv6(address.ip)) libc.setInt(fd, SOL_IPV6, IPV6_V6ONLY, 0);
    const unmarked = listenerMark === null ? null : setMark(libc, fd, listenerMark);
    if (unmarked !== null) return unmarked;
    const opaque = this.#makeTransparent();
    if (opaque !== null) return opaque;
    setDataOptions(libc, fd, this.#options);
    const bound = libc.bind(fd, this.#address, encodeSocketAddress(address, this.#address));
    if (bound < 0) return netErrorOf(-bound);
    const listening = libc.listen(fd, this.#options.backlog);
    if (listening < 0) return netErrorOf(-listening);
    const length = libc.getsockname(fd, this.#address);
    if (length < 0) return netErrorOf(-length);
    this.#local = decodeSocketAddress(this.#address, length);
    return null;
  }

  #adopt(inherited: InheritedListener): NetError | null {
    this.#fd = inherited.fd;
    this.#local = inherited.local;
    this.#transparent = inherited.transparent;
    const opaque = this.#transparent ? null : this.#makeTransparent();
    if (opaque !== null) return opaque;
    setDataOptions(this.#home.libc, this.#fd, this.#options);
    return null;
  }

  #makeTransparent(): NetError | null {
    const { transparent = "never" } = this.#options;
    if (transparent === "never") return null;
    const refused = setTransparent(this.#home.libc, this.#fd);
    this.#transparent = refused === null;
    return transparent === "must" ? refused : null;
  }

  #begin(): void {
    if (this.#fd < 0) return;
    try {
      this.#home.loop.watch(this.#fd, this);
      this.#watched = true;
    } catch (error) {
      if (!(error instanceof NetError)) throw error;
      this.#giveBack();
      return this.#answer(new BindError(formatAddress(this.#local), error));
    }
    this.#answer(this);
  }

  #answer(outcome: Listener | ProxyError): void {
    const done = this.#done;
    this.#done = null;
    done?.(outcome);
  }

  #giveBack(): void {
    const { libc, loop, objects } = this.#home;
    if (this.#fd >= 0) {
      if (this.#watched) loop.unwatch(this.#fd);
      this.#watched = false;
      libc.close(this.#fd);
      this.#fd = -1;
      objects.freed(LISTENER_KIND);
    }
    this.#home.listenerClosed(this);
  }

  #accept(): void {
    const { libc, loop } = this.#home;
    for (let accepted = 0; accepted < ACCEPTS_PER_TURN_MAX; accepted++) {
      if (this.#fd < 0 || this.#paused) return;
      const fd = libc.acceptFrom(this.#fd, this.#address);
      if (fd >= 0) this.#take(fd);
      else if (fd === -EAGAIN) return;
      else if (!CONNECTION_LOST.has(-fd)) {
        const refused = this.#refuseOne(-fd);
        if (refused === -EAGAIN) return;
        if (refused < 0 && !CONNECTION_LOST.has(-refused)) return this.#starve(-refused);
      }
    }
    loop.nextTurn(this);
  }

  #take(fd: number): void {
    const { libc } = this.#home;
    let peer: SocketAddress;
    let local: SocketAddress;
    try {
      peer = decodeSocketAddress(this.#address, libc.addressLength);
      local = this.#fixedLocal ?? this.#localOf(fd);
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error;
      // Gone before we looked: there is nobody to serve.
      libc.close(fd);
      return;
    }
    this.#onAccepted(fd, peer, local);
  }

  #localOf(fd: number): SocketAddress {
    const length = this.#home.libc.getsockname(fd, this.#address);
    if (length < 0) throw netErrorOf(-length);
    const local = decodeSocketAddress(this.#address, length);
    return this.#options.captured === true ? this.#destinationOf(fd, local) : local;
  }

  /** SO_ORIGINAL_DST at the level of the connection's own family (spec/identity-and-inpod §11.3). */
  #destinationOf(fd: number, local: SocketAddress): SocketAddress {
    const level = isIpv6(local.ip) ? SOL_IPV6 : SOL_IP;
    const length = this.#home.libc.getBytes(fd, level, SO_ORIGINAL_DST, this.#destination);
    if (length >= 0) return decodeSocketAddress(this.#destination, length);
    if (!this.#transparent) this.#home.originalDestinationUnknown();
    return local;
  }

  /**
   * Out of descriptors: with the spare one, whoever waits is told. Gives the errno again where it cannot be used; minus
   * EAGAIN where nobody waits, which the kernel does not look at before it has found a descriptor.
   */
  #refuseOne(errno: number): CountOrErrno {
    const { libc, spare } = this.#home;
    if (errno !== EMFILE && errno !== ENFILE || !spare.giveUp()) return -errno;
    const fd = libc.accept(this.#fd);
    if (fd >= 0) {
      libc.setLinger(fd, 0);
      libc.close(fd);
      this.#home.refusedForWantOfDescriptors();
    }
    spare.restore();
    return fd;
  }

  #starve(errno: number): void {
    this.#home.starved(errnoName(errno));
    if (this.#retry !== null) return;
    const { loop } = this.#home;
    this.#retry = loop.clock.after(ACCEPT_RETRY_MS, () => {
      this.#retry = null;
      this.#accept();
    });
  }
}
