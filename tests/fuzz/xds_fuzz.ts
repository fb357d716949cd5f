// A control plane that draws what it says, good and bad, and ends its streams in every way there is; the real client, store
// and router follow it, and everything they hold is compared with a list of what was valid.
//
// Run: deno task fuzz:xds. First what is long and costly (xds_floods.ts), then rounds. FUZZ_SEED begins with that round, FUZZ_SECONDS (default 20) says how long.
import { assert, assertEquals } from "@std/assert";
import { SeededRandom } from "../../src/base/random.ts";
import { DELTA_PATH } from "../../src/xds/types.ts";
import { openDescriptors } from "../support/process_stats.ts";
import { PauseMeter } from "./pauses.ts";
import { Drawer } from "./xds_drawn.ts";
import { ENDINGS, REFUSALS } from "./xds_endings.ts";
import { type Act, GRPC_OK, grpcFrame, headers, HostileServer } from "./xds_hostile.ts";
import { type Call, Ear, WITHIN_MS } from "./xds_ear.ts";
import { backoff, flood, giants } from "./xds_floods.ts";
import { predict, type Prediction } from "./xds_model.ts";
import { checkReply, readRequest, Subject } from "./xds_round.ts";

const STREAMS_PER_ROUND = 30;
/** Of the subject's own work between two turns of the loop; the goal is 20 ms. */
const WORK_MAX_MS = 60;
/** Rounds after which memory counts: code is compiled, what is shared is filled. */
const WARM_UP_ROUNDS = 3;
const HEAP_GROWTH_MAX_BYTES = 24 * 1024 * 1024;
const RESIDENT_GROWTH_MAX_BYTES = 512 * 1024 * 1024;

interface Tally {
  rounds: number;
  streams: number;
  responses: number;
  rejected: number;
  unreadable: number;
  readonly ends: Map<string, number>;
}

class Round {
  readonly #server: HostileServer;
  readonly #ear: Ear;
  readonly #meter: PauseMeter;
  readonly #drawer: Drawer;
  readonly #tally: Tally;
  readonly #subject: Subject;
  /** What was done last, for whoever looks for the reason of a failure. */
  doing = "";

  constructor(
    options: {
      readonly server: HostileServer;
      readonly ear: Ear;
      readonly meter: PauseMeter;
      readonly tally: Tally;
      readonly seed: number;
    },
  ) {
    this.#server = options.server;
    this.#ear = options.ear;
    this.#meter = options.meter;
    this.#tally = options.tally;
    this.#drawer = new Drawer(new SeededRandom(options.seed));
    this.#subject = new Subject(options.server.address, (run) => options.meter.own(run), {
      isHasty: true,
    });
  }

  async run(isOver: () => boolean): Promise<void> {
    const subject = this.#subject;
    try {
      for (let left = STREAMS_PER_ROUND; left > 0 && !isOver(); left--) {
        const call = await this.#ear.nextCall();
        assertEquals(call.path, DELTA_PATH);
        subject.begin();
        this.#tally.streams++;
        await this.#converse(call);
        subject.check();
      }
      subject.compare(this.#drawer);
      assert(this.#ear.opened <= subject.terminated + 1, "two streams at a time");
    } finally {
      await subject.stop();
    }
  }

  async #converse({ connection, stream }: Call): Promise<void> {
    const drawer = this.#drawer;
    const act = (...acts: readonly Act[]) => this.#server.act(connection, ...acts);
    if (drawer.chance(10)) {
      const name = drawer.of(Object.keys(REFUSALS));
      this.#note(`refusal ${name}`);
      act(...REFUSALS[name]!(drawer, stream));
      return;
    }
    await this.#hearFirst();
    act(headers(stream, GRPC_OK));
    const expected: Prediction[] = [];
    for (let left = drawer.below(12); left > 0; left--) {
      const message = this.#meter.own(() => drawer.response());
      const prediction = this.#meter.own(() => predict(message));
      this.#tally.responses++;
      act({
        kind: "data",
        stream,
        bytes: grpcFrame(message),
        // Small ones octet by octet.
        frameBytes: message.length > 1_000 ? drawer.of([16_384, 500]) : drawer.of([16_384, 100, 1]),
      });
      if (prediction === "unreadable") {
        this.#note("unreadable");
        this.#tally.unreadable++;
        await this.#hearReplies(expected);
        act({ kind: "wait", ms: 5 }, { kind: "close" });
        return;
      }
      if (prediction.rejected !== null) this.#tally.rejected++;
      this.#subject.send(prediction);
      expected.push(prediction);
      if (drawer.chance(60)) await this.#hearReplies(expected);
    }
    if (drawer.chance(85)) {
      await this.#hearReplies(expected);
      if (drawer.chance(40)) this.#subject.compare(drawer);
    }
    const name = drawer.of(Object.keys(ENDINGS));
    this.#note(`ending ${name}`);
    act(...ENDINGS[name]!(drawer, stream));
  }

  async #hearFirst(): Promise<void> {
    const ear = this.#ear;
    await ear.until(() => ear.messages.length >= 2, "no first requests");
    for (const [at, message] of ear.messages.splice(0, 2).entries()) {
      this.#meter.own(() => this.#subject.checkFirst(readRequest(message), at));
    }
  }

  /** Exactly one reply to each, in order. */
  async #hearReplies(expected: Prediction[]): Promise<void> {
    const ear = this.#ear;
    await ear.until(() => ear.messages.length >= expected.length, "no reply");
    this.#meter.own(() => {
      for (const prediction of expected.splice(0)) {
        checkReply(readRequest(ear.messages.shift()!), prediction);
      }
      assertEquals(ear.messages.length, 0, "a reply too many");
    });
  }

  #note(what: string): void {
    this.doing = what;
    const { ends } = this.#tally;
    ends.set(what, (ends.get(what) ?? 0) + 1);
  }
}

/** The server that all rounds share, and whoever listens to it now. */
interface Stage {
  readonly server: HostileServer;
  ear: Ear;
}

async function round(
  seed: number,
  stage: Stage,
  options: { readonly tally: Tally; readonly meter: PauseMeter; readonly isOver: () => boolean },
): Promise<void> {
  const { tally, meter, isOver } = options;
  const ear = stage.ear = new Ear();
  const one = new Round({ server: stage.server, ear, meter, tally, seed });
  try {
    await one.run(isOver);
    await ear.until(() => ear.ended === ear.opened, "connections stay open");
  } catch (error) {
    throw new Error(`after ${one.doing}: FUZZ_SEED=${seed}`, { cause: error });
  }
  tally.rounds++;
}

/** The runtime closes some a moment later. */
async function descriptorsBack(before: number): Promise<void> {
  const deadline = performance.now() + WITHIN_MS;
  while (openDescriptors(Deno.pid) > before) {
    assert(performance.now() < deadline, "descriptors stay open");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function collect(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

async function run(first: number, seconds: number): Promise<void> {
  for (
    const { what, workMs, wallMs, residentBytes } of [
      await flood(),
      await giants(),
      await backoff(),
    ]
  ) {
    const grown = `resident memory ${(residentBytes / 2 ** 20).toFixed(0)} MiB more at its highest`;
    say(
      `${what}: longest work of one turn ${workMs.toFixed(1)} ms (wall ${
        wallMs.toFixed(0)
      } ms), ${grown}`,
    );
    assert(workMs <= WORK_MAX_MS, `the loop was held for ${workMs} ms`);
  }
  const deadline = performance.now() + seconds * 1000;
  const tally: Tally = {
    rounds: 0,
    streams: 0,
    responses: 0,
    rejected: 0,
    unreadable: 0,
    ends: new Map(),
  };
  const meter = new PauseMeter();
  const isOver = () => performance.now() > deadline;
  const stage: { server: HostileServer; ear: Ear } = {
    server: await HostileServer.start((event) => stage.ear.hear(event)),
    ear: new Ear(),
  };
  let warm: Deno.MemoryUsage | null = null;
  let descriptors = 0;
  let workMs = 0;
  let wallMs = 0;
  try {
    for (let seed = first; !isOver(); seed = (seed + 1) >>> 0) {
      await round(seed, stage, { tally, meter, isOver });
      const found = meter.reset();
      // Code is compiled in the first round.
      if (seed === first) descriptors = openDescriptors(Deno.pid);
      else {
        await descriptorsBack(descriptors);
        workMs = Math.max(workMs, found.workMs);
        wallMs = Math.max(wallMs, found.wallMs);
      }
      meter.own(collect);
      if (tally.rounds === WARM_UP_ROUNDS) warm = Deno.memoryUsage();
    }
  } finally {
    meter.stop();
    await stage.server[Symbol.asyncDispose]();
  }
  const now = Deno.memoryUsage();
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
  if (warm !== null) {
    say(
      `heap ${mib(warm.heapUsed)} MiB after ${WARM_UP_ROUNDS} rounds, ${
        mib(now.heapUsed)
      } at the end; resident ` +
        `${mib(warm.rss)} and ${mib(now.rss)}`,
    );
    assert(now.heapUsed - warm.heapUsed <= HEAP_GROWTH_MAX_BYTES, "the heap grew");
    assert(now.rss - warm.rss <= RESIDENT_GROWTH_MAX_BYTES, "resident memory grew");
  }
  say(`longest work of one turn ${workMs.toFixed(1)} ms (wall ${wallMs.toFixed(0)} ms)`);
  say([...tally.ends].map(([name, count]) => `${name} ${count}`).join(", "));
  assert(workMs <= WORK_MAX_MS, `the loop was held for ${workMs} ms`);
  say(
    `xds fuzz: ${tally.rounds} rounds from FUZZ_SEED=${first}, ${tally.streams} streams, ${tally.responses} responses ` +
      `(${tally.rejected} with rejections, ${tally.unreadable} unreadable), nothing found`,
  );
}

function say(text: string): void {
  // deno-lint-ignore no-console -- a program for a terminal
  console.log(text);
}

if (import.meta.main) {
  const seed = Number(Deno.env.get("FUZZ_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  await run(seed >>> 0, Number(Deno.env.get("FUZZ_SECONDS") ?? 20));
}
