// What a captured application must not notice: ends, resets, bulk, many at once, a proxy that goes.
import { assert, assertEquals } from "@std/assert";
import type { ProxyProcess } from "../support/proxy_process.ts";
import { completed, REDIRECT_NATIVE, startCapturedMesh } from "./captured_mesh.ts";
import { eventually, namespaceTest } from "./environment.ts";

const BULK_BYTES = 100 * 1024 * 1024;
const MANY = 200;
const MANY_BYTES = 50_000;

namespaceTest("a captured connection keeps its ends and its octets", async (test) => {
  await using mesh = await startCapturedMesh(REDIRECT_NATIVE);
  const { client, server, plain, clientProxy, serverProxy } = mesh;
  const target = async (mode: "echo" | "greet" | "digest" | "reset") => ({
    ip: server.ipv4,
    port: await server.serve(mode),
  });

  const warm = await client.exchange(await target("echo"), { bytes: 1 });
  assertEquals(warm.received, 1);
  const held = [clientProxy, serverProxy].map(descriptors);

  await test.step("the server may speak first", async () => {
    const held = await client.open(await target("greet"));
    assertEquals(await held.receive({ bytes: 6 }), { text: "hello\n", end: null });
    await held.close();
  });

  await test.step("the client ends its side, the server answers after that", async () => {
    const call = await client.exchange(await target("digest"), { bytes: 300_000 });
    assertEquals([call.error, call.text], [null, call.sentSha256]);
  });

  // A reset in the middle travels on as an end, and is none in the log (spec/data-path W14, C6).
  await test.step("a server's reset is an end for the client", async () => {
    const to = await target("reset");
    const call = await client.exchange(to, { bytes: 100 });
    assertEquals([call.connected, call.error, call.received], [true, null, 0]);
    const where = { "dst.hbone_addr": `${to.ip}:${to.port}` };
    for (
      const [proxy, direction] of [[clientProxy, "outbound"], [serverProxy, "inbound"]] as const
    ) {
      const line = await proxy.accessLine(completed(direction, where));
      assertEquals([line["level"], line["error"]], ["info", undefined]);
    }
  });

  await test.step("a client's reset is an end for the server", async () => {
    const to = await target("echo");
    const held = await client.open(to);
    await held.send("ping");
    assertEquals((await held.receive({ bytes: 4 })).text, "ping");
    await held.reset();
    const end = await eventually(async () => (await server.served(to.port))[0]?.end);
    assertEquals(end, "fin");
  });

  await test.step("a server that is down resets the client", async () => {
    const to = await target("echo");
    await server.stopServing(to.port);
    const call = await client.exchange(to, { head: "anybody there?" });
    assertEquals([call.connected, call.error, call.received], [true, "ECONNRESET", 0]);
    const address = `${to.ip}:${to.port}`;
    const line = await clientProxy.accessLine(
      completed("outbound", { "dst.hbone_addr": address, level: "error" }),
    );
    assertEquals(line["error"], "http status: 503 Service Unavailable");
  });

  await test.step("a plain server that is down resets the client", async () => {
    const port = await plain.serve("echo");
    await plain.stopServing(port);
    const call = await client.exchange({ ip: plain.ipv4, port }, { head: "anybody there?" });
    assertEquals([call.connected, call.error, call.received], [true, "ECONNRESET", 0]);
    await clientProxy.accessLine(
      completed("outbound", { "dst.addr": `${plain.ipv4}:${port}`, level: "error" }),
    );
  });

  await test.step("100 MiB go out and come back", async () => {
    const to = await target("echo");
    const bulk = await client.exchange(to, { bytes: BULK_BYTES });
    assertEquals([bulk.error, bulk.received], [null, BULK_BYTES]);
    assertEquals(bulk.receivedSha256, bulk.sentSha256);
    assertEquals((await server.served(to.port))[0]?.sha256, bulk.sentSha256);
  });

  await test.step(`${MANY} connections at once`, async () => {
    const to = await target("echo");
    const { failed, late, failures } = await client.many(to, { count: MANY, bytes: MANY_BYTES });
    assertEquals([failed, late], [0, 0], JSON.stringify(failures));
    assertEquals((await server.served(to.port)).length, MANY);
  });

  await test.step("and the proxies hold no more descriptors than after the first", async () => {
    for (const [index, proxy] of [clientProxy, serverProxy].entries()) {
      await eventually(() => descriptors(proxy) <= held[index]! || undefined);
    }
  });
});

namespaceTest(
  "a captured connection lives on while a proxy drains, new ones do not begin",
  async (test) => {
    await using mesh = await startCapturedMesh(REDIRECT_NATIVE, {
      env: { CONNECTION_TERMINATION_DEADLINE: "60s" },
    });
    const { client, server } = mesh;
    const to = { ip: server.ipv4, port: await server.serve("echo") };
    const proxies = [
      // Its 15008 is closed; the client's proxy has accepted already, and resets.
      { name: "server", proxy: mesh.serverProxy, connected: true, error: "ECONNRESET" },
      // Its 15001 is closed, to which every connection of the pod is redirected.
      { name: "client", proxy: mesh.clientProxy, connected: false, error: "ECONNREFUSED" },
    ];
    const held = await client.open(to);
    for (const { name, proxy, connected, error } of proxies) {
      await test.step(`the ${name}'s proxy`, async () => {
        await held.send("before");
        assertEquals((await held.receive({ bytes: 6 })).text, "before");
        const stopped = proxy.stop();
        await eventually(() =>
          proxy.lines.find((line) => line.includes("received signal SIGTERM, starting shutdown"))
        );
        const late = await eventually(async () => {
          const call = await client.exchange(to, { head: "late" });
          return call.received === 0 ? call : null;
        });
        assertEquals([late.connected, late.error], [connected, error]);
        await held.send("during");
        assertEquals((await held.receive({ bytes: 6 })).text, "during");
        if (proxy !== mesh.clientProxy) return;
        await held.endWrite();
        assertEquals((await held.receive()).end, "fin");
        assertEquals((await stopped).code, 0);
      });
    }
    await held.close();
    assertEquals((await mesh.serverProxy.stop()).code, 0);
  },
);

namespaceTest("a captured connection is cut when the drain's time is over", async () => {
  await using mesh = await startCapturedMesh(REDIRECT_NATIVE, {
    env: { CONNECTION_TERMINATION_DEADLINE: "1s" },
  });
  const { client, server, clientProxy } = mesh;
  const to = { ip: server.ipv4, port: await server.serve("echo") };
  const held = await client.open(to);
  await held.send("before");
  assertEquals((await held.receive({ bytes: 6 })).text, "before");
  const stopped = clientProxy.stop();
  const cut = await held.receive({ seconds: 10 });
  assert(cut.end === "fin" || cut.end === "ECONNRESET", `${cut.end}`);
  await held.close();
  assertEquals((await stopped).code, 0);
  await clientProxy.accessLine(
    completed("outbound", { error: "connection closed due to connection drain" }),
  );
});

/** Open now; the pooled connection between the proxies is among them. */
function descriptors({ pid }: ProxyProcess): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}
