// Answers serve until the state changes; equal questions wait together; nobody gets an answer they should not.
import { assert, assertEquals } from "@std/assert";
import type { Cancel, Done } from "../base/channel.ts";
import { DeadlineError, ProxyError } from "../base/errors.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { ANSWER_WAITERS_MAX, AnswerCache } from "./answer_cache.ts";

interface Answer {
  readonly generation: number;
  readonly weight: number;
}

/** A cache over a state that answers when told to. */
class Scene {
  readonly clock = new VirtualClock();
  readonly asked: { readonly key: string; readonly done: Done<Answer>; cancelled: boolean }[] = [];
  readonly heard: (Answer | ProxyError)[] = [];
  readonly cache: AnswerCache<Answer>;

  constructor(limits: { readonly entriesMax?: number; readonly weightMax?: number } = {}) {
    this.cache = new AnswerCache<Answer>({
      clock: this.clock,
      entriesMax: limits.entriesMax ?? 10,
      weightMax: limits.weightMax ?? 100,
      weigh: ({ weight }) => weight,
    });
  }

  get(key: string, done: Done<Answer> = (outcome) => this.heard.push(outcome)): Cancel {
    return this.cache.get(key, (answer) => {
      const question = { key, done: answer, cancelled: false };
      this.asked.push(question);
      return { cancel: () => void (question.cancelled = true) };
    }, done);
  }

  /** Answers the last question. */
  answer(outcome: Partial<Answer> | ProxyError = {}): void {
    const full = outcome instanceof ProxyError ? outcome : { generation: 1, weight: 1, ...outcome };
    this.asked.at(-1)!.done(full);
    this.clock.runUntilIdle();
  }

  keep(key: string, answer: Partial<Answer> = {}): void {
    this.get(key);
    this.answer(answer);
  }

  /** Whether the cache has it. */
  knows(key: string): boolean {
    const before = this.asked.length;
    const cancel = this.get(key, () => {});
    const known = this.asked.length === before;
    cancel.cancel();
    this.clock.runUntilIdle();
    return known;
  }
}

Deno.test("an answer is asked for once, and given in a later call", () => {
  const scene = new Scene();
  scene.keep("a");
  scene.get("a");
  assertEquals([scene.asked.length, scene.heard.length], [1, 1]);
  scene.clock.runUntilIdle();
  assertEquals(scene.heard.length, 2);
  assert(scene.heard[0] === scene.heard[1]);
});

Deno.test("equal questions wait together, and each may go on its own", () => {
  const scene = new Scene();
  scene.get("a");
  const second = scene.get("a");
  scene.get("a");
  scene.get("b");
  assertEquals([scene.asked.length, scene.cache.waiting], [2, 4]);
  second.cancel();
  scene.asked[0]!.done({ generation: 1, weight: 1 });
  scene.clock.runUntilIdle();
  assertEquals([scene.heard.length, scene.cache.waiting], [2, 1]);
});

Deno.test("the last one to go takes the question back", () => {
  const scene = new Scene();
  const [first, second] = [scene.get("a"), scene.get("a")];
  first.cancel();
  assertEquals(scene.asked[0]!.cancelled, false);
  second.cancel();
  assertEquals([scene.asked[0]!.cancelled, scene.cache.waiting], [true, 0]);
  scene.get("a");
  assertEquals(scene.asked.length, 2);
});

Deno.test("one told may make others go in the same turn", () => {
  const scene = new Scene();
  const told: string[] = [];
  scene.get("a", () => {
    told.push("first");
    second.cancel();
  });
  const second = scene.get("a", () => told.push("second"));
  scene.answer();
  assertEquals(told, ["first"]);
  scene.get("a", () => told.push("third")).cancel();
  scene.clock.runUntilIdle();
  assertEquals(told, ["first"]);
});

Deno.test("a refusal is told to all who wait, and not remembered", () => {
  const scene = new Scene();
  scene.get("a");
  scene.get("a");
  scene.answer(new DeadlineError());
  assertEquals(scene.heard.map((outcome) => outcome instanceof DeadlineError), [true, true]);
  assertEquals(scene.cache.size, 0);
});

Deno.test("a change empties what is older, and nothing else", () => {
  const scene = new Scene();
  scene.keep("a", { generation: 3 });
  scene.keep("b", { generation: 5 });
  scene.cache.advance(5);
  assertEquals([scene.knows("a"), scene.knows("b")], [false, true]);
  scene.cache.advance(6);
  assertEquals([scene.cache.size, scene.cache.weight], [0, 0]);
});

Deno.test("an answer from before a change, coming after it, is given and not kept", () => {
  const scene = new Scene();
  scene.get("a");
  scene.cache.advance(2);
  scene.answer({ generation: 1 });
  assertEquals(scene.heard.length, 1);
  assertEquals(scene.cache.size, 0);
  scene.keep("a", { generation: 2 });
  assertEquals(scene.cache.size, 1);
});

Deno.test("who asks after a change does not join a question from before it", () => {
  const scene = new Scene();
  scene.get("a");
  scene.cache.advance(2);
  scene.get("a");
  assertEquals(scene.asked.length, 2);
  scene.asked[1]!.done({ generation: 2, weight: 1 });
  scene.asked[0]!.done({ generation: 1, weight: 1 });
  scene.clock.runUntilIdle();
  assertEquals(scene.heard.map((outcome) => (outcome as Answer).generation), [2, 1]);
  assert(scene.knows("a"), "the younger answer stays");
});

Deno.test("entriesMax answers are kept; the oldest goes first", () => {
  const scene = new Scene({ entriesMax: 3 });
  for (const key of ["a", "b", "c"]) scene.keep(key);
  assertEquals(scene.cache.size, 3);
  scene.keep("d");
  assertEquals(scene.cache.size, 3);
  assertEquals(["a", "b", "c", "d"].map((key) => scene.knows(key)), [false, true, true, true]);
});

Deno.test("weightMax is kept to: what is too heavy alone is not kept, the oldest make room", () => {
  const scene = new Scene({ weightMax: 10 });
  scene.keep("a", { weight: 4 });
  scene.keep("b", { weight: 6 });
  assertEquals(scene.cache.weight, 10);
  scene.keep("c", { weight: 5 });
  assertEquals(["a", "b", "c"].map((key) => scene.knows(key)), [false, false, true]);
  scene.keep("d", { weight: 11 });
  assertEquals([scene.cache.weight, scene.cache.size], [5, 1]);
});

Deno.test("ANSWER_WAITERS_MAX may wait and no more", () => {
  const scene = new Scene();
  const waiters = Array.from({ length: ANSWER_WAITERS_MAX }, () => scene.get("a"));
  const refused: (Answer | ProxyError)[] = [];
  scene.get("a", (outcome) => refused.push(outcome));
  assertEquals(refused, []);
  scene.clock.runUntilIdle();
  assert(refused[0] instanceof ProxyError && refused[0].code === "WAITS_FULL");
  waiters[0]!.cancel();
  scene.get("a");
  assertEquals(scene.cache.waiting, ANSWER_WAITERS_MAX);
});
