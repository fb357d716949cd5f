// Where this process's mesh comes from: the file, the control plane, and the Router over what they say.
import type { Clock } from "./base/clock.ts";
import { SystemRandom } from "./base/random.ts";
import { controlFileReader } from "./control_files.ts";
import { type Config, PORTS } from "./config/config.ts";
import { watchMeshFile } from "./mesh_file_watch.ts";
import { type MeshFile, parseMeshFile } from "./state/mesh_file.ts";
import type { HostResolver } from "./state/host_resolver.ts";
import { MeshStore } from "./state/mesh_store.ts";
import { StateRouter } from "./state/state_router.ts";
import type { Logger } from "./telemetry/logger.ts";
import type { MeshMetrics } from "./telemetry/mesh_metrics.ts";
import { nodeIdentity } from "./xds/node_identity.ts";
import { XdsClient } from "./xds/xds_client.ts";

export interface MeshFeedOptions {
  readonly config: Config;
  /** What the file says at the start; empty where there is none. */
  readonly mesh: MeshFile;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MeshMetrics;
  /** Null: workloads that are known by name alone cannot be reached. */
  readonly hosts: HostResolver | null;
}

/** Keeps the mesh as new as its sources until it is closed. */
export class MeshFeed implements AsyncDisposable {
  readonly router: StateRouter;
  /** Settles when connections may be served: the first answer of the control plane, or the file. Never fails. */
  readonly synced: Promise<void>;
  /** Fails if something that follows the mesh ends by a bug; never settles otherwise. */
  readonly death: Promise<never>;
  readonly #store: MeshStore;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>[] = [];

  /** Takes the file; then follows it, and the control plane, in the background. */
  static async open(options: MeshFeedOptions): Promise<MeshFeed> {
    const feed = new MeshFeed(options);
    await new Promise<void>((resolve) => feed.#store.replaceAll(options.mesh, resolve));
    return feed;
  }

  private constructor(options: MeshFeedOptions) {
    const { config, clock, logger, metrics, hosts } = options;
    const log = logger.log.bind(logger);
    this.#store = new MeshStore({
      clock,
      log,
      onChange: ({ state, ...change }) => this.router.replace(state, change),
    });
    const synced = Promise.withResolvers<void>();
    const death = Promise.withResolvers<never>();
    death.promise.catch(() => {}); // Whoever waits for it hears; nobody need wait.
    this.death = death.promise;
    this.synced = synced.promise;
    const client = config.xds === null ? null : new XdsClient({
      settings: { ...config.xds, clusterId: config.clusterId },
      node: nodeIdentity(
        {
          ...config.xds.node,
          metadata: config.xds.metadata,
          jsonMetadata: config.xds.jsonMetadata,
        },
        (key, why) => log("error", "ztunnel::xds", `metadata ${key} is not sent: ${why}`),
      ),
      sink: this.#store,
      clock,
      log,
      report: metrics,
      onDemand: config.xds.onDemand,
      random: new SystemRandom(),
      readFile: controlFileReader(config.xds, log),
      onReady: () => synced.resolve(),
      onApplied: (type) => this.router.policyProgress(type),
    });
    this.router = new StateRouter({
      state: this.#store.state,
      settings: {
        network: config.network,
        hbonePort: PORTS.inbound,
        internalPorts: config.internalPorts,
        clusterDomain: config.clusterDomain,
        nodeName: config.nodeName,
        preferredNamespace: config.preferredServiceNamespace,
        localhostAppTunnel: config.localhostAppTunnel,
      },
      clock,
      log,
      random: new SystemRandom(),
      hosts,
      onDemand: config.xds?.onDemand === true ? client : null,
      onHostAsked: (labels) => metrics.hostAsked(labels),
    });
    if (client === null) synced.resolve();
    else this.#running.push(client.run(this.#stop.signal).catch(death.reject));
    this.#follow(options);
  }

  /** Reloads the file when it changes. Beside a control plane it would erase what that said. */
  #follow({ config, mesh, clock, logger }: MeshFeedOptions): void {
    const { localMesh, xds } = config;
    if (localMesh?.kind !== "file" || xds !== null) return;
    const { path } = localMesh;
    this.#running.push(watchMeshFile({
      path,
      clock,
      log: logger.log.bind(logger),
      parse: (text) => parseMeshFile(text, { source: path }),
      onMesh: (newer) => this.#store.replaceAll(newer, () => {}),
      ...(mesh.digest === undefined ? {} : { loadedDigest: mesh.digest }),
      signal: this.#stop.signal,
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#running);
    this.#store.close();
  }
}
