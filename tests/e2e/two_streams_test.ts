// Two streams on one tunnel: a slow server behind one must not delay the other (spec/deno-runtime §11 row 21).
import { assert, assertEquals } from "@std/assert";
import { startProxyPair } from "../support/proxy_pair.ts";
import { connectSocks5, readExactly, writeAll } from "../support/socks5.ts";

const MESSAGE_BYTES = 64;
const SLOW_ANSWER_MS = 200;
const SAMPLES = 500;
const P99_MAX_MS = 5;
/** Where a write held back until a delayed acknowledgement shows. */
const DELAYED_FROM_MS = 36;
const DELAYED_TO_MS = 48;
/**
 * A busy machine can spoil a round. Nagle spoils each: with the dialer that cannot switch it off (`deno`), each of 8
 * rounds had more than 100 samples in the band (TWO_STREAMS_DIALER=deno shows it).
 */
const ROUNDS_MAX = 4;

interface Round {
  readonly p99Ms: number;
  readonly delayed: number;
}

async function answerAfter(connection: Deno.Conn, delayMs: number): Promise<void> {
  const answers: Promise<void>[] = [];
  try {
    for (;;) {
      const message = await readExactly(connection, MESSAGE_BYTES);
      if (delayMs === 0) await writeAll(connection, message);
      else {
        answers.push(
          new Promise((resolve) => setTimeout(resolve, delayMs))
            .then(() => writeAll(connection, message)).catch(() => {}),
        );
      }
    }
  } catch {
    // The client is done, which ends the stream between two messages.
  }
  await Promise.all(answers);
  connection.close();
}

async function serve(listener: Deno.TcpListener, delayMs: number): Promise<void> {
  const connection = await listener.accept();
  connection.setNoDelay(true);
  await answerAfter(connection, delayMs);
}

/** Each ping finds a small write of the other stream unacknowledged: with Nagle on, it waits for the ACK. */
async function measure(quick: Deno.Conn, slow: Deno.Conn): Promise<Round> {
  const message = crypto.getRandomValues(new Uint8Array(MESSAGE_BYTES));
  const samples: number[] = [];
  for (let turn = 0; turn < SAMPLES; turn++) {
    await writeAll(slow, message);
    await new Promise((resolve) => setTimeout(resolve, 1));
    const start = performance.now();
    await writeAll(quick, message);
    assertEquals(await readExactly(quick, MESSAGE_BYTES), message);
    samples.push(performance.now() - start);
  }
  samples.sort((a, b) => a - b);
  const delayed = samples.filter((ms) => ms >= DELAYED_FROM_MS && ms < DELAYED_TO_MS);
  return { p99Ms: samples[Math.floor(samples.length * 0.99)]!, delayed: delayed.length };
}

Deno.test("a server that answers after 200 ms delays no other stream of its tunnel", async () => {
  const dialer = Deno.env.get("TWO_STREAMS_DIALER") ?? "node";
  await using pair = await startProxyPair({ env: { TUNNEL_DIALER: dialer } });
  const hostname = pair.inbound.ip;
  using quickServer = Deno.listen({ hostname, port: 0 });
  using slowServer = Deno.listen({ hostname, port: 0 });
  const served = [serve(quickServer, 0), serve(slowServer, SLOW_ANSWER_MS)];
  const [quick, slow] = await Promise.all(
    [quickServer, slowServer].map(({ addr }) =>
      connectSocks5(pair.outbound.ip, { ip: hostname, port: addr.port })
    ),
  ) as [Deno.TcpConn, Deno.TcpConn];
  const reading = (async () => {
    let answered = 0;
    const buffer = new Uint8Array(65_536);
    for (;;) {
      const count = await slow.read(buffer).catch(() => null);
      if (count === null) return answered;
      answered += count;
    }
  })();

  await measure(quick, slow); // Compilers warm up.
  const rounds: Round[] = [];
  const isClean = ({ p99Ms, delayed }: Round) => p99Ms < P99_MAX_MS && delayed === 0;
  while (rounds.length < ROUNDS_MAX && !rounds.some(isClean)) {
    rounds.push(await measure(quick, slow));
  }

  quick.close();
  await slow.closeWrite();
  assert(await reading > 0, "The slow server answered nothing");
  slow.close();
  await Promise.all(served);
  // One tunnel: the inbound side saw both streams come from one port.
  const sources = new Set<unknown>();
  for (const { addr } of [quickServer, slowServer]) {
    const line = await pair.inbound.accessLine((each) =>
      each["dst.hbone_addr"] === `${hostname}:${addr.port}`
    );
    sources.add(line["src.addr"]);
  }
  assertEquals(sources.size, 1);
  assert(rounds.some(isClean), `no round was clean: ${JSON.stringify(rounds)}`);
});
