// What the border between isolates costs: events per connection on both sides, remembered routes.
// deno bench -A tests/bench/isolate_bench.ts
import { SystemRandom } from "../../src/base/random.ts";
import type { EventItem } from "../../src/isolate/event_codes.ts";
import { EventReader } from "../../src/isolate/event_reader.ts";
import { EventWriter } from "../../src/isolate/event_writer.ts";
import { AnswerEncoder } from "../../src/isolate/answer_codec.ts";
import { RouteCache } from "../../src/isolate/route_cache.ts";
import type { Clock, Task } from "../../src/base/clock.ts";
import type { ConnectionFacts, ConnectionRecord, Events } from "../../src/seam/events.ts";
import type { Route } from "../../src/seam/route.ts";
import type { Router } from "../../src/seam/router.ts";
import { parseMeshFile } from "../../src/state/mesh_file.ts";
import { MeshState } from "../../src/state/mesh_state.ts";
import { StateRouter } from "../../src/state/state_router.ts";
import { CLIENT, CLIENT_IP, SERVER, SERVER_IP } from "../support/data_plane_world.ts";
import { meshFileText } from "../support/mesh_file.ts";

/** Tasks run when told, timers never: nothing but the code under test is measured. */
class IdleClock implements Clock {
  readonly #tasks: Task[] = [];

  nowMs(): number {
    return 0;
  }

  wallMs(): number {
    return 0;
  }

  after(): { cancel(): void } {
    return { cancel() {} };
  }

  soon(task: Task): void {
    this.#tasks.push(task);
  }

  run(): void {
    for (const task of this.#tasks.splice(0)) task.runTask();
  }
}

const SETTINGS = {
  network: "",
  hbonePort: 15008,
  nodeName: null,
  clusterDomain: "cluster.local",
  internalPorts: new Set([15008]),
};
const mesh = parseMeshFile(
  meshFileText({ workloads: [{ ...CLIENT, ip: CLIENT_IP }, { ...SERVER, ip: SERVER_IP }] }),
  { source: "bench" },
);

function openRouter(clock: Clock): StateRouter {
  return new StateRouter({ state: new MeshState(mesh), settings: SETTINGS, clock, log() {} });
}

let kept: unknown = null;
const keep = (value: unknown) => void (kept = value);

const QUESTION = {
  local: CLIENT,
  source: { ip: CLIENT_IP, port: 40_000 },
  destination: { ip: SERVER_IP, port: 8080 },
};
let compiled: Route | null = null;
{
  const clock = new IdleClock();
  openRouter(clock).outbound(QUESTION, (outcome) => compiled = outcome as Route);
  clock.run();
}
const route = compiled! as Route;

let serial = 0;
function record(): ConnectionRecord {
  const port = serial++ & 0xffff;
  const facts: ConnectionFacts = {
    direction: "outbound",
    protocol: "HBONE",
    listener: "outbound",
    sourceAddress: { ip: "10.0.0.1", port },
    destinationAddress: { ip: "10.0.0.2", port: 15008 },
    hboneAuthority: "10.0.0.2:8080",
    source: route.source,
    sourceIdentity: route.source.identity,
    sourceBaggage: null,
    destination: route.candidates[0]!.destination,
    destinationIdentity: route.candidates[0]!.destination!.identity,
    destinationBaggage: null,
    service: null,
    mutualTls: true,
    traceId: (serial + 2 ** 40).toString(16).padStart(32, "a"),
  };
  return { facts, bytesToServer: 0, bytesToClient: 0 };
}

const END = { durationMs: 12.5, flag: "-", error: null } as const;
const SILENT: Events = { opened: keep, closed: keep, failedEarly: keep, log() {} };
const BATCH = 100;

/** Opens and closes {@link BATCH} connections. */
function writeBatch(writer: EventWriter, events: Events): void {
  for (let count = 0; count < BATCH; count++) {
    const one = record();
    events.opened(one);
    events.closed(one, END);
  }
  writer.flush();
  writer.read(1);
}

Deno.bench("100 records, made only", { group: "events" }, () => {
  for (let count = 0; count < BATCH; count++) keep(record());
});

{
  const writer = new EventWriter({
    clock: new IdleClock(),
    post: keep,
    onBehind() {},
    onOverflow() {},
  });
  const events = writer.eventsOf(1);
  Deno.bench("100 opened and closed, encoded", { group: "events" }, () => {
    writeBatch(writer, events);
  });
}
{
  const writer = new EventWriter({
    clock: new IdleClock(),
    post: (items) => keep(structuredClone(items)),
    onBehind() {},
    onOverflow() {},
  });
  const events = writer.eventsOf(1);
  Deno.bench("… and copied by structured clone", { group: "events" }, () => {
    writeBatch(writer, events);
  });
}
{
  const reader = new EventReader(() => SILENT);
  const writer = new EventWriter({
    clock: new IdleClock(),
    post: (items: EventItem[]) => reader.read(structuredClone(items)),
    onBehind() {},
    onOverflow() {},
  });
  const events = writer.eventsOf(1);
  Deno.bench("… and read", { group: "events" }, () => {
    writeBatch(writer, events);
  });
}

function asks(router: Router, clock: IdleClock): () => void {
  return () => {
    router.outbound({ ...QUESTION, destination: { ip: SERVER_IP, port: 8080 } }, keep);
    clock.run();
  };
}

{
  const clock = new IdleClock();
  Deno.bench("outbound(), compiled each time", { group: "routes" }, asks(openRouter(clock), clock));
}
{
  const clock = new IdleClock();
  const cache = new RouteCache(openRouter(clock), { clock });
  Deno.bench("outbound(), remembered", { group: "routes" }, asks(cache, clock));
}
{
  const encoder = new AnswerEncoder(new SystemRandom());
  Deno.bench("an answer with known facts, encoded and copied", { group: "routes" }, () => {
    keep(structuredClone(encoder.outbound(route)));
  });
}
keep(kept);
