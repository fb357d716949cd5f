// onSignal(): the first drains, the echo of a Ctrl-C is the same one, a later one ends at once.
import { assertEquals } from "@std/assert";
import { onSignal, SAME_SIGNAL_MS, type ShutdownState, type Signal } from "./shutdown.ts";

const DRAINING: ShutdownState = { signal: "SIGINT", sinceMs: 1_000 };

Deno.test("onSignal() drains at the first signal", () => {
  assertEquals(onSignal(null, "SIGTERM", 5), {
    step: "drain",
    state: { signal: "SIGTERM", sinceMs: 5 },
  });
});

Deno.test.each<{ name: string; before: ShutdownState; signal: Signal; atMs: number; step: string }>(
  [
    { name: "the echo of Ctrl-C", before: DRAINING, signal: "SIGINT", atMs: 1_007, step: "ignore" },
    {
      name: "the last millisecond of an echo",
      before: DRAINING,
      signal: "SIGINT",
      atMs: 1_000 + SAME_SIGNAL_MS - 1,
      step: "ignore",
    },
    {
      name: "a second Ctrl-C",
      before: DRAINING,
      signal: "SIGINT",
      atMs: 1_000 + SAME_SIGNAL_MS,
      step: "exit",
    },
    {
      name: "SIGTERM while draining",
      before: DRAINING,
      signal: "SIGTERM",
      atMs: 9_000,
      step: "ignore",
    },
    {
      name: "SIGINT in a drain that SIGTERM began",
      before: { signal: "SIGTERM", sinceMs: 1_000 },
      signal: "SIGINT",
      atMs: 9_000,
      step: "ignore",
    },
  ],
)("onSignal() on $name: $step", ({ before, signal, atMs, step }) => {
  const after = onSignal(before, signal, atMs);
  assertEquals(after, { step: step as typeof after.step, state: before });
});
