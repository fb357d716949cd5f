// Ten thousand connections come and go, and leave nothing behind.
import { assert, assertEquals } from "@std/assert";
import { serveEcho } from "../support/echo_server.ts";
import { openDescriptors, residentBytes } from "../support/process_stats.ts";
import { type ProxyPair, startProxyPair } from "../support/proxy_pair.ts";
import { connectSocks5, readExactly, writeAll } from "../support/socks5.ts";

const CONNECTIONS = 10_000;
const CONNECTIONS_BEFORE = 1_000;
const AT_ONCE = 20;
const RESIDENT_GROWTH_MAX = 1.2;
/** The pool must let go of its connection within the test. */
const POOL_RELEASE_MS = 2_000;
const QUIET_WITHIN_MS = 20_000;

interface Seen {
  readonly descriptors: readonly number[];
  readonly resident: readonly number[];
}

function look(pair: ProxyPair): Seen {
  const pids = [pair.outbound.pid, pair.inbound.pid];
  return { descriptors: pids.map(openDescriptors), resident: pids.map(residentBytes) };
}

/** Opens `count` connections, a few at once; each sends a little, reads it back and closes. */
async function churn(pair: ProxyPair, port: number, count: number): Promise<void> {
  const target = { ip: pair.inbound.ip, port };
  let left = count;
  const worker = async () => {
    while (left-- > 0) {
      const connection = await connectSocks5(pair.outbound.ip, target);
      await writeAll(connection, new Uint8Array([1, 2, 3]));
      assertEquals(await readExactly(connection, 3), new Uint8Array([1, 2, 3]));
      connection.close();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** Waits until both processes hold as many descriptors as `wanted`; gives what was seen last. */
async function whenQuiet(pair: ProxyPair, wanted: readonly number[]): Promise<Seen> {
  const deadline = performance.now() + QUIET_WITHIN_MS;
  for (;;) {
    const seen = look(pair);
    const quiet = seen.descriptors.every((count, index) => count <= wanted[index]!);
    if (quiet || performance.now() > deadline) return seen;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

Deno.test("10,000 connections leave descriptors and memory where they were", async () => {
  await using pair = await startProxyPair({
    discardOutput: true,
    env: { POOL_UNUSED_RELEASE_TIMEOUT: `${POOL_RELEASE_MS / 1000}s` },
  });
  await using echo = serveEcho(pair.inbound.ip);
  const before = look(pair);
  await churn(pair, echo.port, CONNECTIONS_BEFORE);
  const early = await whenQuiet(pair, before.descriptors);
  assertEquals(early.descriptors, before.descriptors);
  await churn(pair, echo.port, CONNECTIONS - CONNECTIONS_BEFORE);
  const late = await whenQuiet(pair, before.descriptors);
  assertEquals(late.descriptors, before.descriptors);
  for (const [index, name] of ["outbound", "inbound"].entries()) {
    const growth = late.resident[index]! / early.resident[index]!;
    assert(growth <= RESIDENT_GROWTH_MAX, `resident memory of ${name} grew ${growth.toFixed(2)}x`);
  }
});
