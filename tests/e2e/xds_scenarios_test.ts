// The files of tests/scenarios, played to the real client of the control plane and the store that it fills.
import { SystemClock } from "../../src/base/system_clock.ts";
import type { KnownService, MeshView } from "../../src/state/mesh_view.ts";
import { MeshStore } from "../../src/state/mesh_store.ts";
import { serviceKey } from "../../src/state/resources.ts";
import { nodeIdentity } from "../../src/xds/node_identity.ts";
import type { XdsSettings } from "../../src/xds/settings.ts";
import { XdsClient } from "../../src/xds/xds_client.ts";
import { MeshCa } from "../support/mesh_ca.ts";
import {
  type MeshSummary,
  playScenario,
  readScenario,
  type ScenarioClient,
} from "../support/xds_scenario.ts";
import type { XdsServer } from "../support/xds_server.ts";

const ALT_HOSTNAME = "istiod.istio-system.svc";
const FOLDER = new URL("../scenarios/", import.meta.url);

type Trust = Pick<XdsSettings, "root" | "altHostname">;

/** Client and store as the program joins them. */
class ClientAndStore implements ScenarioClient {
  isReady = false;
  readonly terminations: string[] = [];
  readonly messages: string[] = [];
  readonly log: string[] = [];
  readonly woken: string[] = [];
  readonly #clock = new SystemClock();
  readonly #store: MeshStore;
  readonly #client: XdsClient;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;

  constructor(
    { address }: XdsServer,
    { onDemand, trust }: { readonly onDemand: boolean; readonly trust: Trust },
  ) {
    const clock = this.#clock;
    const node = {
      instanceIp: "10.0.0.250",
      podName: "zt",
      podNamespace: "ns",
      nodeName: "node-1",
      metadata: new Map(),
      jsonMetadata: new Map(),
    };
    this.#store = new MeshStore({ clock, onChange: () => {} });
    this.#client = new XdsClient({
      settings: {
        address,
        ...trust,
        token: null,
        clusterId: "Kubernetes",
        headers: [],
      },
      node: nodeIdentity(node),
      sink: this.#store,
      clock,
      log: (level, _scope, message) => void this.log.push(`${level} ${message}`),
      report: {
        message: (typeUrl) => void this.messages.push(typeUrl.split(".").at(-1)!),
        terminated: (reason) => void this.terminations.push(reason),
      },
      onDemand,
      onReady: () => this.isReady = true,
      onApplied: () => {},
    });
    this.#running = this.#client.run(this.#stopping.signal);
  }

  state(): MeshSummary {
    const { workloads, services, policies }: MeshView = this.#store.state;
    return {
      workloads: workloads.map(({ uid }) => uid),
      services: Object.fromEntries(
        services.map((known) => [serviceKey(known.service), endpointsOf(known)]),
      ),
      policies: policies.map(({ namespace, name }) => `${namespace}/${name}`),
    };
  }

  demand(key: string): void {
    this.#client.want(key, () => {
      this.woken.push(`${key}, ${this.#store.state.workloads.length} workloads known`);
    });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#store.close();
  }
}

function endpointsOf({ endpoints }: KnownService): string[] {
  return [...endpoints.values()].map(({ workload, ports, healthy }) => {
    const map = [...ports].map(([service, target]) => `${service}→${target}`).join();
    return `${workload.uid} ${map}${healthy ? "" : " unhealthy"}`;
  }).sort();
}

const scenarios = [...Deno.readDirSync(FOLDER)]
  .filter(({ name }) => name.endsWith(".yaml"))
  .map(({ name: file }) => ({
    file,
    scenario: readScenario(Deno.readTextFileSync(new URL(file, FOLDER))),
  }))
  .sort((a, b) => a.file < b.file ? -1 : 1)
  .flatMap(({ file, scenario }) =>
    scenario.ways.map((way) => ({ file, scenario, way, name: scenario.name }))
  );

Deno.test.each(scenarios)("XdsClient by $way, $file: $name", async ({ scenario, way }) => {
  if (way === "fetch") {
    const trust: Trust = { root: { kind: "pem", pem: "" }, altHostname: null };
    await playScenario(
      scenario,
      {},
      (server, options) => new ClientAndStore(server, { ...options, trust }),
    );
    return;
  }
  const ca = await MeshCa.create();
  const tls = await ca.issue({ uris: [], dnsNames: [ALT_HOSTNAME] });
  const trust: Trust = { root: { kind: "pem", pem: ca.rootPem }, altHostname: ALT_HOSTNAME };
  await playScenario(
    scenario,
    { tls },
    (server, options) => new ClientAndStore(server, { ...options, trust }),
  );
});
