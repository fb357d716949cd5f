// Two proxies with each policy: what an application sends comes back to the byte.
import { assert, assertEquals } from "@std/assert";
import { serveEcho } from "../support/echo_server.ts";
import { startProxyPair } from "../support/proxy_pair.ts";
import { connectSocks5, readExactly, writeAll } from "../support/socks5.ts";
import { testProvider } from "./fips_provider.ts";
import { handshake } from "./handshake.ts";

const BYTES = 3_000_000;
/** What one call of `crypto` fills at most. */
const FILL_BYTES_MAX = 65_536;

/** Sends octets through both proxies to a server that sends them back. Gives what the proxies logged. */
async function echoThrough(env: Readonly<Record<string, string>>): Promise<string> {
  const libraries = Deno.env.get("OPENSSL_LIB_DIR");
  await using pair = await startProxyPair({
    env: {
      IO_PROVIDER: "native",
      ...libraries === undefined ? {} : { OPENSSL_LIB_DIR: libraries },
      ...env,
    },
    runtimeFlags: ["--unstable-worker-options"],
  });
  await using echo = serveEcho(pair.inbound.ip);
  const connection = await connectSocks5(pair.outbound.ip, {
    ip: pair.inbound.ip,
    port: echo.port,
  });
  try {
    const sent = randomBytes(BYTES);
    const [, received] = await Promise.all([
      writeAll(connection, sent),
      readExactly(connection, BYTES),
    ]);
    assert(sent.every((octet, at) => octet === received[at]), "Octets have changed");
  } finally {
    connection.close();
  }
  return [...pair.outbound.lines, ...pair.inbound.lines].join("\n");
}

function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += FILL_BYTES_MAX) {
    crypto.getRandomValues(bytes.subarray(at, at + FILL_BYTES_MAX));
  }
  return bytes;
}

Deno.test("two proxies with a FIPS provider carry an application's octets", async () => {
  const { modulePath, configPath } = await testProvider();
  const log = await echoThrough({ FIPS_MODULE_PATH: modulePath, FIPS_CONFIG_PATH: configPath });
  assertEquals(
    log.match(/fips: data plane only, provider OpenSSL FIPS Provider 3\.0\.8/g)?.length,
    2,
  );
});

Deno.test("two proxies carry an application's octets by the strictest policy of their library", async () => {
  const { library, hello } = await handshake();
  const hasHybrid = hello.groups.includes("X25519MLKEM768");
  const log = await echoThrough(hasHybrid ? { COMPLIANCE_POLICY: "pqc" } : {});
  assert(log.includes(library), log);
  assert(log.includes(`"keyExchange":"${hasHybrid ? "pqc" : "default"}"`), log);
});
