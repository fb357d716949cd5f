// Whole proxies, 1,000 seeds: see README.md. Replay one with SIM_SEED=<n>; SIM_SEEDS=<count> runs more or fewer.
import { assert, assertEquals } from "@std/assert";
import { withoutEventLoop } from "./no_promises.ts";
import { prepareMaterials, type RunReport, simulate } from "./run.ts";

const materials = await prepareMaterials();
const onlySeed = Deno.env.get("SIM_SEED");
const seedCount = Number(Deno.env.get("SIM_SEEDS") ?? "1000");

/** One seed, with nothing but calls; a failure names it. */
function run(seed: number): RunReport {
  try {
    return withoutEventLoop(() => simulate(seed, materials));
  } catch (error) {
    throw new Error(`Seed ${seed} fails. Replay: SIM_SEED=${seed} deno test -A tests/simulation`, {
      cause: error,
    });
  }
}

Deno.test("Data planes carry every byte and keep nothing, whatever the seed does to them", () => {
  const seeds = onlySeed === undefined
    ? Array.from({ length: seedCount }, (_, index) => index + 1)
    : [Number(onlySeed)];
  const sum = { conversations: 0, whole: 0, double: 0, named: 0, bytes: 0 };
  for (const seed of seeds) {
    const report = run(seed);
    sum.conversations += report.conversations;
    sum.whole += report.wholeConversations;
    sum.double += report.wholeDouble;
    sum.named += report.wholeNamed;
    sum.bytes += report.payloadBytes;
  }
  assertEquals(seeds.length > 0, true);
  // Were most conversations disturbed, the test would hardly test.
  if (seeds.length >= 100) {
    assert(sum.whole * 3 > sum.conversations, `only ${sum.whole} of ${sum.conversations} whole`);
    assert(sum.double * 10 > sum.whole, `only ${sum.double} of ${sum.whole} by the gateway`);
    assert(sum.named * 10 > sum.whole, `only ${sum.named} of ${sum.whole} by name`);
    assert(sum.bytes > seeds.length * 50_000, `only ${sum.bytes} bytes moved`);
  }
});

Deno.test("simulate() replays a seed to the last octet count and millisecond", () => {
  for (const seed of [1, 2, 3, 4, 5]) assertEquals(run(seed), run(seed));
});
