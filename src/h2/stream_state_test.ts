import { assertEquals } from "@std/assert";
import { afterReceivedEnd, afterSentEnd, canReceive, canSend } from "./stream_state.ts";

Deno.test.each(
  [
    { state: "waiting", sends: false, receives: false },
    { state: "open", sends: true, receives: true },
    { state: "halfClosedLocal", sends: false, receives: true },
    { state: "halfClosedRemote", sends: true, receives: false },
    { state: "closed", sends: false, receives: false },
  ] as const,
)("a stream that is $state sends: $sends, receives: $receives", (row) => {
  assertEquals([canSend(row.state), canReceive(row.state)], [row.sends, row.receives]);
});

Deno.test("a stream closes when both ends are said, in either order", () => {
  assertEquals(afterSentEnd("open"), "halfClosedLocal");
  assertEquals(afterReceivedEnd("halfClosedLocal"), "closed");
  assertEquals(afterReceivedEnd("open"), "halfClosedRemote");
  assertEquals(afterSentEnd("halfClosedRemote"), "closed");
});
