import { assertEquals } from "@std/assert";
import { NOTHING_TO_CANCEL } from "./channel.ts";

Deno.test("NOTHING_TO_CANCEL may be cancelled any number of times", () => {
  assertEquals([NOTHING_TO_CANCEL.cancel(), NOTHING_TO_CANCEL.cancel()], [undefined, undefined]);
});
