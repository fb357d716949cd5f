// A connect under way: nonblocking, bounded in time, told once.
import type { SocketAddress } from "../../base/address.ts";
import { isIpv6 } from "../../base/address.ts";
import type { Cancel } from "../../base/channel.ts";
import type { Timer } from "../../base/clock.ts";
import { DeadlineError, NetError, type ProxyError } from "../../base/errors.ts";
import type { DialOptions } from "../network.ts";
import { SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from "./constants.ts";
import { EINPROGRESS, netErrorOf } from "./errno.ts";
import { nativeBytes } from "./native_bytes.ts";
import { RawSocket, type SocketHome } from "./raw_socket.ts";
import {
  decodeSocketAddress,
  encodeSocketAddress,
  familyOf,
  SOCKADDR_BYTES_MAX,
} from "./socket_address.ts";
import {
  refusal,
  setBindWithoutPort,
  setDataOptions,
  setForeignSource,
  setMark,
} from "./socket_options.ts";
import type { Watcher } from "./types.ts";

/** What a dial needs of its network. */
export interface DialHome extends SocketHome {
  /** SO_MARK of every outgoing socket; null for none. */
  readonly packetMark: number | null;
  /** Called once per socket, when its descriptor exists. */
  socketOpened(): void;
  readonly onBug: (thrown: unknown) => void;
}

const ADDRESS = nativeBytes(SOCKADDR_BYTES_MAX);

/** Connects to `address`; `done` gets the connected socket, unwatched, or why there is none. */
export class NativeDial implements Cancel, Watcher {
  readonly #home: DialHome;
  readonly #address: SocketAddress;
  #done: ((outcome: RawSocket | ProxyError) => void) | null;
  #timer: Timer | null = null;
  /** The descriptor before the connection is made. */
  #connecting: RawSocket | null = null;

  constructor(
    address: SocketAddress,
    options: DialOptions,
    home: DialHome,
    done: (outcome: RawSocket | ProxyError) => void,
  ) {
    this.#home = home;
    this.#address = address;
    this.#done = done;
    const failure = this.#open(options) ?? this.#connect();
    const { clock } = home.loop;
    if (failure !== null) clock.soon({ runTask: () => this.#finish(failure) });
    else this.#timer = clock.after(options.timeoutMs, () => this.#finish(new DeadlineError()));
  }

  cancel(): void {
    if (this.#done === null) return;
    this.#done = null;
    this.#timer?.cancel();
    this.#connecting?.reset();
    this.#connecting = null;
  }

  onReady(_events: number): void {
    const socket = this.#connecting;
    if (socket === null) return;
    const { libc } = this.#home;
    const errno = libc.soError(socket.fd);
    this.#finish(errno === 0 ? socket : netErrorOf(errno));
  }

  onFault(thrown: unknown): void {
    this.#home.onBug(thrown);
    this.#finish(new NetError("EIO"));
  }

  /** The socket with its options, bound where that is asked; why not, or null. */
  #open(
    { keepalive, userTimeoutMs = null, sourceIp, spoof = false }: DialOptions,
  ): NetError | null {
    const { libc, packetMark } = this.#home;
    const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    const fd = libc.socket(familyOf(this.#address.ip), type, 0);
    if (fd < 0) return netErrorOf(-fd);
    this.#home.socketOpened();
    this.#connecting = new RawSocket(fd, {
      peer: this.#address,
      local: { ip: isIpv6(this.#address.ip) ? "::" : "0.0.0.0", port: 0 },
      home: this.#home,
    });
    const unmarked = packetMark === null ? null : setMark(libc, fd, packetMark);
    if (unmarked !== null) return unmarked;
    setDataOptions(libc, fd, { keepalive, userTimeoutMs });
    // A pod that reaches itself keeps its own address without being told (spec/identity-and-inpod §11.4).
    if (sourceIp === null || (spoof && sourceIp === this.#address.ip)) return null;
    const own = spoof ? setForeignSource(libc, fd, sourceIp) : null;
    if (own !== null) return own;
    setBindWithoutPort(libc, fd);
    const length = encodeSocketAddress({ ip: sourceIp, port: 0 }, ADDRESS);
    return refusal(libc.bind(fd, ADDRESS, length), `bind to ${sourceIp}`);
  }

  #connect(): NetError | null {
    const socket = this.#connecting!;
    const length = encodeSocketAddress(this.#address, ADDRESS);
    const result = this.#home.libc.connect(socket.fd, ADDRESS, length);
    if (result < 0 && result !== -EINPROGRESS) return netErrorOf(-result);
    try {
      // Already connected or not: the first look at a watched descriptor tells.
      socket.watch(this);
    } catch (error) {
      if (!(error instanceof NetError)) throw error;
      return error;
    }
    return null;
  }

  #finish(outcome: RawSocket | ProxyError): void {
    const done = this.#done;
    if (done === null) return;
    this.#done = null;
    this.#timer?.cancel();
    const socket = this.#connecting;
    this.#connecting = null;
    if (outcome !== socket) {
      socket?.reset();
      return done(outcome);
    }
    socket.unwatch();
    const length = this.#home.libc.getsockname(socket.fd, ADDRESS);
    if (length >= 0) socket.local = decodeSocketAddress(ADDRESS, length);
    done(socket);
  }
}
