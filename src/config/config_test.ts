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

Deno.test.each([
  { name: "with a CA beside it", address: "istiod:15012", said: true },
  { name: "with an empty CA", address: "", said: false },
  { name: "alone", address: undefined, said: false },
])(
  "readConfig() says that FAKE_CA keeps a real CA from being asked: $name",
  ({ address, said }) => {
    const { ca, notices } = config({ FAKE_CA: "true", CA_ADDRESS: address });
    const text = "FAKE_CA=true: a throw-away CA issues certificates, CA_ADDRESS has no effect";
    assertEquals({ ca, notices }, { ca: null, notices: said ? [{ level: "warn", text }] : [] });
  },
);

Deno.test("readConfig() gives a frozen value", () => {
  const frozen = config();
  assertEquals(Object.isFrozen(frozen), true);
  assertThrows(() => Object.assign(frozen.pool, { idleMs: 1 }), TypeError);
  assertThrows(() => Object.assign(frozen.listeners.inbound, { port: 1 }), TypeError);
  assertThrows(() => (frozen.notices as unknown[]).push("x"), TypeError);
});

Deno.test.each([
  {
    name: "dedicated mode without workload",
    variables: { PROXY_WORKLOAD_INFO: undefined },
    expected: "invalid configuration: PROXY_MODE=dedicated requires PROXY_WORKLOAD_INFO to be set",
  },
  {
    name: "two meshes",
    variables: { LOCAL_XDS: "{}", LOCAL_XDS_PATH: "mesh.yaml" },
    expected: "invalid configuration: only one of LOCAL_XDS_PATH or LOCAL_XDS may be set",
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
    name: "on-demand addresses with DNS, which is on by default",
    variables: { XDS_ON_DEMAND: "true" },
    expected: "error parsing proxy config: DNS proxy does not currently support on-demand mode",
  },
  {
    name: "no servers",
    variables: { ENABLE_PROXY: "false", ISTIO_META_DNS_CAPTURE: "false" },
    expected: "error parsing proxy config: ztunnel run without any servers enabled",
  },
  {
    name: "an IPv6 bind address without IPv6",
    variables: { BIND_ADDRESS: "::1", IPV6_ENABLED: "false" },
    expected: "invalid configuration: BIND_ADDRESS=::1 needs IPv6, but IPV6_ENABLED=false",
  },
])("readConfig() refuses $name", ({ variables, expected }) => {
  assertEquals(refusal(variables), expected);
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

Deno.test("readConfig() marks a node's packets, and a workload's only when told to", () => {
  const mark = (variables: Variables) =>
    config({ IO_PROVIDER: "native", ...variables }).native?.packetMark;
  assertEquals(mark({}), null);
  assertEquals(mark({ PACKET_MARK: "7" }), 7);
  assertEquals(mark({ PROXY_MODE: "shared" }), 1337);
  assertEquals(mark({ PROXY_MODE: "shared", PACKET_MARK: "7" }), 7);
  assertEquals(mark({ PROXY_MODE: "shared", PACKET_MARK: "0" }), null);
});

Deno.test("readConfig() serves no workload in particular in shared mode, whatever it was told", () => {
  for (const PROXY_MODE of ["shared", undefined]) {
    const { mode, workload } = config({ PROXY_MODE });
    assertEquals([mode, workload], ["shared", null]);
  }
});

Deno.test("readConfig() knows the proxy's own identity by three variables, not two", () => {
  const all = { POD_NAME: "zt-1", POD_NAMESPACE: "istio-system", SERVICE_ACCOUNT: "ztunnel" };
  assertEquals(config({ ...all, TRUST_DOMAIN: "td" }).self, {
    workload: { namespace: "istio-system", name: "zt-1", serviceAccount: "ztunnel" },
    identity: "spiffe://td/ns/istio-system/sa/ztunnel",
  });
  for (const name of Object.keys(all)) {
    assertEquals(config({ ...all, [name]: undefined }).self, null);
  }
});

Deno.test("readConfig() merges mesh file, PROXY_CONFIG and environment", () => {
  const meshConfigText =
    "{defaultConfig: {statsPort: 15888, proxyAdminPort: 15099, proxyMetadata: {ISTIO_META_FOO: foo, ISTIO_META_FOOBAR: foobar}}}";
  const { listeners, xds, proxyMetadata } = config({
    XDS_ADDRESS: undefined,
    XDS_ROOT_CA: PEM,
    PROXY_CONFIG:
      '{"proxyAdminPort":15999,"discoveryAddress":"istiod-rev0.istio-system-2:15012","proxyMetadata":{"ISTIO_META_BAR":"bar","ISTIO_META_FOOBAR":"x","NO_PREFIX":"n"}}',
    ISTIO_META_INCLUDE_THIS: "e",
  }, { meshConfigText, names: ["ISTIO_META_INCLUDE_THIS"] });
  assertEquals(listeners.stats.port, 15888);
  assertEquals(listeners.admin[0]?.port, 15999);
  assertEquals(xds?.address, "https://istiod-rev0.istio-system-2:15012");
  const metadata = { FOO: "foo", BAR: "bar", FOOBAR: "x", NO_PREFIX: "n", INCLUDE_THIS: "e" };
  assertEquals(Object.fromEntries(proxyMetadata), metadata);
  assertEquals(Object.fromEntries(xds!.metadata), metadata);
});

Deno.test("readConfig() tells the control plane who asks", () => {
  const { xds } = config({
    XDS_ADDRESS: "istiod.x.svc:15012",
    XDS_ROOT_CA: PEM,
    POD_NAME: "zt-1",
    POD_NAMESPACE: "istio-system",
    INSTANCE_IP: "10.1.2.3",
    NODE_NAME: "n1",
    CLUSTER_ID: "not in the metadata",
    ISTIO_META_CLUSTER_ID: "c1",
    ISTIO_METAJSON_LABELS: '{"app":"foo","n":1,"l":[true,null]}',
    XDS_HEADER_HEADER_FOO: "foo",
    AUTH_TOKEN: "abc123",
  }, { names: ["ISTIO_METAJSON_LABELS", "XDS_HEADER_HEADER_FOO"] });
  assertEquals(xds, {
    address: "https://istiod.x.svc:15012",
    root: { kind: "pem", pem: PEM },
    altHostname: null,
    token: { kind: "text", token: "abc123" },
    headers: [["header_foo", "foo"]],
    onDemand: false,
    node: {
      instanceIp: "10.1.2.3",
      podName: "zt-1",
      podNamespace: "istio-system",
      nodeName: "n1",
    },
    metadata: new Map([["CLUSTER_ID", "c1"]]),
    jsonMetadata: new Map([["LABELS", { app: "foo", n: 1, l: [true, null] }]]),
  });
});

Deno.test("readConfig() takes what the chart sets", () => {
  const root = "./var/run/secrets/istio/root-cert.pem";
  const token = "./var/run/secrets/tokens/istio-token";
  const environment: Variables = {
    CA_ADDRESS: "istiod.istio-system.svc:15012",
    XDS_ADDRESS: "istiod.istio-system.svc:15012",
    RUST_LOG: "info",
    ISTIO_META_CLUSTER_ID: "Kubernetes",
    INPOD_ENABLED: "true",
    TERMINATION_GRACE_PERIOD_SECONDS: "30",
    POD_NAME: "ztunnel-abcde",
    POD_NAMESPACE: "istio-system",
    NODE_NAME: "n1",
    INSTANCE_IP: "10.1.2.3",
    SERVICE_ACCOUNT: "ztunnel",
    ISTIO_META_ENABLE_HBONE: "true",
    ZTUNNEL_CPU_LIMIT: "16",
    ZTUNNEL_RESOURCE_CPU_REQUEST: "1",
    RUST_BACKTRACE: "1",
    KUBERNETES_SERVICE_HOST: "10.96.0.1",
    IO_PROVIDER: "native",
  };
  const chart = readConfig((name) => environment[name], {
    exists: (path) => path === root || path === token,
    names: Object.keys(environment).filter((name) => name.startsWith("ISTIO_META")),
    cpus: 64,
  });
  assertEquals([chart.mode, chart.workload, chart.fakeCa], ["shared", null, null]);
  for (const server of [chart.xds, chart.ca]) {
    assertEquals(server?.address, "https://istiod.istio-system.svc:15012");
    assertEquals(server?.root, { kind: "file", path: root });
    assertEquals(server?.token, { kind: "file", path: token });
  }
  assertEquals(chart.self?.identity, "spiffe://cluster.local/ns/istio-system/sa/ztunnel");
  assertEquals(chart.drainDeadlineMs, 25_000);
  assertEquals(chart.workerThreads, 4);
  assertEquals(chart.native?.packetMark, 1337);
  assertEquals(Object.fromEntries(chart.proxyMetadata), {
    CLUSTER_ID: "Kubernetes",
    ENABLE_HBONE: "true",
  });
  assertEquals(chart.notices, []);
});

Deno.test("readConfig() never asks whether an empty path or a certificate exists", () => {
  const asked: string[] = [];
  const exists = (path: string) => asked.push(path) > 0;
  const { xds } = config({ XDS_ADDRESS: "a:1", XDS_ROOT_CA: PEM, AUTH_TOKEN: "" }, { exists });
  assertEquals([xds?.token, xds?.root.kind], [{ kind: "text", token: "" }, "pem"]);
  assertEquals(asked, []);
});

Deno.test("readConfig() has no control plane with an empty XDS_ADDRESS", () => {
  assertEquals(config({ XDS_ADDRESS: "" }).xds, null);
  assertEquals(config({ XDS_ADDRESS: "", PROXY_CONFIG: "{discoveryAddress: 'a:1'}" }).xds, null);
});

Deno.test("readConfig() asks for named variables, and of the rest only those it was told of", () => {
  const asked = new Set<string>();
  const names = ["XDS_HEADER_A", "HOME", "ISTIO_META_B"];
  readConfig((name) => {
    asked.add(name);
    return LEAST[name];
  }, { names });
  const fixed = CONFIG_VARIABLES.map(({ name }) => name);
  assertEquals([...asked].filter((name) => !fixed.includes(name)).sort(), [
    "ISTIO_META_B",
    "XDS_HEADER_A",
  ]);
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
