// Tests of answer_cache.ts.
import { assertEquals } from "@std/assert";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { Answer, Question } from "./answer.ts";
import { AnswerCache, ANSWERS_MAX } from "./answer_cache.ts";

const question = (name: string): Question => ({ name, type: "A" });
const answer = (ttlMs: number): Answer => ({ kind: "OK", addresses: ["1.1.1.1"], ttlMs });

Deno.test("AnswerCache keeps an answer for its TTL", () => {
  const clock = new VirtualClock();
  const cache = new AnswerCache(clock);
  cache.put(question("a"), answer(1_000));
  clock.advance(999);
  assertEquals(cache.get(question("a")), answer(1_000));
  clock.advance(1);
  assertEquals(cache.get(question("a")), null);
  assertEquals(cache.size, 0);
});

Deno.test("AnswerCache tells types apart, and keeps nothing without TTL", () => {
  const cache = new AnswerCache(new VirtualClock());
  cache.put(question("a"), answer(1_000));
  assertEquals(cache.get({ name: "a", type: "AAAA" }), null);
  cache.put(question("a"), answer(0));
  assertEquals(cache.get(question("a")), null);
});

Deno.test("AnswerCache keeps ANSWERS_MAX answers, those used last", () => {
  const cache = new AnswerCache(new VirtualClock());
  for (let at = 0; at < ANSWERS_MAX; at++) cache.put(question(`n${at}`), answer(1_000));
  assertEquals(cache.size, ANSWERS_MAX);
  assertEquals(cache.get(question("n0")) === null, false);
  cache.put(question("new"), answer(1_000));
  assertEquals(cache.size, ANSWERS_MAX);
  assertEquals(cache.get(question("n1")), null);
  assertEquals(cache.get(question("n0")) === null, false);
});
