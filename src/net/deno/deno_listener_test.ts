// What opening a listener anew leaves behind.
import net from "node:net";
import v8 from "node:v8";
import vm from "node:vm";
import { assertEquals, assertLessOrEqual } from "@std/assert";
import { loopbackBlock } from "../../../tests/support/loopback.ts";
import { promised, until } from "../../../tests/support/real_sockets.ts";
import { SystemClock } from "../../base/system_clock.ts";
import type { Listener } from "../network.ts";
import { DenoListener } from "./deno_listener.ts";

const RENEWALS = 10;

Deno.test("DenoListener opened anew does not keep the servers before", async () => {
  v8.setFlagsFromString("--expose-gc");
  const collect = vm.runInNewContext("gc") as () => void;
  const servers: WeakRef<net.Server>[] = [];
  const { createServer } = net;
  net.createServer = ((...options: Parameters<typeof createServer>) => {
    const server = createServer(...options);
    servers.push(new WeakRef(server));
    return server;
  }) as typeof createServer;
  try {
    const clock = new SystemClock();
    const listener = await promised<Listener>((done) =>
      new DenoListener({ ip: `${loopbackBlock()}.1`, port: 0 }, {
        ...{ clock, backlog: 8, keepalive: null, inherited: null, openSockets: () => 1 },
        onSocket: (socket) => void socket.destroy(),
        onClosed() {},
      }, done)
    ) as DenoListener;
    for (let count = 1; count <= RENEWALS; count++) {
      listener.watch.exhausted();
      listener.watch.closed();
      await until(() => listener.renewals === count);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    collect();
    assertEquals(servers.length, 1 + RENEWALS);
    // The one that listens, and one that may be closing still.
    assertLessOrEqual(servers.filter((server) => server.deref() !== undefined).length, 2);
    listener.close();
    await until(() => clock.waiting === 0);
  } finally {
    net.createServer = createServer;
  }
});
