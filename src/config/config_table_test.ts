// Every variable of spec/config-and-observability §2.2 in one table: what it is by default, what it takes, what it refuses.
import { assertEquals, assertThrows } from "@std/assert";
import { type Config, readConfig } from "./config.ts";
import { ConfigError } from "./errors.ts";
import { CONFIG_PREFIXES, CONFIG_VARIABLES } from "./variables.ts";

type Variables = Readonly<Record<string, string | undefined>>;

/** The least that starts; everything else has its default. */
const LEAST: Variables = {
  PROXY_MODE: "dedicated",
  PROXY_WORKLOAD_INFO: "ns/name/sa",
  FAKE_CA: "true",
  XDS_ADDRESS: "",
};

/** With both servers of the control plane. */
const SERVERS: Variables = { XDS_ADDRESS: "x:1", FAKE_CA: undefined };
const NATIVE: Variables = { IO_PROVIDER: "native" };
const DNS_OFF: Variables = { ISTIO_META_DNS_CAPTURE: "false" };

const CERTIFICATE = "-----BEGIN CERTIFICATE-----";

interface Row {
  /** What the variable decides. */
  readonly see: (config: Config) => unknown;
  /** Variables that are needed to see it. */
  readonly given?: Variables;
  /** What is seen when the variable is not set; left out: it must be set. */
  readonly otherwise?: unknown;
  /** Values and what is seen then. */
  readonly takes: readonly (readonly [value: string, seen: unknown])[];
  /** Values and the whole error. */
  readonly refuses?: readonly (readonly [value: string, error: string])[];
}

const invalid = (name: string, value: string, reason: string) =>
  [value, `invalid env var ${name}=${value} (${reason})`] as const;

/** `true`, `false` and nothing else. */
function bool(
  name: string,
  see: (config: Config) => unknown,
  options:
    & { readonly otherwise: unknown; readonly on?: unknown; readonly off?: unknown }
    & Pick<
      Row,
      "given"
    >,
): Record<string, Row> {
  const { otherwise, on = true, off = false, given } = options;
  const reason = "provided string was not `true` or `false`";
  return {
    [name]: {
      see,
      otherwise,
      ...(given === undefined ? {} : { given }),
      takes: [["true", on], ["false", off]],
      refuses: ["", "1", "True"].map((value) => invalid(name, value, reason)),
    },
  };
}

function text(
  name: string,
  see: (config: Config) => unknown,
  options: { readonly otherwise: unknown; readonly empty?: unknown } & Pick<Row, "given">,
): Record<string, Row> {
  const { otherwise, empty = "", given } = options;
  return {
    [name]: {
      see,
      otherwise,
      ...(given === undefined ? {} : { given }),
      takes: [["some text", "some text"], ["", empty]],
    },
  };
}

/** Decimal digits within `least` and `most`, of a type that ends at `limit`. */
function integer(
  name: string,
  see: (config: Config) => unknown,
  options: {
    readonly otherwise: unknown;
    readonly least?: number;
    readonly most?: number;
    readonly limit: number;
    readonly seen?: (value: number) => unknown;
    readonly given?: Variables;
  },
): Record<string, Row> {
  const { otherwise, least = 0, limit, seen = (value) => value, given } = options;
  const most = options.most ?? limit;
  return {
    [name]: {
      see,
      otherwise,
      ...(given === undefined ? {} : { given }),
      takes: [
        [`${least}`, seen(least)],
        [`+${least + 1}`, seen(least + 1)],
        [`${most}`, seen(most)],
      ],
      refuses: [
        ...(least > 0 ? [invalid(name, `${least - 1}`, `must be at least ${least}`)] : []),
        ...(most < limit ? [invalid(name, `${most + 1}`, `must be at most ${most}`)] : []),
        invalid(name, `${limit + 1}`, "number too large to fit in target type"),
        invalid(name, "", "cannot parse integer from empty string"),
        invalid(name, "-1", "invalid digit found in string"),
        invalid(name, " 1", "invalid digit found in string"),
      ],
    },
  };
}

function duration(
  name: string,
  see: (config: Config) => unknown,
  options: { readonly otherwise: unknown } & Pick<Row, "given">,
): Record<string, Row> {
  const reason = "expected a duration such as 30s, 1m30s or 500ms";
  return {
    [name]: {
      see,
      ...options,
      takes: [["1m30s", 90_000], ["90", 90_000], ["1h*2", 7_200_000], ["1500ms", 1_500]],
      refuses: ["", "-1s", "1 parsec"].map((value) => invalid(name, value, reason)),
    },
  };
}

function exactlyTrue(
  name: string,
  see: (config: Config) => unknown,
  { on, off, given }: { readonly on: unknown; readonly off: unknown } & Pick<Row, "given">,
): Record<string, Row> {
  return {
    [name]: {
      see,
      otherwise: off,
      ...(given === undefined ? {} : { given }),
      takes: [["true", on], ["True", off], ["1", off], ["", off]],
    },
  };
}

function root(
  name: "XDS_ROOT_CA" | "CA_ROOT_CA",
  see: (config: Config) => unknown,
): Record<string, Row> {
  const error =
    `invalid configuration: ${name} names no file, is not SYSTEM and has no PEM certificate: nothing would be trusted`;
  return {
    [name]: {
      see,
      given: SERVERS,
      otherwise: { kind: "file", path: "./var/run/secrets/istio/root-cert.pem" },
      takes: [
        ["/exists", { kind: "file", path: "/exists" }],
        ["SYSTEM", { kind: "system" }],
        [CERTIFICATE, { kind: "pem", pem: CERTIFICATE }],
      ],
      refuses: [["", error], ["/missing", error]],
    },
  };
}

function address(
  name: "XDS_ADDRESS" | "CA_ADDRESS",
  see: (config: Config) => unknown,
): Record<string, Row> {
  const scheme = "the scheme must be https, or http to a loopback IP address";
  return {
    [name]: {
      see,
      given: { FAKE_CA: undefined, XDS_ADDRESS: undefined },
      otherwise: "https://localhost:15012",
      takes: [["a:1", "https://a:1"], ["https://a:1", "https://a:1"], [
        "http://127.0.0.1:1",
        "http://127.0.0.1:1",
      ]],
      refuses: [
        ["https://", "invalid uri: https://"],
        ["http://a:1", `invalid configuration: ${name} is http://a:1: ${scheme}`],
      ],
    },
  };
}

function quantity(name: string, given: Variables): Record<string, Row> {
  return {
    [name]: {
      see: (config) => config.workerThreads,
      given,
      otherwise: 2,
      takes: [["3", 3], ["2500m", 3], ["2.1", 3]],
      refuses: ["", "0", "-1", "x"].map((value) =>
        invalid(name, value, "must be a positive CPU quantity")
      ),
    },
  };
}

const U16 = 65_535;
const U32 = 4_294_967_295;

const ROWS: Readonly<Record<string, Row>> = {
  ...address("XDS_ADDRESS", ({ xds }) => xds?.address),
  ...address("CA_ADDRESS", ({ ca }) => ca?.address),
  KUBERNETES_SERVICE_HOST: {
    see: ({ xds, ca }) => [xds?.address, ca?.address],
    given: { FAKE_CA: undefined, XDS_ADDRESS: undefined },
    otherwise: ["https://localhost:15012", "https://localhost:15012"],
    takes: ["10.0.0.1", ""].map((value) => [value, [
      "https://istiod.istio-system.svc:15012",
      "https://istiod.istio-system.svc:15012",
    ]]),
  },
  ...root("XDS_ROOT_CA", ({ xds }) => xds?.root),
  ...root("CA_ROOT_CA", ({ ca }) => ca?.root),
  ...text("ALT_XDS_HOSTNAME", ({ xds }) => xds?.altHostname, { given: SERVERS, otherwise: null }),
  ...text("ALT_CA_HOSTNAME", ({ ca }) => ca?.altHostname, { given: SERVERS, otherwise: null }),
  AUTH_TOKEN: {
    see: ({ xds, ca }) => [xds?.token, ca?.token],
    given: SERVERS,
    otherwise: [null, null],
    takes: [
      ["/exists", Array(2).fill({ kind: "file", path: "/exists" })],
      ["abc123", Array(2).fill({ kind: "text", token: "abc123" })],
    ],
    refuses: [[
      "a b",
      "invalid configuration: AUTH_TOKEN names no file and is no token: it has characters that a header cannot have",
    ]],
  },
  ...text("CLUSTER_ID", ({ clusterId }) => clusterId, { otherwise: "Kubernetes" }),
  ...text("ISTIO_META_CLUSTER_ID", ({ clusterId }) => clusterId, {
    given: { CLUSTER_ID: "c2" },
    otherwise: "c2",
  }),
  ...text("CLUSTER_DOMAIN", (config) => config.clusterDomain, { otherwise: "cluster.local" }),
  ...text("TRUST_DOMAIN", (config) => config.trustDomain, { otherwise: "cluster.local" }),
  ...duration("SECRET_TTL", (config) => config.secretTtlMs, { otherwise: 86_400_000 }),
  ...bool("XDS_ON_DEMAND", ({ xds }) => xds?.onDemand, {
    given: { ...SERVERS, ...DNS_OFF },
    otherwise: false,
  }),
  ...text("LOCAL_XDS_PATH", ({ localMesh }) => localMesh?.kind === "file" && localMesh.path, {
    otherwise: false,
  }),
  ...text("LOCAL_XDS", ({ localMesh }) => localMesh?.kind === "text" && localMesh.text, {
    otherwise: false,
  }),
  ...bool("FAKE_CA", ({ fakeCa, ca }) => [fakeCa, ca?.address], {
    given: { CA_ADDRESS: "x:1" },
    otherwise: [null, "https://x:1"],
    on: [{ directory: null }, undefined],
    off: [null, "https://x:1"],
  }),
  ...text("FAKE_CA_DIR", ({ fakeCa }) => fakeCa?.directory, { otherwise: null, empty: null }),
  ...text("CRL_PATH", (config) => config.crlPath, { otherwise: null, empty: null }),
  ...exactlyTrue("TLS12_ENABLED", ({ native }) => native?.tls12, {
    given: NATIVE,
    on: true,
    off: false,
  }),
  COMPLIANCE_POLICY: {
    see: ({ native }) => native?.pqc,
    given: NATIVE,
    otherwise: false,
    takes: [["pqc", true], ["fips-140-2", false], ["", false]],
  },
  ...text("NODE_NAME", ({ nodeName }) => nodeName, { otherwise: null }),
  ...text("POD_NAME", ({ xds }) => xds?.node.podName, { given: SERVERS, otherwise: "" }),
  ...text("POD_NAMESPACE", ({ xds }) => xds?.node.podNamespace, { given: SERVERS, otherwise: "" }),
  SERVICE_ACCOUNT: {
    see: ({ self }) => self,
    given: { POD_NAME: "zt-1", POD_NAMESPACE: "istio-system" },
    otherwise: null,
    takes: [["ztunnel", {
      workload: { namespace: "istio-system", name: "zt-1", serviceAccount: "ztunnel" },
      identity: "spiffe://cluster.local/ns/istio-system/sa/ztunnel",
    }]],
  },
  ...text("INSTANCE_IP", ({ xds }) => xds?.node.instanceIp, {
    given: SERVERS,
    otherwise: "1.1.1.1",
  }),
  ...text("NETWORK", ({ network }) => network, { otherwise: "" }),
  PROXY_MODE: {
    see: ({ mode, workload }) => [mode, workload?.name],
    otherwise: ["shared", undefined],
    takes: [["shared", ["shared", undefined]], ["dedicated", ["dedicated", "name"]]],
    refuses: ["", "x", "Shared"].map((value) =>
      invalid("PROXY_MODE", value, "PROXY_MODE must be one of dedicated, shared")
    ),
  },
  PROXY_WORKLOAD_INFO: {
    see: ({ workload }) => workload,
    takes: [
      ["a/b/c", { namespace: "a", name: "b", serviceAccount: "c" }],
      ["a/b/c/d", { namespace: "a", name: "b", serviceAccount: "c/d" }],
    ],
    refuses: [["", '[""]'], ["a", '["a"]'], ["a/b", '["a", "b"]']].map(([value, got]) => [
      value!,
      "invalid configuration: PROXY_WORKLOAD_INFO must match the format " +
      `'namespace/name/service-account' (got ${got})`,
    ]),
  },
  ...text("ISTIO_META_ISTIO_VERSION", ({ proxyMetadata }) => proxyMetadata.get("ISTIO_VERSION"), {
    otherwise: undefined,
  }),
  ...text("PREFERED_SERVICE_NAMESPACE", (config) => config.preferredServiceNamespace, {
    otherwise: null,
  }),
  ...bool("ENABLE_PROXY", (config) => config.proxyEnabled, { otherwise: true }),
  ISTIO_META_DNS_CAPTURE: {
    see: ({ dns }) => dns.asked,
    otherwise: true,
    takes: [["true", true], ["TRUE", true], ["false", false], ["1", false], ["", false]],
  },
  ISTIO_META_DNS_PROXY_ADDR: {
    see: ({ dns }) => dns.address,
    otherwise: "localhost:15053",
    takes: ["localhost:53", "10.0.0.1:53", "[::1]:53"].map((value) => [value, value]),
    refuses: ["", "localhost:", "localhost:x", "example:53", "10.0.0.1"].map((value) => [
      value,
      `invalid configuration: failed to parse DNS_PROXY_ADDR: ${value} (expected localhost:port or IP:port)`,
    ]),
  },
  ...bool("IPV6_ENABLED", ({ ipv6Enabled, listeners }) => [ipv6Enabled, listeners.stats.ip], {
    otherwise: [true, "::"],
    on: [true, "::"],
    off: [false, "0.0.0.0"],
  }),
  ...text("INPOD_UDS", ({ inpod }) => inpod.socketPath, {
    otherwise: "/var/run/ztunnel/ztunnel.sock",
  }),
  ...bool("INPOD_PORT_REUSE", ({ inpod }) => inpod.portReuse, { otherwise: true }),
  BIND_ADDRESS: {
    see: ({ listeners }) => listeners.inbound.ip,
    otherwise: "::",
    takes: [["127.0.0.2", "127.0.0.2"], ["::1", "::1"]],
    refuses: ["", "localhost", "127.0.0.1:1"].map((value) =>
      invalid("BIND_ADDRESS", value, "provided string was not an IP address")
    ),
  },
  ...bool("ENABLE_ORIG_SRC", ({ originalSource }) => originalSource, { otherwise: null }),
  ...integer("PACKET_MARK", ({ native }) => native?.packetMark, {
    given: NATIVE,
    otherwise: null,
    limit: U32,
    seen: (mark) => mark === 0 ? null : mark,
  }),
  ...bool("LOCALHOST_APP_TUNNEL", (config) => config.localhostAppTunnel, { otherwise: true }),
  ...bool("ENABLE_RESPONSE_BAGGAGE", (config) => config.responseBaggage, { otherwise: true }),
  ...exactlyTrue("AUTHZ_POLICY_INFO_LOGGING", (config) => config.authorizationLogLevel, {
    on: "info",
    off: "debug",
  }),
  ...bool("UNSTABLE_ENABLE_SOCKS5", ({ listeners }) => listeners.socks5, {
    otherwise: null,
    on: { ip: "127.0.0.1", port: 15080 },
    off: null,
  }),
  ...integer("POOL_MAX_STREAMS_PER_CONNECTION", ({ pool }) => pool.streamsMax, {
    otherwise: 100,
    least: 1,
    limit: U16,
  }),
  ...duration("POOL_UNUSED_RELEASE_TIMEOUT", ({ pool }) => pool.idleMs, { otherwise: 300_000 }),
  ...integer("HTTP2_STREAM_WINDOW_SIZE", ({ http2 }) => http2.streamWindowBytes, {
    otherwise: 4_194_304,
    least: 1,
    most: 0x7fff_ffff,
    limit: U32,
  }),
  ...integer("HTTP2_CONNECTION_WINDOW_SIZE", ({ http2 }) => http2.connectionWindowBytes, {
    otherwise: 16_777_216,
    least: 65_535,
    most: 0x7fff_ffff,
    limit: U32,
  }),
  ...integer("HTTP2_FRAME_SIZE", ({ http2 }) => http2.frameBytesMax, {
    otherwise: 1_048_576,
    least: 16_384,
    most: 16_777_215,
    limit: U32,
  }),
  ...bool("KEEPALIVE_ENABLED", ({ keepalive }) => keepalive !== null, { otherwise: true }),
  ...duration("KEEPALIVE_TIME", ({ keepalive }) => keepalive?.idleMs, { otherwise: 180_000 }),
  ...duration("KEEPALIVE_INTERVAL", ({ keepalive }) => keepalive?.intervalMs, {
    otherwise: 180_000,
  }),
  ...integer("KEEPALIVE_RETRIES", ({ keepalive }) => keepalive?.probes, {
    otherwise: 9,
    limit: U32,
  }),
  ...bool("USER_TIMEOUT_ENABLED", ({ userTimeoutMs }) => userTimeoutMs, {
    otherwise: null,
    on: 1_800_000,
    off: null,
  }),
  ...text("RUST_LOG", ({ logFilter }) => logFilter, { otherwise: "info" }),
  LOG_FORMAT: {
    see: ({ logFormat }) => logFormat,
    otherwise: "plain",
    takes: [["json", "json"], ["plain", "plain"], ["JSON", "plain"], ["", "plain"]],
  },
  TERMINATION_GRACE_PERIOD_SECONDS: {
    see: ({ drainDeadlineMs }) => drainDeadlineMs,
    otherwise: 5_000,
    takes: [
      ["30", 25_000],
      ["11", 6_000],
      ["10", 9_000],
      ["2", 1_000],
      ["1", 1_000],
      ["0", 1_000],
    ],
    refuses: [
      invalid("TERMINATION_GRACE_PERIOD_SECONDS", "", "cannot parse integer from empty string"),
      invalid("TERMINATION_GRACE_PERIOD_SECONDS", "30s", "invalid digit found in string"),
    ],
  },
  ...duration("CONNECTION_TERMINATION_DEADLINE", ({ drainDeadlineMs }) => drainDeadlineMs, {
    given: { TERMINATION_GRACE_PERIOD_SECONDS: "30" },
    otherwise: 25_000,
  }),
  ZTUNNEL_WORKER_THREADS: {
    see: ({ workerThreads }) => workerThreads,
    given: { ZTUNNEL_CPU_LIMIT: "8" },
    otherwise: 2,
    takes: [["3", 3], ["0", 8], ["50%", 4]],
    refuses: [
      invalid("ZTUNNEL_WORKER_THREADS", "0%", "percentage must be between 0 and 100"),
      invalid("ZTUNNEL_WORKER_THREADS", "101%", "percentage must be between 0 and 100"),
      invalid("ZTUNNEL_WORKER_THREADS", "all", "invalid digit found in string"),
    ],
  },
  ZTUNNEL_CPU_LIMIT: {
    see: ({ workerThreads }) => workerThreads,
    otherwise: 2,
    takes: [["32", 8], ["1", 2]],
    refuses: [invalid("ZTUNNEL_CPU_LIMIT", "500m", "invalid digit found in string")],
  },
  ...quantity("ZTUNNEL_RESOURCE_CPU_LIMIT", {}),
  ...quantity("ZTUNNEL_RESOURCE_CPU_REQUEST", {}),
  PROXY_CONFIG: {
    see: ({ listeners, xds, workerThreads, proxyMetadata }) => [
      listeners.stats.port,
      xds?.address,
      workerThreads,
      proxyMetadata.get("A"),
    ],
    given: { XDS_ADDRESS: undefined },
    otherwise: [15020, "https://localhost:15012", 2, undefined],
    takes: [
      ["", [15020, "https://localhost:15012", 2, undefined]],
      [
        "{statsPort: 1, discoveryAddress: 'b:2', concurrency: 3, proxyMetadata: {ISTIO_META_A: 4}}",
        [1, "https://b:2", 3, "4"],
      ],
    ],
    refuses: [
      [
        "[]",
        "error parsing proxy config: failed parsing proxy config env: expected a mapping",
      ],
      [
        "{concurrency: -1}",
        "error parsing proxy config: failed parsing proxy config env: concurrency: expected a number from 0 to 65535",
      ],
      ["{discoveryAddress: 'a b'}", "invalid uri: https://a b"],
    ],
  },
  TUNNEL_DIALER: {
    see: ({ tunnelDialer }) => tunnelDialer,
    otherwise: "node",
    takes: [["node", "node"], ["deno", "deno"]],
    refuses: [invalid("TUNNEL_DIALER", "rust", "TUNNEL_DIALER must be one of node, deno")],
  },
  ...integer("DESCRIPTORS_MAX", ({ descriptorsMax }) => descriptorsMax, {
    otherwise: null,
    least: 128,
    limit: U32,
  }),
  IO_PROVIDER: {
    see: ({ ioProvider, native }) => [ioProvider, native === null],
    otherwise: ["deno", true],
    takes: [["deno", ["deno", true]], ["native", ["native", false]]],
    refuses: [invalid("IO_PROVIDER", "", "IO_PROVIDER must be one of deno, native")],
  },
  ...text("OPENSSL_LIB_DIR", ({ native }) => native?.openSslLibDir, {
    given: NATIVE,
    otherwise: null,
    empty: null,
  }),
  FIPS_MODULE_PATH: {
    see: ({ native }) => native?.fips,
    given: NATIVE,
    otherwise: null,
    takes: [["/fips.so", { modulePath: "/fips.so", configPath: null }], ["", null]],
  },
  FIPS_CONFIG_PATH: {
    see: ({ native }) => native?.fips,
    given: { ...NATIVE, FIPS_MODULE_PATH: "/fips.so" },
    otherwise: { modulePath: "/fips.so", configPath: null },
    takes: [["/f.cnf", { modulePath: "/fips.so", configPath: "/f.cnf" }]],
  },
  LISTEN_FDS: {
    see: ({ inheritedListeners }) => inheritedListeners,
    otherwise: null,
    takes: [["2", { fds: "2", pid: null }]],
  },
  LISTEN_PID: {
    see: ({ inheritedListeners }) => inheritedListeners?.pid,
    given: { LISTEN_FDS: "1" },
    otherwise: null,
    takes: [["77", "77"]],
  },
};

/** A name for each prefix, in place of all that begin so. */
const PREFIX_ROWS: Readonly<Record<string, Row>> = {
  ISTIO_META_FOO: {
    see: ({ proxyMetadata, xds }) => [proxyMetadata.get("FOO"), xds?.metadata.get("FOO")],
    given: SERVERS,
    otherwise: [undefined, undefined],
    takes: [["x", ["x", "x"]], ["", ["", ""]]],
  },
  ISTIO_METAJSON_FOO: {
    see: ({ xds, notices }) => [xds?.jsonMetadata.get("FOO"), notices],
    given: SERVERS,
    otherwise: [undefined, []],
    takes: [
      ['{"a":[1]}', [{ a: [1] }, []]],
      ["{", [undefined, [{ level: "error", text: "failed to parse ISTIO_METAJSON_FOO={" }]]],
    ],
  },
  XDS_HEADER_HEADER_FOO: {
    see: ({ xds, ca }) => [xds?.headers, ca?.headers],
    given: SERVERS,
    otherwise: [[], []],
    takes: [["foo", [[["header_foo", "foo"]], []]]],
    refuses: [["a\nb", "failed to parse header value: <value of XDS_HEADER_HEADER_FOO>"]],
  },
  CA_HEADER_HEADER_FOO: {
    see: ({ xds, ca }) => [xds?.headers, ca?.headers],
    given: SERVERS,
    otherwise: [[], []],
    takes: [["foo", [[], [["header_foo", "foo"]]]]],
    refuses: [["a\nb", "failed to parse header value: <value of CA_HEADER_HEADER_FOO>"]],
  },
};

function config(variables: Variables): Config {
  const paths = ["/exists", "./var/run/secrets/istio/root-cert.pem"];
  return readConfig((name) => variables[name], {
    exists: (path) => paths.includes(path),
    names: Object.keys(variables),
  });
}

for (const [name, row] of Object.entries({ ...ROWS, ...PREFIX_ROWS })) {
  const variables = (value: string | undefined) => ({ ...LEAST, ...row.given, [name]: value });

  Deno.test(`${name}: its default and what it takes`, () => {
    if ("otherwise" in row) assertEquals(row.see(config(variables(undefined))), row.otherwise);
    for (const [value, seen] of row.takes) {
      assertEquals(row.see(config(variables(value))), seen, `${name}=${value}`);
    }
  });

  if (row.refuses === undefined) continue;
  Deno.test(`${name}: what it refuses`, () => {
    for (const [value, error] of row.refuses!) {
      const { message } = assertThrows(() => config(variables(value)), ConfigError);
      assertEquals(message, error);
    }
  });
}

Deno.test("the table has a row for every variable and one for every prefix", () => {
  assertEquals(Object.keys(ROWS).sort(), CONFIG_VARIABLES.map(({ name }) => name).sort());
  const prefixOf = (name: string) =>
    CONFIG_PREFIXES.filter(({ prefix }) => name.startsWith(prefix)).map(({ prefix }) => prefix);
  assertEquals(
    Object.keys(PREFIX_ROWS).flatMap(prefixOf),
    CONFIG_PREFIXES.map(({ prefix }) => prefix),
  );
});

Deno.test("INPOD_ENABLED and RUST_BACKTRACE, which the chart sets, are not asked for", () => {
  const names = CONFIG_VARIABLES.map(({ name }) => name);
  assertEquals(["INPOD_ENABLED", "RUST_BACKTRACE"].filter((name) => names.includes(name)), []);
  const ignored = { ...LEAST, INPOD_ENABLED: "neither", RUST_BACKTRACE: "full" };
  assertEquals(config(ignored), config(LEAST));
});
