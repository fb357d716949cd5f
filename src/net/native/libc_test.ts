import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../base/assert.ts";
import { NetError } from "../../base/errors.ts";
import {
  AF_INET,
  AF_INET6,
  EPOLL_CTL_ADD,
  EPOLLIN,
  EPOLLOUT,
  F_GETFD,
  F_GETFL,
  FD_CLOEXEC,
  IPV6_V6ONLY,
  O_NONBLOCK,
  O_RDONLY,
  SHUT_WR,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_REUSEADDR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  TCP_NODELAY,
  TCP_USER_TIMEOUT,
} from "./constants.ts";
import {
  EADDRINUSE,
  EAGAIN,
  EBADF,
  ECONNREFUSED,
  ECONNRESET,
  EINPROGRESS,
  ENOENT,
  ENOPROTOOPT,
  ENOTCONN,
  EPIPE,
} from "./errno.ts";
import { FILE_BYTES_MAX, Libc } from "./libc.ts";
import { LIBC_PATHS } from "./libc_symbols.ts";
import { nativeBytes } from "./native_bytes.ts";
import {
  decodeSocketAddress,
  encodeSocketAddress,
  familyOf,
  SOCKADDR_BYTES_MAX,
} from "./socket_address.ts";
import { NativeStartError } from "./start_error.ts";

const TCP = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

/** Two connected unix sockets, closed at the end. */
function withPair(act: (libc: Libc, left: number, right: number) => void): void {
  using libc = Libc.open();
  const [left, right] = libc.socketpair();
  try {
    act(libc, left, right);
  } finally {
    libc.close(left);
    libc.close(right);
  }
}

/** Waits, blocking, until a socket connects or has something to accept or read. */
function waitFor(libc: Libc, fd: number, events = EPOLLIN | EPOLLOUT): void {
  const epoll = libc.epollCreate();
  const event = new Uint8Array(16);
  event[0] = events;
  assertEquals(libc.epollControl(epoll, EPOLL_CTL_ADD, fd, event), 0);
  assertEquals(libc.epollWait(epoll, nativeBytes(16), 1, 2000), 1);
  libc.close(epoll);
}

/** Runs a script in a process of its own; `Libc` is imported. Gives what it printed, errors included. */
async function runScript(flags: string[], script: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", ...flags, "--ext=ts", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  const writer = child.stdin.getWriter();
  const source = `import { Libc } from "${new URL("./libc.ts", import.meta.url)}";\n${script}`;
  await writer.write(new TextEncoder().encode(source));
  await writer.close();
  const { stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return decoder.decode(stdout) + decoder.decode(stderr);
}

Deno.test("Libc reads and writes ranges and gives minus the errno", () => {
  withPair((libc, left, right) => {
    assertEquals(libc.write(left, new TextEncoder().encode("..hello.."), 2, 5), 5);
    const into = nativeBytes(10);
    assertEquals(libc.read(right, into, 3, 7), 5);
    assertEquals(new TextDecoder().decode(into), "\0\0\0hello\0\0");
    assertEquals(libc.read(right, into, 0, 10), -EAGAIN);
    assertEquals(libc.shutdown(left, SHUT_WR), 0);
    assertEquals(libc.read(right, into, 0, 10), 0);
    assertEquals(libc.read(-1, into, 0, 10), -EBADF);
  });
});

Deno.test.each([
  { name: "at its end", start: 9, length: 1, fits: true },
  { name: "nothing at its end", start: 10, length: 0, fits: true },
  { name: "one octet beyond", start: 9, length: 2, fits: false },
  { name: "a negative start", start: -1, length: 1, fits: false },
  { name: "a negative length", start: 1, length: -1, fits: false },
  { name: "half an octet", start: 0.5, length: 1, fits: false },
  { name: "2^32 octets", start: 0, length: 2 ** 32, fits: false },
])("Libc passes on a range of ten octets only inside them: $name", ({ start, length, fits }) => {
  withPair((libc, left, right) => {
    const bytes = nativeBytes(10);
    const calls = [
      () => libc.write(left, bytes, start, length),
      () => libc.read(right, bytes, start, length),
    ];
    for (const call of calls) {
      if (fits) assert(call() >= -EAGAIN);
      else assertThrows(call, AssertionFailure, "outside its buffer");
    }
  });
});

Deno.test("Libc.writev() joins ranges given by address", () => {
  withPair((libc, left, right) => {
    const parts = ["one ", "two"].map((text) => new TextEncoder().encode(text));
    const vector = new BigUint64Array(4);
    parts.forEach((part, index) => {
      vector[index * 2] = libc.addressOf(part);
      vector[index * 2 + 1] = BigInt(part.length);
    });
    const bytes = new Uint8Array(vector.buffer);
    assertEquals(libc.writev(left, bytes, 2), 7);
    assertThrows(() => libc.writev(left, bytes, 3), AssertionFailure, "More ranges");
    const into = nativeBytes(7);
    libc.read(right, into, 0, 7);
    assertEquals(new TextDecoder().decode(into), "one two");
  });
});

Deno.test("Libc makes sockets non-blocking and closed on exec", () => {
  withPair((libc, left) => {
    assert((libc.fcntl(left, F_GETFL, 0) & O_NONBLOCK) !== 0);
    assertEquals(libc.fcntl(left, F_GETFD, 0), FD_CLOEXEC);
    const twin = libc.dup(left);
    assertEquals(libc.fcntl(twin, F_GETFD, 0), 0);
    assertEquals(libc.close(twin), 0);
    assertEquals(libc.close(twin), -EBADF);
  });
});

Deno.test("Libc knows that the runtime ignores SIGPIPE: a write to a closed socket is EPIPE", () => {
  using libc = Libc.open();
  const [left, right] = libc.socketpair();
  libc.close(right);
  assertEquals(libc.write(left, nativeBytes(1), 0, 1), -EPIPE);
  libc.close(left);
});

Deno.test.each([{ ip: "127.0.0.1" }, { ip: "::1" }])(
  "Libc listens, connects and accepts over $ip",
  ({ ip }) => {
    using libc = Libc.open();
    const address = nativeBytes(SOCKADDR_BYTES_MAX);
    const listener = libc.socket(familyOf(ip), TCP, 0);
    assertEquals(libc.bind(listener, address, encodeSocketAddress({ ip, port: 0 }, address)), 0);
    assertEquals(libc.listen(listener, 16), 0);
    assertEquals(libc.accept(listener), -EAGAIN);
    const bound = libc.getsockname(listener, address);
    const { port } = decodeSocketAddress(address, bound);
    assertEquals(decodeSocketAddress(address, bound).ip, ip);

    const client = libc.socket(familyOf(ip), TCP, 0);
    assertEquals(libc.getpeername(client, nativeBytes(28)), -ENOTCONN);
    const connecting = libc.connect(client, address, bound);
    assert(connecting === 0 || connecting === -EINPROGRESS);
    waitFor(libc, listener);
    const accepted = libc.acceptFrom(listener, address);
    const peer = decodeSocketAddress(address, libc.addressLength);
    assertEquals(decodeSocketAddress(address, libc.getsockname(client, address)), peer);
    assertEquals(decodeSocketAddress(address, libc.getpeername(client, address)), { ip, port });
    assertEquals(libc.soError(client), 0);
    assert((libc.fcntl(accepted, F_GETFL, 0) & O_NONBLOCK) !== 0);
    assertEquals(libc.fcntl(accepted, F_GETFD, 0), FD_CLOEXEC);

    const second = libc.socket(familyOf(ip), TCP, 0);
    const length = encodeSocketAddress({ ip, port }, address);
    assertEquals(libc.bind(second, address, length), -EADDRINUSE);
    for (const fd of [listener, client, accepted, second]) libc.close(fd);
  },
);

Deno.test("Libc.soError() gives the reason of a refused connect, once", () => {
  using libc = Libc.open();
  const address = nativeBytes(SOCKADDR_BYTES_MAX);
  const unused = libc.socket(AF_INET, TCP, 0);
  const length = encodeSocketAddress({ ip: "127.0.0.1", port: 0 }, address);
  libc.bind(unused, address, length); // Bound, not listening: its port refuses.
  libc.getsockname(unused, address);
  const client = libc.socket(AF_INET, TCP, 0);
  const result = libc.connect(client, address, length);
  if (result === -EINPROGRESS) {
    waitFor(libc, client);
    assertEquals([libc.soError(client), libc.soError(client)], [ECONNREFUSED, 0]);
  } else {
    assertEquals(result, -ECONNREFUSED);
  }
  assertEquals(libc.soError(-1), EBADF);
  libc.close(client);
  libc.close(unused);
});

Deno.test("Libc sets and reads options of sockets", () => {
  using libc = Libc.open();
  const fd = libc.socket(AF_INET6, TCP, 0);
  const options = [
    [SOL_TCP, TCP_NODELAY, 1],
    [SOL_TCP, TCP_USER_TIMEOUT, 1_800_000],
    [SOL_SOCKET, SO_REUSEADDR, 1],
    [SOL_SOCKET, SO_KEEPALIVE, 1],
    [SOL_IPV6, IPV6_V6ONLY, 1],
  ] as const;
  const into = { value: -1 };
  for (const [level, option, value] of options) {
    assertEquals(libc.setInt(fd, level, option, value), 0);
    assertEquals([libc.getInt(fd, level, option, into), into.value], [0, value]);
  }
  assertEquals(libc.setInt(fd, SOL_TCP, 9999, 1), -ENOPROTOOPT);
  assertEquals(libc.getInt(fd, SOL_TCP, 9999, into), -ENOPROTOOPT);
  assertEquals(into.value, 1);
  const bytes = nativeBytes(8);
  assertEquals(libc.setLinger(fd, 7), 0);
  assertEquals(libc.getBytes(fd, SOL_SOCKET, SO_LINGER, bytes), 8);
  assertEquals([...bytes], [1, 0, 0, 0, 7, 0, 0, 0]);
  libc.close(fd);
});

Deno.test.each([
  { name: "with SO_LINGER of 0 is a reset", linger: true, expected: -ECONNRESET },
  { name: "without is an end", linger: false, expected: 0 },
])("Libc.close() of a connection $name", ({ linger, expected }) => {
  using libc = Libc.open();
  const address = nativeBytes(SOCKADDR_BYTES_MAX);
  const listener = libc.socket(AF_INET, TCP, 0);
  libc.bind(listener, address, encodeSocketAddress({ ip: "127.0.0.1", port: 0 }, address));
  libc.listen(listener, 1);
  const client = libc.socket(AF_INET, TCP, 0);
  libc.connect(client, address, libc.getsockname(listener, address));
  waitFor(libc, listener);
  const accepted = libc.accept(listener);
  if (linger) assertEquals(libc.setLinger(client, 0), 0);
  libc.close(client);
  waitFor(libc, accepted, EPOLLIN);
  assertEquals(libc.read(accepted, nativeBytes(1), 0, 1), expected);
  libc.close(accepted);
  libc.close(listener);
});

Deno.test("Libc.readFile() reads /proc, cuts at its limit, and names what fails", () => {
  using libc = Libc.open();
  const status = new TextDecoder().decode(libc.readFile("/proc/self/status"));
  assert(status.startsWith("Name:"));
  const size = Deno.statSync(new URL(import.meta.url)).size;
  const path = new URL(import.meta.url).pathname;
  for (const bytesMax of [1, 100, size - 1, size, size + 1]) {
    assertEquals(libc.readFile(path, bytesMax).length, Math.min(bytesMax, size));
  }
  assert(Deno.statSync(Deno.execPath()).size > FILE_BYTES_MAX);
  assertEquals(libc.readFile(Deno.execPath()).length, FILE_BYTES_MAX);
  const missing = assertThrows(() => libc.readFile("/proc/self/nothing"), NetError);
  assertEquals(missing.code, "ENOENT");
  assertEquals(libc.open("/nowhere", O_RDONLY), -ENOENT);
  assertEquals(assertThrows(() => libc.readFile("/proc"), NetError).code, "EISDIR");
});

Deno.test("Libc.raiseDescriptorLimit() raises the soft limit to the hard one", async () => {
  const script = `
    const before = Libc.open().descriptorLimit();
    const after = Libc.open().raiseDescriptorLimit();
    const file = new TextDecoder().decode(Libc.open().readFile("/proc/self/limits"));
    console.log(JSON.stringify({ before, after, file: /Max open files +(\\d+)/.exec(file)[1] }));`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(
    file,
    `import { Libc } from "${new URL("./libc.ts", import.meta.url)}";${script}`,
  );
  const { stdout, stderr } = await new Deno.Command("sh", {
    args: [
      "-c",
      `ulimit -Sn 500; ulimit -Hn 1000; exec "$0" run --quiet -A "$1"`,
      Deno.execPath(),
      file,
    ],
  }).output();
  await Deno.remove(file);
  assertEquals(new TextDecoder().decode(stderr), "");
  const result = JSON.parse(new TextDecoder().decode(stdout));
  // The runtime may have raised it before us.
  assertEquals(result.before.hard, 1000);
  assertEquals([result.after, result.file], [{ soft: 1000, hard: 1000 }, "1000"]);
});

Deno.test("Libc copies to and from memory it is given", () => {
  using libc = Libc.open();
  const memory = new TextEncoder().encode("memory\0rest");
  const pointer = Deno.UnsafePointer.of(memory);
  const into = nativeBytes(4);
  libc.memcpyFrom(pointer, into, 3);
  assertEquals([...into], [...new TextEncoder().encode("mem"), 0]);
  libc.memcpyTo(pointer, new TextEncoder().encode("MEM!"), 3);
  assertEquals(new TextDecoder().decode(memory), "MEMory\0rest");
  assertEquals(libc.addressOf(memory), Deno.UnsafePointer.value(pointer));
  assertEquals(libc.addressOf(memory.subarray(4)), Deno.UnsafePointer.value(pointer) + 4n);
  assertThrows(() => libc.memcpyFrom(pointer, into, 5), AssertionFailure, "outside its buffer");
  assertThrows(() => libc.memcpyTo(pointer, into, 5), AssertionFailure, "outside its buffer");
  assertThrows(() => libc.memcpyFrom(null, into, 1), AssertionFailure, "nowhere");
  assertThrows(() => libc.memcpyTo(null, into, 1), AssertionFailure, "nowhere");
  assertThrows(() => libc.addressOf(nativeBytes(0)), AssertionFailure, "no address");
  assert(libc.trimHeap());
});

Deno.test("Libc.open() names the library it cannot open", () => {
  assertThrows(
    () => Libc.open({ path: "/nowhere/libc.so.6" }),
    NativeStartError,
    "Cannot open /nowhere/libc.so.6",
  );
});

Deno.test("Libc.open() needs a grant for one path, keeps working after ffi was given up", async () => {
  const path = LIBC_PATHS.find((candidate) => {
    try {
      return Deno.statSync(candidate).isFile;
    } catch {
      return false; // Of another distribution or architecture.
    }
  });
  const script = `
    const libc = Libc.open();
    Deno.permissions.revokeSync({ name: "ffi" });
    const bytes = new Uint8Array(new ArrayBuffer(3));
    const [left, right] = libc.socketpair();
    libc.write(left, new TextEncoder().encode("abc"), 0, 3);
    libc.read(right, bytes, 1, 2);
    console.log(bytes.join(), libc.read(-1, bytes, 0, 1), libc.addressOf(bytes) > 0n);
    try { Libc.open(); } catch (error) { console.log(error.code); }`;
  assertEquals(
    await runScript([`--allow-ffi=${path}`], script),
    "0,97,98 -9 true\nNATIVE_START\n",
  );
});

Deno.test("Libc.open() without a grant says which flag is missing and asks nobody", async () => {
  const output = await runScript([], `Libc.open();`);
  assert(
    output.includes("Cannot open the C library: run with --allow-ffi=/lib/x86_64-linux-gnu"),
    output,
  );
});
