// Builds OpenSSL's FIPS provider for the tests, once, from the sources of the `openssl-src` crate. What comes out works
// like an operator's provider and is no validated one: nobody else may use it.
import { findTool, run } from "./tools.ts";

/** The crate, by version and checksum: OpenSSL 3.0.8. */
const CRATE = "openssl-src";
const CRATE_VERSION = "300.0.13+3.0.8";
const CRATE_SHA256 = "f00789a63ec8951fcda9adb0f2258582afdcfe1b2435e332d3a859896f814f0a";
/** What the provider says about itself. */
export const PROVIDER_VERSION = "3.0.8";

/** The two files an operator names. */
export interface ProviderFiles {
  readonly modulePath: string;
  readonly configPath: string;
}

/**
 * The provider and its configuration, out of `FIPS_CACHE_DIR` (a folder outside the repository; else one of the
 * temporary folder) or built into it, which takes half a minute of one core.
 */
export async function testProvider(): Promise<ProviderFiles> {
  const cache = Deno.env.get("FIPS_CACHE_DIR") ||
    `${Deno.env.get("TMPDIR") || "/tmp"}/fips-provider-for-tests-${Deno.uid()}`;
  const folder = `${cache}/${PROVIDER_VERSION}-${Deno.build.arch}`;
  const files = { modulePath: `${folder}/fips.so`, configPath: `${folder}/fipsmodule.cnf` };
  if (!await exists(files.configPath)) await build(cache, folder);
  return files;
}

async function build(cache: string, folder: string): Promise<void> {
  await Deno.mkdir(cache, { recursive: true });
  const work = await Deno.makeTempDir({ dir: cache });
  try {
    const source = await fetchSource(work);
    const install = `${work}/install`;
    await Deno.mkdir(install);
    await run(await findTool("perl"), ["Configure", "enable-fips", "no-tests"], source);
    const jobs = `-j${navigator.hardwareConcurrency}`;
    await run(await findTool("make"), [jobs, "build_generated", "providers/fips.so"], source);
    await Deno.copyFile(`${source}/providers/fips.so`, `${install}/fips.so`);
    const paths = ["-module", `${install}/fips.so`, "-out", `${install}/fipsmodule.cnf`];
    await run(await findTool("openssl"), ["fipsinstall", "-quiet", ...paths], work);
    await Deno.rename(install, folder).catch(async (error) => {
      // Somebody else was faster.
      if (!await exists(folder)) throw error;
    });
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** cargo knows where this machine gets crates from. */
async function fetchSource(work: string): Promise<string> {
  await Deno.mkdir(`${work}/src`);
  await Deno.writeTextFile(`${work}/src/lib.rs`, "");
  await Deno.writeTextFile(
    `${work}/Cargo.toml`,
    `[package]\nname = "fetch"\nversion = "0.0.0"\n[dependencies]\n${CRATE} = "=${CRATE_VERSION}"\n`,
  );
  await run(await findTool("cargo"), ["vendor", "--quiet", "vendor"], work);
  const source = `${work}/vendor/${CRATE}`;
  const sums = JSON.parse(await Deno.readTextFile(`${source}/.cargo-checksum.json`));
  if (sums.package !== CRATE_SHA256) throw new Error(`${CRATE} ${CRATE_VERSION} has changed`);
  return `${source}/openssl`;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
