// A descriptor kept for the moment when there is no other: with it, a connection can be accepted and refused.
import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM } from "./constants.ts";
import type { Libc } from "./libc.ts";
import type { LiveObjects } from "./types.ts";

/** Kind under which {@link LiveObjects} counts it. */
export const SPARE_KIND = "spare descriptor";

/**
 * One per network. At EMFILE the kernel goes on completing handshakes that nobody accepts, and clients hang; giving
 * the spare up for a moment lets them be told instead.
 */
export class SpareDescriptor {
  readonly #libc: Libc;
  readonly #objects: LiveObjects;
  #fd = -1;

  constructor(libc: Libc, objects: LiveObjects) {
    this.#libc = libc;
    this.#objects = objects;
    this.restore();
  }

  get held(): boolean {
    return this.#fd >= 0;
  }

  /** Gives it up; false where there is none. */
  giveUp(): boolean {
    if (this.#fd < 0) return false;
    this.#libc.close(this.#fd);
    this.#fd = -1;
    this.#objects.freed(SPARE_KIND);
    return true;
  }

  /** Takes one again, if it can be had. */
  restore(): void {
    if (this.#fd >= 0) return;
    const fd = this.#libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return; // None to be had now; tried again when a socket is closed.
    this.#fd = fd;
    this.#objects.made(SPARE_KIND);
  }
}
