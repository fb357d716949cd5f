import { assertEquals, assertThrows } from "@std/assert";
import { DataPlaneWorld, NotedEvents } from "../../tests/support/data_plane_world.ts";
import { testParts } from "../../tests/support/hbone_peer.ts";
import { AssertionFailure } from "../base/assert.ts";
import type { ConnectionFacts } from "../seam/events.ts";
import { DrainError, HttpStatusError } from "./errors.ts";
import { OpenRecord } from "./record.ts";

const FACTS: ConnectionFacts = {
  direction: "outbound",
  protocol: "TCP",
  listener: "outbound",
  sourceAddress: { ip: "10.0.0.1", port: 1 },
  destinationAddress: { ip: "10.0.0.2", port: 2 },
  hboneAuthority: null,
  source: null,
  sourceIdentity: null,
  sourceBaggage: null,
  destination: null,
  destinationIdentity: null,
  destinationBaggage: null,
  service: null,
  mutualTls: false,
  traceId: "0".repeat(32),
};

Deno.test("OpenRecord is opened when made, and closed once with its duration and flag", async () => {
  const events = new NotedEvents();
  const parts = testParts(await DataPlaneWorld.create(), { events });
  const record = new OpenRecord(FACTS, 100, parts);
  assertEquals(events.openedRecords, [record]);
  record.close(new HttpStatusError(503), 350);
  assertEquals(events.closedRecords[0]!.end.durationMs, 250);
  assertEquals(events.ends, ["CONNECT: http status: 503 Service Unavailable"]);
  assertThrows(() => record.close(null, 400), AssertionFailure);
  assertEquals(events.ends.length, 1);
});

Deno.test("OpenRecord takes a flag other than the error's own", async () => {
  const events = new NotedEvents();
  const parts = testParts(await DataPlaneWorld.create(), { events });
  new OpenRecord(FACTS, 0, parts).close(new DrainError(), 0, "DENY");
  assertEquals(events.closedRecords[0]!.end.flag, "DENY");
});
