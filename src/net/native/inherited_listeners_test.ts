// Listening sockets handed over by whoever started the process; real descriptors, made by the test.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { NativeLoopback } from "../../../tests/support/native_sockets.ts";
import { DIAL, failure, LISTEN, promised, until } from "../../../tests/support/real_sockets.ts";
import type { SocketAddress } from "../../base/address.ts";
import type { Channel } from "../../base/channel.ts";
import type { Listener, ListenOptions } from "../network.ts";
import {
  AF_INET,
  F_GETFD,
  F_GETFL,
  FD_CLOEXEC,
  IP_TRANSPARENT,
  O_NONBLOCK,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_IP,
} from "./constants.ts";
import { InheritedListeners } from "./inherited_listeners.ts";
import { Libc } from "./libc.ts";
import { CountedObjects } from "./live_objects.ts";
import { nativeBytes } from "./native_bytes.ts";
import { decodeSocketAddress, encodeSocketAddress, familyOf } from "./socket_address.ts";
import { NativeStartError } from "./start_error.ts";

/** A listener as a launcher makes it: blocking, open across exec. */
function launched(
  libc: Libc,
  { ip = "127.0.0.1", transparent = false }: { ip?: string; transparent?: boolean } = {},
): { fd: number; local: SocketAddress } {
  const address = nativeBytes(128);
  const fd = libc.socket(familyOf(ip), SOCK_STREAM, 0);
  if (transparent) {
    assertEquals(libc.setInt(fd, SOL_IP, IP_TRANSPARENT, 1), 0, "needs CAP_NET_ADMIN");
  }
  assertEquals(libc.bind(fd, address, encodeSocketAddress({ ip, port: 0 }, address)), 0);
  assertEquals(libc.listen(fd, 8), 0);
  return { fd, local: decodeSocketAddress(address, libc.getsockname(fd, address)) };
}

function listen(
  world: NativeLoopback,
  address: SocketAddress,
  onChannel: (channel: Channel) => void = () => {},
  options: Partial<ListenOptions> = {},
): Promise<Listener> {
  return promised((done) =>
    world.network.listen(address, { ...LISTEN, ...options }, onChannel, done)
  );
}

Deno.test("a network listens on the inherited descriptor of that port, each once", async () => {
  using libc = Libc.open();
  const [first, second] = [launched(libc), launched(libc, { ip: "127.0.0.2" })];
  await using world = new NativeLoopback({ inherited: [first.fd, second.fd] });
  const channels: Channel[] = [];
  // The address asked for is the wildcard; where it listens is the launcher's choice.
  const listener = await listen(
    world,
    { ip: "0.0.0.0", port: second.local.port },
    (channel) => void channels.push(channel),
  );
  assertEquals(listener.local, second.local);
  const client = await promised<Channel>((done) => world.network.dial(second.local, DIAL, done));
  await until(() => channels.length === 1);
  assertEquals([channels[0]!.local, channels[0]!.peer], [second.local, client.local]);
  for (const channel of [client, ...channels]) channel.reset(null);
  // Taken: the second time it would be bound, and the port is in use.
  const error = await failure(listen(world, second.local));
  assertEquals(error.code, "EADDRINUSE");
  listener.close();
  // Those that nobody takes are closed with the network: its disposal counts.
});

Deno.test("an inherited descriptor becomes nonblocking and is closed on exec", () => {
  using libc = Libc.open();
  const objects = new CountedObjects();
  const { fd, local } = launched(libc);
  const inherited = new InheritedListeners({ libc, objects, fds: [fd] });
  assertEquals(libc.fcntl(fd, F_GETFD, 0) & FD_CLOEXEC, FD_CLOEXEC);
  assertEquals(libc.fcntl(fd, F_GETFL, 0) & O_NONBLOCK, O_NONBLOCK);
  assertEquals(inherited.waiting, [{ fd, local, transparent: false }]);
  assertEquals(inherited.take(local.port === 1 ? 2 : 1), null);
  inherited.close();
  assertEquals([objects.counts.size, libc.fcntl(fd, F_GETFD, 0)], [0, -9]);
});

for (const ip of ["127.0.0.1", "::1"]) {
  Deno.test(`an inherited listener on ${ip} says whether it is transparent and wanted so`, async () => {
    using libc = Libc.open();
    // Where that is not granted, the kernel's refusal was shown by native_listener_test.ts.
    const probe = libc.socket(AF_INET, SOCK_STREAM, 0);
    const granted = libc.setInt(probe, SOL_IP, IP_TRANSPARENT, 1) === 0;
    libc.close(probe);
    const plain = launched(libc, { ip });
    const unwanted = launched(libc, { ip, transparent: granted });
    const wanted = launched(libc, { ip, transparent: granted });
    await using world = new NativeLoopback({ inherited: [plain.fd, unwanted.fd, wanted.fd] });
    const listeners = [
      await listen(world, plain.local),
      // ENABLE_ORIG_SRC=false: nobody's address is borrowed, whatever the launcher set.
      await listen(world, unwanted.local, () => {}, { transparent: "never" }),
      await listen(world, wanted.local, () => {}, { transparent: "try" }),
    ];
    assertEquals(listeners.map((listener) => listener.transparent), [false, false, granted]);
    for (const listener of listeners) listener.close();
  });
}

Deno.test.each([
  { name: "does not exist", make: () => 999_999, why: "it is no socket (EBADF)" },
  {
    name: "is a file",
    make: (libc: Libc) => libc.open("/dev/null", 0),
    why: "it is no socket (ENOTSOCK)",
  },
  {
    name: "is a UDP socket",
    make: (libc: Libc) => libc.socket(AF_INET, SOCK_DGRAM, 0),
    why: "it is no TCP socket",
  },
  {
    name: "does not listen",
    make: (libc: Libc) => libc.socket(AF_INET, SOCK_STREAM, 0),
    why: "it does not listen",
  },
])("InheritedListeners refuses a descriptor that $name, and takes none over", ({ make, why }) => {
  using libc = Libc.open();
  const objects = new CountedObjects();
  const good = launched(libc);
  const bad = make(libc);
  const error = assertThrows(
    () => new InheritedListeners({ libc, objects, fds: [good.fd, bad] }),
    NativeStartError,
  );
  assertEquals(
    error.message,
    `Cannot use inherited descriptor ${bad}: ${why}; LISTEN_FDS must name listening TCP sockets`,
  );
  assertEquals(objects.counts.size, 0);
  assert(libc.fcntl(good.fd, F_GETFD, 0) >= 0);
  for (const fd of [good.fd, bad]) libc.close(fd);
});

Deno.test("InheritedListeners refuses a unix socket", () => {
  using libc = Libc.open();
  const [a, b] = libc.socketpair();
  assertThrows(
    () => new InheritedListeners({ libc, objects: new CountedObjects(), fds: [a] }),
    NativeStartError,
    "it does not listen",
  );
  for (const fd of [a, b]) libc.close(fd);
});
