// A listening socket of the memory network.
import { formatAddress, type SocketAddress } from "../../base/address.ts";
import type { Channel } from "../../base/channel.ts";
import type { Timer } from "../../base/clock.ts";
import { NetError } from "../../base/errors.ts";
import { BindError, type Keepalive, type Listener } from "../network.ts";
import type { MemoryFabric } from "./memory_fabric.ts";
import type { MemoryNetwork } from "./memory_network.ts";

/** Hands each connection to its owner in a turn of its own; those not yet handed over die with it. */
export class MemoryListener implements Listener {
  readonly transparent: boolean;
  /** Accepted channels show where their peer wanted to go, not where they came to. */
  readonly captured: boolean;
  readonly network: MemoryNetwork;
  readonly keepalive: Keepalive | null;
  readonly #fabric: MemoryFabric;
  readonly #onChannel: (channel: Channel) => void;
  readonly #waiting = new Map<Channel, Timer>();
  #local: SocketAddress = { ip: "0.0.0.0", port: 0 };
  #open = false;

  constructor(
    fabric: MemoryFabric,
    network: MemoryNetwork,
    onChannel: (channel: Channel) => void,
    options: {
      readonly keepalive: Keepalive | null;
      readonly captured: boolean;
      readonly transparent: boolean;
    },
  ) {
    this.#fabric = fabric;
    this.network = network;
    this.#onChannel = onChannel;
    this.keepalive = options.keepalive;
    this.captured = options.captured;
    this.transparent = options.transparent;
  }

  get local(): SocketAddress {
    return this.#local;
  }

  /** Takes the address; returns the error if it is taken. Port 0 draws a free one. */
  open(address: SocketAddress): BindError | null {
    const port = address.port === 0 ? this.#fabric.nextPort() : address.port;
    this.#local = { ip: address.ip, port };
    if (!this.#fabric.addListener(this)) {
      return new BindError(formatAddress(this.#local), new NetError("EADDRINUSE"));
    }
    this.#open = true;
    this.network.noteSocketOpen();
    return null;
  }

  /** For `MemoryFabric`: the server end of a new connection. */
  accept(channel: Channel): void {
    const told = this.#fabric.clock.after(0, () => {
      this.#waiting.delete(channel);
      this.#onChannel(channel);
    });
    this.#waiting.set(channel, told);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#fabric.removeListener(this);
    this.network.noteSocketGone();
    for (const [channel, told] of this.#waiting) {
      told.cancel();
      channel.reset(null);
    }
    this.#waiting.clear();
  }
}
