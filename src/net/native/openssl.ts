// OpenSSL 3 as bound functions, its queue of errors, and its numbers.
import { assert } from "../../base/assert.ts";
import type { LibraryScope } from "./fips.ts";
import type { LibraryPaths } from "./libraries.ts";
import { nativeBytes } from "./native_bytes.ts";
import { openLibrary } from "./open_library.ts";
import { LIBCRYPTO_SYMBOLS, LIBSSL_SYMBOLS } from "./openssl_symbols.ts";
import { NativeStartError } from "./start_error.ts";
import type { LiveObjects } from "./types.ts";

type SslLibrary = Deno.DynamicLibrary<typeof LIBSSL_SYMBOLS>;
type CryptoLibrary = Deno.DynamicLibrary<typeof LIBCRYPTO_SYMBOLS>;

/** An object of the library. Null where it could not be made, or was freed. */
export type Pointer = Deno.PointerObject;

/** Kinds under which {@link LiveObjects} counts what was made here. */
export const KINDS = {
  context: "SSL_CTX",
  session: "SSL",
  key: "EVP_PKEY",
  certificate: "X509",
  bio: "BIO",
  callback: "callback",
} as const;

/** What `SSL_get_error` answers (ssl.h). */
export const SSL_ERROR = { ssl: 1, wantRead: 2, wantWrite: 3, syscall: 5, zeroReturn: 6 } as const;

/** Entries of the queue of errors that are looked at; more are dropped. */
export const ERRORS_MAX = 16;
/** Octets of one reason's text. */
const TEXT_BYTES_MAX = 128;

const INIT_NO_LOAD_CONFIG = 0x80n;
/** Else the library frees its own memory at the process's end while another thread still uses it. */
const INIT_NO_ATEXIT = 0x80000n;

/** Where objects are made, as arguments of the library; nulls: its default. */
interface Scope {
  readonly context: Pointer | null;
  /** The property query, ending in 0. */
  readonly query: Uint8Array<ArrayBuffer> | null;
}
const NO_SCOPE: Scope = { context: null, query: null };

/** One entry of the queue of errors (ERR_get_error(3)). */
export interface OpenSslError {
  /** `ERR_LIB_…` */
  readonly library: number;
  /** `…_R_…` of that library. */
  readonly reason: number;
  /** The library's words, such as `no shared cipher`. */
  readonly text: string;
}

/**
 * The functions of one libssl and libcrypto, opened once at start; they go on working when ffi was given up. An object
 * belongs to the thread that opened it. No function may be called with null or with something that was freed:
 * whoever wraps an object asserts that.
 */
export class OpenSsl {
  readonly ssl: SslLibrary["symbols"];
  readonly crypto: CryptoLibrary["symbols"];
  readonly objects: LiveObjects;
  /** Such as `OpenSSL 3.0.19 27 Jan 2026`. */
  readonly text: string;
  /** `OpenSSL_version_num()`: 0xMNN00PP0. */
  readonly number: number;
  readonly #libraries: readonly (SslLibrary | CryptoLibrary)[];
  #scope: Scope | null = null;
  readonly #errnoAt: Pointer;
  readonly #errnoBytes = nativeBytes(4);
  readonly #errno = new Int32Array(this.#errnoBytes.buffer);

  private constructor(ssl: SslLibrary, crypto: CryptoLibrary, objects: LiveObjects) {
    this.#libraries = [ssl, crypto];
    this.ssl = ssl.symbols;
    this.crypto = crypto.symbols;
    this.objects = objects;
    this.#errnoAt = this.crypto.errnoLocation()!;
    this.number = Number(this.crypto.OpenSSL_version_num());
    this.text = this.textAt(this.crypto.OpenSSL_version(0)!);
  }

  /** @throws {NativeStartError} where a library cannot be opened, lacks a symbol or does not initialize. */
  static open({ libssl, libcrypto }: LibraryPaths, objects: LiveObjects): OpenSsl {
    // libcrypto first, so that libssl finds this one.
    const crypto = openLibrary(libcrypto, LIBCRYPTO_SYMBOLS);
    let ssl: SslLibrary;
    try {
      ssl = openLibrary(libssl, LIBSSL_SYMBOLS);
    } catch (error) {
      crypto.close();
      throw error;
    }
    const opened = new OpenSsl(ssl, crypto, objects);
    if (opened.ssl.OPENSSL_init_ssl(INIT_NO_LOAD_CONFIG | INIT_NO_ATEXIT, null) === 1) {
      return opened;
    }
    opened.close();
    throw new NativeStartError(`Cannot use ${libssl}: ${opened.text} does not initialize`);
  }

  /**
   * Makes contexts, keys and certificates in `scope` from now on: those of a FIPS provider. Once, before any is made.
   * The scope outlives them all.
   */
  enter({ context, properties }: LibraryScope): void {
    assert(this.#scope === null, "The library is entered once");
    const query = nativeBytes(properties.length + 1);
    new TextEncoder().encodeInto(properties, query);
    this.#scope = { context, query };
  }

  /** A new SSL_CTX; null where the library cannot. The caller frees it. */
  newContext(): Pointer | null {
    const { context, query } = this.#scope ?? NO_SCOPE;
    return this.made(
      KINDS.context,
      this.ssl.SSL_CTX_new_ex(context, query, this.ssl.TLS_method()),
    );
  }

  freeContext(context: Pointer): void {
    this.ssl.SSL_CTX_free(context);
    this.objects.freed(KINDS.context);
  }

  /** Empties the queue of errors: before each operation whose failure is told by it. */
  clearErrors(): void {
    this.crypto.ERR_clear_error();
  }

  /** Empties the queue and gives its first {@link ERRORS_MAX} entries, oldest first. */
  takeErrors(): OpenSslError[] {
    const errors: OpenSslError[] = [];
    while (errors.length < ERRORS_MAX) {
      const code = this.crypto.ERR_get_error();
      if (code === 0) return errors;
      const isSystem = code >= 0x8000_0000;
      const reason = isSystem ? code - 0x8000_0000 : code & 0x7f_ffff;
      const library = isSystem ? 2 : (code >>> 23) & 0xff;
      const text = this.crypto.ERR_reason_error_string(BigInt(code));
      errors.push({ library, reason, text: text === null ? `error ${code}` : this.textAt(text) });
    }
    this.clearErrors();
    return errors;
  }

  /** The thread's errno; to be asked directly after the call that failed. */
  errno(): number {
    this.crypto.copyFrom(this.#errnoBytes, this.#errnoAt, 4);
    return this.#errno[0]!;
  }

  /** A text of the library's own, cut at {@link TEXT_BYTES_MAX}. */
  textAt(pointer: Pointer): string {
    const bytes = nativeBytes(TEXT_BYTES_MAX);
    this.crypto.OPENSSL_strlcpy(bytes, pointer, BigInt(TEXT_BYTES_MAX));
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  }

  /** Counts what a call made; null where it made nothing. */
  made(kind: string, pointer: Deno.PointerValue): Pointer | null {
    if (pointer !== null) this.objects.made(kind);
    return pointer;
  }

  /** Reads one DER certificate; null where the library cannot. The caller frees it. */
  certificate(der: Uint8Array<ArrayBuffer>): Pointer | null {
    const { context, query } = this.#scope ?? NO_SCOPE;
    return this.#decode(der, (bio) => {
      const slot = BigUint64Array.of(this.crypto.newCertificate(context, query));
      assert(slot[0] !== 0n, "Out of memory");
      const read = this.crypto.d2i_X509_bio(bio, new Uint8Array(slot.buffer));
      // Unless it freed the empty one itself, as it does where the encoding is bad.
      if (read === null && slot[0] !== 0n) this.crypto.freeCertificateAt(slot[0]!);
      return this.made(KINDS.certificate, read);
    });
  }

  freeCertificate(certificate: Pointer): void {
    this.crypto.X509_free(certificate);
    this.objects.freed(KINDS.certificate);
  }

  /** Imports a PKCS#8 DER key; null where the library cannot. It keeps no reference to `der`; the caller frees the key. */
  privateKey(der: Uint8Array<ArrayBuffer>): Pointer | null {
    const { context, query } = this.#scope ?? NO_SCOPE;
    return this.#decode(
      der,
      (bio) => this.made(KINDS.key, this.crypto.d2i_PrivateKey_ex_bio(bio, null, context, query)),
    );
  }

  freePrivateKey(key: Pointer): void {
    this.crypto.EVP_PKEY_free(key);
    this.objects.freed(KINDS.key);
  }

  freeBio(bio: Pointer): void {
    this.crypto.BIO_free(bio);
    this.objects.freed(KINDS.bio);
  }

  /** Gives the libraries back: nothing of this object may be used afterwards. */
  close(): void {
    for (const library of this.#libraries) library.close();
  }

  #decode<Value>(der: Uint8Array<ArrayBuffer>, read: (bio: Pointer) => Value): Value | null {
    if (der.length === 0) return null;
    // Lent: no copy of ours of a key. The library makes one while it decodes, and frees that unwiped (README).
    const bio = this.made(KINDS.bio, this.crypto.BIO_new_mem_buf(der, der.length));
    assert(bio !== null, "Out of memory");
    try {
      return read(bio);
    } finally {
      this.freeBio(bio);
    }
  }
}
