import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../base/assert.ts";
import { ConnectionBudget } from "./budget.ts";

Deno.test("ConnectionBudget gives so many and counts whom it refused", () => {
  const budget = new ConnectionBudget(2);
  assertEquals([budget.take(), budget.take(), budget.take(), budget.take()], [
    true,
    true,
    false,
    false,
  ]);
  assertEquals([budget.taken, budget.refused], [2, 2]);
  budget.giveBack();
  assertEquals([budget.take(), budget.taken, budget.refused], [true, 2, 2]);
});

Deno.test("ConnectionBudget notices when more come back than went out", () => {
  assertThrows(() => new ConnectionBudget(1).giveBack(), AssertionFailure);
});
