// Both halves of a ring agree on what a slot means, also while it is being overwritten.
import { assertEquals, assertThrows } from "@std/assert";
import { SeededRandom } from "../base/random.ts";
import { MessageError } from "./errors.ts";
import { SlotReader, SlotSender } from "./slot_ring.ts";

Deno.test("SlotSender names a value it sent before, until its slot is about to be taken", () => {
  const sender = new SlotSender<string>({ slots: 8, newcomersMax: 2 });
  assertEquals(sender.find("a"), -1);
  assertEquals(sender.add("a"), 0);
  assertEquals(sender.find("a"), 0);
  for (const other of ["b", "c", "d", "e", "f"]) sender.add(other);
  assertEquals(sender.find("a"), 0, "two newcomers more do not reach it");
  sender.add("g");
  assertEquals(sender.find("a"), -1, "the second newcomer of a message would");
  assertEquals(sender.add("a"), 7);
  assertEquals(sender.find("a"), 7, "sent again, it has a younger slot");
  sender.add("h");
  assertEquals(sender.find("a"), 7, "its old slot was taken, its new one was not");
});

Deno.test("a reader always sees the value that the sender meant (seeded)", () => {
  const random = new SeededRandom(7);
  const sender = new SlotSender<string>({ slots: 32, newcomersMax: 9 });
  const reader = new SlotReader<string>(32);
  for (let message = 0; message < 20_000; message++) {
    const meant = Array.from({ length: 1 + random.uint32() % 9 }, () => `${random.uint32() % 60}`);
    // As a message does: first all definitions, then the names.
    const slots = meant.map((value) => {
      const known = sender.find(value);
      if (known >= 0) return known;
      const slot = sender.add(value);
      reader.define(slot, value);
      return slot;
    });
    assertEquals(slots.map((slot) => reader.get(slot)), meant);
  }
});

Deno.test("SlotReader refuses slots that are not there or not defined", () => {
  const reader = new SlotReader<string>(2);
  assertThrows(() => reader.define(2, "x"), MessageError);
  assertThrows(() => reader.define(-1, "x"), MessageError);
  assertThrows(() => reader.define(0.5, "x"), MessageError);
  assertThrows(() => reader.get(0), MessageError);
  assertThrows(() => reader.get(7), MessageError);
  reader.define(1, "x");
  assertEquals(reader.get(1), "x");
});
