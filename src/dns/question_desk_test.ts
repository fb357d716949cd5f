// Tests of question_desk.ts: cache, merged questions, limits.
import { assertEquals } from "@std/assert";
import { ProxyError } from "../base/errors.ts";
import { SeededRandom } from "../base/random.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { NO_TCP, PretendUdp, reply, type Script, zone } from "../../tests/support/name_servers.ts";
import type { Answer } from "./answer.ts";
import {
  FAILURE_KEPT_MS,
  FAILURES_MAX,
  QuestionDesk,
  QUESTIONS_MAX,
  QUESTIONS_WAITING_MAX,
} from "./question_desk.ts";
import { parseResolvConf } from "./resolv_conf.ts";

function makeDesk(script: Script) {
  const clock = new VirtualClock();
  const udp = new PretendUdp(clock, script);
  const config = parseResolvConf("nameserver 10.0.0.1\noptions attempts:0");
  const parts = { config, udp, network: NO_TCP, clock, random: new SeededRandom(1) };
  const desk = new QuestionDesk(parts);
  const outcomes: (Answer | ProxyError)[] = [];
  const ask = (name: string) =>
    desk.ask({ name, type: "A" }, (outcome) => void outcomes.push(outcome));
  return { clock, udp, desk, outcomes, ask };
}

const KNOWN = { "A ext.example": ["1.1.1.1"] };
const FOUND: Answer = { kind: "OK", addresses: ["1.1.1.1"], ttlMs: 60_000 };
const serverFailure: Script = (asked) => [{ bytes: reply(asked, { rcode: 2 }) }];

Deno.test("QuestionDesk asks once for all who ask at the same time, and keeps the answer", () => {
  const { clock, udp, outcomes, ask } = makeDesk(zone(KNOWN, { afterMs: 10 }));
  ask("ext.example");
  clock.advance(5);
  ask("ext.example");
  clock.advance(5);
  assertEquals(outcomes, [FOUND, FOUND]);
  ask("ext.example");
  assertEquals(outcomes.length, 2, "in a later turn");
  clock.runUntilIdle();
  assertEquals(outcomes.length, 3);
  assertEquals(udp.asked.length, 1);
  clock.advance(60_000);
  ask("ext.example");
  clock.advance(10);
  assertEquals([outcomes.length, udp.asked.length], [4, 2]);
});

Deno.test("QuestionDesk keeps the absence of a name as long as the SOA says", () => {
  const { clock, udp, outcomes, ask } = makeDesk(zone(KNOWN));
  ask("nobody.example");
  clock.runUntilIdle();
  ask("nobody.example");
  clock.advance(29_999);
  assertEquals(outcomes.map((outcome) => (outcome as Answer).kind), ["NO_NAME", "NO_NAME"]);
  assertEquals(udp.asked.length, 1);
  clock.advance(1);
  ask("nobody.example");
  clock.runUntilIdle();
  assertEquals(udp.asked.length, 2);
});

Deno.test("QuestionDesk does not tell those who left, but keeps the answer for others", () => {
  const { clock, udp, outcomes, ask } = makeDesk(zone(KNOWN, { afterMs: 10 }));
  ask("ext.example").cancel();
  clock.advance(10);
  const cached = ask("ext.example");
  cached.cancel();
  clock.runUntilIdle();
  assertEquals(outcomes, []);
  ask("ext.example");
  clock.runUntilIdle();
  assertEquals([outcomes.length, udp.asked.length], [1, 1]);
});

Deno.test("QuestionDesk asks nobody again within FAILURE_KEPT_MS of a failure", () => {
  const { clock, udp, outcomes, ask } = makeDesk(serverFailure);
  ask("ext.example");
  clock.runUntilIdle();
  ask("ext.example");
  clock.advance(FAILURE_KEPT_MS - 1);
  assertEquals(outcomes.every((outcome) => outcome instanceof ProxyError), true);
  assertEquals([outcomes.length, udp.asked.length], [2, 1]);
  clock.advance(1);
  ask("ext.example");
  clock.runUntilIdle();
  assertEquals([outcomes.length, udp.asked.length], [3, 2]);
});

Deno.test("QuestionDesk remembers FAILURES_MAX failures", () => {
  const { clock, udp, ask } = makeDesk(serverFailure);
  for (let at = 0; at <= FAILURES_MAX; at++) {
    ask(`n${at}`);
    clock.runUntilIdle();
  }
  assertEquals(udp.asked.length, FAILURES_MAX + 1);
  ask("n1");
  clock.runUntilIdle();
  assertEquals(udp.asked.length, FAILURES_MAX + 1, "known");
  ask("n0");
  clock.runUntilIdle();
  assertEquals(udp.asked.length, FAILURES_MAX + 2, "forgotten");
});

Deno.test("QuestionDesk asks QUESTIONS_MAX at once, QUESTIONS_WAITING_MAX wait, more are refused", () => {
  const all = QUESTIONS_MAX + QUESTIONS_WAITING_MAX;
  const { clock, udp, desk, outcomes, ask } = makeDesk((asked) => [
    { bytes: reply(asked, { answers: [{ type: "A", data: "1.1.1.1" }] }), afterMs: 10 },
  ]);
  for (let at = 0; at < all; at++) ask(`n${at}`);
  clock.runUntilIdle();
  assertEquals(udp.openUdpSockets, QUESTIONS_MAX);
  assertEquals([desk.pending, outcomes.length], [all, 0]);
  ask("one-more");
  ask("n0");
  clock.runUntilIdle();
  assertEquals(outcomes.length, 1);
  assertEquals((outcomes[0] as ProxyError).message, `more than ${all} questions at once`);
  clock.advance(10 * (1 + Math.ceil(QUESTIONS_WAITING_MAX / QUESTIONS_MAX)));
  assertEquals(outcomes.length, 1 + all + 1);
  assertEquals([desk.pending, udp.openUdpSockets, clock.pendingTimers], [0, 0, 0]);
});

Deno.test("QuestionDesk does not ask what everybody left before its turn", () => {
  const { clock, udp, desk, ask } = makeDesk(zone(KNOWN, { afterMs: 10 }));
  for (let at = 0; at < QUESTIONS_MAX; at++) ask(`n${at}`);
  ask("left").cancel();
  ask("kept");
  clock.advance(20);
  assertEquals(udp.asked.some(({ name }) => name === "left"), false);
  assertEquals(udp.asked.some(({ name }) => name === "kept"), true);
  assertEquals(desk.pending, 0);
});

Deno.test("QuestionDesk that is closed leaves nothing and tells nobody", () => {
  const { clock, udp, desk, outcomes, ask } = makeDesk(() => []);
  for (let at = 0; at < QUESTIONS_MAX + 5; at++) ask(`n${at}`);
  clock.runUntilIdle();
  desk.close();
  clock.advance(60_000);
  assertEquals([outcomes.length, desk.pending, udp.openUdpSockets, clock.pendingTimers], [
    0,
    0,
    0,
    0,
  ]);
});
