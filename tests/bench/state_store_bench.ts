// The mesh store alone: a large mesh taken in, single updates and lookups. Run it by itself:
//   deno run -A --v8-flags=--expose-gc tests/bench/state_store_bench.ts
import process from "node:process";
import { SystemClock } from "../../src/base/system_clock.ts";
import type { Policy } from "../../src/rbac/policy.ts";
import { MeshStore } from "../../src/state/mesh_store.ts";
import type { MeshResource, MeshUpdate } from "../../src/state/mesh_update.ts";
import { backs, policy, service, workload } from "../../src/state/resource_samples.ts";
import type { Workload } from "../../src/state/resources.ts";
import { decodeAddress, decodeAuthorization } from "../../src/xds/convert.ts";
import { policyResource, serviceResource, workloadResource } from "../support/xds_resources.ts";

const WORKLOADS = 10_000;
const SERVICES = 1_000;
const POLICIES = 200;
const NAMESPACES = 50;

const collect = (globalThis as { gc?: () => void }).gc;

function namespaceOf(n: number): string {
  return `team-${n % NAMESPACES}`;
}

function serviceName(n: number): string {
  return `service-${n}.${namespaceOf(n)}.svc.cluster.local`;
}

function workloadNumber(n: number): Workload {
  const of = n % SERVICES;
  const namespace = namespaceOf(of);
  const name = `service-${of}-${(n * 2654435761 >>> 0).toString(36)}-${n}`;
  return workload({
    uid: `Kubernetes//Pod/${namespace}/${name}`,
    name,
    namespace,
    ips: [`10.${n >> 16}.${n >> 8 & 255}.${n & 255}`],
    protocol: "HBONE",
    serviceAccount: `service-${of}`,
    node: `node-${n % 100}.example.internal`,
    workloadName: `service-${of}`,
    workloadType: "pod",
    canonicalName: `service-${of}`,
    canonicalRevision: "v1",
    clusterId: "Kubernetes",
    locality: { region: "region-1", zone: `zone-${n % 3}`, subzone: "" },
    services: backs(`${namespace}/${serviceName(of)}`),
    authorizationPolicies: n % 10 === 0 ? [`${namespace}/selected-${n % POLICIES}`] : [],
  });
}

function policyNumber(n: number): Policy {
  const scope = n % 2 === 0 ? "WorkloadSelector" : "Namespace";
  return policy({ name: `selected-${n}`, namespace: namespaceOf(n), scope });
}

/** Octets of all resources, each after its length in four octets. */
function writeMesh(path: string): void {
  using file = Deno.openSync(path, { write: true, create: true });
  const write = (payload: Uint8Array) => {
    const framed = new Uint8Array(4 + payload.length);
    new DataView(framed.buffer).setUint32(0, payload.length);
    framed.set(payload, 4);
    file.writeSync(framed);
  };
  for (let n = 0; n < WORKLOADS; n++) write(workloadResource(workloadNumber(n)).payload!);
  for (let n = 0; n < SERVICES; n++) {
    const name = { name: `service-${n}`, namespace: namespaceOf(n), hostname: serviceName(n) };
    const vips = [{ network: "", ip: `10.96.${n >> 8}.${n & 255}` }];
    write(serviceResource(service({ ...name, vips, canonical: true })).payload!);
  }
  for (let n = 0; n < POLICIES; n++) write(policyResource(policyNumber(n)).payload!);
}

/** What the responses of a first push say. */
function readMesh(path: string): { addresses: MeshUpdate; policies: MeshUpdate } {
  const bytes = Deno.readFileSync(path);
  const view = new DataView(bytes.buffer);
  const set: MeshResource[] = [];
  const named: { name: string; policy: Policy }[] = [];
  for (let at = 0, count = 0; at < bytes.length; count++) {
    const end = at + 4 + view.getUint32(at);
    const payload = bytes.subarray(at + 4, end);
    if (count < WORKLOADS + SERVICES) {
      set.push(decodeAddress(payload));
    } else {
      const policy = decodeAuthorization(payload);
      named.push({ name: `${policy.namespace}/${policy.name}`, policy });
    }
    at = end;
  }
  return {
    addresses: { kind: "addresses", set, removed: [] },
    policies: { kind: "policies", set: named, removed: [] },
  };
}

/** The turns of a loop: how long each one took that came from the store's clock. */
class WatchedClock extends SystemClock {
  readonly slicesMs: number[] = [];

  override after(delayMs: number, callback: () => void) {
    return super.after(delayMs, () => {
      const startMs = performance.now();
      callback();
      this.slicesMs.push(performance.now() - startMs);
    });
  }
}

function memory(): { heapKb: number; rssKb: number } {
  collect?.();
  collect?.();
  const { heapUsed, rss } = Deno.memoryUsage();
  return { heapKb: heapUsed / 1024, rssKb: rss / 1024 };
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function applied(store: MeshStore, update: MeshUpdate): Promise<void> {
  await new Promise<void>((resolve) => store.apply(update, resolve));
}

function nanoseconds(repeat: number, call: (n: number) => unknown): number {
  let kept: unknown = null;
  for (let n = 0; n < repeat; n++) kept = call(n) ?? kept;
  const startMs = performance.now();
  for (let n = 0; n < repeat; n++) kept = call(n) ?? kept;
  const perCall = (performance.now() - startMs) * 1e6 / repeat;
  if (kept === null) throw new Error("nothing was found");
  return perCall;
}

function print(what: string, figure: number, unit: string): void {
  Deno.stdout.writeSync(
    new TextEncoder().encode(`${what.padEnd(44)}${figure.toFixed(2).padStart(12)} ${unit}\n`),
  );
}

if (Deno.args[0] === "--write") {
  writeMesh(Deno.args[1]!);
  Deno.exit(0);
}

const path = await Deno.makeTempFile();
const writer = new Deno.Command(Deno.execPath(), {
  args: ["run", "-A", "--quiet", import.meta.filename!, "--write", path],
});
if (!(await writer.output()).success) throw new Error("cannot write the mesh");

const clock = new WatchedClock();
const store = new MeshStore({ clock, onChange: () => {} });
await applied(store, { kind: "addresses", set: [], removed: [] });
const before = memory();
let update: ReturnType<typeof readMesh> | null = readMesh(path);
const decoded = memory();

const startCpu = cpuMs();
const startMs = performance.now();
clock.slicesMs.length = 0;
await applied(store, update.addresses);
await applied(store, update.policies);
print("ingest: wall", performance.now() - startMs, "ms");
print("ingest: CPU of the process", cpuMs() - startCpu, "ms");
const slices = [...clock.slicesMs].sort((a, b) => a - b);
print("ingest: slices", slices.length, "");
print("ingest: work in slices", slices.reduce((sum, ms) => sum + ms, 0), "ms");
print("ingest: median slice", slices[slices.length >> 1]!, "ms");
print("ingest: longest slice", slices.at(-1)!, "ms");
update = null;
const after = memory();
print(
  "memory: values alone, heap per workload",
  (decoded.heapKb - before.heapKb) / WORKLOADS,
  "KB",
);
print("memory: heap per workload", (after.heapKb - before.heapKb) / WORKLOADS, "KB");
print("memory: RSS per workload", (after.rssKb - before.rssKb) / WORKLOADS, "KB");

clock.slicesMs.length = 0;
await applied(store, readMesh(path).addresses);
print("the same again: work", clock.slicesMs.reduce((sum, ms) => sum + ms, 0), "ms");

/** Its health changes back and forth. */
async function singleUpdate(one: Workload): Promise<number> {
  clock.slicesMs.length = 0;
  for (let n = 0; n < 300; n++) {
    const status = n % 2 === 0 ? "Unhealthy" as const : "Healthy" as const;
    const set = [{ kind: "workload", workload: { ...one, status } }] as const;
    await applied(store, { kind: "addresses", set, removed: [] });
  }
  const sorted = clock.slicesMs.sort((a, b) => a - b);
  return sorted[sorted.length >> 1]! * 1000;
}

print("update of one of 10 endpoints: median", await singleUpdate(workloadNumber(5_000)), "us");
const { state } = store;
const large = Array.from({ length: 5_000 }, (_, n): MeshResource => {
  const uid = `Kubernetes//Pod/large/large-${n}`;
  const services = backs("large/large.example");
  return { kind: "workload", workload: workload({ uid, name: `large-${n}`, services }) };
});
const largeService = service({ namespace: "large", hostname: "large.example" });
await applied(store, {
  kind: "addresses",
  set: [...large, { kind: "service", service: largeService }],
  removed: [],
});
const one = large[2_500]!;
if (one.kind === "workload") {
  print("update of one of 5,000 endpoints: median", await singleUpdate(one.workload), "us");
}

const asked = Array.from({ length: 1_000 }, (_, n) => workloadNumber(n * 7));
const vips = asked.map((_, n) => `10.96.${n >> 8}.${n & 255}`);
const at = <Item>(list: readonly Item[], n: number) => list[n % list.length]!;
const repeat = 200_000;
const lookups: [string, (n: number) => unknown][] = [
  ["workloadByUid", (n) => state.workloadByUid(at(asked, n).uid)],
  ["workloadByIp", (n) => state.workloadByIp("", at(asked, n).ips[0]!)],
  ["byIp of a VIP", (n) => state.byIp("", at(vips, n), "team-1")],
  ["serviceByIp", (n) => state.serviceByIp("", at(vips, n), "team-1")],
  ["serviceByHostname", (n) => state.serviceByHostname(serviceName(n % SERVICES), "team-1")],
  ["localWorkload", (n) => state.localWorkload(at(asked, n), null)],
  ["facts", (n) => state.facts(state.workloadByUid(at(asked, n).uid)!)],
  ["policiesOf", (n) => state.policiesOf(state.workloadByUid(at(asked, n).uid)!)],
];
for (const [name, call] of lookups) print(`lookup: ${name}`, nanoseconds(repeat, call), "ns");
await Deno.remove(path);
