import { assertEquals } from "@std/assert";
import { VirtualClock } from "../base/virtual_clock.ts";
import { Demands, DEMANDS_MAX, WAITERS_MAX } from "./demands.ts";

class World {
  readonly clock = new VirtualClock();
  readonly noted = new Set<string>();
  readonly demands = new Demands({
    clock: this.clock,
    onNew: (key) => !this.noted.has(key) && this.noted.add(key) !== null,
    onForgotten: (key) => this.noted.delete(key),
  });
  readonly woken: string[] = [];

  want(key: string, name = key) {
    return this.demands.want(key, () => this.woken.push(name));
  }

  /** Keys that would be sent now. */
  sent(): string[] {
    const keys: string[] = [];
    for (let next = this.demands.next(); typeof next === "string"; next = this.demands.next()) {
      keys.push(next);
    }
    return keys;
  }
}

Deno.test("Demands sends each key once, in order, whoever else waits for it", () => {
  const world = new World();
  world.want("a");
  world.want("b");
  world.want("a");
  assertEquals(world.sent(), ["a", "b"]);
  world.want("a");
  assertEquals(world.sent(), []);
});

Deno.test("Demands wakes everybody who waits for a key, and nobody else", () => {
  const world = new World();
  world.want("a", "first");
  world.want("a", "second");
  world.want("b");
  world.demands.answered("a");
  assertEquals(world.woken, ["first", "second"]);
  world.demands.answered("a");
  assertEquals(world.woken.length, 2);
  assertEquals(world.demands.keys, 1);
});

Deno.test("Demands asks again for a key that was answered before", () => {
  const world = new World();
  world.want("a");
  world.sent();
  world.demands.answered("a");
  world.want("a");
  assertEquals(world.sent(), ["a"]);
});

Deno.test("Demands does not wake who cancelled, and forgets a key that was never sent", () => {
  const world = new World();
  world.want("a").cancel();
  assertEquals([...world.noted], []);
  assertEquals(world.sent(), []);
  const again = world.want("a", "first");
  world.want("a", "second");
  again.cancel();
  again.cancel();
  world.demands.answered("a");
  assertEquals(world.woken, ["second"]);
});

Deno.test("Demands keeps a key that was sent, for the next stream", () => {
  const world = new World();
  const wanted = world.want("a");
  world.sent();
  wanted.cancel();
  assertEquals([...world.noted], ["a"]);
  assertEquals(world.demands.keys, 1);
});

Deno.test("Demands gives a waiting sender the next key", async () => {
  const world = new World();
  const next = world.demands.next();
  world.want("a");
  await next;
  assertEquals(world.demands.next(), "a");
  const last = world.demands.next();
  world.demands.release();
  assertEquals(await last, undefined);
});

Deno.test("Demands holds DEMANDS_MAX keys; the next lookup is told at once", () => {
  const world = new World();
  for (let index = 0; index < DEMANDS_MAX - 1; index++) world.want(`k${index}`).cancel();
  assertEquals(world.demands.keys, 0);
  for (let index = 0; index < DEMANDS_MAX; index++) {
    const wanted = world.want(`k${index}`);
    if (index === 0) {
      world.sent();
      wanted.cancel();
    }
  }
  assertEquals(world.demands.keys, DEMANDS_MAX);
  world.want("takes the place of the abandoned one");
  assertEquals([world.demands.keys, world.noted.has("k0")], [DEMANDS_MAX, false]);
  world.clock.runUntilIdle();
  assertEquals(world.woken, []);
  // That one reached WAITERS_MAX as well: what is over either limit ends the same way.
  assertEquals(WAITERS_MAX, DEMANDS_MAX);
  world.want("over");
  assertEquals(world.woken, []);
  world.clock.runUntilIdle();
  assertEquals(world.woken, ["over"]);
});

Deno.test("Demands holds WAITERS_MAX lookups; the next one is told at once", () => {
  const world = new World();
  for (let index = 0; index < WAITERS_MAX; index++) world.want("a");
  world.clock.runUntilIdle();
  assertEquals(world.woken, []);
  world.want("a", "over");
  world.clock.runUntilIdle();
  assertEquals(world.woken, ["over"]);
  world.demands.answered("a");
  assertEquals(world.woken.length, WAITERS_MAX + 1);
  world.want("a", "fits again");
  world.clock.runUntilIdle();
  assertEquals(world.woken.length, WAITERS_MAX + 1);
});

Deno.test("Demands does not undo what it did not note", () => {
  const world = new World();
  world.noted.add("a");
  world.want("a").cancel();
  assertEquals([...world.noted], ["a"]);
});
