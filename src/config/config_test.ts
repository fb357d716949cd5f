// Tests of config.ts: spec/config-and-observability §2.2 to §2.4 and §3, as far as it is built.
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type ConfigSources, readConfig } from "./config.ts";
import { ConfigError } from "./errors.ts";
import { CONFIG_VARIABLES } from "./variables.ts";

/** A certificate as far as settings look at it. */
const PEM = "-----BEGIN CERTIFICATE-----";

type Variables = Readonly<Record<string, string | undefined>>;

/** The least that starts. */
const TLS12 = { TLS12_ENABLED: "true" };

const LEAST: Variables = {
  PROXY_MODE: "dedicated",
  PROXY_WORKLOAD_INFO: "default/a/default",
  XDS_ADDRESS: "",
  FAKE_CA: "true",
};

function config(variables: Variables = {}, sources?: ConfigSources) {
  const all: Variables = { ...LEAST, ...variables };
  return readConfig((name) => all[name], sources);
}

function refusal(variables: Variables, sources?: ConfigSources): string {
  const error = assertThrows(() => config(variables, sources), ConfigError);
  assertEquals(error.message.includes("\n"), false);
  return error.message;
}

Deno.test("readConfig() has the original's defaults", () => {
  const { listeners, internalPorts, proxyMetadata, ...rest } = config();
  assertEquals(rest, {
    mode: "dedicated",
    workload: { namespace: "default", name: "a", serviceAccount: "default" },
    self: null,
    proxyEnabled: true,
    localMesh: null,
    xds: null,
    ca: null,
    fakeCa: { directory: null },
    crlPath: null,
    ipv6Enabled: true,
    network: "",
    nodeName: null,
    clusterId: "Kubernetes",
    descriptorsMax: null,
    clusterDomain: "cluster.local",
    trustDomain: "cluster.local",
    preferredServiceNamespace: null,
    secretTtlMs: 86_400_000,
    pool: { streamsMax: 100, idleMs: 300_000 },
    http2: {
      streamWindowBytes: 4_194_304,
      connectionWindowBytes: 16_777_216,
      frameBytesMax: 1_048_576,
    },
    keepalive: { idleMs: 180_000, intervalMs: 180_000, probes: 9 },
    originalSource: null,
    responseBaggage: true,
    localhostAppTunnel: true,
    authorizationLogLevel: "debug",
    logFilter: "info",
    logFormat: "plain",
    drainDeadlineMs: 5_000,
    dns: { asked: true, explicit: false, address: "localhost:15053" },
    inpod: { socketPath: "/var/run/ztunnel/ztunnel.sock", portReuse: true },
    workerThreads: 2,
    tunnelDialer: "node",
    ioProvider: "deno",
    native: null,
    inheritedListeners: null,
    userTimeoutMs: null,
    notices: [],
  });
  assertEquals(listeners, {
    inbound: { ip: "::", port: 15008 },
    inboundPlaintext: { ip: "::", port: 15006 },
    outbound: { ip: "::", port: 15001 },
    socks5: null,
    admin: [{ ip: "127.0.0.1", port: 15000 }, { ip: "::1", port: 15000 }],
    stats: { ip: "::", port: 15020 },
    readiness: { ip: "::", port: 15021 },
  });
  assertEquals([...internalPorts].sort(), [15001, 15006, 15008]);
  assertEquals(proxyMetadata.size, 0);
});

Deno.test("readConfig() gives a frozen value", () => {
  const frozen = config();
  assertEquals(Object.isFrozen(frozen), true);
  assertThrows(() => Object.assign(frozen.pool, { idleMs: 1 }), TypeError);
  assertThrows(() => Object.assign(frozen.listeners.inbound, { port: 1 }), TypeError);
  assertThrows(() => (frozen.notices as unknown[]).push("x"), TypeError);
});

Deno.test.each([
  {
    name: "values",
    variables: { ENABLE_PROXY: "1" },
    expected: "invalid env var ENABLE_PROXY=1 (provided string was not `true` or `false`)",
  },
  {
    name: "an empty duration",
    variables: { SECRET_TTL: "" },
    expected: "invalid env var SECRET_TTL= (expected a duration such as 30s, 1m30s or 500ms)",
  },
  {
    name: "an unknown mode",
    variables: { PROXY_MODE: "x" },
    expected: "invalid env var PROXY_MODE=x (PROXY_MODE must be one of dedicated, shared)",
  },
  {
    name: "dedicated mode without workload",
    variables: { PROXY_WORKLOAD_INFO: undefined },
    expected: "invalid configuration: PROXY_MODE=dedicated requires PROXY_WORKLOAD_INFO to be set",
  },
  {
    name: "half a workload",
    variables: { PROXY_WORKLOAD_INFO: "ns/name" },
    expected: "invalid env var PROXY_WORKLOAD_INFO=ns/name (must be namespace/name/serviceaccount)",
  },
  {
    name: "two meshes",
    variables: { LOCAL_XDS: "{}", LOCAL_XDS_PATH: "mesh.yaml" },
    expected: "invalid configuration: only one of LOCAL_XDS_PATH or LOCAL_XDS may be set",
  },
  {
    name: "no address",
    variables: { XDS_ADDRESS: "https://" },
    expected: "invalid uri: https://",
  },
  {
    name: "an empty CA",
    variables: { FAKE_CA: undefined, CA_ADDRESS: "" },
    expected:
      "invalid configuration: CA_ADDRESS is empty and FAKE_CA is not true: nobody would issue certificates",
  },
  {
    name: "a compliance policy in the runtime's TLS",
    variables: { COMPLIANCE_POLICY: "pqc" },
    expected:
      "invalid configuration: COMPLIANCE_POLICY=pqc needs IO_PROVIDER=native: key exchange cannot be chosen in the runtime's own TLS",
  },
  {
    name: "a packet mark on the runtime's sockets",
    variables: { PACKET_MARK: "1337" },
    expected:
      "invalid configuration: PACKET_MARK needs IO_PROVIDER=native: the runtime's own sockets cannot be marked",
  },
  {
    name: "FIPS in the runtime's TLS",
    variables: { FIPS_MODULE_PATH: "/fips.so" },
    expected:
      "invalid configuration: FIPS_MODULE_PATH needs IO_PROVIDER=native: the runtime's own TLS loads no provider",
  },
  {
    name: "half a FIPS setting",
    variables: { IO_PROVIDER: "native", FIPS_CONFIG_PATH: "/fipsmodule.cnf" },
    expected: "invalid configuration: FIPS_CONFIG_PATH is set and FIPS_MODULE_PATH is not",
  },
  {
    name: "a packet mark that is no number",
    variables: { IO_PROVIDER: "native", PACKET_MARK: "0x539" },
    expected: "invalid env var PACKET_MARK=0x539 (invalid digit found in string)",
  },
  {
    name: "no servers",
    variables: { ENABLE_PROXY: "false", ISTIO_META_DNS_CAPTURE: "false" },
    expected: "error parsing proxy config: ztunnel run without any servers enabled",
  },
  {
    name: "a DNS address",
    variables: { ISTIO_META_DNS_PROXY_ADDR: "example:53" },
    expected:
      "invalid configuration: failed to parse DNS_PROXY_ADDR: example:53 (expected localhost:port or IP:port)",
  },
  {
    name: "a bind address by name",
    variables: { BIND_ADDRESS: "localhost" },
    expected: "invalid env var BIND_ADDRESS=localhost (provided string was not an IP address)",
  },
  {
    name: "an IPv6 bind address without IPv6",
    variables: { BIND_ADDRESS: "::1", IPV6_ENABLED: "false" },
    expected: "invalid configuration: BIND_ADDRESS=::1 needs IPv6, but IPV6_ENABLED=false",
  },
  {
    name: "a dialer",
    variables: { TUNNEL_DIALER: "rust" },
    expected: "invalid env var TUNNEL_DIALER=rust (TUNNEL_DIALER must be one of node, deno)",
  },
  {
    name: "a network nobody has",
    variables: { IO_PROVIDER: "rust" },
    expected: "invalid env var IO_PROVIDER=rust (IO_PROVIDER must be one of deno, native)",
  },
  {
    name: "too many streams",
    variables: { POOL_MAX_STREAMS_PER_CONNECTION: "65536" },
    expected:
      "invalid env var POOL_MAX_STREAMS_PER_CONNECTION=65536 (number too large to fit in target type)",
  },
  {
    name: "no streams",
    variables: { POOL_MAX_STREAMS_PER_CONNECTION: "0" },
    expected: "invalid env var POOL_MAX_STREAMS_PER_CONNECTION=0 (must be at least 1)",
  },
  {
    name: "a frame size that HTTP/2 does not have",
    variables: { HTTP2_FRAME_SIZE: "16383" },
    expected: "invalid env var HTTP2_FRAME_SIZE=16383 (must be at least 16384)",
  },
  {
    name: "a window that HTTP/2 does not have",
    variables: { HTTP2_STREAM_WINDOW_SIZE: "2147483648" },
    expected: "invalid env var HTTP2_STREAM_WINDOW_SIZE=2147483648 (must be at most 2147483647)",
  },
])("readConfig() refuses $name", ({ variables, expected }) => {
  assertEquals(refusal(variables), expected);
});

Deno.test.each([
  { value: "1m30s", ms: 90_000 },
  { value: "90", ms: 90_000 },
  { value: "1h*2", ms: 7_200_000 },
])("readConfig() SECRET_TTL=$value", ({ value, ms }) => {
  assertEquals(config({ SECRET_TTL: value }).secretTtlMs, ms);
});

Deno.test.each<{ grace?: string; deadline?: string; ms: number }>([
  { grace: "30", ms: 25_000 },
  { grace: "11", ms: 6_000 },
  { grace: "10", ms: 9_000 },
  { grace: "2", ms: 1_000 },
  { grace: "1", ms: 1_000 },
  { grace: "0", ms: 1_000 },
  { ms: 5_000 },
  { grace: "30", deadline: "1500ms", ms: 1_500 },
])("readConfig() grace period $grace, deadline $deadline", ({ grace, deadline, ms }) => {
  const variables = {
    TERMINATION_GRACE_PERIOD_SECONDS: grace,
    CONNECTION_TERMINATION_DEADLINE: deadline,
  };
  assertEquals(config(variables).drainDeadlineMs, ms);
});

Deno.test("readConfig() ISTIO_META_CLUSTER_ID wins over CLUSTER_ID", () => {
  assertEquals(config({ ISTIO_META_CLUSTER_ID: "c1", CLUSTER_ID: "c2" }).clusterId, "c1");
  assertEquals(config({ CLUSTER_ID: "c2" }).clusterId, "c2");
});

Deno.test.each([
  { value: "TRUE", asked: true },
  { value: "true", asked: true },
  { value: "1", asked: false },
  { value: "", asked: false },
])("readConfig() ISTIO_META_DNS_CAPTURE=$value", ({ value, asked }) => {
  const { dns } = config({ ISTIO_META_DNS_CAPTURE: value });
  assertEquals([dns.asked, dns.explicit], [asked, true]);
});

Deno.test("readConfig() takes DNS settings and ports from ProxyConfig, variables first", () => {
  const meshConfigText =
    "defaultConfig: { statsPort: 15888, proxyAdminPort: 15099, proxyMetadata: { ISTIO_META_DNS_CAPTURE: 'false', DNS_PROXY_ADDR: '10.0.0.1:53' } }";
  const { dns, listeners } = config({ PROXY_CONFIG: '{"proxyAdminPort":15999}' }, {
    meshConfigText,
  });
  assertEquals(dns, { asked: false, explicit: true, address: "10.0.0.1:53" });
  assertEquals(listeners.stats.port, 15888);
  assertEquals(listeners.admin.map(({ port }) => port), [15999, 15999]);
  const variables = { ISTIO_META_DNS_CAPTURE: "true", ISTIO_META_DNS_PROXY_ADDR: "[::1]:5353" };
  assertEquals(config(variables, { meshConfigText }).dns, {
    asked: true,
    explicit: true,
    address: "[::1]:5353",
  });
});

Deno.test("readConfig() splits PROXY_WORKLOAD_INFO at the first two slashes", () => {
  assertEquals(config({ PROXY_WORKLOAD_INFO: "ns/n/s/a" }).workload, {
    namespace: "ns",
    name: "n",
    serviceAccount: "s/a",
  });
});

Deno.test.each([
  {
    name: "IPV6_ENABLED=false",
    variables: { IPV6_ENABLED: "false" },
    wildcard: "0.0.0.0",
    admin: ["127.0.0.1"],
    socks5: "127.0.0.1",
  },
  {
    name: "BIND_ADDRESS",
    variables: { BIND_ADDRESS: "127.0.0.2" },
    wildcard: "127.0.0.2",
    admin: ["127.0.0.2"],
    socks5: "127.0.0.2",
  },
  {
    name: "BIND_ADDRESS of IPv6",
    variables: { BIND_ADDRESS: "::1" },
    wildcard: "::1",
    admin: ["::1"],
    socks5: "::1",
  },
  {
    name: "BIND_ADDRESS others can reach: admin and SOCKS5 stay near",
    variables: { BIND_ADDRESS: "10.0.0.2" },
    wildcard: "10.0.0.2",
    admin: ["127.0.0.1", "::1"],
    socks5: "127.0.0.1",
  },
  {
    name: "no IPv6 on loopback",
    variables: {},
    sources: { loopbackIpv6: false },
    wildcard: "::",
    admin: ["127.0.0.1"],
    socks5: "127.0.0.1",
  },
])("readConfig() listeners with $name", ({ variables, sources, wildcard, admin, socks5 }) => {
  const { listeners } = config({ UNSTABLE_ENABLE_SOCKS5: "true", ...variables }, sources);
  const { inbound, inboundPlaintext, outbound, stats, readiness } = listeners;
  for (const listener of [inbound, inboundPlaintext, outbound, stats, readiness]) {
    assertEquals(listener.ip, wildcard);
  }
  assertEquals(listeners.admin.map(({ ip }) => ip), admin);
  assertEquals(listeners.socks5, { ip: socks5, port: 15080 });
});

Deno.test("readConfig() counts SOCKS5's port among its own when it is on", () => {
  assertEquals(config({ UNSTABLE_ENABLE_SOCKS5: "true" }).internalPorts.has(15080), true);
  assertEquals(config({ UNSTABLE_ENABLE_SOCKS5: "false" }).internalPorts.has(15080), false);
});

Deno.test("readConfig() takes the rest as it is", () => {
  const all = config({
    DESCRIPTORS_MAX: "1024",
    LOCAL_XDS_PATH: "mesh.yaml",
    FAKE_CA_DIR: "ca",
    NODE_NAME: "n1",
    NETWORK: "net",
    CLUSTER_DOMAIN: "example.org",
    TRUST_DOMAIN: "td",
    KEEPALIVE_ENABLED: "false",
    ENABLE_ORIG_SRC: "false",
    ENABLE_RESPONSE_BAGGAGE: "false",
    LOCALHOST_APP_TUNNEL: "false",
    AUTHZ_POLICY_INFO_LOGGING: "true",
    RUST_LOG: "debug,access=info",
    LOG_FORMAT: "json",
    TUNNEL_DIALER: "deno",
    IO_PROVIDER: "deno",
    POOL_UNUSED_RELEASE_TIMEOUT: "1m",
  });
  assertEquals(all.descriptorsMax, 1_024);
  assertEquals(config({ DESCRIPTORS_MAX: "unlimited" }).descriptorsMax, null);
  assertEquals(all.localMesh, { kind: "file", path: "mesh.yaml" });
  assertEquals(all.fakeCa, { directory: "ca" });
  assertEquals([all.nodeName, all.network, all.clusterDomain, all.trustDomain], [
    "n1",
    "net",
    "example.org",
    "td",
  ]);
  assertEquals([all.keepalive, all.originalSource], [null, false]);
  assertEquals([all.responseBaggage, all.localhostAppTunnel], [false, false]);
  assertEquals([all.authorizationLogLevel, all.logFilter, all.logFormat], [
    "info",
    "debug,access=info",
    "json",
  ]);
  assertEquals([all.tunnelDialer, all.pool.idleMs], ["deno", 60_000]);
  assertEquals(config({ LOCAL_XDS: "{}" }).localMesh, { kind: "text", text: "{}" });
  assertEquals(config({ LOG_FORMAT: "JSON" }).logFormat, "plain");
});

Deno.test("readConfig() with IO_PROVIDER=native takes what only that network can do", () => {
  const plain = config({ IO_PROVIDER: "native" });
  assertEquals([plain.ioProvider, plain.originalSource, plain.native], ["native", null, {
    openSslLibDir: null,
    tls12: false,
    pqc: false,
    fips: null,
    packetMark: null,
  }]);
  const all = config({
    IO_PROVIDER: "native",
    OPENSSL_LIB_DIR: "/opt/openssl",
    TLS12_ENABLED: "true",
    COMPLIANCE_POLICY: "pqc",
    FIPS_MODULE_PATH: "/fips.so",
    FIPS_CONFIG_PATH: "/fipsmodule.cnf",
    PACKET_MARK: "1337",
    ENABLE_ORIG_SRC: "true",
  });
  assertEquals(all.native, {
    openSslLibDir: "/opt/openssl",
    tls12: true,
    pqc: true,
    fips: { modulePath: "/fips.so", configPath: "/fipsmodule.cnf" },
    packetMark: 1337,
  });
  assertEquals(all.originalSource, true);
  assertEquals(config({ IO_PROVIDER: "native", PACKET_MARK: "0" }).native?.packetMark, null);
});

Deno.test.each([
  { name: "any word but true", variables: { TLS12_ENABLED: "yes" }, said: false },
  { name: "true, which the runtime's TLS has no switch for", variables: TLS12, said: true },
])("readConfig() takes TLS12_ENABLED with $name", ({ variables, said }) => {
  const { native, notices } = config(variables);
  assertEquals(native, null);
  assertEquals(notices.some(({ text }) => text.startsWith("TLS12_ENABLED has no effect")), said);
});

Deno.test("readConfig() computes TCP_USER_TIMEOUT from the keepalive timing", () => {
  assertEquals(config({}).userTimeoutMs, null);
  assertEquals(config({ USER_TIMEOUT_ENABLED: "true" }).userTimeoutMs, 1_800_000);
  const own = { KEEPALIVE_TIME: "10s", KEEPALIVE_INTERVAL: "2s", KEEPALIVE_RETRIES: "5" };
  assertEquals(config({ ...own, USER_TIMEOUT_ENABLED: "true" }).userTimeoutMs, 20_000);
  const off = { KEEPALIVE_ENABLED: "false", USER_TIMEOUT_ENABLED: "true" };
  assertEquals(config({ ...own, ...off }).userTimeoutMs, 20_000);
  const huge = { KEEPALIVE_TIME: "10000h", USER_TIMEOUT_ENABLED: "true" };
  assertEquals(config(huge).userTimeoutMs, 0x7fff_ffff);
});

Deno.test("readConfig() passes on what systemd says about open listeners", () => {
  assertEquals(config({}).inheritedListeners, null);
  assertEquals(config({ LISTEN_FDS: "2", LISTEN_PID: "77" }).inheritedListeners, {
    fds: "2",
    pid: "77",
  });
});

Deno.test("CONFIG_VARIABLES lists every variable that readConfig() asks for, and no other", () => {
  const asked = new Set<string>();
  const recording = (variables: Variables) => (name: string) => {
    asked.add(name);
    return variables[name];
  };
  readConfig(recording(LEAST));
  readConfig(recording({ ...LEAST, IO_PROVIDER: "native", LISTEN_FDS: "1" }));
  readConfig(
    recording({
      ...LEAST,
      XDS_ADDRESS: undefined,
      FAKE_CA: "false",
      XDS_ROOT_CA: PEM,
      CA_ROOT_CA: PEM,
    }),
  );
  assertEquals([...asked].sort(), CONFIG_VARIABLES.map(({ name }) => name).sort());
});

Deno.test("readConfig() never repeats a mesh or a ProxyConfig in an error", () => {
  const secret = "s3cr3t";
  assertEquals(refusal({ LOCAL_XDS: secret, LOCAL_XDS_PATH: "p" }).includes(secret), false);
  const message = refusal({ PROXY_CONFIG: `{proxyMetadata: {TOKEN: [${secret}]}}` });
  assertStringIncludes(message, "proxyMetadata.TOKEN");
  assertEquals(message.includes(secret), false);
});
