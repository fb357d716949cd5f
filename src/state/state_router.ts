// The Router over a mesh in the same isolate: waits for what may come, answers in a later turn (design §3.4).
import { isLoopback, type SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import type { Clock, Task } from "../base/clock.ts";
import { ProxyError } from "../base/errors.ts";
import { type Random, SystemRandom } from "../base/random.ts";
import type { Policy } from "../rbac/policy.ts";
import type { Events } from "../seam/events.ts";
import type { InboundRoute, PolicySelection, Route } from "../seam/route.ts";
import {
  type HostQuestion,
  type InboundQuestion,
  type OutboundQuestion,
  type PlaintextQuestion,
  RouteError,
  type Router,
  type StateChange,
} from "../seam/router.ts";
import type { LocalWorkloadName, WorkloadFacts } from "../seam/workload.ts";
import { CompiledServices } from "./compiled_services.ts";
import { hostLabels, pickAddress } from "./host_answer.ts";
import type { HostAskedLabels, HostResolver } from "./host_resolver.ts";
import {
  decideInbound,
  decidePlaintext,
  type InboundDecision,
  type InboundSettings,
  selfCall,
} from "./inbound_decision.ts";
import { Lookups } from "./lookups.ts";
import type { MeshState } from "./mesh_state.ts";
import type { AppliedPolicies } from "./mesh_view.ts";
import { resolveName } from "./names.ts";
import type { OnDemand } from "./on_demand.ts";
import {
  decideOutbound,
  type OutboundDecision,
  type OutboundSettings,
} from "./outbound_decision.ts";
import { PolicyHold } from "./policy_hold.ts";
import { type Asked, Question, type Waiting } from "./question.ts";
import type { Workload } from "./resources.ts";
import type { Recorder, Trace, WaitReason } from "./trace.ts";

/** How long a question waits for an unknown local workload. */
export const WORKLOAD_WAIT_MS = 5_000;

/** How long a question waits for the control plane to say what it knows of an address or name. */
export const ON_DEMAND_WAIT_MS = 5_000;

/** How long a connection is held for a policy that may be on its way (spec/xds-state-and-dns §1.7). */
export const POLICY_HOLD_MS = 1_000;

/** Questions that wait at one time, in all and for whatever. */
export const WORKLOAD_WAITS_MAX = 10_000;

/** Unknown policies of one workload that are told one by one. */
export const POLICIES_TOLD_MAX = 10;

/** Consumers that hear of changes: data planes and the admin server. */
export const LISTENERS_MAX = 64;

/** What the answers depend on beside the mesh. */
export interface RouterSettings extends OutboundSettings, InboundSettings {
  /** `CLUSTER_DOMAIN`. */
  readonly clusterDomain: string;
  /** `NODE_NAME`: only workloads of this node are local; null: all are. */
  readonly nodeName: string | null;
  /** `PREFERED_SERVICE_NAMESPACE`, for names alone; null or absent: none. */
  readonly preferredNamespace?: string | null;
}

export interface StateRouterOptions {
  readonly state: MeshState;
  readonly settings: RouterSettings;
  readonly clock: Clock;
  readonly log: Events["log"];
  /** Draws among addresses. */
  readonly random?: Random;
  /** Null: workloads known by name alone cannot be reached. */
  readonly hosts?: HostResolver | null;
  /** Null: what the mesh lacks does not exist. */
  readonly onDemand?: OnDemand | null;
  /** Before each resolution of a workload's name (`istio_on_demand_dns_total`). */
  readonly onHostAsked?: (labels: HostAskedLabels) => void;
  /** {@link WORKLOAD_WAITS_MAX} */
  readonly workloadWaitsMax?: number;
}

/** How often questions had to wait, since the start. */
export interface WaitCounts {
  /** Waits that began. */
  readonly begun: Readonly<Record<WaitReason, number>>;
  /** Of those, how many were over before what they waited for came. */
  readonly timedOut: Readonly<Record<WaitReason, number>>;
}

/** An answer with how it came about. */
export interface Explained<Value> {
  readonly outcome: Value | ProxyError;
  readonly trace: Trace;
}

/** Answers all questions of the data planes of this process. */
export class StateRouter implements Router {
  readonly #settings: RouterSettings;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Events["log"];
  readonly #waitsMax: number;
  readonly #hosts: HostResolver | null;
  readonly #onDemand: OnDemand | null;
  readonly #onHostAsked: (labels: HostAskedLabels) => void;
  readonly #waits = new Set<Waiting>();
  readonly #begun = noWaits();
  readonly #timedOut = noWaits();
  readonly #hold = new PolicyHold();
  readonly #listeners = new Set<{ readonly hear: (change: StateChange) => void }>();
  readonly #compiled = new CompiledServices();
  readonly #reported = new WeakSet<AppliedPolicies>();
  #state: MeshState;
  #generation = 1;

  constructor(options: StateRouterOptions) {
    this.#settings = options.settings;
    this.#clock = options.clock;
    this.#random = options.random ?? new SystemRandom();
    this.#log = options.log;
    this.#waitsMax = options.workloadWaitsMax ?? WORKLOAD_WAITS_MAX;
    this.#hosts = options.hosts ?? null;
    this.#onDemand = options.onDemand ?? null;
    this.#onHostAsked = options.onHostAsked ?? (() => {});
    this.#state = options.state;
    this.#reportWarnings();
  }

  /** The mesh as it is now, for dumps. */
  get state(): MeshState {
    return this.#state;
  }

  /** Rises with every {@link replace}. */
  get generation(): number {
    return this.#generation;
  }

  /** Questions that wait now. */
  get waiting(): number {
    return this.#waits.size;
  }

  /** For metrics and dumps. */
  get waitCounts(): WaitCounts {
    return { begun: { ...this.#begun }, timedOut: { ...this.#timedOut } };
  }

  /**
   * From now on answers come from `state`. Those who waited for a workload are asked again, then listeners hear.
   * @param change.policies Policies came, perhaps with all the rest: live connections are to be judged again
   * (spec/data-path R1). False: addresses alone, as one response of a control plane says them.
   * @param change.touched As `StateChange.touched`; not given: any answer may be stale.
   * @param change.local False: no workload came or changed, so nobody who waits for one needs to look again.
   */
  replace(
    state: MeshState,
    change: {
      readonly policies: boolean;
      readonly touched?: readonly string[] | null;
      readonly local?: boolean;
    },
  ): void {
    this.#state = state;
    this.#generation++;
    this.#reportWarnings();
    // Before anybody is asked again: whoever waited for this workload waits for its policies too.
    if (!change.policies) this.#hold.progress("addresses");
    if (change.local !== false) {
      this.#resume("local-workload", ({ local }) => this.#find(local) !== null);
    }
    const told = {
      generation: this.#generation,
      policies: change.policies,
      touched: change.touched ?? null,
    };
    for (const listener of [...this.#listeners]) {
      if (this.#listeners.has(listener)) listener.hear(told);
    }
  }

  /**
   * A response of that type was applied, whether it changed anything or not, and `replace` called before if it did.
   * Policies release the connections that are held for them (§1.7).
   */
  policyProgress(event: "addresses" | "policies"): void {
    this.#hold.progress(event);
    if (event === "policies") this.#resume("unknown-policy", () => true);
  }

  localWorkload(local: LocalWorkloadName, done: Done<WorkloadFacts>): Cancel {
    return this.#ask({
      local,
      unanswered: null,
      needsPolicies: false,
      trace: null,
      decide: ({ state }, workload) => state.facts(workload),
    }, done);
  }

  outbound(question: OutboundQuestion, done: Done<Route>): Cancel {
    return this.#outbound(question, null, done);
  }

  /** The same, with how it came about: whatever it is, the answer is not an error. */
  explainOutbound(question: OutboundQuestion, done: Done<Explained<Route>>): Cancel {
    const trace: NonNullable<Recorder> = [];
    return this.#outbound(question, trace, (outcome) => done({ outcome, trace }));
  }

  inbound(question: InboundQuestion, done: Done<InboundRoute>): Cancel {
    return this.#inbound(question, null, done);
  }

  /** As {@link explainOutbound}. */
  explainInbound(question: InboundQuestion, done: Done<Explained<InboundRoute>>): Cancel {
    const trace: NonNullable<Recorder> = [];
    return this.#inbound(question, trace, (outcome) => done({ outcome, trace }));
  }

  inboundPlaintext(question: PlaintextQuestion, done: Done<InboundRoute>): Cancel {
    if (this.#settings.internalPorts.has(question.destination.port)) {
      return this.#answer(done, selfCall());
    }
    return this.#ask({
      local: question.local,
      unanswered: "decide",
      needsPolicies: true,
      trace: null,
      decide: (look, workload) =>
        this.#inboundRoute(decidePlaintext(look, this.#settings, workload, question)),
    }, done);
  }

  policies(selection: PolicySelection, done: Done<readonly Policy[]>): Cancel {
    return this.#answer(done, this.#state.select(selection).policies);
  }

  resolve(local: LocalWorkloadName, name: string, family: 4 | 6, done: Done<string>): Cancel {
    const { clusterDomain, preferredNamespace = null } = this.#settings;
    const network = this.#find(local)?.network ?? this.#settings.network;
    const settings = { network, clusterDomain, preferredNamespace };
    const ip = resolveName(this.#state, settings, local, name, family);
    return this.#answer(
      done,
      ip ?? new RouteError("NAME_NOT_RESOLVED", `name not resolved: ${JSON.stringify(name)}`),
    );
  }

  resolveHost(question: HostQuestion, done: Done<string>): Cancel {
    const { local, hostname, workloadUid, family } = question;
    const source = this.#find(local);
    const facts = source === null ? null : this.#state.facts(source);
    this.#onHostAsked(hostLabels(facts, hostname));
    if (this.#hosts === null) return this.#answer(done, pickAddress(null, question, this.#random));
    let answer: Cancel = NOTHING_TO_CANCEL;
    const asked = this.#hosts.resolve(hostname, (outcome) => {
      const found = outcome instanceof ProxyError ? null : outcome;
      const ip = pickAddress(found, { workloadUid, family }, this.#random);
      answer = this.#answer(done, ip);
    });
    return {
      cancel() {
        asked.cancel();
        answer.cancel();
      },
    };
  }

  onChange(hear: (change: StateChange) => void): Cancel {
    assert(this.#listeners.size < LISTENERS_MAX, "Data planes and servers are few");
    const listener = { hear };
    this.#listeners.add(listener);
    return { cancel: () => void this.#listeners.delete(listener) };
  }

  #outbound(question: OutboundQuestion, trace: Recorder, done: Done<Route>): Cancel {
    const { local, source, destination } = question;
    if (this.#isSelfCall(destination)) return this.#answer(done, selfCall());
    return this.#ask({
      local,
      unanswered: "refuse",
      needsPolicies: false,
      trace,
      decide: (look, workload) => {
        const asked = { source: workload, sourceIp: source.ip, dialled: destination };
        const decision = decideOutbound(look, this.#settings, this.#compiled, asked);
        return this.#route(decision, look);
      },
    }, done);
  }

  #inbound(question: InboundQuestion, trace: Recorder, done: Done<InboundRoute>): Cancel {
    return this.#ask({
      local: question.local,
      unanswered: "decide",
      needsPolicies: true,
      trace,
      decide: (look, workload) =>
        this.#inboundRoute(decideInbound(look, this.#settings, workload, question)),
    }, done);
  }

  /** O3: the original's guard covers loopback only; the inbound side refuses the rest (I14). */
  #isSelfCall({ ip, port }: SocketAddress): boolean {
    return isLoopback(ip) && this.#settings.internalPorts.has(port);
  }

  #route(decision: OutboundDecision, { misses }: Lookups): Route | RouteError {
    if (decision instanceof RouteError) return decision;
    const { source, candidates, service, dependsOn } = decision;
    const route = { generation: this.#generation, source, candidates, service, dependsOn };
    return misses.length > 0 && this.#onDemand !== null ? { ...route, isProvisional: true } : route;
  }

  #inboundRoute(decision: InboundDecision): InboundRoute | RouteError {
    if (decision instanceof RouteError) return decision;
    return { generation: this.#generation, ...decision };
  }

  #find(local: LocalWorkloadName): Workload | null {
    return this.#state.localWorkload(local, this.#settings.nodeName);
  }

  #ask<Value>(asked: Asked<Value>, done: Done<Value>): Cancel {
    const question = new Question(asked, done, {
      advance: (again) => this.#advance(again),
      onWaited: (gone) => this.#waits.delete(gone),
    });
    this.#advance(question);
    return question;
  }

  /** Decides, or parks the question for what it lacks. */
  #advance<Value>(question: Question<Value>): void {
    const { local, decide, trace, unanswered, needsPolicies } = question.asked;
    const workload = this.#find(local);
    if (workload === null) {
      const keys = [`${local.namespace}/${local.name}`];
      this.#park(question, "local-workload", keys, WORKLOAD_WAIT_MS, () => this.#giveUp(question));
      return;
    }
    const look = new Lookups(this.#state, trace);
    const outcome = decide(look, workload);
    const { misses } = look;
    if (
      misses.length > 0 && this.#onDemand !== null && unanswered !== null && !question.wasDemanded
    ) {
      question.wasDemanded = true;
      this.#demand(question, misses, this.#onDemand);
      return;
    }
    if (needsPolicies && !(outcome instanceof ProxyError)) {
      const applied = this.#state.policiesOf(workload);
      if (!question.wasHeld && this.#isHeld(question, workload, applied)) return;
      this.#reportUnknownPolicies(applied);
    }
    question.settle(outcome, this.#clock);
  }

  /** Parks the question while a policy that its workload names may be on its way (§1.7). */
  #isHeld<Value>(
    question: Question<Value>,
    workload: Workload,
    applied: AppliedPolicies,
  ): boolean {
    const pending = this.#hold.pending(workload, applied);
    if (pending.length === 0) return false;
    question.wasHeld = true;
    this.#park(question, "unknown-policy", pending, POLICY_HOLD_MS, () => {
      if (this.#hold.settle(workload.uid, pending)) {
        const what = listed(pending);
        const text = `no answer about policies within ${POLICY_HOLD_MS} ms: ${what}`;
        this.#log("warn", "ztunnel::state", text);
      }
      this.#advance(question);
    });
    return true;
  }

  /** Asks the control plane for what was missed; then the question is decided once more (§1.9). */
  #demand<Value>(
    question: Question<Value>,
    misses: readonly string[],
    onDemand: OnDemand,
  ): void {
    let unanswered = misses.length;
    const onAnswer = () => {
      if (--unanswered === 0 && question.waitsFor === "on-demand") question.resume();
    };
    const ask = () => misses.map((key) => onDemand.want(key, onAnswer));
    this.#park(question, "on-demand", misses, ON_DEMAND_WAIT_MS, () => {
      if (question.asked.unanswered === "decide") {
        this.#advance(question);
        return;
      }
      // To go on would send to an address in plaintext that nobody has said anything about.
      const message = `no answer from the control plane about ${misses.join(", ")}`;
      question.settle(new RouteError("WORKLOAD_UNKNOWN", message), this.#clock);
    }, ask);
  }

  #park<Value>(
    question: Question<Value>,
    reason: WaitReason,
    keys: readonly string[],
    waitMs: number,
    onTimeout: () => void,
    ask: () => readonly Cancel[] = () => [],
  ): void {
    if (this.#waits.size >= this.#waitsMax) {
      const message = reason === "local-workload"
        ? `too many connections wait for their workload: ${this.#waitsMax}`
        : `too many connections wait for their route: ${this.#waitsMax}`;
      question.settle(new RouteError("WAITS_FULL", message), this.#clock);
      return;
    }
    this.#begun[reason]++;
    this.#waits.add(question);
    const timer = this.#clock.after(waitMs, () => {
      this.#timedOut[reason]++;
      question.unpark(false);
      onTimeout();
    });
    question.park({ reason, keys, timer, wanted: ask() });
  }

  /** Decides again those who wait for `reason` and are ready. */
  #resume(reason: WaitReason, isReady: (question: Waiting) => boolean): void {
    for (const question of [...this.#waits]) {
      if (question.waitsFor === reason && isReady(question)) question.resume();
    }
  }

  #giveUp<Value>(question: Question<Value>): void {
    const { namespace, name, serviceAccount } = question.asked.local;
    const who = `${serviceAccount}.${namespace} (${name})`;
    this.#log("warn", "ztunnel::state", `timed out waiting for workload '${who}' from xds`);
    const message = `failed to fetch information about local workload: ${who}`;
    question.settle(new RouteError("WORKLOAD_UNKNOWN", message), this.#clock);
  }

  /** In a later turn, unless cancelled. */
  #answer<Value>(done: Done<Value>, outcome: Value | ProxyError): Cancel {
    const answer = new Answer(done, outcome);
    this.#clock.soon(answer);
    return answer;
  }

  #reportWarnings(): void {
    for (const warning of this.#state.warnings) this.#log("warn", "ztunnel::state", warning);
  }

  /** Once for each workload and state, not for each connection. */
  #reportUnknownPolicies(applied: AppliedPolicies): void {
    if (applied.unknown.length === 0 || this.#reported.has(applied)) return;
    this.#reported.add(applied);
    for (const key of applied.unknown.slice(0, POLICIES_TOLD_MAX)) {
      this.#log("warn", "ztunnel::state", `skipping unknown policy ${key}`);
    }
    const more = applied.unknown.length - POLICIES_TOLD_MAX;
    if (more > 0) this.#log("warn", "ztunnel::state", `skipping ${more} more unknown policies`);
  }
}

/** The first of these, and how many more. */
function listed(keys: readonly string[]): string {
  const more = keys.length - POLICIES_TOLD_MAX;
  const first = keys.slice(0, POLICIES_TOLD_MAX).join(", ");
  return more > 0 ? `${first} and ${more} more` : first;
}

function noWaits(): Record<WaitReason, number> {
  return { "local-workload": 0, "on-demand": 0, "unknown-policy": 0 };
}

/** An outcome on its way to whoever asked. */
class Answer<Value> implements Task, Cancel {
  #done: Done<Value> | null;
  readonly #outcome: Value | ProxyError;

  constructor(done: Done<Value>, outcome: Value | ProxyError) {
    this.#done = done;
    this.#outcome = outcome;
  }

  runTask(): void {
    const done = this.#done;
    this.#done = null;
    done?.(this.#outcome);
  }

  cancel(): void {
    this.#done = null;
  }
}
