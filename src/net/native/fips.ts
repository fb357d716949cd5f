// The operator's FIPS provider in a library context of its own: loaded, self-tested, named as it names itself.
import { assert } from "../../base/assert.ts";
import { type FipsState, HYBRID_GROUP } from "./crypto_policy.ts";
import {
  FIPS_CONFIG_BYTES_MAX,
  fipsConfiguration,
  type FipsSettings,
  PROVIDER_NAME,
} from "./fips_config.ts";
import { FIPS_SYMBOLS, type FipsLibrary, type FipsSymbols } from "./fips_symbols.ts";
import type { LibraryFolders } from "./library_folders.ts";
import { nativeBytes } from "./native_bytes.ts";
import { openLibrary } from "./open_library.ts";
import { readProviderParameters } from "./provider_parameters.ts";
import { NativeStartError } from "./start_error.ts";
import type { LiveObjects } from "./types.ts";

/** Property query under which everything of a FIPS data plane is fetched. */
export const FIPS_PROPERTIES = "fips=yes";

/** Where TLS contexts, keys and certificates are made: a library context and the property query of their fetches. */
export interface LibraryScope {
  /** An OSSL_LIB_CTX. A loan. */
  readonly context: Deno.PointerObject;
  readonly properties: string;
}

/** Kinds under which native objects are counted. */
const CONTEXT = "OSSL_LIB_CTX";
const PROVIDER = "OSSL_PROVIDER";

/** What a session takes from the provider. One that lacks it would be of no use, or is no such provider at all. */
const NEEDED = [
  { kind: "CIPHER", name: "AES-256-GCM" },
  { kind: "CIPHER", name: "AES-128-GCM" },
  { kind: "MD", name: "SHA2-256" },
  { kind: "MD", name: "SHA2-384" },
  { kind: "KDF", name: "TLS13-KDF" },
  { kind: "KEYEXCH", name: "ECDH" },
  { kind: "SIGNATURE", name: "ECDSA" },
] as const;

type Kind = typeof NEEDED[number]["kind"] | "KEM";

/** What loading needs. */
export interface FipsOptions extends FipsSettings {
  /** Path of the libcrypto that the TLS sessions use; open already. */
  readonly libcrypto: string;
  readonly folders: LibraryFolders;
  readonly objects: LiveObjects;
}

/**
 * An OSSL_LIB_CTX that has the FIPS provider, the library's `base` provider (encodings, no algorithms) and
 * {@link FIPS_PROPERTIES} as default: whatever is fetched in it is the FIPS provider's, or fails. TLS contexts, keys and
 * certificates are made in it; it is closed after all of them.
 *
 * The library's default context gets its `null` provider, which has nothing: what would be made outside of this context
 * by mistake fails.
 */
export class FipsProvider implements LibraryScope {
  readonly properties: string = FIPS_PROPERTIES;
  readonly #library: FipsLibrary;
  readonly #objects: LiveObjects;
  #context: Deno.PointerObject | null;
  /** Loaded providers, for as long as the context lives. */
  readonly #providers: Deno.PointerObject[] = [];
  #state: FipsState | null = null;

  private constructor(library: FipsLibrary, objects: LiveObjects) {
    this.#library = library;
    this.#objects = objects;
    const context = library.symbols.OSSL_LIB_CTX_new();
    if (context === null) throw new NativeStartError("Cannot make a library context for FIPS");
    this.#context = context;
    objects.made(CONTEXT);
  }

  /**
   * Loads the provider, lets it test itself, and makes sure that it has what sessions need. At start, while the isolate
   * has unscoped ffi.
   * @throws {NativeStartError} where the provider is absent, does not start, or fails its self-test.
   */
  static load(options: FipsOptions): FipsProvider {
    const installed = options.configPath === null ? null : readInstalled(options);
    const configuration = fipsConfiguration(options, installed);
    if (!options.folders.isReadable(options.modulePath)) {
      throw new NativeStartError(
        `Cannot start with FIPS: FIPS_MODULE_PATH=${options.modulePath} cannot be read`,
      );
    }
    const library = openLibrary(options.libcrypto, FIPS_SYMBOLS);
    const provider = new FipsProvider(library, options.objects);
    try {
      provider.#start(options, configuration);
    } catch (thrown) {
      provider.close();
      throw thrown;
    }
    return provider;
  }

  /** The OSSL_LIB_CTX; a loan, valid until {@link close}. */
  get context(): Deno.PointerObject {
    assert(this.#context !== null, "The library context is closed");
    return this.#context;
  }

  /** What the provider says about itself. */
  get state(): FipsState {
    assert(this.#state !== null, "The provider has not started");
    return this.#state;
  }

  /** After everything made in the context was freed. */
  close(): void {
    if (this.#context === null) return;
    const c = this.#library.symbols;
    for (const provider of this.#providers.splice(0).reverse()) {
      c.OSSL_PROVIDER_unload(provider);
      this.#objects.freed(PROVIDER);
    }
    c.OSSL_LIB_CTX_free(this.#context);
    this.#context = null;
    this.#objects.freed(CONTEXT);
    this.#library.close();
  }

  #start({ modulePath, configPath }: FipsSettings, configuration: string): void {
    const c = this.#library.symbols;
    c.ERR_clear_error();
    this.#configure(configuration);
    const refused = `Cannot start with FIPS: provider ${modulePath}`;
    const provider = this.#loadProvider(PROVIDER_NAME);
    if (provider === null) {
      const { first, selfTest } = takeErrors(c);
      const hint = configPath === null && first === "missing config data"
        ? '; set FIPS_CONFIG_PATH to what "openssl fipsinstall" wrote for it'
        : "";
      throw new NativeStartError(
        selfTest
          ? `${refused} failed its self-test: ${first}${hint}`
          : `${refused} cannot be loaded: ${first}`,
      );
    }
    // Algorithms too, and not only the checksum: fipsinstall may have told the provider to skip them at start.
    if (c.OSSL_PROVIDER_self_test(provider) !== 1) {
      throw new NativeStartError(`${refused} failed its self-test: ${takeErrors(c).first}`);
    }
    const { name, version, status } = readProviderParameters(c, provider);
    if (status !== 1) throw new NativeStartError(`${refused} is in an error state`);
    if (
      this.#loadProvider("base") === null ||
      this.#loadProvider("null", null) === null ||
      c.EVP_set_default_properties(this.context, cString(FIPS_PROPERTIES)) !== 1
    ) {
      throw new NativeStartError(`${refused} cannot be joined: ${takeErrors(c).first}`);
    }
    const missing = NEEDED.filter(({ kind, name }) => !this.#offers(kind, name));
    if (missing.length > 0) {
      const names = missing.map(({ name }) => name).join(", ");
      throw new NativeStartError(`${refused} has no approved ${names}`);
    }
    const hybrid = this.#offers("KEM", HYBRID_GROUP);
    const text = `fips: data plane only, provider ${name} ${version}`;
    this.#state = Object.freeze({ text, name, version, hybrid });
    c.ERR_clear_error();
  }

  #configure(configuration: string): void {
    const c = this.#library.symbols;
    const bytes = nativeBytes(configuration.length * 3);
    const { written } = new TextEncoder().encodeInto(configuration, bytes);
    const source = c.BIO_new_mem_buf(bytes, written);
    const settings = c.NCONF_new_ex(this.context, null);
    assert(source !== null && settings !== null, "No memory for a configuration");
    const done = c.NCONF_load_bio(settings, source, nativeBytes(8)) === 1 &&
      c.CONF_modules_load(settings, null, 0n) === 1;
    c.BIO_free(source);
    c.NCONF_free(settings);
    assert(bytes.length >= written, "Held until here: the source refers to it by address only");
    if (done) return;
    throw new NativeStartError(
      `Cannot start with FIPS: FIPS_CONFIG_PATH is no configuration: ${takeErrors(c).first}`,
    );
  }

  #loadProvider(
    name: string,
    context: Deno.PointerObject | null = this.context,
  ): Deno.PointerObject | null {
    const provider = this.#library.symbols.OSSL_PROVIDER_load(context, cString(name));
    if (provider === null) return null;
    this.#providers.push(provider);
    this.#objects.made(PROVIDER);
    return provider;
  }

  #offers(kind: Kind, name: string): boolean {
    const c = this.#library.symbols;
    const query = cString(FIPS_PROPERTIES);
    const algorithm = c[`EVP_${kind}_fetch`](this.context, cString(name), query);
    if (algorithm === null) return false;
    c[`EVP_${kind}_free`](algorithm);
    return true;
  }
}

function readInstalled({ configPath, folders }: FipsOptions): string {
  assert(configPath !== null, "No file to read");
  const read = folders.read(configPath, FIPS_CONFIG_BYTES_MAX + 1);
  if (typeof read === "string") {
    throw new NativeStartError(`Cannot read FIPS_CONFIG_PATH=${configPath}: ${read}`);
  }
  if (read.length > FIPS_CONFIG_BYTES_MAX) {
    throw new NativeStartError(
      `Cannot use FIPS_CONFIG_PATH=${configPath}: more than ${FIPS_CONFIG_BYTES_MAX} bytes`,
    );
  }
  return new TextDecoder().decode(read);
}

/** Empties the thread's error queue: the oldest reason, with what the loader said, and whether a self-test is in it. */
function takeErrors(c: FipsSymbols): { readonly first: string; readonly selfTest: boolean } {
  const reasons: string[] = [];
  const [skipped, data] = [nativeBytes(8), nativeBytes(8)];
  const dataAddress = new BigUint64Array(data.buffer);
  // OpenSSL's own queue has 16 places.
  for (let count = 0; count < 16; count++) {
    const code = c.ERR_get_error_all(skipped, skipped, skipped, data, skipped);
    if (code === 0n) break;
    const loader = textAt(Deno.UnsafePointer.create(dataAddress[0]!));
    reasons.push(loader.includes("): ") ? loader.split("): ")[1]! : textOf(c, code));
  }
  return {
    first: reasons[0] ?? "no reason given",
    selfTest: reasons.some((reason) => reason.includes("self test")),
  };
}

function textOf(c: FipsSymbols, code: bigint): string {
  return textAt(c.ERR_reason_error_string(code)) || `error ${code.toString(16).toUpperCase()}`;
}

function textAt(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  const bytes = nativeBytes(text.length + 1);
  new TextEncoder().encodeInto(text, bytes);
  return bytes;
}
