// Questions and answers across the border: what is asked comes back as it was said, and is remembered as long as it holds.
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import type { Cancel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import { SeededRandom } from "../base/random.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { DEPENDENCIES_MAX } from "../hbone/recent_touches.ts";
import type { Policy } from "../rbac/policy.ts";
import type { Candidate, InboundRoute, Route } from "../seam/route.ts";
import {
  type HostQuestion,
  type InboundQuestion,
  type OutboundQuestion,
  type PlaintextQuestion,
  RouteError,
  type Router,
  type StateChange,
} from "../seam/router.ts";
import type { WorkloadFacts } from "../seam/workload.ts";
import { spiffeId } from "../tls/spiffe_id.ts";
import {
  AnswerDecoder,
  AnswerEncoder,
  CANDIDATES_MAX,
  POLICY_LISTS_MAX,
  ROUTE_FACTS_MAX,
  type WireAnswer,
} from "./answer_codec.ts";
import { MessageError } from "./errors.ts";
import { QuestionDesk } from "./question_desk.ts";
import { Questions, QUESTIONS_MAX, RemoteRouter } from "./remote_router.ts";
import {
  CACHED_CANDIDATES_MAX,
  CACHED_LINKS_MAX,
  KEY_CHARS_MAX,
  RouteCache,
  ROUTES_MAX,
} from "./route_cache.ts";

const LOCAL = { namespace: "default", name: "client", serviceAccount: "client" };
const ADDRESS = { ip: "10.0.0.1", port: 80 };

function workload(name: string): WorkloadFacts {
  return {
    uid: name,
    name,
    namespace: "default",
    trustDomain: "cluster.local",
    serviceAccount: name,
    identity: spiffeId({
      trustDomain: "cluster.local",
      namespace: "default",
      serviceAccount: name,
    }),
    workloadType: "pod",
    workloadName: name,
    canonicalName: name,
    canonicalRevision: "",
    clusterId: "c",
    region: "",
    zone: "",
  };
}

function candidate(weight: number, destination: WorkloadFacts | null = null): Candidate {
  return { weight, hop: { protocol: "TCP", peer: ADDRESS }, destination };
}

const SOURCE = workload("client");
const SERVICE = { hostname: "a.b", name: "a", namespace: "b" };

function route(over: Partial<Route> = {}): Route {
  return {
    generation: 1,
    source: SOURCE,
    candidates: [candidate(1)],
    service: SERVICE,
    dependsOn: [],
    ...over,
  };
}

function policy(name: string): Policy {
  const match = {
    namespaces: [{ kind: "prefix", text: "a" }],
    notNamespaces: [],
    principals: [{ kind: "presence" }],
    notPrincipals: [],
    serviceAccounts: [],
    notServiceAccounts: [],
    sourceIps: [{ ip: "10.0.0.0", prefixBits: 8 }],
    notSourceIps: [],
    destinationIps: [],
    notDestinationIps: [],
    destinationPorts: [80],
    notDestinationPorts: [],
  } as const;
  return {
    name,
    namespace: "default",
    scope: "Global",
    action: "Deny",
    dryRun: false,
    rules: [[[match]]],
  };
}

function inboundRoute(over: Partial<InboundRoute> = {}): InboundRoute {
  return {
    generation: 1,
    dependsOn: [],
    dialFrom: null,
    proxyTarget: null,
    policyTarget: ADDRESS,
    dial: { ip: "::1", port: 8080 },
    destination: workload("server"),
    source: SOURCE,
    service: null,
    policies: [policy("p")],
    selection: { namespace: "default", listed: ["default/p"] },
    ...over,
  };
}

/** Both halves, with the copy between them. */
class Codec {
  readonly encoder = new AnswerEncoder(new SeededRandom(1));
  readonly decoder = new AnswerDecoder();

  outbound(sent: Route): Route {
    return this.decoder.outbound(structuredClone(this.encoder.outbound(sent)) as never);
  }

  inbound(sent: InboundRoute): InboundRoute {
    return this.decoder.inbound(structuredClone(this.encoder.inbound(sent)) as never);
  }
}

Deno.test("routes of every kind arrive as they were compiled", () => {
  const codec = new Codec();
  const hops: Candidate["hop"][] = [
    { protocol: "TCP", peer: ADDRESS },
    { protocol: "HBONE", peer: ADDRESS, authority: "a:1", expected: [SOURCE.identity] },
    {
      protocol: "DOUBLEHBONE",
      peer: ADDRESS,
      authority: "a:1",
      expected: [SOURCE.identity],
      innerExpected: [workload("x").identity],
    },
    {
      protocol: "NAMED",
      hostname: "a.example.com",
      workloadUid: "uid",
      family: 6,
      hop: { protocol: "HBONE", peer: ADDRESS, authority: "", expected: [SOURCE.identity] },
      authorityPort: 8080,
    },
    { protocol: "REFUSED", code: "NO_VALID_DESTINATION", message: "no valid destination" },
  ];
  const sent = route({
    candidates: hops.map((hop, index) => ({
      weight: index + 0.5,
      hop,
      destination: workload("d"),
    })),
    dependsOn: ["s b/a.b", "l default/client/client"],
  });
  assertEquals(codec.outbound(sent), sent);
  assertEquals(codec.outbound(route({ service: null })), route({ service: null }));
  assertEquals(codec.inbound(inboundRoute()), inboundRoute());
  const bare = inboundRoute({ source: null, policies: [] });
  assertEquals(codec.inbound(bare), bare);
  const tunnelled = inboundRoute({
    dial: { ip: "127.0.0.1", port: 15088 },
    dialFrom: "127.0.0.1",
    proxyTarget: { ip: "10.0.0.2", port: 8080 },
    dependsOn: ["p default/p"],
  });
  assertEquals(codec.inbound(tunnelled), tunnelled);
});

Deno.test("facts and policies cross once, and routes share them then", () => {
  const codec = new Codec();
  const sent = inboundRoute();
  const [first, second] = [codec.inbound(sent), codec.inbound({ ...sent, generation: 2 })];
  assertStrictEquals(first.policies, second.policies);
  assertStrictEquals(first.destination, second.destination);
  assertStrictEquals(codec.outbound(route()).source, first.source);
  const wire = JSON.stringify(codec.encoder.inbound(sent));
  assert(!wire.includes("cluster.local") && wire.length < 500, wire);
});

Deno.test("ROUTE_FACTS_MAX facts and POLICY_LISTS_MAX lists are known; more arrive all the same (seeded)", () => {
  const codec = new Codec();
  const random = new SeededRandom(5);
  const facts = Array.from({ length: ROUTE_FACTS_MAX + 1 }, (_, index) => workload(`w${index}`));
  const lists = Array.from({ length: POLICY_LISTS_MAX + 1 }, (_, index) => [policy(`p${index}`)]);
  const pick = <Value>(from: readonly Value[]) => from[random.uint32() % from.length]!;
  for (let round = 0; round < 3000; round++) {
    const candidates = Array.from(
      { length: 1 + random.uint32() % 4 },
      () => candidate(1, pick(facts)),
    );
    const sent = route({ source: pick(facts), candidates });
    const got = codec.outbound(sent);
    assertEquals(
      [got.source.uid, ...got.candidates.map(({ destination }) => destination!.uid)],
      [sent.source.uid, ...candidates.map(({ destination }) => destination!.uid)],
    );
    const policies = pick(lists);
    assertEquals(codec.inbound(inboundRoute({ policies })).policies[0]!.name, policies[0]!.name);
  }
});

Deno.test("CANDIDATES_MAX cross; of more a sample by weight", () => {
  const codec = new Codec();
  const many = (count: number) =>
    Array.from(
      { length: count },
      (_, index) => candidate(index < 10 ? 1000 : 1, workload(`${index}`)),
    );
  for (const count of [CANDIDATES_MAX - 1, CANDIDATES_MAX]) {
    const sent = route({ candidates: many(count) });
    assertEquals(codec.outbound(sent).candidates.length, count);
  }
  const { candidates } = codec.outbound(route({ candidates: many(10_000) }));
  assertEquals(candidates.length, CANDIDATES_MAX);
  assert(candidates.every(({ weight }) => weight === 1));
  // Ten of 10,000 have half of all the weight.
  const heavyOnes = (sample: readonly Candidate[]) => {
    const heavy = sample.filter(({ destination }) => Number(destination!.uid) < 10).length;
    assert(heavy > CANDIDATES_MAX * 0.4 && heavy < CANDIDATES_MAX * 0.6, `${heavy}`);
  };
  heavyOnes(candidates);
  const fractions = many(10_000).map((each) => ({ ...each, weight: each.weight / 3_000 }));
  heavyOnes(codec.outbound(route({ candidates: fractions })).candidates);
});

/** Answers what it is told to, when it is told to. */
class TestRouter implements Router {
  readonly asked: unknown[] = [];
  readonly waiting: ((outcome: never) => void)[] = [];
  readonly listeners = new Set<(change: StateChange) => void>();
  cancelled = 0;

  localWorkload(local: unknown, done: Done<WorkloadFacts>): Cancel {
    return this.#ask(local, done);
  }
  outbound(question: OutboundQuestion, done: Done<Route>): Cancel {
    return this.#ask(question, done);
  }
  inbound(question: InboundQuestion, done: Done<InboundRoute>): Cancel {
    return this.#ask(question, done);
  }
  inboundPlaintext(question: PlaintextQuestion, done: Done<InboundRoute>): Cancel {
    return this.#ask(question, done);
  }
  policies(selection: unknown, done: Done<readonly Policy[]>): Cancel {
    return this.#ask(selection, done);
  }
  resolve(_local: unknown, name: string, _family: 4 | 6, done: Done<string>): Cancel {
    return this.#ask(name, done);
  }
  resolveHost(question: HostQuestion, done: Done<string>): Cancel {
    return this.#ask(question, done);
  }
  onChange(listener: (change: StateChange) => void): Cancel {
    this.listeners.add(listener);
    return { cancel: () => void this.listeners.delete(listener) };
  }

  /** Answers all that wait. */
  answer(outcome: unknown): void {
    for (const done of this.waiting.splice(0)) done(outcome as never);
  }

  change(generation: number, touched: readonly string[] | null = null): void {
    for (const hear of this.listeners) hear({ generation, policies: false, touched });
  }

  #ask<Value>(about: unknown, done: Done<Value>): Cancel {
    this.asked.push(about);
    this.waiting.push(done as never);
    return { cancel: () => void this.cancelled++ };
  }
}

/** A RemoteRouter whose questions come to a TestRouter through copies. */
class Border {
  readonly clock = new VirtualClock();
  readonly router = new TestRouter();
  readonly heard: unknown[] = [];
  readonly hear = (outcome: unknown) => void this.heard.push(outcome);
  readonly desk = new QuestionDesk({
    random: new SeededRandom(1),
    post: (message) => {
      const copy = structuredClone(message);
      if (copy.kind === "answer") this.questions.answer(copy.question, copy.answer);
      if (copy.kind === "refusal") this.questions.refuse(copy.question, copy.error);
    },
  });
  readonly questions: Questions = new Questions({
    clock: this.clock,
    post: (message) => {
      const copy = structuredClone(message);
      if (copy.kind === "ask") this.desk.ask(this.router, copy.question, copy.about);
      if (copy.kind === "cancel") this.desk.cancel(copy.question);
    },
  });
  readonly remote = new RemoteRouter(1, this.questions);
}

const INBOUND: InboundQuestion = {
  local: LOCAL,
  localIp: "10.0.0.2",
  peerIp: "10.0.0.1",
  authority: { kind: "address", address: ADDRESS },
  forwardedHost: null,
  fromGateway: false,
};
const OUTBOUND: OutboundQuestion = { local: LOCAL, source: ADDRESS, destination: ADDRESS };
const PLAIN: PlaintextQuestion = { local: LOCAL, peerIp: "10.0.0.1", destination: ADDRESS };
const HOST: HostQuestion = { local: LOCAL, hostname: "a.b", workloadUid: "uid", family: 4 };
const SELECTION = { namespace: "default", listed: ["a/b"] };

Deno.test.each([
  {
    name: "localWorkload",
    ask: (router: Router, done: Done<unknown>) => router.localWorkload(LOCAL, done),
    about: LOCAL,
    answer: SOURCE,
  },
  {
    name: "outbound",
    ask: (router: Router, done: Done<unknown>) => router.outbound(OUTBOUND, done),
    about: OUTBOUND,
    answer: route(),
  },
  {
    name: "inbound",
    ask: (router: Router, done: Done<unknown>) => router.inbound(INBOUND, done),
    about: INBOUND,
    answer: inboundRoute(),
  },
  {
    name: "inboundPlaintext",
    ask: (router: Router, done: Done<unknown>) => router.inboundPlaintext(PLAIN, done),
    about: PLAIN,
    answer: inboundRoute(),
  },
  {
    name: "policies",
    ask: (router: Router, done: Done<unknown>) => router.policies(SELECTION, done),
    about: SELECTION,
    answer: [policy("a")],
  },
  {
    name: "resolve",
    ask: (router: Router, done: Done<unknown>) => router.resolve(LOCAL, "a.b", 6, done),
    about: "a.b",
    answer: "10.0.0.9",
  },
  {
    name: "resolveHost",
    ask: (router: Router, done: Done<unknown>) => router.resolveHost(HOST, done),
    about: HOST,
    answer: "10.0.0.9",
  },
])("RemoteRouter.$name() asks, and gives answer or refusal", ({ ask, about, answer }) => {
  const border = new Border();
  ask(border.remote, border.hear);
  assertEquals([border.router.asked, border.heard], [[about], []]);
  border.router.answer(answer);
  assertEquals(border.heard, [answer]);
  ask(border.remote, border.hear);
  border.router.answer(new RouteError("NO_HEALTHY_UPSTREAM", "no healthy upstream: x"));
  const refusal = border.heard[1];
  if (!(refusal instanceof RouteError)) throw new Error("a refusal stays a RouteError");
  assertEquals([refusal.code, refusal.message], ["NO_HEALTHY_UPSTREAM", "no healthy upstream: x"]);
  ask(border.remote, border.hear).cancel();
  border.router.answer(answer);
  assertEquals([border.heard.length, border.router.cancelled], [2, 1]);
  assertEquals([border.questions.waiting, border.desk.waiting], [0, 0]);
});

Deno.test("an answer that nobody waits for defines its facts all the same", () => {
  const codec = { encoder: new AnswerEncoder(new SeededRandom(1)) };
  const posted: number[] = [];
  const questions = new Questions({
    clock: new VirtualClock(),
    post: (message) => void (message.kind === "ask" && posted.push(message.question)),
  });
  const remote = new RemoteRouter(1, questions);
  const heard: unknown[] = [];
  remote.outbound(OUTBOUND, (outcome) => heard.push(outcome)).cancel();
  remote.outbound(OUTBOUND, (outcome) => heard.push(outcome));
  const answers: WireAnswer[] = [codec.encoder.outbound(route()), codec.encoder.outbound(route())];
  answers.forEach((answer, index) => questions.answer(posted[index]!, structuredClone(answer)));
  assertEquals(heard, [route()]);
});

Deno.test("QUESTIONS_MAX may wait; one more is refused here, and would be there", () => {
  const border = new Border();
  const asked = Array.from(
    { length: QUESTIONS_MAX },
    () => border.remote.outbound(OUTBOUND, () => {}),
  );
  border.remote.outbound(OUTBOUND, border.hear);
  border.remote.outbound(OUTBOUND, border.hear).cancel();
  assertEquals(border.heard, []);
  border.clock.runUntilIdle();
  const [refusal] = border.heard;
  assertEquals([border.heard.length, (refusal as RouteError).code], [1, "WAITS_FULL"]);
  const about = { kind: "outbound", question: OUTBOUND } as const;
  assertThrows(() => border.desk.ask(border.router, 1, about), MessageError);
  assertThrows(() => border.desk.ask(border.router, QUESTIONS_MAX + 9, about), MessageError);
  asked[0]!.cancel();
  border.remote.outbound(OUTBOUND, border.hear);
  assertEquals(border.questions.waiting, QUESTIONS_MAX);
  border.desk.close();
  assertEquals([border.desk.waiting, border.router.cancelled], [0, QUESTIONS_MAX + 1]);
});

/** A cache over a router in the same isolate. */
function cached(routesMax?: number) {
  const clock = new VirtualClock();
  const router = new TestRouter();
  const cache = new RouteCache(router, { clock, ...routesMax === undefined ? {} : { routesMax } });
  const asks = (ask: (done: Done<unknown>) => Cancel, answer: unknown): number => {
    const before = router.asked.length;
    ask(() => {});
    router.answer(answer);
    clock.runUntilIdle();
    return router.asked.length - before;
  };
  return { clock, router, cache, asks };
}

Deno.test("RouteCache remembers by all that an answer depends on", () => {
  const { cache, asks } = cached();
  const outbound = (over: Partial<OutboundQuestion>) =>
    asks((done) => cache.outbound({ ...OUTBOUND, ...over }, done), route());
  const inbound = (over: Partial<InboundQuestion>) =>
    asks((done) => cache.inbound({ ...INBOUND, ...over }, done), inboundRoute());
  const plain = (over: Partial<PlaintextQuestion>) =>
    asks((done) => cache.inboundPlaintext({ ...PLAIN, ...over }, done), inboundRoute());
  assertEquals(outbound({}), 1);
  assertEquals(outbound({ source: { ...ADDRESS, port: 7 } }), 0, "the source's port is nothing");
  assertEquals(outbound({ local: { ...LOCAL } }), 0, "an equal name is the same workload");
  assertEquals(outbound({ source: { ...ADDRESS, ip: "10.0.0.7" } }), 1);
  assertEquals(outbound({ destination: { ...ADDRESS, port: 7 } }), 1);
  assertEquals(outbound({ destination: { ...ADDRESS, ip: "10.0.0.7" } }), 1);
  assertEquals(outbound({ local: { ...LOCAL, serviceAccount: "other" } }), 1);
  assertEquals(inbound({}), 1);
  assertEquals(inbound({}), 0);
  assertEquals(inbound({ peerIp: "10.0.0.9" }), 1);
  assertEquals(inbound({ localIp: "10.0.0.9" }), 1);
  assertEquals(inbound({ fromGateway: true }), 1);
  assertEquals(inbound({ forwardedHost: "" }), 1);
  assertEquals(inbound({ forwardedHost: "a" }), 1);
  const name = (hostname: string, port = 1) => ({
    authority: { kind: "hostname", hostname, port } as const,
  });
  assertEquals(inbound(name("a")), 1);
  assertEquals(inbound(name("a 1 =b")), 1);
  assertEquals(inbound({ ...name("a"), forwardedHost: "b" }), 1, "a peer's words mean themselves");
  assertEquals(plain({}), 1, "plaintext is a question of its own");
  assertEquals(plain({}), 0);
  assertEquals(plain({ destination: { ...ADDRESS, port: 1 } }), 1);
  assertEquals(plain({ peerIp: "::1" }), 1);
});

Deno.test("RouteCache empties with a change, before anybody else hears of it", () => {
  const { cache, router, asks } = cached();
  const ask = (generation: number) =>
    asks((done) => cache.outbound(OUTBOUND, done), route({ generation }));
  assertEquals([ask(1), ask(1)], [1, 0]);
  let sizeAtChange = -1;
  cache.onChange(() => sizeAtChange = cache.sizes.outbound);
  router.change(2);
  assertEquals(sizeAtChange, 0);
  assertEquals([ask(1), ask(2), ask(2)], [1, 1, 0], "an answer from before is not kept");
  cache.close();
  assertEquals(router.listeners.size, 1);
});

Deno.test("RouteCache forgets what a change touched, of both kinds, and keeps the rest", () => {
  const { cache, router, asks } = cached();
  const outbound = (port: number, dependsOn: readonly string[]) =>
    asks(
      (done) => cache.outbound({ ...OUTBOUND, destination: { ip: "10.0.0.9", port } }, done),
      route({ dependsOn }),
    );
  const inbound = (peerIp: string, dependsOn: readonly string[]) =>
    asks((done) => cache.inbound({ ...INBOUND, peerIp }, done), inboundRoute({ dependsOn }));
  outbound(1, ["s a/b"]);
  outbound(2, ["a /10.0.0.9"]);
  inbound("10.0.0.1", ["p a/b"]);
  inbound("10.0.0.2", ["s a/b"]);
  router.change(2, ["s a/b"]);
  assertEquals(cache.sizes, { outbound: 1, inbound: 1 });
  assertEquals([outbound(1, []), outbound(2, [])], [1, 0]);
  assertEquals([inbound("10.0.0.1", []), inbound("10.0.0.2", [])], [0, 1]);
});

Deno.test("CACHED_LINKS_MAX dependencies are noted in all; the oldest routes go first", () => {
  const { cache, asks } = cached();
  const dependsOn = Array.from({ length: DEPENDENCIES_MAX }, (_, index) => `d${index}`);
  const large = route({ dependsOn });
  const fitting = CACHED_LINKS_MAX / DEPENDENCIES_MAX;
  const ask = (port: number) =>
    asks(
      (done) => cache.outbound({ ...OUTBOUND, destination: { ip: "10.0.0.9", port } }, done),
      large,
    );
  for (let port = 0; port < fitting; port++) ask(port);
  assertEquals([cache.sizes.outbound, ask(0)], [fitting, 0]);
  ask(fitting);
  assertEquals([cache.sizes.outbound, ask(1), ask(0)], [fitting, 0, 1]);
});

Deno.test("RouteCache does not remember refusals", () => {
  const { cache, asks } = cached();
  const refusal = new RouteError("WORKLOAD_UNKNOWN", "x");
  assertEquals(asks((done) => cache.outbound(OUTBOUND, done), refusal), 1);
  assertEquals(asks((done) => cache.outbound(OUTBOUND, done), refusal), 1);
});

Deno.test("ROUTES_MAX routes are kept, outbound and inbound each; the oldest goes first", () => {
  const { cache, asks } = cached();
  const outbound = (index: number) =>
    asks(
      (done) =>
        cache.outbound({
          ...OUTBOUND,
          destination: { ip: `10.0.0.${index >> 16}`, port: index & 65_535 },
        }, done),
      route(),
    );
  for (let index = 0; index < ROUTES_MAX; index++) outbound(index);
  assertEquals(cache.sizes.outbound, ROUTES_MAX);
  assertEquals(outbound(0), 0);
  outbound(ROUTES_MAX);
  assertEquals(cache.sizes, { outbound: ROUTES_MAX, inbound: 0 });
  assertEquals([outbound(1), outbound(0)], [0, 1]);
  const small = cached(2);
  for (const peerIp of ["10.0.0.1", "10.0.0.2", "10.0.0.3"]) {
    small.asks((done) => small.cache.inbound({ ...INBOUND, peerIp }, done), inboundRoute());
  }
  assertEquals(small.cache.sizes, { outbound: 0, inbound: 2 });
});

Deno.test("CACHED_CANDIDATES_MAX candidates are kept in all", () => {
  const { cache, asks } = cached();
  const one = candidate(1);
  const large = route({ candidates: Array(CACHED_CANDIDATES_MAX / 4).fill(one) });
  const ask = (port: number) =>
    asks(
      (done) => cache.outbound({ ...OUTBOUND, destination: { ip: "10.0.0.9", port } }, done),
      large,
    );
  for (const port of [1, 2, 3, 4]) ask(port);
  assertEquals(cache.sizes.outbound, 4);
  ask(5);
  assertEquals([cache.sizes.outbound, ask(2), ask(1)], [4, 0, 1]);
});

Deno.test("a question of more than KEY_CHARS_MAX is asked each time", () => {
  const { cache, asks } = cached();
  const ask = (forwardedHost: string) =>
    asks((done) => cache.inbound({ ...INBOUND, forwardedHost }, done), inboundRoute());
  const long = "x".repeat(KEY_CHARS_MAX);
  assertEquals([ask(long), ask(long)], [1, 1]);
  const fits = "x".repeat(KEY_CHARS_MAX - 100);
  assertEquals([ask(fits), ask(fits)], [1, 0]);
});

Deno.test("RouteCache passes on what it does not remember", () => {
  const { cache, asks } = cached();
  for (let round = 0; round < 2; round++) {
    assertEquals(asks((done) => cache.localWorkload(LOCAL, done), SOURCE), 1);
    assertEquals(asks((done) => cache.policies(SELECTION, done), []), 1);
    assertEquals(asks((done) => cache.resolve(LOCAL, "a", 4, done), "10.0.0.1"), 1);
  }
});

Deno.test("a cache over questions by message asks for a burst of equal connections once", () => {
  const border = new Border();
  const cache = new RouteCache(border.remote, { clock: border.clock });
  for (let count = 0; count < 1000; count++) cache.outbound(OUTBOUND, border.hear);
  assertEquals(border.router.asked.length, 1);
  border.router.answer(route());
  border.clock.runUntilIdle();
  assertEquals(border.heard.length, 1000);
  assert(border.heard.every((outcome) => !(outcome instanceof ProxyError)));
});
