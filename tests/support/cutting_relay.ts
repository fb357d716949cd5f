// Somebody on the path who lets so many octets pass in one direction, and then ends the connection.
import net from "node:net";
import type { SocketAddress } from "../../src/base/address.ts";
import type { Cancel, Channel, Done } from "../../src/base/channel.ts";
import type {
  DialOptions,
  Listener,
  ListenOptions,
  Network,
  SecureChannel,
  SecureClientOptions,
  SecureServerOptions,
} from "../../src/net/network.ts";
import { until } from "./real_sockets.ts";

export interface Cut {
  readonly towards: "server" | "client";
  readonly afterBytes: number;
  /** RST to both sides; or FIN in the middle of whatever it was, where everything before it arrives. */
  readonly how: "RST" | "FIN";
}

/** One connection on its way. */
export class RelayedConnection {
  readonly passed = { server: 0, client: 0 };
  wasCut = false;
  readonly #ends: { readonly client: net.Socket; readonly server: net.Socket };
  readonly #cut: Cut | null;

  constructor(client: net.Socket, server: net.Socket, cut: Cut | null) {
    this.#ends = { client, server };
    this.#cut = cut;
    this.#pass(client, server, "server");
    this.#pass(server, client, "client");
    if (cut?.afterBytes === 0) this.#end();
  }

  #pass(from: net.Socket, to: net.Socket, towards: Cut["towards"]): void {
    const isCut = this.#cut?.towards === towards;
    from.on("data", (chunk: Uint8Array) => {
      if (this.wasCut) return;
      const left = isCut ? this.#cut!.afterBytes - this.passed[towards] : Infinity;
      this.passed[towards] += Math.min(left, chunk.length);
      to.write(left < chunk.length ? chunk.subarray(0, left) : chunk);
      if (left <= chunk.length) this.#end();
    });
    from.on("end", () => to.end());
    from.on("error", () => {});
    from.on("close", () => to.destroy());
  }

  #end(): void {
    this.wasCut = true;
    for (const end of [this.#ends.client, this.#ends.server]) {
      if (this.#cut!.how === "RST") end.resetAndDestroy();
      else end.end();
    }
  }

  destroy(): void {
    for (const end of [this.#ends.client, this.#ends.server]) end.destroy();
  }
}

/** Listens for a dialer's connections and passes them on to `target`. */
export class CuttingRelay implements Disposable {
  /** What the next connections meet, in order; those after them pass unharmed. */
  readonly cuts: Cut[] = [];
  readonly connections: RelayedConnection[] = [];
  readonly #server: net.Server;

  private constructor(target: () => SocketAddress) {
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      const { ip, port } = target();
      const server = net.connect({ host: ip, port, allowHalfOpen: true, noDelay: true });
      this.connections.push(new RelayedConnection(client, server, this.cuts.shift() ?? null));
    }).listen(0, "127.0.0.1");
  }

  static async start(target: () => SocketAddress): Promise<CuttingRelay> {
    const relay = new CuttingRelay(target);
    await until(() => relay.#server.listening);
    return relay;
  }

  get address(): SocketAddress {
    return { ip: "127.0.0.1", port: (this.#server.address() as net.AddressInfo).port };
  }

  [Symbol.dispose](): void {
    for (const connection of this.connections) connection.destroy();
    this.#server.close();
  }
}

/** A network that goes to `instead` whenever it dials a peer for TLS. */
export class DetouringNetwork implements Network {
  readonly #network: () => Network;
  readonly #instead: () => SocketAddress;

  constructor(network: () => Network, instead: () => SocketAddress) {
    this.#network = network;
    this.#instead = instead;
  }

  get name(): Network["name"] {
    return this.#network().name;
  }

  get revocation(): Network["revocation"] {
    return this.#network().revocation;
  }

  get openSockets(): number {
    return this.#network().openSockets;
  }

  listen(
    address: SocketAddress,
    options: ListenOptions,
    onChannel: (channel: Channel) => void,
    done: Done<Listener>,
  ): Cancel {
    return this.#network().listen(address, options, onChannel, done);
  }

  dial(address: SocketAddress, options: DialOptions, done: Done<Channel>): Cancel {
    return this.#network().dial(address, options, done);
  }

  dialSecure(
    _address: SocketAddress,
    options: DialOptions & { readonly tls: SecureClientOptions },
    done: Done<SecureChannel>,
  ): Cancel {
    return this.#network().dialSecure(this.#instead(), { ...options, sourceIp: null }, done);
  }

  secureClient(channel: Channel, options: SecureClientOptions, done: Done<SecureChannel>): Cancel {
    return this.#network().secureClient(channel, options, done);
  }

  secureServer(channel: Channel, options: SecureServerOptions, done: Done<SecureChannel>): Cancel {
    return this.#network().secureServer(channel, options, done);
  }
}
