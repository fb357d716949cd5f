// Tests of config_json.ts: what the dump says of the settings, and what it must not (spec/config-and-observability §5.7.7).
import { assertEquals } from "@std/assert";
import { type ConfigSources, readConfig } from "./config/config.ts";
import { configJson, HIDDEN } from "./config_json.ts";

type Variables = Readonly<Record<string, string | undefined>>;

const ROOT = "./var/run/secrets/istio/root-cert.pem";

function json(variables: Variables = {}, sources: ConfigSources = {}) {
  const config = readConfig((name) => variables[name], {
    exists: (path) => path === ROOT,
    names: Object.keys(variables),
    ...sources,
  });
  return configJson(config, ["proxy", "ztunnel"]);
}

const seconds = (secs: number) => ({ secs, nanos: 0 });

Deno.test("configJson() shows the original's defaults", () => {
  assertEquals(json({ IO_PROVIDER: "native" }), {
    proxy: true,
    dnsProxy: false, // Not built yet.
    windowSize: 4_194_304,
    connectionWindowSize: 16_777_216,
    frameSize: 1_048_576,
    poolMaxStreamsPerConn: 100,
    poolUnusedReleaseTimeout: seconds(300),
    socks5Addr: null,
    adminAddr: { Localhost: [true, 15000] },
    statsAddr: { SocketAddr: "[::]:15020" },
    readinessAddr: { SocketAddr: "[::]:15021" },
    inboundAddr: "[::]:15008",
    inboundPlaintextAddr: "[::]:15006",
    outboundAddr: "[::]:15001",
    dnsProxyAddr: { Localhost: [true, 15053] },
    illegalPorts: [15008, 15006, 15001],
    network: "",
    localNode: null,
    proxyMode: "Shared",
    proxyWorkloadInformation: null,
    clusterId: "Kubernetes",
    clusterDomain: "cluster.local",
    caAddress: "https://localhost:15012",
    caRootCert: { File: ROOT },
    altCaHostname: null,
    xdsAddress: "https://localhost:15012",
    xdsRootCert: { File: ROOT },
    altXdsHostname: null,
    preferedServiceNamespace: null,
    secretTtl: seconds(86_400),
    xdsOnDemand: false,
    fakeCa: false,
    fakeSelfInbound: false,
    selfTerminationDeadline: seconds(5),
    proxyMetadata: {},
    numWorkerThreads: 2,
    requireOriginalSource: null,
    proxyArgs: "proxy ztunnel",
    inpodUds: "/var/run/ztunnel/ztunnel.sock",
    inpodPortReuse: true,
    packetMark: 1337,
    socketConfig: {
      keepaliveEnabled: true,
      keepaliveTime: seconds(180),
      keepaliveInterval: seconds(180),
      keepaliveRetries: 9,
      userTimeoutEnabled: false,
    },
    xdsHeaders: [],
    caHeaders: [],
    localhostAppTunnel: true,
    ztunnelIdentity: null,
    ztunnelWorkload: null,
    ipv6Enabled: true,
    crlPath: null,
    enableEnhancedBaggage: true,
    tunnelDialer: "node",
    ioProvider: "native",
  });
});

Deno.test("configJson() shows what was set", () => {
  const shown = json({
    PROXY_MODE: "dedicated",
    PROXY_WORKLOAD_INFO: "ns/name/sa",
    XDS_ADDRESS: "istiod.istio-system.svc:15012",
    XDS_ROOT_CA: "SYSTEM",
    ALT_XDS_HOSTNAME: "xds.example",
    FAKE_CA: "true",
    XDS_ON_DEMAND: "true",
    ISTIO_META_DNS_CAPTURE: "false",
    ISTIO_META_DNS_PROXY_ADDR: "10.0.0.1:53",
    CONNECTION_TERMINATION_DEADLINE: "1500ms",
    PREFERED_SERVICE_NAMESPACE: "shared",
    POD_NAME: "zt-1",
    POD_NAMESPACE: "istio-system",
    SERVICE_ACCOUNT: "ztunnel",
    CRL_PATH: "/crl.pem",
    IPV6_ENABLED: "false",
    ZTUNNEL_WORKER_THREADS: "3",
    INPOD_PORT_REUSE: "false",
  });
  const expected = {
    proxyMode: "Dedicated",
    proxyWorkloadInformation: { namespace: "ns", name: "name", serviceAccount: "sa" },
    xdsAddress: "https://istiod.istio-system.svc:15012",
    xdsRootCert: "Default",
    altXdsHostname: "xds.example",
    caAddress: null,
    caRootCert: null,
    fakeCa: true,
    xdsOnDemand: true,
    dnsProxyAddr: { SocketAddr: "10.0.0.1:53" },
    proxyMetadata: { DNS_CAPTURE: "false", DNS_PROXY_ADDR: "10.0.0.1:53" },
    selfTerminationDeadline: { nanos: 500_000_000, secs: 1 },
    preferedServiceNamespace: "shared",
    ztunnelIdentity: "spiffe://cluster.local/ns/istio-system/sa/ztunnel",
    ztunnelWorkload: { namespace: "istio-system", name: "zt-1", serviceAccount: "ztunnel" },
    crlPath: "/crl.pem",
    ipv6Enabled: false,
    statsAddr: { SocketAddr: "0.0.0.0:15020" },
    numWorkerThreads: 3,
    inpodPortReuse: false,
    packetMark: null,
  };
  assertEquals(Object.fromEntries(Object.keys(expected).map((key) => [key, shown[key]])), expected);
});

Deno.test("configJson() shows no token, no certificate, no mesh and no value of a header", () => {
  const shown = json({
    AUTH_TOKEN: "abc123",
    XDS_ROOT_CA: "-----BEGIN CERTIFICATE-----abc123",
    CA_ROOT_CA: "-----BEGIN CERTIFICATE-----abc123",
    LOCAL_XDS: "abc123",
    XDS_HEADER_API_KEY: "abc123",
    CA_HEADER_API_KEY: "abc123",
    ISTIO_METAJSON_A: '"abc123"',
  });
  assertEquals(shown.xdsRootCert, "Static");
  assertEquals(shown.caRootCert, "Static");
  assertEquals(shown.xdsHeaders, [["api_key", HIDDEN]]);
  assertEquals(shown.caHeaders, [["api_key", HIDDEN]]);
  assertEquals(JSON.stringify(shown).includes("abc123"), false);
  assertEquals(JSON.stringify(shown).includes("BEGIN"), false);
});
