import { assertEquals, assertThrows } from "@std/assert";
import { settings } from "../../tests/support/h2_raw.ts";
import { H2ConnectionError } from "./errors.ts";
import { limitsFor } from "./options.ts";
import { applyPeerSettings, DEFAULT_PEER_SETTINGS, encodeLocalSettings } from "./settings.ts";
import type { PeerSettings } from "./types.ts";

function apply(
  pairs: readonly (readonly [number, number])[],
  side: "client" | "server" = "server",
) {
  const bytes = settings(...pairs);
  return applyPeerSettings(DEFAULT_PEER_SETTINGS, bytes, 9, bytes.length, side);
}

Deno.test.each(
  [
    { side: "client", pairs: [[2, 0], [4, 4194304], [5, 1048576], [6, 16384]] },
    { side: "server", pairs: [[3, 200], [4, 4194304], [5, 1048576], [6, 65536]] },
  ] as const,
)("encodeLocalSettings() says what spec/data-path §1.2 wants of a $side", ({ side, pairs }) => {
  const expected = settings(...pairs).subarray(9);
  assertEquals(encodeLocalSettings(side, limitsFor(side)), expected);
});

Deno.test.each(
  [
    { name: "nothing", pairs: [], expected: {} },
    {
      name: "each known setting",
      pairs: [[1, 0], [2, 1], [3, 7], [4, 8], [5, 16384], [6, 9]],
      expected: {
        headerTableBytes: 0,
        maxConcurrentStreams: 7,
        initialWindowBytes: 8,
        maxFrameBytes: 16384,
        maxHeaderListBytes: 9,
      },
    },
    {
      name: "unknown settings by skipping them",
      pairs: [[0, 1], [9, 1], [255, 2 ** 32 - 1]],
      expected: {},
    },
    {
      name: "the last of several values",
      pairs: [[4, 1], [4, 2]],
      expected: { initialWindowBytes: 2 },
    },
    {
      name: "the largest values",
      pairs: [[4, 2 ** 31 - 1], [5, 2 ** 24 - 1]],
      expected: {
        initialWindowBytes: 2 ** 31 - 1,
        maxFrameBytes: 2 ** 24 - 1,
      },
    },
  ] as readonly {
    readonly name: string;
    readonly pairs: readonly (readonly [number, number])[];
    readonly expected: Partial<PeerSettings>;
  }[],
)("applyPeerSettings() applies $name", ({ pairs, expected }) => {
  assertEquals(apply(pairs), { ...DEFAULT_PEER_SETTINGS, ...expected });
});

Deno.test.each(
  [
    { name: "ENABLE_PUSH of 2", id: 2, value: 2, side: "server", code: "PROTOCOL_ERROR" },
    {
      name: "ENABLE_PUSH of 1 from a server",
      id: 2,
      value: 1,
      side: "client",
      code: "PROTOCOL_ERROR",
    },
    { name: "a window of 2^31", id: 4, value: 2 ** 31, side: "server", code: "FLOW_CONTROL_ERROR" },
    { name: "frames of 2^14-1", id: 5, value: 16383, side: "server", code: "PROTOCOL_ERROR" },
    { name: "frames of 2^24", id: 5, value: 2 ** 24, side: "server", code: "PROTOCOL_ERROR" },
  ] as const,
)("applyPeerSettings() refuses $name with $code", ({ id, value, side, code }) => {
  const error = assertThrows(() => apply([[id, value]], side), H2ConnectionError);
  assertEquals(error.code, code);
});
