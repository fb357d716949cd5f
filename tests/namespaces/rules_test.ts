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
    assertEquals((await counted(client))["inbound"], 0);
  });

  namespaceTest(
    `${name} lets the proxy's own connections pass, from its address and from others'`,
    async () => {
      await using rig = await NetworkRig.create(["client", "server"]);
      const [client, server] = [rig.pod("client"), rig.pod("server")];
      for (const pod of [client, server]) {
        await install(pod);
        await pod.serve("original", { port: PORTS.outbound, transparent });
        await pod.serve("original", { port: PORTS.inboundPlaintext, transparent });
      }
      const hbone = await server.serve("greet", { port: PORTS.inbound });
      const app = await server.serve("greet");
      for (const family of [4, 6] as const) {
        const connect = (pod: Pod, ip: string, port: number, source = "") =>
          pod.run(["python3", "-c", PROXY_CONNECT, ip, `${port}`, source]);
        assertEquals(await connect(client, server.ip(family), hbone), "hello\n\n");
        const spoofed = await connect(server, server.ip(family), app, client.ip(family));
        assertEquals(spoofed, "hello\n\n");
        assertEquals((await server.served(app)).at(-1)?.peer.includes(client.ip(family)), true);
      }
    },
  );
}

/** A connection as a proxy opens it: with the mark, and perhaps from a foreign address. */
const PROXY_CONNECT = `
import socket, sys
ip, port, source = sys.argv[1:]
connection = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
connection.settimeout(5)
connection.setsockopt(socket.SOL_SOCKET, 36, 0x539)
if source:
    connection.setsockopt(socket.SOL_IP, 19, 1)
    connection.bind((source, 0))
connection.connect((ip, int(port)))
print(connection.recv(100).decode())
`;
