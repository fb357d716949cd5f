import { assertEquals, assertThrows } from "@std/assert";
import { fipsConfiguration } from "./fips_config.ts";
import { NativeStartError } from "./start_error.ts";

const MODULE = "/usr/lib64/ossl-modules/fips.so";

/** As `openssl fipsinstall` writes it. */
const INSTALLED = `[fips_sect]
activate = 1
install-version = 1
module-mac = FF:52:4F:AC
`;

function configuration(modulePath: string, installed: string | null = null) {
  return fipsConfiguration(
    { modulePath, configPath: installed === null ? null : "/etc/fips.cnf" },
    installed,
  );
}

Deno.test("fipsConfiguration() names the module and begins nothing by itself", () => {
  assertEquals(configuration(MODULE).split("\n").filter((line) => line !== ""), [
    "openssl_conf = proxy_start",
    "[proxy_start]",
    "providers = proxy_providers",
    "[proxy_providers]",
    "fips = fips_sect",
    "[fips_sect]",
    `module = ${MODULE}`,
  ]);
});

Deno.test("fipsConfiguration() keeps what fipsinstall wrote, but for the activation", () => {
  const text = configuration(MODULE, INSTALLED);
  assertEquals(text.includes("module-mac = FF:52:4F:AC\n"), true);
  assertEquals(text.includes("activate"), false);
});

Deno.test.each(["fips.so", "/a b.so", "/a\nb.so", "/$HOME/fips.so", "/a#b", "/a;b", '/"a"', "/"])(
  "fipsConfiguration() refuses the module path %o",
  (path) => {
    assertThrows(
      () => configuration(path),
      NativeStartError,
      `Cannot use FIPS_MODULE_PATH=${JSON.stringify(path)}: need an absolute path of letters`,
    );
  },
);

Deno.test.each(["", "[provider_sect]\nactivate = 1\n", "fips_sect = 1\n"])(
  "fipsConfiguration() refuses a configuration without its section: %o",
  (text) => {
    assertThrows(
      () => configuration(MODULE, text),
      NativeStartError,
      'Cannot use FIPS_CONFIG_PATH=/etc/fips.cnf: it has no section [fips_sect], as "openssl fipsinstall" writes it',
    );
  },
);
