// A private key in memory: lent to whoever signs with it, never printed, wiped when it was handed on.
import { encodeBase64 } from "@std/encoding";
import { assert } from "../base/assert.ts";

const PEM_LINE_LENGTH = 64;

/**
 * A leaf's private key. Shows nothing of itself in logs, dumps and JSON. Text made from it ({@link pem}) cannot
 * be wiped; who can take DER takes DER.
 */
export class PrivateKey {
  #pkcs8: Uint8Array<ArrayBuffer> | null;

  /** @param pkcs8 PKCS#8, DER, not encrypted. Owned by the key from here on. */
  constructor(pkcs8: Uint8Array<ArrayBuffer>) {
    this.#pkcs8 = pkcs8;
  }

  /** True after {@link wipe}: the key is somewhere else, or gone. */
  get isWiped(): boolean {
    return this.#pkcs8 === null;
  }

  /** Lends the PKCS#8 DER for the call; `use` keeps no reference to it. */
  use<Result>(use: (pkcs8: Uint8Array<ArrayBuffer>) => Result): Result {
    assert(this.#pkcs8 !== null, "A wiped key cannot be used");
    return use(this.#pkcs8);
  }

  /** PKCS#8 PEM, for runtimes that want text. */
  pem(): string {
    const base64 = this.use((der) => encodeBase64(der));
    const lines = base64.match(new RegExp(`.{1,${PEM_LINE_LENGTH}}`, "g")) ?? [];
    return `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n`;
  }

  /** Overwrites the key. Idempotent. */
  wipe(): void {
    this.#pkcs8?.fill(0);
    this.#pkcs8 = null;
  }

  toJSON(): string {
    return "[private key]";
  }
}
