// The operator's two FIPS settings, and the configuration the library gets from them. Pure.
import { NativeStartError } from "./start_error.ts";

/** What the operator says. */
export interface FipsSettings {
  /** `FIPS_MODULE_PATH`: the provider's file, such as `/usr/lib64/ossl-modules/fips.so`. */
  readonly modulePath: string;
  /**
   * `FIPS_CONFIG_PATH`: what `openssl fipsinstall` wrote for that file; null: the provider needs nothing of the kind, as
   * those of distributions that keep the checksum inside the file.
   */
  readonly configPath: string | null;
}

/** Octets of a FIPS_CONFIG_PATH; `openssl fipsinstall` writes less than 1,000. */
export const FIPS_CONFIG_BYTES_MAX = 65_536;

/** Under this name a provider is configured and loaded. */
export const PROVIDER_NAME = "fips";

/** The section that `openssl fipsinstall` writes unless told otherwise. */
const SECTION = "fips_sect";

/**
 * Text for the library's configuration reader: the provider, its file and its parameters, but not yet activated: the
 * reader would swallow the reason why it does not start.
 * @param installed Text of FIPS_CONFIG_PATH; null: none.
 * @throws {NativeStartError} where a setting cannot be meant.
 */
export function fipsConfiguration(
  { modulePath, configPath }: FipsSettings,
  installed: string | null,
): string {
  // Letters that mean something to the reader ($, \, #, quotes, line ends) are no part of such a path.
  if (!/^\/[A-Za-z0-9._+@:/-]+$/.test(modulePath)) {
    throw new NativeStartError(
      `Cannot use FIPS_MODULE_PATH=${
        JSON.stringify(modulePath)
      }: need an absolute path of letters, digits and ._+@:/-`,
    );
  }
  if (
    installed !== null && !new RegExp(`^[ \\t]*\\[[ \\t]*${SECTION}[ \\t]*\\]`, "m").test(installed)
  ) {
    throw new NativeStartError(
      `Cannot use FIPS_CONFIG_PATH=${configPath}: it has no section [${SECTION}], as "openssl fipsinstall" writes it`,
    );
  }
  return [
    "openssl_conf = proxy_start",
    (installed ?? "").replace(/^[ \t]*activate[ \t]*=.*$/gm, ""),
    "[proxy_start]",
    "providers = proxy_providers",
    "[proxy_providers]",
    `${PROVIDER_NAME} = ${SECTION}`,
    // A section named twice is one.
    `[${SECTION}]`,
    `module = ${modulePath}`,
    "",
  ].join("\n");
}
