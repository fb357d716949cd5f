// The identity a proxy asks certificates for.
import { assertEquals } from "@std/assert";
import { VirtualClock } from "./base/virtual_clock.ts";
import { localIdentity, type LocalIdentityOptions, watchTrustDomain } from "./local_identity.ts";
import { MeshState } from "./state/mesh_state.ts";
import { workload } from "./state/resource_samples.ts";
import { StateRouter, WORKLOAD_WAIT_MS } from "./state/state_router.ts";

const LOCAL = { namespace: "shop", name: "web", serviceAccount: "sa" };

function mesh(trustDomain: string | null): MeshState {
  const workloads = trustDomain === null
    ? []
    : [workload({ uid: "u", ...LOCAL, trustDomain, ips: ["10.0.0.1"] })];
  return new MeshState({ workloads, services: [], policies: [] });
}

class Bench {
  readonly clock = new VirtualClock();
  readonly stop = new AbortController();
  readonly lines: string[] = [];
  readonly router: StateRouter;
  readonly options: LocalIdentityOptions;

  constructor(trustDomain: string | null) {
    this.router = new StateRouter({
      state: mesh(trustDomain),
      settings: {
        network: "",
        hbonePort: 15008,
        internalPorts: new Set(),
        clusterDomain: "cluster.local",
        nodeName: null,
      },
      clock: this.clock,
      log() {},
    });
    this.options = {
      router: this.router,
      nodeName: null,
      trustDomain: "default.td",
      logger: { log: (level, _scope, message) => void this.lines.push(`${level} ${message}`) },
      signal: this.stop.signal,
    };
  }
}

Deno.test("the trust domain is that of the workload's record", async () => {
  const bench = new Bench("mesh.td");
  const asked = localIdentity(LOCAL, bench.options);
  bench.clock.advance(0);
  assertEquals((await asked)?.uri, "spiffe://mesh.td/ns/shop/sa/sa");
  assertEquals(bench.lines, []);
});

Deno.test("a record that comes late is waited for", async () => {
  const bench = new Bench(null);
  const asked = localIdentity(LOCAL, bench.options);
  bench.clock.advance(WORKLOAD_WAIT_MS - 1);
  bench.router.replace(mesh("late.td"), { policies: false });
  bench.clock.advance(0);
  assertEquals((await asked)?.uri, "spiffe://late.td/ns/shop/sa/sa");
});

Deno.test("without a record the default is taken after the wait, and said", async () => {
  const bench = new Bench(null);
  const asked = localIdentity(LOCAL, bench.options);
  bench.clock.advance(WORKLOAD_WAIT_MS);
  assertEquals((await asked)?.uri, "spiffe://default.td/ns/shop/sa/sa");
  assertEquals(bench.lines, [
    "warn the mesh does not know the proxy's own workload: nothing passes before it does",
  ]);
});

Deno.test("an abort ends the wait", async () => {
  const bench = new Bench(null);
  const asked = localIdentity(LOCAL, bench.options);
  bench.stop.abort();
  assertEquals(await asked, null);
  assertEquals(bench.router.waiting, 0);
  assertEquals(await localIdentity(LOCAL, bench.options), null);
});

Deno.test("another trust domain that comes later is said once", async () => {
  const bench = new Bench("one.td");
  const asked = localIdentity(LOCAL, bench.options);
  bench.clock.advance(0);
  const watch = watchTrustDomain(LOCAL, (await asked)!, bench.options);
  bench.router.replace(mesh("one.td"), { policies: false });
  bench.router.replace(mesh(null), { policies: false });
  assertEquals(bench.lines, []);
  bench.router.replace(mesh("two.td"), { policies: false });
  bench.router.replace(mesh("three.td"), { policies: false });
  assertEquals(bench.lines, [
    "error the mesh has another trust domain for the proxy's own workload: restart to take it",
  ]);
  watch.cancel();
});
