// Where each server listens: the ports of spec/config-and-observability §3, `BIND_ADDRESS`, and which families there are.
import { isIpv6, isLoopback, parseIp, type SocketAddress } from "../base/address.ts";
import type { EnvReader } from "./env_reader.ts";
import { invalidConfiguration, invalidVariable } from "./errors.ts";
import type { ProxyConfig } from "./proxy_config.ts";

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

/** @throws {ConfigError} */
export function readListeners(
  read: EnvReader,
  ports: Pick<ProxyConfig, "adminPort" | "statsPort">,
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
  const adminPort = ports.adminPort ?? PORTS.admin;
  return {
    inbound: at(PORTS.inbound),
    inboundPlaintext: at(PORTS.inboundPlaintext),
    outbound: at(PORTS.outbound),
    socks5: socks5 ? { ip: near ?? "127.0.0.1", port: PORTS.socks5 } : null,
    admin: (near === null ? loopbacks : [near]).map((ip) => ({ ip, port: adminPort })),
    stats: at(ports.statsPort ?? PORTS.stats),
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
