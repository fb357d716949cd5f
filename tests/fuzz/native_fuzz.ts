// Random bytes and mutated records into TLS and HTTP/2 of two proxy processes on the native network, through real sockets.
//
// Run: deno task fuzz:native. FUZZ_SEED begins with that conversation, FUZZ_SECONDS (default 20) says how long.
import { assert } from "@std/assert";
import { SeededRandom } from "../../src/base/random.ts";
import type { Assault } from "./assault.ts";
import {
  Bystander,
  type FuzzedPair,
  startFuzzedPair,
  takeFaults,
  type Vitals,
  vitalsOf,
} from "./fuzzed_pair.ts";
import * as clients from "./hostile_clients.ts";
import * as servers from "./hostile_servers.ts";

/** Conversations at a time. */
const AT_ONCE = 24;
/** After the last conversation, everything that belonged to one is closed by then. */
const QUIET_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 500;
/** Conversations after which memory counts: code is compiled, pools are filled. */
const WARM_UP_CONVERSATIONS = 500;
/** What resident memory may grow to after that. */
const RESIDENT_GROWTH_MAX = 2;

/** A drawn assault, and how many of its kind there were. */
const ASSAULTS: readonly { readonly name: string; readonly assault: Assault }[] = [
  ...Object.entries({
    rawBytes: clients.rawBytes,
    rawRecords: clients.rawRecords,
    mutatedHello: clients.mutatedHello,
    halfHandshake: clients.halfHandshake,
    securedBytes: clients.securedBytes,
    hostileFrames: clients.hostileFrames,
    tamperedTunnel: clients.tamperedTunnel,
    nonsenseToSocks: clients.nonsenseToSocks,
    rawServer: servers.rawServer,
    resettingServer: servers.resettingServer,
    securedBytesServer: servers.securedBytesServer,
    hostileFramesServer: servers.hostileFramesServer,
    tamperedServer: servers.tamperedServer,
  }).map(([name, assault]) => ({ name, assault })),
  // What reaches furthest comes twice.
  { name: "hostileFrames", assault: clients.hostileFrames },
  { name: "tamperedTunnel", assault: clients.tamperedTunnel },
  { name: "hostileFramesServer", assault: servers.hostileFramesServer },
];

interface Found {
  readonly conversations: ReadonlyMap<string, number>;
  readonly total: number;
}

/** Runs conversations until the time is over. @throws what was found. */
async function assail(pair: FuzzedPair, first: number, seconds: number): Promise<Found> {
  const deadline = performance.now() + seconds * 1000;
  const conversations = new Map<string, number>();
  const underWay = new Set<string>();
  let total = 0;
  let failure: unknown = null;
  let warm: readonly Vitals[] | null = null;
  const worker = async (hostileIp: string) => {
    while (performance.now() < deadline && failure === null) {
      const seed = (first + total++) >>> 0;
      const random = new SeededRandom(seed);
      const { name, assault } = ASSAULTS[random.uint32() % ASSAULTS.length]!;
      const title = `${name} FUZZ_SEED=${seed}`;
      underWay.add(title);
      try {
        await assault({ pair, random, hostileIp });
      } catch (error) {
        failure ??= new Error(`${title} found something`, { cause: error });
      }
      underWay.delete(title);
      conversations.set(name, (conversations.get(name) ?? 0) + 1);
    }
  };
  const watching = (async () => {
    while (performance.now() < deadline && failure === null) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      const vitals = [pair.outbound, pair.inbound].map(vitalsOf);
      if (warm === null && total >= WARM_UP_CONVERSATIONS) warm = vitals;
      const faults = [pair.outbound, pair.inbound].flatMap(takeFaults);
      assert(faults.length === 0, faults.join("\n"));
    }
  })().catch((error) => {
    failure ??= new Error(`Under way: ${[...underWay].join(", ")}`, { cause: error });
  });
  await Promise.all([...pair.hostileIps.map(worker), watching]);
  if (failure !== null) throw failure;
  report(warm, [pair.outbound, pair.inbound].map(vitalsOf));
  return { conversations, total };
}

function report(warm: readonly Vitals[] | null, now: readonly Vitals[]): void {
  for (const [at, before] of (warm ?? []).entries()) {
    const [was, is] = [before, now[at]!].map(({ residentBytes }) => residentBytes / 2 ** 20);
    say(
      `resident memory of ${["outbound", "inbound"][at]}: ${was!.toFixed(0)} MiB after ` +
        `${WARM_UP_CONVERSATIONS} conversations, ${is!.toFixed(0)} MiB at the end`,
    );
    assert(is! <= was! * RESIDENT_GROWTH_MAX, "resident memory grew");
  }
}

/** Waits until both processes have as many descriptors as before. */
async function becomeQuiet(pair: FuzzedPair, before: readonly Vitals[]): Promise<void> {
  const deadline = performance.now() + QUIET_WITHIN_MS;
  for (;;) {
    const now = [pair.outbound, pair.inbound].map(vitalsOf);
    const over = now.map(({ descriptors }, at) => descriptors - before[at]!.descriptors);
    if (over.every((count) => count <= 0)) return;
    assert(performance.now() < deadline, `${over.join(" and ")} descriptors were never closed`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function run(first: number, seconds: number): Promise<void> {
  await using pair = await startFuzzedPair(AT_ONCE);
  const bystander = await Bystander.start(pair);
  let found: Found;
  try {
    while (bystander.echoes < 3 && bystander.failure === null) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
    const before = [pair.outbound, pair.inbound].map(vitalsOf);
    found = await assail(pair, first, seconds);
    await becomeQuiet(pair, before);
  } finally {
    await bystander[Symbol.asyncDispose]();
  }
  if (bystander.failure !== null) throw bystander.failure;
  for (const proxy of [pair.outbound, pair.inbound]) {
    const { code, signal } = await proxy.stop();
    assert(code === 0 && signal === null, `a proxy ended with ${code ?? signal}`);
    const faults = takeFaults(proxy);
    assert(faults.length === 0, faults.join("\n"));
  }
  const kinds = [...found.conversations].map(([name, count]) => `${name} ${count}`).join(", ");
  say(
    `the bystander echoed ${bystander.echoes} times, ${bystander.slowestMs.toFixed(0)} ms at worst`,
  );
  say(
    `native fuzz: ${found.total} conversations from FUZZ_SEED=${first} (${kinds}), nothing found`,
  );
}

function say(text: string): void {
  // deno-lint-ignore no-console -- a program for a terminal
  console.log(text);
}

if (import.meta.main) {
  const given = Deno.env.get("FUZZ_SEED");
  const first = given === undefined
    ? crypto.getRandomValues(new Uint32Array(1))[0]!
    : Number(given);
  try {
    await run(first, Number(Deno.env.get("FUZZ_SECONDS") ?? 20));
  } catch (error) {
    // deno-lint-ignore no-console -- a program for a terminal
    console.error(`native fuzz from FUZZ_SEED=${first} fails:`, error);
    Deno.exit(1);
  }
}
