// All settings as one frozen value, checked before anything opens (spec/config-and-observability §2, §3).
import { isIpv6, isLoopback, parseIp, parsePort, parseSocketAddress } from "../base/address.ts";
import type { SocketAddress } from "../base/address.ts";
import { type Environment, EnvReader, U16_LIMIT, U32_LIMIT, U64_LIMIT } from "./env_reader.ts";
import { ConfigError, invalidConfiguration, invalidVariable } from "./errors.ts";
import { type ProxyConfig, readProxyConfig } from "./proxy_config.ts";

/** Ports of the data plane and the fixed readiness port; admin and stats are their defaults (§3). */
export const PORTS = {
  outbound: 15001,
  inboundPlaintext: 15006,
  inbound: 15008,
  admin: 15000,
  stats: 15020,
  readiness: 15021,
  dns: 15053,
  socks5: 15080,
} as const;

/** Which workload the proxy speaks for. */
export interface WorkloadInfo {
  /** Kubernetes namespace. */
  readonly namespace: string;
  /** Pod name. */
  readonly name: string;
  /** Service account, the last part of its SPIFFE ID. */
  readonly serviceAccount: string;
}

/** Where each server listens. */
export interface Listeners {
  /** HBONE, 15008. */
  readonly inbound: SocketAddress;
  /** Captured plaintext, 15006. */
  readonly inboundPlaintext: SocketAddress;
  /** Captured outbound connections, 15001. */
  readonly outbound: SocketAddress;
  /** null: off. */
  readonly socks5: SocketAddress | null;
  /** One for each loopback family. */
  readonly admin: readonly SocketAddress[];
  /** Metrics, 15020. */
  readonly stats: SocketAddress;
  /** Readiness probes, 15021. */
  readonly readiness: SocketAddress;
}

/** The mesh that is given instead of a control plane. Its text is never shown in dumps. */
export type LocalMesh =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "text"; readonly text: string };

/** Everything that can be set. Frozen, all the way down. */
export interface Config {
  /** `PROXY_MODE`. */
  readonly mode: "dedicated";
  /** `PROXY_WORKLOAD_INFO`. */
  readonly workload: WorkloadInfo;
  /** `ENABLE_PROXY`. */
  readonly proxyEnabled: boolean;
  /** `LOCAL_XDS_PATH` or `LOCAL_XDS`; null: none. */
  readonly localMesh: LocalMesh | null;
  /** A throw-away CA; `directory` is where its root lives, null: in memory only. */
  readonly fakeCa: { readonly directory: string | null };
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
  /** What DNS was asked for; it is not built yet and stays off. */
  readonly dns: { readonly asked: boolean; readonly address: string };
  /** `TUNNEL_DIALER`: which TLS client opens tunnels. */
  readonly tunnelDialer: "node" | "deno";
  /** `IO_PROVIDER`: which network implementation is used. */
  readonly ioProvider: "deno" | "native";
  /** What only the native network knows; null with `IO_PROVIDER=deno`. */
  readonly native: NativeSettings | null;
  /** Listeners that whoever started the process opened, as `LISTEN_FDS` and `LISTEN_PID` say; null: none. */
  readonly inheritedListeners: { readonly fds: string; readonly pid: string | null } | null;
  /** `DESCRIPTORS_MAX`: descriptors this process may open, which bounds its connections; null: not known. */
  readonly descriptorsMax: number | null;
  /** ProxyConfig's metadata, for the control plane. */
  readonly proxyMetadata: ReadonlyMap<string, string>;
  /** One line each, for the log: what was asked for and will not happen. */
  readonly warnings: readonly string[];
}

/** Settings of the native network. */
export interface NativeSettings {
  /** `OPENSSL_LIB_DIR`: a folder with one libssl and one libcrypto; null: the system's. */
  readonly openSslLibDir: string | null;
  /** `TLS12_ENABLED`. */
  readonly tls12: boolean;
  /** `COMPLIANCE_POLICY=pqc`: X25519MLKEM768 and nothing else. */
  readonly pqc: boolean;
  /** `FIPS_MODULE_PATH`: the provider's file, and what its installation wrote; null: no FIPS mode. */
  readonly fips: { readonly modulePath: string; readonly configPath: string | null } | null;
  /** `PACKET_MARK`: SO_MARK of upstream sockets; null: none. */
  readonly packetMark: number | null;
}

/** What the settings depend on beside the environment. */
export interface ConfigSources {
  /** Text of the mesh configuration file (MESH_CONFIG_PATH); null or absent where there is none. */
  readonly meshConfigText?: string | null;
  /** False where the loopback device has no IPv6: then admin does not listen there. */
  readonly loopbackIpv6?: boolean;
}

/**
 * Reads the settings. Asks `env` for the names in CONFIG_VARIABLES only.
 * @throws {ConfigError} for the first thing that is wrong, or that is not built yet.
 */
export function readConfig(env: Environment, sources: ConfigSources = {}): Config {
  const read = new EnvReader(env);
  const proxyConfig = readProxyConfig({
    meshText: sources.meshConfigText ?? null,
    envText: read.text("PROXY_CONFIG"),
  });
  const warnings: string[] = [];

  const workload = readWorkload(read);
  const proxyEnabled = read.boolean("ENABLE_PROXY", true);
  const dns = readDns(read, proxyConfig);
  checkServers(proxyEnabled, dns.asked);
  if (read.text("ISTIO_META_DNS_CAPTURE") !== null && dns.asked) {
    warnings.push("the DNS proxy is not supported yet: ISTIO_META_DNS_CAPTURE has no effect");
  }
  const localMesh = readLocalMesh(read);
  refuseControlPlane(read, proxyConfig);
  const fakeCa = readFakeCa(read);
  refuseUnbuilt(read);
  const ioProvider = readIoProvider(read);
  const native = readNative(read, ioProvider, warnings);
  const keepalive = readKeepalive(read);
  const ipv6Enabled = read.boolean("IPV6_ENABLED", true);
  const socks5 = read.boolean("UNSTABLE_ENABLE_SOCKS5", false);

  return freeze({
    mode: "dedicated",
    workload,
    proxyEnabled,
    localMesh,
    fakeCa,
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
    nodeName: read.text("NODE_NAME"),
    clusterId: read.text("ISTIO_META_CLUSTER_ID") ?? read.text("CLUSTER_ID") ?? "Kubernetes",
    clusterDomain: read.text("CLUSTER_DOMAIN") ?? "cluster.local",
    trustDomain: read.text("TRUST_DOMAIN") ?? "cluster.local",
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
    originalSource: readOriginalSource(read, ioProvider),
    responseBaggage: read.boolean("ENABLE_RESPONSE_BAGGAGE", true),
    localhostAppTunnel: read.boolean("LOCALHOST_APP_TUNNEL", true),
    authorizationLogLevel: read.exactlyTrue("AUTHZ_POLICY_INFO_LOGGING") ? "info" : "debug",
    logFilter: read.text("RUST_LOG") ?? "info",
    logFormat: read.text("LOG_FORMAT") === "json" ? "json" : "plain",
    drainDeadlineMs: readDrainDeadline(read),
    dns,
    tunnelDialer: read.choice("TUNNEL_DIALER", ["node", "deno"], "node"),
    ioProvider,
    native,
    inheritedListeners: readInheritedListeners(read),
    descriptorsMax: readDescriptorsMax(read),
    proxyMetadata: proxyConfig.metadata,
    warnings,
  });
}

function readWorkload(read: EnvReader): WorkloadInfo {
  if (read.choice("PROXY_MODE", ["dedicated", "shared"], "shared") === "shared") {
    throw invalidConfiguration(
      "PROXY_MODE=shared (the default) is not supported yet: set PROXY_MODE=dedicated and PROXY_WORKLOAD_INFO",
    );
  }
  const info = read.text("PROXY_WORKLOAD_INFO");
  if (info === null) {
    throw invalidConfiguration("PROXY_MODE=dedicated requires PROXY_WORKLOAD_INFO to be set");
  }
  const parts = /^([^/]*)\/([^/]*)\/(.*)$/s.exec(info);
  if (parts === null) {
    throw invalidVariable("PROXY_WORKLOAD_INFO", info, "must be namespace/name/serviceaccount");
  }
  return { namespace: parts[1]!, name: parts[2]!, serviceAccount: parts[3]! };
}

function readDns(read: EnvReader, proxyConfig: ProxyConfig): Config["dns"] {
  const setting = (key: string) =>
    read.text(`ISTIO_META_${key}`) ?? proxyConfig.metadata.get(key) ?? null;
  const capture = setting("DNS_CAPTURE");
  const address = setting("DNS_PROXY_ADDR") ?? `localhost:${PORTS.dns}`;
  const local = /^localhost:(.*)$/.exec(address);
  const isAddress = local === null
    ? parseSocketAddress(address) !== null
    : parsePort(local[1]!) !== null;
  if (!isAddress) {
    throw invalidConfiguration(
      `failed to parse DNS_PROXY_ADDR: ${address} (expected localhost:port or IP:port)`,
    );
  }
  return { asked: capture === null || capture.toLowerCase() === "true", address };
}

/** §2.4. DNS alone would be a server once it is built; now it would be none. */
function checkServers(proxyEnabled: boolean, dnsAsked: boolean): void {
  if (proxyEnabled) return;
  if (!dnsAsked) {
    throw new ConfigError("error parsing proxy config: ztunnel run without any servers enabled");
  }
  throw invalidConfiguration(
    "ENABLE_PROXY=false leaves only the DNS proxy, which is not supported yet",
  );
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

/** XDS_ADDRESS, else ProxyConfig's address, else a default: until xDS exists only "" will do. */
function refuseControlPlane(read: EnvReader, proxyConfig: ProxyConfig): void {
  const address = read.text("XDS_ADDRESS") ?? proxyConfig.discoveryAddress;
  if (address === "") return;
  const asked = address === null ? "unset" : `set to ${checkedUri(address)}`;
  throw invalidConfiguration(
    `a control plane is not supported yet and XDS_ADDRESS is ${asked}: ` +
      "set XDS_ADDRESS= (empty) and give the mesh with LOCAL_XDS_PATH",
  );
}

/** The address with its scheme, which is https unless written. */
function checkedUri(address: string): string {
  const uri = address.includes("://") ? address : `https://${address}`;
  if (!URL.canParse(uri)) throw new ConfigError(`invalid uri: ${address}`);
  return uri;
}

function readFakeCa(read: EnvReader): Config["fakeCa"] {
  const directory = read.text("FAKE_CA_DIR");
  if (read.boolean("FAKE_CA", false)) {
    return { directory: directory === "" ? null : directory };
  }
  const address = read.text("CA_ADDRESS");
  if (address === "") {
    throw invalidConfiguration(
      "CA_ADDRESS is empty and FAKE_CA is not true: nobody would issue certificates",
    );
  }
  const asked = address === null ? "" : ` (CA_ADDRESS is ${checkedUri(address)})`;
  throw invalidConfiguration(
    `certificates from a CA are not supported yet${asked}: set FAKE_CA=true`,
  );
}

/** What would be weaker than asked for if it were passed over. */
function refuseUnbuilt(read: EnvReader): void {
  if ((read.text("CRL_PATH") ?? "") !== "") {
    throw invalidConfiguration("revocation lists are not supported yet: unset CRL_PATH");
  }
}

/** `true` demands transparent listeners, which only the native network can open (spec/data-path §3.5). */
function readOriginalSource(read: EnvReader, ioProvider: Config["ioProvider"]): boolean | null {
  const asked = read.boolean("ENABLE_ORIG_SRC", null);
  if (asked !== true || ioProvider === "native") return asked;
  throw invalidConfiguration(
    "ENABLE_ORIG_SRC=true needs IO_PROVIDER=native: the runtime's own sockets cannot be transparent",
  );
}

function readIoProvider(read: EnvReader): Config["ioProvider"] {
  return read.choice("IO_PROVIDER", ["deno", "native"], "deno");
}

/**
 * Of the settings, those of the native network; null where it is not asked for. For `version`, which says what the
 * network runs on without a proxy's other settings.
 * @throws {ConfigError} as {@link readConfig}.
 */
export function readNativeSettings(env: Environment): NativeSettings | null {
  const read = new EnvReader(env);
  return readNative(read, readIoProvider(read), []);
}

/** What would be weaker than asked for with the runtime's own sockets is refused; the rest is said. */
function readNative(
  read: EnvReader,
  ioProvider: Config["ioProvider"],
  warnings: string[],
): NativeSettings | null {
  const settings = {
    openSslLibDir: read.text("OPENSSL_LIB_DIR") || null,
    tls12: read.exactlyTrue("TLS12_ENABLED"),
    pqc: read.text("COMPLIANCE_POLICY") === "pqc",
    fips: readFips(read),
    packetMark: read.integer("PACKET_MARK", null, { max: U32_LIMIT }) || null,
  };
  if (ioProvider === "native") return settings;
  if (settings.pqc) {
    throw invalidConfiguration(
      "COMPLIANCE_POLICY=pqc needs IO_PROVIDER=native: key exchange cannot be chosen in the runtime's own TLS",
    );
  }
  if (settings.fips !== null) {
    throw invalidConfiguration(
      "FIPS_MODULE_PATH needs IO_PROVIDER=native: the runtime's own TLS loads no provider",
    );
  }
  if (settings.packetMark !== null) {
    throw invalidConfiguration(
      "PACKET_MARK needs IO_PROVIDER=native: the runtime's own sockets cannot be marked",
    );
  }
  if (settings.tls12) {
    warnings.push("TLS12_ENABLED has no effect with IO_PROVIDER=deno: TLS 1.3 only");
  }
  return null;
}

function readListeners(
  read: EnvReader,
  proxyConfig: ProxyConfig,
  families: {
    readonly ipv6Enabled: boolean;
    readonly loopbackIpv6: boolean;
    readonly socks5: boolean;
  },
): Listeners {
  const { ipv6Enabled, loopbackIpv6, socks5 } = families;
  const bind = readBindAddress(read, ipv6Enabled);
  const wildcard = bind ?? (ipv6Enabled ? "::" : "0.0.0.0");
  const loopbacks = ipv6Enabled && loopbackIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
  const at = (port: number): SocketAddress => ({ ip: wildcard, port });
  // Neither asks who is calling: whoever reaches them speaks for the workload, or ends the proxy.
  const near = bind !== null && isLoopback(bind) ? bind : null;
  const adminPort = proxyConfig.adminPort ?? PORTS.admin;
  return {
    inbound: at(PORTS.inbound),
    inboundPlaintext: at(PORTS.inboundPlaintext),
    outbound: at(PORTS.outbound),
    socks5: socks5 ? { ip: near ?? "127.0.0.1", port: PORTS.socks5 } : null,
    admin: (near === null ? loopbacks : [near]).map((ip) => ({ ip, port: adminPort })),
    stats: at(proxyConfig.statsPort ?? PORTS.stats),
    readiness: at(PORTS.readiness),
  };
}

function readBindAddress(read: EnvReader, ipv6Enabled: boolean): string | null {
  const text = read.text("BIND_ADDRESS");
  if (text === null) return null;
  const ip = parseIp(text);
  if (ip === null) {
    throw invalidVariable("BIND_ADDRESS", text, "provided string was not an IP address");
  }
  if (isIpv6(ip) && !ipv6Enabled) {
    throw invalidConfiguration(`BIND_ADDRESS=${text} needs IPv6, but IPV6_ENABLED=false`);
  }
  return ip;
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

function readFips(read: EnvReader): NativeSettings["fips"] {
  const modulePath = read.text("FIPS_MODULE_PATH") || null;
  const configPath = read.text("FIPS_CONFIG_PATH") || null;
  if (modulePath !== null) return { modulePath, configPath };
  if (configPath === null) return null;
  throw invalidConfiguration("FIPS_CONFIG_PATH is set and FIPS_MODULE_PATH is not");
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

/** Freezes plain objects and lists all the way down; maps and sets are read-only by type. */
function freeze<Value extends object>(value: Value): Value {
  for (const member of Object.values(value)) {
    if (typeof member === "object" && member !== null && !Object.isFrozen(member)) freeze(member);
  }
  return Object.freeze(value);
}
