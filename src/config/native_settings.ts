// Which network carries the traffic, and what only the native one knows.
import { type Environment, EnvReader, U32_LIMIT } from "./env_reader.ts";
import { invalidConfiguration } from "./errors.ts";

/** Settings of the native network. */
export interface NativeSettings {
  /** `OPENSSL_LIB_DIR`: a folder with one libssl and one libcrypto; null: the system's. */
  readonly openSslLibDir: string | null;
  /** `TLS12_ENABLED`. */
  readonly tls12: boolean;
  /** `COMPLIANCE_POLICY=pqc`: X25519MLKEM768 and nothing else. */
  readonly pqc: boolean;
  /** `FIPS_MODULE_PATH`: the provider's file, and what its installation wrote; null: no FIPS mode. */
  readonly fips: { readonly modulePath: string; readonly configPath: string | null } | null;
  /** `PACKET_MARK`: SO_MARK of upstream sockets; null: none. */
  readonly packetMark: number | null;
}

/** `IO_PROVIDER`. */
export type IoProvider = "deno" | "native";

/** SO_MARK of a node proxy's sockets, which the node agent's rules leave alone (spec/identity-and-inpod). */
export const SHARED_PACKET_MARK = 1337;

/** Which network implementation is asked for. */
export function readIoProvider(read: EnvReader): IoProvider {
  return read.choice("IO_PROVIDER", ["deno", "native"], "deno");
}

/**
 * Of the settings, those of the native network; null where it is not asked for. For `version`, which says what the
 * network runs on without a proxy's other settings.
 * @throws {ConfigError} as readConfig().
 */
export function readNativeSettings(env: Environment): NativeSettings | null {
  const read = new EnvReader(env);
  return readNative(read, { ioProvider: readIoProvider(read), markOtherwise: null }).native;
}

/**
 * What would be weaker than asked for with the runtime's own sockets is refused; the rest is a warning.
 * @param options.markOtherwise SO_MARK where `PACKET_MARK` is not set.
 * @throws {ConfigError}
 */
export function readNative(
  read: EnvReader,
  options: { readonly ioProvider: IoProvider; readonly markOtherwise: number | null },
): { readonly native: NativeSettings | null; readonly warning: string | null } {
  const mark = read.integer("PACKET_MARK", null, { max: U32_LIMIT });
  const settings = {
    openSslLibDir: read.text("OPENSSL_LIB_DIR") || null,
    tls12: read.exactlyTrue("TLS12_ENABLED"),
    pqc: read.text("COMPLIANCE_POLICY") === "pqc",
    fips: readFips(read),
    packetMark: (mark ?? options.markOtherwise) || null,
  };
  if (options.ioProvider === "native") return { native: settings, warning: null };
  if (settings.pqc) {
    throw invalidConfiguration(
      "COMPLIANCE_POLICY=pqc needs IO_PROVIDER=native: key exchange cannot be chosen in the runtime's own TLS",
    );
  }
  if (settings.fips !== null) {
    throw invalidConfiguration(
      "FIPS_MODULE_PATH needs IO_PROVIDER=native: the runtime's own TLS loads no provider",
    );
  }
  if (mark !== null && mark !== 0) {
    throw invalidConfiguration(
      "PACKET_MARK needs IO_PROVIDER=native: the runtime's own sockets cannot be marked",
    );
  }
  return {
    native: null,
    warning: settings.tls12
      ? "TLS12_ENABLED has no effect with IO_PROVIDER=deno: TLS 1.3 only"
      : null,
  };
}

function readFips(read: EnvReader): NativeSettings["fips"] {
  const modulePath = read.text("FIPS_MODULE_PATH") || null;
  const configPath = read.text("FIPS_CONFIG_PATH") || null;
  if (modulePath !== null) return { modulePath, configPath };
  if (configPath === null) return null;
  throw invalidConfiguration("FIPS_CONFIG_PATH is set and FIPS_MODULE_PATH is not");
}
