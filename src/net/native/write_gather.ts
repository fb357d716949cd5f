// Buffers that collect several records for one call to the kernel, lent to a session while it has some.
import { assert } from "../../base/assert.ts";
import { KINDS, type OpenSsl, type Pointer } from "./openssl.ts";

/** Octets of records collected: four full ones and what surrounds them. */
export const GATHER_BYTES = 80 * 1024;
/** Buffers kept for the next session. */
export const GATHERS_IDLE_MAX = 4;

/** `BIO_C_SET_BUFF_SIZE` (bio.h), its argument for the half that writes, and `BIO_CTRL_RESET`. */
const SET_BUFFER_SIZE = 117;
const WRITE_HALF = 1;

/**
 * Lends `BIO_f_buffer` objects. A session of its own would hold 80 KiB for ever; lent, it is one for all but the sessions
 * whose peers do not read.
 */
export class WriteGather {
  readonly #openssl: OpenSsl;
  readonly #idle: Pointer[] = [];

  constructor(openssl: OpenSsl) {
    this.#openssl = openssl;
  }

  /** An empty one. The caller has the one reference to it. */
  take(): Pointer {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    const { crypto } = this.#openssl;
    const made = this.#openssl.made(KINDS.bio, crypto.BIO_new(crypto.BIO_f_buffer()));
    assert(made !== null, "Out of memory");
    crypto.BIO_int_ctrl(made, SET_BUFFER_SIZE, BigInt(GATHER_BYTES), WRITE_HALF);
    return made;
  }

  /** @param empty False where records are left in it that nobody will get. */
  giveBack(bio: Pointer, empty: boolean): void {
    if (empty && this.#idle.length < GATHERS_IDLE_MAX) this.#idle.push(bio);
    else this.#openssl.freeBio(bio);
  }

  close(): void {
    for (const bio of this.#idle.splice(0)) this.#openssl.freeBio(bio);
  }
}
