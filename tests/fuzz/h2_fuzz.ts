// Random and mutated frames against both sides of the codec: no exception, no hang, bounded memory.
//
// Run: deno task fuzz. FUZZ_SEED repeats one round, FUZZ_SECONDS (default 20) says how long.
import { assert } from "../../src/base/assert.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { type Random, randomBelow, SeededRandom } from "../../src/base/random.ts";
import type { H2Stream } from "../../src/h2/types.ts";
import { blockOf, CONNECT, OK, type StreamLog } from "../support/h2_pair.ts";
import {
  clientWithRawServer,
  concat,
  data,
  frame,
  goAway,
  paddedData,
  type RawSetup,
  reset,
  serverWithRawClient,
  settings,
  windowUpdate,
} from "../support/h2_raw.ts";

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

function randomBytes(random: Random, bytes: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: bytes }, () => random.uint32() & 255);
}

/** The ids that a round has used, and what it may send. */
class Sender {
  readonly #random: Random;
  readonly #setup: RawSetup;
  readonly #client: boolean;
  /** How often a frame is one that no honest peer sends, of 100. */
  readonly hostility: number;
  #lastId = -1;

  /** @param client Whether we play a server to our own client. */
  constructor(random: Random, setup: RawSetup, client: boolean) {
    this.#random = random;
    this.#setup = setup;
    this.#client = client;
    this.hostility = [0, 1, 10, 50][randomBelow(random, 4)]!;
  }

  /** A stream that was opened, or nearly one. */
  #id(): number {
    if (randomBelow(this.#random, 100) < this.hostility) return this.#random.uint32() & 0x7f;
    const newest = this.#client ? 2 * this.#setup.log.streams.length + 1 : this.#lastId;
    return Math.max(1, newest - 2 * randomBelow(this.#random, 12));
  }

  #open(flags: number): Uint8Array {
    this.#lastId += 2;
    return this.#setup.peer.headers(this.#lastId, CONNECT, flags);
  }

  frame(): Uint8Array {
    const random = this.#random;
    if (randomBelow(random, 100) < this.hostility) return this.#hostileFrame();
    if (!this.#client && this.#lastId < 0) return this.#open(0);
    const id = this.#id();
    const end = randomBelow(random, 6) === 0 ? 1 : 0;
    switch (randomBelow(random, 14)) {
      case 0:
      case 1:
        return this.#client ? this.#setup.peer.headers(id, OK, end) : this.#open(end);
      case 2:
        return this.#setup.peer.headers(id, [{ name: "a", value: "b" }], 1);
      case 3:
        return paddedData(id, "x".repeat(randomBelow(random, 20)), randomBelow(random, 256), end);
      case 4:
        return settings([4, randomBelow(random, 40_000)], [5, 16_384 + randomBelow(random, 9)]);
      case 5:
        return settings([1, randomBelow(random, 5_000)], [3, randomBelow(random, 30)]);
      case 6:
      case 7:
        return windowUpdate(randomBelow(random, 2) * id, 1 + randomBelow(random, 100_000));
      case 8:
        return randomBelow(random, 3) === 0 ? reset(id, randomBelow(random, 20)) : data(id, "");
      case 9:
        return frame(6, end, 0, randomBytes(random, 8));
      default:
        return data(
          id,
          PAYLOAD.bytes.subarray(0, randomBelow(random, 2 ** (2 + randomBelow(random, 14)))),
          end,
        );
    }
  }

  #hostileFrame(): Uint8Array {
    const random = this.#random;
    const id = this.#id();
    switch (randomBelow(random, 8)) {
      case 0:
        return goAway(id, randomBelow(random, 14), "debug");
      case 1:
        return frame(random.uint32() & 255, random.uint32() & 255, id, randomBytes(random, 12));
      case 2:
        return frame(randomBelow(random, 10), random.uint32() & 255, id, randomBytes(random, 8));
      case 3:
        return concat(frame(1, 0, id, this.#setup.peer.block(CONNECT)), frame(9, 4, id));
      case 4:
        return frame(1, 4, id, randomBytes(random, randomBelow(random, 50)));
      case 5:
        return settings([randomBelow(random, 8), random.uint32()]);
      case 6:
        return windowUpdate(id, random.uint32());
      default:
        return mutate(random, data(id, randomBytes(random, randomBelow(random, 30))));
    }
  }
}

function mutate(random: Random, bytes: Uint8Array): Uint8Array {
  const changed = bytes.slice();
  changed[randomBelow(random, changed.length)]! ^= 1 << randomBelow(random, 8);
  return randomBelow(random, 4) > 0
    ? changed
    : changed.subarray(0, randomBelow(random, changed.length));
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
  const sender = new Sender(random, setup, client);
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
