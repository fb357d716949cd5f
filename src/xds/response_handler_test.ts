import { assertEquals } from "@std/assert";
import type { Fields } from "../../tests/support/protobuf.ts";
import { XDS_PROTOBUF } from "../../tests/support/xds_schema.ts";
import { SystemClock } from "../base/system_clock.ts";
import type { Clock } from "../base/clock.ts";
import type { MeshUpdate } from "../state/mesh_update.ts";
import { ResponseHandler } from "./response_handler.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "./types.ts";
import { NAMES_MAX, VersionCache } from "./version_cache.ts";

/** Time passes with every look at it, so that work takes as long as it looks at the clock. */
class LookedAtClock extends SystemClock {
  readonly stepMs: number;
  looks = 0;
  pauses = 0;

  constructor(stepMs: number) {
    super();
    this.stepMs = stepMs;
  }

  override nowMs(): number {
    return super.nowMs() + this.looks++ * this.stepMs;
  }

  override after(delayMs: number, callback: () => void) {
    this.pauses++;
    return super.after(delayMs, callback);
  }
}

class World {
  readonly versions = new VersionCache([ADDRESS_TYPE, AUTHORIZATION_TYPE]);
  readonly updates: MeshUpdate[] = [];
  readonly handler: ResponseHandler;

  constructor({ clock = new SystemClock() as Clock, namesMax = NAMES_MAX } = {}) {
    this.handler = new ResponseHandler({
      clock,
      sink: {
        apply: (update, done) => {
          this.updates.push(update);
          done();
        },
      },
      versions: this.versions,
      report: { message: () => {}, terminated: () => {} },
      log: () => {},
      onNamed: null,
      onApplied: () => {},
      namesMax,
    });
  }

  handle(response: Fields) {
    const message = XDS_PROTOBUF.encode("DeltaDiscoveryResponse", response);
    return this.handler.handle(message, new AbortController().signal);
  }
}

function policy(name: string): Fields {
  const value = XDS_PROTOBUF.encode("Authorization", { name, namespace: "ns" });
  return { name, resource: { typeUrl: AUTHORIZATION_TYPE, value } };
}

function policies(count: number, first = 0): Fields {
  const resources = Array.from({ length: count }, (_, index) => policy(`p${first + index}`));
  return { typeUrl: AUTHORIZATION_TYPE, nonce: "n", resources };
}

Deno.test("ResponseHandler lets the loop run while it handles a large response", async () => {
  const clock = new LookedAtClock(1);
  const world = new World({ clock });
  await world.handle(policies(500));
  assertEquals(world.updates[0]!.set.length, 500);
  // Half of each millisecond's looks are the slices' own beginnings.
  assertEquals(clock.pauses > 40, true, `${clock.pauses} pauses`);
});

Deno.test("ResponseHandler cuts 11,000 resources into turns that are typically below 20 ms", async () => {
  const response = policies(11_000);
  const world = new World();
  await world.handle(policies(2_000)); // What runs for the first time is compiled first.
  const ends: number[] = [performance.now()];
  const timer = setInterval(() => ends.push(performance.now()), 0);
  await world.handle(response);
  clearInterval(timer);
  const pauses = ends.map((end, index) => index === 0 ? 0 : end - ends[index - 1]!);
  pauses.sort((a, b) => a - b);
  assertEquals(world.updates[1]!.set.length, 11_000);
  const typical = pauses[Math.floor(pauses.length / 2)]!;
  assertEquals(ends.length > 3 && typical < 20, true, `${ends.length} turns, ${pauses.at(-1)} ms`);
});

Deno.test.each([
  { name: "just under", count: 2, rejected: null },
  { name: "at", count: 3, rejected: null },
  { name: "just over", count: 4, rejected: "p3: more than 3 resources" },
])("ResponseHandler keeps as many names as it may: $name", async ({ count, rejected }) => {
  const world = new World({ namesMax: 3 });
  const reply = await world.handle(policies(count));
  assertEquals(reply.rejected, rejected);
  assertEquals(world.versions.of(AUTHORIZATION_TYPE).size, Math.min(count, 3));
});

Deno.test("ResponseHandler still takes new values of known names when it is full", async () => {
  const world = new World({ namesMax: 3 });
  await world.handle(policies(3));
  assertEquals((await world.handle(policies(3))).rejected, null);
  assertEquals((await world.handle(policies(2, 2))).rejected, "p3: more than 3 resources");
  assertEquals(world.updates.length, 3);
});

Deno.test("ResponseHandler knows NAMES_MAX unless told otherwise", () => {
  // Ten times the largest mesh that Kubernetes supports (150,000 pods, 10,000 services).
  assertEquals(NAMES_MAX >= 1_000_000, true);
});
