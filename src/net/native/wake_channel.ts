// How another isolate wakes a loop that sleeps in the kernel: one octet through a pair of sockets.
import { assert } from "../../base/assert.ts";
import type { Task } from "../../base/clock.ts";
import { EAGAIN, EINTR } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { nativeBytes } from "./native_bytes.ts";
import type { LiveObjects, Loop, Watcher } from "./types.ts";

/** Octets taken per read, and reads per turn: the writer may be many wakes ahead. */
export const WAKE_READ_BYTES = 4096;
export const WAKE_READS_MAX = 16;

export interface WakeChannelOptions {
  readonly libc: Libc;
  readonly loop: Loop;
  /** Counts `wake channel`. */
  readonly objects: LiveObjects;
  /** Octets came, one or many: look for messages. At most once per turn. */
  readonly onWake: () => void;
  /** The other end was closed, and with it the isolate that held it. Once. */
  readonly onGone: () => void;
  /** What either callback threw. */
  readonly onFault: (thrown: unknown) => void;
}

/**
 * The loop's end of a pair of unix sockets. The other end, `remoteFd`, belongs to the caller from the beginning: it
 * passes it to an isolate that adopts it (`new net.Socket({ fd })`) and writes single octets, or closes it.
 */
export class WakeChannel implements Watcher, Task {
  readonly remoteFd: number;
  readonly #options: WakeChannelOptions;
  readonly #bytes = nativeBytes(WAKE_READ_BYTES);
  #fd: number;

  /** @throws {NativeStartError} where the kernel refuses the pair. */
  constructor(options: WakeChannelOptions) {
    this.#options = options;
    const [local, remote] = options.libc.socketpair();
    this.#fd = local;
    this.remoteFd = remote;
    options.objects.made("wake channel");
    try {
      options.loop.watch(local, this);
    } catch (thrown) {
      this.#closeSocket();
      options.libc.close(remote);
      throw thrown;
    }
  }

  /** Called by the loop. */
  onReady(): void {
    this.#drain();
  }

  /** Called by the loop. */
  onFault(thrown: unknown): void {
    this.#options.onFault(thrown);
  }

  /** Called by the loop: there was more to read than one turn allows. */
  runTask(): void {
    try {
      if (this.#fd >= 0) this.#drain();
    } catch (thrown) {
      this.#options.onFault(thrown);
    }
  }

  /** Closes the loop's end; the other one reads an end of file. Idempotent. */
  close(): void {
    if (this.#fd < 0) return;
    this.#options.loop.unwatch(this.#fd);
    this.#closeSocket();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #drain(): void {
    let woken = false;
    for (let reads = 0;; reads++) {
      if (reads === WAKE_READS_MAX) {
        this.#options.loop.nextTurn(this);
        break;
      }
      const got = this.#options.libc.read(this.#fd, this.#bytes, 0, WAKE_READ_BYTES);
      if (got > 0) {
        woken = true;
        continue;
      }
      if (got === -EAGAIN) break;
      if (got === -EINTR) continue;
      // An end or a reset; octets that came before it still count.
      this.close();
      try {
        if (woken) this.#options.onWake();
      } finally {
        this.#options.onGone();
      }
      return;
    }
    if (woken) this.#options.onWake();
  }

  #closeSocket(): void {
    assert(this.#fd >= 0, "The wake channel is closed already");
    this.#options.libc.close(this.#fd);
    this.#fd = -1;
    this.#options.objects.freed("wake channel");
  }
}
