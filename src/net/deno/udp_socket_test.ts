// Tests of udp_socket.ts, on real sockets of loopback.
import { Buffer } from "node:buffer";
import { assertEquals, assertInstanceOf } from "@std/assert";
import type { SocketAddress } from "../../base/address.ts";
import { NetError, ProxyError } from "../../base/errors.ts";
import { SystemClock } from "../../base/system_clock.ts";
import { BindError } from "../network.ts";
import type { UdpHandler, UdpSocket } from "../udp.ts";
import { PermissionMissingError } from "./errors.ts";
import { DenoUdp, UDP_SOCKETS_MAX } from "./udp_socket.ts";

const LOOPBACK = { ip: "127.0.0.1", port: 0 };
const IGNORE: UdpHandler = { onDatagram() {}, onError() {} };

function openOutcome(
  udp: DenoUdp,
  handler: UdpHandler = IGNORE,
  local: SocketAddress = LOOPBACK,
): Promise<UdpSocket | ProxyError> {
  return new Promise((resolve) => udp.openUdp(local, handler, resolve));
}

async function open(udp: DenoUdp, handler?: UdpHandler, local?: SocketAddress): Promise<UdpSocket> {
  const outcome = await openOutcome(udp, handler, local);
  if (outcome instanceof ProxyError) throw outcome;
  return outcome;
}

const makeUdp = (options: { socketsMax?: number; onBug?: (error: unknown) => void } = {}) =>
  new DenoUdp({ clock: new SystemClock(), ...options });

Deno.test.each([{ ip: "127.0.0.1" }, { ip: "::1" }])(
  "DenoUdp carries datagrams with their source, $ip",
  async ({ ip }) => {
    const udp = makeUdp();
    const received = Promise.withResolvers<{ text: string; source: SocketAddress }>();
    const server = await open(udp, {
      onDatagram: (bytes, source) =>
        received.resolve({ text: new TextDecoder().decode(bytes), source }),
      onError: received.reject,
    }, { ip, port: 0 });
    const client = await open(udp, IGNORE, { ip, port: 0 });
    assertEquals(udp.openUdpSockets, 2);
    const bytes = Buffer.from("hello");
    client.send(bytes, server.local);
    bytes.fill(0); // They were lent for the call only.
    assertEquals(await received.promise, { text: "hello", source: client.local });
    client.close();
    client.close();
    server.close();
    assertEquals(udp.openUdpSockets, 0);
  },
);

Deno.test("DenoUdp opens UDP_SOCKETS_MAX sockets and refuses the next until one closes", async () => {
  const udp = makeUdp();
  const sockets = await Promise.all(Array.from({ length: UDP_SOCKETS_MAX }, () => open(udp)));
  const refused = await openOutcome(udp);
  assertInstanceOf(refused, NetError);
  assertEquals((refused as NetError).code, "EMFILE");
  sockets.pop()!.close();
  sockets.push(await open(udp));
  for (const socket of sockets) socket.close();
  assertEquals(udp.openUdpSockets, 0);
});

Deno.test("DenoUdp draws another port for each socket", async () => {
  const udp = makeUdp();
  const sockets = await Promise.all(Array.from({ length: 8 }, () => open(udp)));
  const ports = sockets.map(({ local }) => local.port);
  assertEquals(new Set(ports).size, 8);
  const steps = new Set(ports.slice(1).map((port, at) => port - ports[at]!));
  assertEquals(steps.size > 2, true, `not one after the other: ${ports}`);
  for (const socket of sockets) socket.close();
});

Deno.test("openUdp() says that a port is taken", async () => {
  const udp = makeUdp();
  const first = await open(udp);
  const outcome = await openOutcome(udp, IGNORE, first.local);
  assertInstanceOf(outcome, BindError);
  assertEquals((outcome as BindError).code, "EADDRINUSE");
  first.close();
  assertEquals(udp.openUdpSockets, 0);
});

Deno.test("openUdp() that is cancelled leaves nothing open and says nothing", async () => {
  const udp = makeUdp();
  let isTold = false;
  udp.openUdp(LOOPBACK, IGNORE, () => isTold = true).cancel();
  const other = await open(udp);
  other.close();
  assertEquals(isTold, false);
  assertEquals(udp.openUdpSockets, 0);
});

Deno.test("DenoUdp reports what a handler throws and goes on", async () => {
  const bugs: unknown[] = [];
  const second = Promise.withResolvers<void>();
  const udp = makeUdp({ onBug: (error) => bugs.push(error) });
  const bug = new Error("bug");
  const server = await open(udp, {
    onDatagram() {
      if (bugs.length === 0) throw bug;
      second.resolve();
    },
    onError: second.reject,
  });
  const client = await open(udp);
  client.send(new Uint8Array(1), server.local);
  client.send(new Uint8Array(1), server.local);
  await second.promise;
  assertEquals(bugs, [bug]);
  client.close();
  server.close();
});

Deno.test("a datagram that cannot be sent is told as onError, and the socket stays", async () => {
  const udp = makeUdp();
  const failed = Promise.withResolvers<ProxyError>();
  const client = await open(udp, { onDatagram() {}, onError: failed.resolve });
  client.send(new Uint8Array(70_000), { ip: "127.0.0.1", port: 9 });
  assertInstanceOf(await failed.promise, NetError);
  assertEquals(udp.openUdpSockets, 1);
  client.close();
});

Deno.test({
  name: "openUdp() names the permission to bind that is missing",
  permissions: { net: ["127.0.0.1:53"] },
  async fn() {
    const outcome = await openOutcome(makeUdp(), IGNORE, { ip: "0.0.0.0", port: 0 });
    assertInstanceOf(outcome, PermissionMissingError);
    assertEquals((outcome as PermissionMissingError).flag, "--allow-net=0.0.0.0:0");
  },
});

Deno.test({
  name: "send() names the permission to send that is missing",
  permissions: { net: ["0.0.0.0:0"] },
  async fn() {
    const failed = Promise.withResolvers<ProxyError>();
    const handler = { onDatagram() {}, onError: failed.resolve };
    const socket = await open(makeUdp(), handler, { ip: "0.0.0.0", port: 0 });
    socket.send(new Uint8Array(1), { ip: "127.0.0.1", port: 53 });
    const error = await failed.promise;
    assertInstanceOf(error, PermissionMissingError);
    assertEquals((error as PermissionMissingError).flag, "--allow-net=127.0.0.1:53");
    socket.close();
  },
});

Deno.test({
  name: "binding and sending need exactly these two grants",
  permissions: { net: ["0.0.0.0:0", "127.0.0.1:9"] },
  async fn() {
    const errors: ProxyError[] = [];
    const handler = { onDatagram() {}, onError: (error: ProxyError) => void errors.push(error) };
    const udp = makeUdp();
    const socket = await open(udp, handler, { ip: "0.0.0.0", port: 0 });
    socket.send(new Uint8Array(1), { ip: "127.0.0.1", port: 9 });
    (await open(udp, handler, { ip: "0.0.0.0", port: 0 })).close(); // As long as sending takes.
    socket.close();
    assertEquals(errors, []);
  },
});
