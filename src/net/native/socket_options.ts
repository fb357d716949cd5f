// Options of TCP sockets: what must hold, what is tried, and what is said where the kernel refuses (spec/data-path §5.3).
import { isIpv6 } from "../../base/address.ts";
import { NetError, osErrorText } from "../../base/errors.ts";
import type { Keepalive } from "../network.ts";
import {
  IP_BIND_ADDRESS_NO_PORT,
  IP_FREEBIND,
  IP_TRANSPARENT,
  IPV6_FREEBIND,
  IPV6_TRANSPARENT,
  SO_KEEPALIVE,
  SO_MARK,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
  TCP_USER_TIMEOUT,
} from "./constants.ts";
import { errnoName } from "./errno.ts";
import type { Libc } from "./libc.ts";

/** What every data socket of ours has; accepted ones inherit it from their listener. */
export interface DataSocketOptions {
  readonly keepalive: Keepalive | null;
  /** In milliseconds; absent or null leaves the kernel's. */
  readonly userTimeoutMs?: number | null;
}

/** Nagle off, keepalive and user timeout as asked. Refusals are of no consequence (spec/data-path §5.3). */
export function setDataOptions(libc: Libc, fd: number, options: DataSocketOptions): void {
  libc.setInt(fd, SOL_TCP, TCP_NODELAY, 1);
  const { keepalive, userTimeoutMs = null } = options;
  if (keepalive !== null) {
    libc.setInt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    libc.setInt(fd, SOL_TCP, TCP_KEEPIDLE, wholeSeconds(keepalive.idleMs));
    libc.setInt(fd, SOL_TCP, TCP_KEEPINTVL, wholeSeconds(keepalive.intervalMs));
    libc.setInt(fd, SOL_TCP, TCP_KEEPCNT, keepalive.probes);
  }
  if (userTimeoutMs !== null) libc.setInt(fd, SOL_TCP, TCP_USER_TIMEOUT, userTimeoutMs);
}

/** The port can be bound again while old connections linger. */
export function setReuseAddress(libc: Libc, fd: number): void {
  libc.setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

/** Another process of the same user may listen on the same port. Null, or why not: worth a warning only. */
export function setReusePort(libc: Libc, fd: number): NetError | null {
  return refusal(libc.setInt(fd, SOL_SOCKET, SO_REUSEPORT, 1), "share the port (SO_REUSEPORT)");
}

/** Marks every packet of the socket; null, or why not: then the socket is of no use, its packets would be captured. */
export function setMark(libc: Libc, fd: number, mark: number): NetError | null {
  return refusal(libc.setInt(fd, SOL_SOCKET, SO_MARK, mark), `set packet mark ${mark}`);
}

/**
 * IP_TRANSPARENT by the IPv4 level, which IPv6 sockets obey as well (spec/identity-and-inpod §11.2). Null, or why not.
 */
export function setTransparent(libc: Libc, fd: number): NetError | null {
  return refusal(libc.setInt(fd, SOL_IP, IP_TRANSPARENT, 1), "make the socket transparent");
}

/** True where IP_TRANSPARENT is set, by us or by whoever opened the socket. */
export function isTransparent(libc: Libc, fd: number): boolean {
  const option = { value: 0 };
  return libc.getInt(fd, SOL_IP, IP_TRANSPARENT, option) === 0 && option.value !== 0;
}

/** The port is chosen at `connect`, per destination: else one busy source address runs out of ports. */
export function setBindWithoutPort(libc: Libc, fd: number): void {
  libc.setInt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
}

/** Lets the socket bind to `ip`, an address of somebody else. Null, or why not. */
export function setForeignSource(libc: Libc, fd: number, ip: string): NetError | null {
  const v6 = isIpv6(ip);
  const level = v6 ? SOL_IPV6 : SOL_IP;
  const transparent = v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT;
  const what = `use the foreign source address ${ip}`;
  return refusal(libc.setInt(fd, level, transparent, 1), what) ??
    refusal(libc.setInt(fd, level, v6 ? IPV6_FREEBIND : IP_FREEBIND, 1), what);
}

/** A failed call as an error whose sentence says what could not be done. */
export function refusal(result: number, what: string): NetError | null {
  if (result >= 0) return null;
  const code = errnoName(-result);
  return new NetError(code, { message: `cannot ${what}: ${osErrorText(code)}` });
}

function wholeSeconds(ms: number): number {
  return Math.max(1, Math.round(ms / 1000));
}
