// Numbers of the Linux interface on x86-64 and arm64: the same on both but for what `platformOf` gives.
import { NativeStartError } from "./start_error.ts";

// epoll(7), <sys/epoll.h>
export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
export const EPOLLERR = 0x008;
export const EPOLLHUP = 0x010;
export const EPOLLRDHUP = 0x2000;
/** Edge-triggered; the top bit, so negative in 32 bits. */
export const EPOLLET = 0x80000000 | 0;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CLOEXEC = 0x80000;

// <sys/socket.h>, <netinet/in.h>
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;
export const SHUT_WR = 1;

// Levels and options of getsockopt and setsockopt (spec/identity-and-inpod §11.1).
export const SOL_IP = 0;
export const SOL_SOCKET = 1;
export const SOL_TCP = 6;
export const SOL_IPV6 = 41;
export const SO_REUSEADDR = 2;
export const SO_TYPE = 3;
export const SO_ERROR = 4;
export const SO_KEEPALIVE = 9;
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
export const SO_ACCEPTCONN = 30;
export const SO_MARK = 36;
export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;
export const TCP_USER_TIMEOUT = 18;
export const IP_FREEBIND = 15;
export const IP_TRANSPARENT = 19;
export const IP_BIND_ADDRESS_NO_PORT = 24;
/** Of SOL_IP and of SOL_IPV6 (there named IP6T_SO_ORIGINAL_DST). */
export const SO_ORIGINAL_DST = 80;
export const IPV6_V6ONLY = 26;
export const IPV6_TRANSPARENT = 75;
export const IPV6_FREEBIND = 78;

// <fcntl.h>, <sys/resource.h>
export const O_RDONLY = 0;
export const O_NONBLOCK = 0x800;
export const O_CLOEXEC = 0x80000;
export const F_GETFD = 1;
export const F_SETFD = 2;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const FD_CLOEXEC = 1;
export const RLIMIT_NOFILE = 7;

// signal(7)
export const SIG_IGN = 1n;
export const SIGUSR1 = 10;

/** What differs between the two architectures. */
export interface Platform {
  /** Octets of `struct epoll_event`: packed on x86-64 only. */
  readonly epollEventBytes: number;
  /** Where its 64 bits of user data begin. */
  readonly epollDataOffset: number;
}

const PLATFORMS: Readonly<Record<string, Platform>> = {
  x86_64: { epollEventBytes: 12, epollDataOffset: 4 },
  aarch64: { epollEventBytes: 16, epollDataOffset: 8 },
};

/**
 * The row of an architecture as `Deno.build.arch` names it.
 * @throws {NativeStartError} for any other.
 */
export function platformOf(arch: string): Platform {
  const platform = PLATFORMS[arch];
  if (platform !== undefined) return platform;
  throw new NativeStartError(
    `Cannot use the native network on ${arch}: it knows x86_64 and aarch64 only`,
  );
}
