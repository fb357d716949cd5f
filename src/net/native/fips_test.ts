// What stands in the way of FIPS, without a provider; tests/fips has one.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { FipsProvider } from "./fips.ts";
import { FIPS_CONFIG_BYTES_MAX, type FipsSettings } from "./fips_config.ts";
import { Libc } from "./libc.ts";
import { LIBC_PATHS } from "./libc_symbols.ts";
import { findLibraries } from "./libraries.ts";
import { libcFolders } from "./library_folders.ts";
import { CountedObjects } from "./live_objects.ts";
import { OpenSsl } from "./openssl.ts";
import { NativeStartError } from "./start_error.ts";

const SECTION = "[fips_sect]\n";

/** The sentence with which the settings are refused. */
function refusal(settings: Partial<FipsSettings>): string {
  using libc = Libc.open();
  const folders = libcFolders(libc);
  const paths = findLibraries({ openSslLibDir: null, arch: Deno.build.arch, folders });
  const objects = new CountedObjects();
  const openssl = OpenSsl.open(paths, objects);
  try {
    const { message } = assertThrows(
      () =>
        FipsProvider.load({
          modulePath: "/nonexistent/fips.so",
          configPath: null,
          ...settings,
          libcrypto: paths.libcrypto,
          folders,
          objects,
        }),
      NativeStartError,
    );
    assertEquals([...objects.counts], [], "A refusal leaves nothing behind");
    return message;
  } finally {
    openssl.close();
  }
}

function withFile(text: string, run: (path: string) => void): void {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeTextFileSync(path, text);
    run(path);
  } finally {
    Deno.removeSync(path);
  }
}

Deno.test("FipsProvider.load() refuses an absent provider", () => {
  assertEquals(
    refusal({}),
    "Cannot start with FIPS: FIPS_MODULE_PATH=/nonexistent/fips.so cannot be read",
  );
});

Deno.test("FipsProvider.load() refuses a file that is no library", () => {
  withFile("This is a text file, and longer than the header of a library would be.\n", (path) => {
    assertEquals(
      refusal({ modulePath: path }),
      `Cannot start with FIPS: provider ${path} cannot be loaded: ${path}: invalid ELF header`,
    );
  });
});

Deno.test("FipsProvider.load() refuses a library that is no provider", () => {
  const path = LIBC_PATHS.find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  })!;
  assertEquals(
    refusal({ modulePath: path }),
    `Cannot start with FIPS: provider ${path} cannot be loaded: ${path}: undefined symbol: OSSL_provider_init`,
  );
});

Deno.test.each([
  { path: "/nonexistent/fipsmodule.cnf", reason: "it does not exist" },
  { path: "/", reason: "it is a folder" },
])("FipsProvider.load() refuses FIPS_CONFIG_PATH=$path", ({ path, reason }) => {
  assertEquals(refusal({ configPath: path }), `Cannot read FIPS_CONFIG_PATH=${path}: ${reason}`);
});

Deno.test.each([
  { verb: "reads", octets: FIPS_CONFIG_BYTES_MAX - 1, refused: false },
  { verb: "reads", octets: FIPS_CONFIG_BYTES_MAX, refused: false },
  { verb: "refuses", octets: FIPS_CONFIG_BYTES_MAX + 1, refused: true },
])("FipsProvider.load() $verb a configuration of $octets octets", (test) => {
  withFile(SECTION.padEnd(test.octets, "\n"), (path) => {
    const sentence = refusal({ configPath: path });
    if (test.refused) {
      assertEquals(
        sentence,
        `Cannot use FIPS_CONFIG_PATH=${path}: more than ${FIPS_CONFIG_BYTES_MAX} bytes`,
      );
    } else assert(sentence.endsWith("cannot be read"), sentence);
  });
});

Deno.test("FipsProvider.load() refuses a configuration that the library cannot read", () => {
  withFile(`${SECTION}[unclosed\n`, (path) => {
    withFile("", (empty) => {
      const sentence = refusal({ modulePath: empty, configPath: path });
      assertEquals(
        sentence,
        "Cannot start with FIPS: FIPS_CONFIG_PATH is no configuration: missing close square bracket",
      );
    });
  });
});
