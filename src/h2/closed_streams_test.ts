import { assertEquals } from "@std/assert";
import { CLOSED_STREAMS_MAX, ClosedStreams } from "./closed_streams.ts";

Deno.test.each([
  { later: CLOSED_STREAMS_MAX - 2, remembered: "resetByUs" },
  { later: CLOSED_STREAMS_MAX - 1, remembered: "resetByUs" },
  { later: CLOSED_STREAMS_MAX, remembered: "unknown" },
])("ClosedStreams knows a stream as $remembered after $later more", ({ later, remembered }) => {
  const closed = new ClosedStreams();
  closed.add(1, "resetByUs");
  for (let i = 1; i <= later; i++) closed.add(1 + 2 * i, "ended");
  assertEquals(closed.howClosed(1), remembered);
  assertEquals(closed.howClosed(1 + 2 * later), "ended");
});

Deno.test("ClosedStreams takes the latest reason", () => {
  const closed = new ClosedStreams();
  closed.add(1, "ended");
  closed.add(1, "resetByUs");
  assertEquals(closed.howClosed(1), "resetByUs");
});
