// Random and mutated frames against both sides of the codec: no exception, no hang, bounded memory.
//
// Run: deno task fuzz. FUZZ_SEED repeats one round, FUZZ_SECONDS (default 20) says how long.
import { assert } from "../../src/base/assert.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { type Random, randomBelow, SeededRandom } from "../../src/base/random.ts";
import type { H2Stream } from "../../src/h2/types.ts";
import { blockOf, CONNECT, OK, type StreamLog } from "../support/h2_pair.ts";
import { clientWithRawServer, serverWithRawClient } from "../support/h2_raw.ts";
import { FrameSender } from "./frame_sender.ts";

/** Deliveries to one connection in a round. */
const STEPS = 60;

/** Blocks that a connection may hold: far less than its windows, far more than an honest test needs. */
const LENT_BLOCKS_MAX = 64;

const PAYLOAD = blockOf(new Uint8Array(100_000));

/** What streams do meanwhile, so that every state is met. */
function act(random: Random, stream: H2Stream, log: StreamLog): void {
  switch (randomBelow(random, 12)) {
    case 0:
      stream.pause();
      break;
    case 1:
      stream.resume();
      break;
    case 2:
    case 3:
    case 4:
      stream.write(PAYLOAD, 0, randomBelow(random, 5_000));
      break;
    case 5:
      if (log.bytes < 1_000_000) stream.write(PAYLOAD, 0, PAYLOAD.bytes.length);
      break;
    case 6:
      stream.endWrite();
      break;
    case 7:
      stream.reset(null);
      break;
    case 8:
      stream.attach(log);
      break;
  }
}

/** One connection's life under seed; says how many deliveries it bore. @throws whatever is wrong with us. */
function fuzzRound(seed: number): number {
  const random = new SeededRandom(seed);
  const client = randomBelow(random, 2) === 0;
  const options = {
    keepsBlocks: randomBelow(random, 2) === 0,
    pieceBytes: () => randomBelow(random, 4) === 0 ? 1 + randomBelow(random, 20) : Infinity,
    highWaterBytes: randomBelow(random, 2) === 0 ? 20_000 : Infinity,
    limits: { streamWindowBytes: 1 + randomBelow(random, 200_000), connectionWindowBytes: 200_000 },
  };
  const setup = client ? clientWithRawServer(options) : serverWithRawClient(options);
  const { connection, log, peer, pool, end, run } = setup;
  log.onAccept = ({ stream }) => {
    if (randomBelow(random, 8) > 0) stream.respond(OK, { endStream: randomBelow(random, 8) === 0 });
    else stream.reset(null);
  };
  const sender = new FrameSender(random, {
    to: client ? "client" : "server",
    headers: (...given) => peer.headers(...given),
    block: (headers) => peer.block(headers),
    streamsOpened: () => log.streams.length,
    request: () => CONNECT,
  });
  let steps = 0;
  for (; steps < STEPS; steps++) {
    if (client && connection.openStreams < 20) connection.open(CONNECT, log);
    const parts = Array.from({ length: 1 + randomBelow(random, 6) }, () => sender.frame());
    if (randomBelow(random, 30) === 0) end.held = !end.held;
    peer.send(...parts);
    for (const stream of log.streams) {
      const answered = client || stream.stream.closed || stream.closedWith !== undefined;
      if (randomBelow(random, 4) === 0 && (answered || responded(stream.stream))) {
        act(random, stream.stream, stream);
      }
    }
    run();
    assert(pool.lent <= LENT_BLOCKS_MAX, `${pool.lent} blocks lent`);
    if (!connection.acceptsStreams && connection.openStreams === 0) break;
    if (randomBelow(random, 100) === 0) connection.drain();
    if (randomBelow(random, 300) === 0) connection.close(0, null);
  }
  end.release();
  run();
  for (const { stream } of log.streams) stream.reset(null);
  run();
  // Nothing of an honest peer's is cut off in the middle of a frame here.
  if (sender.hostility === 0 && connection.acceptsStreams) {
    assert(connection.heldBytes === 0, "window was lost");
  }
  if (randomBelow(random, 2) === 0) peer.endWrite();
  else connection.abort(null);
  connection.abort(null);
  run();
  for (const { stream } of log.streams) stream.reset(null);
  run();
  assert(log.closedWith !== undefined, "the connection never closed");
  assert(connection.openStreams === 0, "streams were left");
  assert(log.closedWith === null || log.closedWith instanceof ProxyError, "not a ProxyError");
  assert(pool.lent === 0, `${pool.lent} blocks were never released`);
  for (const { events } of log.streams) {
    const closes = events.filter((event) => event.startsWith("close")).length;
    assert(closes === 1, `a stream was closed ${closes} times`);
    assert(events.at(-1)!.startsWith("close"), "something followed a close");
    assert(events.filter((event) => event === "end").length <= 1, "a stream ended twice");
  }
  return steps;
}

/** Servers answer in `onAccept` or reset; after that the stream may be written to. */
function responded(stream: H2Stream): boolean {
  return (stream as unknown as { readonly responded: boolean }).responded;
}

if (import.meta.main) {
  const given = Deno.env.get("FUZZ_SEED");
  const seconds = Number(Deno.env.get("FUZZ_SECONDS") ?? 20);
  const first = given === undefined
    ? crypto.getRandomValues(new Uint32Array(1))[0]!
    : Number(given);
  const deadline = performance.now() + seconds * 1000;
  let rounds = 0;
  let steps = 0;
  for (let seed = first;; seed = (seed + 1) >>> 0) {
    const started = performance.now();
    try {
      steps += fuzzRound(seed);
      assert(performance.now() - started < 10_000, "a round took more than 10 s");
    } catch (error) {
      // deno-lint-ignore no-console -- a program for a terminal
      console.error(`FUZZ_SEED=${seed} fails:`, error);
      Deno.exit(1);
    }
    rounds++;
    if (given !== undefined || performance.now() > deadline) break;
  }
  // deno-lint-ignore no-console -- a program for a terminal
  console.log(
    `h2 fuzz: ${rounds} rounds of ${steps} deliveries from FUZZ_SEED=${first}, nothing found`,
  );
}
