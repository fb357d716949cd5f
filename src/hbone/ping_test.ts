import { assertEquals } from "@std/assert";
import { encodeHex } from "@std/encoding";
import { VirtualClock } from "../base/virtual_clock.ts";
import { DATA_PLANE_LIMITS } from "./limits.ts";
import { PING_PAYLOAD, PingKeeper } from "./ping.ts";

/** A keeper with a log of what it did, in milliseconds since the handshake. */
function keeper() {
  const clock = new VirtualClock();
  const log: string[] = [];
  const pings = new PingKeeper(clock, {
    ping: (opaque) => log.push(`${clock.nowMs()} ping ${encodeHex(opaque)}`),
    onPingTimeout: () => log.push(`${clock.nowMs()} dead`),
  }, DATA_PLANE_LIMITS);
  return { clock, log, pings };
}

Deno.test("PingKeeper sends the first PING 10 s after the handshake, with the usual payload", () => {
  const { clock, log, pings } = keeper();
  clock.advance(9_999);
  assertEquals(log, []);
  clock.advance(1);
  assertEquals(log, ["10000 ping 3b7cdb7a0b8716b4"]);
  pings.stop();
});

Deno.test("PingKeeper sends the next PING 10 s after the PONG", () => {
  const { clock, log, pings } = keeper();
  clock.advance(10_000);
  clock.advance(3_000);
  pings.onPong(PING_PAYLOAD);
  clock.advance(9_999);
  assertEquals(log.length, 1);
  clock.advance(1);
  assertEquals(log[1], "23000 ping 3b7cdb7a0b8716b4");
  pings.stop();
});

Deno.test.each([
  { afterMs: 19_999, expected: 1 },
  { afterMs: 20_000, expected: 2 },
  { afterMs: 20_001, expected: 2 },
])("PingKeeper calls a peer dead that is silent for 20 s: after $afterMs ms", (
  { afterMs, expected },
) => {
  const { clock, log, pings } = keeper();
  clock.advance(10_000);
  clock.advance(afterMs);
  assertEquals(log.length, expected);
  if (expected === 2) assertEquals(log[1], "30000 dead");
  pings.stop();
});

Deno.test("PingKeeper does not take another payload, or an unasked PONG, for its own", () => {
  const { clock, log, pings } = keeper();
  pings.onPong(PING_PAYLOAD);
  clock.advance(10_000);
  pings.onPong(new Uint8Array(8));
  clock.advance(20_000);
  assertEquals(log.at(-1), "30000 dead");
});

Deno.test("PingKeeper holds no timer and calls nobody once stopped", () => {
  const { clock, log, pings } = keeper();
  clock.advance(10_000);
  pings.stop();
  pings.stop();
  pings.onPong(PING_PAYLOAD);
  assertEquals(clock.pendingTimers, 0);
  clock.advance(60_000);
  assertEquals(log.length, 1);
});
