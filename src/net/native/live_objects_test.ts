import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../base/assert.ts";
import { CountedObjects } from "./live_objects.ts";

Deno.test("CountedObjects counts by kind and forgets a kind that is back at zero", () => {
  const objects = new CountedObjects();
  objects.made("socket");
  objects.made("socket");
  objects.made("SSL");
  objects.freed("socket");
  assertEquals([...objects.counts], [["socket", 1], ["SSL", 1]]);
  objects.freed("socket");
  objects.freed("SSL");
  assertEquals([...objects.counts], []);
});

Deno.test("CountedObjects takes nothing back that was not made", () => {
  const objects = new CountedObjects();
  objects.made("SSL");
  assertThrows(() => objects.freed("socket"), AssertionFailure, "socket");
  objects.freed("SSL");
  assertThrows(() => objects.freed("SSL"), AssertionFailure, "SSL");
});
