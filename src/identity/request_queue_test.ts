// The order of requests, against a plain list.
import { assertEquals } from "@std/assert";
import { randomBelow, SeededRandom } from "../base/random.ts";
import { PRIORITY, type Priority, type Request, RequestQueue } from "./request_queue.ts";

const { background, warmup, realTime } = PRIORITY;

/** Everything that is due, in the order it goes out. */
function drain(queue: RequestQueue, nowMs: number): string[] {
  const keys: string[] = [];
  for (let next = queue.take(nowMs); next !== null; next = queue.take(nowMs)) keys.push(next.key);
  return keys;
}

function queueOf(...requests: readonly [key: string, Priority, dueMs: number][]): RequestQueue {
  const queue = new RequestQueue();
  for (const [key, priority, dueMs] of requests) queue.put({ key, priority, dueMs });
  return queue;
}

Deno.test("RequestQueue.take() goes by priority, then due time, then age", () => {
  const queue = queueOf(
    ["late", background, 2],
    ["early", background, 1],
    ["warm", warmup, 3],
    ["real", realTime, 4],
    ["second", realTime, 4],
  );
  assertEquals(drain(queue, 4), ["real", "second", "warm", "early", "late"]);
  assertEquals(queue.size, 0);
});

Deno.test("RequestQueue.take() leaves the future alone, whatever its priority", () => {
  const queue = queueOf(["future", realTime, 11], ["now", background, 10]);
  assertEquals(drain(queue, 10), ["now"]);
  assertEquals(queue.nextDueMs, 11);
  assertEquals(drain(queue, 11), ["future"]);
  assertEquals(queue.nextDueMs, Infinity);
});

Deno.test("RequestQueue.put() replaces the request of its key, also one that is due", () => {
  const queue = queueOf(["a", warmup, 0], ["b", warmup, 0]);
  queue.put({ key: "b", priority: realTime, dueMs: 0 });
  assertEquals(queue.size, 2);
  assertEquals(queue.take(0)?.key, "b");
  queue.put({ key: "a", priority: background, dueMs: 5 });
  assertEquals([queue.take(4), queue.get("a")?.priority], [null, background]);
});

Deno.test("RequestQueue.remove() says whether there was one", () => {
  const queue = queueOf(["a", warmup, 0]);
  assertEquals([queue.remove("a"), queue.remove("a"), queue.get("a")], [true, false, null]);
  queue.put({ key: "a", priority: warmup, dueMs: 0 });
  queue.clear();
  assertEquals([queue.size, queue.take(1), queue.nextDueMs], [0, null, Infinity]);
});

Deno.test("RequestQueue does what a sorted list does", () => {
  const random = new SeededRandom(20);
  const queue = new RequestQueue();
  let list: (Request & { age: number })[] = [];
  let nowMs = 0;
  for (let step = 0; step < 5000; step++) {
    nowMs += randomBelow(random, 2);
    const key = `key${randomBelow(random, 40)}`;
    const draw = randomBelow(random, 5);
    if (draw < 3) {
      const priority = randomBelow(random, 3) as Priority;
      const request = { key, priority, dueMs: nowMs - 5 + randomBelow(random, 20) };
      list = [...list.filter((other) => other.key !== key), { ...request, age: step }];
      queue.put(request);
    } else if (draw === 3) {
      assertEquals(queue.remove(key), list.some((other) => other.key === key), `step ${step}`);
      list = list.filter((other) => other.key !== key);
    } else {
      const [best] = list.filter(({ dueMs }) => dueMs <= nowMs).sort((a, b) =>
        b.priority - a.priority || a.dueMs - b.dueMs || a.age - b.age
      );
      assertEquals(queue.take(nowMs)?.key, best?.key, `step ${step}`);
      list = list.filter((other) => other !== best);
    }
    const nextMs = Math.min(...list.map(({ dueMs }) => dueMs));
    const warmups = list.filter(({ priority }) => priority === warmup).length;
    assertEquals(queue.count(warmup), warmups, `step ${step}`);
    assertEquals(Math.max(nowMs, queue.nextDueMs), Math.max(nowMs, nextMs), `step ${step}`);
  }
});
