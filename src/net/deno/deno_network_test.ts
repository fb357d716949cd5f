// Listening, dialing, refusing, and what happens when descriptors or permissions run out.
import net from "node:net";
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  DIAL,
  failure,
  LISTEN,
  LOOPBACK,
  pass,
  promised,
  RealNetwork,
  twoCertificates,
  until,
} from "../../../tests/support/real_sockets.ts";
import { adoptBlock } from "../../base/block.ts";
import type { Channel } from "../../base/channel.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import type { Listener } from "../network.ts";
import { UNSENT_BYTES_MAX } from "./socket_channel.ts";

const PROCESS = new URL("../../../tests/support/listener_process.ts", import.meta.url);

/** Lines of a stream, as they come. */
async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

/** Starts the listening process; `shell` goes before the command. */
function startProcess(shell: string, flags: string, address = "127.0.0.1:0") {
  const command = `${shell} exec "$0" run --no-prompt --quiet --no-check ${flags} "$1" ${address}`;
  return new Deno.Command("sh", {
    args: ["-c", command, Deno.execPath(), PROCESS.href],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
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
    socket.once("data", () => tell(true));
  });
}

Deno.test("a listener that ran out of descriptors serves again within a second", async () => {
  const child = startProcess("ulimit -n 60;", "--allow-net=127.0.0.1 --allow-read");
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

Deno.test("listen() without permission names the flag to give", async () => {
  const child = startProcess("", "--allow-read --allow-net=127.0.0.1:1", "127.0.0.1:15008");
  const { stdout, code } = await child.output();
  await child.stdin.close().catch(() => {});
  assertEquals(code, 1);
  assertEquals(
    new TextDecoder().decode(stdout),
    "PermissionMissingError Permission missing to listen on 127.0.0.1:15008: start with " +
      "--allow-net=127.0.0.1:15008\n",
  );
});

Deno.test("listen() says which address is taken", async () => {
  await using real = new RealNetwork();
  const { local } = await real.listen();
  const error = await failure(
    promised<Listener>((done) => real.network.listen(local, LISTEN, () => {}, done)),
  );
  assertEquals(error.code, "EADDRINUSE");
  assertEquals(
    error.message,
    `failed to bind to address 127.0.0.1:${local.port}: Address already in use (os error 98)`,
  );
});

Deno.test("listen() says that an address is not ours", async () => {
  await using real = new RealNetwork();
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

Deno.test("a cancelled listen() leaves nothing open", async () => {
  await using real = new RealNetwork();
  let answers = 0;
  real.network.listen(LOOPBACK, LISTEN, () => {}, () => answers++).cancel();
  await until(() => real.network.openSockets === 0);
  await pass(10);
  assertEquals(answers, 0);
});

Deno.test("close() of a listener frees its port and keeps its channels", async () => {
  await using real = new RealNetwork();
  const { client, server } = await real.plainPair();
  real.listener.close();
  real.listener.close();
  await until(() => real.network.openSockets === 2);
  const error = await failure(real.dial());
  assertEquals(error.message, "Connection refused (os error 111)");
  let received = 0;
  server.attach({
    onData: (_block, start, end) => void (received += end - start),
    onEnd() {},
    onWritable() {},
    onClose() {},
  });
  client.write(adoptBlock(new Uint8Array(3)), 0, 3);
  await until(() => received === 3);
  client.reset(null);
});

Deno.test("dial() gives up at its limit", async () => {
  await using real = new RealNetwork();
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

Deno.test("a cancelled dial() says nothing and leaves nothing open", async () => {
  await using real = new RealNetwork();
  await real.listen();
  let answers = 0;
  real.network.dial(real.listener.local, DIAL, () => answers++).cancel();
  await pass(20);
  assertEquals(answers, 0);
  await until(() => real.network.openSockets <= 2);
});

Deno.test("dial() can choose its source address", async () => {
  await using real = new RealNetwork();
  await real.listen();
  const accepting = real.accept();
  const client = await promised<Channel>((done) =>
    real.network.dial(real.listener.local, { ...DIAL, sourceIp: "127.0.0.7" }, done)
  );
  const server = await accepting;
  assertEquals([client.local.ip, server.peer.ip], ["127.0.0.7", "127.0.0.7"]);
  client.reset(null);
});

Deno.test("IPv6 works where the machine has it, and mapped addresses come out as IPv4", async () => {
  await using real = new RealNetwork();
  try {
    await real.listen({ ip: "::", port: 0 });
  } catch (error) {
    assert(error instanceof Error && /os error (97|99)/.test(error.message), String(error));
    return;
  }
  const accepting = real.accept();
  const client = await promised<Channel>((done) =>
    real.network.dial({ ip: "127.0.0.1", port: real.listener.local.port }, DIAL, done)
  );
  assertEquals((await accepting).peer, client.local);
  client.reset(null);
});

Deno.test("reset() of a plain channel is RST on the wire", async () => {
  await using real = new RealNetwork();
  await real.listen();
  const socket = net.connect(real.listener.local.port, "127.0.0.1");
  let seen: NodeJS.ErrnoException | null = null;
  socket.on("error", (error) => seen = error);
  socket.resume();
  (await real.accept()).reset(null);
  await until(() => seen !== null);
  assertEquals((seen as NodeJS.ErrnoException | null)?.code, "ECONNRESET");
});

Deno.test("beyond the descriptor budget new connections are refused and old ones kept", async () => {
  await using real = new RealNetwork({ descriptorsMax: 80 });
  await using other = new RealNetwork();
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
  assertEquals(real.network.counts.connectionsRefused, 2);
  assertEquals(errors.map((error) => error?.code), ["ECONNRESET", "ECONNRESET"]);
  for (const client of clients) client.reset(null);
});

Deno.test("write() takes UNSENT_BYTES_MAX before it answers false", async () => {
  await using real = new RealNetwork();
  const { client, server } = await real.plainPair();
  const block = adoptBlock(new Uint8Array(UNSENT_BYTES_MAX + 1));
  assertEquals(client.write(block, 0, UNSENT_BYTES_MAX - 1), true);
  assertEquals(client.write(block, 0, 1), true);
  assertEquals(client.write(block, 0, 1), false);
  client.reset(null);
  server.reset(null);
  await until(() => real.network.openSockets === 1);
  assertEquals(block.references, 1);
});

Deno.test("what a handler throws ends its own connection and no other", async () => {
  const bugs: unknown[] = [];
  await using real = new RealNetwork({ onBug: (error) => bugs.push(error) });
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
  let received = 0;
  sound.server.attach({
    onData: (_block, start, end) => void (received += end - start),
    onEnd() {},
    onWritable() {},
    onClose() {},
  });
  for (const { client } of [broken, sound]) client.write(adoptBlock(new Uint8Array(1)), 0, 1);
  await until(() => ended && received === 1);
  assertEquals(bugs.map(String), ["Error: a bug"]);
  for (const { client } of [broken, sound]) client.reset(null);
});

for (const kind of ["plain", "TLS"] as const) {
  Deno.test(`1,000 ${kind} connections opened and closed leave no socket and no timer`, async () => {
    const certificates = await twoCertificates();
    await using real = new RealNetwork();
    await real.listen();
    const timersBefore = real.clock.waiting;
    for (let round = 0; round < 100; round++) {
      await Promise.all(Array.from({ length: 10 }, async (_, at) => {
        const { client, server } = kind === "plain"
          ? await real.plainPair()
          : await real.securePair(certificates);
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
    assertEquals(real.clock.waiting, timersBefore);
  });
}
