// One host's, or one process's, view of the memory fabric: the `Network` that simulations run on.
import { formatAddress, isIpv6, isLoopback, type SocketAddress } from "../../base/address.ts";
import { type Cancel, type Channel, type Done, NOTHING_TO_CANCEL } from "../../base/channel.ts";
import type { Timer } from "../../base/clock.ts";
import { DeadlineError, NetError, ProxyError } from "../../base/errors.ts";
import { RevocationLists } from "../../tls/revocation.ts";
import type {
  DialOptions,
  Listener,
  ListenOptions,
  Network,
  SecureChannel,
  SecureClientOptions,
  SecureServerOptions,
} from "../network.ts";
import { BindError, DialError } from "../network.ts";
import type { MemoryFabric } from "./memory_fabric.ts";
import { MemoryListener } from "./memory_listener.ts";
import { MemoryTlsClient, MemoryTlsServer, type MemoryTlsWorld } from "./memory_tls.ts";

/** Linux gives up on an unanswered SYN after this long (tcp_syn_retries = 6), in milliseconds. */
export const SYN_GIVE_UP_MS = 127_000;

export interface MemoryNetworkOptions {
  /** For fault callbacks and failure messages. */
  readonly label: string;
  /** Canonical addresses of the host; the first of a family is the source of what it dials. */
  readonly ips: readonly string[];
  /**
   * Everything dialled from here goes to this port of the own host instead, where the accepted channel's `local`
   * is the original destination if the listener asks (`captured`): an application whose traffic is captured.
   */
  readonly redirectPort?: number;
  /** The host's: whatever other hosts dial to it is captured on its way in, in the same way. */
  readonly inboundRedirect?: InboundRedirect;
  /** What `CAP_NET_ADMIN` permits: transparent listeners, and dialling from addresses of others. Default false. */
  readonly transparent?: boolean;
}

/** A REDIRECT of the kernel on connections that come from elsewhere. */
export interface InboundRedirect {
  readonly port: number;
  /** Ports that stay what they are: HBONE's. */
  readonly exceptPorts: readonly number[];
}

/**
 * {@link Network} over in-process pipes, driven by the fabric's clock. A listener on `0.0.0.0` or `::` hears all
 * addresses of its host; loopback belongs to each host alone. A listener's backlog is not simulated: accepting
 * takes one turn.
 */
export class MemoryNetwork implements Network {
  readonly name = "memory";
  readonly revocation = new RevocationLists();
  readonly label: string;
  /** Identifies the host among the fabric's. */
  readonly host: string;
  /** Where everything dialled goes instead; null for where it was dialled. */
  readonly redirectPort: number | null;
  readonly #transparent: boolean;
  readonly #fabric: MemoryFabric;
  readonly #ips: readonly string[];
  readonly #tlsWorld: MemoryTlsWorld;
  #openSockets = 0;

  /** For `MemoryFabric.network` only. */
  constructor(fabric: MemoryFabric, options: MemoryNetworkOptions) {
    this.#fabric = fabric;
    this.label = options.label;
    this.#ips = options.ips;
    const { clock, verdicts } = fabric;
    this.#tlsWorld = { clock, verdicts, revocation: this.revocation };
    this.host = options.ips[0]!;
    this.redirectPort = options.redirectPort ?? null;
    this.#transparent = options.transparent ?? false;
  }

  get openSockets(): number {
    return this.#openSockets;
  }

  listen(
    address: SocketAddress,
    options: ListenOptions,
    onChannel: (channel: Channel) => void,
    done: Done<Listener>,
  ): Cancel {
    const { keepalive, captured = false, transparent = "never" } = options;
    const listener = new MemoryListener(this.#fabric, this, onChannel, {
      keepalive,
      captured,
      transparent: transparent !== "never" && this.#transparent,
    });
    const started = this.#fabric.clock.after(0, () => {
      if (transparent === "must" && !this.#transparent) {
        done(new BindError(formatAddress(address), new NetError("EPERM")));
        return;
      }
      const error = this.#owns(address.ip) ? listener.open(address) : new NetError("EADDRNOTAVAIL");
      done(error ?? listener);
    });
    return { cancel: () => started.cancel() };
  }

  dial(address: SocketAddress, options: DialOptions, done: Done<Channel>): Cancel {
    const sourceIp = options.sourceIp ?? this.#sourceFor(address.ip);
    if (sourceIp === null) return this.#refuse(new NetError("ENETUNREACH"), done);
    if (options.spoof === true && !this.#transparent) {
      return this.#refuse(new NetError("EPERM"), done);
    }
    const source = { ip: sourceIp, port: this.#fabric.nextPort() };
    const dial = new MemoryDial(this.#fabric, this, { source, address, options }, done);
    dial.start();
    return dial;
  }

  secureClient(
    channel: Channel,
    options: SecureClientOptions,
    done: Done<SecureChannel>,
  ): Cancel {
    const client = new MemoryTlsClient(this.#tlsWorld, channel, options, done);
    client.start();
    return client;
  }

  secureServer(
    channel: Channel,
    options: SecureServerOptions,
    done: Done<SecureChannel>,
  ): Cancel {
    const server = new MemoryTlsServer(this.#tlsWorld, channel, options, done);
    server.start();
    return server;
  }

  dialSecure(
    address: SocketAddress,
    options: DialOptions & { readonly tls: SecureClientOptions },
    done: Done<SecureChannel>,
  ): Cancel {
    let phase = NOTHING_TO_CANCEL;
    phase = this.dial(address, options, (channel) => {
      if (channel instanceof ProxyError) return done(new DialError("connect", channel));
      phase = this.secureClient(channel, options.tls, (secured) => {
        done(secured instanceof ProxyError ? new DialError("handshake", secured) : secured);
      });
    });
    return { cancel: () => phase.cancel() };
  }

  /** For `MemoryFabric` and its parts: a socket of this network came to be. */
  noteSocketOpen(): void {
    this.#openSockets++;
  }

  /** For `MemoryFabric` and its parts: one is gone. */
  noteSocketGone(): void {
    this.#openSockets--;
  }

  #refuse(error: NetError, done: Done<Channel>): Cancel {
    const told = this.#fabric.clock.after(0, () => done(error));
    return { cancel: () => told.cancel() };
  }

  #owns(ip: string): boolean {
    return ip === "0.0.0.0" || ip === "::" || isLoopback(ip) || this.#ips.includes(ip);
  }

  #sourceFor(destinationIp: string): string | null {
    const wantsIpv6 = isIpv6(destinationIp);
    if (isLoopback(destinationIp)) return wantsIpv6 ? "::1" : "127.0.0.1";
    return this.#ips.find((ip) => isIpv6(ip) === wantsIpv6) ?? null;
  }
}

interface DialQuestion {
  readonly source: SocketAddress;
  readonly address: SocketAddress;
  readonly options: DialOptions;
}

/** A connect under way: one socket until it is answered, cancelled or too late. */
class MemoryDial implements Cancel {
  readonly #fabric: MemoryFabric;
  readonly #network: MemoryNetwork;
  readonly #question: DialQuestion;
  readonly #done: Done<Channel>;
  #timer: Timer | null = null;

  constructor(
    fabric: MemoryFabric,
    network: MemoryNetwork,
    question: DialQuestion,
    done: Done<Channel>,
  ) {
    this.#fabric = fabric;
    this.#network = network;
    this.#question = question;
    this.#done = done;
  }

  start(): void {
    const { source, address, options } = this.#question;
    const plan = this.#fabric.planFor({
      from: this.#network.label,
      source,
      destination: address,
    });
    const answerMs = plan.connect === "vanish" ? SYN_GIVE_UP_MS : plan.connectMs;
    this.#network.noteSocketOpen();
    this.#timer = this.#fabric.clock.after(Math.min(answerMs, options.timeoutMs), () => {
      this.#timer = null;
      if (answerMs > options.timeoutMs) return this.#fail(new DeadlineError());
      if (plan.connect === "vanish") return this.#fail(new NetError("ETIMEDOUT"));
      if (plan.connect === "unreachable") return this.#fail(new NetError("EHOSTUNREACH"));
      if (plan.connect === "refuse") return this.#fail(new NetError("ECONNREFUSED"));
      const found = this.#fabric.arrivalOf(this.#network, address);
      if (found instanceof ProxyError) return this.#fail(found);
      this.#done(this.#fabric.connect(plan, {
        from: this.#network,
        source,
        destination: address,
        keepalive: options.keepalive,
        arrival: found,
      }));
    });
  }

  cancel(): void {
    if (this.#timer === null) return;
    this.#timer.cancel();
    this.#timer = null;
    this.#network.noteSocketGone();
  }

  #fail(error: ProxyError): void {
    this.#network.noteSocketGone();
    this.#done(error);
  }
}
