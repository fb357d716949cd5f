// Before the control plane has spoken: nothing is served, everything can be asked, and the end comes at once.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { TEST_NETWORK } from "../support/networks.ts";
import { until } from "../support/real_sockets.ts";
import { configDump, readiness, type Told, XdsMesh } from "../support/xds_mesh.ts";
import { shortResources } from "../support/xds_resources.ts";

const WITHIN_MS = 10_000;
const DATA_PORTS = [15001, 15006, 15008, 15080];
/** Nothing has to be drained, and back-off and waits end with the signal. */
const ENDED_WITHIN_MS = 2_000;

interface Case {
  readonly name: string;
  readonly prepare: (mesh: XdsMesh) => Promise<void> | void;
  readonly env?: Readonly<Record<string, string>>;
}

Deno.test.each<Case>([
  { name: "is silent", prepare: ({ server }) => server.hold("Address") },
  { name: "is not there", prepare: ({ server }) => server.stop() },
  {
    name: "refuses",
    prepare: ({ server }) => void (server.refusal = { code: 16, message: "who are you" }),
  },
  {
    name: "says nothing about policies",
    prepare: ({ server }) => server.hold("Authorization"),
  },
])(
  `[${TEST_NETWORK}] while the control plane $name the proxy can be asked and ended`,
  async ({ prepare }) => {
    await using mesh = await XdsMesh.start();
    await mesh.explain(async () => {
      mesh.server.push({
        set: shortResources({ workloads: [{ name: "client", serviceAccount: "client" }] }),
      });
      await prepare(mesh);
      let told: Told | null = null;
      const proxy = await mesh.proxy(1, "client", {
        isReady: async () => {
          told = await readiness({ ip: mesh.ip(1) }).catch(() => null);
          return told !== null;
        },
      });
      assertEquals(told, { status: 500, text: "not ready, pending: proxy, state manager\n" });
      for (const port of DATA_PORTS) {
        await assertRejects(
          () => Deno.connect({ hostname: proxy.ip, port }),
          Deno.errors.ConnectionRefused,
          "",
          `${port}`,
        );
      }
      const dump = await configDump(proxy);
      assertEquals(dump["certificates"], []);
      assertEquals(dump["services"], []);
      const startMs = performance.now();
      const { code } = await proxy.stop();
      const tookMs = performance.now() - startMs;
      assertEquals(code, 0);
      assert(tookMs < ENDED_WITHIN_MS, `${tookMs} ms`);
    });
  },
);

Deno.test(`[${TEST_NETWORK}] what the file says is served beside what the control plane says`, async () => {
  await using mesh = await XdsMesh.start();
  await mesh.explain(async () => {
    mesh.push({ workloads: [{ name: "pushed", serviceAccount: "pushed" }] });
    const file = `${mesh.folder}/mesh.yaml`;
    const pod = {
      uid: "file//Pod/ns/client",
      name: "client",
      namespace: "ns",
      serviceAccount: "client",
      services: {},
    };
    await Deno.writeTextFile(file, JSON.stringify({ workloads: [{ ...pod, workloadIps: [] }] }));
    const proxy = await mesh.proxy(1, "client", { env: { LOCAL_XDS_PATH: file } });
    await mesh.server.settled();
    const uids = async () => {
      const { workloads } = await configDump(proxy) as { workloads: { uid: string }[] };
      return workloads.map(({ uid }) => uid);
    };
    await until(() => proxy.lines.some((line) => line.includes("marking server ready")), WITHIN_MS);
    assertEquals(await uids(), ["c//Pod/ns/pushed", "file//Pod/ns/client"]);
  });
});
