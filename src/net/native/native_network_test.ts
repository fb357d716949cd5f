// What is particular to descriptors; the rest is the suite that every network of real sockets runs.
import net from "node:net";
import { assert, assertEquals } from "@std/assert";
import { networkContract, startListenerProcess } from "../../../tests/support/network_contract.ts";
import {
  NativeLoopback,
  type NativeLoopbackOptions,
} from "../../../tests/support/native_sockets.ts";
import {
  DIAL,
  failure,
  LISTEN,
  LOOPBACK,
  pass,
  promised,
  until,
} from "../../../tests/support/real_sockets.ts";
import type { Channel } from "../../base/channel.ts";
import type { DialOptions, Listener, ListenOptions } from "../network.ts";
import {
  SO_KEEPALIVE,
  SO_MARK,
  SO_REUSEPORT,
  SOL_SOCKET,
  SOL_TCP,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
  TCP_USER_TIMEOUT,
} from "./constants.ts";
import type { RawSocket } from "./raw_socket.ts";
import { isTransparent, setMark } from "./socket_options.ts";
import type { TcpChannel } from "./tcp_channel.ts";

networkContract("native", (options) => new NativeLoopback(options), {
  processFlags: "--allow-ffi --allow-read",
});

const KEEPALIVE = { idleMs: 10_000, intervalMs: 2_000, probes: 5 };

/** The bare sockets of a connection, accepted and dialed; released by `close`. */
class Pair implements Disposable {
  readonly world: NativeLoopback;
  readonly accepted: RawSocket;
  readonly dialed: RawSocket;

  private constructor(world: NativeLoopback, accepted: Channel, dialed: Channel) {
    this.world = world;
    this.accepted = (accepted as TcpChannel).takeSocket()!;
    this.dialed = (dialed as TcpChannel).takeSocket()!;
  }

  static async of(
    world: NativeLoopback,
    { listen = {}, dial = {} }: { listen?: Partial<ListenOptions>; dial?: Partial<DialOptions> },
  ): Promise<Pair> {
    await world.listen(LOOPBACK, listen);
    const [dialed, accepted] = await Promise.all([world.dial(dial), world.accept()]);
    return new Pair(world, accepted, dialed);
  }

  option({ fd }: RawSocket, level: number, option: number): number {
    const into = { value: -1 };
    assertEquals(this.world.libc.getInt(fd, level, option, into), 0);
    return into.value;
  }

  /** NODELAY, keepalive, its idle time, interval and count, user timeout. */
  timing(socket: RawSocket): number[] {
    return [
      this.option(socket, SOL_TCP, TCP_NODELAY),
      this.option(socket, SOL_SOCKET, SO_KEEPALIVE),
      this.option(socket, SOL_TCP, TCP_KEEPIDLE),
      this.option(socket, SOL_TCP, TCP_KEEPINTVL),
      this.option(socket, SOL_TCP, TCP_KEEPCNT),
      this.option(socket, SOL_TCP, TCP_USER_TIMEOUT),
    ];
  }

  [Symbol.dispose](): void {
    this.accepted.reset();
    this.dialed.reset();
  }
}

Deno.test("accepted and dialed sockets have NODELAY, keepalive and user timeout as asked", async () => {
  await using world = new NativeLoopback();
  const asked = { keepalive: KEEPALIVE, userTimeoutMs: 20_000 };
  using pair = await Pair.of(world, { listen: asked, dial: asked });
  const expected = [1, 1, 10, 2, 5, 20_000];
  assertEquals([pair.timing(pair.accepted), pair.timing(pair.dialed)], [expected, expected]);
});

Deno.test("accepted and dialed sockets without keepalive have NODELAY alone", async () => {
  await using world = new NativeLoopback();
  using pair = await Pair.of(world, {});
  for (const socket of [pair.accepted, pair.dialed]) {
    const [noDelay, keepalive, , , , userTimeout] = pair.timing(socket);
    assertEquals([noDelay, keepalive, userTimeout], [1, 0, 0]);
  }
});

/** Whether this process may set marks and transparency (CAP_NET_ADMIN or CAP_NET_RAW). */
async function isPrivileged(): Promise<boolean> {
  await using world = new NativeLoopback();
  const [a, b] = world.libc.socketpair();
  const refused = setMark(world.libc, a, 1);
  for (const fd of [a, b]) world.libc.close(fd);
  return refused === null;
}

Deno.test.each([
  {
    markListeners: false,
    reusePort: false,
    expected: { accepted: 0, dialed: 1337, share: [0, 0] },
  },
  {
    markListeners: true,
    reusePort: true,
    expected: { accepted: 1337, dialed: 1337, share: [1, 0] },
  },
])("marks of listeners ($markListeners) are inherited, dialed sockets are always marked", async (
  { markListeners, reusePort, expected },
) => {
  const options: NativeLoopbackOptions = { packetMark: 1337, markListeners, reusePort };
  if (!await isPrivileged()) {
    await using world = new NativeLoopback(options);
    const error = await failure(
      promised<Channel>((done) => world.network.dial(LOOPBACK, DIAL, done)),
    );
    assertEquals(
      error.message,
      "cannot set packet mark 1337: Operation not permitted (os error 1)",
    );
    return;
  }
  await using world = new NativeLoopback(options);
  using pair = await Pair.of(world, {});
  const mark = (socket: RawSocket) => pair.option(socket, SOL_SOCKET, SO_MARK);
  const share = (socket: RawSocket) => pair.option(socket, SOL_SOCKET, SO_REUSEPORT);
  assertEquals({
    accepted: mark(pair.accepted),
    dialed: mark(pair.dialed),
    share: [share(pair.accepted), share(pair.dialed)],
  }, expected);
});

Deno.test("accepted sockets of a transparent listener are transparent, where that is granted", async () => {
  const granted = await isPrivileged();
  await using world = new NativeLoopback();
  using pair = await Pair.of(world, { listen: { transparent: "try" } });
  assertEquals(
    [world.listener.transparent, isTransparent(world.libc, pair.accepted.fd)],
    [granted, granted],
  );
  assertEquals(isTransparent(world.libc, pair.dialed.fd), false);
});

Deno.test("a captured connection without redirection keeps its own address, which is said now and then", async () => {
  const warnings: string[] = [];
  await using world = new NativeLoopback({ onWarning: (text) => void warnings.push(text) });
  for (let count = 1; count <= 3; count++) {
    using pair = await Pair.of(world, { listen: { captured: true } });
    assertEquals(pair.accepted.local, world.listener.local);
    assertEquals(world.network.counts.originalDestinationsUnknown, count);
    world.listener.close();
  }
  assertEquals(warnings, [
    "The kernel knows no original destination of a captured connection: its own address was taken",
  ]);
});

Deno.test("listeners with SO_REUSEPORT share a port", async () => {
  await using first = new NativeLoopback({ reusePort: true });
  await using second = new NativeLoopback({ reusePort: true });
  await first.listen();
  const { local } = await second.listen(first.listener.local);
  assertEquals(local, first.listener.local);
});

Deno.test("pauseAccepts() leaves connections in the kernel's queue until it is lifted", async () => {
  await using world = new NativeLoopback();
  await world.listen();
  world.network.pauseAccepts(true);
  const clients = await Promise.all([world.dial(), world.dial()]);
  await pass(20);
  assertEquals(world.accepted.length, 0);
  const late = await promised<Listener>((done) =>
    world.network.listen(LOOPBACK, LISTEN, (channel) => void world.accepted.push(channel), done)
  );
  clients.push(await promised<Channel>((done) => world.network.dial(late.local, DIAL, done)));
  await pass(20);
  assertEquals(world.accepted.length, 0);
  world.network.pauseAccepts(false);
  await until(() => world.accepted.length === 3);
  for (const channel of [...clients, ...world.accepted]) channel.reset(null);
  late.close();
});

Deno.test("native: whoever finds no descriptor left is refused, nobody hangs", async () => {
  const child = startListenerProcess("native", {
    shell: "ulimit -n 60;",
    flags: "--allow-ffi --allow-read",
  });
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const port = Number((await reader.read()).value);
  const sockets = Array.from({ length: 80 }, () => net.connect(port, "127.0.0.1"));
  const answers = await Promise.all(
    sockets.map((socket) =>
      new Promise<"greeted" | "refused">((resolve) => {
        socket.on("error", () => resolve("refused"));
        socket.once("data", () => resolve("greeted"));
      })
    ),
  );
  const refused = answers.filter((answer) => answer === "refused").length;
  assert(refused > 20 && refused < 70, `${refused} of 80 were refused`);
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("\n"));
  const [, starved, counted] = (await reader.read()).value!.trim().split(" ");
  assertEquals([starved, counted], ["0", `${refused}`]);
  for (const socket of sockets) socket.destroy();
  await writer.close();
  await reader.cancel();
  await child.stderr.cancel();
  await child.status;
});
