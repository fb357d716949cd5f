// Answers serve until the state changes; equal questions wait together; nobody gets an answer they should not.
import { assert, assertEquals } from "@std/assert";
import type { Cancel, Done } from "../base/channel.ts";
import { DeadlineError, ProxyError } from "../base/errors.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { DEPENDENCIES_MAX, RECENT_TOUCHES_MAX } from "../hbone/recent_touches.ts";
import { ANSWER_WAITERS_MAX, AnswerCache, FORGOTTEN_EACH_MAX } from "./answer_cache.ts";

interface Answer {
  readonly generation: number;
  readonly dependsOn: readonly string[];
  readonly weight: number;
  readonly isProvisional?: true;
}

const ANSWER: Answer = { generation: 1, dependsOn: [], weight: 1 };

/** A cache over a state that answers when told to. */
class Scene {
  readonly clock = new VirtualClock();
  readonly asked: { readonly key: string; readonly done: Done<Answer>; cancelled: boolean }[] = [];
  readonly heard: (Answer | ProxyError)[] = [];
  readonly cache: AnswerCache<Answer>;

  constructor(
    limits: {
      readonly entriesMax?: number;
      readonly weightMax?: number;
      readonly linksMax?: number;
    } = {},
  ) {
    this.cache = new AnswerCache<Answer>({
      clock: this.clock,
      entriesMax: limits.entriesMax ?? 10,
      weightMax: limits.weightMax ?? 100,
      linksMax: limits.linksMax ?? 100,
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
    const full = outcome instanceof ProxyError ? outcome : { ...ANSWER, ...outcome };
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

/** Those of the keys that it has. */
function known(scene: Scene, keys: string): string {
  return [...keys].filter((key) => scene.knows(key)).join("");
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

Deno.test("a provisional answer serves those who asked, and is asked for again", () => {
  const scene = new Scene();
  scene.get("a");
  scene.get("a");
  scene.answer({ isProvisional: true });
  assertEquals([scene.asked.length, scene.heard.length, scene.knows("a")], [1, 2, false]);
  scene.keep("a");
  assertEquals(scene.knows("a"), true);
});

Deno.test("equal questions wait together, and each may go on its own", () => {
  const scene = new Scene();
  scene.get("a");
  const second = scene.get("a");
  scene.get("a");
  scene.get("b");
  assertEquals([scene.asked.length, scene.cache.waiting], [2, 4]);
  second.cancel();
  scene.asked[0]!.done(ANSWER);
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
  scene.cache.change({ generation: 5, touched: null });
  assertEquals([scene.knows("a"), scene.knows("b")], [false, true]);
  scene.cache.change({ generation: 6, touched: null });
  assertEquals([scene.cache.size, scene.cache.weight], [0, 0]);
});

Deno.test("an answer from before a change, coming after it, is given and not kept", () => {
  const scene = new Scene();
  scene.get("a");
  scene.cache.change({ generation: 2, touched: null });
  scene.answer({ generation: 1 });
  assertEquals(scene.heard.length, 1);
  assertEquals(scene.cache.size, 0);
  scene.keep("a", { generation: 2 });
  assertEquals(scene.cache.size, 1);
});

Deno.test("who asks after a change does not join a question from before it", () => {
  const scene = new Scene();
  scene.get("a");
  scene.cache.change({ generation: 2, touched: null });
  scene.get("a");
  assertEquals(scene.asked.length, 2);
  scene.asked[1]!.done({ ...ANSWER, generation: 2 });
  scene.asked[0]!.done(ANSWER);
  scene.clock.runUntilIdle();
  assertEquals(scene.heard.map((outcome) => (outcome as Answer).generation), [2, 1]);
  assert(scene.knows("a"), "the younger answer stays");
});

Deno.test("a change forgets what depends on something it touched, and nothing else", () => {
  const scene = new Scene();
  scene.keep("a", { dependsOn: ["x", "y"] });
  scene.keep("b", { dependsOn: ["y", "z", "z"] });
  scene.keep("c", { dependsOn: ["z"], generation: 3 });
  scene.keep("d");
  assertEquals(scene.cache.links, 5);
  scene.cache.change({ generation: 2, touched: ["w", "x"] });
  assertEquals(known(scene, "abcd"), "bcd");
  scene.cache.change({ generation: 3, touched: ["z", "z"] });
  assertEquals([known(scene, "bcd"), scene.cache.links], ["cd", 1], "c knew of it already");
  scene.cache.change({ generation: 4, touched: [] });
  assertEquals(known(scene, "cd"), "cd");
  scene.cache.change({ generation: 5, touched: null });
  assertEquals([scene.cache.size, scene.cache.links, scene.cache.weight], [0, 0, 0]);
});

Deno.test("an answer on its way is kept unless a change since it was compiled touched it", () => {
  const scene = new Scene();
  scene.get("a");
  scene.get("b");
  scene.cache.change({ generation: 2, touched: ["x"] });
  scene.cache.change({ generation: 3, touched: ["z"] });
  scene.asked[0]!.done({ ...ANSWER, dependsOn: ["x", "y"] });
  scene.asked[1]!.done({ ...ANSWER, dependsOn: ["y"] });
  scene.keep("c", { generation: 2, dependsOn: ["x"] });
  assertEquals(known(scene, "abc"), "bc");
});

Deno.test("an answer replaced by one for the same question leaves no trace", () => {
  const scene = new Scene();
  scene.get("a");
  scene.cache.change({ generation: 2, touched: [] });
  scene.get("a");
  scene.asked[0]!.done({ ...ANSWER, dependsOn: ["x"] });
  scene.asked[1]!.done({ ...ANSWER, generation: 2, dependsOn: ["y"] });
  scene.clock.runUntilIdle();
  assertEquals([scene.cache.size, scene.cache.links, scene.cache.weight], [1, 1, 1]);
  scene.cache.change({ generation: 3, touched: ["x"] });
  assert(scene.knows("a"));
  scene.cache.change({ generation: 4, touched: ["y"] });
  assertEquals([scene.knows("a"), scene.cache.links], [false, 0]);
});

Deno.test.each([
  { name: "just under", count: DEPENDENCIES_MAX - 1, kept: "a" },
  { name: "at", count: DEPENDENCIES_MAX, kept: "a" },
  { name: "just over", count: DEPENDENCIES_MAX + 1, kept: "" },
])(
  "an answer $name DEPENDENCIES_MAX survives a change of something else: '$kept'",
  ({ count, kept }) => {
    const scene = new Scene();
    const dependsOn = Array.from({ length: count }, (_, index) => `d${index}`);
    scene.keep("a", { dependsOn });
    assertEquals(scene.cache.links, kept === "" ? 1 : count);
    scene.cache.change({ generation: 2, touched: ["other"] });
    assertEquals([known(scene, "a"), scene.cache.links], [kept, kept === "" ? 0 : count]);
    scene.get("a");
    scene.get("on its way");
    scene.cache.change({ generation: 3, touched: ["other"] });
    scene.answer({ generation: 2, dependsOn });
    assertEquals(scene.knows("on its way"), kept !== "");
  },
);

Deno.test.each([
  { name: "just under", count: RECENT_TOUCHES_MAX - 1, kept: "a" },
  { name: "at", count: RECENT_TOUCHES_MAX, kept: "a" },
  { name: "just over", count: RECENT_TOUCHES_MAX + 1, kept: "" },
])(
  "an answer on its way through $name RECENT_TOUCHES_MAX of other things is kept: '$kept'",
  ({ count, kept }) => {
    const scene = new Scene();
    scene.get("a");
    for (let index = 0; index < count; index++) {
      scene.cache.change({ generation: index + 2, touched: [`d${index}`] });
    }
    scene.answer({ dependsOn: ["x"] });
    assertEquals(known(scene, "a"), kept);
    scene.keep("b", { generation: count + 1 });
    assert(scene.knows("b"));
  },
);

Deno.test.each([
  { name: "just under", count: FORGOTTEN_EACH_MAX - 1, others: 1 },
  { name: "at", count: FORGOTTEN_EACH_MAX, others: 1 },
  { name: "just over", count: FORGOTTEN_EACH_MAX + 1, others: 0 },
])("a change that touches $name FORGOTTEN_EACH_MAX leaves $others other", ({ count, others }) => {
  const many = { entriesMax: 5_000, weightMax: 5_000, linksMax: 5_000 };
  const scene = new Scene(many);
  for (let index = 0; index < count; index++) scene.keep(`${index}`, { dependsOn: ["x"] });
  scene.keep("other", { dependsOn: ["y"] });
  scene.cache.change({ generation: 2, touched: ["x"] });
  assertEquals([scene.cache.size, scene.cache.links, scene.cache.weight], [others, others, others]);
});

Deno.test.each([
  { name: "just under", linksMax: 6, kept: "abc" },
  { name: "at", linksMax: 5, kept: "abc" },
  { name: "just over", linksMax: 4, kept: "bc" },
])("linksMax is kept to: $name, $kept stay", ({ linksMax, kept }) => {
  const scene = new Scene({ linksMax });
  for (const key of ["a", "b", "c"]) {
    scene.keep(key, { dependsOn: key === "c" ? ["z"] : [`${key}1`, `${key}2`] });
  }
  assertEquals(known(scene, "abc"), kept);
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
