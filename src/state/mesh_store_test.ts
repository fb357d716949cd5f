// Tests of mesh_store.ts: turns, slices and order of updates, and what readers are told.
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../base/assert.ts";
import type { Clock, Task, Timer } from "../base/clock.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { TOUCHED_MAX } from "../seam/router.ts";
import { MeshState } from "./mesh_state.ts";
import {
  MeshStore,
  type MeshStoreChange,
  QUEUED_UPDATES_MAX,
  SLICE_MS,
  StoreFullError,
} from "./mesh_store.ts";
import { addresses, backs, policies, policy, service, workload } from "./resource_samples.ts";

/** Time passes with every look at it, so work takes as long as it has steps. */
class SlowClock implements Clock {
  readonly #inner = new VirtualClock();
  readonly #stepMs: number;
  #workedMs = 0;

  constructor(stepMs: number) {
    this.#stepMs = stepMs;
  }

  nowMs(): number {
    this.#workedMs += this.#stepMs;
    return this.#inner.nowMs() + this.#workedMs;
  }

  wallMs(): number {
    return this.#inner.wallMs();
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#inner.after(delayMs, callback);
  }

  soon(task: Task): void {
    this.#inner.soon(task);
  }

  runTurn(): boolean {
    return this.#inner.runTurn();
  }
}

function bench(clock: Clock = new VirtualClock()) {
  const changes: MeshStoreChange[] = [];
  const lines: string[] = [];
  const store = new MeshStore({
    clock,
    onChange: (change) => changes.push(change),
    log: (level, scope, message) => lines.push(`${level} ${scope} ${message}`),
  });
  return { store, changes, lines };
}

const nothing = () => {};

Deno.test("MeshStore.apply() answers in a later turn, when the snapshot is the new one", () => {
  const clock = new VirtualClock();
  const { store, changes } = bench(clock);
  const before = store.state;
  const seen: unknown[] = [];
  store.apply(addresses([workload({ uid: "a" })]), () => {
    seen.push(store.state.workloadByUid("a")?.uid, changes.length);
  });
  assertEquals([seen.length, changes.length], [0, 0]);
  assertStrictEquals(store.state, before);
  clock.runUntilIdle();
  assertEquals(seen, ["a", 1]);
  assertStrictEquals(changes[0]!.state, store.state);
  assertEquals(before.workloadByUid("a"), null);
  assertEquals([store.queued, clock.pendingTimers], [0, 0]);
});

Deno.test("MeshStore.apply() cuts 10,000 resources into many turns; readers see none or all", () => {
  // A look at the clock after each resource: five fit into a slice.
  const clock = new SlowClock(1);
  const { store } = bench(clock);
  const first = store.state;
  const many = Array.from(
    { length: 10_000 },
    (_, n) =>
      workload({
        uid: `w${n}`,
        ips: [`10.1.${n >> 8}.${n & 255}`],
        services: backs("ns/s.example"),
      }),
  );
  let isDone = false;
  store.apply(addresses([...many, service()]), () => isDone = true);
  let turns = 0;
  for (; !isDone; turns++) {
    assertStrictEquals(store.state, first);
    assertEquals(store.state.workloadByUid("w0"), null);
    assert(clock.runTurn());
  }
  assertEquals(turns, Math.ceil(10_002 / SLICE_MS));
  assertEquals(store.state.workloads.length, 10_000);
  assertEquals(store.state.services[0]!.endpoints.size, 10_000);
});

Deno.test("MeshStore applies updates in the order they came, each seen by itself", () => {
  const clock = new SlowClock(SLICE_MS);
  const { store } = bench(clock);
  const seen: unknown[] = [];
  const ip = () => store.state.workloadByUid("a")?.ips[0] ?? null;
  store.apply(addresses([workload({ uid: "a", ips: ["10.0.0.1"] })]), () => seen.push(ip()));
  store.apply(policies([policy()]), () => seen.push(store.state.policies.length));
  store.apply(addresses([workload({ uid: "a", ips: ["10.0.0.2"] })]), () => seen.push(ip()));
  store.apply(addresses([], ["a"]), () => seen.push(ip()));
  assertEquals(store.queued, 4);
  while (clock.runTurn());
  assertEquals(seen, ["10.0.0.1", 1, "10.0.0.2", null]);
});

Deno.test("MeshStore takes an update from within a done, and does not run it there", () => {
  const clock = new VirtualClock();
  const { store } = bench(clock);
  const seen: string[] = [];
  store.apply(addresses([workload({ uid: "a" })]), () => {
    store.apply(addresses([], ["a"]), () => seen.push("second"));
    seen.push("first");
  });
  clock.runUntilIdle();
  assertEquals(seen, ["first", "second"]);
  assertEquals(store.state.workloads, []);
});

Deno.test("MeshStore queues QUEUED_UPDATES_MAX updates and refuses one more, which is not taken", () => {
  const clock = new VirtualClock();
  const { store } = bench(clock);
  for (let n = 0; n < QUEUED_UPDATES_MAX; n++) {
    store.apply(addresses([workload({ uid: `w${n}` })]), nothing);
  }
  const error = assertThrows(
    () => store.apply(addresses([workload({ uid: "late" })]), nothing),
    StoreFullError,
  );
  assertEquals(error.code, "STORE_FULL");
  assertThrows(
    () => store.replaceAll({ workloads: [], services: [], policies: [] }, nothing),
    StoreFullError,
  );
  clock.runUntilIdle();
  assertEquals(store.state.workloads.length, QUEUED_UPDATES_MAX);
  assertEquals(store.state.workloadByUid("late"), null);
  store.apply(addresses([workload({ uid: "late" })]), nothing);
  clock.runUntilIdle();
  assertEquals(store.state.workloadByUid("late")?.uid, "late");
});

Deno.test("MeshStore.close() drops what waits and leaves no timer", () => {
  const clock = new VirtualClock();
  const { store, changes } = bench(clock);
  store.apply(addresses([workload()]), () => changes.length = 99);
  store.close();
  clock.runUntilIdle();
  assertEquals([changes.length, store.queued, clock.pendingTimers], [0, 0, 0]);
  assertThrows(() => store.apply(addresses([]), nothing), AssertionFailure);
});

Deno.test("MeshStore goes on after a listener threw", () => {
  const clock = new VirtualClock();
  const store = new MeshStore({
    clock,
    onChange: () => {
      if (store.state.workloads.length === 1) throw new Error("listener");
    },
  });
  store.apply(addresses([workload({ uid: "a" })]), nothing);
  store.apply(addresses([workload({ uid: "b" })]), nothing);
  assertThrows(() => clock.runUntilIdle(), Error, "listener");
  clock.runUntilIdle();
  assertEquals(store.state.workloads.map(({ uid }) => uid), ["a", "b"]);
});

/** Applies one update after the other and says what readers were told each time. */
function told(...updates: Parameters<MeshStore["apply"]>[0][]): (MeshStoreChange | null)[] {
  const clock = new VirtualClock();
  const { store, changes } = bench(clock);
  return updates.map((update) => {
    changes.length = 0;
    store.apply(update, nothing);
    clock.runUntilIdle();
    return changes[0] ?? null;
  });
}

Deno.test("MeshStore says which dependencies a workload touches, those it had and those it has", () => {
  const before = workload({
    uid: "a",
    name: "n",
    ips: ["10.0.0.1"],
    network: "net",
    services: backs("ns/s.example"),
    hostname: "h",
  });
  const after = {
    ...before,
    name: "m",
    ips: ["10.0.0.2"],
    services: backs("ns/t.example"),
    hostname: "",
  };
  const [, change] = told(addresses([before]), addresses([after]));
  assertEquals([...change!.touched!].sort(), [
    "a net/10.0.0.1",
    "a net/10.0.0.2",
    "l ns/m/default",
    "l ns/n/default",
    "s ns/h",
    "s ns/s.example",
    "s ns/t.example",
    "w a",
  ]);
  assertEquals([change!.policies, change!.local], [false, true]);
});

Deno.test("MeshStore says which dependencies a service touches, those it had and those it has", () => {
  const cidr = { ip: "10.1.0.0", prefixBits: 16 };
  const before = service({
    hostname: "S.example",
    vips: [{ network: "net", ip: "10.0.0.1" }],
    cidrVips: [{ network: "net", cidr }],
  });
  const after = { ...before, vips: [{ network: "", ip: "10.0.0.2" }], cidrVips: [] };
  const [, change] = told(addresses([before]), addresses([after]));
  assertEquals([...change!.touched!].sort(), [
    "a /10.0.0.2",
    "a net/10.0.0.1",
    "c net",
    "h S.example",
    "h s.example",
    "s ns/S.example",
  ]);
  assertEquals([change!.policies, change!.local], [false, false]);
});

Deno.test("MeshStore says which dependencies a policy touches, also when its scope moves", () => {
  const [, moved, gone] = told(
    policies([policy({ scope: "Namespace" })]),
    policies([policy({ scope: "Global" })]),
    policies([], ["ns/p"]),
  );
  assertEquals([...moved!.touched!].sort(), ["n ", "n ns", "p ns/p"]);
  assertEquals([...gone!.touched!].sort(), ["n ", "p ns/p"]);
  assertEquals([moved!.policies, moved!.local], [true, false]);
});

Deno.test("MeshStore tells nobody of what says what it said before", () => {
  const full = workload({
    uid: "a",
    ips: ["10.0.0.1"],
    services: backs("ns/s.example"),
    hostname: "h",
  });
  const vip = service({ vips: [{ network: "", ip: "10.0.0.9" }] });
  const copy = <Value>(value: Value) => structuredClone(value);
  const [, again, policyFirst, policyAgain, unknown] = told(
    addresses([full, vip]),
    addresses([copy(full), copy(vip)]),
    policies([policy()]),
    policies([copy(policy())], ["ns/other"]),
    addresses([], ["c//Pod/ns/gone"]),
  );
  assertEquals([again, policyAgain, unknown], [null, null, null]);
  assert(policyFirst !== null);
});

Deno.test("MeshStore names TOUCHED_MAX dependencies, and of one more says everything", () => {
  const policyNamed = (n: number) => policy({ name: `p${n}`, scope: "WorkloadSelector" });
  const many = (count: number) =>
    told(policies(Array.from({ length: count }, (_, n) => policyNamed(n))))[0]!.touched;
  assertEquals(many(TOUCHED_MAX - 1)?.length, TOUCHED_MAX - 1);
  assertEquals(many(TOUCHED_MAX)?.length, TOUCHED_MAX);
  assertEquals(many(TOUCHED_MAX + 1), null);
});

Deno.test("MeshStore.replaceAll() forgets all else, touches everything and keeps what is the same", () => {
  const clock = new VirtualClock();
  const { store, changes } = bench(clock);
  const stays = workload({ uid: "stays", ips: ["10.0.0.1"] });
  store.apply(addresses([stays, workload({ uid: "goes" }), service()]), nothing);
  store.apply(policies([policy(), policy({ name: "q" })]), nothing);
  clock.runUntilIdle();
  const before = store.state.workloadByUid("stays")!;
  const [facts, applied] = [store.state.facts(before), store.state.policiesOf(before)];
  const nameless = [workload({ uid: "", name: "x" }), workload({ uid: "", name: "y" })];
  changes.length = 0;
  store.replaceAll({
    workloads: [structuredClone(stays), ...nameless],
    services: [],
    policies: [structuredClone(policy()), structuredClone(policy({ name: "q" }))],
  }, nothing);
  clock.runUntilIdle();
  const { state } = store;
  assertEquals(state.workloads.map(({ uid, name }) => uid || name), ["x", "y", "stays"]);
  assertEquals(state.services, []);
  assertStrictEquals(state.workloadByUid("stays"), before);
  assertStrictEquals(state.facts(before), facts);
  assertStrictEquals(state.policiesOf(before), applied);
  const [{ touched, policies: judged, local }] = changes as [MeshStoreChange];
  assertEquals([touched, judged, local], [null, true, true]);
});

Deno.test("MeshStore warns about a service's bad names when they are used, once", () => {
  const clock = new VirtualClock();
  const { store, lines } = bench(clock);
  store.apply(addresses([service({ subjectAltNames: ["spiffe://td/ns/a/sa/b", "x"] })]), nothing);
  store.apply(addresses([workload({ services: backs("ns/s.example") })]), nothing);
  clock.runUntilIdle();
  assertEquals(lines, []);
  const names = () => store.state.services[0]!.subjectAltNames.map(({ uri }) => uri);
  assertEquals([names(), names()], [["spiffe://td/ns/a/sa/b"], ["spiffe://td/ns/a/sa/b"]]);
  store.apply(addresses([workload({ services: backs("ns/s.example"), node: "n" })]), nothing);
  clock.runUntilIdle();
  assertEquals(names().length, 1);
  assertEquals(lines.length, 1);
  assert(
    lines[0]!.startsWith(
      "warn ztunnel::state ignoring a subject alternative name of service ns/s.example: ",
    ),
  );
});

Deno.test("MeshState made of resources tells all their bad names at once", () => {
  const services = [service({ subjectAltNames: ["x", "y"] })];
  assertEquals(new MeshState({ workloads: [], services, policies: [] }).warnings.length, 2);
});
