// One client from its start to its end, with the store and the router behind it, and the list of what it must hold.
import { assert, assertEquals } from "@std/assert";
import type { Clock, Task, Timer } from "../../src/base/clock.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { SystemClock } from "../../src/base/system_clock.ts";
import { RouteCache } from "../../src/isolate/route_cache.ts";
import type { Route } from "../../src/seam/route.ts";
import type { OutboundQuestion, Router } from "../../src/seam/router.ts";
import { MeshStore } from "../../src/state/mesh_store.ts";
import type { MeshState } from "../../src/state/mesh_state.ts";
import type { MeshSink, MeshUpdate } from "../../src/state/mesh_update.ts";
import { StateRouter } from "../../src/state/state_router.ts";
import { openTransport } from "../../src/xds/open_transport.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../src/xds/types.ts";
import { XdsClient } from "../../src/xds/xds_client.ts";
import { type Fields, Protobuf } from "../support/protobuf.ts";
import type { Drawer } from "./xds_drawn.ts";
import { changesState, MeshModel, type Prediction, same } from "./xds_model.ts";

/** How much faster than real the waits between streams pass. */
const BACKOFF_HASTE = 500;
/** And those for a peer that may be dead. */
const LIVENESS_HASTE = 20;
const TOKEN = "fuzz-token-that-nobody-may-see";
const ROUTER_SETTINGS = {
  network: "",
  hbonePort: 15_008,
  internalPorts: new Set([15_001, 15_008]),
  clusterDomain: "cluster.local",
  nodeName: null,
  preferredNamespace: null,
  localhostAppTunnel: false,
};

class HastyClock implements Clock {
  readonly #clock: Clock;
  readonly #haste: number;

  constructor(clock: Clock, haste: number) {
    this.#clock = clock;
    this.#haste = haste;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#clock.after(delayMs / this.#haste, callback);
  }

  soon(task: Task): void {
    this.#clock.soon(task);
  }
}

/** The subject. Whatever it must not do is thrown at the next {@link Subject.check}. */
export class Subject {
  readonly model = new MeshModel();
  readonly store: MeshStore;
  readonly router: StateRouter;
  readonly cache: RouteCache;
  /** Streams that ended. */
  terminated = 0;
  /** Responses counted. */
  reported = 0;
  isReady = false;
  readonly #clock: SystemClock;
  readonly #own: <Value>(run: () => Value) => Value;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  /** Sent on the stream of now, and not handled yet; null while nobody counts. */
  #sent: Prediction[] | null = null;
  #failure: unknown = null;

  /**
   * @param own Runs what is not the subject's work.
   * @param options.isHasty Waits pass faster than they say.
   */
  constructor(
    address: string,
    own: <Value>(run: () => Value) => Value,
    { isHasty }: { readonly isHasty: boolean },
  ) {
    this.#own = own;
    const clock = this.#clock = new SystemClock({ onBug: (error) => this.#fail(error) });
    const log = (_: unknown, __: unknown, message: string, fields?: object) =>
      own(() => {
        if (`${message}${JSON.stringify(fields)}`.includes(TOKEN)) this.#fail(new Error(message));
      });
    this.store = new MeshStore({
      clock,
      log,
      onChange: ({ state, policies, touched, local }) =>
        this.router.replace(state, { policies, touched, local }),
    });
    this.router = new StateRouter({
      state: this.store.state,
      settings: ROUTER_SETTINGS,
      clock,
      log,
    });
    this.cache = new RouteCache(this.router, { clock });
    const settings = {
      address,
      root: { kind: "system" },
      altHostname: null,
      token: { kind: "text", token: TOKEN },
      clusterId: "k",
      headers: [],
    } as const;
    const sink: MeshSink = { apply: (update, done) => this.#apply(update, done) };
    this.#running = new XdsClient({
      settings,
      transport: openTransport(settings, new HastyClock(clock, isHasty ? LIVENESS_HASTE : 1)),
      node: { id: "fuzz", metadata: { fields: {} } },
      sink,
      clock: new HastyClock(clock, isHasty ? BACKOFF_HASTE : 1),
      log,
      report: {
        message: () => void this.reported++,
        terminated: () => void this.terminated++,
      },
      onDemand: false,
      onReady: () => this.isReady = true,
      onApplied: (type) => {
        this.router.policyProgress(type);
        own(() => this.#applied(type));
      },
    }).run(this.#stop.signal);
    this.#running.catch((error) => this.#fail(error));
  }

  /** The stream before is over: what was not handled never will be. */
  begin(): void {
    this.#sent = [];
  }

  /** It is on its way. */
  send(prediction: Prediction): void {
    this.#sent!.push(prediction);
  }

  /** A first request, as the stream began. */
  checkFirst(request: Fields, at: number): void {
    const typeUrl = [ADDRESS_TYPE, AUTHORIZATION_TYPE][at]!;
    assertEquals(request["typeUrl"], typeUrl);
    assertEquals(request["node"].id, "fuzz");
    assertEquals([request["subscribe"], request["unsubscribe"], request["nonce"]], [
      [],
      [],
      undefined,
    ]);
    const entries: readonly Fields[] = request["initialVersions"];
    const versions = new Map(entries.map(({ name = "", version = "" }) => [name, version]));
    assertEquals(versions.size, entries.length);
    same(`versions of ${typeUrl}`, versions, this.model.versions[typeUrl]);
  }

  /** All answers are those of the model. */
  compare(drawer: Drawer): void {
    this.check();
    this.#own(() => {
      this.model.compare(this.store.state);
      const fresh = this.model.build();
      const router = this.#fresh(fresh);
      for (let left = 6; left > 0; left--) this.#compareRoute(drawer, router);
    });
  }

  #fresh(state: MeshState): StateRouter {
    return new StateRouter({ state, settings: ROUTER_SETTINGS, clock: this.#clock, log: () => {} });
  }

  #compareRoute(drawer: Drawer, fresh: Router): void {
    const workloads = [...this.model.workloads.values()];
    if (workloads.length === 0) return;
    const local = drawer.of(workloads);
    const targets = [...this.model.services.values()].flatMap(({ vips }) => vips)
      .concat(workloads.flatMap(({ network, ips }) => ips.map((ip) => ({ network, ip }))));
    const destination = targets.length === 0 || drawer.chance(10)
      ? "10.0.0.200"
      : drawer.of(targets).ip;
    const question: OutboundQuestion = {
      local: {
        namespace: local.namespace,
        name: local.name,
        serviceAccount: local.serviceAccount,
      },
      source: { ip: local.ips[0] ?? "10.9.9.9", port: 1 },
      destination: { ip: destination, port: drawer.of([80, 443, 8080]) },
    };
    let expected: unknown = null;
    fresh.outbound(question, (outcome) => expected = routeText(outcome));
    this.cache.outbound(question, (outcome) => {
      const found = routeText(outcome);
      queueMicrotask(() => {
        try {
          same(`route ${JSON.stringify(question)}`, found, expected);
          if (!(outcome instanceof ProxyError)) {
            for (const { weight } of outcome.candidates) assert(weight > 0 && weight < Infinity);
          }
        } catch (error) {
          this.#fail(error);
        }
      });
    });
  }

  /** @throws what was found since the last time. */
  check(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  /** Ends everything. @throws unless nothing of it is left. */
  async stop(): Promise<void> {
    this.#stop.abort();
    let timer;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("The client does not end")), 5_000);
    });
    await Promise.race([this.#running, late]);
    clearTimeout(timer);
    this.store.close();
    this.cache.close();
    this.check();
    assertEquals(this.#clock.waiting, 0, "timers are left");
    assertEquals(this.router.waiting, 0, "questions are left");
  }

  #apply(update: MeshUpdate, done: () => void): void {
    this.#own(() => {
      this.#skipUnknown();
      const prediction = this.#sent?.[0];
      if (prediction === undefined || !changesState(prediction)) {
        this.#fail(new Error("An update that nobody sent"));
      } else this.#try(() => same("update", update, prediction.update));
    });
    this.store.apply(update, () => {
      this.#own(() => {
        const prediction = this.#sent?.[0];
        if (prediction !== undefined) this.model.apply(prediction);
      });
      done();
    });
  }

  #applied(type: MeshUpdate["kind"]): void {
    if (this.#sent === null) return;
    this.#skipUnknown();
    const prediction = this.#sent.shift();
    if (prediction?.update?.kind !== type) this.#fail(new Error(`Nothing of ${type} was sent`));
    else this.model.remember(prediction);
  }

  /** Responses of other types go by without a trace. */
  #skipUnknown(): void {
    while (this.#sent?.[0]?.update === null) this.#sent.shift();
  }

  #try(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
  }
}

function routeText(outcome: Route | ProxyError): unknown {
  if (outcome instanceof ProxyError) return { code: outcome.code, message: outcome.message };
  const { source, candidates, service } = outcome;
  return { source, candidates, service };
}

/** Of spec/xds-state-and-dns §1.4; the map as what it is on the wire, so that any text may be a key. */
const REQUEST = new Protobuf({
  messages: {
    DeltaDiscoveryRequest: {
      node: "1 Node",
      typeUrl: "2 string",
      subscribe: "3 repeated string",
      unsubscribe: "4 repeated string",
      initialVersions: "5 repeated Version",
      nonce: "6 string",
      error: "7 Status",
    },
    Version: { name: "1 string", version: "2 string" },
    Node: { id: "1 string" },
    Status: { code: "1 int32", message: "2 string" },
  },
  enums: {},
});

/** A request as a server reads it. */
export function readRequest(message: Uint8Array): Fields {
  return REQUEST.decode("DeltaDiscoveryRequest", message);
}

/** @throws unless the request is the one reply to this response. */
export function checkReply(request: Fields, expected: Prediction): void {
  const { typeUrl, nonce, rejected } = expected;
  same("reply", {
    typeUrl: request["typeUrl"] ?? "",
    nonce: request["nonce"] ?? "",
    error: request["error"]?.message ?? null,
    code: request["error"]?.code ?? 0,
    node: request["node"] ?? null,
    subscribe: request["subscribe"],
    unsubscribe: request["unsubscribe"],
    versions: request["initialVersions"],
  }, {
    typeUrl,
    nonce,
    error: rejected?.toWellFormed() ?? null,
    code: 0,
    node: null,
    subscribe: [],
    unsubscribe: [],
    versions: [],
  });
}
