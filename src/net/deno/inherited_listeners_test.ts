// Listeners that another process opened for us, systemd style.
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { failure, LISTEN, promised, until } from "../../../tests/support/real_sockets.ts";
import type { Channel } from "../../base/channel.ts";
import { SystemClock } from "../../base/system_clock.ts";
import { InheritedListenerError } from "../inherited.ts";
import { BindError, type Listener } from "../network.ts";
import { duplicateDescriptor } from "./descriptor.ts";
import { DenoNetwork } from "./deno_network.ts";
import { InheritedListeners } from "./inherited_listeners.ts";

const PROCESS = new URL("../../../tests/support/inherited_process.ts", import.meta.url);

/** What a launcher holds: a listening socket of its own making, as a descriptor to be handed over. */
async function opened(host = "127.0.0.1"): Promise<{ fd: number; port: number }> {
  const server = net.createServer();
  server.listen({ host, port: 0, ipv6Only: host === "::1" });
  await once(server, "listening");
  const fd = duplicateDescriptor(server)!;
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return { fd, port };
}

/** What `port` says to whoever connects, until its end; "" where nothing comes within `limitMs`. */
function answerOf(port: number, host = "127.0.0.1", limitMs = 1_000): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, host);
    let text = "";
    const timer = setTimeout(() => socket.destroy(), limitMs);
    socket.on("data", (data) => {
      text += data;
      socket.end();
    });
    socket.on("error", () => {});
    socket.once("close", () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

/** Listens there; accepted channels say the address they have and end. */
async function serve(network: DenoNetwork, port: number, host = "127.0.0.1") {
  const accepted: Channel[] = [];
  const listener = await promised<Listener>((done) =>
    network.listen({ ip: host, port }, LISTEN, (channel) => {
      accepted.push(channel);
      channel.reset(null);
    }, done)
  );
  return { listener, accepted };
}

function networkWith(...inherited: number[]): DenoNetwork {
  return new DenoNetwork({ clock: new SystemClock(), inherited });
}

async function isFree(port: number): Promise<boolean> {
  const server = net.createServer();
  server.listen(port, "127.0.0.1");
  const [outcome] = await Promise.race([
    once(server, "listening").then(() => ["free"]),
    once(server, "error").then(() => ["taken"]),
  ]).catch(() => ["taken"]);
  server.close();
  return outcome === "free";
}

Deno.test("DenoNetwork listens on the inherited socket that has the port asked for", async () => {
  const [first, second] = [await opened(), await opened()];
  const network = networkWith(first.fd, second.fd);
  assertEquals(network.inheritedWaiting.map(({ port }) => port), [first.port, second.port]);
  // Asked for another address on purpose: who opened it decided where.
  const { listener, accepted } = await serve(network, second.port, "0.0.0.0");
  assertEquals([listener.local, listener.transparent], [
    { ip: "127.0.0.1", port: second.port },
    false,
  ]);
  await answerOf(second.port);
  assertEquals(accepted.map(({ local }) => local.port), [second.port]);
  assertEquals(network.inheritedWaiting, [{ ip: "127.0.0.1", port: first.port }]);
  listener.close();
  network.close();
  await until(() => network.openSockets === 0);
  assertEquals([await isFree(first.port), await isFree(second.port)], [true, true]);
});

Deno.test("DenoNetwork keeps those who connected before anybody listened", async () => {
  const { fd, port } = await opened();
  const network = networkWith(fd);
  const early = net.connect(port, "127.0.0.1");
  await once(early, "connect");
  const { listener, accepted } = await serve(network, port);
  early.on("error", () => {});
  await until(() => accepted.length === 1);
  await until(() => early.destroyed);
  listener.close();
  await until(() => network.openSockets === 0);
});

Deno.test("DenoNetwork binds where no inherited socket has the port, and where port 0 is asked for", async () => {
  const { fd, port } = await opened();
  const network = networkWith(fd);
  const { listener } = await serve(network, 0);
  assert(listener.local.port !== port);
  assertEquals(network.inheritedWaiting.length, 1);
  listener.close();
  network.close();
  await until(() => network.openSockets === 0);
});

Deno.test("DenoNetwork gives an inherited socket away once", async () => {
  const { fd, port } = await opened();
  const network = networkWith(fd);
  const { listener } = await serve(network, port);
  const error = await failure(serve(network, port));
  assertEquals([error instanceof BindError, error.code], [true, "EADDRINUSE"]);
  listener.close();
  await until(() => network.openSockets === 0);
  assertEquals(await isFree(port), true);
});

Deno.test("DenoNetwork frees the inherited socket of a listener that is cancelled", async () => {
  const { fd, port } = await opened();
  const network = networkWith(fd);
  network.listen({ ip: "127.0.0.1", port }, LISTEN, () => {}, () => {
    throw new Error("Cancelled");
  }).cancel();
  await until(() => network.openSockets === 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(await isFree(port), true);
});

Deno.test("DenoNetwork does not promise transparency that it cannot see", async () => {
  const { fd, port } = await opened();
  const network = networkWith(fd);
  const options = { ...LISTEN, transparent: "must" as const };
  for (const address of [{ ip: "127.0.0.1", port }, { ip: "127.0.0.1", port: 0 }]) {
    const error = await failure(
      promised<Listener>((done) => network.listen(address, options, () => {}, done)),
    );
    assertEquals(
      [error instanceof BindError, error.code, error.message],
      [
        true,
        "EOPNOTSUPP",
        `failed to bind to address 127.0.0.1:${address.port}: the deno network cannot make it ` +
        "transparent, IO_PROVIDER=native can",
      ],
    );
  }
  await until(() => network.openSockets === 0);
});

Deno.test("InheritedListeners says which descriptor is of no use, and why, and takes nothing over", async () => {
  const server = net.createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
  const [accepted] = await once(server, "connection") as [net.Socket];
  const connected = duplicateDescriptor(accepted)!;
  const good = await opened();
  const refusal = (fd: number) =>
    assertThrows(() => new InheritedListeners([good.fd, fd]), InheritedListenerError).message;
  assertEquals(
    refusal(connected),
    `Cannot use inherited descriptor ${connected}: it does not listen; LISTEN_FDS must name ` +
      "listening TCP sockets",
  );
  assertThrows(
    () => new InheritedListeners([9_999]),
    InheritedListenerError,
    "Cannot use inherited descriptor 9999: it is no TCP socket; LISTEN_FDS must name listening TCP",
  );
  assertEquals(await isFree(good.port), true);
  client.destroy();
  accepted.destroy();
  server.close();
  await once(server, "close");
});

/** Launches a process that was given `fds` from 3 on, with no permission at all. */
function launch(fds: readonly number[], addresses: readonly string[], shell = "") {
  const run = ["run", "--no-prompt", "--quiet", "--no-check", PROCESS.href, String(fds.length)];
  const child = spawn("sh", [
    "-c",
    `${shell} exec "$0" "$@"`,
    Deno.execPath(),
    ...run,
    ...addresses,
  ], {
    stdio: ["pipe", "pipe", "inherit", ...fds],
    env: process.env,
  });
  const lines: string[] = [];
  let rest = "";
  child.stdout!.on("data", (data) => {
    const parts = (rest + data).split("\n");
    rest = parts.pop()!;
    lines.push(...parts);
  });
  const gone = once(child, "exit");
  return {
    lines,
    async line(at: number): Promise<string> {
      await until(() => lines.length > at, 10_000);
      return lines[at]!;
    },
    ask: () => void child.stdin!.write("?"),
    async end(): Promise<number> {
      child.stdin!.end();
      const [code] = await gone;
      return code;
    },
  };
}

/** The launcher's own copies: closed once the process has its own. */
function dropped(fds: readonly number[]): void {
  new InheritedListeners(fds).close();
}

Deno.test("DenoNetwork serves inherited listeners of both families without any permission", async () => {
  const [four, six, unused] = [await opened(), await opened("::1"), await opened()];
  const fds = [four.fd, six.fd, unused.fd];
  const child = launch(fds, [`0.0.0.0:${four.port}`, `[::]:${six.port}`]);
  assertEquals([await child.line(0), await child.line(1)].sort(), [
    `127.0.0.1:${four.port}`,
    `[::1]:${six.port}`,
  ]);
  dropped(fds);
  assertEquals(await answerOf(four.port), `127.0.0.1:${four.port}`);
  assertEquals(await answerOf(six.port, "::1"), `[::1]:${six.port}`);
  child.ask();
  assertEquals(JSON.parse(await child.line(2)).waiting, [`127.0.0.1:${unused.port}`]);
  assertEquals(await child.end(), 0);
  assertEquals(await isFree(four.port), true);
});

Deno.test("DenoNetwork says in one sentence that what it was handed is a file", async () => {
  const { fd, port } = await opened();
  const child = launch([fd], [`127.0.0.1:${port}`], "exec 3</dev/null;");
  assertEquals(
    await child.line(0),
    "Cannot use inherited descriptor 3: it is no TCP socket; LISTEN_FDS must name listening TCP sockets",
  );
  dropped([fd]);
  assertEquals(await child.end(), 1);
});

Deno.test("DenoNetwork's inherited listener that ran out of descriptors serves again", async () => {
  const { fd, port } = await opened();
  const child = launch([fd], [`127.0.0.1:${port}`], "ulimit -n 60;");
  await child.line(0);
  dropped([fd]);
  const crowd = Array.from({ length: 80 }, () => net.connect(port, "127.0.0.1"));
  let greeted = 0;
  for (const socket of crowd) {
    socket.on("error", () => {});
    socket.once("data", () => greeted++);
  }
  await new Promise((resolve) => setTimeout(resolve, 700));
  assert(greeted > 10 && greeted < 80, `${greeted} of 80 were served below the limit`);
  const closed = crowd.map((socket) => socket.destroyed ? null : once(socket, "close"));
  for (const socket of crowd) socket.destroy();
  await Promise.all(closed);
  const freedMs = performance.now();
  let answer = "";
  while (answer === "" && performance.now() - freedMs < 2_000) {
    answer = await answerOf(port, "127.0.0.1", 300);
  }
  assertEquals(answer, `127.0.0.1:${port}`);
  child.ask();
  assert(JSON.parse(await child.line(1)).renewed > 0);
  assertEquals(await child.end(), 0);
});
