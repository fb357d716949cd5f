// Asks the kernel at start whether a sandbox forbids a system call that will be needed later.
import { SHUT_WR, SO_ERROR, SOL_SOCKET } from "./constants.ts";
import { EACCES, ENOSYS, EPERM, neededAtStart } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { nativeBytes } from "./native_bytes.ts";

/** No descriptor: the kernel answers EBADF, a seccomp filter answers first. */
const NOWHERE = -1;

/**
 * Makes each call of the data path once, on no descriptor at all: it fails with EBADF where it is allowed, and
 * changes nothing. Arguments a filter may look at (families, options) are not tried; those calls say so themselves.
 * @throws {NativeStartError} naming the first call that is forbidden.
 */
export function probeCalls(libc: Libc): void {
  const bytes = nativeBytes(32);
  const calls: readonly (readonly [string, () => number])[] = [
    ["bind", () => libc.bind(NOWHERE, bytes, 16)],
    ["listen", () => libc.listen(NOWHERE, 1)],
    ["accept4", () => libc.accept(NOWHERE)],
    ["connect", () => libc.connect(NOWHERE, bytes, 16)],
    ["shutdown", () => libc.shutdown(NOWHERE, SHUT_WR)],
    ["read", () => libc.read(NOWHERE, bytes, 0, 1)],
    ["write", () => libc.write(NOWHERE, bytes, 0, 1)],
    ["writev", () => libc.writev(NOWHERE, bytes, 1)],
    ["getsockname", () => libc.getsockname(NOWHERE, bytes)],
    ["getpeername", () => libc.getpeername(NOWHERE, bytes)],
    ["setsockopt", () => libc.setInt(NOWHERE, SOL_SOCKET, SO_ERROR, 0)],
    ["getsockopt", () => libc.getBytes(NOWHERE, SOL_SOCKET, SO_ERROR, bytes)],
    ["epoll_ctl", () => libc.epollControl(NOWHERE, 1, NOWHERE, bytes)],
    ["epoll_wait", () => libc.epollWait(NOWHERE, bytes, 1, 0)],
    ["close", () => libc.close(NOWHERE)],
  ];
  for (const [name, call] of calls) {
    const result = call();
    if (result === -EPERM || result === -ENOSYS || result === -EACCES) neededAtStart(name, result);
  }
}
