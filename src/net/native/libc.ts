// libc as plain calls: numbers and byte ranges in, a result or minus the errno out.
import { assert } from "../../base/assert.ts";
import {
  AF_UNIX,
  EPOLL_CLOEXEC,
  O_CLOEXEC,
  O_RDONLY,
  RLIMIT_NOFILE,
  SIG_IGN,
  SO_ERROR,
  SO_LINGER,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "./constants.ts";
import { EIO, neededAtStart, netErrorOf } from "./errno.ts";
import { LIBC_NAME, LIBC_PATHS, LIBC_SYMBOLS, type LibcLibrary } from "./libc_symbols.ts";
import type { LibcSymbols } from "./libc_symbols.ts";
import { nativeBytes } from "./native_bytes.ts";
import { openLibrary } from "./open_library.ts";
import { NativeStartError } from "./start_error.ts";
import type { CountOrErrno } from "./types.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Octets read at most by {@link Libc.readFile} unless told otherwise. */
export const FILE_BYTES_MAX = 1 << 20;

/** Limits of RLIMIT_NOFILE; Infinity where there is none. */
export interface DescriptorLimit {
  readonly soft: number;
  readonly hard: number;
}

/**
 * The system calls of one isolate. A result below zero is minus the errno (errno.ts); everything else is as in the
 * manual. Ranges are `(bytes, start, length)` and asserted, since the kernel writes wherever it is told. An object
 * belongs to the thread that opened it: the place of errno is the thread's own.
 *
 * errno is copied out directly after a failed call. Nothing of the runtime runs in between but, at worst, a call of
 * its own that succeeds, and those leave errno alone.
 *
 * SIGPIPE: the runtime ignores it (a test holds that), so a write to a closed socket is EPIPE.
 */
export class Libc {
  readonly #library: LibcLibrary;
  readonly #c: LibcSymbols;
  readonly #errnoAt: Deno.PointerObject;
  readonly #errnoBytes = nativeBytes(4);
  readonly #errno = new Int32Array(this.#errnoBytes.buffer);
  readonly #optionBytes = nativeBytes(8);
  readonly #option = new Int32Array(this.#optionBytes.buffer);
  readonly #lengthBytes = nativeBytes(4);
  readonly #length = new Int32Array(this.#lengthBytes.buffer);
  /** Octets of the address that {@link acceptFrom} wrote last. */
  addressLength = 0;

  private constructor(library: LibcLibrary) {
    this.#library = library;
    this.#c = library.symbols;
    const errnoAt = this.#c.errnoLocation();
    assert(errnoAt !== null, "libc has no errno");
    this.#errnoAt = errnoAt;
  }

  /**
   * Opens the first libc that can be: of {@link LIBC_PATHS}, else by name. A scoped grant for one path suffices.
   * @param options.path The only one to try.
   * @throws {NativeStartError} Why the first that was granted could not be opened.
   */
  static open(options: { readonly path?: string } = {}): Libc {
    const names = options.path === undefined ? [...LIBC_PATHS, LIBC_NAME] : [options.path];
    const failures: string[] = [];
    for (const name of names) {
      if (!isGranted(name)) continue;
      try {
        return new Libc(openLibrary(name, LIBC_SYMBOLS));
      } catch (thrown) {
        if (!(thrown instanceof NativeStartError)) throw thrown;
        failures.push(thrown.message);
      }
    }
    throw new NativeStartError(
      failures[0] ?? `Cannot open the C library: run with --allow-ffi=${names[0]} or where it is`,
    );
  }

  /** Gives the runtime's handle of the library back; no call may follow. */
  [Symbol.dispose](): void {
    this.#library.close();
  }

  // Sockets: socket(2) and what it refers to.

  /** @param type Together with SOCK_NONBLOCK and SOCK_CLOEXEC where wanted: nothing is added here. */
  socket(domain: number, type: number, protocol: number): CountOrErrno {
    return this.#result(this.#c.socket(domain, type, protocol));
  }

  /**
   * Two connected unix stream sockets, non-blocking, closed on exec. The caller owns both.
   * @throws {NativeStartError} where the kernel refuses: pairs are made at start.
   */
  socketpair(): [number, number] {
    const pair = nativeBytes(8);
    const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    neededAtStart("socketpair", this.#result(this.#c.socketpair(AF_UNIX, type, 0, pair)));
    const view = new Int32Array(pair.buffer);
    return [view[0]!, view[1]!];
  }

  bind(fd: number, address: Bytes, length: number): CountOrErrno {
    assert(length > 0 && length <= address.length, "Address longer than its buffer");
    return this.#result(this.#c.bind(fd, address, length));
  }

  listen(fd: number, backlog: number): CountOrErrno {
    return this.#result(this.#c.listen(fd, backlog));
  }

  /** @returns The new descriptor, non-blocking and closed on exec. */
  accept(fd: number): CountOrErrno {
    return this.#result(this.#c.accept4(fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC));
  }

  /** As {@link accept}; the peer's address goes to `address`, its length to {@link addressLength}. */
  acceptFrom(fd: number, address: Bytes): CountOrErrno {
    this.#length[0] = address.length;
    const result = this.#c.accept4(
      fd,
      address,
      this.#lengthBytes,
      SOCK_NONBLOCK | SOCK_CLOEXEC,
    );
    if (result < 0) return this.#failure();
    this.addressLength = Math.min(this.#length[0]!, address.length);
    return result;
  }

  connect(fd: number, address: Bytes, length: number): CountOrErrno {
    assert(length > 0 && length <= address.length, "Address longer than its buffer");
    return this.#result(this.#c.connect(fd, address, length));
  }

  shutdown(fd: number, how: number): CountOrErrno {
    return this.#result(this.#c.shutdown(fd, how));
  }

  /** The descriptor is gone afterwards whatever the result (close(2)). */
  close(fd: number): CountOrErrno {
    return this.#result(this.#c.close(fd));
  }

  /** @returns Octets read; 0 at the end of the stream. */
  read(fd: number, bytes: Bytes, start: number, length: number): CountOrErrno {
    assertRange(bytes, start, length);
    const into = start === 0 ? bytes : bytes.subarray(start);
    return this.#result(this.#c.read(fd, into, length));
  }

  /** @returns Octets written, possibly fewer than `length`. */
  write(fd: number, bytes: Bytes, start: number, length: number): CountOrErrno {
    assertRange(bytes, start, length);
    const from = start === 0 ? bytes : bytes.subarray(start);
    return this.#result(this.#c.write(fd, from, length));
  }

  /**
   * Writes several ranges in one call.
   * @param vector `count` records of 16 octets: address ({@link addressOf}) and length, 64 bits each. The caller holds
   * what the addresses point to.
   */
  writev(fd: number, vector: Bytes, count: number): CountOrErrno {
    assert(count > 0 && count * 16 <= vector.length, "More ranges than the vector holds");
    return this.#result(this.#c.writev(fd, vector, count));
  }

  /** @returns The length of the address written to `address`. */
  getsockname(fd: number, address: Bytes): CountOrErrno {
    this.#length[0] = address.length;
    if (this.#c.getsockname(fd, address, this.#lengthBytes) < 0) return this.#failure();
    return Math.min(this.#length[0]!, address.length);
  }

  /** @returns The length of the address written to `address`. */
  getpeername(fd: number, address: Bytes): CountOrErrno {
    this.#length[0] = address.length;
    if (this.#c.getpeername(fd, address, this.#lengthBytes) < 0) return this.#failure();
    return Math.min(this.#length[0]!, address.length);
  }

  // Options: socket(7), tcp(7), ip(7).

  setInt(fd: number, level: number, option: number, value: number): CountOrErrno {
    this.#option[0] = value;
    return this.#result(this.#c.setsockopt(fd, level, option, this.#optionBytes, 4));
  }

  /** @returns 0, with the option in `into.value` (signed 32 bits). */
  getInt(fd: number, level: number, option: number, into: { value: number }): CountOrErrno {
    this.#option[0] = 0;
    this.#length[0] = 4;
    const result = this.#c.getsockopt(fd, level, option, this.#optionBytes, this.#lengthBytes);
    if (result < 0) return this.#failure();
    into.value = this.#option[0]!;
    return 0;
  }

  /** @returns The octets written to `bytes`. */
  getBytes(fd: number, level: number, option: number, bytes: Bytes): CountOrErrno {
    this.#length[0] = bytes.length;
    const result = this.#c.getsockopt(fd, level, option, bytes, this.#lengthBytes);
    if (result < 0) return this.#failure();
    return this.#length[0]!;
  }

  /** SO_LINGER on: with 0 seconds `close` sends RST and drops what was not sent. */
  setLinger(fd: number, seconds: number): CountOrErrno {
    this.#option[0] = 1;
    this.#option[1] = seconds;
    return this.#result(this.#c.setsockopt(fd, SOL_SOCKET, SO_LINGER, this.#optionBytes, 8));
  }

  /** The socket's pending error as a (positive) errno, cleared by this; 0 for none. */
  soError(fd: number): number {
    this.#option[0] = 0;
    this.#length[0] = 4;
    const result = this.#c.getsockopt(
      fd,
      SOL_SOCKET,
      SO_ERROR,
      this.#optionBytes,
      this.#lengthBytes,
    );
    return result < 0 ? -this.#failure() : this.#option[0]!;
  }

  // Descriptors and files.

  fcntl(fd: number, command: number, argument: number): CountOrErrno {
    return this.#result(this.#c.fcntl(fd, command, argument));
  }

  /** A second descriptor of the same open file; not closed on exec. */
  dup(fd: number): CountOrErrno {
    return this.#result(this.#c.dup(fd));
  }

  /** Opens a file, never creating it. */
  open(path: string, flags: number): CountOrErrno {
    return this.#result(this.#c.open(new TextEncoder().encode(path + "\0"), flags, 0));
  }

  /**
   * Reads a file the runtime's permissions do not cover, such as those below /proc.
   * @param bytesMax A longer file is cut there.
   * @throws {NetError} with the errno's name.
   */
  readFile(path: string, bytesMax: number = FILE_BYTES_MAX): Bytes {
    const fd = this.open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw netErrorOf(-fd);
    try {
      let bytes = nativeBytes(Math.min(bytesMax, 4096));
      let length = 0;
      for (;;) {
        const got = this.read(fd, bytes, length, bytes.length - length);
        if (got < 0) throw netErrorOf(-got);
        length += got;
        if (got === 0 || length === bytesMax) return bytes.slice(0, length);
        if (length < bytes.length) continue;
        const larger = nativeBytes(Math.min(bytesMax, bytes.length * 2));
        larger.set(bytes);
        bytes = larger;
      }
    } finally {
      this.close(fd);
    }
  }

  // epoll(7).

  /** @returns A new epoll instance, closed on exec. */
  epollCreate(): CountOrErrno {
    return this.#result(this.#c.epoll_create1(EPOLL_CLOEXEC));
  }

  /** @param event A `struct epoll_event` as {@link platformOf} lays it out. */
  epollControl(epoll: number, operation: number, fd: number, event: Bytes): CountOrErrno {
    return this.#result(this.#c.epoll_ctl(epoll, operation, fd, event));
  }

  /**
   * Blocks the thread for at most `timeoutMs` (−1: without end).
   * @param events Room for `eventsMax` records; the caller asserts the size, once.
   * @returns Records written.
   */
  epollWait(epoll: number, events: Bytes, eventsMax: number, timeoutMs: number): CountOrErrno {
    return this.#result(this.#c.epoll_wait(epoll, events, eventsMax, timeoutMs));
  }

  // The process.

  /**
   * RLIMIT_NOFILE.
   * @throws {NetError} where the kernel refuses.
   */
  descriptorLimit(): DescriptorLimit {
    const limits = new BigUint64Array(2);
    const bytes = new Uint8Array(limits.buffer);
    const result = this.#result(this.#c.getrlimit(RLIMIT_NOFILE, bytes));
    if (result < 0) throw netErrorOf(-result);
    return { soft: limitOf(limits[0]!), hard: limitOf(limits[1]!) };
  }

  /**
   * Raises the soft limit of open descriptors to the hard one.
   * @returns The limits afterwards; a refusal leaves them as they were.
   */
  raiseDescriptorLimit(): DescriptorLimit {
    const before = this.descriptorLimit();
    if (before.soft >= before.hard) return before;
    const hard = before.hard === Infinity ? NO_LIMIT : BigInt(before.hard);
    this.#c.setrlimit(RLIMIT_NOFILE, new Uint8Array(BigUint64Array.of(hard, hard).buffer));
    return this.descriptorLimit();
  }

  /**
   * The whole process ignores the signal from now on, whatever the runtime wanted to do about it; a handler that the
   * runtime installs later would take its place.
   */
  ignoreSignal(signal: number): void {
    this.#c.signal(signal, SIG_IGN);
  }

  /** Gives free memory of the C heap back to the kernel; false where this libc cannot. */
  trimHeap(): boolean {
    if (this.#c.mallocTrim === null) return false;
    this.#c.mallocTrim(0);
    return true;
  }

  // Memory. The caller answers for the pointer: alive, and with `length` octets behind it.

  /** Copies `length` octets from `pointer` to the beginning of `bytes`. */
  memcpyFrom(pointer: Deno.PointerValue, bytes: Bytes, length: number): void {
    assert(pointer !== null, "Cannot copy from nowhere");
    assertRange(bytes, 0, length);
    this.#c.copyFrom(bytes, pointer, length);
  }

  /** Copies the first `length` octets of `bytes` to `pointer`. */
  memcpyTo(pointer: Deno.PointerValue, bytes: Bytes, length: number): void {
    assert(pointer !== null, "Cannot copy to nowhere");
    assertRange(bytes, 0, length);
    this.#c.copyTo(pointer, bytes, length);
  }

  /** Where the first octet of `bytes` lies, valid as long as the caller holds `bytes` (see {@link nativeBytes}). */
  addressOf(bytes: Bytes): bigint {
    assert(bytes.length > 0, "An empty range has no address");
    return this.#c.addressOf(bytes, bytes, 0);
  }

  #result(result: number): CountOrErrno {
    return result < 0 ? this.#failure() : result;
  }

  #failure(): CountOrErrno {
    this.#c.copyFrom(this.#errnoBytes, this.#errnoAt, 4);
    const errno = this.#errno[0]!;
    return errno > 0 ? -errno : -EIO; // Never 0: that would read as success.
  }
}

const NO_LIMIT = 0xffff_ffff_ffff_ffffn;

function limitOf(value: bigint): number {
  return value === NO_LIMIT ? Infinity : Number(value);
}

function assertRange(bytes: Uint8Array, start: number, length: number): void {
  // One comparison for both: a negative number is a large unsigned one.
  assert(
    start >>> 0 === start && length >>> 0 === length && start + length <= bytes.length,
    "Range outside its buffer",
  );
}

/** Asked before opening, so that no terminal is ever prompted. */
function isGranted(name: string): boolean {
  const scope = name === LIBC_NAME ? {} : { path: name };
  return Deno.permissions.querySync({ name: "ffi", ...scope }).state === "granted";
}
