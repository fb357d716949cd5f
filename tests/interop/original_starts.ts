// Ways to start a proxy: what it says of its configuration, or why it does not start.

export interface Start {
  readonly what: string;
  readonly env: Readonly<Record<string, string>>;
  /** Files under its working directory. */
  readonly files?: Readonly<Record<string, string>>;
}

const start = (
  env: Readonly<Record<string, string>>,
  files?: Readonly<Record<string, string>>,
): Start => ({
  what: Object.entries(env).map(([name, value]) => `${name}=${value}`).join(" ") ||
    Object.keys(files ?? {}).join(),
  env,
  ...files === undefined ? {} : { files },
});

const MESH = "./etc/istio/config/mesh";
const LOCAL = (text: string) => start({ LOCAL_XDS: text });

export const STARTS: readonly Start[] = [
  start({}),
  start({ XDS_ADDRESS: "istiod.x.svc:15012" }),
  start({ XDS_ADDRESS: "http://127.0.0.1:1" }),
  start({ XDS_ADDRESS: "https://a b" }),
  start({ XDS_ADDRESS: "https://" }),
  start({ XDS_ADDRESS: "localhost" }),
  start({ XDS_ADDRESS: "[::1]:15012" }),
  start({ XDS_HEADER_A: "é" }),
  start({ "XDS_HEADER_A B": "x" }),
  start({ XDS_HEADER_: "x" }),
  start({ CA_HEADER_A: "x", XDS_HEADER_B: "" }),
  start({ XDS_ON_DEMAND: "true", ISTIO_META_DNS_CAPTURE: "true" }),
  start({ XDS_ON_DEMAND: "yes" }),
  start({ XDS_ON_DEMAND: "" }),
  start({ ENABLE_PROXY: "false" }),
  start({ PROXY_MODE: "shadow" }),
  start({ PROXY_WORKLOAD_INFO: "" }),
  start({ PROXY_WORKLOAD_INFO: "a" }),
  start({ PROXY_WORKLOAD_INFO: "a/b" }),
  start({ PROXY_WORKLOAD_INFO: "a/b/c/d" }),
  start({ PROXY_WORKLOAD_INFO: "//" }),
  start({ IPV6_ENABLED: "no" }),
  start({ IPV6_ENABLED: "false" }),
  start({ IPV6_ENABLED: "TRUE" }),
  start({ PACKET_MARK: "12" }),
  start({ PACKET_MARK: "-1" }),
  start({ ENABLE_ORIG_SRC: "maybe" }),
  start({ POOL_MAX_STREAMS_PER_CONNECTION: "70000" }),
  start({ POOL_MAX_STREAMS_PER_CONNECTION: "7" }),
  start({ POOL_UNUSED_RELEASE_TIMEOUT: "1m 30s" }),
  start({ POOL_UNUSED_RELEASE_TIMEOUT: "90" }),
  start({ HTTP2_STREAM_WINDOW_SIZE: "1000", HTTP2_CONNECTION_WINDOW_SIZE: "2000" }),
  start({ HTTP2_FRAME_SIZE: "20000" }),
  start({ KEEPALIVE_TIME: "1h", KEEPALIVE_INTERVAL: "1500ms", KEEPALIVE_RETRIES: "3" }),
  start({ KEEPALIVE_RETRIES: "x" }),
  start({ SECRET_TTL: "1h" }),
  start({ SECRET_TTL: "forever" }),
  start({ TERMINATION_GRACE_PERIOD_SECONDS: "30" }),
  start({ TERMINATION_GRACE_PERIOD_SECONDS: "10" }),
  start({ TERMINATION_GRACE_PERIOD_SECONDS: "1" }),
  start({ TERMINATION_GRACE_PERIOD_SECONDS: "1.5" }),
  start({ CONNECTION_TERMINATION_DEADLINE: "1500ms", TERMINATION_GRACE_PERIOD_SECONDS: "30" }),
  start({ ZTUNNEL_WORKER_THREADS: "3" }),
  start({ ZTUNNEL_WORKER_THREADS: "0" }),
  start({ ZTUNNEL_WORKER_THREADS: "50%" }),
  start({ ZTUNNEL_WORKER_THREADS: "101%" }),
  start({ ZTUNNEL_WORKER_THREADS: "0%" }),
  start({ ZTUNNEL_WORKER_THREADS: "x" }),
  start({ ZTUNNEL_CPU_LIMIT: "32" }),
  start({ ZTUNNEL_CPU_LIMIT: "x" }),
  start({ ZTUNNEL_RESOURCE_CPU_LIMIT: "2500m" }),
  start({ ZTUNNEL_RESOURCE_CPU_LIMIT: "0" }),
  start({ ZTUNNEL_RESOURCE_CPU_LIMIT: "4", ZTUNNEL_RESOURCE_CPU_REQUEST: "8" }),
  start({ ISTIO_META_CLUSTER_ID: "c1", CLUSTER_ID: "c2" }),
  start({ CLUSTER_ID: "" }),
  start({ CLUSTER_DOMAIN: "x.local", TRUST_DOMAIN: "td" }),
  start({ NODE_NAME: "n", NETWORK: "net", INSTANCE_IP: "1.2.3.4" }),
  start({ POD_NAME: "p", POD_NAMESPACE: "n", SERVICE_ACCOUNT: "s", TRUST_DOMAIN: "td" }),
  start({ PREFERED_SERVICE_NAMESPACE: "x", ALT_XDS_HOSTNAME: "h", ALT_CA_HOSTNAME: "i" }),
  start({ ISTIO_META_DNS_PROXY_ADDR: "localhost:1", ISTIO_META_DNS_CAPTURE: "false" }),
  start({ ISTIO_META_DNS_PROXY_ADDR: "x", ISTIO_META_DNS_CAPTURE: "false" }),
  start({ LOCALHOST_APP_TUNNEL: "false", ENABLE_RESPONSE_BAGGAGE: "false" }),
  start({ INPOD_PORT_REUSE: "false", INPOD_UDS: "/x" }),
  start({ UNSTABLE_ENABLE_SOCKS5: "true" }),
  start({ USER_TIMEOUT_ENABLED: "true", KEEPALIVE_ENABLED: "false" }),
  start({ XDS_ROOT_CA: "SYSTEM" }),
  start({ XDS_ROOT_CA: "text" }),
  start({ XDS_ROOT_CA: "./none.pem" }),
  start({ AUTH_TOKEN: "abc123" }),
  start({ AUTH_TOKEN: "abc 123" }),
  start({ RUST_LOG: "nonsense=x" }),
  start({ LOCAL_XDS: "", LOCAL_XDS_PATH: "" }),
  start({ LOCAL_XDS: "{}", LOCAL_XDS_PATH: "x.yaml" }),
  start({ LOCAL_XDS_PATH: "none.yaml" }),
  start({ PROXY_CONFIG: "{" }),
  start({ PROXY_CONFIG: "" }),
  start({ PROXY_CONFIG: "[]" }),
  start({ PROXY_CONFIG: "null" }),
  start({ PROXY_CONFIG: "concurrency: 3" }),
  start({ PROXY_CONFIG: "{concurrency: 0, proxyMetadata: {}}" }),
  start({
    PROXY_CONFIG: "{concurrency: 3, proxyMetadata: {A: b}, discoveryAddress: 'd:1', unknown: 1}",
  }),
  start({ PROXY_CONFIG: "{proxyMetadata: {A: 1}}" }),
  start({ PROXY_CONFIG: "{statsPort: 70000, proxyMetadata: {}}" }),
  start({}, {
    [MESH]: "defaultConfig: {discoveryAddress: 'm:1', proxyMetadata: {ISTIO_META_FOO: foo}}",
  }),
  start({ ISTIO_META_FOO: "env" }, {
    [MESH]: "defaultConfig: {proxyMetadata: {ISTIO_META_FOO: foo}}",
  }),
  start({}, { [MESH]: "{" }),
  start({}, { [MESH]: "" }),
  start({}, { [MESH]: "other: 1" }),
  LOCAL("workloads: []"),
  LOCAL("{"),
  LOCAL("unknown: []"),
  LOCAL("workloads: [{uid: a}]"),
  LOCAL("workloads: [{uid: a, namespace: n, workloadIps: [1.2.3.4], services: {}}]"),
  LOCAL("workloads: [{uid: a, namespace: n, workloadIps: [1.2.3], services: {}}]"),
  LOCAL("workloads: [{uid: a, namespace: n, workloadIps: [], services: {bad: {80: 80}}}]"),
  LOCAL("workloads: [{uid: a, namespace: n, workloadIps: [], services: {n/h: {80: 70000}}}]"),
  LOCAL(
    "workloads: [{uid: a, namespace: n, workloadIps: [], services: {n/h: {80: 8080}}, nope: 1}]",
  ),
  LOCAL("workloads: [{uid: a, namespace: n, workloadIps: [], services: {}, protocol: UDP}]"),
  LOCAL(
    "workloads: [{uid: a, namespace: n, workloadIps: [], services: {}, protocol: HBONE, status: Unhealthy, networkMode: HostNetwork, capacity: 0, waypoint: {destination: n/h, hboneMtlsPort: 15008}, networkGateway: {destination: net/1.2.3.4, hboneMtlsPort: 15009}, applicationTunnel: {protocol: PROXY, port: 1}, locality: {region: r, zone: z, subzone: s}, authorizationPolicies: [n/p], workloadType: job, hostname: h, node: n, clusterId: c, trustDomain: t, serviceAccount: s, canonicalName: cn, canonicalRevision: cr, workloadName: wn, nativeTunnel: true, network: net}]",
  ),
  LOCAL(
    "services: [{name: s, namespace: n, hostname: h, vips: [net/1.2.3.4, 1.2.3.5], ports: {80: 8080}}]",
  ),
  LOCAL("services: [{name: s, namespace: n, hostname: h, vips: [/1.2.3.4], ports: {80: 8080}}]"),
  LOCAL(
    "services: [{name: s, namespace: n, hostname: h, vips: [], ports: {80: 0}, subjectAltNames: [x], loadBalancer: {mode: Failover, routingPreferences: [Network, Region], healthPolicy: AllowAll}, ipFamilies: Dual, canonical: true, visibility: Namespace, cidrVips: [{network: '', cidr: 10.0.0.0/8}], weightedWaypoints: [{destination: {destination: n/h, hboneMtlsPort: 1}, weight: 2}]}]",
  ),
  LOCAL(
    "services: [{name: s, namespace: n, hostname: h, vips: [], ports: {80: 0}, loadBalancer: {}}]",
  ),
  LOCAL(
    "services: [{name: s, namespace: n, hostname: h, vips: [], ports: {80: 0}, endpoints: {a: {workloadUid: a, port: {80: 1}}}}]",
  ),
  LOCAL(
    "policies: [{name: p, namespace: n, scope: Global, action: Deny, rules: [[[{namespaces: [{Exact: a}]}]]]}]",
  ),
  LOCAL(
    "policies: [{name: p, namespace: n, scope: Global, action: Deny, dryRun: true, rules: [[[{sourceIps: [10.0.0.1, 10.0.0.0/8], destinationPorts: [80], principals: [{Presence: []}], serviceAccounts: [{namespace: a, serviceAccount: b}]}]]]}]",
  ),
  LOCAL("policies: [{name: p, namespace: n, scope: Nowhere, action: Deny, rules: []}]"),
];
