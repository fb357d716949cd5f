// What a network of real sockets owes for plain TCP: one suite for all of them.
import net from "node:net";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { adoptBlock } from "../../src/base/block.ts";
import type { Channel } from "../../src/base/channel.ts";
import { NetError, type ProxyError } from "../../src/base/errors.ts";
import { BindError, type Listener, type Network } from "../../src/net/network.ts";
import { DIAL, failure, LISTEN, LOOPBACK, pass, promised, until } from "./real_sockets.ts";
import type { Loopback } from "./real_sockets.ts";

/** What the suite gives to the networks it makes. */
export interface ContractNetworkOptions {
  readonly descriptorsMax?: number;
  readonly onRefused?: (connectionsMax: number) => void;
  readonly onBug?: (error: unknown) => void;
}

/** A network that says how many connections it refused. */
export type CountingNetwork = Network & {
  readonly counts: { readonly connectionsRefused: number };
};

export interface NetworkContractOptions {
  /** Permission flags for a process that listens on 127.0.0.1 with this network. */
  readonly processFlags: string;
}

const PROCESS = new URL("./listener_process.ts", import.meta.url);

/** Starts `listener_process.ts`; `shell` goes before the command. */
export function startListenerProcess(
  network: "deno" | "native",
  options: { readonly shell?: string; readonly flags: string; readonly address?: string },
): Deno.ChildProcess {
  const { shell = "", flags, address = "127.0.0.1:0" } = options;
  const run = `run --no-prompt --quiet --no-check ${flags} "$1" ${address} ${network}`;
  return new Deno.Command("sh", {
    args: ["-c", `${shell} exec "$0" ${run}`, Deno.execPath(), PROCESS.href],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Lines of a stream, as they come. */
async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

/** True if the listener at `port` greets within a second. */
function isGreeted(port: number, sockets: net.Socket[]): Promise<boolean> {
  const socket = net.connect(port, "127.0.0.1");
  sockets.push(socket);
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), 1000);
    const tell = (greeted: boolean) => {
      clearTimeout(timer);
      resolve(greeted);
    };
    socket.on("error", () => tell(false));
    socket.once("close", () => tell(false));
    socket.once("data", () => tell(true));
  });
}

/** Counts what comes in, and nothing else. */
function counting(channel: Channel): { received: number } {
  const counts = { received: 0 };
  channel.attach({
    onData: (_block, start, end) => void (counts.received += end - start),
    onEnd() {},
    onWritable() {},
    onClose() {},
  });
  return counts;
}

/** Registers the suite. `make` gives a fresh network on loopback. */
export function networkContract(
  name: "deno" | "native",
  make: (options?: ContractNetworkOptions) => Loopback<CountingNetwork>,
  options: NetworkContractOptions,
): void {
  Deno.test(`${name}: a listener that ran out of descriptors serves again within a second`, async () => {
    const child = startListenerProcess(name, {
      shell: "ulimit -n 60;",
      flags: options.processFlags,
    });
    const output = lines(child.stdout);
    const port = Number((await output.next()).value);
    const sockets: net.Socket[] = [];
    const greeted = await Promise.all(Array.from({ length: 80 }, () => isGreeted(port, sockets)));
    const served = greeted.filter((yes) => yes).length;
    assert(served > 10 && served < 80, `${served} of 80 were served below the limit`);
    for (const socket of sockets) socket.destroy();
    const freedMs = performance.now();
    let again = false;
    while (!again && performance.now() - freedMs < 1000) {
      const late: net.Socket[] = [];
      again = await isGreeted(port, late);
      for (const socket of late) socket.destroy();
    }
    const tookMs = performance.now() - freedMs;
    assert(again && tookMs < 1100, `served again after ${tookMs} ms`);
    await child.stdin.close();
    await child.status;
    await child.stderr.cancel();
    await output.return(undefined);
  });

  Deno.test(`${name}: listen() says which address is taken`, async () => {
    await using real = make();
    const { local } = await real.listen();
    const error = await failure(
      promised<Listener>((done) => real.network.listen(local, LISTEN, () => {}, done)),
    );
    assertEquals([error instanceof BindError, error.code], [true, "EADDRINUSE"]);
    assertEquals(
      error.message,
      `failed to bind to address 127.0.0.1:${local.port}: Address already in use (os error 98)`,
    );
  });

  Deno.test(`${name}: listen() says that an address is not ours`, async () => {
    await using real = make();
    const error = await failure(
      promised<Listener>((done) =>
        real.network.listen({ ip: "192.0.2.1", port: 0 }, LISTEN, () => {}, done)
      ),
    );
    assertEquals(
      error.message,
      "failed to bind to address 192.0.2.1:0: Cannot assign requested address (os error 99)",
    );
  });

  Deno.test(`${name}: listen() answers in a later turn, and only then accepts`, async () => {
    await using real = make();
    const order: string[] = [];
    const listening = promised<Listener>((done) =>
      real.network.listen(
        LOOPBACK,
        LISTEN,
        (channel) => {
          order.push("channel");
          channel.reset(null);
        },
        (outcome) => {
          order.push("done");
          done(outcome);
        },
      )
    );
    assertEquals(order, []);
    const listener = await listening;
    const socket = net.connect(listener.local.port, "127.0.0.1");
    socket.on("error", () => {});
    await until(() => order.length === 2);
    assertEquals(order, ["done", "channel"]);
    socket.destroy();
    listener.close();
  });

  Deno.test(`${name}: a cancelled listen() leaves nothing open`, async () => {
    await using real = make();
    let answers = 0;
    real.network.listen(LOOPBACK, LISTEN, () => {}, () => answers++).cancel();
    await until(() => real.network.openSockets === 0);
    await pass(10);
    assertEquals(answers, 0);
  });

  Deno.test(`${name}: close() of a listener frees its port and keeps its channels`, async () => {
    await using real = make();
    const { client, server } = await real.plainPair();
    real.listener.close();
    real.listener.close();
    await until(() => real.network.openSockets === 2);
    const error = await failure(real.dial());
    assertEquals(error.message, "Connection refused (os error 111)");
    const counts = counting(server);
    client.write(adoptBlock(new Uint8Array(3)), 0, 3);
    await until(() => counts.received === 3);
    client.reset(null);
  });

  Deno.test(`${name}: dial() answers in a later turn, of success and of failure`, async () => {
    await using real = make();
    await real.listen();
    for (const address of [real.listener.local, { ip: "127.0.0.1", port: 1 }]) {
      const answers: (Channel | ProxyError)[] = [];
      real.network.dial(address, DIAL, (outcome) => void answers.push(outcome));
      assertEquals(answers.length, 0);
      await until(() => answers.length === 1);
      const [outcome] = answers;
      if (outcome instanceof NetError) assertEquals(outcome.code, "ECONNREFUSED");
      else (outcome as Channel).reset(null);
    }
  });

  Deno.test(`${name}: dial() gives up at its limit`, async () => {
    await using real = make();
    await real.listen();
    const beginMs = performance.now();
    // A TEST-NET address: no answer, or at once that there is no way to it.
    const error = await failure(
      promised<Channel>((done) =>
        real.network.dial({ ip: "192.0.2.1", port: 9 }, { ...DIAL, timeoutMs: 50 }, done)
      ),
    );
    assert(error instanceof NetError);
    if (error.code === "DEADLINE_ELAPSED") {
      assertEquals(error.message, "deadline has elapsed");
      assert(performance.now() - beginMs >= 50);
    } else assertMatch(error.message, /\(os error \d+\)$/);
  });

  Deno.test(`${name}: a cancelled dial() says nothing and leaves nothing open`, async () => {
    await using real = make();
    await real.listen();
    let answers = 0;
    real.network.dial(real.listener.local, DIAL, () => answers++).cancel();
    await pass(20);
    assertEquals(answers, 0);
    await until(() => real.network.openSockets <= 2);
  });

  Deno.test(`${name}: dial() can choose its source address`, async () => {
    await using real = make();
    await real.listen();
    const accepting = real.accept();
    const client = await real.dial({ sourceIp: "127.0.0.7" });
    const server = await accepting;
    assertEquals([client.local.ip, server.peer.ip], ["127.0.0.7", "127.0.0.7"]);
    client.reset(null);
  });

  Deno.test(`${name}: IPv6 works where the machine has it, and mapped addresses come out as IPv4`, async () => {
    await using real = make();
    try {
      await real.listen({ ip: "::", port: 0 });
    } catch (error) {
      assert(error instanceof Error && /os error (97|99)/.test(error.message), String(error));
      return;
    }
    const { port } = real.listener.local;
    for (const ip of ["127.0.0.1", "::1"]) {
      const accepting = real.accept();
      const client = await promised<Channel>((done) => real.network.dial({ ip, port }, DIAL, done));
      const server = await accepting;
      assertEquals([server.peer, server.local], [client.local, { ip, port }]);
      client.reset(null);
    }
  });

  Deno.test(`${name}: reset() of a plain channel is RST on the wire`, async () => {
    await using real = make();
    await real.listen();
    const socket = net.connect(real.listener.local.port, "127.0.0.1");
    let seen: NodeJS.ErrnoException | null = null;
    socket.on("error", (error) => seen = error);
    socket.resume();
    (await real.accept()).reset(null);
    await until(() => seen !== null);
    assertEquals((seen as NodeJS.ErrnoException | null)?.code, "ECONNRESET");
  });

  Deno.test(`${name}: beyond the descriptor budget new connections are refused and old ones kept`, async () => {
    const told: number[] = [];
    await using real = make({ descriptorsMax: 80, onRefused: (most) => told.push(most) });
    await using other = make();
    await real.listen();
    const clients: Channel[] = [];
    const errors: (ProxyError | null)[] = [];
    for (let count = 0; count < 18; count++) {
      // The refusal may come before the dial is done, or right after.
      const outcome = await new Promise<Channel | ProxyError>((resolve) =>
        other.network.dial(real.listener.local, DIAL, resolve)
      );
      if (!("attach" in outcome)) {
        errors.push(outcome);
        continue;
      }
      clients.push(outcome);
      outcome.attach({
        onData() {},
        onEnd() {},
        onWritable() {},
        onClose: (error) => void errors.push(error),
      });
    }
    await until(() => errors.length === 2);
    assertEquals(real.accepted.length, 16);
    assertEquals([real.network.counts.connectionsRefused, told], [2, [16, 16]]);
    assertEquals(errors.map((error) => error?.code), ["ECONNRESET", "ECONNRESET"]);

    // Nor do own connections take what is kept for everything else; with room they go out again.
    const dial = () =>
      new Promise<Channel | ProxyError>((resolve) =>
        real.network.dial(other.listener.local, DIAL, resolve)
      );
    await other.listen();
    const reached = other.accept();
    const refused = await dial();
    assertEquals("code" in refused ? refused.code : refused, "EMFILE");
    assertEquals(told.length, 3);
    real.accepted.pop()!.reset(null);
    await until(() => real.network.openSockets === 16);
    const dialled = await dial();
    if (!("attach" in dialled)) throw dialled;
    (await reached).reset(null);
    dialled.reset(null);
    for (const client of clients) client.reset(null);
  });

  Deno.test(`${name}: what a handler throws ends its own connection and no other`, async () => {
    const bugs: unknown[] = [];
    await using real = make({ onBug: (error) => bugs.push(error) });
    const broken = await real.plainPair();
    const sound = await real.plainPair();
    let ended = false;
    broken.server.attach({
      onData() {
        throw new Error("a bug");
      },
      onEnd() {},
      onWritable() {},
      onClose: () => ended = true,
    });
    const counts = counting(sound.server);
    for (const { client } of [broken, sound]) client.write(adoptBlock(new Uint8Array(1)), 0, 1);
    await until(() => ended && counts.received === 1);
    assertEquals(bugs.map(String), ["Error: a bug"]);
    for (const { client } of [broken, sound]) client.reset(null);
  });

  Deno.test(`${name}: what is thrown for an accepted channel resets that channel`, async () => {
    const bugs: unknown[] = [];
    await using real = make({ onBug: (error) => bugs.push(error) });
    const listener = await promised<Listener>((done) =>
      real.network.listen(
        LOOPBACK,
        LISTEN,
        () => {
          throw new Error("a bug");
        },
        done,
      )
    );
    const outcome = await new Promise<Channel | ProxyError>((resolve) =>
      real.network.dial(listener.local, DIAL, resolve)
    );
    let ended = !("attach" in outcome);
    if ("attach" in outcome) {
      outcome.attach({ onData() {}, onEnd() {}, onWritable() {}, onClose: () => ended = true });
    }
    await until(() => ended && bugs.length === 1);
    listener.close();
  });

  Deno.test(`${name}: 1,000 plain connections opened and closed leave no socket and no timer`, async () => {
    await using real = make();
    await real.listen();
    const timersBefore = real.timersWaiting;
    for (let round = 0; round < 100; round++) {
      await Promise.all(Array.from({ length: 10 }, async (_, at) => {
        const { client, server } = await real.plainPair();
        let closes = 0;
        for (const channel of [client, server]) {
          channel.attach({
            onData() {},
            onEnd: () => channel.endWrite(),
            onWritable() {},
            onClose: () => void closes++,
          });
        }
        if (at % 2 === 0) client.endWrite();
        else client.reset(null);
        await until(() => closes === 2);
      }));
    }
    await until(() => real.network.openSockets === 1);
    assertEquals(real.timersWaiting, timersBefore);
  });
}
