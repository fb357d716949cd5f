import { assert, assertEquals } from "@std/assert";
import { NotedEvents } from "../../tests/support/data_plane_world.ts";
import { Faults } from "./faults.ts";

Deno.test("Faults counts what was caught, and logs it with its stack and place", () => {
  const events = new NotedEvents();
  const faults = new Faults(events);
  const error = faults.caught(new TypeError("x is not a function"), "hbone/pool");
  faults.caught("not even an error", "hbone/pool");
  assertEquals([faults.count, error.code], [2, "INTERNAL"]);
  const [first, second] = events.lines;
  assertEquals(first!.level, "error");
  assertEquals(first!.message, "bug while handling a connection in hbone/pool");
  assert(String(first!.fields.error).includes("x is not a function"));
  assert(String(first!.fields.error).includes("faults_test.ts"));
  assertEquals(second!.fields.error, "not even an error");
});
