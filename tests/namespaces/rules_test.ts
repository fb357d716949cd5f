// The rules, proved with listeners of our own in the place of a proxy's: who lands where, and as what.
import { assertEquals } from "@std/assert";
import { namespaceTest } from "./environment.ts";
import type { Pod } from "./pod.ts";
import { NetworkRig } from "./rig.ts";
import { BY_MARK, counted, PORTS, redirectToProxy, tproxyToProxy } from "./rules.ts";

const CAPTURES = [
  { name: "REDIRECT", transparent: false, install: redirectToProxy },
  { name: "TPROXY", transparent: true, install: (pod: Pod) => tproxyToProxy(pod, BY_MARK) },
] as const;

for (const { name, transparent, install } of CAPTURES) {
  namespaceTest(`${name} brings what goes out to 15001 and what comes in to 15006`, async () => {
    await using rig = await NetworkRig.create(["client", "server"]);
    const [client, server] = [rig.pod("client"), rig.pod("server")];
    await install(client);
    await install(server);
    await client.serve("original", { port: PORTS.outbound, transparent });
    await server.serve("original", { port: PORTS.inboundPlaintext, transparent });
    const own = await client.serve("greet");
    for (const family of [4, 6] as const) {
      const where = (ip: string, port: number) =>
        family === 4 ? `${ip}:${port}` : `[${ip}]:${port}`;
      const outside = { ip: server.ip(family), port: 8080 };
      assertEquals(
        (await client.exchange(outside, { head: "x" })).text.replace(/x$/, ""),
        where(outside.ip, outside.port),
      );
      assertEquals(
        (await client.served(PORTS.outbound)).at(-1)?.peer.includes(client.ip(family)),
        true,
      );

      // Its own addresses and loopback are not captured.
      for (const ip of [client.ip(family), family === 4 ? "127.0.0.1" : "::1"]) {
        assertEquals((await client.exchange({ ip, port: own })).text, "hello\n");
      }
    }
    const before = await counted(client);
    assertEquals(before["inbound"], 0);

    // The server pod has no proxy behind 15001, and the client goes around its own.
    const peer = { ip: server.ipv4, port: 8080 };
    const direct = await client.run([
      ...["python3", "-c", MARKED_CONNECT, peer.ip, `${peer.port}`],
    ]);
    assertEquals(direct.trim(), `${peer.ip}:${peer.port}`);
  });
}

/** A connection as a proxy opens it: with the mark. */
const MARKED_CONNECT = `
import socket, sys
connection = socket.socket()
connection.setsockopt(socket.SOL_SOCKET, 36, 0x539)
connection.connect((sys.argv[1], int(sys.argv[2])))
print(connection.recv(100).decode())
`;
