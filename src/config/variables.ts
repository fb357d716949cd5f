// Every environment variable that is read, and what it is for: permissions and documentation come from here.

export interface ConfigVariable {
  readonly name: string;
  /** Completes "needed to know …". */
  readonly meaning: string;
}

/** In the order of spec/config-and-observability §2.2; "ours" are not the original's. */
export const CONFIG_VARIABLES: readonly ConfigVariable[] = [
  { name: "XDS_ADDRESS", meaning: "the control plane; empty: none" },
  { name: "CA_ADDRESS", meaning: "who issues certificates" },
  { name: "CLUSTER_ID", meaning: "the cluster's id" },
  { name: "ISTIO_META_CLUSTER_ID", meaning: "the cluster's id, over CLUSTER_ID" },
  { name: "CLUSTER_DOMAIN", meaning: "the DNS suffix of the cluster" },
  { name: "TRUST_DOMAIN", meaning: "the trust domain of the proxy's own identity" },
  { name: "SECRET_TTL", meaning: "how long certificates are to be valid" },
  { name: "LOCAL_XDS_PATH", meaning: "the mesh file" },
  { name: "LOCAL_XDS", meaning: "the mesh file's text itself" },
  { name: "FAKE_CA", meaning: "whether a throw-away CA issues certificates" },
  {
    name: "FAKE_CA_DIR",
    meaning: "where that CA keeps its root, to be shared by processes (ours)",
  },
  { name: "CRL_PATH", meaning: "revocation lists" },
  { name: "TLS12_ENABLED", meaning: "whether peers may use TLS 1.2" },
  { name: "COMPLIANCE_POLICY", meaning: "restrictions on key exchange" },
  { name: "NODE_NAME", meaning: "the node, which decides which workloads are local" },
  { name: "NETWORK", meaning: "the network of this node" },
  { name: "PROXY_MODE", meaning: "whether the proxy serves one workload or a node" },
  { name: "PROXY_WORKLOAD_INFO", meaning: "the workload served: namespace/name/serviceaccount" },
  { name: "ENABLE_PROXY", meaning: "whether to proxy at all" },
  { name: "ISTIO_META_DNS_CAPTURE", meaning: "whether to answer DNS" },
  { name: "ISTIO_META_DNS_PROXY_ADDR", meaning: "where to answer DNS" },
  { name: "IPV6_ENABLED", meaning: "whether to listen on IPv6" },
  { name: "BIND_ADDRESS", meaning: "the address of every listener (ours)" },
  { name: "ENABLE_ORIG_SRC", meaning: "whether applications see the caller's address" },
  { name: "PACKET_MARK", meaning: "the mark of the proxy's own packets" },
  { name: "LOCALHOST_APP_TUNNEL", meaning: "whether application tunnels go to loopback" },
  { name: "ENABLE_RESPONSE_BAGGAGE", meaning: "whether peers are told about the workload" },
  { name: "AUTHZ_POLICY_INFO_LOGGING", meaning: "the level of authorization log lines" },
  { name: "UNSTABLE_ENABLE_SOCKS5", meaning: "whether to listen for SOCKS5" },
  { name: "POOL_MAX_STREAMS_PER_CONNECTION", meaning: "streams per pooled connection" },
  { name: "POOL_UNUSED_RELEASE_TIMEOUT", meaning: "when an idle connection leaves the pool" },
  { name: "HTTP2_STREAM_WINDOW_SIZE", meaning: "the window of an HTTP/2 stream" },
  { name: "HTTP2_CONNECTION_WINDOW_SIZE", meaning: "the window of an HTTP/2 connection" },
  { name: "HTTP2_FRAME_SIZE", meaning: "the largest HTTP/2 frame accepted" },
  { name: "KEEPALIVE_ENABLED", meaning: "whether sockets are kept alive" },
  { name: "KEEPALIVE_TIME", meaning: "idle time before the first keepalive probe" },
  { name: "KEEPALIVE_INTERVAL", meaning: "the time between keepalive probes" },
  { name: "KEEPALIVE_RETRIES", meaning: "how many keepalive probes may be lost" },
  { name: "USER_TIMEOUT_ENABLED", meaning: "whether sent bytes may stay unacknowledged for ever" },
  { name: "RUST_LOG", meaning: "what is logged" },
  { name: "LOG_FORMAT", meaning: "how it is logged" },
  { name: "TERMINATION_GRACE_PERIOD_SECONDS", meaning: "how long a shutdown may take" },
  { name: "CONNECTION_TERMINATION_DEADLINE", meaning: "how long connections may drain" },
  { name: "PROXY_CONFIG", meaning: "the ports of the admin and stats servers" },
  { name: "TUNNEL_DIALER", meaning: "which TLS client opens tunnels: node or deno (ours)" },
  { name: "DESCRIPTORS_MAX", meaning: "how many descriptors may be open (ours)" },
  { name: "IO_PROVIDER", meaning: "which network implementation is used: deno or native (ours)" },
  { name: "OPENSSL_LIB_DIR", meaning: "where the native network finds OpenSSL (ours)" },
  { name: "LISTEN_FDS", meaning: "how many listeners were handed over (systemd)" },
  { name: "LISTEN_PID", meaning: "to whom they were handed over (systemd)" },
];
