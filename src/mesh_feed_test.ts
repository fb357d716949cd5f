import { assertEquals } from "@std/assert";
import { SystemClock } from "./base/system_clock.ts";
import { readConfig } from "./config/config.ts";
import { MeshFeed } from "./mesh_feed.ts";
import { type MeshFile, parseMeshFile } from "./state/mesh_file.ts";
import type { Logger } from "./telemetry/logger.ts";
import { MeshMetrics } from "./telemetry/mesh_metrics.ts";

const WITHIN_MS = 5_000;

function meshText(...names: readonly string[]): string {
  const workloads = names.map((name) => ({
    uid: name,
    name,
    namespace: "ns",
    serviceAccount: "sa",
    workloadIps: [],
    services: {},
  }));
  return JSON.stringify({ workloads });
}

/** A feed of a file that says `text`. */
async function openFeed(
  text: string,
): Promise<{ readonly feed: MeshFeed; readonly path: string; readonly lines: string[] }> {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(path, text);
  const env: Readonly<Record<string, string>> = {
    PROXY_MODE: "dedicated",
    PROXY_WORKLOAD_INFO: "ns/late/sa",
    FAKE_CA: "true",
    XDS_ADDRESS: "",
    LOCAL_XDS_PATH: path,
  };
  const lines: string[] = [];
  const log = (level: string, _scope: string, message: string) => lines.push(`${level} ${message}`);
  const mesh: MeshFile = parseMeshFile(text, { source: path });
  const feed = await MeshFeed.open({
    config: readConfig((name) => env[name]),
    mesh,
    clock: new SystemClock({ onBug: (error) => lines.push(String(error)) }),
    logger: { log } as unknown as Logger,
    metrics: new MeshMetrics(),
    hosts: null,
  });
  return { feed, path, lines };
}

async function until(condition: () => boolean): Promise<void> {
  const endMs = performance.now() + WITHIN_MS;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error("Not in time");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

Deno.test("MeshFeed takes its file over when it changes, keeps the mesh when it is wrong, and wakes who waits", async () => {
  const { feed, path, lines } = await openFeed(meshText("early"));
  const uids = () => feed.router.state.workloads.map(({ uid }) => uid);
  try {
    await feed.synced;
    assertEquals(uids(), ["early"]);
    const late = { namespace: "ns", name: "late", serviceAccount: "sa" };
    const found = new Promise((resolve) => feed.router.localWorkload(late, resolve));
    await Deno.writeTextFile(path, "workloads: [{");
    await until(() => lines.some((line) => line.startsWith("error ") || line.startsWith("warn ")));
    assertEquals(uids(), ["early"]);
    await Deno.writeTextFile(path, meshText("early", "late"));
    assertEquals((await found as { uid: string }).uid, "late");
    assertEquals(uids(), ["early", "late"]);
  } finally {
    await feed[Symbol.asyncDispose]();
    await Deno.remove(path);
  }
});

Deno.test("MeshFeed lets waits be when no workload came", async () => {
  const { feed, path } = await openFeed(meshText("early"));
  try {
    const changes: unknown[] = [];
    const { router } = feed;
    const replace = router.replace.bind(router);
    router.replace = (state, change) => {
      changes.push(change);
      replace(state, change);
    };
    await Deno.writeTextFile(path, meshText());
    await until(() => changes.length > 0);
    assertEquals(changes, [{ policies: true, touched: null, local: false }]);
  } finally {
    await feed[Symbol.asyncDispose]();
    await Deno.remove(path);
  }
});
