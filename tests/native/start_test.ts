// `task proxy:native` as an operator meets it: what it says about itself, and what it says instead of starting.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { flagsOf, PERMISSION_SETS, type PermissionSet, Program } from "../support/command_line.ts";

const READY_WITHIN_MS = 15_000;
const ENDED_WITHIN_MS = 15_000;

const ENV: Readonly<Record<string, string>> = {
  IO_PROVIDER: "native",
  PROXY_MODE: "dedicated",
  PROXY_WORKLOAD_INFO: "default/client/client",
  LOCAL_XDS: "{}",
  XDS_ADDRESS: "",
  FAKE_CA: "true",
  IPV6_ENABLED: "false",
  ENABLE_ORIG_SRC: "false",
  BIND_ADDRESS: "127.0.0.11",
};

/** The task's grants: the permission set, and the sources for the worker. */
const GRANTED: PermissionSet = { ...PERMISSION_SETS["proxy-native"]!, read: ["src"] };

function start(env: Readonly<Record<string, string>> = {}, granted = GRANTED): Program {
  return new Program({ flags: flagsOf(granted), args: ["proxy"], env: { ...ENV, ...env } });
}

Deno.test("proxy:native starts with its permission set, says what it runs on, and drains", async () => {
  await using program = start();
  await program.printed("marking server ready", READY_WITHIN_MS);
  assertMatch(program.stdout, /\tinfo\tapp\tnative network\topenssl="OpenSSL 3\.\d+\.\d+[^"]*" /);
  assertStringIncludes(program.stdout, 'CryptoProvider:"tls-openssl"');
  const dump = await (await fetch("http://127.0.0.11:15000/config_dump")).json();
  assertEquals([dump.config.ioProvider, dump.config.keyExchange, dump.config.fips], [
    "native",
    "default",
    null,
  ]);
  program.signal("SIGTERM");
  assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
  for (const component of ["inbound", "inbound passthrough", "outbound"]) {
    assertStringIncludes(program.stdout, `shutdown complete\tcomponent="${component}"`);
  }
  assertEquals(program.stderr, "");
});

Deno.test("version says which OpenSSL the native network would run on", async () => {
  await using program = new Program({
    flags: flagsOf(GRANTED),
    args: ["version"],
    env: { IO_PROVIDER: "native" },
  });
  assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
  const [build, native, end] = program.stdout.split("\n");
  assertMatch(build!, /CryptoProvider:"tls-openssl"\}$/);
  assertMatch(native!, /^native network: OpenSSL 3\.\d+\.\d+ .*, key exchange default$/);
  assertEquals(end, "");
});

Deno.test.each([
  {
    name: "ffi",
    env: {},
    granted: { ...GRANTED, ffi: false },
    expected: /^Error: Missing permission --allow-ffi: needed to call libc and OpenSSL/,
  },
  {
    name: "the worker's sources",
    env: {},
    granted: { ...GRANTED, read: [] },
    expected: /^Error: Missing permission --allow-read=\S+\/src\/: needed to start the data plane/,
  },
  {
    name: "OpenSSL",
    env: { OPENSSL_LIB_DIR: "/nowhere" },
    granted: GRANTED,
    expected: /^Error: Cannot read the folder OPENSSL_LIB_DIR=\/nowhere: it does not exist$/m,
  },
  {
    name: "a FIPS provider",
    env: { FIPS_MODULE_PATH: "/nowhere/fips.so" },
    granted: GRANTED,
    expected:
      /^Error: Cannot start with FIPS: FIPS_MODULE_PATH=\/nowhere\/fips\.so cannot be read$/m,
  },
])("proxy:native without $name is one sentence and exit code 1", async (given) => {
  await using program = start(given.env, given.granted);
  assertEquals(await program.ended(ENDED_WITHIN_MS), 1);
  assertMatch(program.stderr, given.expected);
  assertEquals(program.stderr.trim().split("\n").length, 1);
});
