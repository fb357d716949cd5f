import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../base/assert.ts";
import { CREDIT_BYTES_MAX, ReceiveWindow, SendWindow, WINDOW_BYTES_MAX } from "./flow_window.ts";

Deno.test("SendWindow can fall below zero by SETTINGS and comes back by credit", () => {
  const window = new SendWindow(8);
  window.take(8);
  assertEquals([window.add(-5), window.bytes], [true, -5]);
  assertEquals([window.add(6), window.bytes], [true, 1]);
});

Deno.test("SendWindow never gives more than it has", () => {
  const window = new SendWindow(8);
  assertThrows(() => window.take(9), AssertionFailure);
  window.add(-10);
  assertThrows(() => window.take(1), AssertionFailure);
});

Deno.test.each([
  { increment: WINDOW_BYTES_MAX - 9, fits: true },
  { increment: WINDOW_BYTES_MAX - 8, fits: true },
  { increment: WINDOW_BYTES_MAX - 7, fits: false },
])("SendWindow of 8 accepts credit of $increment: $fits", ({ increment, fits }) => {
  const window = new SendWindow(8);
  assertEquals([window.add(increment), window.bytes], [fits, fits ? 8 + increment : 8]);
});

Deno.test.each([
  { bytes: 7, allowed: true },
  { bytes: 8, allowed: true },
  { bytes: 9, allowed: false },
])("ReceiveWindow of 8 allows $bytes bytes: $allowed", ({ bytes, allowed }) => {
  assertEquals(new ReceiveWindow(8).charge(bytes), allowed);
});

Deno.test("ReceiveWindow gives credit only for what was consumed, a quarter at a time", () => {
  const window = new ReceiveWindow(8);
  window.charge(8);
  assertEquals([window.takeCredit(), window.charge(1)], [0, false]);
  assertEquals([window.consume(1), window.takeCredit()], [false, 0]);
  assertEquals([window.consume(1), window.takeCredit(), window.bytes], [true, 2, 2]);
  assertEquals(window.takeCredit(), 0);
});

Deno.test.each([
  { windowBytes: 1, creditAt: 1 },
  { windowBytes: 3, creditAt: 1 },
  { windowBytes: 65_535, creditAt: 16_383 },
  { windowBytes: 4_194_304, creditAt: CREDIT_BYTES_MAX },
  { windowBytes: 16_777_216, creditAt: CREDIT_BYTES_MAX },
])("ReceiveWindow of $windowBytes announces credit from $creditAt", ({ windowBytes, creditAt }) => {
  const window = new ReceiveWindow(windowBytes);
  if (creditAt > 1) assertEquals(window.consume(creditAt - 1), false);
  assertEquals(window.consume(creditAt > 1 ? 1 : creditAt), true);
});

Deno.test("ReceiveWindow.heldBytes counts what arrived and has not left, credit announced or not", () => {
  const window = new ReceiveWindow(8);
  window.charge(5);
  assertEquals(window.heldBytes, 5);
  window.consume(1);
  assertEquals(window.heldBytes, 4);
  window.consume(4);
  assertEquals([window.heldBytes, window.takeCredit(), window.heldBytes], [0, 5, 0]);
});
