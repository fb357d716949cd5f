// Twenty thousand changes of a mesh while connections ask for their routes: no answer is stale, and nothing stays behind.
import { assert, assertEquals } from "@std/assert";
import { setImmediate } from "node:timers";
import v8 from "node:v8";
import vm from "node:vm";
import type { Clock, Task, Timer } from "../../src/base/clock.ts";
import type { Done } from "../../src/base/channel.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { type Random, randomBelow, SeededRandom } from "../../src/base/random.ts";
import { RouteCache } from "../../src/isolate/route_cache.ts";
import type { InboundRoute, Route } from "../../src/seam/route.ts";
import type { InboundQuestion, OutboundQuestion, Router } from "../../src/seam/router.ts";
import { MeshStore } from "../../src/state/mesh_store.ts";
import { isSameValue } from "../../src/state/same_value.ts";
import { StateRouter } from "../../src/state/state_router.ts";
import { ADDRESS_TYPE } from "../../src/xds/types.ts";
import { XdsClient } from "../../src/xds/xds_client.ts";
import { ChurningMesh, CLIENTS, MemoryControlPlane, SERVICES } from "./churning_mesh.ts";

const SEED = 20_260_801;
const ROUNDS = 5;
const CHANGES_PER_ROUND = 4_000;
const CHANGES_PER_STREAM = 500;
const QUESTIONS_PER_CHANGE = 4;
/** Connections ask the same again and again: so many are different. */
const QUESTIONS = 600;
/** Live heap after the last round over that after the second. */
const HEAP_GROWTH_MAX_BYTES = 3 * 2 ** 20;
/** Of each round, so many records are looked for after they are gone. */
const WATCHED_PER_ROUND = 200;
const WATCHED_LEFT_MAX = 5;
const ROUTER_SETTINGS = {
  network: "",
  hbonePort: 15_008,
  internalPorts: new Set<number>(),
  clusterDomain: "cluster.local",
  nodeName: null,
  preferredNamespace: null,
  localhostAppTunnel: false,
};

v8.setFlagsFromString("--expose-gc");
const collect = vm.runInNewContext("gc") as () => void;

/** Nothing is waited for; every pause still is a turn of the loop. */
class ImpatientClock implements Clock {
  waiting = 0;

  nowMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  after(_delayMs: number, callback: () => void): Timer {
    this.waiting++;
    let isOver = false;
    const end = () => {
      if (isOver) return false;
      isOver = true;
      this.waiting--;
      return true;
    };
    setImmediate(() => {
      if (end()) callback();
    });
    return { cancel: () => void end() };
  }

  soon(task: Task): void {
    queueMicrotask(() => task.runTask());
  }
}

type Asked =
  | { readonly kind: "outbound"; readonly question: OutboundQuestion }
  | { readonly kind: "inbound"; readonly question: InboundQuestion };

function drawQuestions(mesh: ChurningMesh, random: Random): readonly Asked[] {
  const locals = mesh.clients.map(({ namespace, name, serviceAccount, ips }) => ({
    local: { namespace, name, serviceAccount },
    ip: ips[0]!,
  }));
  return Array.from({ length: QUESTIONS }, (_, at): Asked => {
    const { local, ip } = locals[at % CLIENTS]!;
    const pod = ChurningMesh.podIp(randomBelow(random, 4_000));
    if (at % 5 === 0) {
      const question = {
        local,
        localIp: ip,
        peerIp: pod,
        authority: { kind: "address", address: { ip, port: 8080 } },
        forwardedHost: null,
        fromGateway: false,
      } as const;
      return { kind: "inbound", question };
    }
    const destination = at % 5 < 3 ? ChurningMesh.vip(randomBelow(random, SERVICES)) : pod;
    const question = {
      local,
      source: { ip, port: 40_000 },
      destination: { ip: destination, port: 80 },
    };
    return { kind: "outbound", question };
  });
}

function ask(router: Router, asked: Asked, done: Done<Route | InboundRoute>): void {
  if (asked.kind === "outbound") router.outbound(asked.question, done);
  else router.inbound(asked.question, done);
}

/** What a connection would do; the generation is the snapshot's and says nothing about the answer. */
function meaningOf(outcome: Route | InboundRoute | ProxyError | null): unknown {
  if (outcome instanceof ProxyError) return [outcome.code, outcome.message];
  if (outcome === null) return null;
  const { generation: _generation, dependsOn: _dependsOn, ...meaning } = outcome;
  return meaning;
}

Deno.test("20,000 changes of 2,000 workloads: no stale route, and memory as it was", async () => {
  const random = new SeededRandom(SEED);
  const mesh = new ChurningMesh(random);
  const questions = drawQuestions(mesh, random);
  const clock = new ImpatientClock();
  const stop = new AbortController();
  const stale: string[] = [];
  let hits = 0;
  let changes = 0;

  const store = new MeshStore({
    clock,
    onChange: ({ state, policies, touched, local }) => {
      router.replace(state, { policies, touched, local });
      // From now on nobody may hear what was true before: the first to ask are those who ask at once.
      compare();
    },
  });
  const router = new StateRouter({
    state: store.state,
    settings: ROUTER_SETTINGS,
    clock,
    log: () => {},
  });
  const cache = new RouteCache(router, { clock });
  const compare = () => {
    changes++;
    const fresh = new StateRouter({
      state: store.state,
      settings: ROUTER_SETTINGS,
      clock,
      log: () => {},
    });
    const { state } = store;
    for (let left = QUESTIONS_PER_CHANGE; left > 0; left--) {
      const asked = questions[randomBelow(random, QUESTIONS)]!;
      let expected: unknown;
      ask(fresh, asked, (outcome) => expected = meaningOf(outcome));
      ask(cache, asked, (outcome) => {
        if (store.state !== state) return;
        if (!(outcome instanceof ProxyError) && outcome.generation < router.generation) hits++;
        if (isSameValue(meaningOf(outcome), expected) || stale.length > 0) return;
        stale.push(JSON.stringify({ asked, got: meaningOf(outcome), expected }));
      });
    }
  };

  const plane = new MemoryControlPlane(mesh);
  let ready = false;
  const running = new XdsClient({
    settings: {
      address: "http://127.0.0.1:1",
      root: { kind: "system" },
      altHostname: null,
      token: null,
      clusterId: "c",
      headers: [],
    },
    node: { id: "churn", metadata: { fields: {} } },
    sink: store,
    clock,
    transport: plane,
    log: () => {},
    report: { message: () => {}, terminated: () => {} },
    onDemand: false,
    onReady: () => ready = true,
    onApplied: (type) => router.policyProgress(type),
  }).run(stop.signal);
  await plane.settled();
  assert(ready);

  const heaps: number[] = [];
  const watched: WeakRef<object>[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const before = new Set(store.state.workloads);
    for (let change = 0; change < CHANGES_PER_ROUND; change++) {
      plane.push(mesh.change());
      // Some come while the ones before are being applied.
      if (randomBelow(random, 3) > 0) await plane.settled();
      if (change % CHANGES_PER_STREAM === CHANGES_PER_STREAM - 1) {
        // Whatever was not heard is told by the next stream.
        plane.hangUp();
        mesh.change();
        mesh.change();
        await plane.settled();
      }
    }
    await plane.settled();
    assertEquals(stale, []);
    const after = new Set(store.state.workloads);
    const gone = [...before].filter((one) => !after.has(one));
    watched.push(...gone.slice(0, WATCHED_PER_ROUND).map((one) => new WeakRef(one)));
    before.clear();
    after.clear();
    gone.length = 0;
    // A WeakRef that was looked at keeps its record until the turn is over.
    await new Promise((resolve) => setTimeout(resolve, 0));
    collect();
    heaps.push(Deno.memoryUsage().heapUsed);
  }

  assertEquals(plane.nacks, []);
  assertEquals(plane.streams, 1 + ROUNDS * CHANGES_PER_ROUND / CHANGES_PER_STREAM);
  // Only what changed between two streams, or was not heard before the first one ended.
  assert(plane.resent < plane.streams * 40, `${plane.resent} resources sent again`);
  assert(changes > ROUNDS * CHANGES_PER_ROUND * 0.9, `${changes} changes`);
  assert(hits > changes, `${hits} answers were remembered ones`);
  assertEquals(store.state.services.length, SERVICES);
  assertEquals(
    store.state.workloads.map(({ uid }) => uid),
    [...mesh.resources[ADDRESS_TYPE]!.keys()]
      .filter((name) => name.includes("//")).sort(),
  );
  const { outbound, inbound } = cache.sizes;
  assert(outbound + inbound <= QUESTIONS, `${outbound} and ${inbound} routes kept`);
  const left = watched.filter((one) => one.deref() !== undefined).length;
  assert(watched.length > ROUNDS * WATCHED_PER_ROUND / 2);
  assert(left <= WATCHED_LEFT_MAX, `${left} of ${watched.length} removed workloads are still held`);
  const grown = heaps.at(-1)! - heaps[1]!;
  const text = heaps.map((bytes) => (bytes / 2 ** 20).toFixed(1)).join(", ");
  assert(grown <= HEAP_GROWTH_MAX_BYTES, `heap after each round: ${text} MiB`);

  stop.abort();
  plane.hangUp();
  await running;
  store.close();
  cache.close();
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals([router.waiting, clock.waiting], [0, 0]);
  if (Deno.env.get("SOAK_VERBOSE")) {
    // deno-lint-ignore no-console -- figures for whoever asks for them
    console.log(
      `heap ${text} MiB; ${changes} changes, ${hits} remembered, ${left} of ${watched.length} held, ${plane.resent} resent`,
    );
  }
});
