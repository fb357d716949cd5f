import { assertEquals } from "@std/assert";
import { type Scheduled, SendScheduler } from "./send_scheduler.ts";

interface Item extends Scheduled {
  readonly name: string;
}

function items(...names: readonly string[]): Item[] {
  return names.map((name) => ({ name, scheduled: false }));
}

function drain(scheduler: SendScheduler<Item>): string {
  let names = "";
  for (let item = scheduler.shift(); item; item = scheduler.shift()) names += item.name;
  return names;
}

Deno.test("SendScheduler gives turns in order, each item once", () => {
  const [a, b, c] = items("a", "b", "c");
  const scheduler = new SendScheduler<Item>();
  for (const item of [a!, b!, a!, c!, b!]) scheduler.add(item);
  assertEquals([drain(scheduler), scheduler.isEmpty], ["abc", true]);
});

Deno.test("SendScheduler puts whoever comes again at the end", () => {
  const [a, b] = items("a", "b");
  const scheduler = new SendScheduler<Item>();
  scheduler.add(a!);
  scheduler.add(b!);
  const first = scheduler.shift()!;
  scheduler.add(first);
  assertEquals(drain(scheduler), "ba");
});

Deno.test("SendScheduler.remove() takes an item out wherever it stands", () => {
  for (const gone of [0, 1, 2]) {
    const all = items("a", "b", "c");
    const scheduler = new SendScheduler<Item>();
    for (const item of all) scheduler.add(item);
    scheduler.remove(all[gone]!);
    scheduler.remove(all[gone]!);
    assertEquals(drain(scheduler), "abc".replace(all[gone]!.name, ""));
  }
});

Deno.test("SendScheduler stays short over a million turns", () => {
  const all = items("a", "b", "c");
  const scheduler = new SendScheduler<Item>();
  for (const item of all) scheduler.add(item);
  for (let turn = 0; turn < 1_000_000; turn++) scheduler.add(scheduler.shift()!);
  assertEquals(drain(scheduler), "bca");
});
