// All settings as one frozen value, checked before anything opens (spec/config-and-observability §2, §3).
import { parsePort, parseSocketAddress } from "../base/address.ts";
import { spiffeId } from "../tls/spiffe_id.ts";
import { type CaConfig, readCa, readToken, readXds, type XdsConfig } from "./control_plane.ts";
import { type Environment, EnvReader, U16_LIMIT, U32_LIMIT, U64_LIMIT } from "./env_reader.ts";
import { ConfigError, invalidConfiguration, type Notice, shownValue } from "./errors.ts";
import { freeze } from "./freeze.ts";
import { type Listeners, PORTS, readListeners } from "./listeners.ts";
import { PrefixedVariables } from "./metadata.ts";
import {
  type IoProvider,
  type NativeSettings,
  readIoProvider,
  readNative,
  SHARED_PACKET_MARK,
} from "./native_settings.ts";
import { readProxyConfig } from "./proxy_config.ts";
import { readWorkerThreads } from "./worker_threads.ts";

export type { CaConfig, ControlServer, Token, TrustRoot, XdsConfig } from "./control_plane.ts";
export type { Notice } from "./errors.ts";
export { type Listeners, PORTS } from "./listeners.ts";
export type { Header } from "./metadata.ts";
export { type IoProvider, type NativeSettings, readNativeSettings } from "./native_settings.ts";

/** Whether the proxy serves one workload, or the pods of a node. */
export type ProxyMode = "dedicated" | "shared";

/** Which workload the proxy speaks for. */
export interface WorkloadInfo {
  /** Kubernetes namespace. */
  readonly namespace: string;
  /** Pod name. */
  readonly name: string;
  /** Service account, the last part of its SPIFFE ID. */
  readonly serviceAccount: string;
}

/** The mesh that is given instead of a control plane, or beside it. Its text is never shown in dumps. */
export type LocalMesh =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "text"; readonly text: string };

/** Everything that can be set. Frozen, all the way down. */
export interface Config {
  /** `PROXY_MODE`. */
  readonly mode: ProxyMode;
  /** `PROXY_WORKLOAD_INFO`: whom the proxy speaks for; null in shared mode, which serves many. */
  readonly workload: WorkloadInfo | null;
  /** The proxy's own pod and SPIFFE ID, for its own metrics listener; null: not known. */
  readonly self: { readonly workload: WorkloadInfo; readonly identity: string } | null;
  /** `ENABLE_PROXY`. */
  readonly proxyEnabled: boolean;
  /** `LOCAL_XDS_PATH` or `LOCAL_XDS`; null: none. */
  readonly localMesh: LocalMesh | null;
  /** The control plane; null: none. */
  readonly xds: XdsConfig | null;
  /** Who certifies workloads; null: `fakeCa` does. */
  readonly ca: CaConfig | null;
  /** A throw-away CA; `directory` is where its root lives, null: in memory only. Null: `ca` it is. */
  readonly fakeCa: { readonly directory: string | null } | null;
  /** `CRL_PATH`: revocation lists; null: none. */
  readonly crlPath: string | null;
  /** Where each server listens, `BIND_ADDRESS` and `IPV6_ENABLED` considered. */
  readonly listeners: Listeners;
  /** Ports nobody may be sent to (spec/data-path §0.1). */
  readonly internalPorts: ReadonlySet<number>;
  /** `IPV6_ENABLED`. */
  readonly ipv6Enabled: boolean;
  /** `NETWORK`: the name of this node's network; "" by default. */
  readonly network: string;
  /** null: every workload counts as local. */
  readonly nodeName: string | null;
  /** `ISTIO_META_CLUSTER_ID`, else `CLUSTER_ID`. */
  readonly clusterId: string;
  /** `CLUSTER_DOMAIN`: the DNS suffix of the cluster. */
  readonly clusterDomain: string;
  /** `TRUST_DOMAIN`. */
  readonly trustDomain: string;
  /** `PREFERED_SERVICE_NAMESPACE`: where a name is looked for after the client's own namespace; null: nowhere. */
  readonly preferredServiceNamespace: string | null;
  /** `SECRET_TTL`: validity of certificates asked for, in milliseconds. */
  readonly secretTtlMs: number;
  /** Pooled HBONE connections: streams of each, and milliseconds unused until released. */
  readonly pool: { readonly streamsMax: number; readonly idleMs: number };
  /** Windows and largest frame we advertise, in octets. */
  readonly http2: {
    readonly streamWindowBytes: number;
    readonly connectionWindowBytes: number;
    readonly frameBytesMax: number;
  };
  /** null: off. */
  readonly keepalive: {
    readonly idleMs: number;
    readonly intervalMs: number;
    readonly probes: number;
  } | null;
  /** `USER_TIMEOUT_ENABLED`: how long sent bytes may stay unacknowledged, in milliseconds; null: the kernel's. */
  readonly userTimeoutMs: number | null;
  /** Callers' addresses for applications: true: must work, false: never, null: try. */
  readonly originalSource: boolean | null;
  /** `ENABLE_RESPONSE_BAGGAGE`. */
  readonly responseBaggage: boolean;
  /** `LOCALHOST_APP_TUNNEL`. */
  readonly localhostAppTunnel: boolean;
  /** `AUTHZ_POLICY_INFO_LOGGING`: the level of authorization decision lines. */
  readonly authorizationLogLevel: "debug" | "info";
  /** RUST_LOG as written. */
  readonly logFilter: string;
  /** `LOG_FORMAT`. */
  readonly logFormat: "plain" | "json";
  /** How long connections may go on after the signal, in milliseconds. */
  readonly drainDeadlineMs: number;
  /** What DNS was asked for, and whether that was said or is the default. */
  readonly dns: { readonly asked: boolean; readonly explicit: boolean; readonly address: string };
  /** The node agent's socket, and whether an old and a new proxy may listen in a pod at once. */
  readonly inpod: { readonly socketPath: string; readonly portReuse: boolean };
  /** Threads that carry traffic, at least 1. */
  readonly workerThreads: number;
  /** `TUNNEL_DIALER`: which TLS client opens tunnels. */
  readonly tunnelDialer: "node" | "deno";
  /** `IO_PROVIDER`: which network implementation is used. */
  readonly ioProvider: IoProvider;
  /** What only the native network knows; null with `IO_PROVIDER=deno`. */
  readonly native: NativeSettings | null;
  /** Listeners that whoever started the process opened, as `LISTEN_FDS` and `LISTEN_PID` say; null: none. */
  readonly inheritedListeners: { readonly fds: string; readonly pid: string | null } | null;
  /** `DESCRIPTORS_MAX`: descriptors this process may open, which bounds its connections; null: not known. */
  readonly descriptorsMax: number | null;
  /** ProxyConfig's metadata under the environment's (`ISTIO_META_*`), without that prefix. */
  readonly proxyMetadata: ReadonlyMap<string, string>;
  /** For the log: what was asked for and will not happen. */
  readonly notices: readonly Notice[];
}

/** What the settings depend on beside the environment. */
export interface ConfigSources {
  /** Text of the mesh configuration file (MESH_CONFIG_PATH); null or absent where there is none. */
  readonly meshConfigText?: string | null;
  /** False where the loopback device has no IPv6: then admin does not listen there. */
  readonly loopbackIpv6?: boolean;
  /** Whether a path, never "", exists, which tells paths from tokens and certificates; absent: none does. */
  readonly exists?: (path: string) => boolean;
  /** Names of the variables that are set and begin with one of CONFIG_PREFIXES; others are passed over. */
  readonly names?: readonly string[];
  /** Logical CPUs of the machine; absent: 1. */
  readonly cpus?: number;
}

/**
 * Reads the settings. Asks `env` for the names in CONFIG_VARIABLES and `sources.names` only. What is not built yet is
 * taken too: refuseUnbuilt() is for that.
 * @throws {ConfigError} for the first thing that is wrong.
 */
export function readConfig(env: Environment, sources: ConfigSources = {}): Config {
  const read = new EnvReader(env);
  const proxyConfig = readProxyConfig({
    meshText: sources.meshConfigText ?? null,
    envText: read.text("PROXY_CONFIG"),
  });
  const notices: Notice[] = [];
  const prefixed = new PrefixedVariables(env, sources.names ?? []);
  const metadata = prefixed.metadata(proxyConfig.metadata);

  const mode = read.choice("PROXY_MODE", ["dedicated", "shared"], "shared");
  const workload = mode === "shared" ? null : readWorkload(read);
  const trustDomain = read.text("TRUST_DOMAIN") ?? "cluster.local";
  const nodeName = read.text("NODE_NAME");
  const proxyEnabled = read.boolean("ENABLE_PROXY", true);
  const dns = readDns(metadata);
  const onDemand = read.boolean("XDS_ON_DEMAND", false);
  checkServers({ proxyEnabled, dnsAsked: dns.asked, onDemand });

  const exists = (path: string) => path !== "" && (sources.exists?.(path) ?? false);
  const token = readToken(read, exists, notices);
  const xds = readXds(read, {
    exists,
    token,
    headers: prefixed.headers("XDS_HEADER_", notices),
    discoveryAddress: proxyConfig.discoveryAddress,
    onDemand,
    node: {
      instanceIp: read.text("INSTANCE_IP") ?? "1.1.1.1",
      podName: read.text("POD_NAME") ?? "",
      podNamespace: read.text("POD_NAMESPACE") ?? "",
      nodeName: nodeName ?? "",
    },
    metadata,
    jsonMetadata: prefixed.jsonMetadata(notices),
  });
  const caHeaders = prefixed.headers("CA_HEADER_", notices);
  const fakeCa = readFakeCa(read);
  if (fakeCa !== null && read.text("CA_ADDRESS")) {
    const text = "FAKE_CA=true: a throw-away CA issues certificates, CA_ADDRESS has no effect";
    notices.push({ level: "warn", text });
  }
  const ca = fakeCa === null ? readCa(read, { exists, token, headers: caHeaders }) : null;

  const ioProvider = readIoProvider(read);
  const { native, warning } = readNative(read, {
    ioProvider,
    markOtherwise: mode === "shared" ? SHARED_PACKET_MARK : null,
  });
  if (warning !== null) notices.push({ level: "warn", text: warning });
  const keepalive = readKeepalive(read);
  const ipv6Enabled = read.boolean("IPV6_ENABLED", true);
  const socks5 = read.boolean("UNSTABLE_ENABLE_SOCKS5", false);

  return freeze({
    mode,
    workload,
    self: readSelf(read, trustDomain),
    proxyEnabled,
    localMesh: readLocalMesh(read),
    xds,
    ca,
    fakeCa,
    crlPath: read.text("CRL_PATH") || null,
    listeners: readListeners(read, proxyConfig, {
      ipv6Enabled,
      loopbackIpv6: sources.loopbackIpv6 ?? true,
      socks5,
    }),
    internalPorts: new Set([
      PORTS.inbound,
      PORTS.inboundPlaintext,
      PORTS.outbound,
      ...(socks5 ? [PORTS.socks5] : []),
    ]),
    ipv6Enabled,
    network: read.text("NETWORK") ?? "",
    nodeName,
    clusterId: read.text("ISTIO_META_CLUSTER_ID") ?? read.text("CLUSTER_ID") ?? "Kubernetes",
    clusterDomain: read.text("CLUSTER_DOMAIN") ?? "cluster.local",
    trustDomain,
    preferredServiceNamespace: read.text("PREFERED_SERVICE_NAMESPACE"),
    secretTtlMs: read.durationMs("SECRET_TTL", 86_400_000),
    pool: {
      streamsMax: read.integer("POOL_MAX_STREAMS_PER_CONNECTION", 100, {
        max: U16_LIMIT,
        least: 1,
      }),
      idleMs: read.durationMs("POOL_UNUSED_RELEASE_TIMEOUT", 300_000),
    },
    http2: readHttp2(read),
    keepalive: keepalive.enabled ? keepalive.timing : null,
    userTimeoutMs: readUserTimeout(read, keepalive.timing),
    originalSource: read.boolean("ENABLE_ORIG_SRC", null),
    responseBaggage: read.boolean("ENABLE_RESPONSE_BAGGAGE", true),
    localhostAppTunnel: read.boolean("LOCALHOST_APP_TUNNEL", true),
    authorizationLogLevel: read.exactlyTrue("AUTHZ_POLICY_INFO_LOGGING") ? "info" : "debug",
    logFilter: read.text("RUST_LOG") ?? "info",
    logFormat: read.text("LOG_FORMAT") === "json" ? "json" : "plain",
    drainDeadlineMs: readDrainDeadline(read),
    dns,
    inpod: {
      socketPath: read.text("INPOD_UDS") ?? "/var/run/ztunnel/ztunnel.sock",
      portReuse: read.boolean("INPOD_PORT_REUSE", true),
    },
    workerThreads: readWorkerThreads(read, {
      concurrency: proxyConfig.concurrency,
      cpus: sources.cpus ?? 1,
    }),
    tunnelDialer: read.choice("TUNNEL_DIALER", ["node", "deno"], "node"),
    ioProvider,
    native,
    inheritedListeners: readInheritedListeners(read),
    descriptorsMax: readDescriptorsMax(read),
    proxyMetadata: metadata,
    notices,
  });
}

function readWorkload(read: EnvReader): WorkloadInfo {
  const info = read.text("PROXY_WORKLOAD_INFO");
  if (info === null) {
    throw invalidConfiguration("PROXY_MODE=dedicated requires PROXY_WORKLOAD_INFO to be set");
  }
  const parts = /^([^/]*)\/([^/]*)\/(.*)$/s.exec(info);
  if (parts === null) {
    const got = info.split("/").map((part) => JSON.stringify(part)).join(", ");
    throw invalidConfiguration(
      `PROXY_WORKLOAD_INFO must match the format 'namespace/name/service-account' (got [${got}])`,
    );
  }
  return { namespace: parts[1]!, name: parts[2]!, serviceAccount: parts[3]! };
}

/** Known when all three variables are set (spec/config-and-observability §2.2). */
function readSelf(read: EnvReader, trustDomain: string): Config["self"] {
  const name = read.text("POD_NAME");
  const namespace = read.text("POD_NAMESPACE");
  const serviceAccount = read.text("SERVICE_ACCOUNT");
  if (name === null || namespace === null || serviceAccount === null) return null;
  return {
    workload: { namespace, name, serviceAccount },
    identity: spiffeId({ trustDomain, namespace, serviceAccount }).uri,
  };
}

/** @param metadata The merged proxy metadata, which `ISTIO_META_*` is part of. */
function readDns(metadata: ReadonlyMap<string, string>): Config["dns"] {
  const capture = metadata.get("DNS_CAPTURE") ?? null;
  const address = metadata.get("DNS_PROXY_ADDR") ?? `localhost:${PORTS.dns}`;
  const local = /^localhost:(.*)$/.exec(address);
  const isAddress = local === null
    ? parseSocketAddress(address) !== null
    : parsePort(local[1]!) !== null;
  if (!isAddress) {
    throw invalidConfiguration(
      `failed to parse DNS_PROXY_ADDR: ${shownValue(address)} (expected localhost:port or IP:port)`,
    );
  }
  return {
    asked: capture === null || capture.toLowerCase() === "true",
    explicit: capture !== null,
    address,
  };
}

/** §2.4. */
function checkServers(
  { proxyEnabled, dnsAsked, onDemand }: {
    readonly proxyEnabled: boolean;
    readonly dnsAsked: boolean;
    readonly onDemand: boolean;
  },
): void {
  if (!proxyEnabled && !dnsAsked) {
    throw new ConfigError("error parsing proxy config: ztunnel run without any servers enabled");
  }
  if (dnsAsked && onDemand) {
    throw new ConfigError(
      "error parsing proxy config: DNS proxy does not currently support on-demand mode",
    );
  }
}

function readLocalMesh(read: EnvReader): LocalMesh | null {
  const path = read.text("LOCAL_XDS_PATH");
  const text = read.text("LOCAL_XDS");
  if (path !== null && text !== null) {
    throw invalidConfiguration("only one of LOCAL_XDS_PATH or LOCAL_XDS may be set");
  }
  if (path !== null) return { kind: "file", path };
  return text === null ? null : { kind: "text", text };
}

function readFakeCa(read: EnvReader): Config["fakeCa"] {
  const directory = read.text("FAKE_CA_DIR") || null;
  return read.boolean("FAKE_CA", false) ? { directory } : null;
}

/** Bounds: RFC 9113 §6.5.2 and §6.9.2. */
function readHttp2(read: EnvReader): Config["http2"] {
  const window = { max: U32_LIMIT, least: 1, most: 0x7fff_ffff };
  return {
    streamWindowBytes: read.integer("HTTP2_STREAM_WINDOW_SIZE", 4_194_304, window),
    // A connection's window starts at 65,535 and only grows.
    connectionWindowBytes: read.integer("HTTP2_CONNECTION_WINDOW_SIZE", 16_777_216, {
      ...window,
      least: 65_535,
    }),
    frameBytesMax: read.integer("HTTP2_FRAME_SIZE", 1_048_576, {
      max: U32_LIMIT,
      least: 16_384,
      most: 16_777_215,
    }),
  };
}

type KeepaliveTiming = NonNullable<Config["keepalive"]>;

function readKeepalive(
  read: EnvReader,
): { readonly enabled: boolean; readonly timing: KeepaliveTiming } {
  return {
    enabled: read.boolean("KEEPALIVE_ENABLED", true),
    timing: {
      idleMs: read.durationMs("KEEPALIVE_TIME", 180_000),
      intervalMs: read.durationMs("KEEPALIVE_INTERVAL", 180_000),
      probes: read.integer("KEEPALIVE_RETRIES", 9, { max: U32_LIMIT }),
    },
  };
}

/** Idle time and all probes together (spec/data-path §5.3), as far as the socket option can count. */
function readUserTimeout(
  read: EnvReader,
  { idleMs, intervalMs, probes }: KeepaliveTiming,
): number | null {
  if (!read.boolean("USER_TIMEOUT_ENABLED", false)) return null;
  return Math.min(idleMs + intervalMs * probes, 0x7fff_ffff);
}

/** As systemd hands sockets over (sd_listen_fds(3)). */
function readInheritedListeners(read: EnvReader): Config["inheritedListeners"] {
  const fds = read.text("LISTEN_FDS");
  return fds === null ? null : { fds, pid: read.text("LISTEN_PID") };
}

/** spec/data-path §6.2. A grace period of 0 is 1 s here; the original's wraps around. */
function readDrainDeadline(read: EnvReader): number {
  const grace = read.integer("TERMINATION_GRACE_PERIOD_SECONDS", null, { max: U64_LIMIT });
  const deadlineMs = read.durationMs("CONNECTION_TERMINATION_DEADLINE", null);
  if (deadlineMs !== null) return deadlineMs;
  if (grace === null) return 5_000;
  return Math.max(1, grace > 10 ? grace - 5 : grace - 1) * 1_000;
}

/** As `ulimit -n` prints it. The runtime raises its own limit to the hard one, and cannot be asked for it. */
function readDescriptorsMax(read: EnvReader): number | null {
  if (read.text("DESCRIPTORS_MAX") === "unlimited") return null;
  return read.integer("DESCRIPTORS_MAX", null, { max: U32_LIMIT, least: 128 });
}
