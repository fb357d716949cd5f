import { assertEquals, assertThrows } from "@std/assert";
import { EventLoopUsed, withoutEventLoop } from "./no_promises.ts";

Deno.test.each([
  { name: "new Promise", use: () => void new Promise(() => {}) },
  { name: "Promise.resolve", use: () => void Promise.resolve() },
  { name: "then", use: () => void SETTLED.then(() => {}) },
  { name: "queueMicrotask", use: () => queueMicrotask(() => {}) },
  { name: "setTimeout", use: () => void setTimeout(() => {}, 0) },
  { name: "process.nextTick", use: () => process.nextTick(() => {}) },
])("withoutEventLoop() refuses $name, even where the exception is swallowed", ({ use }) => {
  assertThrows(() => withoutEventLoop(use), EventLoopUsed);
  assertThrows(
    () =>
      withoutEventLoop(() => {
        try {
          use();
        } catch {
          return "swallowed";
        }
        return "allowed";
      }),
    EventLoopUsed,
  );
});

const SETTLED = Promise.resolve();

Deno.test("withoutEventLoop() gives the value and puts everything back", async () => {
  const before = [Promise, Promise.prototype.then, queueMicrotask, setTimeout];
  assertEquals(withoutEventLoop(() => 42), 42);
  assertThrows(() => withoutEventLoop(() => queueMicrotask(() => {})));
  assertEquals([Promise, Promise.prototype.then, queueMicrotask, setTimeout], before);
  assertEquals(await Promise.resolve("works"), "works");
});
