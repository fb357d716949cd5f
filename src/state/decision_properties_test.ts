// Properties of decisions over meshes that change: what they depend on is told, nothing remembered is stale, a trace
// changes nothing.
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ProxyError } from "../base/errors.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { Dependencies, InboundAuthority } from "../seam/route.ts";
import { CompiledServices } from "./compiled_services.ts";
import { decideInbound, decidePlaintext } from "./inbound_decision.ts";
import { Lookups } from "./lookups.ts";
import type { MeshState } from "./mesh_state.ts";
import { MeshStore } from "./mesh_store.ts";
import type { MeshUpdate } from "./mesh_update.ts";
import { decideOutbound } from "./outbound_decision.ts";
import { addresses, policies, policy, service, workload } from "./resource_samples.ts";
import type { GatewayAddress, LoadBalancer, Service, Workload } from "./resources.ts";
import type { Recorder } from "./trace.ts";

const NETWORKS = ["", "n2"];
const IPS = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.1.0.1", "fd00::1"];
const NAMESPACES = ["a", "b"];
const HOSTNAMES = ["h.example", "w.example", "g.example"];
const UIDS = ["c//Pod/a/1", "c//Pod/a/2", "c//Pod/b/3", "gw", "local"];
const POLICIES = ["a/p", "b/p"];
const LOCAL = { namespace: "a", name: "local", serviceAccount: "sa" };
const SETTINGS = { network: "", hbonePort: 15008, internalPorts: new Set([15008]) };

const anyReference: fc.Arbitrary<GatewayAddress> = fc.oneof(
  fc.record({
    kind: fc.constant("address" as const),
    network: fc.constantFrom(...NETWORKS),
    ip: fc.constantFrom(...IPS),
    port: fc.constantFrom(80, 15008),
  }),
  fc.record({
    kind: fc.constant("hostname" as const),
    namespace: fc.constantFrom(...NAMESPACES),
    hostname: fc.constantFrom(...HOSTNAMES),
    port: fc.constantFrom(80, 15008),
  }),
);
const maybeReference = fc.option(anyReference, { nil: null, freq: 2 });
const anyPorts = fc.constantFrom(
  new Map<number, number>(),
  new Map([[80, 8080]]),
  new Map([[80, 0], [15008, 15008]]),
);

const anyWorkload: fc.Arbitrary<Workload> = fc.record({
  uid: fc.constantFrom(...UIDS),
  namespace: fc.constantFrom(...NAMESPACES),
  name: fc.constantFrom("x", "local"),
  ips: fc.subarray(IPS, { maxLength: 2 }),
  services: fc.dictionary(
    fc.constantFrom("a/h.example", "b/h.example", "a/w.example", "a/g.example"),
    anyPorts,
    { maxKeys: 3 },
  ).map((record) => new Map(Object.entries(record))),
  protocol: fc.constantFrom("TCP" as const, "HBONE" as const),
  networkMode: fc.constantFrom("Standard" as const, "Standard" as const, "HostNetwork" as const),
  network: fc.constantFrom("", "", "n2"),
  waypoint: maybeReference,
  networkGateway: maybeReference,
  hostname: fc.constantFrom("", "", ...HOSTNAMES),
  applicationTunnel: fc.constantFrom(null, null, { protocol: "PROXY" as const, port: 15088 }),
  authorizationPolicies: fc.subarray(POLICIES),
  status: fc.constantFrom("Healthy" as const, "Healthy" as const, "Unhealthy" as const),
  locality: fc.constantFrom("r1", "r2").map((region) => ({ region, zone: "", subzone: "" })),
  capacity: fc.nat(2),
}).map((some) =>
  workload(some.uid === "local" ? { ...some, ...LOCAL } : { ...some, serviceAccount: "sa" })
);

const anyLoadBalancer: fc.Arbitrary<LoadBalancer | null> = fc.option(
  fc.record({
    routingPreferences: fc.constantFrom<LoadBalancer["routingPreferences"][]>(
      [],
      ["Network", "Region"],
      ["Region"],
    ),
    mode: fc.constantFrom<LoadBalancer["mode"][]>("Standard", "Strict", "Failover", "Passthrough"),
    healthPolicy: fc.constantFrom<LoadBalancer["healthPolicy"][]>("OnlyHealthy", "AllowAll"),
  }),
  { nil: null },
);

const anyService: fc.Arbitrary<Service> = fc.record({
  namespace: fc.constantFrom(...NAMESPACES),
  hostname: fc.constantFrom(...HOSTNAMES),
  vips: fc.subarray(IPS, { maxLength: 2 }).chain((ips) =>
    fc.constantFrom(...NETWORKS).map((network) => ips.map((ip) => ({ network, ip })))
  ),
  cidrVips: fc.subarray([8, 16], { maxLength: 1 }).map((bits) =>
    bits.map((prefixBits) => ({ network: "", cidr: { ip: "10.0.0.0", prefixBits } }))
  ),
  ports: anyPorts,
  subjectAltNames: fc.subarray(["spiffe://td/ns/x/sa/y"]),
  waypoint: maybeReference,
  weightedWaypoints: fc.array(fc.record({ destination: anyReference, weight: fc.nat(2) }), {
    maxLength: 2,
  }),
  loadBalancer: anyLoadBalancer,
  ipFamilies: fc.constantFrom(null, "IPv4" as const, "IPv6" as const),
  canonical: fc.boolean(),
  visibility: fc.constantFrom("Public" as const, "Public" as const, "Namespace" as const),
}).map(service);

const anyPolicy = fc.record({
  namespace: fc.constantFrom(...NAMESPACES),
  scope: fc.constantFrom("Namespace" as const, "Global" as const, "WorkloadSelector" as const),
}).map(policy);

const SERVICE_KEYS = NAMESPACES.flatMap((namespace) =>
  HOSTNAMES.map((hostname) => `${namespace}/${hostname}`)
);

/** One resource at a time, so that a change is never told by its neighbour's keys. */
const anyUpdate: fc.Arbitrary<MeshUpdate> = fc.oneof(
  { weight: 4, arbitrary: anyWorkload.map((one) => addresses([one])) },
  { weight: 4, arbitrary: anyService.map((one) => addresses([one])) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(...UIDS, ...SERVICE_KEYS).map((key) => addresses([], [key])),
  },
  { weight: 1, arbitrary: anyPolicy.map((one) => policies([one])) },
  { weight: 1, arbitrary: fc.constantFrom(...POLICIES).map((key) => policies([], [key])) },
);

/** A mesh to begin with, then changes. */
const anyHistory = fc.record({
  first: fc.array(fc.oneof(anyWorkload, anyService), { minLength: 6, maxLength: 14 }),
  updates: fc.array(anyUpdate, { maxLength: 10 }),
});

interface Answer {
  readonly text: string;
  /** Null for a refusal, which nobody remembers. */
  readonly dependsOn: Dependencies | null;
}

const AUTHORITIES: readonly InboundAuthority[] = [
  { kind: "address", address: { ip: "10.0.0.2", port: 80 } },
  { kind: "address", address: { ip: "10.1.0.1", port: 80 } },
  { kind: "hostname", hostname: "h.example", port: 80 },
];

/** Every question of a small world, answered. The local workload is one that its name always finds. */
function answers(state: MeshState, memo: CompiledServices, trace: () => Recorder) {
  const all = new Map<string, Answer>();
  const local = state.localWorkload(LOCAL, null);
  const add = <Decision extends object>(
    question: string,
    decide: (look: Lookups, local: Workload) => Decision | ProxyError,
  ) => {
    if (local === null) return;
    const decision = decide(new Lookups(state, trace()), local);
    if (decision instanceof ProxyError) {
      all.set(question, { text: decision.message, dependsOn: null });
      return;
    }
    const { dependsOn, ...rest } = decision as Decision & { dependsOn: Dependencies };
    const text = JSON.stringify(rest, (_, value) => typeof value === "bigint" ? `${value}` : value);
    all.set(question, { text, dependsOn });
  };
  for (const ip of [...IPS, "10.77.0.1"]) {
    for (const sourceIp of ["10.0.0.1", "10.0.0.2"]) {
      add(
        `outbound ${ip} from ${sourceIp}`,
        (look, source) =>
          decideOutbound(look, SETTINGS, memo, { source, sourceIp, dialled: { ip, port: 80 } }),
      );
    }
    add(`plaintext from ${ip}`, (look, local) =>
      decidePlaintext(look, SETTINGS, local, {
        local: LOCAL,
        peerIp: ip,
        destination: { ip: "10.0.0.1", port: 8080 },
      }));
  }
  for (const authority of AUTHORITIES) {
    add(
      `inbound ${JSON.stringify(authority)}`,
      (look, local) =>
        decideInbound(look, SETTINGS, local, {
          local: LOCAL,
          localIp: "10.0.0.1",
          peerIp: "10.0.0.3",
          authority,
          forwardedHost: "w.example",
          fromGateway: false,
        }),
    );
  }
  return all;
}

interface Moment {
  readonly state: MeshState;
  readonly touched: readonly string[] | null;
}

function play({ first, updates }: {
  readonly first: readonly (Workload | Service)[];
  readonly updates: readonly MeshUpdate[];
}): Moment[] {
  const clock = new VirtualClock();
  let touched: readonly string[] | null = [];
  const store = new MeshStore({ clock, onChange: (change) => touched = change.touched });
  const moments: Moment[] = [];
  const local = workload({ ...LOCAL, uid: "local", ips: ["10.0.0.1"] });
  for (const update of [addresses([local, ...first]), ...updates]) {
    touched = [];
    store.apply(update, () => {});
    while (store.queued > 0) clock.advance(1);
    moments.push({ state: store.state, touched });
  }
  store.close();
  return moments;
}

const noTrace = () => null;

Deno.test("an answer that a change alters depends on a key that the change touches", () => {
  let altered = 0;
  fc.assert(
    fc.property(anyHistory, (history) => {
      const moments = play(history);
      let before = answers(moments[0]!.state, new CompiledServices(), noTrace);
      for (const { state, touched } of moments.slice(1)) {
        const after = answers(state, new CompiledServices(), noTrace);
        for (const [question, { text, dependsOn }] of before) {
          if (dependsOn === null || touched === null || after.get(question)?.text === text) {
            continue;
          }
          altered++;
          assert(
            dependsOn.some((key) => touched.includes(key)),
            `${question} depends on ${dependsOn.join(", ")}; touched: ${touched.join(", ")}`,
          );
        }
        before = after;
      }
    }),
    { numRuns: 400 },
  );
  assert(altered > 100, `Only ${altered} answers were altered`);
});

Deno.test("answers from remembered services are those from nothing, whatever changed meanwhile", () => {
  fc.assert(
    fc.property(anyHistory, (history) => {
      const memo = new CompiledServices();
      for (const { state } of play(history)) {
        const remembered = answers(state, memo, noTrace);
        assertEquals(remembered, answers(state, new CompiledServices(), noTrace));
        assertEquals(answers(state, memo, noTrace), remembered);
      }
    }),
    { numRuns: 150 },
  );
});

Deno.test("a trace changes no answer, and can be written as JSON", () => {
  fc.assert(
    fc.property(anyHistory, (history) => {
      const memo = new CompiledServices();
      const { state } = play(history).at(-1)!;
      const plain = answers(state, memo, noTrace);
      const traces: NonNullable<Recorder>[] = [];
      const traced = answers(state, memo, () => {
        const trace: NonNullable<Recorder> = [];
        traces.push(trace);
        return trace;
      });
      assertEquals(traced, plain);
      for (const trace of traces) {
        assert(trace.length > 0);
        assertEquals(JSON.parse(JSON.stringify(trace)), trace);
      }
    }),
    { numRuns: 100 },
  );
});
