// When a listener is opened anew: where descriptors may have run out and may have come free, and only then.
import { assertEquals } from "@std/assert";
import {
  AcceptWatch,
  RENEW_QUIET_MS,
  SUSPECT_SOCKETS,
  WATCH_CLOSELY_INTERVAL_MS,
  WATCH_INTERVAL_MS,
} from "./accept_watch.ts";

Deno.test("AcceptWatch leaves a listener with few sockets alone", () => {
  const watch = new AcceptWatch(0);
  watch.closed();
  assertEquals(watch.mustRenew(SUSPECT_SOCKETS - 1, 100_000), false);
  assertEquals(watch.nextCheckMs(100_000), WATCH_INTERVAL_MS);
});

Deno.test("AcceptWatch leaves a listener that accepts alone", () => {
  const watch = new AcceptWatch(0);
  for (let nowMs = 0; nowMs < 10_000; nowMs += WATCH_INTERVAL_MS) {
    watch.accepted();
    watch.opened(1000);
    watch.closed();
    assertEquals(watch.mustRenew(1000, nowMs), false);
  }
});

Deno.test("AcceptWatch renews once when many were open, nothing came and something closed", () => {
  const watch = new AcceptWatch(0);
  watch.opened(SUSPECT_SOCKETS);
  assertEquals(watch.mustRenew(SUSPECT_SOCKETS, 300), false);
  watch.closed();
  assertEquals(watch.mustRenew(1, 600), true);
  assertEquals(watch.nextCheckMs(600), WATCH_CLOSELY_INTERVAL_MS);
  assertEquals(watch.mustRenew(1, 700), false);
  assertEquals(watch.nextCheckMs(3000), WATCH_INTERVAL_MS);
});

Deno.test("AcceptWatch renews now and then where nothing of ours closes", () => {
  const watch = new AcceptWatch(0);
  watch.opened(1000);
  assertEquals(watch.mustRenew(1000, RENEW_QUIET_MS - 1), false);
  assertEquals(watch.mustRenew(1000, RENEW_QUIET_MS), true);
  assertEquals(watch.mustRenew(1000, RENEW_QUIET_MS + 1), false);
});

Deno.test("AcceptWatch believes whoever says that descriptors ran out", () => {
  const watch = new AcceptWatch(0);
  watch.exhausted();
  watch.closed();
  assertEquals(watch.mustRenew(0, 300), true);
});
