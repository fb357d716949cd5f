// Datagrams by the runtime's own sockets: node:dgram.
import dgram from "node:dgram";
import { formatAddress, isIpv6, parseIp, type SocketAddress } from "../../base/address.ts";
import type { Cancel, Done } from "../../base/channel.ts";
import type { Clock } from "../../base/clock.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import { BindError } from "../network.ts";
import type { UdpHandler, UdpNetwork, UdpSocket } from "../udp.ts";
import { isPermissionMissing, netError, PermissionMissingError } from "./errors.ts";

/** Sockets one network may have open; each holds a descriptor and a read buffer of 64 KiB. */
export const UDP_SOCKETS_MAX = 256;

export interface DenoUdpOptions {
  readonly clock: Clock;
  readonly socketsMax?: number;
  /** Told what a handler threw. Default: the runtime's uncaught error. */
  readonly onBug?: (error: unknown) => void;
}

/** {@link UdpNetwork} on `node:dgram`. */
export class DenoUdp implements UdpNetwork {
  readonly #clock: Clock;
  readonly #socketsMax: number;
  readonly #onBug: (error: unknown) => void;
  #open = 0;

  constructor({ clock, socketsMax = UDP_SOCKETS_MAX, onBug = reportError }: DenoUdpOptions) {
    this.#clock = clock;
    this.#socketsMax = socketsMax;
    this.#onBug = onBug;
  }

  get openUdpSockets(): number {
    return this.#open;
  }

  openUdp(local: SocketAddress, handler: UdpHandler, done: Done<UdpSocket>): Cancel {
    if (this.#open >= this.#socketsMax) {
      return this.#clock.after(0, () => done(new NetError("EMFILE")));
    }
    const host = formatAddress(local);
    if (isDenied(host)) {
      const missing = new PermissionMissingError(`--allow-net=${host}`, `send from ${host}`);
      return this.#clock.after(0, () => done(missing));
    }
    this.#open++;
    return new DenoUdpSocket(local, handler, {
      done,
      clock: this.#clock,
      onBug: this.#onBug,
      onClosed: () => void this.#open--,
    });
  }
}

/** Asked before binding: without the permission the runtime throws where it likes. */
function isDenied(host: string): boolean {
  return Deno.permissions.querySync({ name: "net", host }).state !== "granted";
}

interface SocketOptions {
  readonly done: Done<UdpSocket>;
  readonly clock: Clock;
  readonly onBug: (error: unknown) => void;
  readonly onClosed: () => void;
}

class DenoUdpSocket implements UdpSocket, Cancel {
  readonly #socket: dgram.Socket;
  readonly #handler: UdpHandler;
  readonly #options: SocketOptions;
  readonly #asked: SocketAddress;
  #local: SocketAddress | null = null;
  #state: "binding" | "open" | "closed" = "binding";

  constructor(asked: SocketAddress, handler: UdpHandler, options: SocketOptions) {
    this.#asked = asked;
    this.#handler = handler;
    this.#options = options;
    const family = isIpv6(asked.ip) ? 6 : 4;
    this.#socket = dgram.createSocket({
      type: family === 6 ? "udp6" : "udp4",
      // Addresses are literal: without this each send goes through a look-up in the thread pool.
      lookup: (host, _options, callback) => callback(null, host, family),
    });
    this.#socket.on("error", (error: Error) => this.#failed(netError(error)));
    this.#socket.on("message", (bytes, { address, port }) => this.#received(bytes, address, port));
    try {
      // Called from inside the call, since the look-up is.
      this.#socket.bind(
        { port: asked.port, address: asked.ip },
        () => options.clock.soon({ runTask: () => this.#bound() }),
      );
    } catch (error) {
      options.clock.soon({ runTask: () => this.#failed(netError(error as Error)) });
    }
  }

  get local(): SocketAddress {
    return this.#local ?? this.#asked;
  }

  send(bytes: Uint8Array, target: SocketAddress): void {
    if (this.#state !== "open") return;
    // A copy, since the runtime reads the bytes when it comes to it; `slice()` of a Buffer would be none.
    this.#socket.send(new Uint8Array(bytes), target.port, target.ip, (error) => {
      if (error === null || error === undefined || this.#state !== "open") return;
      const host = formatAddress(target);
      const isOurs = isPermissionMissing(error) || isDenied(host);
      this.#failed(
        isOurs
          ? new PermissionMissingError(`--allow-net=${host}`, `send to ${host}`)
          : netError(error),
      );
    });
  }

  cancel(): void {
    this.close();
  }

  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#socket.close();
    this.#options.onClosed();
  }

  #bound(): void {
    if (this.#state !== "binding") return;
    this.#state = "open";
    const { address, port } = this.#socket.address();
    this.#local = { ip: parseIp(address) ?? this.#asked.ip, port };
    this.#call(() => this.#options.done(this));
  }

  #received(bytes: Uint8Array, address: string, port: number): void {
    const ip = parseIp(address);
    if (this.#state !== "open" || ip === null) return;
    this.#call(() => this.#handler.onDatagram(bytes, { ip, port }));
  }

  #failed(error: ProxyError): void {
    if (this.#state === "closed") return;
    if (this.#state === "open") return this.#call(() => this.#handler.onError(error));
    this.close();
    this.#call(() => this.#options.done(new BindError(formatAddress(this.#asked), error)));
  }

  #call(handler: () => void): void {
    try {
      handler();
    } catch (error) {
      this.#options.onBug(error);
    }
  }
}
