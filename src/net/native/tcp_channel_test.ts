// The rules of Channel on plain descriptors, and what is particular to them.
import { assert, assertEquals } from "@std/assert";
import {
  channelContract,
  type ChannelPair,
  patternBytes,
} from "../../../tests/support/channel_contract.ts";
import { NativeLoopback } from "../../../tests/support/native_sockets.ts";
import { pass, until } from "../../../tests/support/real_sockets.ts";
import { adoptBlock, type Block, BlockPool } from "../../base/block.ts";
import type { Channel, ChannelHandler } from "../../base/channel.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import { randomBelow, SeededRandom } from "../../base/random.ts";
import { EPOLLOUT, SHUT_WR } from "./constants.ts";
import { EAGAIN, ECONNRESET, EPIPE, ETIMEDOUT } from "./errno.ts";
import { Libc } from "./libc.ts";
import { CountedObjects } from "./live_objects.ts";
import { NativeLoop } from "./loop.ts";
import { READ_BLOCK_BYTES } from "./native_network.ts";
import { RawSocket } from "./raw_socket.ts";
import { ReadBuffer } from "./read_buffer.ts";
import { READ_BYTES_PER_TURN_MAX, TcpChannel, UNSENT_BYTES_MAX } from "./tcp_channel.ts";
import { TurnEnd } from "./turn_end.ts";

function pairOf(world: NativeLoopback, a: Channel, b: Channel): ChannelPair {
  return {
    a,
    b,
    drive: (condition) => until(condition),
    settle: () => pass(20),
    dispose: () => world[Symbol.asyncDispose](),
  };
}

channelContract("TcpChannel, dialed to accepted,", async () => {
  const world = new NativeLoopback();
  const { client, server } = await world.plainPair();
  return pairOf(world, client, server);
});

channelContract("TcpChannel, accepted to dialed,", async () => {
  const world = new NativeLoopback();
  const { client, server } = await world.plainPair();
  return pairOf(world, server, client);
});

/** A handler that notes what it hears. */
class Notes implements ChannelHandler {
  bytes = 0;
  /** What came, oldest first: octets, "end", "writable" or "close CODE". */
  readonly heard: (number | string)[] = [];

  onData(_block: Block, start: number, end: number): void {
    this.bytes += end - start;
    this.heard.push(end - start);
  }

  onEnd(): void {
    this.heard.push("end");
  }

  onWritable(): void {
    this.heard.push("writable");
  }

  onClose(error: ProxyError | null): void {
    this.heard.push(`close ${error === null ? "in order" : error.code}`);
  }
}

/** A channel on one end of a pair of sockets, the other end bare; calls are counted and turns made by hand. */
class Bench implements Disposable {
  readonly libc = Libc.open();
  readonly objects = new CountedObjects();
  readonly bugs: unknown[] = [];
  readonly loop = new NativeLoop({
    libc: this.libc,
    objects: this.objects,
    onBug: (thrown) => this.bugs.push(thrown),
  });
  readonly blocks = new BlockPool({ blockBytes: READ_BLOCK_BYTES, idleMax: 4 });
  readonly packs = new BlockPool({ blockBytes: 65_536, idleMax: 4 });
  readonly reader = new ReadBuffer(this.blocks);
  readonly channel: TcpChannel;
  /** The bare end. */
  readonly fd: number;
  reads = 0;
  writes: number[] = [];
  /** What the next reads say they read; then the kernel is asked. */
  readonly answers: number[] = [];
  /** Minus an errno that each write gives; 0: the kernel is asked. */
  failWrite = 0;
  /** At most so many octets are offered to the kernel at once; what it took then ends the write. */
  takes: ((length: number) => number) | null = null;

  constructor() {
    const { libc, loop, objects } = this;
    const [fd, other] = libc.socketpair();
    this.fd = other;
    const counting = {
      read: (fd: number, bytes: Uint8Array<ArrayBuffer>, start: number, length: number) => {
        this.reads++;
        const answer = this.answers.shift();
        if (answer !== undefined) return Math.min(answer, length);
        return libc.read(fd, bytes, start, length);
      },
      write: (fd: number, bytes: Uint8Array<ArrayBuffer>, start: number, length: number) => {
        this.writes.push(length);
        if (this.failWrite < 0) return this.failWrite;
        const taken = this.takes?.(length) ?? length;
        return taken === 0 ? -EAGAIN : libc.write(fd, bytes, start, taken);
      },
      shutdown: (fd: number, how: number) => libc.shutdown(fd, how),
      soError: (fd: number) => libc.soError(fd),
      setLinger: (fd: number, seconds: number) => libc.setLinger(fd, seconds),
      close: (fd: number) => libc.close(fd),
    } as unknown as Libc;
    const home = { libc: counting, loop, objects, socketClosed() {} };
    const address = { ip: "127.0.0.1", port: 1 };
    this.channel = new TcpChannel(new RawSocket(fd, { peer: address, local: address, home }), {
      libc: counting,
      loop,
      turnEnd: new TurnEnd(loop.clock),
      packs: this.packs,
      reader: this.reader,
      onBug: (thrown) => void this.bugs.push(thrown),
    });
  }

  attach(): Notes {
    const notes = new Notes();
    this.channel.attach(notes);
    return notes;
  }

  /** Sends from the bare end. */
  send(bytes: number): void {
    let left = bytes;
    while (left > 0) {
      const sent = this.libc.write(this.fd, new Uint8Array(left), 0, left);
      assert(sent > 0, "The pair's buffer is large enough");
      left -= sent;
    }
  }

  turns(count: number): void {
    for (let turn = 0; turn < count; turn++) this.loop.turn(0);
  }

  [Symbol.dispose](): void {
    this.channel.reset(null);
    this.turns(2);
    this.libc.close(this.fd);
    this.reader.close();
    this.loop.close();
    this.libc[Symbol.dispose]();
    assertEquals([...this.objects.counts], []);
    assertEquals([this.blocks.lent, this.packs.lent], [0, 0]);
  }
}

Deno.test("TcpChannel reads once where the kernel gave less than asked", () => {
  using bench = new Bench();
  const notes = bench.attach();
  bench.send(1000);
  bench.turns(3);
  assertEquals([notes.heard, bench.reads], [[1000], 1]);
});

Deno.test("TcpChannel notices the end behind the bytes of one event", () => {
  using bench = new Bench();
  const notes = bench.attach();
  bench.send(1000);
  bench.libc.shutdown(bench.fd, SHUT_WR);
  bench.turns(3);
  assertEquals(notes.heard, [1000, "end"]);
});

Deno.test("TcpChannel sends the first write of a turn at once and the others together at its end", () => {
  using bench = new Bench();
  bench.attach();
  const block = adoptBlock(patternBytes(1000));
  for (let count = 0; count < 5; count++) bench.channel.write(block, 0, 1000);
  assertEquals(bench.writes, [1000]);
  bench.turns(1);
  assertEquals(bench.writes, [1000, 4000]);
  bench.channel.write(block, 0, 1000);
  assertEquals(bench.writes, [1000, 4000, 1000]);
  assertEquals(block.references, 1);
});

Deno.test("TcpChannel does not put off more than 64 KiB to the end of the turn", () => {
  using bench = new Bench();
  bench.attach();
  const block = adoptBlock(patternBytes(20_000));
  for (let count = 0; count < 5; count++) bench.channel.write(block, 0, 20_000);
  assertEquals(bench.writes[0], 20_000);
  assertEquals(bench.writes.length > 1, true);
});

Deno.test("TcpChannel.write() takes UNSENT_BYTES_MAX beyond what the kernel takes before it answers false", () => {
  using bench = new Bench();
  const notes = bench.attach();
  bench.failWrite = -EAGAIN;
  const block = adoptBlock(new Uint8Array(UNSENT_BYTES_MAX + 1));
  assertEquals(bench.channel.write(block, 0, UNSENT_BYTES_MAX - 1), true);
  assertEquals(bench.channel.write(block, 0, 1), true);
  assertEquals(bench.channel.write(block, 0, 1), false);
  assertEquals(bench.channel.unsentBytes, UNSENT_BYTES_MAX + 1);
  bench.failWrite = 0;
  const sink = new Uint8Array(UNSENT_BYTES_MAX);
  for (let turn = 0; turn < 50 && bench.channel.unsentBytes > 0; turn++) {
    bench.loop.turn(1);
    bench.libc.read(bench.fd, sink, 0, sink.length);
  }
  assertEquals([notes.heard, block.references], [["writable"], 1]);
});

Deno.test("TcpChannel sends everything once and in order, however little the kernel takes at a time", () => {
  const seed = Number(Deno.env.get("SEED") ?? 1);
  const random = new SeededRandom(seed);
  const below = (limit: number) => limit === 0 ? 0 : randomBelow(random, limit);
  using bench = new Bench();
  bench.attach();
  bench.takes = (length) => below(4) === 0 ? 0 : below(length) + 1;
  const total = 2_000_000;
  const received = new Uint8Array(total);
  const sink = new Uint8Array(65_536);
  let sent = 0;
  let got = 0;
  for (let rounds = 0; got < total; rounds++) {
    assert(rounds < 100_000, `seed ${seed}: ${got} of ${total} octets came`);
    for (let writes = below(4); writes > 0 && bench.channel.unsentBytes < 500_000; writes--) {
      const bytes = Math.min(total - sent, below(below(3) === 0 ? 100_000 : 2560));
      const block = adoptBlock(patternBytes(bytes + 10, sent - 5));
      bench.channel.write(block, 5, 5 + bytes);
      sent += bytes;
    }
    bench.turns(1);
    const read = bench.libc.read(bench.fd, sink, 0, below(sink.length) + 1);
    if (read > 0) {
      received.set(sink.subarray(0, read), got);
      got += read;
    }
    // The kernel's own word that it takes more came before the made-up refusal.
    bench.channel.onReady(EPOLLOUT);
  }
  assertEquals(received, patternBytes(total), `seed ${seed}`);
});

Deno.test("TcpChannel gives others their turn after READ_BYTES_PER_TURN_MAX", () => {
  using bench = new Bench();
  const notes = bench.attach();
  const half = READ_BYTES_PER_TURN_MAX / 2;
  // The peer has ended, so that no short read ends the turn.
  bench.libc.shutdown(bench.fd, SHUT_WR);
  bench.answers.push(half, half - 1, 1, half, half, half);
  let asked = 0;
  bench.loop.nextTurn = () => void asked++;
  bench.turns(1);
  assertEquals([notes.heard, asked], [[half, half - 1, 1], 1]);
  bench.channel.runTask();
  assertEquals([notes.heard.slice(3), asked], [[half, half], 2]);
  bench.channel.runTask();
  assertEquals([notes.heard.slice(5), asked], [[half, "end"], 2]);
});

Deno.test("TcpChannel tells a reset after the bytes that came before it, also to one who had paused", async () => {
  await using world = new NativeLoopback();
  const { client, server } = await world.plainPair();
  const notes = new Notes();
  server.attach(notes);
  server.pause();
  const sent = new Notes();
  client.attach(sent);
  client.write(adoptBlock(new Uint8Array(5000)), 0, 5000);
  await pass(10);
  client.reset(null);
  await pass(10);
  assertEquals([notes.heard, server.closed], [[], false]);
  server.resume();
  await until(() => notes.heard.length === 2);
  assertEquals(notes.heard, [5000, "close ECONNRESET"]);
});

Deno.test("TcpChannel whose write fails delivers what the peer had sent, then says why", async () => {
  await using world = new NativeLoopback();
  const { client, server } = await world.plainPair();
  // The peer answers and leaves with a request unread: RST follows its bytes.
  const notes = new Notes();
  client.attach(notes);
  client.pause();
  const block = adoptBlock(new Uint8Array(10));
  client.write(block, 0, 10);
  await pass(10);
  server.write(adoptBlock(new Uint8Array(70)), 0, 70);
  await pass(10);
  server.reset(null);
  await pass(10);
  assertEquals(client.write(block, 0, 10), true);
  client.resume();
  await until(() => notes.heard.length === 2);
  assertEquals(notes.heard, [70, "close ECONNRESET"]);
  assertEquals(block.references, 1);
});

Deno.test.each([
  { errno: EPIPE, code: "EPIPE" },
  { errno: ECONNRESET, code: "ECONNRESET" },
  { errno: ETIMEDOUT, code: "ETIMEDOUT" },
])("TcpChannel ends with $code where a write gives that", ({ errno, code }) => {
  using bench = new Bench();
  const notes = bench.attach();
  bench.failWrite = -errno;
  const block = adoptBlock(new Uint8Array(100_000));
  bench.channel.write(block, 0, 100_000);
  bench.channel.write(block, 0, 100_000);
  assertEquals(notes.heard, []);
  // Nothing more comes; a broken socket says so when it is read.
  bench.libc.shutdown(bench.fd, SHUT_WR);
  bench.turns(3);
  assertEquals([notes.heard, block.references, bench.channel.closed], [
    [`close ${code}`],
    1,
    true,
  ]);
});

Deno.test("TcpChannel.takeSocket() gives the socket once, and only before anything happened", async () => {
  await using world = new NativeLoopback();
  const { client, server } = await world.plainPair();
  const taken = (server as TcpChannel).takeSocket()!;
  assertEquals([taken.open, taken.watched, server.closed], [true, false, true]);
  assertEquals([taken.peer, taken.local], [client.local, client.peer]);
  assertEquals((server as TcpChannel).takeSocket(), null);
  server.reset(null);
  assertEquals(taken.open, true, "the channel has nothing to do with it any more");
  client.attach(new Notes());
  assertEquals((client as TcpChannel).takeSocket(), null);
  taken.reset();
  taken.close();
  client.reset(null);
  const written = await world.plainPair();
  written.client.write(adoptBlock(new Uint8Array(1)), 0, 1);
  assertEquals((written.client as TcpChannel).takeSocket(), null);
  written.client.reset(null);
});

Deno.test("TcpChannel that the kernel will not watch is lost, and says why in a later turn", () => {
  using bench = new Bench();
  const { channel } = bench;
  const notes = new Notes();
  const watch = bench.loop.watch.bind(bench.loop);
  bench.loop.watch = () => {
    throw new NetError("ENOSPC");
  };
  channel.attach(notes);
  bench.loop.watch = watch;
  assertEquals([notes.heard, channel.closed], [[], true]);
  bench.turns(1);
  assertEquals(notes.heard, ["close ENOSPC"]);
});
