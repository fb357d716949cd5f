// Applications that know of no proxy, in two captured pods and one without: REDIRECT and TPROXY, both families.
import { assert, assertEquals } from "@std/assert";
import {
  type Capture,
  type CapturedMesh,
  CAPTURES,
  completed,
  FORBIDDEN_PORT,
  identityOf,
  READABLE,
  startCapturedMesh,
  STRICT_PORT,
  transparency,
} from "./captured_mesh.ts";
import { namespaceTest } from "./environment.ts";
import type { Pod, Target } from "./pod.ts";
import { counted, PORTS } from "./rules.ts";

const ECHO_BYTES = 1_000_003;
const FAMILIES = [4, 6] as const;
type Family = typeof FAMILIES[number];

for (const capture of CAPTURES) {
  namespaceTest(`captured pods talk by HBONE: ${capture.name}`, async (test) => {
    await using mesh = await startCapturedMesh(capture);
    assertEquals(transparency(mesh.serverProxy), [...capture.transparent]);
    for (const family of FAMILIES) {
      const steps: [
        string,
        (mesh: CapturedMesh, family: Family, capture: Capture) => Promise<void>,
      ][] = [
        ["an application's octets reach the server and come back", echoes],
        ["a workload without HBONE gets plain TCP", reachesPlainWorkload],
        ["a client without proxy comes in by 15006", comesInPlain],
        ["policies hold on 15006 and on 15008", obeysPolicies],
        ["nobody can talk to the proxy's own ports", guardsItself],
      ];
      for (const [name, step] of steps) {
        await test.step(`IPv${family}: ${name}`, () => step(mesh, family, capture));
      }
    }
    await test.step("between the pods there is HBONE and nothing readable", () =>
      isUnreadable(mesh));
  });
}

async function echoes(
  { client, server, clientProxy, serverProxy }: CapturedMesh,
  family: Family,
  { spoofs }: Capture,
): Promise<void> {
  const target = { ip: server.ip(family), port: await server.serve("echo") };
  const echo = await client.exchange(target, { head: READABLE, bytes: ECHO_BYTES });
  assertEquals([echo.error, echo.received], [null, READABLE.length + ECHO_BYTES]);
  assertEquals(echo.receivedSha256, echo.sentSha256);
  const [seen] = await server.served(target.port);
  assertEquals(seen?.sha256, echo.sentSha256);
  assertEquals(ipOf(seen!.peer), spoofs ? client.ip(family) : server.ip(family));

  const names = {
    "src.workload": "client",
    "src.namespace": "test",
    "src.identity": identityOf("client"),
    "dst.workload": "server",
    "dst.identity": identityOf("server"),
    "dst.addr": addressText({ ip: target.ip, port: PORTS.inbound }),
    "dst.hbone_addr": addressText(target),
  };
  const outbound = await clientProxy.accessLine(
    completed("outbound", { ...names, "src.addr": echo.local! }),
  );
  const inbound = await serverProxy.accessLine(completed("inbound", names));
  assertEquals(ipOf(`${inbound["src.addr"]}`), client.ip(family));
  assertEquals([outbound["bytes_sent"], outbound["bytes_recv"]], [echo.sent, echo.received]);
  assertEquals([inbound["bytes_sent"], inbound["bytes_recv"]], [echo.received, echo.sent]);
  assertEquals([outbound["error"], inbound["error"]], [undefined, undefined]);
}

async function reachesPlainWorkload(
  { client, plain, clientProxy }: CapturedMesh,
  family: Family,
): Promise<void> {
  const before = (await counted(plain))["readable"]!;
  const target = { ip: plain.ip(family), port: await plain.serve("greet") };
  const echo = await client.exchange(target, { head: READABLE, bytes: 10_000 });
  assertEquals(echo.text.slice(0, 6 + READABLE.length), `hello\n${READABLE}`);
  const [seen] = await plain.served(target.port);
  // As it was called from: nobody spoofs on the way out.
  assertEquals(ipOf(seen!.peer), client.ip(family));
  const line = await clientProxy.accessLine(
    completed("outbound", { "src.addr": echo.local!, "dst.addr": addressText(target) }),
  );
  assertEquals([line["src.identity"], line["dst.identity"], line["dst.hbone_addr"]], [
    undefined,
    undefined,
    undefined,
  ]);
  assert((await counted(plain))["readable"]! > before, "the counter of readable packets sees none");
}

async function comesInPlain(
  { plain, server, serverProxy }: CapturedMesh,
  family: Family,
  { spoofs }: Capture,
): Promise<void> {
  const target = { ip: server.ip(family), port: await server.serve("echo") };
  const echo = await plain.exchange(target, { bytes: ECHO_BYTES });
  assertEquals([echo.error, echo.received, echo.receivedSha256], [
    null,
    ECHO_BYTES,
    echo.sentSha256,
  ]);
  const [seen] = await server.served(target.port);
  assertEquals(ipOf(seen!.peer), spoofs ? plain.ip(family) : server.ip(family));
  const line = await serverProxy.accessLine(
    completed("inbound", { "src.addr": echo.local!, "dst.addr": addressText(target) }),
  );
  assertEquals([line["src.identity"], line["dst.workload"]], [undefined, "server"]);
}

async function obeysPolicies(
  { client, plain, server, serverProxy }: CapturedMesh,
  family: Family,
): Promise<void> {
  const at = (port: number) => ({ ip: server.ip(family), port });
  const ports = [STRICT_PORT, FORBIDDEN_PORT] as const;
  for (const port of ports) await server.serve("greet", { port, ip: server.ip(family) });
  const calls: [Pod, number, boolean][] = [
    [plain, STRICT_PORT, false],
    [plain, FORBIDDEN_PORT, true],
    [client, STRICT_PORT, true],
    [client, FORBIDDEN_PORT, false],
  ];
  for (const [from, port, allowed] of calls) {
    const answer = await from.exchange(at(port), { head: "ping" });
    // The proxy's kernel has accepted before anybody could judge; then nothing comes.
    assertEquals([answer.connected, answer.text], [true, allowed ? "hello\nping" : ""]);
  }
  assertEquals((await server.served(STRICT_PORT)).length, 1);
  assertEquals((await server.served(FORBIDDEN_PORT)).length, 1);
  for (const name of ["strict", "forbidden"]) {
    const port = name === "strict" ? STRICT_PORT : FORBIDDEN_PORT;
    const text = `connection closed due to policy rejection: explicitly denied by: test/${name}`;
    const field = name === "strict" ? "dst.addr" : "dst.hbone_addr";
    await serverProxy.accessLine(
      completed("inbound", { error: text, [field]: addressText(at(port)) }),
    );
  }
  for (const port of ports) await server.stopServing(port);
}

async function guardsItself(
  { client, plain, server, clientProxy }: CapturedMesh,
  family: Family,
): Promise<void> {
  const loopback = family === 4 ? "127.0.0.1" : "::1";
  const { outbound, inboundPlaintext, inbound, socks5 } = PORTS;
  const calls: [Pod, Target][] = [
    ...[outbound, inboundPlaintext].map((port): [Pod, Target] => [client, { ip: loopback, port }]),
    ...[outbound, inboundPlaintext, inbound, socks5].map((port): [Pod, Target] => [
      client,
      { ip: server.ip(family), port },
    ]),
    ...[outbound, inboundPlaintext, socks5].map((port): [Pod, Target] => [
      plain,
      { ip: server.ip(family), port },
    ]),
    ...[outbound, inboundPlaintext].map((port): [Pod, Target] => [
      client,
      { ip: client.ip(family), port },
    ]),
  ];
  for (const [from, target] of calls) {
    const answer = await from.exchange(target, { head: "anybody there?" });
    const what = `${from.name} -> ${addressText(target)}`;
    assertEquals(
      [answer.connected, answer.received],
      [true, 0],
      `${what} ${JSON.stringify(answer)}`,
    );
  }
  await clientProxy.accessLine((line) =>
    line["message"] === "connection failed" && line["direction"] === "outbound" &&
    line["dst.addr"] === addressText({ ip: loopback, port: outbound }) &&
    line["error"] === "attempted recursive call to ourselves"
  );
}

async function isUnreadable({ client, server }: CapturedMesh): Promise<void> {
  const packets = await counted(server);
  assert(packets["hbone"]! > 100, `${packets["hbone"]} packets of HBONE`);
  const before = packets;
  const target = { ip: server.ipv4, port: await server.serve("echo") };
  const echo = await client.exchange(target, { head: READABLE, bytes: ECHO_BYTES });
  assertEquals(echo.receivedSha256, echo.sentSha256);
  const after = await counted(server);
  assertEquals(after["other"], before["other"], "packets beside HBONE");
  assertEquals(after["readable"], 0);
  assertEquals((await counted(client))["inbound"], 0, "connections into the client's pod");
}

function addressText({ ip, port }: Target): string {
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** Of `ip:port` or `[ip]:port`. */
function ipOf(address: string): string {
  return address.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
}
