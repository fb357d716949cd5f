import { assertEquals } from "@std/assert";
import { FirstAnswers } from "./first_answers.ts";

function watched(types: readonly string[]) {
  const seen = { complete: 0 };
  return { seen, answers: new FirstAnswers(types, () => seen.complete++) };
}

Deno.test("FirstAnswers completes once, when every type was ACKed", () => {
  const { seen, answers } = watched(["a", "b"]);
  answers.acked("a");
  answers.acked("a");
  assertEquals(seen.complete, 0);
  answers.acked("b");
  answers.acked("b");
  assertEquals(seen.complete, 1);
});

Deno.test("FirstAnswers does not count types that nobody expects", () => {
  const { seen, answers } = watched(["a"]);
  answers.acked("other");
  assertEquals(seen.complete, 0);
});
