// Opens a plan and closes it: what the process shares, then one proxy for each local workload.
import { adminHandler } from "./admin/admin_handler.ts";
import { HttpServer, type HttpServerOptions } from "./admin/http_server.ts";
import { Readiness } from "./admin/readiness.ts";
import { readinessHandler } from "./admin/readiness_handler.ts";
import { statsHandler } from "./admin/stats_handler.ts";
import { formatAddress, type SocketAddress } from "./base/address.ts";
import { SystemRandom } from "./base/random.ts";
import { SystemClock } from "./base/system_clock.ts";
import { openAuthority } from "./certificate_authority.ts";
import type { Config } from "./config/config.ts";
import { invalidVariable } from "./config/errors.ts";
import { watchCrls } from "./crl_watch.ts";
import type { DataPlaneListeners } from "./dataplane.ts";
import { configDump } from "./dump.ts";
import { CertificateManager } from "./identity/certificate_manager.ts";
import type { DataPlaneInfo } from "./isolate/messages.ts";
import type { RunningPlane } from "./isolate/plane.ts";
import { watchRoots } from "./root_watch.ts";
import { requireOwnRoots } from "./runtime_trust.ts";
import { startLocalWorkload } from "./local_workload.ts";
import { denoDialerRefusal } from "./net/deno/deno_dialer.ts";
import { DenoNetwork, type DenoNetworkOptions } from "./net/deno/deno_network.ts";
import type { Transparency } from "./net/network.ts";
import { requirePermissions } from "./permissions.ts";
import { looksUpHosts, needsOf, type Plan, type ProxyPlan } from "./plan.ts";
import { type Planes, planesHere, planesInWorker } from "./planes.ts";
import type { HostResolver } from "./dns/host_resolver.ts";
import { explainHandler } from "./explain.ts";
import { openHostLookup } from "./host_lookup.ts";
import { localIdentity, type LocalIdentityOptions, watchTrustDomain } from "./local_identity.ts";
import { MeshFeed } from "./mesh_feed.ts";
import { MeshMetrics } from "./telemetry/mesh_metrics.ts";
import { TelemetryEvents } from "./telemetry/access_log.ts";
import type { Logger } from "./telemetry/logger.ts";
import { type Logging, openLogging } from "./telemetry/logging.ts";
import { renderMetrics } from "./telemetry/metrics_page.ts";
import { buildInfo, formatBuildInfo } from "./telemetry/version.ts";
import type { RotatingCertificateSource } from "./tls/certificate.ts";

/** The least time between two lines about refused connections. */
const REFUSAL_LOG_MS = 10_000;

const NOT_TRANSPARENT =
  "applications see the proxy's address instead of their callers': transparent listeners need CAP_NET_ADMIN or CAP_NET_RAW (ENABLE_ORIG_SRC=false if that is meant)";

/** What one running process shares between its proxies. */
interface Shared {
  readonly plan: Plan;
  readonly logging: Logging;
  readonly clock: SystemClock;
  readonly feed: MeshFeed;
  readonly events: TelemetryEvents;
  readonly certificates: CertificateManager;
}

/** What runs ends when `stop` aborts: drained within the configured deadline. */
export interface RunOptions {
  /** Its reason goes into the log where it is a text. */
  readonly stop: AbortSignal;
  /** `POST /quitquitquit` calls it. */
  readonly requestStop: () => void;
  /** Given the logging as soon as it is open, for lines about signals. */
  readonly onLogging?: (logging: Logging) => void;
  /** Told once everything listens. */
  readonly onReady?: () => void;
}

/**
 * Runs a plan until it is told to stop, then drains and closes everything, last opened first.
 * @throws {ProxyError} if something cannot be opened; nothing stays open then.
 */
export async function runPlan(plan: Plan, options: RunOptions): Promise<void> {
  requirePermissions(needsOf(plan));
  requireOwnRoots(plan.config);
  const { config } = plan;
  await using opened = new AsyncDisposableStack();
  const logging = opened.use(
    openLogging({ rustLog: config.logFilter, logFormat: config.logFormat }),
  );
  const { logger } = logging;
  options.onLogging?.(logging);
  const istioVersion = config.proxyMetadata.get("ISTIO_VERSION");
  const build = buildInfo(istioVersion, config.ioProvider);
  logger.log("info", "ztunnel", `version: ${formatBuildInfo(build)}`);
  for (const { level, text } of config.notices) logger.log(level, "ztunnel::config", text);
  for (const warning of plan.mesh.warnings) logger.log("warn", "ztunnel::config", warning);

  const onBug = (error: unknown) =>
    logger.log("error", "ztunnel::app", "bug outside of any connection", {
      error: error instanceof Error ? error.stack ?? error.message : String(error),
    });
  const clock = new SystemClock({ onBug });
  const onRefused = refusalLog(logger, clock);
  const denoNetwork = await openDenoNetwork(plan, {
    clock,
    onBug,
    onRefused: (max) => onRefused(1, max),
  });
  const planes = opened.use(
    config.native === null ? planesHere(denoNetwork, clock) : await planesInWorker(config.native, {
      logger,
      logLevel: () => logger.filter.widest,
      clock,
      descriptorsMax: config.descriptorsMax,
      inheritedFds: plan.inheritedFds,
      onRefused,
    }),
  );
  if (planes.native !== null) logNative(planes.native, logger);
  const metrics = new MeshMetrics();
  if (config.crlPath !== null) {
    // Before anything is served: nobody revoked gets in while the file is being read.
    opened.use(
      await watchCrls({
        path: config.crlPath,
        clock,
        log: logger.log.bind(logger),
        onLists: (lists) => planes.replaceLists(lists),
        onFailure: (reason) => metrics.listsFailed(reason),
      }),
    );
  }
  const feed = opened.use(
    await MeshFeed.open({
      config,
      mesh: plan.mesh,
      clock,
      logger,
      metrics,
      hosts: openHosts(plan, opened, { network: denoNetwork, clock, logger }),
    }),
  );
  const log = logger.log.bind(logger);
  const certificates = new CertificateManager({
    authority: await openAuthority(config, { clock, log }),
    clock,
    random: new SystemRandom(),
    log,
  });
  opened.defer(() => certificates.close());
  if (config.ca?.root.kind === "file") {
    // The CA may sign by another root from now on; peers that do so already are believed by its next answer.
    const { path } = config.ca.root;
    opened.use(
      await watchRoots({
        path,
        clock,
        onChange: () => {
          log("info", "ztunnel::tls::control", "trust roots have changed", { path });
          certificates.renewAll();
        },
      }),
    );
  }
  const shared: Shared = {
    plan,
    logging,
    clock,
    feed,
    events: new TelemetryEvents(logger),
    certificates,
  };

  const readiness = new Readiness({ logger, clock });
  const stateTask = readiness.register("state manager");
  const proxyTask = readiness.register("proxy");
  const servers: HttpServer[] = [];
  const serve = async (server: Omit<HttpServerOptions, "logger">) => {
    servers.push(opened.use(await HttpServer.listen({ ...server, logger })));
  };
  await serve({
    component: "readiness",
    addresses: plan.readiness,
    handler: readinessHandler(readiness),
  });
  const syncing = feed.synced.then(() => stateTask.complete());
  await serve({
    component: "admin",
    addresses: plan.admin,
    handler: adminHandler({
      logger,
      configDump: () =>
        configDump({
          plan,
          router: feed.router,
          certificates: certificates.dump(),
          build,
          planes,
        }),
      requestShutdown: options.requestStop,
      explain: explainHandler({
        router: feed.router,
        locals: plan.proxies.map(({ local }) => local),
        nodeName: config.nodeName,
      }),
    }),
  });

  const running: RunningPlane[] = [];
  opened.defer(async () => {
    await Promise.all(running.map((plane) => ended((done) => plane.stop(done))));
  });
  await serve({
    component: "stats",
    addresses: plan.stats,
    handler: statsHandler(() => {
      metrics.revoked(planes.revocation);
      return renderMetrics({ istioVersion: build.istioVersion, families: metrics.render() });
    }),
  });
  // Nothing is served by half a mesh (spec/xds-state-and-dns §1.11).
  await Promise.race([syncing, aborted(options.stop), planes.death, feed.death]);
  const identities: LocalIdentityOptions = {
    router: feed.router,
    nodeName: config.nodeName,
    trustDomain: config.trustDomain,
    logger,
    signal: options.stop,
  };
  for (const proxy of options.stop.aborted ? [] : plan.proxies) {
    const identity = await Promise.race([
      localIdentity(proxy.local, identities),
      planes.death,
      feed.death,
    ]);
    if (identity === null) break;
    const watch = watchTrustDomain(proxy.local, identity, identities);
    opened.defer(() => watch.cancel());
    const plane = await Promise.race([
      openProxy(proxy, shared.certificates.source(identity), shared, planes),
      planes.death,
      feed.death,
    ]);
    running.push(plane);
    logListeners(plane, logging, config);
  }
  for (const address of denoNetwork.inheritedWaiting) {
    const text = "nobody needs the listener that was handed over";
    logger.log("warn", "ztunnel::app", text, { address: { unquoted: formatAddress(address) } });
  }
  denoNetwork.close();
  for (const { name, address } of plan.workloads) {
    const listener = await startLocalWorkload(denoNetwork, address, name);
    opened.defer(() => listener.close());
  }
  if (!options.stop.aborted) {
    logger.log("info", "ztunnel::app", "proxy mode enabled");
    proxyTask.complete();
    options.onReady?.();
  }

  await Promise.race([aborted(options.stop), planes.death, feed.death]);
  const { reason } = options.stop;
  if (typeof reason === "string") logger.log("info", "ztunnel::signal", reason);
  const drained = Promise.all([
    ...servers.map((server) => server.drain()),
    ...running.map((plane) => ended((done) => plane.drain(config.drainDeadlineMs, done))),
  ]);
  await Promise.race([drained, planes.death, feed.death]);
}

/** The runtime's own sockets: of the data planes, or of the applications of local mode. */
async function openDenoNetwork(
  { config, admin, inheritedFds }: Plan,
  options: Pick<DenoNetworkOptions, "clock" | "onBug" | "onRefused">,
): Promise<DenoNetwork> {
  const { tunnelDialer, descriptorsMax } = config;
  const isDialerUsed = config.native === null && tunnelDialer === "deno";
  const refusal = isDialerUsed ? await denoDialerRefusal(admin[0]) : null;
  if (refusal !== null) throw invalidVariable("TUNNEL_DIALER", "deno", refusal);
  return new DenoNetwork({
    ...options,
    tunnelDialer,
    inherited: config.native === null ? inheritedFds : [],
    ...(descriptorsMax === null ? {} : { descriptorsMax }),
  });
}

/** What the data planes' TLS is made of, since an operator may have chosen it. */
function logNative({ openssl, fips, policy }: DataPlaneInfo, logger: Logger): void {
  logger.log("info", "ztunnel::app", "native network", {
    openssl,
    keyExchange: policy,
    ...(fips === null ? {} : { fips }),
  });
}

/** Says that connections are refused, at most once in {@link REFUSAL_LOG_MS}. */
function refusalLog(
  logger: Logger,
  clock: SystemClock,
): (count: number, connectionsMax: number) => void {
  let refused = 0;
  let saidMs = -Infinity;
  return (count, connectionsMax) => {
    refused += count;
    if (clock.nowMs() - saidMs < REFUSAL_LOG_MS) return;
    saidMs = clock.nowMs();
    const text = "refusing connections: as many are open as descriptors allow (DESCRIPTORS_MAX)";
    logger.log("warn", "ztunnel::app", text, { max: connectionsMax, refused });
  };
}

/** Names are looked up where the mesh may need it and the machine's files say how. */
function openHosts(
  plan: Plan,
  opened: AsyncDisposableStack,
  parts: Pick<Parameters<typeof openHostLookup>[0], "network" | "clock" | "logger">,
): HostResolver | null {
  if (!looksUpHosts(plan)) return null;
  const hosts = openHostLookup({ ...parts, ipv6Enabled: plan.config.ipv6Enabled });
  opened.defer(() => hosts.close());
  return hosts;
}

function openProxy(
  proxy: ProxyPlan,
  certificates: RotatingCertificateSource,
  shared: Shared,
  planes: Planes,
): Promise<RunningPlane> {
  const { config } = shared.plan;
  // Deno.connectTls cannot choose where its connections start.
  const canBind = config.native !== null || config.tunnelDialer === "node";
  return planes.open({
    router: shared.feed.router,
    certificates,
    events: shared.events,
    local: proxy.local,
    listeners: openable(proxy.listeners, planes),
    limits: {
      poolStreamsMax: config.pool.streamsMax,
      poolIdleMs: config.pool.idleMs,
    },
    http2: config.http2,
    settings: {
      internalPorts: config.internalPorts,
      network: config.network,
      responseBaggage: config.responseBaggage,
      keepalive: config.keepalive,
      userTimeoutMs: config.userTimeoutMs,
      originalSource: transparency(config),
      bindIp: canBind ? proxy.bindIp : null,
      policyInfoLogging: config.authorizationLogLevel === "info",
    },
  });
}

/** The captured ports stay closed where nobody would learn what was captured. */
function openable(listeners: DataPlaneListeners, planes: Planes): DataPlaneListeners {
  const { inboundPlaintext, outbound, ...others } = listeners;
  const captures = (address: SocketAddress | undefined) =>
    address !== undefined && planes.captures(address.port);
  return {
    ...others,
    ...(captures(inboundPlaintext) ? { inboundPlaintext } : {}),
    ...(captures(outbound) ? { outbound } : {}),
  } as DataPlaneListeners;
}

/** `ENABLE_ORIG_SRC` (spec/data-path §3.5). */
function transparency({ originalSource }: Config): Transparency {
  if (originalSource === null) return "try";
  return originalSource ? "must" : "never";
}

/** A line for each data listener, in the order they were opened (spec/config-and-observability §4.1). */
function logListeners({ local }: RunningPlane, { logger }: Logging, config: Config): void {
  const lines = [
    { open: local.inbound, component: "inbound", scope: "inbound" },
    { open: local.inboundPlaintext, component: "inbound plaintext", scope: "inbound_passthrough" },
    { open: local.outbound, component: "outbound", scope: "outbound" },
    { open: local.socks5, component: "socks5", scope: "socks5" },
  ];
  for (const { open, component, scope } of lines) {
    if (open === null) continue;
    logger.log("info", `ztunnel::proxy::${scope}`, "listener established", {
      address: { unquoted: formatAddress(open.address) },
      component,
      transparent: open.transparent,
    });
  }
  // Asked to try (spec/data-path §3.5): it works without, but not as most expect. The runtime's sockets never can.
  const isTried = config.ioProvider === "native" && config.originalSource === null;
  if (isTried && local.inbound?.transparent === false) {
    logger.log("warn", "ztunnel::app", NOT_TRANSPARENT);
  }
}

function ended(end: (done: () => void) => void): Promise<void> {
  return new Promise((resolve) => end(resolve));
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(), { once: true })
  );
}
