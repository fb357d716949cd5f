// Scenario files: what a control plane does, step by step, and what a proxy's client makes of it. The format is in
// tests/scenarios/README.md; this reads it, does the server's part and compares.
import { assertEquals } from "@std/assert";
import { parse } from "yaml";
import {
  resource,
  type ShortMesh,
  shortResources,
  TYPE_URLS,
  type XdsResource,
  type XdsType,
} from "./xds_resources.ts";
import {
  describeHeard,
  type GrpcStatus,
  type HeardRequest,
  type SaidResponse,
  XdsServer,
  type XdsServerOptions,
} from "./xds_server.ts";

/** The longest wait for anything; a slow machine needs it, a healthy run never. */
export const STEP_WITHIN_MS = 20_000;

/** What a scenario is played to: a client of the control plane and the state it keeps. */
export interface ScenarioClient extends AsyncDisposable {
  /** Both types were answered and accepted once. */
  readonly isReady: boolean;
  /** Reasons of ended streams, in order. */
  readonly terminations: readonly string[];
  /** The last words of type URLs, one for each response. */
  readonly messages: readonly string[];
  /** Log lines, `level message`. */
  readonly log: readonly string[];
  /** Demands that were met, in order: `<key>, <count> workloads known`, as it was at that moment. */
  readonly woken: readonly string[];
  /** The mesh as readers see it now. */
  state(): MeshSummary;
  demand(key: string): void;
  /** Ends the client; its streams are closed when this resolves. */
  stop(): Promise<void>;
}

/** The mesh in texts that a file can say. */
export interface MeshSummary {
  /** Uids. */
  readonly workloads: readonly string[];
  /** By `namespace/hostname`: `<uid> <service port>→<target port>,…`, and `unhealthy` where it is. */
  readonly services: Readonly<Record<string, readonly string[]>>;
  /** `namespace/name`. */
  readonly policies: readonly string[];
}

/** What must come true after a step, and how it may say so. Absent: not looked at. */
interface Expectations {
  /** All requests since the last look: see {@link describeHeard}. `…` at an end stands for anything. */
  readonly heard?: readonly string[];
  /** All responses since the last look: `<stream> <type> +<set> -<removed>`. */
  readonly said?: readonly string[];
  readonly state?: Partial<MeshSummary>;
  /** How many of each kind there are. */
  readonly counts?: Readonly<Record<string, number>>;
  readonly ready?: boolean;
  /** All since the start, the same in a row once: how often it tries is a matter of time. */
  readonly terminations?: readonly string[];
  /** Responses since the start, by type. */
  readonly messages?: Readonly<Record<string, number>>;
  /** Each is part of a line since the start. */
  readonly log?: readonly string[];
  /** All since the start, in any order. */
  readonly woken?: readonly string[];
}

interface PushStep extends ShortMesh {
  readonly bad?: readonly { name: string; type?: XdsType; hex?: string }[];
  readonly remove?: readonly string[];
  readonly removePolicies?: readonly string[];
}

/** One thing done, by its only key. */
interface Action {
  readonly push?: PushStep;
  /** Many pods of one service, by count. */
  readonly pushPods?: number;
  readonly start?: true;
  readonly drop?: true;
  readonly stop?: true;
  readonly restart?: true;
  readonly goAway?: number;
  readonly end?: GrpcStatus;
  readonly refuse?: GrpcStatus | null;
  readonly hold?: XdsType;
  readonly release?: XdsType;
  readonly say?: { readonly type: string; readonly removed?: readonly string[] };
  readonly sayHex?: string;
  readonly demand?: readonly string[];
  readonly wait?: true;
}

interface Step {
  readonly action: keyof Action;
  readonly args: Action;
  readonly then: Expectations;
}

/** Ways to the server: `fetch`, and `node:http2` where its certificate has another name. */
export type Way = "fetch" | "http2";

export interface Scenario {
  readonly name: string;
  /** What it holds for; both, mostly. */
  readonly ways: readonly Way[];
  readonly onDemand: boolean;
  readonly steps: readonly Step[];
}

const ACTIONS: readonly (keyof Action)[] = [
  ...["push", "pushPods", "start", "drop", "stop", "restart", "goAway", "end"] as const,
  ...["refuse", "hold", "release", "say", "sayHex", "demand", "wait"] as const,
];
const EXPECTATIONS = [
  ...["heard", "said", "state", "counts", "ready", "terminations", "messages", "log", "woken"],
];

/** @throws On keys that mean nothing, so that a slip of the pen does not make a scenario pass. */
export function readScenario(text: string): Scenario {
  const file = parse(text) as Record<string, unknown>;
  only(file, ["name", "ways", "onDemand", "steps"], "scenario");
  const steps = (file["steps"] as Record<string, unknown>[]).map((step, index) => {
    const { then = {}, ...action } = step;
    const keys = Object.keys(action);
    if (keys.length > 1) throw new Error(`Step ${index + 1} does ${keys.join(" and ")}`);
    only(action, ACTIONS, `step ${index + 1}`);
    only(then as Record<string, unknown>, EXPECTATIONS, `step ${index + 1}, then`);
    const args = keys.length === 0 ? { wait: true } : action;
    return { action: keys[0] ?? "wait", args, then } as unknown as Step;
  });
  const ways = file["ways"] as Scenario["ways"] | undefined ?? ["fetch", "http2"];
  return { name: String(file["name"]), ways, onDemand: file["onDemand"] === true, steps };
}

function only(map: Record<string, unknown>, keys: readonly string[], where: string): void {
  for (const key of Object.keys(map)) {
    if (!keys.includes(key)) throw new Error(`Unknown key ${key} in ${where}`);
  }
}

/** Plays a scenario to the client that `open` makes. */
export async function playScenario(
  scenario: Scenario,
  options: XdsServerOptions,
  open: (server: XdsServer, options: { readonly onDemand: boolean }) => ScenarioClient,
): Promise<void> {
  await using server = await XdsServer.start(options);
  const player = new Player(server);
  await using ending = new AsyncDisposableStack();
  for (const [index, step] of scenario.steps.entries()) {
    const where = `${scenario.name}, step ${index + 1} (${step.action})`;
    if (step.action === "start") {
      player.client = ending.use(open(server, { onDemand: scenario.onDemand }));
    } else await player.act(step.args);
    await player.expect(step.then, where);
  }
  await player.client?.stop();
  await player.expect({ heard: [], said: [] }, `${scenario.name}, after its end`);
  assertEquals(server.violations, []);
}

class Player {
  client: ScenarioClient | null = null;
  readonly #server: XdsServer;
  #heardLooked = 0;
  #saidLooked = 0;

  constructor(server: XdsServer) {
    this.#server = server;
  }

  async act(action: Action): Promise<void> {
    const server = this.#server;
    if (action.push !== undefined) server.push(resourcesToPush(action.push));
    if (action.pushPods !== undefined) server.push({ set: manyPods(action.pushPods) });
    if (action.drop !== undefined) server.drop();
    if (action.stop !== undefined) await server.stop();
    if (action.restart !== undefined) await server.restart();
    if (action.goAway !== undefined) server.goAway(action.goAway);
    if (action.end !== undefined) server.endStreams(action.end);
    if (action.refuse !== undefined) server.refusal = action.refuse;
    if (action.hold !== undefined) server.hold(action.hold);
    if (action.release !== undefined) server.release(action.release);
    if (action.sayHex !== undefined) server.sayBytes(Uint8Array.fromHex(action.sayHex));
    if (action.say !== undefined) {
      const { type, removed = [] } = action.say;
      const typeUrl = type in TYPE_URLS ? TYPE_URLS[type as keyof typeof TYPE_URLS] : type;
      server.say({ typeUrl, removed });
    }
    for (const key of action.demand ?? []) this.client!.demand(key);
  }

  /** Waits until it all holds, or tells where it does not. */
  async expect(then: Expectations, where: string): Promise<void> {
    const deadline = performance.now() + STEP_WITHIN_MS;
    for (;;) {
      try {
        this.#compare(then, where);
        break;
      } catch (error) {
        if (performance.now() > deadline) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    if (then.heard !== undefined) this.#heardLooked += then.heard.length;
    if (then.said !== undefined) this.#saidLooked += then.said.length;
  }

  #compare(then: Expectations, where: string): void {
    const { client } = this;
    if (then.heard !== undefined) {
      const heard = inOrder(this.#server.heard.slice(this.#heardLooked))
        .map((request, index) => shortened(describeHeard(request), then.heard![index]));
      assertEquals(heard, then.heard, `${where}: heard`);
    }
    if (then.said !== undefined) {
      const said = inOrder(this.#server.said.slice(this.#saidLooked)).map(describeSaid);
      assertEquals(said, then.said, `${where}: said`);
    }
    if (then.state !== undefined) {
      const state = client!.state();
      const kinds = Object.keys(then.state) as (keyof MeshSummary)[];
      const seen = Object.fromEntries(kinds.map((kind) => [kind, state[kind]]));
      assertEquals(seen, then.state, `${where}: state`);
    }
    if (then.counts !== undefined) {
      const { workloads, services, policies } = client!.state();
      const counts = {
        workloads: workloads.length,
        policies: policies.length,
        services: Object.keys(services).length,
        endpoints: Object.values(services).flat().length,
      };
      assertEquals(counts, then.counts, `${where}: counts`);
    }
    if (then.ready !== undefined) assertEquals(client!.isReady, then.ready, `${where}: ready`);
    if (then.terminations !== undefined) {
      const reasons = client!.terminations.filter((reason, index, all) =>
        reason !== all[index - 1]
      );
      assertEquals(reasons, then.terminations, `${where}: terminations`);
    }
    if (then.messages !== undefined) {
      const counts: Record<string, number> = {};
      for (const type of client!.messages) counts[type] = (counts[type] ?? 0) + 1;
      assertEquals(counts, then.messages, `${where}: messages`);
    }
    for (const text of then.log ?? []) {
      const isSaid = client!.log.some((line) => line.includes(text));
      assertEquals(isSaid, true, `${where}: no log line has "${text}":\n${client!.log.join("\n")}`);
    }
    if (then.woken !== undefined) {
      assertEquals([...client!.woken].sort(), [...then.woken].sort(), `${where}: woken`);
    }
  }
}

/** By stream and type: between types nothing orders what a proxy and a server say. */
function inOrder<Item extends HeardRequest | SaidResponse>(items: readonly Item[]): Item[] {
  const rank = ({ stream, type }: Item) =>
    stream * 3 + (type === "Address" ? 0 : type === "Authorization" ? 1 : 2);
  return items.toSorted((a, b) => rank(a) - rank(b));
}

/** What was said, cut where the expected text ends with `…`. */
function shortened(text: string, expected: string | undefined): string {
  if (expected?.endsWith("…") !== true) return text;
  return text.startsWith(expected.slice(0, -1)) ? expected : text;
}

/** `1 Address +a +b -c`; more than three names of a kind as a count. */
function describeSaid({ stream, type, set, removed }: SaidResponse): string {
  const names = (sign: string, list: readonly string[]) =>
    list.length > 3 ? [`${sign}${list.length}`] : list.map((name) => sign + name);
  return [stream, type ?? "another type", ...names("+", set), ...names("-", removed)].join(" ");
}

function resourcesToPush(push: PushStep) {
  only(push as Record<string, unknown>, [
    ...["workloads", "services", "policies", "bad", "remove", "removePolicies"],
  ], "push");
  const { workloads, services, policies, bad = [], ...removals } = push;
  return {
    ...removals,
    set: [
      ...shortResources({ workloads, services, policies }),
      ...bad.map(({ name, type = "Address", hex }) =>
        resource(type, name, hex === undefined ? null : Uint8Array.fromHex(hex))
      ),
    ],
  };
}

/** `c//Pod/ns/many-<n>`, and their service in the middle of them. */
function manyPods(count: number): XdsResource[] {
  const workloads = Array.from({ length: count }, (_, index) => ({
    name: `many-${index}`,
    workloadIps: [`10.${64 + (index >> 16)}.${index >> 8 & 255}.${index & 255}`],
    services: { "ns/many.ns.svc": { "80": 8080 } },
  }));
  const set = shortResources({ workloads, services: [{ hostname: "many.ns.svc" }] });
  const service = set.pop()!;
  return [...set.slice(0, count >> 1), service, ...set.slice(count >> 1)];
}
