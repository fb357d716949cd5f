import { assertEquals } from "@std/assert";
import {
  AbuseBudget,
  STREAM_ERRORS_FORGIVEN_PER_MINUTE,
  STREAM_ERRORS_MAX,
} from "./abuse_budget.ts";

/** How many of `faults` at `nowMs` the budget bears. */
function borne(budget: AbuseBudget, faults: number, nowMs: number): number {
  let count = 0;
  for (let i = 0; i < faults; i++) if (budget.charge(nowMs)) count++;
  return count;
}

Deno.test.each([
  { faults: STREAM_ERRORS_MAX - 1, expected: STREAM_ERRORS_MAX - 1 },
  { faults: STREAM_ERRORS_MAX, expected: STREAM_ERRORS_MAX },
  { faults: STREAM_ERRORS_MAX + 1, expected: STREAM_ERRORS_MAX },
])("AbuseBudget bears $expected of $faults faults at once", ({ faults, expected }) => {
  assertEquals(borne(new AbuseBudget(), faults, 0), expected);
});

Deno.test("AbuseBudget forgives 100 faults in a minute", () => {
  const budget = new AbuseBudget();
  borne(budget, STREAM_ERRORS_MAX, 0);
  assertEquals(borne(budget, 200, 60_000), STREAM_ERRORS_FORGIVEN_PER_MINUTE);
});

Deno.test("AbuseBudget bears 100 faults a minute for ever", () => {
  const budget = new AbuseBudget();
  for (let fault = 0; fault < 10_000; fault++) {
    assertEquals(budget.charge(fault * 60_000 / STREAM_ERRORS_FORGIVEN_PER_MINUTE), true);
  }
});

Deno.test("AbuseBudget does not save up quiet hours", () => {
  const budget = new AbuseBudget();
  assertEquals(borne(budget, STREAM_ERRORS_MAX + 1, 3_600_000), STREAM_ERRORS_MAX);
});
