import { assertEquals } from "@std/assert";
import { VirtualClock } from "../base/virtual_clock.ts";
import {
  type Death,
  Liveness,
  OPEN_TIMEOUT_MS,
  PROBE_EVERY_MS,
  PROBE_FAILURES_MAX,
  PROBE_TIMEOUT_MS,
} from "./liveness.ts";

type Answer = "answer" | "fail" | "nothing";

/** A peer that behaves as `answer` says, and who watches it. */
class World {
  readonly clock = new VirtualClock();
  answer: Answer = "answer";
  probes = 0;
  open = 0;
  readonly deaths: { readonly death: Death; readonly atMs: number }[] = [];
  readonly liveness = new Liveness({
    clock: this.clock,
    probe: (signal) => this.#probe(signal),
    onDead: (death) => this.deaths.push({ death, atMs: this.clock.nowMs() }),
  });

  #probe(signal: AbortSignal): Promise<void> {
    this.probes++;
    if (this.answer === "answer") return Promise.resolve();
    if (this.answer === "fail") return Promise.reject(new Error("refused"));
    this.open++;
    return new Promise((_, reject) =>
      signal.addEventListener("abort", () => {
        this.open--;
        reject(signal.reason);
      })
    );
  }

  async pass(ms: number): Promise<void> {
    const endMs = this.clock.nowMs() + ms;
    await settle();
    while (this.clock.advanceToNext(endMs)) await settle();
    this.clock.advance(endMs - this.clock.nowMs());
    await settle();
  }
}

/** Lets promises run. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}

Deno.test("Liveness asks at once, then 30 s after each answer", async () => {
  const world = new World();
  assertEquals(world.probes, 1);
  await world.pass(PROBE_EVERY_MS - 1);
  assertEquals(world.probes, 1);
  await world.pass(1);
  assertEquals(world.probes, 2);
  await world.pass(10 * PROBE_EVERY_MS);
  assertEquals([world.probes, world.deaths], [12, []]);
  await world.liveness.stop();
  assertEquals(world.clock.pendingTimers, 0);
});

Deno.test("Liveness declares a peer dead that is silent for 10 s", async () => {
  const world = new World();
  await world.pass(0);
  world.answer = "nothing";
  await world.pass(PROBE_EVERY_MS + PROBE_TIMEOUT_MS - 1);
  assertEquals(world.deaths, []);
  await world.pass(1);
  assertEquals(world.deaths, [{ death: "no answer", atMs: PROBE_EVERY_MS + PROBE_TIMEOUT_MS }]);
  assertEquals([world.open, world.clock.pendingTimers], [0, 0]);
});

Deno.test("Liveness takes what the stream itself says for an answer", async () => {
  const world = new World();
  await world.pass(0);
  world.answer = "nothing";
  await world.pass(PROBE_EVERY_MS + 1);
  world.liveness.heard();
  await world.pass(PROBE_TIMEOUT_MS);
  assertEquals([world.deaths, world.open], [[], 0]);
  await world.pass(PROBE_EVERY_MS + PROBE_TIMEOUT_MS);
  assertEquals(world.deaths.length, 1);
});

Deno.test("Liveness gives a connection 15 s to be made and to answer", async () => {
  const deaths: Death[] = [];
  const clock = new VirtualClock();
  const probe = (signal: AbortSignal) =>
    new Promise<void>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const liveness = new Liveness({ clock, probe, onDead: (death) => deaths.push(death) });
  clock.advance(OPEN_TIMEOUT_MS - 1);
  assertEquals(deaths, []);
  clock.advance(1);
  assertEquals(deaths, ["no connection"]);
  await liveness.stop();
});

Deno.test("Liveness is content when the stream answers before the first question is answered", async () => {
  const deaths: Death[] = [];
  const clock = new VirtualClock();
  let probes = 0;
  const probe = (signal: AbortSignal) => {
    probes++;
    return new Promise<void>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  };
  const liveness = new Liveness({ clock, probe, onDead: (death) => deaths.push(death) });
  liveness.heard();
  clock.advance(OPEN_TIMEOUT_MS);
  assertEquals([deaths, probes], [[], 1]);
  await liveness.stop();
});

Deno.test("Liveness bears with questions that cannot be put, PROBE_FAILURES_MAX times", async () => {
  const world = new World();
  await world.pass(0);
  world.answer = "fail";
  await world.pass((PROBE_FAILURES_MAX - 1) * PROBE_EVERY_MS);
  assertEquals(world.deaths, []);
  await world.pass(PROBE_EVERY_MS);
  assertEquals(world.deaths.map(({ death }) => death), ["no answer"]);
  assertEquals(world.clock.pendingTimers, 0);
});

Deno.test("Liveness forgets failures once there is an answer", async () => {
  const world = new World();
  for (let round = 0; round < 5; round++) {
    world.answer = "fail";
    await world.pass((PROBE_FAILURES_MAX - 1) * PROBE_EVERY_MS);
    world.answer = "answer";
    await world.pass(PROBE_EVERY_MS);
  }
  assertEquals(world.deaths, []);
  await world.liveness.stop();
});

Deno.test("Liveness leaves nothing behind when it is stopped in the middle of a question", async () => {
  const world = new World();
  await world.pass(0);
  world.answer = "nothing";
  await world.pass(PROBE_EVERY_MS);
  assertEquals(world.open, 1);
  await world.liveness.stop();
  assertEquals([world.open, world.clock.pendingTimers, world.deaths], [0, 0, []]);
});
