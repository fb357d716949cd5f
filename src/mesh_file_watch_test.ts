// Tests of mesh_file_watch.ts: that it looks in time, and ends.
import { assertEquals } from "@std/assert";
import type { Clock } from "./base/clock.ts";
import { SystemClock } from "./base/system_clock.ts";
import { LOOK_MS_MIN, POLL_MS, SETTLE_MS } from "./file_watch.ts";
import { watchMeshFile } from "./mesh_file_watch.ts";
import { parseMeshFile } from "./state/mesh_file.ts";

const mesh = (uid: string) =>
  `workloads:\n  - { uid: ${uid}, namespace: n, workloadIps: [], services: {} }\n`;

/** A watch of a file in a folder of its own. */
class Watched implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();
  readonly path = `${this.folder}/mesh.yaml`;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;
  readonly clock = new SystemClock();
  readonly waits: number[] = [];
  readonly meshes: string[] = [];
  #heard: () => void = () => {};

  constructor(options: { readonly pollMs?: number; readonly settleMs?: number } = {}) {
    Deno.writeTextFileSync(this.path, mesh("a"));
    const clock: Clock = {
      nowMs: () => this.clock.nowMs(),
      wallMs: () => this.clock.wallMs(),
      soon: (task) => this.clock.soon(task),
      after: (ms, callback) => {
        this.waits.push(ms);
        return this.clock.after(ms, callback);
      },
    };
    this.#ended = watchMeshFile({
      path: this.path,
      clock,
      log: () => {},
      parse: (text) => parseMeshFile(text, { source: this.path }),
      onMesh: ({ workloads }) => {
        this.meshes.push(workloads[0]!.uid);
        this.#heard();
      },
      signal: this.#stop.signal,
      ...options,
    });
  }

  /** Resolves once `count` meshes were heard. */
  async heard(count: number): Promise<void> {
    while (this.meshes.length < count) {
      await new Promise<void>((resolve) => this.#heard = resolve);
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    assertEquals(this.clock.waiting, 0, "no timer is left");
    await Deno.remove(this.folder, { recursive: true });
  }
}

Deno.test("watchMeshFile() hears of changes long before it would look", async () => {
  await using watched = new Watched({ pollMs: 3_600_000, settleMs: 1 });
  // The first look finds a file that is new to it.
  await watched.heard(1);
  Deno.writeTextFileSync(`${watched.folder}/next`, mesh("b"));
  Deno.renameSync(`${watched.folder}/next`, watched.path);
  await watched.heard(2);
  assertEquals(watched.meshes, ["a", "b"]);
});

Deno.test("watchMeshFile() survives its folder", async () => {
  await using watched = new Watched({ pollMs: 20, settleMs: 1 });
  await watched.heard(1);
  await Deno.remove(watched.folder, { recursive: true });
  await Deno.mkdir(watched.folder);
  await Deno.writeTextFile(watched.path, mesh("b"));
  await watched.heard(2);
  assertEquals(watched.meshes, ["a", "b"]);
});

Deno.test("watchMeshFile() settles SETTLE_MS and looks again after POLL_MS, by default", async () => {
  await using watched = new Watched();
  await watched.heard(1);
  while (watched.waits.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals(watched.waits.slice(0, 3), [SETTLE_MS, LOOK_MS_MIN, POLL_MS - LOOK_MS_MIN]);
});

Deno.test("watchMeshFile() looks once per LOOK_MS_MIN, however much its folder stirs", async () => {
  await using watched = new Watched({ pollMs: 3_600_000, settleMs: 1 });
  await watched.heard(1);
  const before = watched.waits.length;
  const startMs = performance.now();
  for (let at = 0; at < 200; at++) await Deno.writeTextFile(`${watched.folder}/other`, `${at}`);
  const turns = Math.ceil((performance.now() - startMs) / LOOK_MS_MIN) + 1;
  const waits = watched.waits.length - before;
  assertEquals(waits <= 2 * turns + 1, true, `${waits} waits in ${turns} turns`);
});

Deno.test("watchMeshFile() ends at once, whatever it waits for", async () => {
  const watched = new Watched({ pollMs: 3_600_000, settleMs: 3_600_000 });
  while (watched.waits.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  await watched.stop();
  await watched[Symbol.asyncDispose]();
  assertEquals(watched.meshes, []);
});

Deno.test({
  name: "watchMeshFile() looks every POLL_MS where it may read the file only",
  permissions: { read: [new URL("../examples/local.yaml", import.meta.url)] },
  async fn() {
    const path = new URL("../examples/local.yaml", import.meta.url).pathname;
    const clock = new SystemClock();
    const stop = new AbortController();
    let loaded = 0;
    await watchMeshFile({
      path,
      clock,
      log: () => {},
      parse: () => ({ workloads: [], services: [], policies: [], warnings: [] }),
      onMesh: () => {
        loaded++;
        stop.abort();
      },
      signal: stop.signal,
      settleMs: 1,
    });
    assertEquals([loaded, clock.waiting], [1, 0]);
  },
});
