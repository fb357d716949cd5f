// One connected socket: its descriptor, owned by one channel at a time and freed in one place.
import type { SocketAddress } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { Libc } from "./libc.ts";
import type { LiveObjects, Loop, Watcher } from "./types.ts";

/** What all sockets of one network share. */
export interface SocketHome {
  readonly libc: Libc;
  readonly loop: Loop;
  readonly objects: LiveObjects;
  /** Called once per socket, after its descriptor is free again. */
  socketClosed(): void;
}

/** Kind under which {@link LiveObjects} counts connected and connecting sockets. */
export const SOCKET_KIND = "socket";

/**
 * A TCP descriptor and who watches it. Whoever holds the object owns the descriptor; it goes from a plain channel to
 * a TLS channel by `TcpChannel.takeSocket()`, unwatched and untouched: a new watch tells what is ready anew.
 */
export class RawSocket {
  /** Canonical. */
  readonly peer: SocketAddress;
  /** Canonical; of a captured connection, where its peer wanted to go. A dial fills it in. */
  local: SocketAddress;
  readonly #home: SocketHome;
  #fd: number;
  #watched = false;

  /** Takes `fd` over, connected and nonblocking. */
  constructor(fd: number, options: {
    readonly peer: SocketAddress;
    readonly local: SocketAddress;
    readonly home: SocketHome;
  }) {
    assert(fd >= 0, "A socket has a descriptor");
    this.#fd = fd;
    this.peer = options.peer;
    this.local = options.local;
    this.#home = options.home;
    this.#home.objects.made(SOCKET_KIND);
  }

  /** The descriptor; −1 once it was closed. */
  get fd(): number {
    return this.#fd;
  }

  get open(): boolean {
    return this.#fd >= 0;
  }

  get watched(): boolean {
    return this.#watched;
  }

  /** Edge-triggered, see `Loop.watch`. Throws `NetError` where the kernel refuses. */
  watch(watcher: Watcher): void {
    assert(this.open && !this.#watched, "One watcher at a time, of an open socket");
    this.#home.loop.watch(this.#fd, watcher);
    this.#watched = true;
  }

  unwatch(): void {
    if (!this.#watched) return;
    this.#watched = false;
    this.#home.loop.unwatch(this.#fd);
  }

  /** Gives the descriptor back; the kernel sends what it holds, then FIN. Idempotent. */
  close(): void {
    if (!this.open) return;
    this.unwatch();
    const fd = this.#fd;
    this.#fd = -1;
    this.#home.libc.close(fd);
    this.#home.objects.freed(SOCKET_KIND);
    this.#home.socketClosed();
  }

  /** Gives the descriptor back with RST; what the kernel holds is lost. Idempotent. */
  reset(): void {
    if (!this.open) return;
    this.#home.libc.setLinger(this.#fd, 0);
    this.close();
  }
}
