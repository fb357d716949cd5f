// The settings as /config_dump shows them (spec/config-and-observability §5.7.7). What is not built yet is left out.
import type { JsonObject } from "./admin/config_dump.ts";
import { formatAddress, parsePort } from "./base/address.ts";
import type { Config, ControlServer, TrustRoot } from "./config/config.ts";

/** Stands where the original shows a header's value, which may be a secret. */
export const HIDDEN = "<hidden>";

function duration(ms: number): JsonObject {
  return { secs: Math.floor(ms / 1000), nanos: Math.round(ms % 1000 * 1e6) };
}

/** Never the certificates themselves. */
function rootJson(root: TrustRoot | undefined): JsonObject | string | null {
  if (root === undefined) return null;
  if (root.kind === "file") return { File: root.path };
  return root.kind === "pem" ? "Static" : "Default";
}

function headersJson(server: ControlServer | null): string[][] {
  return server === null ? [] : server.headers.map(([name]) => [name, HIDDEN]);
}

/**
 * Holds no secrets: no token, no header's value, no certificate, no local mesh.
 * @param proxyArgs The command line's arguments.
 */
export function configJson(config: Config, proxyArgs: readonly string[]): JsonObject {
  const { listeners, http2, pool, keepalive, workload, self, xds, ca, native } = config;
  const hasIpv6Loopback = listeners.admin.some(({ ip }) => ip === "::1");
  const isLocalhost = listeners.admin[0]?.ip === "127.0.0.1";
  const dnsLocalPort = config.dns.address.startsWith("localhost:")
    ? parsePort(config.dns.address.slice("localhost:".length))
    : null;
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
    dnsProxyAddr: dnsLocalPort === null
      ? { SocketAddr: config.dns.address }
      : { Localhost: [hasIpv6Loopback, dnsLocalPort] },
    illegalPorts: [...config.internalPorts],
    network: config.network,
    localNode: config.nodeName,
    proxyMode: config.mode === "shared" ? "Shared" : "Dedicated",
    proxyWorkloadInformation: workload === null ? null : { ...workload },
    clusterId: config.clusterId,
    clusterDomain: config.clusterDomain,
    caAddress: ca?.address ?? null,
    caRootCert: rootJson(ca?.root),
    altCaHostname: ca?.altHostname ?? null,
    xdsAddress: xds?.address ?? null,
    xdsRootCert: rootJson(xds?.root),
    altXdsHostname: xds?.altHostname ?? null,
    preferedServiceNamespace: config.preferredServiceNamespace,
    secretTtl: duration(config.secretTtlMs),
    xdsOnDemand: xds?.onDemand ?? false,
    fakeCa: config.fakeCa !== null,
    fakeSelfInbound: false,
    selfTerminationDeadline: duration(config.drainDeadlineMs),
    proxyMetadata: Object.fromEntries(config.proxyMetadata),
    numWorkerThreads: config.workerThreads,
    requireOriginalSource: config.originalSource,
    proxyArgs: proxyArgs.join(" "),
    inpodUds: config.inpod.socketPath,
    inpodPortReuse: config.inpod.portReuse,
    packetMark: native?.packetMark ?? null,
    socketConfig: {
      keepaliveEnabled: keepalive !== null,
      keepaliveTime: duration(keepalive?.idleMs ?? 0),
      keepaliveInterval: duration(keepalive?.intervalMs ?? 0),
      keepaliveRetries: keepalive?.probes ?? 0,
      userTimeoutEnabled: config.userTimeoutMs !== null,
    },
    xdsHeaders: headersJson(xds),
    caHeaders: headersJson(ca),
    localhostAppTunnel: config.localhostAppTunnel,
    ztunnelIdentity: self?.identity ?? null,
    ztunnelWorkload: self === null ? null : { ...self.workload },
    ipv6Enabled: config.ipv6Enabled,
    crlPath: config.crlPath,
    enableEnhancedBaggage: config.responseBaggage,
    tunnelDialer: config.tunnelDialer,
    ioProvider: config.ioProvider,
  };
}
