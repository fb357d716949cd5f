// Listening sockets that whoever started the process opened for us, systemd style (LISTEN_FDS).
import type { SocketAddress } from "../../base/address.ts";
import { ProxyError } from "../../base/errors.ts";
import {
  F_GETFD,
  F_GETFL,
  F_SETFD,
  F_SETFL,
  FD_CLOEXEC,
  O_NONBLOCK,
  SO_ACCEPTCONN,
  SO_TYPE,
  SOCK_STREAM,
  SOL_SOCKET,
} from "./constants.ts";
import { errnoName } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { nativeBytes } from "./native_bytes.ts";
import { decodeSocketAddress, SOCKADDR_BYTES_MAX } from "./socket_address.ts";
import { isTransparent } from "./socket_options.ts";
import { NativeStartError } from "./start_error.ts";
import type { LiveObjects } from "./types.ts";

/** Kind under which {@link LiveObjects} counts listening descriptors. */
export const LISTENER_KIND = "listener";

/** One that was handed over. */
export interface InheritedListener {
  readonly fd: number;
  readonly local: SocketAddress;
  /** IP_TRANSPARENT was set by whoever opened it. */
  readonly transparent: boolean;
}

/** Holds them until somebody listens on their port. */
export class InheritedListeners {
  readonly #libc: Libc;
  readonly #objects: LiveObjects;
  readonly #waiting: InheritedListener[] = [];

  /**
   * Takes `fds` over: not blocking, closed on exec.
   * @throws {NativeStartError} where one is no listening TCP socket; nothing is taken over then.
   */
  constructor(options: {
    readonly libc: Libc;
    readonly objects: LiveObjects;
    readonly fds: readonly number[];
  }) {
    this.#libc = options.libc;
    this.#objects = options.objects;
    for (const fd of options.fds) this.#waiting.push(inspect(this.#libc, fd));
    for (const { fd } of this.#waiting) {
      this.#libc.fcntl(fd, F_SETFD, this.#libc.fcntl(fd, F_GETFD, 0) | FD_CLOEXEC);
      this.#libc.fcntl(fd, F_SETFL, this.#libc.fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
      this.#objects.made(LISTENER_KIND);
    }
  }

  /** Those that nobody has taken yet. */
  get waiting(): readonly InheritedListener[] {
    return this.#waiting;
  }

  /** Gives the one on `port` away, each once; null where there is none. */
  take(port: number): InheritedListener | null {
    const at = this.#waiting.findIndex(({ local }) => local.port === port);
    return at < 0 ? null : this.#waiting.splice(at, 1)[0]!;
  }

  /** Closes those that nobody took. */
  close(): void {
    for (const { fd } of this.#waiting.splice(0)) {
      this.#libc.close(fd);
      this.#objects.freed(LISTENER_KIND);
    }
  }
}

function inspect(libc: Libc, fd: number): InheritedListener {
  const needed = (result: number) => {
    if (result < 0) throw unusable(fd, `it is no socket (${errnoName(-result)})`);
  };
  const type = { value: 0 };
  needed(libc.getInt(fd, SOL_SOCKET, SO_TYPE, type));
  if (type.value !== SOCK_STREAM) throw unusable(fd, "it is no TCP socket");
  const listens = { value: 0 };
  needed(libc.getInt(fd, SOL_SOCKET, SO_ACCEPTCONN, listens));
  if (listens.value === 0) throw unusable(fd, "it does not listen");
  const address = nativeBytes(SOCKADDR_BYTES_MAX);
  const length = libc.getsockname(fd, address);
  needed(length);
  try {
    const local = decodeSocketAddress(address, length);
    return { fd, local, transparent: isTransparent(libc, fd) };
  } catch (error) {
    if (!(error instanceof ProxyError)) throw error;
    throw unusable(fd, "it is neither IPv4 nor IPv6", error);
  }
}

function unusable(fd: number, why: string, cause?: ProxyError): NativeStartError {
  return new NativeStartError(
    `Cannot use inherited descriptor ${fd}: ${why}; LISTEN_FDS must name listening TCP sockets`,
    cause === undefined ? undefined : { cause },
  );
}
