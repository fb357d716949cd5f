import { assertEquals, assertThrows } from "@std/assert";
import { assert, AssertionFailure, unreachable } from "./assert.ts";
import { ProxyError } from "./errors.ts";

Deno.test("assert() passes what is true and throws on what is false", () => {
  assert(true, "fine");
  const failure = assertThrows(() => assert(false, "Window is never negative"), AssertionFailure);
  assertEquals(failure.message, "Window is never negative");
  assertEquals(failure.name, "AssertionFailure");
});

Deno.test("AssertionFailure is not a ProxyError: a bug is never handled as a peer's fault", () => {
  assertEquals(new AssertionFailure("bug") instanceof ProxyError, false);
});

Deno.test("unreachable() names the value that got there", () => {
  assertThrows(() => unreachable("green" as never), AssertionFailure, "Unreachable value: green");
});
