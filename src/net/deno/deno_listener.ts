// A listening socket of the runtime that is opened anew when the runtime lets it die.
import net from "node:net";
import { formatAddress, parseIp, type SocketAddress } from "../../base/address.ts";
import type { Cancel, Done } from "../../base/channel.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import { BindError, type Listener, type ListenOptions } from "../network.ts";
import { AcceptWatch } from "./accept_watch.ts";
import { duplicateDescriptor } from "./descriptor.ts";
import { netError, PermissionMissingError, type RuntimeError } from "./errors.ts";
import type { InheritedListener } from "./inherited_listeners.ts";

export interface DenoListenerOptions extends ListenOptions {
  readonly clock: Clock;
  readonly onSocket: (socket: net.Socket) => void;
  readonly openSockets: () => number;
  /** Called once, when the port is free again. */
  readonly onClosed: () => void;
  /** Listens on that one, which it owns from here on, instead of binding; null: binds. */
  readonly inherited: InheritedListener | null;
}

/** {@link Listener} on `node:net`. */
export class DenoListener implements Listener, Cancel {
  /** The runtime cannot set it, nor be asked whether an inherited socket has it. */
  readonly transparent = false;
  #local: SocketAddress;
  readonly watch: AcceptWatch;
  readonly #options: DenoListenerOptions;
  #server: net.Server;
  /** A duplicate of the listening descriptor, for opening anew; null where there is none. */
  #spareDescriptor: number | null = null;
  #done: Done<Listener> | null;
  #timer: Timer | null = null;
  #closed = false;
  #renewals = 0;

  constructor(address: SocketAddress, options: DenoListenerOptions, done: Done<Listener>) {
    this.#local = address;
    this.#options = options;
    this.#done = done;
    this.watch = new AcceptWatch(options.clock.nowMs());
    this.#server = this.#createServer();
    const host = formatAddress(address);
    if (options.transparent === "must") {
      const text = "the deno network cannot make it transparent, IO_PROVIDER=native can";
      const refused = new NetError("EOPNOTSUPP", { message: text });
      if (options.inherited !== null) closeDescriptor(options.inherited.descriptor);
      options.clock.soon({ runTask: () => this.#fail(new BindError(host, refused)) });
      return;
    }
    if (options.inherited !== null) {
      this.#adopt(host, options.inherited);
      return;
    }
    // Asked first: without the permission the runtime throws where nobody can catch it.
    if (Deno.permissions.querySync({ name: "net", host }).state !== "granted") {
      const missing = new PermissionMissingError(`--allow-net=${host}`, `listen on ${host}`);
      options.clock.soon({ runTask: () => this.#fail(missing) });
      return;
    }
    this.#server.once("error", (error: RuntimeError) => {
      // The runtime puts off what `bind` said, and `listen` on the unbound socket is then invalid.
      const bind = error.code === "EINVAL" ? new NetError("EADDRNOTAVAIL") : netError(error);
      this.#fail(new BindError(host, bind));
    });
    this.#server.listen(
      { host: address.ip, port: address.port, backlog: options.backlog },
      () => this.#listening(),
    );
  }

  /** Needs no permission: whoever opened it had it (spec/deno-runtime §3.4). */
  #adopt(host: string, { descriptor }: InheritedListener): void {
    const { clock, backlog } = this.#options;
    const failed = (error: unknown) =>
      this.#fail(new BindError(host, netError(error as RuntimeError)));
    this.#server.once("error", failed);
    try {
      this.#server.listen({ fd: descriptor, backlog }, () => this.#listening());
    } catch (error) {
      clock.soon({ runTask: () => failed(error) });
    }
  }

  get local(): SocketAddress {
    return this.#local;
  }

  /** How often the listening socket was opened anew. */
  get renewals(): number {
    return this.#renewals;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#done = null;
    this.#timer?.cancel();
    this.#dropSpare();
    const { onClosed } = this.#options;
    // The port is free at once; the runtime's own callback would wait for all accepted connections.
    if (this.#server.listening) this.#server.close();
    else this.#server.once("listening", () => this.#server.close());
    this.#options.clock.soon({ runTask: onClosed });
  }

  cancel(): void {
    if (this.#done !== null) this.close();
  }

  #createServer(): net.Server {
    return net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.watch.accepted();
      const { keepalive, onSocket } = this.#options;
      if (keepalive !== null) socket.setKeepAlive(true, keepalive.idleMs);
      onSocket(socket);
    });
  }

  #listening(): void {
    if (this.#closed) return;
    const bound = this.#server.address() as net.AddressInfo;
    this.#local = { ip: parseIp(bound.address) ?? this.#local.ip, port: bound.port };
    this.#server.on("error", () => this.watch.exhausted());
    this.#takeSpare();
    this.#watchNext();
    const done = this.#done;
    this.#done = null;
    done?.(this);
  }

  #fail(error: ProxyError): void {
    const done = this.#done;
    if (done === null || this.#closed) return;
    this.#done = null;
    this.#closed = true;
    this.#options.onClosed();
    done(error);
  }

  #watchNext(): void {
    const { openSockets, clock } = this.#options;
    this.#timer = clock.after(this.watch.nextCheckMs(clock.nowMs()), () => {
      if (this.watch.mustRenew(openSockets(), clock.nowMs())) this.#renew();
      this.#watchNext();
    });
  }

  /** A second server on a duplicate of the same listening socket takes over; then the first goes. */
  #renew(): void {
    if (this.#spareDescriptor === null) this.#takeSpare();
    const descriptor = this.#spareDescriptor;
    if (descriptor === null) return; // No descriptor to be had yet: the next look tries again.
    const old = this.#server;
    const fresh = this.#createServer();
    this.#watchErrors(fresh);
    this.#spareDescriptor = null;
    try {
      fresh.listen({ fd: descriptor }, () => {
        old.close();
        if (this.#closed) fresh.close();
        else this.#takeSpare();
      });
    } catch {
      // The runtime would not adopt it; the old server stays and the next look tries again.
      this.watch.exhausted();
      return;
    }
    this.#server = fresh;
    this.#renewals++;
  }

  /** Apart: a listener made in {@link #renew} would keep the old server for as long as the fresh one lives. */
  #watchErrors(server: net.Server): void {
    server.once("error", () => this.watch.exhausted());
  }

  #takeSpare(): void {
    this.#spareDescriptor = duplicateDescriptor(this.#server); // Where null, asked again when it is needed.
  }

  #dropSpare(): void {
    if (this.#spareDescriptor === null) return;
    const descriptor = this.#spareDescriptor;
    this.#spareDescriptor = null;
    closeDescriptor(descriptor);
  }
}

/** Descriptors can be closed only through the runtime object that adopts them. */
function closeDescriptor(descriptor: number): void {
  const server = net.createServer();
  server.once("error", () => {});
  server.listen({ fd: descriptor }, () => server.close());
}

/** True for an error that says the process or the system has no descriptor left. */
export function isOutOfDescriptors(error: unknown): boolean {
  return error instanceof NetError && (error.code === "EMFILE" || error.code === "ENFILE");
}
