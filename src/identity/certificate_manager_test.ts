// Certificates over time: who is asked when, who gets what, and what failures and clocks can do.
import { assert, assertEquals, AssertionError, assertThrows } from "@std/assert";
import { pass, ScriptedAuthority, settle } from "../../tests/support/scripted_authority.ts";
import { AssertionFailure } from "../base/assert.ts";
import type { ProxyError } from "../base/errors.ts";
import { SeededRandom } from "../base/random.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { CertificateSource, CertifiedKey } from "../tls/certificate.ts";
import { type SpiffeId, spiffeId } from "../tls/spiffe_id.ts";
import {
  CA_REQUESTS_MAX,
  CERTIFICATE_WAITERS_MAX,
  CertificateManager,
  CLOCK_STEP_MIN_MS,
  IDENTITIES_MAX,
  PREFETCH_QUEUE_MAX,
  ROTATION_LISTENERS_MAX,
  WALL_CHECK_MS,
} from "./certificate_manager.ts";
import { REFRESH_WAIT_MIN_MS } from "./certificate_state.ts";
import { IdentityError } from "./errors.ts";
import { PRIORITY, type Priority } from "./request_queue.ts";
import { RETIRED_KEPT_MS } from "./retired_keys.ts";
import { RETRY_JITTER_SHARE, RETRY_STEADY_MS, RETRY_WAIT_MAX_MS } from "./retry_wait.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
const DOWN = new IdentityError("CA_DOWN", "signing gRPC error (Unknown error): down");

function id(name: string): SpiffeId {
  return spiffeId({ trustDomain: "cluster.local", namespace: "ns", serviceAccount: name });
}
const A = id("a");

/** What one fetch came to; null while it waits. */
class Fetched {
  outcome: CertifiedKey | ProxyError | null = null;

  get certificate(): CertifiedKey {
    const { outcome } = this;
    if (outcome === null || outcome instanceof Error) {
      throw new AssertionError(`No certificate but ${outcome}`);
    }
    return outcome;
  }

  get error(): IdentityError {
    if (!(this.outcome instanceof IdentityError)) throw new AssertionError("It did not fail");
    return this.outcome;
  }
}

class Bench {
  readonly clock = new VirtualClock();
  readonly authority = new ScriptedAuthority(this.clock);
  readonly lines: string[] = [];
  readonly manager: CertificateManager;

  constructor(options: { readonly slots?: number } = {}) {
    this.manager = new CertificateManager({
      authority: this.authority,
      clock: this.clock,
      random: new SeededRandom(1),
      log: (level, _scope, message) => void this.lines.push(`${level}: ${message}`),
      ...options,
    });
  }

  fetch(identity: SpiffeId = A, priority: Priority = PRIORITY.realTime): Fetched {
    const fetched = new Fetched();
    this.manager.fetch(identity, priority, (outcome) => fetched.outcome = outcome);
    return fetched;
  }

  /** Fetches and waits for what comes of it now. */
  async fetchNow(identity: SpiffeId = A): Promise<Fetched> {
    const fetched = this.fetch(identity);
    await settle(this.clock);
    return fetched;
  }

  pass(deltaMs: number): Promise<void> {
    return pass(this.clock, deltaMs);
  }

  /** Milliseconds between the calls so far. */
  get gapsMs(): number[] {
    const times = this.authority.calls.map(({ atMs }) => atMs);
    return times.slice(1).map((atMs, at) => atMs - times[at]!);
  }

  states(): string[] {
    return this.manager.dump().map(({ state }) => state);
  }

  /** Nothing may be left over afterwards. */
  async close(): Promise<void> {
    this.manager.close();
    await settle(this.clock);
    assertEquals([this.clock.pendingTimers, this.authority.open], [0, 0]);
    assert(this.authority.issued.every(({ key }) => key.isWiped), "A key is left over");
  }
}

Deno.test("requests go out by priority, then due time", async () => {
  const bench = new Bench({ slots: 1 });
  bench.authority.takesMs = SECOND_MS;
  const asked = [
    ["id1", PRIORITY.background],
    ["id2", PRIORITY.background],
    ["id3", PRIORITY.warmup],
    ["id4", PRIORITY.realTime],
  ] as const;
  for (const [name, priority] of asked) {
    bench.fetch(id(name), priority);
    bench.clock.advance(1e-6);
  }
  await bench.pass(5 * SECOND_MS);
  assertEquals(bench.authority.names, ["id1", "id4", "id3", "id2"]);
  await bench.close();
});

Deno.test("a connection raises the request it waits for", async () => {
  const bench = new Bench({ slots: 1 });
  bench.authority.takesMs = SECOND_MS;
  for (const name of ["w1", "w2", "w3", "w4"]) bench.manager.prefetch(id(name));
  bench.fetch(id("w4"));
  await bench.pass(1.5 * SECOND_MS);
  assertEquals(bench.authority.names, ["w1", "w4"]);
  await bench.close();
});

Deno.test("all who wait for an identity share one request and one certificate", async () => {
  const bench = new Bench();
  bench.authority.takesMs = SECOND_MS;
  const fetched = [1, 2, 3, 4].map(() => bench.fetch());
  await bench.pass(SECOND_MS);
  assertEquals(bench.authority.calls.length, 1);
  assert(fetched.every(({ certificate }) => certificate === bench.authority.issued[0]));
  await bench.close();
});

Deno.test("as many requests as slots run at one time", async () => {
  const bench = new Bench({ slots: 4 });
  bench.authority.takesMs = SECOND_MS;
  const fetched = ["a", "b", "c", "d"].map((name) => bench.fetch(id(name)));
  await bench.pass(SECOND_MS);
  assertEquals(fetched.map(({ certificate }) => certificate.identity.serviceAccount), [
    "a",
    "b",
    "c",
    "d",
  ]);
  await bench.close();
});

Deno.test.each([
  { when: "just under", count: CA_REQUESTS_MAX - 1, open: CA_REQUESTS_MAX - 1 },
  { when: "at", count: CA_REQUESTS_MAX, open: CA_REQUESTS_MAX },
  { when: "just over", count: CA_REQUESTS_MAX + 1, open: CA_REQUESTS_MAX },
])("$when CA_REQUESTS_MAX, $open are with the CA", async ({ count, open }) => {
  const bench = new Bench();
  bench.authority.takesMs = SECOND_MS;
  const fetched = Array.from({ length: count }, (_, at) => bench.fetch(id(`id${at}`)));
  await settle(bench.clock);
  assertEquals(bench.authority.open, open);
  await bench.pass(2 * SECOND_MS);
  assert(fetched.every(({ certificate }) => certificate !== null));
  await bench.close();
});

Deno.test("a failed fetch is not repeated by asking again, but by itself", async () => {
  const bench = new Bench();
  bench.authority.failure = DOWN;
  assert((await bench.fetchNow()).error === DOWN);
  bench.authority.failure = null;
  assert((await bench.fetchNow()).error === DOWN);
  assertEquals(bench.authority.calls.length, 1);
  await bench.pass(3 * SECOND_MS);
  assert((await bench.fetchNow()).certificate === bench.authority.issued[0]);
  await bench.close();
});

Deno.test("an answer comes in a turn of its own, unless it is cancelled", async () => {
  const bench = new Bench();
  await bench.fetchNow();
  const [first, second] = [new Fetched(), new Fetched()];
  bench.manager.fetch(A, PRIORITY.realTime, (outcome) => first.outcome = outcome);
  bench.manager.fetch(A, PRIORITY.realTime, (outcome) => second.outcome = outcome).cancel();
  assertEquals(first.outcome, null);
  bench.clock.runUntilIdle();
  assert(first.certificate === bench.authority.issued[0]);
  assertEquals(second.outcome, null);
  await bench.close();
});

Deno.test("who cancels while the CA works hears nothing, and the certificate is there all the same", async () => {
  const bench = new Bench();
  bench.authority.takesMs = SECOND_MS;
  let answers = 0;
  bench.manager.source(A).get(() => answers++).cancel();
  await bench.pass(SECOND_MS);
  assertEquals([answers, bench.states()], [0, ["Available"]]);
  await bench.close();
});

Deno.test("a certificate of istiod's default life is refreshed at half of it", async () => {
  const bench = new Bench();
  bench.authority.validity = (wallMs) => [wallMs - 2 * MINUTE_MS, wallMs + DAY_MS];
  await bench.fetchNow(); // At 10:00, say.
  await bench.pass(11 * HOUR_MS + 59 * MINUTE_MS - 1); // 21:59
  assertEquals(bench.authority.calls.length, 1);
  await bench.pass(1);
  assertEquals(bench.authority.calls.length, 2);
  assert((await bench.fetchNow()).certificate === bench.authority.issued[1]);
  await bench.close();
});

Deno.test("a CA near its own end is asked ever more often, but never without a pause", async () => {
  const bench = new Bench();
  const endMs = bench.clock.wallMs() + 10 * MINUTE_MS;
  bench.authority.validity = (wallMs) => [wallMs - 2 * MINUTE_MS, endMs];
  await bench.fetchNow();
  await bench.pass(9 * MINUTE_MS);
  assertEquals(bench.gapsMs[0], 4 * MINUTE_MS);
  assert(Math.min(...bench.gapsMs) >= REFRESH_WAIT_MIN_MS, `${bench.gapsMs}`);
  assert(bench.authority.calls.length < 60, `${bench.authority.calls.length} requests`);
  assertEquals(bench.states(), ["Available"]);
  await bench.close();
});

Deno.test("a CA whose certificates are always past half life is asked with growing pauses", async () => {
  const bench = new Bench();
  bench.authority.validity = (wallMs) => [wallMs - 2 * DAY_MS, wallMs + DAY_MS];
  await bench.fetchNow();
  await bench.pass(HOUR_MS);
  assert(bench.gapsMs[0]! >= REFRESH_WAIT_MIN_MS);
  assertEquals(bench.gapsMs.at(-1), RETRY_WAIT_MAX_MS);
  assert(bench.authority.calls.length < 40, `${bench.authority.calls.length} requests`);
  await bench.close();
});

Deno.test("certificates shorter than istiod's backdating are replaced before they end, and not all the time", async () => {
  const bench = new Bench();
  bench.authority.validity = (wallMs) => [wallMs - 2 * MINUTE_MS, wallMs + 10 * SECOND_MS];
  await bench.fetchNow();
  await bench.pass(MINUTE_MS);
  assert(Math.max(...bench.gapsMs) <= 5 * SECOND_MS, `${bench.gapsMs}`);
  assert(bench.gapsMs.slice(5).every((gapMs) => gapMs === 5 * SECOND_MS), `${bench.gapsMs}`);
  await bench.close();
});

Deno.test("a CA whose certificates have expired already is a CA that fails", async () => {
  const bench = new Bench();
  bench.authority.validity = (wallMs) => [wallMs - DAY_MS, wallMs];
  const { error } = await bench.fetchNow();
  assertEquals([error.code, error.message], [
    "CERTIFICATE_EXPIRED",
    "the CA gave a certificate that has expired at 2026-01-01T00:00:00.000Z",
  ]);
  assert(bench.authority.issued[0]!.key.isWiped);
  await bench.pass(10 * MINUTE_MS);
  assert(bench.authority.calls.length < 15, `${bench.authority.calls.length} requests`);
  await bench.close();
});

Deno.test("a certificate that is not valid yet does not replace one that is", async () => {
  const bench = new Bench();
  bench.authority.validity = (wallMs) => [wallMs + HOUR_MS, wallMs + HOUR_MS + DAY_MS];
  const { certificate: first } = await bench.fetchNow();
  bench.authority.validity = (wallMs) => [wallMs, wallMs + DAY_MS];
  await bench.pass(12 * HOUR_MS);
  const { certificate: second } = await bench.fetchNow();
  assert(first !== second);
  bench.authority.validity = (wallMs) => [wallMs + HOUR_MS, wallMs + HOUR_MS + DAY_MS];
  await bench.pass(12 * HOUR_MS);
  assert(bench.authority.issued.length > 2);
  assert((await bench.fetchNow()).certificate === second);
  assert(bench.authority.issued[2]!.key.isWiped);
  await bench.close();
});

Deno.test("waits after failures grow, and are 150 s for good after 15 minutes", async () => {
  const bench = new Bench();
  bench.authority.failure = DOWN;
  await bench.fetchNow();
  await bench.pass(RETRY_STEADY_MS + 10 * MINUTE_MS);
  const nominal = [1, 2, 4, 8, 16, 32, 64, 128];
  const gaps = bench.gapsMs;
  nominal.forEach((seconds, at) => {
    assert(Math.abs(gaps[at]! / (seconds * SECOND_MS) - 1) <= RETRY_JITTER_SHARE, `${gaps}`);
  });
  assertEquals(gaps.slice(-3), [RETRY_WAIT_MAX_MS, RETRY_WAIT_MAX_MS, RETRY_WAIT_MAX_MS]);
  bench.authority.failure = null;
  await bench.pass(RETRY_WAIT_MAX_MS);
  assertEquals(bench.states(), ["Available"]);
  await bench.close();
});

Deno.test("after a success, waits start over", async () => {
  const bench = new Bench();
  bench.authority.failure = DOWN;
  await bench.fetchNow();
  await bench.pass(20 * SECOND_MS);
  bench.authority.failure = null;
  await bench.pass(20 * SECOND_MS);
  bench.authority.failure = DOWN;
  await bench.pass(DAY_MS / 2);
  const last = bench.authority.calls.length;
  const refreshMs = bench.authority.calls.findIndex(({ atMs }) => atMs > HOUR_MS);
  assert(refreshMs > 0 && last > refreshMs + 1);
  const firstWaitMs = bench.gapsMs[refreshMs]!;
  assert(Math.abs(firstWaitMs - SECOND_MS) <= SECOND_MS * RETRY_JITTER_SHARE, `${firstWaitMs}`);
  await bench.close();
});

Deno.test("a valid certificate serves on while the CA fails", async () => {
  const bench = new Bench();
  bench.authority.validity = (wallMs) => [wallMs, wallMs + 100 * SECOND_MS];
  const { certificate } = await bench.fetchNow();
  bench.authority.failure = DOWN;
  await bench.pass(51 * SECOND_MS);
  assert(bench.authority.calls.length >= 2);
  assert((await bench.fetchNow()).certificate === certificate);
  assertEquals(bench.states(), ["Available"]);
  await bench.close();
});

Deno.test("renewAll() asks for every certificate anew, within the slots; those at hand serve meanwhile", async () => {
  const bench = new Bench({ slots: 2 });
  const names = ["a", "b", "c"].map(id);
  const before: CertifiedKey[] = [];
  for (const name of names) before.push((await bench.fetchNow(name)).certificate);
  await bench.pass(REFRESH_WAIT_MIN_MS);
  const { length: calls } = bench.authority.calls;
  bench.manager.renewAll();
  assert((await bench.fetchNow(A)).certificate === before[0]);
  await bench.pass(10 * SECOND_MS);
  assertEquals(bench.authority.calls.length, calls + names.length);
  for (const [at, name] of names.entries()) {
    assert((await bench.fetchNow(name)).certificate !== before[at]);
  }
  await bench.close();
});

Deno.test("renewAll() asks once more where a request is under way: its answer may be of before", async () => {
  const bench = new Bench();
  bench.authority.takesMs = 5 * SECOND_MS;
  const fetched = bench.fetch();
  await bench.pass(SECOND_MS);
  bench.manager.renewAll();
  bench.manager.renewAll();
  await bench.pass(4 * SECOND_MS);
  const { certificate: before } = fetched;
  await bench.pass(REFRESH_WAIT_MIN_MS + 5 * SECOND_MS);
  assert((await bench.fetchNow()).certificate !== before);
  await bench.pass(MINUTE_MS);
  assertEquals(bench.authority.calls.map(({ atMs }) => atMs), [0, 6 * SECOND_MS]);
  await bench.close();
});

Deno.test("renewAll() ends long waits after failures: the CA may have failed only because it was not trusted", async () => {
  const bench = new Bench();
  bench.authority.failure = DOWN;
  await bench.fetchNow();
  await bench.pass(10 * MINUTE_MS);
  const { length: calls } = bench.authority.calls;
  bench.authority.failure = null;
  const waited = bench.clock.nowMs() - bench.authority.calls.at(-1)!.atMs;
  assert(waited > REFRESH_WAIT_MIN_MS && waited < RETRY_WAIT_MAX_MS / 2, `${waited}`);
  bench.manager.renewAll();
  await bench.pass(1);
  assertEquals(bench.authority.calls.length, calls + 1);
  assert((await bench.fetchNow()).certificate !== null);
  await bench.close();
});

Deno.test("renewAll() does not ask twice in a second, after a failure either", async () => {
  const bench = new Bench();
  bench.authority.failure = DOWN;
  await bench.fetchNow();
  const { length: calls } = bench.authority.calls;
  bench.manager.renewAll();
  await bench.pass(10);
  assertEquals(bench.authority.calls.length, calls);
  bench.authority.failure = null;
  await bench.pass(2 * SECOND_MS);
  const issued = bench.authority.calls.length;
  for (let time = 0; time < 20; time++) {
    bench.manager.renewAll();
    await bench.pass(100);
  }
  assert(bench.authority.calls.length - issued <= 3, `${bench.authority.calls.length - issued}`);
  await bench.close();
});

Deno.test("the CA is asked again at the end of the certificate; from then on its failure is the answer", async () => {
  const bench = new Bench();
  bench.authority.validity = (wallMs) => [wallMs, wallMs + 100 * SECOND_MS];
  await bench.fetchNow();
  bench.authority.failure = DOWN;
  await bench.pass(100 * SECOND_MS);
  assertEquals(bench.authority.calls.at(-1)!.atMs, 100 * SECOND_MS);
  assert((await bench.fetchNow()).error === DOWN);
  assertEquals(bench.states(), [`Unavailable: ${DOWN.message}`]);
  await bench.close();
});

Deno.test("an expired certificate is refused with its own error, and comes back by itself", async () => {
  const bench = new Bench();
  bench.authority.validity = (wallMs) => [wallMs, wallMs + 100 * SECOND_MS];
  const { certificate: first } = await bench.fetchNow();
  bench.authority.takesMs = HOUR_MS; // The refresh at half life hangs beyond the end.
  await bench.pass(100 * SECOND_MS - 1);
  assert((await bench.fetchNow()).certificate === first);
  await bench.pass(1);
  const { error } = await bench.fetchNow();
  const message = "the certificate has expired at 2026-01-01T00:01:40.000Z";
  assertEquals([error.code, error.message], ["CERTIFICATE_EXPIRED", message]);
  assertEquals(bench.manager.dump().map(({ state, current }) => ({ state, current })), [
    { state: `Unavailable: ${message}`, current: null },
  ]);
  bench.authority.takesMs = 0;
  await bench.pass(HOUR_MS);
  assert((await bench.fetchNow()).certificate !== first);
  await bench.close();
});

Deno.test("prefetch() asks once for each identity", async () => {
  const bench = new Bench();
  bench.manager.prefetch(A);
  bench.manager.prefetch(A);
  await settle(bench.clock);
  bench.manager.prefetch(A);
  await settle(bench.clock);
  assertEquals(bench.authority.names, ["a"]);
  await bench.close();
});

Deno.test("prefetches run in parallel", async () => {
  const bench = new Bench();
  bench.authority.takesMs = SECOND_MS;
  for (let at = 0; at < CA_REQUESTS_MAX; at++) bench.manager.prefetch(id(`id${at}`));
  await bench.pass(SECOND_MS);
  assert(bench.states().every((state) => state === "Available"));
  await bench.close();
});

Deno.test("PREFETCH_QUEUE_MAX prefetches may wait; more are fetched when somebody needs them", async () => {
  const bench = new Bench();
  bench.authority.takesMs = SECOND_MS;
  const room = CA_REQUESTS_MAX + PREFETCH_QUEUE_MAX;
  for (let at = 0; at < room; at++) bench.manager.prefetch(id(`id${at}`));
  assertEquals([bench.manager.dump().length, bench.lines], [room, []]);
  bench.manager.prefetch(A);
  assertEquals(bench.manager.dump().length, room);
  assertEquals(bench.lines, ["warn: certificate is not fetched in advance"]);
  const fetched = bench.fetch();
  await bench.pass(2 * SECOND_MS);
  assert(fetched.certificate !== null);
  await bench.close();
});

Deno.test("forget() while the first request is pending fails who waits", async () => {
  const bench = new Bench();
  bench.authority.takesMs = SECOND_MS;
  const fetched = bench.fetch();
  bench.manager.forget(A);
  await settle(bench.clock);
  assertEquals(fetched.error.message, "the identity is no longer needed");
  assertEquals(bench.manager.dump(), []);
  await bench.pass(SECOND_MS);
  assertEquals(bench.manager.dump(), []);
  assert(bench.authority.issued[0]!.key.isWiped);
  assertEquals(bench.clock.pendingTimers, 0);
  await bench.close();
});

Deno.test("forget() cancels a request that waits for its turn", async () => {
  const bench = new Bench({ slots: 1 });
  bench.authority.takesMs = SECOND_MS;
  bench.fetch(id("first"));
  bench.fetch(id("second"));
  bench.manager.forget(id("second"));
  await bench.pass(5 * SECOND_MS);
  assertEquals(bench.authority.names, ["first"]);
  await bench.close();
});

Deno.test("who fetches a forgotten identity while its request is under way gets that one's certificate", async () => {
  const bench = new Bench();
  bench.authority.takesMs = SECOND_MS;
  bench.fetch();
  await bench.pass(SECOND_MS / 2);
  bench.manager.forget(A);
  const fetched = bench.fetch();
  await bench.pass(SECOND_MS / 2);
  assert(fetched.certificate === bench.authority.issued[0]);
  assertEquals(bench.authority.calls.length, 1);
  await bench.close();
});

Deno.test("a forgotten identity is refreshed no longer", async () => {
  const bench = new Bench();
  await bench.fetchNow();
  bench.manager.forget(A);
  await bench.pass(2 * DAY_MS);
  assertEquals([bench.authority.calls.length, bench.clock.pendingTimers], [1, 0]);
  await bench.close();
});

Deno.test("a wall clock that jumps beyond the end: one refusal, and a new certificate at once", async () => {
  const bench = new Bench();
  const { certificate: first } = await bench.fetchNow();
  await bench.pass(MINUTE_MS);
  bench.clock.jumpWall(30 * DAY_MS);
  assertEquals((await bench.fetchNow()).error.code, "CERTIFICATE_EXPIRED");
  const { certificate: second } = await bench.fetchNow();
  assert(second !== first);
  assertEquals(bench.authority.calls.length, 2);
  await bench.close();
});

Deno.test("a wall clock that jumps is noticed without anybody asking", async () => {
  const bench = new Bench();
  await bench.fetchNow();
  await bench.pass(MINUTE_MS);
  bench.clock.jumpWall(13 * HOUR_MS);
  await bench.pass(WALL_CHECK_MS);
  assertEquals(bench.authority.calls.length, 2);
  await bench.close();
});

Deno.test("a wall clock that jumps and comes back loses no valid certificate, though the CA fails", async () => {
  const bench = new Bench();
  const { certificate } = await bench.fetchNow();
  bench.authority.failure = DOWN;
  bench.clock.jumpWall(30 * DAY_MS);
  await bench.pass(MINUTE_MS);
  assert((await bench.fetchNow()).error === DOWN);
  bench.clock.jumpWall(-30 * DAY_MS);
  assert((await bench.fetchNow()).certificate === certificate);
  assertEquals(bench.states(), ["Available"]);
  await bench.close();
});

Deno.test("a wall clock that jumps back keeps the certificate, and its refresh comes as soon as without", async () => {
  const bench = new Bench();
  const { certificate } = await bench.fetchNow();
  bench.clock.jumpWall(-30 * DAY_MS);
  await bench.pass(DAY_MS / 2 - 1);
  assert((await bench.fetchNow()).certificate === certificate);
  await bench.pass(1);
  assertEquals(bench.authority.calls.length, 2);
  await bench.close();
});

Deno.test("a clock behind the CA's does not put off the refresh", async () => {
  const bench = new Bench();
  bench.authority.validity = (wallMs) => [wallMs + 30 * DAY_MS, wallMs + 31 * DAY_MS];
  await bench.fetchNow();
  await bench.pass(DAY_MS / 2);
  assertEquals(bench.authority.calls.length, 2);
  await bench.close();
});

Deno.test("a wall clock that jumps all the time makes no tight loop", async () => {
  const bench = new Bench();
  await bench.fetchNow();
  for (let round = 0; round < 600; round++) {
    bench.clock.jumpWall(round % 2 === 0 ? 30 * DAY_MS : -30 * DAY_MS);
    await bench.fetchNow();
    await bench.pass(100);
  }
  assert(bench.authority.calls.length <= MINUTE_MS / REFRESH_WAIT_MIN_MS + 1);
  assert(Math.min(...bench.gapsMs) >= REFRESH_WAIT_MIN_MS * (1 - RETRY_JITTER_SHARE));
  await bench.close();
});

Deno.test.each([
  { when: "just under", deltaMs: CLOCK_STEP_MIN_MS - 1, lines: 0 },
  { when: "at", deltaMs: CLOCK_STEP_MIN_MS, lines: 1 },
  { when: "just over", deltaMs: -CLOCK_STEP_MIN_MS - 1, lines: 1 },
])("a clock that moves $when CLOCK_STEP_MIN_MS is told of $lines times", async (row) => {
  const bench = new Bench();
  await bench.fetchNow();
  bench.clock.jumpWall(row.deltaMs);
  await bench.pass(2 * WALL_CHECK_MS);
  const told = bench.lines.filter((line) => line === "info: the system's time has changed");
  assertEquals(told.length, row.lines);
  await bench.close();
});

Deno.test("dump() is sorted, words each state, and shows certificates of the available alone", async () => {
  const bench = new Bench();
  const { certificate } = await bench.fetchNow(id("c"));
  bench.authority.failure = DOWN;
  await bench.fetchNow(id("b"));
  bench.authority.takesMs = SECOND_MS;
  bench.fetch(A);
  assertEquals(bench.manager.dump(), [
    { identity: A, state: "Initializing", current: null },
    { identity: id("b"), state: `Unavailable: ${DOWN.message}`, current: null },
    { identity: id("c"), state: "Available", current: certificate },
  ]);
  await bench.close();
});

Deno.test("an authority that throws something else is worded as a failure", async () => {
  const bench = new Bench();
  bench.authority.failure = new TypeError("no luck");
  const { error } = await bench.fetchNow();
  assertEquals([error.code, error.message], ["CA_FAILED", "failed to create certificate: no luck"]);
  await bench.close();
});

Deno.test("onRotate() hears of every new certificate of its identity once, until it is cancelled", async () => {
  const bench = new Bench();
  const heard: CertifiedKey[] = [];
  const watch = bench.manager.source(A).onRotate((certificate) => heard.push(certificate));
  await bench.fetchNow();
  await bench.fetchNow(id("b"));
  assertEquals(heard, [bench.authority.issued[0]!]);
  await bench.pass(DAY_MS / 2);
  assertEquals(heard.length, 2);
  assert(heard[1]!.generation > heard[0]!.generation);
  watch.cancel();
  await bench.pass(DAY_MS / 2);
  assertEquals(heard.length, 2);
  await bench.close();
});

Deno.test("ROTATION_LISTENERS_MAX may hear of rotations and no more", async () => {
  const bench = new Bench();
  const source = bench.manager.source(A);
  const watches = Array.from({ length: ROTATION_LISTENERS_MAX }, () => source.onRotate(() => {}));
  assertThrows(() => source.onRotate(() => {}), AssertionFailure);
  watches[0]!.cancel();
  source.onRotate(() => {});
  await bench.close();
});

Deno.test("a source gives its own identity and shows no way to another", async () => {
  const bench = new Bench();
  const source: CertificateSource = bench.manager.source(A);
  assertEquals(Object.keys(source).sort(), ["get", "identity", "onRotate"]);
  const fetched = new Fetched();
  source.get((outcome) => fetched.outcome = outcome);
  await settle(bench.clock);
  assert(fetched.certificate.identity === A);
  await bench.close();
});

Deno.test("a replaced key is wiped once nobody can be about to use it", async () => {
  const bench = new Bench();
  const { certificate: first } = await bench.fetchNow();
  await bench.pass(DAY_MS / 2 + RETIRED_KEPT_MS - 1);
  assert((await bench.fetchNow()).certificate !== first);
  assertEquals(first.key.isWiped, false);
  await bench.pass(1);
  assertEquals(first.key.isWiped, true);
  assertEquals(bench.authority.issued[1]!.key.isWiped, false);
  await bench.close();
});

Deno.test("close() aborts requests, tells who waits, and refuses who comes later", async () => {
  const bench = new Bench();
  bench.authority.takesMs = Infinity;
  const early = bench.fetch();
  await settle(bench.clock);
  await bench.close();
  const late = await bench.fetchNow();
  bench.manager.prefetch(A);
  for (const { error } of [early, late]) {
    assertEquals(error.message, "the identity is no longer needed");
  }
  assertEquals([bench.manager.dump(), bench.lines], [[], []]);
  await bench.close();
});

Deno.test.each([
  { when: "just under", before: CERTIFICATE_WAITERS_MAX - 1, code: null },
  { when: "at", before: CERTIFICATE_WAITERS_MAX, code: "CERTIFICATE_WAITERS_MAX" },
])("one more with $before waiting, $when CERTIFICATE_WAITERS_MAX", async ({ before, code }) => {
  const bench = new Bench();
  bench.authority.takesMs = SECOND_MS;
  for (let count = 0; count < before; count++) bench.fetch();
  const last = bench.fetch();
  await settle(bench.clock);
  assertEquals(last.outcome === null ? null : last.error.code, code);
  await bench.pass(SECOND_MS);
  assertEquals(last.outcome instanceof Error, code !== null);
  await bench.close();
});

Deno.test("IDENTITIES_MAX identities may be known and no more", async () => {
  const bench = new Bench();
  bench.authority.takesMs = Infinity;
  for (let at = 0; at < IDENTITIES_MAX - 1; at++) bench.fetch(id(`id${at}`));
  const at = await bench.fetchNow(id("at"));
  const over = await bench.fetchNow(id("over"));
  assertEquals([at.outcome, over.error.code], [null, "IDENTITIES_MAX"]);
  bench.manager.forget(id("at"));
  assertEquals((await bench.fetchNow(id("over"))).outcome, null);
  await bench.close();
});
