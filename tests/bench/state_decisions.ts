// 100,000 route decisions of each kind on the mesh of state_mesh.ts, and whether draws among the candidates match the
// weights they were given. A process of its own; says one line of JSON.
import type { SocketAddress } from "../../src/base/address.ts";
import type { Clock, Task, Timer } from "../../src/base/clock.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { drawCandidate } from "../../src/outbound/candidate.ts";
import type { Candidate, Route } from "../../src/seam/route.ts";
import { MeshState } from "../../src/state/mesh_state.ts";
import { StateRouter } from "../../src/state/state_router.ts";
import { type ChiSquared, chiSquared } from "./chi_squared.ts";
import {
  benchMesh,
  CALLER,
  CALLER_IP,
  FAILOVER,
  FALLEN_OVER,
  FIRST_WAYPOINTED,
  ipOf,
  SERVICES,
  vipOf,
  WEIGHTED,
  WEIGHTED_WAYPOINTS,
  WORKLOADS,
} from "./state_mesh.ts";

const DECISIONS = 100_000;
const WARM_UP = 20_000;
const DRAWS = 100_000;
const SEED = 5;

export interface DecisionFigures {
  readonly p50Us: number;
  readonly p99Us: number;
}

export interface DecisionReport {
  /** By kind of destination. */
  readonly decisions: Readonly<Record<string, DecisionFigures>>;
  readonly draws: Readonly<Record<string, ChiSquared>>;
}

/** Turns by hand, so that a decision is timed from the question to its answer and nothing else runs meanwhile. */
class HandClock implements Clock {
  readonly #tasks: Task[] = [];

  nowMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  after(): Timer {
    return { cancel() {} }; // Nothing here waits so long.
  }

  soon(task: Task): void {
    this.#tasks.push(task);
  }

  runTasks(): void {
    for (let task = this.#tasks.pop(); task !== undefined; task = this.#tasks.pop()) task.runTask();
  }
}

const clock = new HandClock();
const router = new StateRouter({
  state: new MeshState(benchMesh()),
  settings: {
    network: "",
    hbonePort: 15008,
    internalPorts: new Set([15001, 15006, 15008]),
    clusterDomain: "cluster.local",
    nodeName: null,
  },
  clock,
  log: () => {},
  random: new SeededRandom(SEED),
});
const source = { ip: CALLER_IP, port: 40_000 };
let answered: unknown = null;
const done = (outcome: unknown) => void (answered = outcome);

function decide(destination: SocketAddress): unknown {
  answered = null;
  router.outbound({ local: CALLER, source, destination }, done);
  clock.runTasks();
  return answered;
}

function route(destination: SocketAddress): Route {
  const outcome = decide(destination);
  if (outcome === null || outcome instanceof Error) throw outcome ?? new Error("not answered");
  return outcome as Route;
}

/** All different ones first, in an order that no cache likes; each call is timed by itself. */
function time(destinationOf: (n: number) => SocketAddress): DecisionFigures {
  const destinations = Array.from({ length: DECISIONS }, (_, n) => destinationOf(n * 7919));
  for (let n = 0; n < WARM_UP; n++) route(destinations[n % DECISIONS]!);
  const us = new Float64Array(DECISIONS);
  for (let n = 0; n < DECISIONS; n++) {
    const startMs = performance.now();
    decide(destinations[n]!);
    us[n] = (performance.now() - startMs) * 1000;
    if (answered instanceof Error) throw answered;
  }
  us.sort();
  return { p50Us: us[DECISIONS >> 1]!, p99Us: us[Math.floor(DECISIONS * 0.99)]! };
}

const plain = Array.from({ length: SERVICES - 2 }, (_, n) => n)
  .filter((n) => n > WEIGHTED_WAYPOINTS && n % 10 !== 0);
const waypointed = Array.from({ length: SERVICES - 2 }, (_, n) => n)
  .filter((n) => n >= FIRST_WAYPOINTED && n % 10 === 0);
const of = (list: readonly number[], n: number) => list[n % list.length]!;

const decisions = {
  VIP: time((n) => ({ ip: vipOf(of(plain, n)), port: 80 })),
  workload: time((n) => ({ ip: ipOf(1 + n % (WORKLOADS - 1)), port: 8080 })),
  unknown: time((n) => ({ ip: `172.16.${n >> 8 & 255}.${n & 255}`, port: 443 })),
  waypoint: time((n) => ({ ip: vipOf(of(waypointed, n)), port: 80 })),
};

/** Draws as the data plane does, against the weights that the mesh's own values say. */
function draws(
  service: number,
  candidatesWanted: number,
  weightOf: (candidate: Candidate) => number,
): ChiSquared {
  const { candidates } = route({ ip: vipOf(service), port: 80 });
  if (candidates.length !== candidatesWanted) {
    throw new Error(`service ${service}: ${candidates.length} candidates, not ${candidatesWanted}`);
  }
  const random = new SeededRandom(SEED);
  const counts = new Map<Candidate, number>(candidates.map((candidate) => [candidate, 0]));
  for (let n = 0; n < DRAWS; n++) {
    const drawn = drawCandidate(candidates, random);
    counts.set(drawn, counts.get(drawn)! + 1);
  }
  return chiSquared([...counts.values()], candidates.map(weightOf));
}

/** The number in a workload's name tells which one it is. */
function rankOf({ destination }: Candidate): number {
  const n = Number(destination!.name.split("-").at(-1));
  return Math.floor(n / SERVICES);
}

/** Of a failover service: those of one zone, and nobody else, all alike. */
function zoneDraws(service: number, zones: readonly number[]): ChiSquared {
  const ranks = Array.from({ length: WORKLOADS / SERVICES }, (_, rank) => rank % 3);
  const there = ranks.filter((zone) => zones.includes(zone)).length;
  return draws(service, there, (candidate) => zones.includes(rankOf(candidate) % 3) ? 1 : 0);
}

const report: DecisionReport = {
  decisions,
  draws: {
    "weighted endpoints": draws(
      WEIGHTED,
      WORKLOADS / SERVICES,
      (candidate) => rankOf(candidate) + 1,
    ),
    "failover, nearest zone": zoneDraws(FAILOVER, [0]),
    "failover, other zones": zoneDraws(FALLEN_OVER, [1, 2]),
    "weighted waypoints": draws(
      WEIGHTED_WAYPOINTS,
      2 * WORKLOADS / SERVICES,
      ({ destination }) => destination!.canonicalName === `service-${SERVICES - 2}` ? 3 : 7,
    ),
  },
};
Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(report)}\n`));
