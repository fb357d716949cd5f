// The host and a real worker: how it starts, dies and ends. The worker's planes run on a memory network.
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { PretendOptions } from "../../tests/support/pretend_worker.ts";
import { NotedEvents, testLeaf } from "../../tests/support/data_plane_world.ts";
import { meshFileText } from "../../tests/support/mesh_file.ts";
import type { ProxyError } from "../base/errors.ts";
import { SystemClock } from "../base/system_clock.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { parseMeshFile } from "../state/mesh_file.ts";
import { MeshState } from "../state/mesh_state.ts";
import { StateRouter } from "../state/state_router.ts";
import { spiffeId } from "../tls/spiffe_id.ts";
import { DataPlaneStartError } from "./errors.ts";
import {
  CLOSE_MS_MAX,
  type HostedPlane,
  type NativeHost,
  START_MS_MAX,
  startNativeHost,
  workerModule,
} from "./host.ts";

const WORKER = new URL("../../tests/support/pretend_worker.ts", import.meta.url);

interface Running {
  readonly host: NativeHost;
  /** The first reason for its death. */
  readonly death: Promise<string>;
  readonly lines: string[];
  readonly clock: SystemClock;
}

async function start(fate: PretendOptions["fate"]): Promise<Running> {
  const clock = new SystemClock();
  const death = Promise.withResolvers<string>();
  const lines: string[] = [];
  const host = await startNativeHost<PretendOptions>({
    runtime: { fate },
    log: (level, _scope, message, fields) => lines.push(`${level} ${message} ${fields?.["error"]}`),
    onDeath: death.resolve,
    clock,
    workerUrl: WORKER,
    revokeFfi: false,
  });
  return { host, death: death.promise, lines, clock };
}

const LOCAL = { namespace: "default", name: "client", serviceAccount: "client" };

async function open({ host, clock }: Running): Promise<HostedPlane> {
  const mesh = parseMeshFile(
    meshFileText({ workloads: [{ ...LOCAL, ip: "10.0.0.1" }] }),
    { source: "test" },
  );
  const router = new StateRouter({
    state: new MeshState(mesh),
    settings: {
      network: "",
      hbonePort: 15008,
      internalPorts: new Set([15008]),
      clusterDomain: "cluster.local",
      nodeName: null,
    },
    clock,
    log() {},
  });
  const leaf = await testLeaf(spiffeId({ trustDomain: "cluster.local", ...LOCAL }));
  const outcome = await new Promise<HostedPlane | ProxyError>((resolve) =>
    host.openPlane({
      router,
      certificates: {
        identity: leaf.identity,
        get: (done) => clock.after(0, () => done(leaf)),
        onRotate: () => ({ cancel() {} }),
      },
      events: new NotedEvents(),
      local: LOCAL,
      listeners: { inbound: { ip: "10.0.0.1", port: 15008 } },
    }, resolve)
  );
  if (outcome instanceof Error) throw outcome;
  return outcome;
}

Deno.test("a plane opens in a real worker, drains, and the worker ends with nothing left", async () => {
  const running = await start("runs");
  const plane = await open(running);
  assertEquals(plane.local.inbound!.address, { ip: "10.0.0.1", port: 15008 });
  const stats = await new Promise<number>((resolve) =>
    plane.stats(({ connections, timers }) => resolve(connections + timers))
  );
  assertEquals(stats, 0);
  await new Promise<void>((resolve) => plane.drain(1000, resolve));
  assertEquals(await running.host.close(), { sockets: 0 });
  assertEquals(running.clock.waiting, 0);
});

Deno.test("close() stops planes that are open", async () => {
  const running = await start("runs");
  await open(running);
  assertEquals(await running.host.close(), { sockets: 0 });
});

Deno.test("what the worker cannot do at start is one sentence, its own", async () => {
  const error = await assertRejects(() => start("cannot start"), DataPlaneStartError);
  assertEquals([error.code, error.message], [
    "NATIVE_START",
    "Cannot open libssl.so.3: not found",
  ]);
});

Deno.test.each(
  [
    { fate: "throws at start", says: "boom at start" },
    { fate: "says nonsense at start", says: "it began with a message of kind planeEnded" },
  ] as const,
)("a worker that $fate does not start, and says so", async ({ fate, says }) => {
  const error = await assertRejects(() => start(fate), DataPlaneStartError);
  assert(error.message.startsWith("Cannot start the data plane's isolate: "), error.message);
  assert(error.message.includes(says), error.message);
});

Deno.test("a worker whose module is not there does not start, and says so", async () => {
  const clock = new SystemClock();
  const error = await assertRejects(
    () =>
      startNativeHost({
        runtime: {},
        log() {},
        onDeath() {},
        clock,
        workerUrl: new URL("no_such_worker.ts", import.meta.url),
        revokeFfi: false,
      }),
    DataPlaneStartError,
  );
  assert(error.message.startsWith("Cannot start the data plane's isolate: "), error.message);
  assertEquals(clock.waiting, 0);
});

Deno.test("START_MS_MAX without a word ends the start", async () => {
  const clock = new VirtualClock();
  const started = startNativeHost({
    runtime: { fate: "runs" },
    log() {},
    onDeath() {},
    clock,
    workerUrl: new URL("data:text/javascript,0"),
    revokeFfi: false,
  });
  clock.advance(START_MS_MAX);
  const error = await assertRejects(() => started, DataPlaneStartError);
  assertEquals(error.code, "START_TIMEOUT");
  assertEquals(clock.pendingTimers, 0);
});

Deno.test.each(
  [
    { fate: "throws after", reason: /^it crashed: .*boom/ },
    { fate: "says nonsense after", reason: /^Cannot read a message/ },
  ] as const,
)("a worker that $fate is dead at once, with its reason", async ({ fate, reason }) => {
  const { host, death } = await start(fate);
  const text = await death;
  assert(reason.test(text), text);
  assertEquals(await host.close(), {});
});

Deno.test("workers that hang or quit are dead within 5 s and a little", async () => {
  const startMs = performance.now();
  const both = await Promise.all([start("hangs after"), start("quits after")]);
  for (const { host, death, clock } of both) {
    assertEquals(await death, "it was silent for 5 s");
    assertEquals(await host.close(), {});
    assertEquals(clock.waiting, 0);
  }
  const elapsedMs = performance.now() - startMs;
  assert(elapsedMs < 8000, `${elapsedMs} ms`);
});

Deno.test("a bug in the worker's loop is logged with its stack and counted", async () => {
  const { host, lines } = await start("bug after");
  while (host.bugs === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert(lines[0]!.startsWith("error bug in the data plane Error: boom"), lines[0]);
  assert(lines[0]!.includes("pretend_worker.ts"), "with its stack");
  assertEquals(await host.close(), { sockets: 0 });
});

Deno.test("CLOSE_MS_MAX is longer than silence takes to be noticed", () => {
  assert(CLOSE_MS_MAX > 5200);
});

Deno.test.each([
  {
    own: "file:///app/src/isolate/host.ts",
    worker: "file:///app/src/isolate/data_plane_worker.ts",
  },
  { own: "file:///app/dist/ztunnel.js", worker: "file:///app/dist/data_plane_worker.js" },
])("the worker of $own is $worker", ({ own, worker }) => {
  assertEquals(workerModule(own).href, worker);
});
