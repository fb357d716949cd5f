// A proxy that really runs out of descriptors, because it was told it may have more than it has.
import { assertEquals } from "@std/assert";
import { serveEcho } from "../support/echo_server.ts";
import { echoes } from "../support/loopback_planes.ts";
import { TEST_NETWORK } from "../support/networks.ts";
import { openDescriptors } from "../support/process_stats.ts";
import { type ProxyPair, startProxyPair } from "../support/proxy_pair.ts";
import { until } from "../support/real_sockets.ts";
import { connectSocks5, SOCKS5_PORT } from "../support/socks5.ts";

const DESCRIPTORS = 160;
const FLOOD = 200;

/** Proxies that believe in 100,000 descriptors: no budget keeps them from the end of these few. */
function startStarvedPair(): Promise<ProxyPair> {
  return startProxyPair({
    launcher: ["sh", "-c", `ulimit -n ${DESCRIPTORS}; exec "$@"`, "sh"],
    env: { DESCRIPTORS_MAX: "100000", RUST_LOG: "info", POOL_UNUSED_RELEASE_TIMEOUT: "1s" },
  });
}

Deno.test(
  `[${TEST_NETWORK}] no descriptor left: who comes is refused or waits, who is there goes on, and then all is as before`,
  async () => {
    await using pair = await startStarvedPair();
    await using echo = serveEcho(pair.inbound.ip);
    const { outbound } = pair;
    const app = { ip: pair.inbound.ip, port: echo.port };
    using bystander = await connectSocks5(outbound.ip, app);
    await echoes(bystander, 10_000);
    const before = openDescriptors(outbound.pid);

    {
      using flood = new DisposableStack();
      for (let at = 0; at < FLOOD; at++) {
        // Refused by RST, or let in.
        Deno.connect({ hostname: outbound.ip, port: SOCKS5_PORT })
          .then((connection) => flood.disposed ? connection.close() : flood.use(connection))
          .catch(() => {});
      }
      await until(() => openDescriptors(outbound.pid) > DESCRIPTORS - 5, 5_000);
      await echoes(bystander, 100_000);
    }

    await until(() => openDescriptors(outbound.pid) <= before, 20_000);
    await echoes(bystander, 10_000);
    using late = await connectSocks5(outbound.ip, app);
    await echoes(late, 10_000);
    assertEquals((await outbound.stop()).code, 0);
    assertEquals(outbound.lines.filter((line) => /\bbug\b|panic|left native/i.test(line)), []);
  },
);
