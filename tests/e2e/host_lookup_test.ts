// Name servers that may not be asked are missed at the start, by a sentence, and not by connections much later.
import { assertEquals } from "@std/assert";
import { formatAddress } from "../../src/base/address.ts";
import { parseResolvConf } from "../../src/dns/resolv_conf.ts";
import { resolverAddresses } from "../../src/dns/server_attempt.ts";

const MODULE = new URL("../../src/host_lookup.ts", import.meta.url).href;

/** What `openHostLookup` says in a process with these flags. */
async function opened(flags: readonly string[]): Promise<string> {
  const program = `import { openHostLookup } from ${JSON.stringify(MODULE)};
    import { SystemClock } from ${JSON.stringify(new URL("base/system_clock.ts", MODULE).href)};
    try {
      const parts = { network: null, clock: new SystemClock(), ipv6Enabled: true, logger: { log() {} } };
      openHostLookup(parts).close();
      console.log("opened");
    } catch (error) {
      console.log(error.message);
    }`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--no-check", ...flags, "--allow-read", "-"],
    cwd: new URL("../../", import.meta.url).pathname,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  return new TextDecoder().decode((await child.output()).stdout).trim();
}

Deno.test("openHostLookup() says which addresses a question may not go to or come from", async () => {
  const { servers } = parseResolvConf(Deno.readTextFileSync("/etc/resolv.conf"));
  assertEquals(await opened(["--allow-net"]), "opened");
  assertEquals(
    (await opened([])).split("\n"),
    resolverAddresses(servers).map((address) =>
      `Missing permission --allow-net=${formatAddress(address)}: ` +
      "needed to find workloads that the mesh knows by name"
    ),
  );
});
