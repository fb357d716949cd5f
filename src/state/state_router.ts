// The Router over a MeshState in the same isolate: waits for workloads, answers in a later turn (design §3.4).
import { isLoopback, type SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import type { Clock, Task, Timer } from "../base/clock.ts";
import type { ProxyError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
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
import { decideOutbound, type OutboundSettings } from "./outbound_decision.ts";
import type { Workload } from "./resources.ts";

/** How long a question waits for an unknown local workload. */
export const WORKLOAD_WAIT_MS = 5_000;

/** Questions that wait for a workload at one time, in all. */
export const WORKLOAD_WAITS_MAX = 10_000;

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
  /** `LOCALHOST_APP_TUNNEL`: applications take PROXY connections on loopback; absent: true. */
  readonly localhostAppTunnel?: boolean;
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

/** Answers all questions of the data planes of this process. */
export class StateRouter implements Router {
  readonly #settings: RouterSettings;
  readonly #clock: Clock;
  readonly #log: Events["log"];
  readonly #waitsMax: number;
  readonly #waits = new Set<WorkloadWait>();
  readonly #listeners = new Set<{ readonly hear: (change: StateChange) => void }>();
  readonly #compiled = new CompiledServices();
  readonly #reported = new WeakSet<AppliedPolicies>();
  #state: MeshState;
  #generation = 1;

  constructor(options: StateRouterOptions) {
    this.#settings = options.settings;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#waitsMax = options.workloadWaitsMax ?? WORKLOAD_WAITS_MAX;
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

  /**
   * From now on answers come from `state`. Those who waited for a workload are asked again, then listeners hear.
   * @param options.policies Policies came by xDS: live connections are to be judged again (spec/data-path R1).
   * @param options.touched As `StateChange.touched`; not given: any answer may be stale.
   */
  replace(
    state: MeshState,
    options: { readonly policies: boolean; readonly touched?: readonly string[] | null },
  ): void {
    this.#state = state;
    this.#generation++;
    this.#reportWarnings();
    for (const wait of [...this.#waits]) {
      const workload = this.#find(wait.local);
      if (workload !== null) this.#endWait(wait, workload);
    }
    const change = {
      generation: this.#generation,
      policies: options.policies,
      touched: options.touched ?? null,
    };
    for (const listener of [...this.#listeners]) {
      if (this.#listeners.has(listener)) listener.hear(change);
    }
  }

  /** A response of that type was applied: releases connections held for unknown policies (§1.7). */
  policyProgress(_event: "addresses" | "policies"): void {}

  localWorkload(local: LocalWorkloadName, done: Done<WorkloadFacts>): Cancel {
    return this.#ask(local, (workload) => this.#state.facts(workload), done);
  }

  outbound(question: OutboundQuestion, done: Done<Route>): Cancel {
    if (this.#isSelfCall(question.destination)) return this.#answer(done, selfCall());
    return this.#ask(question.local, (source) => {
      const look = new Lookups(this.#state);
      const decision = decideOutbound(look, this.#settings, this.#compiled, {
        source,
        sourceIp: question.source.ip,
        dialled: question.destination,
      });
      return decision instanceof RouteError
        ? decision
        : { generation: this.#generation, ...decision };
    }, done);
  }

  inbound(question: InboundQuestion, done: Done<InboundRoute>): Cancel {
    return this.#ask(question.local, (workload) => {
      const decision = decideInbound(this.#state, this.#settings, workload, question);
      return this.#inboundRoute(workload, decision);
    }, done);
  }

  inboundPlaintext(question: PlaintextQuestion, done: Done<InboundRoute>): Cancel {
    if (this.#settings.internalPorts.has(question.destination.port)) {
      return this.#answer(done, selfCall());
    }
    return this.#ask(question.local, (workload) => {
      const decision = decidePlaintext(this.#state, this.#settings, workload, question);
      return this.#inboundRoute(workload, decision);
    }, done);
  }

  policies(selection: PolicySelection, done: Done<readonly Policy[]>): Cancel {
    return this.#answer(done, this.#state.select(selection).policies);
  }

  resolve(local: LocalWorkloadName, name: string, family: 4 | 6, done: Done<string>): Cancel {
    const network = this.#find(local)?.network ?? this.#settings.network;
    const settings = { network, clusterDomain: this.#settings.clusterDomain };
    const ip = resolveName(this.#state, settings, local, name, family);
    return this.#answer(
      done,
      ip ?? new RouteError("NAME_NOT_RESOLVED", `name not resolved: ${JSON.stringify(name)}`),
    );
  }

  resolveHost({ workloadUid }: HostQuestion, done: Done<string>): Cancel {
    const text = `no ip addresses were resolved for workload: ${workloadUid}`;
    return this.#answer(done, new RouteError("NAME_NOT_RESOLVED", text));
  }

  onChange(hear: (change: StateChange) => void): Cancel {
    assert(this.#listeners.size < LISTENERS_MAX, "Data planes and servers are few");
    const listener = { hear };
    this.#listeners.add(listener);
    return { cancel: () => void this.#listeners.delete(listener) };
  }

  /** O3: the original's guard covers loopback only; the inbound side refuses the rest (I14). */
  #isSelfCall({ ip, port }: SocketAddress): boolean {
    return isLoopback(ip) && this.#settings.internalPorts.has(port);
  }

  #inboundRoute(workload: Workload, decision: InboundDecision): InboundRoute | RouteError {
    if (decision instanceof RouteError) return decision;
    this.#reportUnknownPolicies(this.#state.policiesOf(workload));
    return { generation: this.#generation, ...decision };
  }

  #find(local: LocalWorkloadName): Workload | null {
    return this.#state.localWorkload(local, this.#settings.nodeName);
  }

  /** Answers about a local workload, now or when it becomes known. */
  #ask<Value>(
    local: LocalWorkloadName,
    decide: (workload: Workload) => Value | ProxyError,
    done: Done<Value>,
  ): Cancel {
    const workload = this.#find(local);
    if (workload !== null) return this.#answer(done, decide(workload));
    if (this.#waits.size >= this.#waitsMax) {
      const message = `too many connections wait for their workload: ${this.#waitsMax}`;
      return this.#answer(done, new RouteError("WAITS_FULL", message));
    }
    const wait = new WorkloadWait(local, (found) => {
      wait.answer = this.#answer(done, found instanceof RouteError ? found : decide(found));
    });
    wait.timer = this.#clock.after(WORKLOAD_WAIT_MS, () => this.#giveUp(wait));
    this.#waits.add(wait);
    return {
      cancel: () => {
        wait.timer?.cancel();
        wait.answer.cancel();
        this.#waits.delete(wait);
      },
    };
  }

  #endWait(wait: WorkloadWait, outcome: Workload | RouteError): void {
    wait.timer?.cancel();
    this.#waits.delete(wait);
    wait.settle(outcome);
  }

  #giveUp(wait: WorkloadWait): void {
    const { namespace, name, serviceAccount } = wait.local;
    const who = `${serviceAccount}.${namespace} (${name})`;
    this.#log("warn", "ztunnel::state", `timed out waiting for workload '${who}' from xds`);
    const message = `failed to fetch information about local workload: ${who}`;
    this.#endWait(wait, new RouteError("WORKLOAD_UNKNOWN", message));
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
    for (const key of applied.unknown) {
      this.#log("warn", "ztunnel::state", `skipping unknown policy ${key}`);
    }
  }
}

/** A question that waits for its local workload. */
class WorkloadWait {
  readonly local: LocalWorkloadName;
  readonly settle: (outcome: Workload | RouteError) => void;
  timer: Timer | null = null;
  answer: Cancel = NOTHING_TO_CANCEL;

  constructor(local: LocalWorkloadName, settle: (outcome: Workload | RouteError) => void) {
    this.local = local;
    this.settle = settle;
  }
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
