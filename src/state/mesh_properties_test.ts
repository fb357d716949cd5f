// Properties of the mesh under any sequence of updates: the same answers as when built from nothing, old snapshots that
// stay as they were, and no answer that changes without one of its dependencies being touched.
//
// "Built from nothing" means the workloads, services and policies that are there at the end, each list in the order in
// which they were last sent; sending something again as it was counts.
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { VirtualClock } from "../base/virtual_clock.ts";
import { policyKey } from "../rbac/judge.ts";
import type { Policy } from "../rbac/policy.ts";
import {
  addressDependency,
  cidrDependency,
  hostnameDependency,
  localDependency,
  policyDependency,
  policyNamespaceDependency,
  serviceDependency,
  workloadDependency,
} from "../seam/dependency.ts";
import type { LocalWorkloadName } from "../seam/workload.ts";
import { Lookups } from "./lookups.ts";
import { MeshState } from "./mesh_state.ts";
import { MeshStore } from "./mesh_store.ts";
import type { MeshUpdate } from "./mesh_update.ts";
import type { Endpoint, Found, KnownService } from "./mesh_view.ts";
import { addresses, policies, policy, ports, service, workload } from "./resource_samples.ts";
import { type MeshResources, type Service, serviceKey, type Workload } from "./resources.ts";

// Name spaces so small that everything collides.

const NAMESPACES = ["a", "b"];
const CLIENTS = [...NAMESPACES, "c", null];
/** One is also the key of a service, one is none. */
const UIDS = ["c//Pod/a/1", "c//Pod/b/2", "x", "a/h", ""];
const NETWORKS = ["", "n"];
const IPS = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "fd00::1"];
const NAMES = ["v", "w"];
const NODES = ["n1", "n2"];
const HOSTNAMES = ["h", "H", "i.example"];
const CIDRS = [
  { ip: "10.0.0.0", prefixBits: 24 },
  { ip: "10.0.0.9", prefixBits: 24 },
  { ip: "10.0.0.0", prefixBits: 31 },
  { ip: "0.0.0.0", prefixBits: 0 },
  { ip: "fd00::", prefixBits: 64 },
];
const SERVICE_KEYS = NAMESPACES.flatMap((namespace) =>
  HOSTNAMES.map((hostname) => `${namespace}/${hostname}`)
);
const POLICY_NAMES = ["p", "q", "r"];
const POLICY_KEYS = NAMESPACES.flatMap((namespace) =>
  POLICY_NAMES.map((name) => `${namespace}/${name}`)
);

const oneOf = <Item>(items: readonly Item[]) => fc.constantFrom(...items);
const someOf = <Item>(items: readonly Item[], maxLength = 2) =>
  fc.array(oneOf(items), { maxLength });
const portMap = oneOf([ports(80, 8080), ports(80, 9090)]);

const anyWorkload: fc.Arbitrary<Workload> = fc.record({
  uid: oneOf(UIDS),
  name: oneOf(NAMES),
  namespace: oneOf(NAMESPACES),
  network: oneOf(NETWORKS),
  ips: someOf(IPS),
  services: fc.array(fc.tuple(oneOf(SERVICE_KEYS), portMap), { maxLength: 3 }).map((list) =>
    new Map(list)
  ),
  hostname: oneOf(["", ...HOSTNAMES]),
  node: oneOf(NODES),
  protocol: oneOf(["TCP", "HBONE"] as const),
  networkMode: oneOf(["Standard", "Standard", "HostNetwork"] as const),
  status: oneOf(["Healthy", "Unhealthy"] as const),
  authorizationPolicies: someOf(POLICY_KEYS),
}).map((some) => workload(some));

const anyService: fc.Arbitrary<Service> = fc.record({
  name: oneOf(NAMES),
  namespace: oneOf(NAMESPACES),
  hostname: oneOf(HOSTNAMES),
  vips: fc.array(fc.record({ network: oneOf(NETWORKS), ip: oneOf(IPS) }), { maxLength: 2 }),
  cidrVips: fc.array(fc.record({ network: oneOf(NETWORKS), cidr: oneOf(CIDRS) }), { maxLength: 2 }),
  endpoints: fc.array(
    fc.record({
      workloadUid: oneOf(UIDS),
      ports: portMap,
      status: oneOf(["Healthy", "Unhealthy"] as const),
    }),
    { maxLength: 2 },
  ),
  canonical: fc.boolean(),
  visibility: oneOf(["Public", "Namespace"] as const),
}).map((some) => service(some));

const anyPolicy: fc.Arbitrary<Policy> = fc.record({
  name: oneOf(POLICY_NAMES),
  namespace: oneOf(NAMESPACES),
  scope: oneOf(["Global", "Namespace", "WorkloadSelector"] as const),
  action: oneOf(["Allow", "Deny"] as const),
}).map((some) => policy(some));

type Step =
  | { readonly kind: "update"; readonly update: MeshUpdate }
  | { readonly kind: "replace"; readonly resources: MeshResources };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(
      fc.array(fc.oneof(anyWorkload, anyService), { maxLength: 4 }),
      someOf([...UIDS, ...SERVICE_KEYS, "junk", "c//Pod/gone"], 3),
    ).map(([set, removed]) => ({ kind: "update" as const, update: addresses(set, removed) })),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.array(anyPolicy, { maxLength: 3 }), someOf(POLICY_KEYS)).map(
      ([set, removed]) => ({ kind: "update" as const, update: policies(set, removed) }),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      workloads: fc.array(anyWorkload, { maxLength: 5 }),
      services: fc.array(anyService, { maxLength: 4 }),
      policies: fc.array(anyPolicy, { maxLength: 3 }),
    }).map((resources) => ({ kind: "replace" as const, resources })),
  },
);

/** Some steps, and now and then one of them again. */
const anySteps = fc.array(anyStep, { minLength: 1, maxLength: 8 }).chain((steps) =>
  fc.array(fc.nat(steps.length - 1), { maxLength: 2 }).map((
    again,
  ) => [...steps, ...again.map((at) => structuredClone(steps[at]!))])
);

/** What is there, by the rules and nothing else. */
class Model {
  readonly #workloads = new Map<string, Workload>();
  readonly #services = new Map<string, Service>();
  readonly #policies = new Map<string, Policy>();
  #nameless = 0;

  take(step: Step): void {
    if (step.kind === "replace") {
      this.#workloads.clear();
      this.#services.clear();
      this.#policies.clear();
      for (const workload of step.resources.workloads) {
        // A file may have several without uid.
        const key = workload.uid === "" ? `nameless ${this.#nameless++}` : workload.uid;
        putLast(this.#workloads, key, workload);
      }
      for (const one of step.resources.services) putLast(this.#services, serviceKey(one), one);
      for (const one of step.resources.policies) putLast(this.#policies, policyKey(one), one);
      return;
    }
    const { update } = step;
    if (update.kind === "policies") {
      for (const { name, policy } of update.set) putLast(this.#policies, name, policy);
      for (const name of update.removed) this.#policies.delete(name);
      return;
    }
    for (const one of update.set) {
      if (one.kind === "workload") putLast(this.#workloads, one.workload.uid, one.workload);
      else putLast(this.#services, serviceKey(one.service), one.service);
    }
    for (const name of update.removed) {
      if (!this.#workloads.delete(name)) this.#services.delete(name);
    }
  }

  resources(): MeshResources {
    return {
      workloads: [...this.#workloads.values()],
      services: [...this.#services.values()],
      policies: [...this.#policies.values()],
    };
  }
}

function putLast<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key);
  map.set(key, value);
}

/** Runs the steps; for each: the snapshot after it, what was touched, and what is there. */
function play(steps: readonly Step[]) {
  const clock = new VirtualClock();
  let touched: readonly string[] | null = [];
  const store = new MeshStore({ clock, onChange: (change) => touched = change.touched });
  const model = new Model();
  const played = [{ state: store.state, touched, resources: model.resources() }];
  for (const step of steps) {
    touched = [];
    if (step.kind === "update") store.apply(step.update, () => {});
    else store.replaceAll(step.resources, () => {});
    clock.runUntilIdle();
    model.take(step);
    played.push({ state: store.state, touched, resources: model.resources() });
  }
  return played;
}

// Answers as text, by what was asked, with what they depend on.

interface Answer {
  readonly text: string;
  readonly dependsOn: readonly string[];
}

function text(value: unknown): string {
  return JSON.stringify(value, (_, inner) => inner instanceof Map ? [...inner] : inner) ?? "";
}

/** In the order of uids: endpoints have no order that means anything. */
function endpointsText(endpoints: Iterable<Endpoint>): string[] {
  return [...endpoints].map(({ workload, ports, healthy }) => text({ workload, ports, healthy }))
    .sort();
}

function knownText(known: KnownService | null): string {
  return known === null
    ? "none"
    : text({ service: known.service, endpoints: endpointsText(known.endpoints.values()) });
}

function foundText(found: Found | null): string {
  return found?.kind === "workload" ? text(found.workload) : knownText(found?.known ?? null);
}

function keyOf({ service }: KnownService): string {
  return serviceDependency(service.namespace, service.hostname);
}

function keysOf(known: KnownService | null): string[] {
  return known === null ? [] : [keyOf(known)];
}

const LOCALS: LocalWorkloadName[] = NAMESPACES.flatMap((namespace) =>
  NAMES.map((name) => ({ namespace, name, serviceAccount: "default" }))
);

/** Everything that can be asked by name, in these name spaces. */
function answers(state: MeshState): Map<string, Answer> {
  const all = new Map<string, Answer>();
  const add = (question: unknown[], answer: string, dependsOn: readonly string[]) =>
    void all.set(question.join(" "), { text: answer, dependsOn });
  for (const uid of UIDS) {
    const found = state.workloadByUid(uid);
    const mine = workloadDependency(uid);
    add(["workloadByUid", uid], text(found), [mine]);
    if (found === null) continue;
    const services = state.servicesOf(found);
    const listed = [...found.services.keys()].map((key) => {
      const [namespace, hostname] = key.split("/") as [string, string];
      return serviceDependency(namespace, hostname);
    });
    add(["servicesOf", uid], text(services.map(knownText)), [mine, ...listed]);
    const { policies, unknown } = state.policiesOf(found);
    const policyKeys = [
      policyNamespaceDependency(found.namespace),
      policyNamespaceDependency(""),
      ...found.authorizationPolicies.map(policyDependency),
    ];
    add(["policiesOf", uid], text({ policies, unknown }), [mine, ...policyKeys]);
    add(["facts", uid], text(state.facts(found)), [mine]);
    for (const known of state.services) {
      const question = ["endpoints.get", serviceKey(known.service), uid];
      add(question, text(known.endpoints.get(found)?.ports ?? null), [mine, keyOf(known)]);
    }
  }
  for (const local of LOCALS) {
    for (const node of [null, ...NODES]) {
      const key = localDependency(local);
      add(["local", local.namespace, local.name, node], text(state.localWorkload(local, node)), [
        key,
      ]);
    }
  }
  for (const network of NETWORKS) {
    for (const ip of [...IPS, "10.0.0.77", "fd00::77"]) {
      const mine = addressDependency(network, ip);
      add(["workloadByIp", network, ip], text(state.workloadByIp(network, ip)), [mine]);
      for (const client of CLIENTS) {
        const known = state.serviceByIp(network, ip, client);
        const keys = [mine, cidrDependency(network), ...keysOf(known)];
        add(["serviceByIp", network, ip, client], knownText(known), keys);
        const found = state.byIp(network, ip, client);
        add(["byIp", network, ip, client], foundText(found), keys);
      }
    }
  }
  for (const hostname of HOSTNAMES) {
    for (const client of CLIENTS) {
      const exact = state.serviceByHostname(hostname, client);
      const key = hostnameDependency(hostname);
      add(["serviceByHostname", hostname, client], knownText(exact), [key, ...keysOf(exact)]);
      const name = hostname.toLowerCase();
      const several = state.servicesByName(name, client);
      const severalKeys = [hostnameDependency(name), ...several.map(keyOf)];
      add(["servicesByName", name, client], text(several.map(knownText)), severalKeys);
    }
    for (const namespace of NAMESPACES) {
      const found = state.byNamespacedHostname(namespace, hostname);
      const key = serviceDependency(namespace, hostname);
      add(["byNamespacedHostname", namespace, hostname], foundText(found), [key]);
    }
  }
  for (const namespace of NAMESPACES) {
    const { policies, unknown } = state.select({ namespace, listed: POLICY_KEYS });
    add(["select", namespace], text({ policies, unknown }), [
      policyNamespaceDependency(namespace),
      policyNamespaceDependency(""),
      ...POLICY_KEYS.map(policyDependency),
    ]);
  }
  return all;
}

/** The lists of dumps, and all answers. */
function everything(state: MeshState): Record<string, unknown> {
  const named = [...answers(state)].map(([question, answer]) => [question, answer.text]);
  return {
    ...Object.fromEntries(named),
    workloads: state.workloads.map(text),
    services: state.services.map(knownText),
    policies: state.policies.map(text),
    staged: [...state.stagedServices].map(([key, endpoints]) => [key, endpointsText(endpoints)]),
  };
}

Deno.test("MeshState after any updates answers as one built from nothing, also when asked after later updates", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      for (const { state, resources } of play(steps)) {
        assertEquals(everything(state), everything(new MeshState(resources)));
      }
    }),
    { numRuns: 150 },
  );
});

Deno.test("MeshStore touches a dependency of every answer that an update changes", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      const played = play(steps);
      let before = answers(played[0]!.state);
      for (const { state, touched } of played.slice(1)) {
        const after = answers(state);
        for (const [question, { text, dependsOn }] of before) {
          if (touched === null || after.get(question)?.text === text) continue;
          const isTold = dependsOn.some((key) => touched.includes(key));
          assert(isTold, `${question} depends on ${dependsOn}, touched were ${touched}`);
        }
        before = after;
      }
    }),
    { numRuns: 150 },
  );
});

/** What decisions ask, through what notes their dependencies. */
const LOOKUPS: readonly ((lookups: Lookups) => string)[] = NETWORKS.flatMap((network) =>
  IPS.flatMap((ip) => [
    ...CLIENTS.flatMap((client) => [
      (lookups: Lookups) => foundText(lookups.byIp("destination", network, ip, client)),
      (lookups: Lookups) => foundText(lookups.upstreamByIp(network, ip, client)),
    ]),
    (lookups: Lookups) => text(lookups.workloadByIp("destination", network, ip)),
  ])
).concat(HOSTNAMES.flatMap((hostname) =>
  NAMESPACES.flatMap((namespace) => [
    (lookups: Lookups) =>
      foundText(lookups.byNamespacedHostname("destination", namespace, hostname)),
    (lookups: Lookups) => knownText(lookups.serviceByHostname(hostname, namespace)),
  ])
)).concat(LOCALS.map((local) => (lookups: Lookups) => {
  const found = lookups.state.localWorkload(local, null);
  if (found === null) return "none";
  lookups.local(found);
  const { policies, unknown } = lookups.policiesOf(found);
  return text([found, lookups.servicesOf(found).map(knownText), policies, unknown]);
}));

Deno.test("Lookups note a dependency for every answer that an update changes", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      const ask = (state: MeshState) =>
        LOOKUPS.map((ask) => {
          const lookups = new Lookups(state);
          return { answer: ask(lookups), dependsOn: lookups.dependsOn };
        });
      const played = play(steps);
      let before = ask(played[0]!.state);
      for (const { state, touched } of played.slice(1)) {
        const after = ask(state);
        for (const [at, { answer, dependsOn }] of before.entries()) {
          // Nobody keeps an answer without a local workload.
          if (touched === null || answer === after[at]!.answer || dependsOn.length === 0) continue;
          const isTold = dependsOn.some((key) => touched.includes(key));
          assert(isTold, `lookup ${at} depends on ${dependsOn}, touched were ${touched}`);
        }
        before = after;
      }
    }),
    { numRuns: 150 },
  );
});

Deno.test("MeshState keeps facts and policy lists as objects while they say the same", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      const clock = new VirtualClock();
      const store = new MeshStore({ clock, onChange: () => {} });
      const held = () =>
        UIDS.flatMap((uid) => {
          const found = store.state.workloadByUid(uid);
          if (found === null) return [];
          return [{ uid, facts: store.state.facts(found), applied: store.state.policiesOf(found) }];
        });
      let before = held();
      for (const step of steps) {
        if (step.kind === "update") store.apply(step.update, () => {});
        else store.replaceAll(step.resources, () => {});
        clock.runUntilIdle();
        const after = held();
        for (const { uid, facts, applied } of before) {
          const now = after.find((one) => one.uid === uid);
          // Gone and come back inside one response is another one: only what stayed is compared.
          if (now === undefined) continue;
          if (text(now.facts) === text(facts)) assertStrictEquals(now.facts, facts);
          if (text(now.applied) === text(applied)) assertStrictEquals(now.applied, applied);
        }
        before = after;
      }
    }),
    { numRuns: 150 },
  );
});
