// The settings as /config_dump shows them (spec/config-and-observability §5.7.7). What is not built yet is left out.
import type { JsonObject } from "./admin/config_dump.ts";
import { formatAddress } from "./base/address.ts";
import { type Config, PORTS } from "./config/config.ts";

function duration(ms: number): JsonObject {
  return { secs: Math.floor(ms / 1000), nanos: Math.round(ms % 1000 * 1e6) };
}

/** @param proxyArgs The command line's arguments. */
export function configJson(config: Config, proxyArgs: readonly string[]): JsonObject {
  const { listeners, http2, pool, keepalive, workload } = config;
  const hasIpv6Loopback = listeners.admin.some(({ ip }) => ip === "::1");
  const isLocalhost = listeners.admin[0]?.ip === "127.0.0.1";
  return {
    proxy: config.proxyEnabled,
    dnsProxy: false,
    windowSize: http2.streamWindowBytes,
    connectionWindowSize: http2.connectionWindowBytes,
    frameSize: http2.frameBytesMax,
    poolMaxStreamsPerConn: pool.streamsMax,
    poolUnusedReleaseTimeout: duration(pool.idleMs),
    socks5Addr: listeners.socks5 === null ? null : formatAddress(listeners.socks5),
    adminAddr: isLocalhost
      ? { Localhost: [hasIpv6Loopback, listeners.admin[0]!.port] }
      : { SocketAddr: formatAddress(listeners.admin[0]!) },
    statsAddr: { SocketAddr: formatAddress(listeners.stats) },
    readinessAddr: { SocketAddr: formatAddress(listeners.readiness) },
    inboundAddr: formatAddress(listeners.inbound),
    inboundPlaintextAddr: formatAddress(listeners.inboundPlaintext),
    outboundAddr: formatAddress(listeners.outbound),
    dnsProxyAddr: { Localhost: [hasIpv6Loopback, PORTS.dns] },
    illegalPorts: [...config.internalPorts],
    network: config.network,
    localNode: config.nodeName,
    proxyMode: "Dedicated",
    proxyWorkloadInformation: { ...workload },
    clusterId: config.clusterId,
    clusterDomain: config.clusterDomain,
    caAddress: null,
    xdsAddress: null,
    secretTtl: duration(config.secretTtlMs),
    xdsOnDemand: false,
    fakeCa: true,
    fakeSelfInbound: false,
    selfTerminationDeadline: duration(config.drainDeadlineMs),
    proxyMetadata: Object.fromEntries(config.proxyMetadata),
    requireOriginalSource: config.originalSource,
    proxyArgs: proxyArgs.join(" "),
    socketConfig: {
      keepaliveEnabled: keepalive !== null,
      keepaliveTime: duration(keepalive?.idleMs ?? 0),
      keepaliveInterval: duration(keepalive?.intervalMs ?? 0),
      keepaliveRetries: keepalive?.probes ?? 0,
      userTimeoutEnabled: config.userTimeoutMs !== null,
    },
    localhostAppTunnel: config.localhostAppTunnel,
    ipv6Enabled: config.ipv6Enabled,
    enableEnhancedBaggage: config.responseBaggage,
    tunnelDialer: config.tunnelDialer,
    ioProvider: config.ioProvider,
  };
}
